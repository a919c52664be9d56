"""A development chain in memory: py-evm as eth-tester sets it up, with indexes for constant-time reads.

The rule: transactions of one request are applied in order and mined, BLOCK_TRANSACTIONS_MAX to a block,
before anything else is answered, so a receipt exists as soon as the request returns and a batch of deposits
costs few blocks. There is no mempool: a transaction whose nonce is not the next one, or which the sender
cannot pay, is refused at once.

Blocks, receipts and logs are kept as the JSON values the endpoint answers with. Everything ever mined stays
in memory; TRANSACTIONS_MAX bounds it, and a full chain refuses transactions and still answers reads.

Gas is that of the Prague rules, plus the cap of EIP-7825 on a transaction's gas limit. Devnets and tests
only: the funded key below is public.
"""

from __future__ import annotations

import hashlib
import time
from bisect import bisect_left
from dataclasses import dataclass
from typing import Any, Final

from eth.abc import BlockAPI, BlockHeaderAPI, ComputationAPI, ReceiptAPI, SignedTransactionAPI
from eth.exceptions import Revert
from eth.vm.spoof import SpoofTransaction
from eth_account import Account
from eth_tester.backends.pyevm.main import PyEVMBackend
from eth_utils.exceptions import ValidationError
from rlp.exceptions import RLPException

from mpc_sequencer.core.eip712 import keccak256
from mpc_sequencer.settlement.devchain_json import (
    Json,
    block_json,
    hex_data,
    receipt_json,
    transaction_json,
)

DEV_CHAIN_ID: Final = 31337
DEV_SECRET: Final = hashlib.sha256(b"mpc_sequencer devnet funding key").digest()
"""Secret of the one account the genesis funds. Public by design: devnets only, never hold value with it."""
DEV_ADDRESS: Final[bytes] = bytes.fromhex(Account.from_key(DEV_SECRET).address[2:])
DEV_BALANCE_WEI: Final = 10**9 * 10**18

BLOCK_GAS_MAX: Final = 60_000_000
TRANSACTION_GAS_MAX: Final = 1 << 24
BLOCK_TRANSACTIONS_MAX: Final = 16
"""py-evm rebuilds a pending block's tries with every transaction, so the cost of a block grows with the
square.
"""
TRANSACTIONS_MAX: Final = 20_000  # about 20 KB of memory each
LOGS_ANSWER_MAX: Final = 10_000
ZERO_ADDRESS: Final = bytes(20)


class TransactionRefused(Exception):
    """A raw transaction cannot enter the chain; the message says why."""


class CallReverted(Exception):
    """A call or estimate failed inside the EVM; ``data`` holds what the contract returned."""

    def __init__(self, message: str, data: bytes) -> None:
        super().__init__(message)
        self.data = data


class TooManyLogs(Exception):
    """A log query would answer with more than LOGS_ANSWER_MAX entries."""


@dataclass(frozen=True, slots=True)
class CallRequest:
    """One read-only call: ``to`` is empty for a deployment, amounts in wei, ``gas`` None for the cap."""

    sender: bytes
    to: bytes
    data: bytes
    value_wei: int
    gas: int | None


@dataclass(frozen=True, slots=True)
class LogQuery:
    """What logs to answer: a closed range of block numbers, addresses (none: any), alternatives per topic."""

    first_block: int
    last_block: int
    addresses: frozenset[bytes]
    topics: tuple[frozenset[bytes] | None, ...]

    def matches(self, address: bytes, topics: tuple[bytes, ...]) -> bool:
        """Whether a log entry of this address and these topics is asked for."""
        if self.addresses and address not in self.addresses:
            return False
        if len(self.topics) > len(topics):
            return False
        return all(wanted is None or topics[i] in wanted for i, wanted in enumerate(self.topics))


@dataclass(frozen=True, slots=True)
class _LogEntry:
    block_number: int
    address: bytes
    topics: tuple[bytes, ...]
    json: Json


