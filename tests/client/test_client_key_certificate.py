"""A certificate of the threshold key: believed for q members' signatures over all that it says, and for nothing less.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from client_key_kit import Signers, certify, generated, without_key
from hypothesis import given, settings
from hypothesis import strategies as st
from key_forgeries import NEAR_MISSES, Bend

from mpc_sequencer.client import KeyPending, make_label
from mpc_sequencer.client.committee_key import known_key, take_certificate
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.keys import check_key_certificate
from mpc_sequencer.core.signing import Signer
from mpc_sequencer.core.types import KeyCertificate
from threshold import ThresholdError


# --- the certificate ----------------------------------------------------------------------------------------------
def test_a_quorum_s_certificate_gives_a_key_that_orders_are_sealed_to(
    keyless: Committee, certificate: KeyCertificate, trader: Signer
) -> None:
    with pytest.raises(KeyPending):
        known_key(keyless)
    key = take_certificate(keyless, certificate)
    made = generated(keyless)
    assert (key.public_key, key.threshold, key.epoch) == (made.public_key, 3, 0)
    assert (key.qualified, key.signers) == ((0, 1, 2, 3), (0, 1, 2))
    label = make_label(keyless, trader.address, (1_000, 2_000))
    assert label.key_id == key.key_id == keyless.sealing_key.key_id
    held = list(keyless.sharing(0).verification_keys)
    assert held == [made.verification_keys[i] for i in range(1, 5)]


def test_all_members_signatures_and_a_later_attempt_prove_a_key_as_well(
    keyless: Committee, member_signers: Signers
) -> None:
    later = certify(keyless, member_signers, attempt=3, by=range(4))
    assert take_certificate(keyless, later).public_key == generated(keyless, 3).public_key


@pytest.mark.parametrize(("bend", "code"), NEAR_MISSES, ids=lambda value: getattr(value, "__name__", value).strip("_"))
def test_a_near_miss_of_a_certificate_gives_no_key(
    keyless: Committee, member_signers: Signers, bend: Bend, code: str
) -> None:
    false = bend(keyless, member_signers)
    with pytest.raises((ProtocolError, ThresholdError)) as refusal:
        take_certificate(keyless, false)
    assert getattr(refusal.value, "code") == code  # noqa: B009 - two families share the attribute, not a base
    assert keyless.keys is None
    with pytest.raises(KeyPending):
        make_label(keyless, bytes(20), (1_000, 2_000))


def test_a_session_that_signers_name_beside_another_s_result_gives_no_key(
    keyless: Committee, member_signers: Signers
) -> None:
    """q signatures over one session's name and another session's result: the result is not that session's."""
    mixed = certify(keyless, member_signers, attempt=1, result=generated(keyless).encode())
    with pytest.raises(ProtocolError) as refusal:
        check_key_certificate(keyless, mixed)
    assert refusal.value.code == "key.result"


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_no_bit_of_a_certificate_can_be_changed(data: st.DataObject, devnet: Any, member_signers: Signers) -> None:
    committee = Committee(without_key(devnet.file.genesis))
    good = certify(committee, member_signers)
    bent = bytearray(good.result)
    bent[data.draw(st.integers(0, len(bent) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises((ProtocolError, ThresholdError)):
        take_certificate(committee, msgspec.structs.replace(good, result=bytes(bent)))
    assert committee.keys is None
