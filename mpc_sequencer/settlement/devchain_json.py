"""JSON forms of blocks, receipts and transactions, as Ethereum nodes answer with them."""

from __future__ import annotations

from typing import Any

from eth.abc import BlockHeaderAPI, ReceiptAPI, SignedTransactionAPI

from mpc_sequencer.core.eip712 import keccak256

Json = Any


def hex_data(value: bytes) -> str:
    """0x-prefixed hex of ``value``."""
    return "0x" + value.hex()


def block_json(header: BlockHeaderAPI, transactions: list[str]) -> Json:
    """A block by its header and transaction hashes."""
    return {
        "number": hex(header.block_number),
        "hash": hex_data(header.hash),
        "parentHash": hex_data(header.parent_hash),
        "nonce": hex_data(header.nonce),
        "sha3Uncles": hex_data(header.uncles_hash),
        "logsBloom": hex_data(header.bloom.to_bytes(256, "big")),
        "transactionsRoot": hex_data(header.transaction_root),
        "stateRoot": hex_data(header.state_root),
        "receiptsRoot": hex_data(header.receipt_root),
        "miner": hex_data(header.coinbase),
        "mixHash": hex_data(header.mix_hash),
        "difficulty": "0x0",
        "extraData": hex_data(header.extra_data),
        "size": "0x0",
        "gasLimit": hex(header.gas_limit),
        "gasUsed": hex(header.gas_used),
        "timestamp": hex(header.timestamp),
        "baseFeePerGas": hex(header.base_fee_per_gas or 0),
        "transactions": transactions,
        "uncles": [],
    }


def _transaction_type(transaction: Any) -> int:
    # Typed transactions carry their type byte; a legacy one has none.
    return int(getattr(transaction, "type_id", 0) or 0)


def receipt_json(
    header: BlockHeaderAPI,
    index: int,
    transaction: SignedTransactionAPI,
    receipt: ReceiptAPI,
    *,
    gas_used: int,
    logs: list[Json],
) -> Json:
    """The receipt of the ``index``-th transaction of a block; ``gas_used`` is that transaction's alone."""
    created = None
    if not transaction.to:
        created = hex_data(contract_address(transaction.sender, transaction.nonce))
    base_fee = header.base_fee_per_gas or 0
    price = min(transaction.max_fee_per_gas, base_fee + transaction.max_priority_fee_per_gas)
    return {
        "transactionHash": hex_data(transaction.hash),
        "transactionIndex": hex(index),
        "blockHash": hex_data(header.hash),
        "blockNumber": hex(header.block_number),
        "from": hex_data(transaction.sender),
        "to": hex_data(transaction.to) if transaction.to else None,
        "contractAddress": created,
        "cumulativeGasUsed": hex(receipt.gas_used),
        "gasUsed": hex(gas_used),
        "effectiveGasPrice": hex(price),
        "logs": logs,
        "logsBloom": hex_data(receipt.bloom.to_bytes(256, "big")),
        "status": "0x1" if receipt.state_root == b"\x01" else "0x0",
        "type": hex(_transaction_type(transaction)),
    }


def transaction_json(transaction: Any, receipt: Json) -> Json:
    """A mined transaction, placed by its receipt."""
    return {
        "hash": receipt["transactionHash"],
        "blockHash": receipt["blockHash"],
        "blockNumber": receipt["blockNumber"],
        "transactionIndex": receipt["transactionIndex"],
        "from": receipt["from"],
        "to": receipt["to"],
        "type": receipt["type"],
        "nonce": hex(transaction.nonce),
        "gas": hex(transaction.gas),
        "gasPrice": receipt["effectiveGasPrice"],
        "maxFeePerGas": hex(transaction.max_fee_per_gas),
        "maxPriorityFeePerGas": hex(transaction.max_priority_fee_per_gas),
        "value": hex(transaction.value),
        "input": hex_data(transaction.data),
        "chainId": hex(transaction.chain_id),
        "v": hex(transaction.y_parity),
        "r": hex(transaction.r),
        "s": hex(transaction.s),
    }


def contract_address(sender: bytes, nonce: int) -> bytes:
    """Address (20 bytes) of the contract that ``sender`` deploys with ``nonce``: the last 20 bytes of an RLP
    hash.
    """
    number = b"" if nonce == 0 else nonce.to_bytes((nonce.bit_length() + 7) // 8, "big")
    encoded = number if len(number) == 1 and number[0] < 0x80 else bytes([0x80 + len(number)]) + number
    payload = b"\x94" + sender + encoded
    return keccak256(bytes([0xC0 + len(payload)]) + payload)[12:]