class DevChain:
    """One chain. Not safe for threads: the endpoint holds a lock around every use."""

    def __init__(self, chain_id: int = DEV_CHAIN_ID) -> None:
        genesis_account = {"balance": DEV_BALANCE_WEI, "nonce": 0, "code": b"", "storage": {}}
        parameters = PyEVMBackend.generate_genesis_params(
            {"gas_limit": BLOCK_GAS_MAX, "timestamp": int(time.time()) - 1}
        )
        backend = PyEVMBackend(parameters, {DEV_ADDRESS: genesis_account})
        self._chain: Any = backend.chain
        self._chain.chain_id = chain_id
        self.chain_id = chain_id
        self._blocks: list[Json] = []
        self._numbers: dict[bytes, int] = {}
        self._receipts: dict[bytes, Json] = {}
        self._logs: list[_LogEntry] = []
        self._pending: list[SignedTransactionAPI] = []
        self._index_block(self._chain.get_canonical_block_by_number(0), ())

    # ------------------------------------------------------------------------------------------- transactions

    def apply_raw(self, raw: bytes) -> bytes:
        """Apply a signed transaction to the pending block; returns its hash. Raises TransactionRefused."""
        if len(self._receipts) + len(self._pending) >= TRANSACTIONS_MAX:
            raise TransactionRefused(f"embedded chain is full: {TRANSACTIONS_MAX} transactions")
        transaction = self._decode_transaction(raw)
        if transaction.gas > TRANSACTION_GAS_MAX:
            raise TransactionRefused(f"gas limit {transaction.gas} is above {TRANSACTION_GAS_MAX}")
        pending = self._chain.header
        if pending.gas_used + transaction.gas > pending.gas_limit:
            self.mine()
        try:
            sender = transaction.sender
            expected = self._chain.get_vm().state.get_nonce(sender)
            if transaction.nonce != expected:
                which = "low" if transaction.nonce < expected else "high"
                raise TransactionRefused(f"nonce too {which}: {transaction.nonce}, expected {expected}")
            self._chain.apply_transaction(transaction)
        except ValidationError as error:
            raise TransactionRefused(str(error)) from error
        self._pending.append(transaction)
        if len(self._pending) == BLOCK_TRANSACTIONS_MAX:
            self.mine()
        return bytes(transaction.hash)

    def _decode_transaction(self, raw: bytes) -> SignedTransactionAPI:
        try:
            transaction: Any = self._chain.get_vm().get_transaction_builder().decode(raw)
            transaction.check_signature_validity()
            signed_for = transaction.chain_id
        # The decoder of py-evm raises what its field readers happen to raise; all of it means a bad
        # transaction.
        except (ValidationError, RLPException, ValueError, TypeError, IndexError, AttributeError) as error:
            raise TransactionRefused("transaction does not decode") from error
        except Exception as error:
            raise TransactionRefused(f"transaction does not decode: {type(error).__name__}") from error
        if signed_for != self.chain_id:
            raise TransactionRefused(f"transaction is for chain {signed_for}, this is {self.chain_id}")
        return transaction  # type: ignore[no-any-return]

    def mine(self) -> None:
        """Mine what is pending into one block; nothing pending, nothing mined."""
        if not self._pending:
            return
        parent = self._blocks[-1]
        # Stays at the wall clock unless blocks come faster than one a second.
        self._chain.set_header_timestamp(max(int(parent["timestamp"], 16) + 1, int(time.time())))
        mix_hash = hashlib.sha256(bytes.fromhex(parent["hash"][2:])).digest()
        block = self._chain.mine_block(coinbase=ZERO_ADDRESS, mix_hash=mix_hash, blob_gas_used=0)
        self._pending = []
        self._index_block(block, block.get_receipts(self._chain.chaindb))

    # -------------------------------------------------------------------------------------------------- index

    def _index_block(self, block: BlockAPI, receipts: tuple[ReceiptAPI, ...]) -> None:
        header = block.header
        self._blocks.append(block_json(header, [hex_data(tx.hash) for tx in block.transactions]))
        self._numbers[header.hash] = header.block_number
        gas_before = 0
        log_index = 0
        for index, transaction in enumerate(block.transactions):
            receipt = receipts[index]
            logs = []
            for log in receipt.logs:
                topics = tuple(topic.to_bytes(32, "big") for topic in log.topics)
                entry = {
                    "address": hex_data(log.address),
                    "topics": [hex_data(topic) for topic in topics],
                    "data": hex_data(log.data),
                    "blockNumber": hex(header.block_number),
                    "blockHash": hex_data(header.hash),
                    "transactionHash": hex_data(transaction.hash),
                    "transactionIndex": hex(index),
                    "logIndex": hex(log_index),
                    "removed": False,
                }
                log_index += 1
                logs.append(entry)
                self._logs.append(_LogEntry(header.block_number, log.address, topics, entry))
            self._receipts[transaction.hash] = receipt_json(
                header, index, transaction, receipt, gas_used=receipt.gas_used - gas_before, logs=logs
            )
            gas_before = receipt.gas_used

    # -------------------------------------------------------------------------------------------------- reads

    @property
    def head_number(self) -> int:
        """Number of the last mined block."""
        return len(self._blocks) - 1

    def block(self, number: int) -> Json:
        """Block 0 to head_number as JSON with transaction hashes."""
        return self._blocks[number]

    def block_number_of(self, block_hash: bytes) -> int | None:
        """The number of a block by its hash, or None."""
        return self._numbers.get(block_hash)

    def receipt(self, transaction_hash: bytes) -> Json | None:
        """The receipt as JSON, or None."""
        return self._receipts.get(transaction_hash)

    def transaction(self, transaction_hash: bytes) -> Json | None:
        """The mined transaction as JSON, or None."""
        receipt = self._receipts.get(transaction_hash)
        if receipt is None:
            return None
        number, index = int(receipt["blockNumber"], 16), int(receipt["transactionIndex"], 16)
        return transaction_json(
            self._chain.get_canonical_block_by_number(number).transactions[index], receipt
        )

    def logs(self, query: LogQuery) -> list[Json]:
        """Log entries in chain order. Raises TooManyLogs."""
        found: list[Json] = []
        start = bisect_left(self._logs, query.first_block, key=lambda entry: entry.block_number)
        for position in range(start, len(self._logs)):
            entry = self._logs[position]
            if entry.block_number > query.last_block:
                break
            if query.matches(entry.address, entry.topics):
                if len(found) == LOGS_ANSWER_MAX:
                    raise TooManyLogs(f"more than {LOGS_ANSWER_MAX} logs: ask for a smaller range")
                found.append(entry.json)
        return found

    def _header(self, number: int) -> BlockHeaderAPI:
        header: BlockHeaderAPI = self._chain.get_canonical_block_header_by_number(number)
        return header

    def balance_wei(self, account: bytes, number: int) -> int:
        """Wei of ``account`` after block ``number``."""
        return int(self._chain.get_vm(self._header(number)).state.get_balance(account))

    def nonce(self, account: bytes, number: int) -> int:
        """Transactions sent by ``account`` up to block ``number``."""
        return int(self._chain.get_vm(self._header(number)).state.get_nonce(account))

    def code(self, account: bytes, number: int) -> bytes:
        """Code of ``account`` after block ``number``."""
        return bytes(self._chain.get_vm(self._header(number)).state.get_code(account))

    def base_fee_wei(self, number: int) -> int:
        """Base fee per gas of block ``number``."""
        return int(self._blocks[number]["baseFeePerGas"], 16)

    # -------------------------------------------------------------------------------------------------- calls

    def call(self, request: CallRequest, number: int) -> bytes:
        """Run a call on the state after block ``number``; returns its output. Raises CallReverted."""
        computation, _ = self._execute(request, number, request.gas or BLOCK_GAS_MAX)
        _raise_if_failed(computation)
        return bytes(computation.output)

    def estimate_gas(self, request: CallRequest, number: int) -> int:
        """A gas limit with which the call succeeds on that state. Raises CallReverted."""
        cap = min(request.gas or TRANSACTION_GAS_MAX, TRANSACTION_GAS_MAX)
        computation, intrinsic = self._execute(request, number, cap)
        _raise_if_failed(computation)
        # EIP-150 lets a call pass on 63/64 of the gas at most, so what was used is not always enough.
        used = intrinsic + computation.get_gas_used()
        tokens = len(request.data) * 4 - 3 * request.data.count(0)
        guess = min(cap, max(used + used // 32 + 3_000, 21_000 + 10 * tokens))
        computation, _ = self._execute(request, number, guess)
        return cap if computation.is_error else guess

    def _execute(self, request: CallRequest, number: int, gas: int) -> tuple[ComputationAPI, int]:
        vm = self._chain.get_vm(self._header(number))
        with vm.in_costless_state() as state:
            unsigned = vm.create_unsigned_transaction(
                nonce=state.get_nonce(request.sender),
                gas_price=0,
                gas=gas,
                to=request.to,
                value=request.value_wei,
                data=request.data,
            )
            if gas < unsigned.intrinsic_gas:
                raise CallReverted(f"gas {gas} is below the intrinsic {unsigned.intrinsic_gas}", b"")
            try:
                spoofed: Any = SpoofTransaction(unsigned, from_=request.sender)
                return state.costless_execute_transaction(spoofed), unsigned.intrinsic_gas
            except ValidationError as error:
                raise CallReverted(str(error), b"") from error


def _raise_if_failed(computation: ComputationAPI) -> None:
    if not computation.is_error:
        return
    error = computation.error
    if isinstance(error, Revert):
        data = bytes(computation.output)
        raise CallReverted(_revert_message(data), data)
    raise CallReverted(f"execution failed: {type(error).__name__}", b"")


def _revert_message(data: bytes) -> str:
    """``execution reverted`` with the reason when ``data`` is ABI-encoded Error(string)."""
    if data[:4] == keccak256(b"Error(string)")[:4] and len(data) >= 68:
        length = int.from_bytes(data[36:68], "big")
        if length <= len(data) - 68:
            return "execution reverted: " + data[68 : 68 + length].decode("utf-8", "replace")
    return "execution reverted"
