"""Talking to an Ethereum node: bounded HTTP, local signing, sending, waiting for receipts.

Every request has a connect time-out, a deadline as a whole and a bound on its answer, so that a node that
accepts and says nothing, or answers without end, costs a named number of seconds. Nothing is retried here:
whoever calls knows whether a repetition is harmless. Proxies of the environment are not used.

A transaction is signed before it is sent and its hash is known then: sending the same bytes again after an
unclear failure can never execute twice.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import httpx
from eth_account import Account
from web3 import Web3
from web3.exceptions import ContractLogicError, Web3Exception, Web3RPCError
from web3.providers.base import JSONBaseProvider
from web3.types import RPCEndpoint, RPCResponse

from mpc_sequencer.core.nesting import hold_nesting
from mpc_sequencer.settlement.errors import (
    ChainError,
    ChainMismatch,
    ChainUnreachable,
    ReceiptTimeout,
    TransactionRejected,
    TransactionReverted,
)

CONNECT_S_MAX: Final = 3.0
REQUEST_S_MAX: Final = 20.0
ANSWER_BYTES_MAX: Final = 32 << 20
RECEIPT_S_MAX: Final = 60.0
RECEIPT_POLL_S_MIN: Final = 0.02
RECEIPT_POLL_S_MAX: Final = 1.0
BATCH_REQUESTS_MAX: Final = 100
TRANSACTION_GAS_MAX: Final = 1 << 24  # EIP-7825


class HttpProvider(JSONBaseProvider):
    """JSON-RPC over HTTP for web3.py. Safe for threads. Raises ChainUnreachable for whatever the transport
    does.
    """

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url
        timeout = httpx.Timeout(REQUEST_S_MAX, connect=CONNECT_S_MAX)
        self._http = httpx.Client(timeout=timeout, trust_env=False, follow_redirects=False)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        """One request; the whole answer object, errors included."""
        answer = self._post(self.encode_rpc_request(method, params))
        if not isinstance(answer, dict) or ("result" not in answer and "error" not in answer):
            raise ChainUnreachable(f"{self.url} does not speak JSON-RPC")
        return answer  # type: ignore[return-value]

    def make_batch_request(self, requests: list[tuple[RPCEndpoint, Any]]) -> list[RPCResponse]:
        """Several requests in one body; answers in the order of the requests."""
        answers = self._post(self.encode_batch_rpc_request(requests))
        try:
            ordered: list[Any] = sorted(answers, key=lambda answer: answer["id"])
        except (TypeError, KeyError, AttributeError):
            ordered = []
        if len(ordered) != len(requests):
            raise ChainUnreachable(f"{self.url} does not answer batches of JSON-RPC")
        return ordered

    def _post(self, body: bytes) -> Any:
        deadline = time.monotonic() + REQUEST_S_MAX
        received = bytearray()
        try:
            with self._http.stream(
                "POST", self.url, content=body, headers={"Content-Type": "application/json"}
            ) as response:
                for chunk in response.iter_bytes():
                    received += chunk
                    if len(received) > ANSWER_BYTES_MAX:
                        raise ChainUnreachable(f"{self.url} answers with more than {ANSWER_BYTES_MAX} bytes")
                    if time.monotonic() > deadline:
                        raise ChainUnreachable(f"{self.url} did not answer within {REQUEST_S_MAX:g} s")
            hold_nesting()
            return json.loads(received)
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError, OSError) as error:
            raise ChainUnreachable(f"{self.url} is not reachable: {type(error).__name__}") from error
        except (ValueError, RecursionError) as error:
            raise ChainUnreachable(f"{self.url} does not speak JSON-RPC") from error


@dataclass(frozen=True, slots=True)
class Call:
    """What a transaction does: ``to`` empty to deploy; ``gas`` 0 to estimate."""

    to: bytes
    data: bytes
    value_wei: int = 0
    gas: int = 0


@dataclass(frozen=True, slots=True)
class PreparedTransaction:
    """A signed transaction and its hash. It holds no secret."""

    raw: bytes
    transaction_hash: bytes
    nonce: int


@dataclass(frozen=True, slots=True)
class Receipt:
    """``status`` is 1 for success, 0 for a revert; ``contract`` the deployed address or None."""

    transaction_hash: bytes
    status: int
    gas_used: int
    block_number: int
    contract: bytes | None


def checksum(address: bytes) -> Any:
    """The form web3.py wants an address in."""
    return Web3.to_checksum_address("0x" + address.hex())


def chain_error(error: Exception) -> ChainError:
    """The error of ours for an error of web3.py."""
    if isinstance(error, ContractLogicError):
        return TransactionReverted(_reason(str(error.message or "")))
    if isinstance(error, Web3RPCError):
        return TransactionRejected(_rpc_message(error))
    return ChainMismatch(f"the chain's answer does not read: {type(error).__name__}")


def _reason(message: str) -> str:
    return message.removeprefix("execution reverted: ").strip() or "no reason given"


def _rpc_message(error: Web3RPCError) -> str:
    response = error.rpc_response or {}
    content = response.get("error")
    return str(content.get("message", content)) if isinstance(content, dict) else str(content or error)


ANSWER_ERRORS: Final = (Web3Exception, ValueError, TypeError, KeyError, LookupError, OverflowError)
"""What web3.py raises for an answer it cannot use."""


class EthClient:
    """One node and the contract-independent part of using it. Blocking; safe for threads."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._provider = HttpProvider(url)
        self._web3 = Web3(self._provider, middleware=[])
        self._chain_id: int | None = None

    def close(self) -> None:
        """Close the connections."""
        self._provider.close()

    # -------------------------------------------------------------------------------------------------- reads

    def request(self, method: str, *params: object) -> Any:
        """The result of one JSON-RPC call. Raises TransactionRejected for an error answer."""
        return self._result(self._provider.make_request(RPCEndpoint(method), list(params)))

    def _result(self, answer: Any) -> Any:
        error = answer.get("error")
        if error is None:
            return answer["result"]
        message = str(error.get("message", error)) if isinstance(error, dict) else str(error)
        if isinstance(error, dict) and (error.get("code") == 3 or message.startswith("execution reverted")):
            raise TransactionReverted(_reason(message))
        raise TransactionRejected(message)

    def _quantity(self, method: str, *params: object) -> int:
        answer = self.request(method, *params)
        try:
            return int(answer, 16)
        except (TypeError, ValueError):
            raise ChainMismatch(f"{method} answered {str(answer)[:60]!r}, expected a number") from None

    def chain_id(self) -> int:
        """EIP-155 chain id, asked once."""
        if self._chain_id is None:
            self._chain_id = self._quantity("eth_chainId")
        return self._chain_id

    def block_number(self) -> int:
        """Number of the newest block."""
        return self._quantity("eth_blockNumber")

    def block(self, tag: str) -> tuple[int, bytes] | None:
        """Number and hash of the block that the node calls ``latest`` or ``finalized``; None where it calls none so."""
        block = self.request("eth_getBlockByNumber", tag, False)
        if not isinstance(block, dict):
            return None
        try:
            return int(block["number"], 16), _bytes32(block.get("hash"), "block hash")
        except (KeyError, TypeError, ValueError):
            raise ChainMismatch(f"the {tag} block does not read") from None

    def newest_block(self) -> tuple[int, bytes]:
        """Number and hash of the newest block."""
        found = self.block("latest")
        if found is None:
            raise ChainMismatch("the chain has no newest block")
        return found

    def block_hash(self, number: int) -> bytes:
        """Hash of a block. Raises ChainMismatch when the chain has none of that number."""
        block = self.request("eth_getBlockByNumber", hex(number), False)
        if not isinstance(block, dict):
            raise ChainMismatch(f"the chain has no block {number}")
        return _bytes32(block.get("hash"), "block hash")

    def code(self, address: bytes, block: int | str = "latest") -> bytes:
        """Code at an address; empty for none."""
        at = hex(block) if isinstance(block, int) else block
        return bytes.fromhex(str(self.request("eth_getCode", "0x" + address.hex(), at))[2:])

    def fees(self, number: int) -> tuple[int, int]:
        """(base fee of a block, what the node advises for its maker) in wei per gas."""
        block = self.request("eth_getBlockByNumber", hex(number), False)
        try:
            base_fee = int(block["baseFeePerGas"], 16)
        except (TypeError, KeyError, ValueError):
            raise ChainMismatch(f"block {number} has no base fee: the chain must know EIP-1559") from None
        return base_fee, self._quantity("eth_maxPriorityFeePerGas")

    def transaction_count(self, address: bytes, block: int | str) -> int:
        """How many transactions an account had sent at a block, or, at ``pending``, with those that wait."""
        at = hex(block) if isinstance(block, int) else block
        return self._quantity("eth_getTransactionCount", "0x" + address.hex(), at)

    def check_chain_id(self, expected: int) -> None:
        """Ask for the chain's id anew. Raises ChainMismatch where it is another: the endpoint serves another chain."""
        seen = self._quantity("eth_chainId")
        if seen != expected:
            raise ChainMismatch(f"{self.url} serves chain {seen}, not chain {expected}")

    def balance_wei(self, address: bytes) -> int:
        """Wei an address holds."""
        return self._quantity("eth_getBalance", "0x" + address.hex(), "latest")

    # ------------------------------------------------------------------------------------------------- writes

    def prepare(self, secret: bytes, calls: Sequence[Call]) -> list[PreparedTransaction]:
        """Sign ``calls`` with consecutive nonces of the secret's account (32 bytes).

        A call with gas 0 is estimated on the newest state. Raises TransactionReverted with the contract's
        reason when that fails, ChainUnreachable, TransactionRejected.
        """
        account = Account.from_key(secret)
        first_nonce = self._quantity("eth_getTransactionCount", account.address, "pending")
        block = self.request("eth_getBlockByNumber", "latest", False)
        try:
            base_fee = int(block["baseFeePerGas"], 16)
        except (TypeError, KeyError, ValueError):
            raise ChainMismatch("the newest block has no base fee: the chain must know EIP-1559") from None
        priority = self._quantity("eth_maxPriorityFeePerGas")
        prepared = []
        for nonce, call in enumerate(calls, first_nonce):
            fields: dict[str, Any] = {
                "chainId": self.chain_id(),
                "nonce": nonce,
                "value": call.value_wei,
                "data": "0x" + call.data.hex(),
                "gas": call.gas or self._estimate(account.address, call),
                "maxFeePerGas": 2 * base_fee + priority,
                "maxPriorityFeePerGas": priority,
            }
            if call.to:
                fields["to"] = checksum(call.to)
            signed = account.sign_transaction(fields)
            prepared.append(PreparedTransaction(bytes(signed.raw_transaction), bytes(signed.hash), nonce))
        return prepared

    def sign(
        self, secret: bytes, call: Call, nonce: int, max_fee_wei: int, priority_wei: int
    ) -> PreparedTransaction:
        """Sign one call under a nonce and fees of the caller's choice. A call with gas 0 is estimated on the newest
        state; raises as :meth:`prepare` does."""
        account = Account.from_key(secret)
        fields: dict[str, Any] = {
            "chainId": self.chain_id(),
            "nonce": nonce,
            "to": checksum(call.to),
            "value": call.value_wei,
            "data": "0x" + call.data.hex(),
            "gas": call.gas or self._estimate(account.address, call),
            "maxFeePerGas": max_fee_wei,
            "maxPriorityFeePerGas": priority_wei,
        }
        signed = account.sign_transaction(fields)
        return PreparedTransaction(bytes(signed.raw_transaction), bytes(signed.hash), nonce)

    def _estimate(self, sender: str, call: Call) -> int:
        fields = {"from": sender, "data": "0x" + call.data.hex(), "value": hex(call.value_wei)}
        if call.to:
            fields["to"] = "0x" + call.to.hex()
        gas = self._quantity("eth_estimateGas", fields)
        # State may change before the transaction is mined; a tenth more is cheap, as unused gas is returned.
        return min(TRANSACTION_GAS_MAX, gas + gas // 10)

    def broadcast(self, prepared: Sequence[PreparedTransaction]) -> None:
        """Send signed transactions in order; sending the same again is harmless. Raises TransactionRejected
        for the first one refused, ChainUnreachable when it is not known what arrived."""
        for start in range(0, len(prepared), BATCH_REQUESTS_MAX):
            part = prepared[start : start + BATCH_REQUESTS_MAX]
            method = RPCEndpoint("eth_sendRawTransaction")
            requests = [(method, ["0x" + transaction.raw.hex()]) for transaction in part]
            if len(requests) == 1:
                answers = [self._provider.make_request(*requests[0])]
            else:
                answers = self._provider.make_batch_request(requests)
            for transaction, answer in zip(part, answers, strict=True):
                if "error" in answer and not self._is_known(transaction, str(answer["error"])):
                    self._result(answer)

    def _is_known(self, transaction: PreparedTransaction, refusal: str) -> bool:
        if "already known" in refusal or "already imported" in refusal:
            return True
        return "nonce too low" in refusal and self.receipt(transaction.transaction_hash) is not None

    def receipt(self, transaction_hash: bytes) -> Receipt | None:
        """The receipt, or None while the transaction is not mined."""
        answer = self.request("eth_getTransactionReceipt", "0x" + transaction_hash.hex())
        if answer is None:
            return None
        try:
            contract = answer.get("contractAddress")
            return Receipt(
                transaction_hash,
                int(answer["status"], 16),
                int(answer["gasUsed"], 16),
                int(answer["blockNumber"], 16),
                bytes.fromhex(contract[2:]) if contract else None,
            )
        except ANSWER_ERRORS as error:
            raise ChainMismatch("the receipt does not read") from error

    def wait_receipt(self, transaction_hash: bytes, timeout_s: float = RECEIPT_S_MAX) -> Receipt:
        """The receipt once there is one. Raises ReceiptTimeout after ``timeout_s`` seconds."""
        deadline = time.monotonic() + timeout_s
        pause = RECEIPT_POLL_S_MIN
        while True:
            receipt = self.receipt(transaction_hash)
            if receipt is not None:
                return receipt
            if time.monotonic() + pause > deadline:
                raise ReceiptTimeout(f"no receipt of {transaction_hash.hex()} within {timeout_s:g} s")
            time.sleep(pause)
            pause = min(2 * pause, RECEIPT_POLL_S_MAX)

    def transact(self, secret: bytes, calls: Sequence[Call]) -> list[Receipt]:
        """Sign, send and await ``calls`` in order. Raises TransactionReverted for the first that reverts."""
        prepared = self.prepare(secret, calls)
        self.broadcast(prepared)
        receipts = []
        for call, transaction in zip(calls, prepared, strict=True):
            receipt = self.wait_receipt(transaction.transaction_hash)
            if receipt.status != 1:
                raise TransactionReverted(self._why(secret, call, receipt))
            receipts.append(receipt)
        return receipts

    def _why(self, secret: bytes, call: Call, receipt: Receipt) -> str:
        """The reason of a mined revert, found by running the call again on the state before its block."""
        fields = {"from": Account.from_key(secret).address, "data": "0x" + call.data.hex()}
        fields |= {"to": "0x" + call.to.hex()} if call.to else {}
        try:
            self.request("eth_call", {**fields, "value": hex(call.value_wei)}, hex(receipt.block_number - 1))
        except TransactionReverted as error:
            return error.reason
        except TransactionRejected:
            pass
        return f"no reason known, gas used {receipt.gas_used} of {call.gas or 'an estimate'}"


def _bytes32(value: object, field: str) -> bytes:
    try:
        data = bytes.fromhex(str(value)[2:])
    except ValueError:
        data = b""
    if len(data) != 32:
        raise ChainMismatch(f"{field} is {str(value)[:80]!r}, expected 32 bytes")
    return data
