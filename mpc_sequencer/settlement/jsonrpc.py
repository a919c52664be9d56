"""JSON-RPC 2.0 over a :class:`DevChain`: one request body in, one answer body out.

Strict where the specification is: -32700 for what is not JSON, -32600 for what is no request, -32601 for an
unknown method, -32602 for parameters that do not read. Refused transactions answer -32000, reverted calls 3
with the revert data, too wide log queries -32005. Numbers are minimal 0x hex, data even-length 0x hex. A body
may hold a batch; notifications are carried out without an answer.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from typing import Final

from mpc_sequencer.settlement.devchain import (
    DEV_ADDRESS,
    CallRequest,
    CallReverted,
    DevChain,
    LogQuery,
    TooManyLogs,
    TransactionRefused,
)
from mpc_sequencer.settlement.devchain_json import Json, hex_data

CLIENT_VERSION: Final = "mpc_sequencer-embedded/1"
BATCH_REQUESTS_MAX: Final = 512
FEE_HISTORY_BLOCKS_MAX: Final = 1024
LOG_ADDRESSES_MAX: Final = 64
TOPIC_ALTERNATIVES_MAX: Final = 64
PRIORITY_FEE_WEI: Final = 10**9
QUANTITY_DIGITS_MAX: Final = 64
NESTING_MAX: Final = 32

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL_ERROR: Final = -32603
REFUSED: Final = -32000
LIMIT_EXCEEDED: Final = -32005
REVERTED: Final = 3

_JSON_STRINGS: Final = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_BRACKETS: Final = re.compile(rb"[\[\]{}]")
_FEE_FIELDS: Final = ("gas", "gasPrice", "maxFeePerGas", "maxPriorityFeePerGas")
_CALL_FIELDS: Final = frozenset(
    ("from", "to", "value", "data", "input", "nonce", "chainId", "type", "accessList", *_FEE_FIELDS)
)
_FILTER_FIELDS: Final = frozenset(["fromBlock", "toBlock", "blockHash", "address", "topics"])


class RpcError(Exception):
    """An error object of JSON-RPC."""

    def __init__(self, code: int, message: str, data: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.data = data

    def to_json(self) -> Json:
        """The ``error`` member of an answer."""
        error: dict[str, Json] = {"code": self.code, "message": str(self)}
        if self.data is not None:
            error["data"] = self.data
        return error


def _bad(field: str, seen: object, expected: str) -> RpcError:
    return RpcError(INVALID_PARAMS, f"{field} is {str(seen)[:80]!r}, expected {expected}")


def read_quantity(value: Json, field: str) -> int:
    """A minimal 0x hex number. Raises RpcError."""
    digits = value[2:] if isinstance(value, str) and value.startswith("0x") else ""
    plain = all(c in "0123456789abcdefABCDEF" for c in digits)
    if not plain or not 1 <= len(digits) <= QUANTITY_DIGITS_MAX or (digits[0] == "0" and len(digits) > 1):
        raise _bad(field, value, "a 0x number without leading zeros")
    return int(digits, 16)


def read_data(value: Json, field: str, size: int | None = None) -> bytes:
    """0x hex of whole bytes, of ``size`` bytes when given. Raises RpcError."""
    expected = "0x hex" if size is None else f"0x hex of {size} bytes"
    if not isinstance(value, str) or not value.startswith("0x") or not value.isascii() or " " in value:
        raise _bad(field, value, expected)
    try:
        data = bytes.fromhex(value[2:])
    except ValueError:
        raise _bad(field, value, expected) from None
    if len(data) * 2 != len(value) - 2 or (size is not None and len(data) != size):
        raise _bad(field, value, expected)
    return data


class JsonRpc:
    """The endpoint's methods over one chain. Safe for threads: one request is served at a time."""

    def __init__(self, chain: DevChain) -> None:
        self._chain = chain
        self._lock = threading.Lock()
        self._methods: dict[str, tuple[Callable[..., Json], int, int]] = {
            "web3_clientVersion": (lambda: CLIENT_VERSION, 0, 0),
            "net_version": (lambda: str(chain.chain_id), 0, 0),
            "eth_chainId": (lambda: hex(chain.chain_id), 0, 0),
            "eth_syncing": (lambda: False, 0, 0),
            "eth_accounts": (lambda: [], 0, 0),
            "eth_blockNumber": (lambda: hex(chain.head_number), 0, 0),
            "eth_gasPrice": (self._gas_price, 0, 0),
            "eth_maxPriorityFeePerGas": (lambda: hex(PRIORITY_FEE_WEI), 0, 0),
            "eth_feeHistory": (self._fee_history, 2, 3),
            "eth_getBlockByNumber": (self._block_by_number, 2, 2),
            "eth_getBlockByHash": (self._block_by_hash, 2, 2),
            "eth_getBalance": (self._balance, 1, 2),
            "eth_getTransactionCount": (self._nonce, 1, 2),
            "eth_getCode": (self._code, 1, 2),
            "eth_call": (self._call, 1, 2),
            "eth_estimateGas": (self._estimate_gas, 1, 2),
            "eth_sendRawTransaction": (self._send_raw, 1, 1),
            "eth_getTransactionReceipt": (self._receipt, 1, 1),
            "eth_getTransactionByHash": (self._transaction, 1, 1),
            "eth_getLogs": (self._logs, 1, 1),
        }

    # ----------------------------------------------------------------------------------------------- protocol

    def handle(self, body: bytes) -> bytes:
        """The answer to one request body; empty when only notifications were in it."""
        try:
            _check_nesting(body)
            request = json.loads(body.decode("utf-8"), parse_constant=_refuse_constant)
        except (ValueError, RecursionError):
            return _encode(_error_answer(None, RpcError(PARSE_ERROR, "body is not JSON")))
        with self._lock:
            try:
                if not isinstance(request, list):
                    answer = self._answer(request)
                elif not 1 <= len(request) <= BATCH_REQUESTS_MAX:
                    error = RpcError(INVALID_REQUEST, f"batch must hold 1 to {BATCH_REQUESTS_MAX} requests")
                    answer = _error_answer(None, error)
                else:
                    answers = [self._answer(entry) for entry in request]
                    answer = [entry for entry in answers if entry is not None] or None
            finally:
                self._chain.mine()
        return b"" if answer is None else _encode(answer)

    def _answer(self, request: Json) -> Json | None:
        try:
            identity = _read_identity(request)
        except RpcError as error:
            return _error_answer(None, error)
        try:
            result = self._dispatch(request)
        except RpcError as error:
            answer = _error_answer(identity, error)
        except CallReverted as error:
            answer = _error_answer(identity, RpcError(REVERTED, str(error), hex_data(error.data)))
        except TransactionRefused as error:
            answer = _error_answer(identity, RpcError(REFUSED, str(error)))
        except TooManyLogs as error:
            answer = _error_answer(identity, RpcError(LIMIT_EXCEEDED, str(error)))
        except Exception as error:
            # The EVM underneath may raise what it likes; the endpoint must go on serving.
            answer = _error_answer(identity, RpcError(INTERNAL_ERROR, type(error).__name__))
        else:
            answer = {"jsonrpc": "2.0", "id": identity, "result": result}
        return answer if "id" in request else None

    def _dispatch(self, request: Json) -> Json:
        if request.get("jsonrpc") != "2.0" or not isinstance(request.get("method"), str):
            raise RpcError(INVALID_REQUEST, 'expected {"jsonrpc": "2.0", "method": text, ...}')
        params = request.get("params", [])
        if not isinstance(params, list | dict):
            raise RpcError(INVALID_REQUEST, "params must be an array")
        entry = self._methods.get(request["method"])
        if entry is None:
            raise RpcError(METHOD_NOT_FOUND, f"unknown method {request['method'][:64]!r}")
        method, least, most = entry
        if not isinstance(params, list) or not least <= len(params) <= most:
            raise RpcError(INVALID_PARAMS, f"expected {least} to {most} positional parameters")
        if request["method"] != "eth_sendRawTransaction":
            self._chain.mine()
        return method(*params)

    # ------------------------------------------------------------------------------------------------ methods

    def _gas_price(self) -> Json:
        return hex(self._chain.base_fee_wei(self._chain.head_number) + PRIORITY_FEE_WEI)

    def _fee_history(self, count: Json, newest: Json, percentiles: Json = None) -> Json:
        wanted = (
            count if isinstance(count, int) and not isinstance(count, bool) else read_quantity(count, "count")
        )
        if not 1 <= wanted <= FEE_HISTORY_BLOCKS_MAX:
            raise _bad("count", count, f"1 to {FEE_HISTORY_BLOCKS_MAX}")
        if percentiles is not None and not (isinstance(percentiles, list) and len(percentiles) <= 100):
            raise _bad("percentiles", percentiles, "an array of at most 100")
        last = self._block_number(newest)
        first = max(0, last - wanted + 1)
        blocks = [self._chain.block(number) for number in range(first, last + 1)]
        fees = [block["baseFeePerGas"] for block in blocks]
        history: dict[str, Json] = {
            "oldestBlock": hex(first),
            "baseFeePerGas": [*fees, fees[-1]],
            "gasUsedRatio": [int(block["gasUsed"], 16) / int(block["gasLimit"], 16) for block in blocks],
        }
        if percentiles:
            history["reward"] = [[hex(PRIORITY_FEE_WEI)] * len(percentiles) for _ in blocks]
        return history

    def _block_number(self, value: Json) -> int:
        if value in ("latest", "pending", "safe", "finalized"):
            return self._chain.head_number
        number = 0 if value == "earliest" else read_quantity(value, "block")
        if number > self._chain.head_number:
            raise RpcError(REFUSED, f"block {number} is above the head {self._chain.head_number}")
        return number

    def _block_by_number(self, value: Json, full: Json) -> Json:
        by_number = isinstance(value, str) and value.startswith("0x")
        if by_number and read_quantity(value, "block") > self._chain.head_number:
            return None
        return self._full_block(self._block_number(value), full)

    def _block_by_hash(self, value: Json, full: Json) -> Json:
        number = self._chain.block_number_of(read_data(value, "block hash", 32))
        return None if number is None else self._full_block(number, full)

    def _full_block(self, number: int, full: Json) -> Json:
        if not isinstance(full, bool):
            raise _bad("full", full, "true or false")
        block = self._chain.block(number)
        if full:
            hashes = [bytes.fromhex(text[2:]) for text in block["transactions"]]
            block = {**block, "transactions": [self._chain.transaction(entry) for entry in hashes]}
        return block

    def _balance(self, account: Json, block: Json = "latest") -> Json:
        return hex(self._chain.balance_wei(read_data(account, "account", 20), self._block_number(block)))

    def _nonce(self, account: Json, block: Json = "latest") -> Json:
        return hex(self._chain.nonce(read_data(account, "account", 20), self._block_number(block)))

    def _code(self, account: Json, block: Json = "latest") -> Json:
        return hex_data(self._chain.code(read_data(account, "account", 20), self._block_number(block)))

    def _call(self, call: Json, block: Json = "latest") -> Json:
        return hex_data(self._chain.call(_read_call(call), self._block_number(block)))

    def _estimate_gas(self, call: Json, block: Json = "latest") -> Json:
        return hex(self._chain.estimate_gas(_read_call(call), self._block_number(block)))

    def _send_raw(self, raw: Json) -> Json:
        return hex_data(self._chain.apply_raw(read_data(raw, "transaction")))

    def _receipt(self, transaction_hash: Json) -> Json:
        return self._chain.receipt(read_data(transaction_hash, "transaction hash", 32))

    def _transaction(self, transaction_hash: Json) -> Json:
        return self._chain.transaction(read_data(transaction_hash, "transaction hash", 32))

    def _logs(self, query: Json) -> Json:
        if not isinstance(query, dict) or not set(query) <= _FILTER_FIELDS:
            raise _bad("filter", query, f"an object of {sorted(_FILTER_FIELDS)}")
        if "blockHash" in query:
            if "fromBlock" in query or "toBlock" in query:
                raise _bad("filter", query, "blockHash alone or fromBlock and toBlock")
            named = self._chain.block_number_of(read_data(query["blockHash"], "blockHash", 32))
            if named is None:
                raise RpcError(REFUSED, "unknown block")
            first = last = named
        else:
            first = self._block_number(query.get("fromBlock", "latest"))
            to_block = query.get("toBlock", "latest")
            is_number = isinstance(to_block, str) and to_block.startswith("0x")
            last = read_quantity(to_block, "toBlock") if is_number else self._block_number(to_block)
        addresses = _read_alternatives(query.get("address"), "address", 20, LOG_ADDRESSES_MAX)
        topics = query.get("topics") or []
        if not isinstance(topics, list) or len(topics) > 4:
            raise _bad("topics", topics, "an array of at most 4")
        wanted = tuple(_read_alternatives(topic, "topic", 32, TOPIC_ALTERNATIVES_MAX) for topic in topics)
        return self._chain.logs(LogQuery(first, last, addresses or frozenset(), wanted))


