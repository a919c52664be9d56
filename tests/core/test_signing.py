"""secp256k1 signatures: one form, low s, and nothing but a refusal for what is none."""

import pickle

import pytest
from coincurve import PublicKey
from core_kit import refused, sign_with_nonce
from hypothesis import given, settings
from hypothesis import strategies as st

from mpc_sequencer.core.signing import (
    GROUP_ORDER,
    Signer,
    address_of,
    check_signer,
    recover_address,
    recover_key,
)

SECRET = b"\x42" * 32
DIGEST = b"\x17" * 32


def test_a_signature_recovers_to_its_signer_and_is_deterministic() -> None:
    signer = Signer(SECRET)
    signature = signer.sign_digest(DIGEST)
    assert signature == signer.sign_digest(DIGEST)
    assert recover_address(DIGEST, signature, "x") == signer.address == address_of(signer.public_key)
    check_signer(DIGEST, signature, signer.address, "x")


def test_another_nonce_makes_another_valid_signature() -> None:
    assert recover_address(DIGEST, sign_with_nonce(SECRET, DIGEST, 5), "x") == Signer(SECRET).address


def test_high_s_is_refused_though_it_would_recover() -> None:
    with refused("signature.encoding"):
        recover_address(DIGEST, sign_with_nonce(SECRET, DIGEST, 5, high_s=True), "x")


@pytest.mark.parametrize(
    "bent",
    [
        lambda s: s[:64] + b"\x00",
        lambda s: s[:64] + b"\x1d",
        lambda s: s[:64],
        lambda s: s + b"\x00",
        lambda s: bytes(32) + s[32:],
        lambda s: s[:32] + bytes(32) + s[64:],
        lambda s: GROUP_ORDER.to_bytes(32, "big") + s[32:],
        lambda s: b"\xff" * 32 + s[32:],
        lambda s: bytes(65),
        lambda s: bytes(64) + b"\x1b",
    ],
)
def test_what_is_no_signature_is_refused(bent: object) -> None:
    with refused("signature.encoding") as error:
        recover_address(DIGEST, bent(Signer(SECRET).sign_digest(DIGEST)), "Vote.signature")  # type: ignore[operator]
    assert error[0].field == "Vote.signature"


@settings(max_examples=60, deadline=None)
@given(st.binary(min_size=65, max_size=65))
def test_no_bytes_raise_anything_else(signature: bytes) -> None:
    signer = Signer(SECRET)
    with pytest.raises(ValueError, match=r"signature\.(encoding|signer)"):
        check_signer(DIGEST, signature, signer.address, "x")


def test_another_digest_or_signer_is_refused() -> None:
    signer = Signer(SECRET)
    with refused("signature.signer"):
        check_signer(b"\x18" * 32, signer.sign_digest(DIGEST), signer.address, "x")
    with refused("signature.signer"):
        check_signer(DIGEST, Signer(b"\x43" * 32).sign_digest(DIGEST), signer.address, "x")


def test_a_digest_of_another_length_never_reaches_the_library() -> None:
    signature = Signer(SECRET).sign_digest(DIGEST)
    for digest in (b"", DIGEST[:31], DIGEST + b"\x00"):
        with pytest.raises(ValueError, match="a digest of"):
            recover_address(digest, signature, "x")


@settings(max_examples=30, deadline=None)
@given(st.binary(min_size=32, max_size=32), st.binary(min_size=64, max_size=64), st.sampled_from((27, 28)))
def test_recovery_agrees_with_the_wrapper_of_the_library(digest: bytes, r_and_s: bytes, v: int) -> None:
    signature = r_and_s[:32] + bytes((r_and_s[32] & 0x7F,)) + r_and_s[33:] + bytes((v,))
    try:
        key = PublicKey.from_signature_and_message(signature[:64] + bytes((v - 27,)), digest, hasher=None)
    except Exception:
        with refused("signature.encoding"):
            recover_key(digest, signature, "x")
    else:
        low_s = int.from_bytes(signature[32:64], "big") <= GROUP_ORDER // 2
        if low_s:
            assert recover_key(digest, signature, "x") == key.format(compressed=False)[1:]


def test_a_signer_shows_and_pickles_no_secret() -> None:
    signer = Signer(SECRET)
    assert SECRET.hex() not in repr(signer)
    with pytest.raises(TypeError, match="pickled"):
        pickle.dumps(signer)


def test_a_public_key_off_the_curve_is_a_value_error() -> None:
    with pytest.raises(ValueError):
        address_of(b"\x02" + b"\xff" * 32)
