"""EIP-712 typed data of an action, as wallets take it (``eth_signTypedData_v4``).

A wallet shows the fields and signs; the signature goes into the plaintext by :func:`parse_wallet_signature`
and :func:`~mpc_sequencer.core.actions.with_account_signature`. The types are read from the same registry
the members sign and verify with, so the two cannot drift apart.
"""

from __future__ import annotations

from typing import Any, Final

from msgspec.structs import astuple

from mpc_sequencer.core import domains, eip712
from mpc_sequencer.core.actions import Action, Cancel, CancelAll, DarkOrder, Order, Replace, Withdrawal
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.signing import SIGNATURE_BYTES, check_encoding

_DOMAIN_MEMBERS: Final = [
    {"name": "name", "type": "string"},
    {"name": "version", "type": "string"},
    {"name": "chainId", "type": "uint256"},
    {"name": "verifyingContract", "type": "address"},
]
_STRUCTS: Final[dict[type, eip712.StructType]] = {
    Order: domains.ORDER_TYPE,
    Withdrawal: domains.WITHDRAWAL_TYPE,
    Cancel: domains.CANCEL_TYPE,
    CancelAll: domains.CANCEL_ALL_TYPE,
    Replace: domains.REPLACE_TYPE,
    DarkOrder: domains.DARK_ORDER_TYPE,
}


def typed_data(committee: Committee, action: Action) -> dict[str, Any]:
    """The typed-data document of ``action``; its digest is
    :func:`~mpc_sequencer.client.build.account_digest`.
    """
    struct = _STRUCTS[type(action)]
    values: tuple[int | bytes, ...] = astuple(action)
    if isinstance(action, Withdrawal):
        values = (*values[:-1], action.amount_units)
    if isinstance(action, DarkOrder):
        values = (*values[:-1], action.boxes_hash())
    return {
        "types": {
            "EIP712Domain": _DOMAIN_MEMBERS,
            struct.name: [{"name": name, "type": kind} for kind, name in struct.members],
        },
        "primaryType": struct.name,
        "domain": {
            "name": eip712.DOMAIN_NAME,
            "version": eip712.DOMAIN_VERSION,
            "chainId": committee.genesis.chain_id,
            "verifyingContract": "0x" + committee.genesis.settlement.hex(),
        },
        "message": {
            name: "0x" + value.hex() if isinstance(value, bytes) else value
            for (_, name), value in zip(struct.members, values, strict=True)
        },
    }


def parse_wallet_signature(text: str) -> bytes:
    """A wallet's 0x-prefixed signature as 65 bytes; a recovery id of 0 or 1 is read as 27 or 28."""
    try:
        raw = bytes.fromhex(text.strip().removeprefix("0x"))
    except ValueError:
        raise ProtocolError("signature.encoding", "signature", text, "65 bytes in hex") from None
    if len(raw) == SIGNATURE_BYTES and raw[64] in (0, 1):
        raw = raw[:64] + bytes((raw[64] + 27,))
    check_encoding(raw, "signature")
    return raw
