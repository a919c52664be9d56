"""EIP-712 digests against eth-account's, for every registered type."""

import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data
from hypothesis import given, settings
from hypothesis import strategies as st

import mpc_sequencer.core.node  # noqa: F401
from mpc_sequencer.core.eip712 import (
    DOMAIN_NAME,
    DOMAIN_VERSION,
    StructType,
    digest,
    domain_separator,
    keccak256,
    registered_types,
)
from mpc_sequencer.core.signing import Signer

CHAIN_ID = 31_337
SETTLEMENT = b"\x5e" * 20
OURS = sorted(name for name in registered_types() if not name.startswith("Vote2"))


def value_of(kind: str) -> st.SearchStrategy[int | bytes]:
    if kind.startswith("uint"):
        return st.integers(0, (1 << int(kind[4:])) - 1)
    if kind.startswith("int"):
        bits = int(kind[3:])
        return st.integers(-(1 << (bits - 1)), (1 << (bits - 1)) - 1)
    return st.binary(min_size=20, max_size=20) if kind == "address" else st.binary(min_size=32, max_size=32)


def typed_data(kind: StructType, values: list[int | bytes]) -> dict[str, object]:
    shown = [
        "0x" + value.hex() if member[0] == "address" and isinstance(value, bytes) else value
        for member, value in zip(kind.members, values, strict=True)
    ]
    return {
        "types": {
            "EIP712Domain": [
                {"name": "name", "type": "string"},
                {"name": "version", "type": "string"},
                {"name": "chainId", "type": "uint256"},
                {"name": "verifyingContract", "type": "address"},
            ],
            kind.name: [{"name": name, "type": of} for of, name in kind.members],
        },
        "primaryType": kind.name,
        "domain": {
            "name": DOMAIN_NAME,
            "version": DOMAIN_VERSION,
            "chainId": CHAIN_ID,
            "verifyingContract": "0x" + SETTLEMENT.hex(),
        },
        "message": dict(zip((name for _, name in kind.members), shown, strict=True)),
    }


@pytest.mark.parametrize("name", OURS)
@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_a_digest_is_what_a_wallet_signs(name: str, data: st.DataObject) -> None:
    kind = registered_types()[name]
    values = [data.draw(value_of(of)) for of, _ in kind.members]
    signable = encode_typed_data(full_message=typed_data(kind, values))
    theirs = keccak256(b"\x19" + signable.version + signable.header + signable.body)
    assert digest(domain_separator(CHAIN_ID, SETTLEMENT), kind(*values)) == theirs


def test_a_wallet_s_signature_is_ours() -> None:
    kind = registered_types()["Sponsor"]
    secret = b"\x21" * 32
    theirs = Account.sign_typed_data(secret, full_message=typed_data(kind, [b"\x01" * 32])).signature
    ours = Signer(secret).sign_digest(digest(domain_separator(CHAIN_ID, SETTLEMENT), kind(b"\x01" * 32)))
    assert bytes(theirs) == ours


def test_another_chain_or_contract_gives_another_digest() -> None:
    separators = {
        domain_separator(CHAIN_ID, SETTLEMENT),
        domain_separator(CHAIN_ID + 1, SETTLEMENT),
        domain_separator(CHAIN_ID, b"\x5f" * 20),
    }
    assert len(separators) == 3


@pytest.mark.parametrize(
    "values",
    [(1 << 64, 0), (-1, 0), (0,), (0, 0, 0), (b"\x00" * 32, 0), (0, 1 << 64)],
)
def test_a_value_that_does_not_fit_its_member_is_a_misuse(values: tuple[int | bytes, ...]) -> None:
    with pytest.raises((TypeError, ValueError)):
        registered_types()["Nullify"](*values)


@pytest.mark.parametrize("signature", ["Order", "(uint8 a)", "Order(uint8 a"])
def test_a_type_string_must_be_one(signature: str) -> None:
    with pytest.raises(ValueError, match="not an EIP-712 type"):
        StructType(signature)