def _read_alternatives(value: Json, field: str, size: int, count_max: int) -> frozenset[bytes] | None:
    if value is None or value == []:
        return None
    entries = value if isinstance(value, list) else [value]
    if len(entries) > count_max:
        raise _bad(field, f"{len(entries)} values", f"at most {count_max}")
    return frozenset(read_data(entry, field, size) for entry in entries)


def _read_call(call: Json) -> CallRequest:
    if not isinstance(call, dict) or not set(call) <= _CALL_FIELDS:
        raise _bad("call", call, f"an object of {sorted(_CALL_FIELDS)}")
    if "data" in call and "input" in call and call["data"] != call["input"]:
        raise _bad("input", call["input"], "the same as data")
    sender = call.get("from")
    to = call.get("to")
    return CallRequest(
        sender=DEV_ADDRESS if sender is None else read_data(sender, "from", 20),
        to=b"" if to is None else read_data(to, "to", 20),
        data=read_data(call.get("data", call.get("input", "0x")), "data"),
        value_wei=read_quantity(call.get("value", "0x0"), "value"),
        gas=None if call.get("gas") is None else read_quantity(call["gas"], "gas"),
    )


def _read_identity(request: Json) -> int | str | None:
    if not isinstance(request, dict):
        raise RpcError(INVALID_REQUEST, "a request must be an object")
    identity = request.get("id")
    if isinstance(identity, bool) or not isinstance(identity, int | str | None):
        raise RpcError(INVALID_REQUEST, "id must be a whole number, a text or null")
    return identity


def _error_answer(identity: int | str | None, error: RpcError) -> Json:
    return {"jsonrpc": "2.0", "id": identity, "error": error.to_json()}


def _check_nesting(body: bytes) -> None:
    """Refuse deep nesting before the parser recurses into it: importing the EVM raises the interpreter's own
    limit so far that the parser would run out of stack and take the process with it."""
    depth = 0
    for bracket in _BRACKETS.finditer(_JSON_STRINGS.sub(b"", body)):
        depth += 1 if bracket.group() in b"[{" else -1
        if depth > NESTING_MAX:
            raise ValueError("nested too deeply")


def _refuse_constant(text: str) -> None:
    raise ValueError(text)


def _encode(answer: Json) -> bytes:
    return json.dumps(answer, separators=(",", ":")).encode("utf-8")
