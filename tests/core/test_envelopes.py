"""An envelope at the door: one near-miss for every code, and the one that passes beside it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from core_kit import refused, variant

from mpc_sequencer.core import limits
from mpc_sequencer.core.envelopes import check_envelope
from mpc_sequencer.core.types import Envelope
from mpc_sequencer.sim import make_deployment
from mpc_sequencer.sim.deployment import START_MS
from threshold import Label, SealingKey, seal

D = make_deployment(4)
TRADER = D.traders[0]
NOW = START_MS
VALIDITY = limits.VALIDITY_MS_MAX


def sealed(**changes: Any) -> Envelope:
    """An envelope sealed under a changed label, its proof and sponsor signature good for that very label."""
    label = msgspec_replace(D.label(TRADER.address, NOW), changes)
    key = SealingKey(D.committee.genesis.public_key, label.chain_id, label.settlement)
    label = msgspec_replace(label, {"key_id": changes.get("key_id", key.key_id)})
    good = label if label.key_id == key.key_id else msgspec_replace(label, {"key_id": key.key_id})
    ciphertext = seal(key, good, b"anything", sigma=D.sigma())
    return D.sponsored(TRADER, label.encode(), ciphertext)


def msgspec_replace(label: Label, changes: dict[str, Any]) -> Label:
    fields = {name: getattr(label, name) for name in label.__dataclass_fields__} if hasattr(
        label, "__dataclass_fields__"
    ) else {name: getattr(label, name) for name in label.__struct_fields__}
    return Label(**{**fields, **changes})


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({}, None),
        ({"chain_id": 1}, "label.chain"),
        ({"settlement": b"\x09" * 20}, "label.settlement"),
        ({"key_id": b"\x09" * 32}, "label.key"),
        ({"valid_until_ms": NOW + 1}, None),
        ({"valid_from_ms": NOW - 9, "valid_until_ms": NOW}, "label.expired"),
        ({"valid_from_ms": NOW + limits.CLIENT_CLOCK_SLACK_MS}, None),
        ({"valid_from_ms": NOW + limits.CLIENT_CLOCK_SLACK_MS + 1}, "label.not_yet_valid"),
        ({"valid_until_ms": NOW + VALIDITY}, None),
        ({"valid_from_ms": NOW + 1, "valid_until_ms": NOW + VALIDITY + 1}, "label.validity"),
        ({"valid_from_ms": NOW - 1, "valid_until_ms": NOW + VALIDITY}, "label.validity"),
        ({"size_bucket": 512}, "label.bucket"),
        ({"sponsor": b"\x09" * 20}, "sponsor.signature"),
    ],
    ids=str,
)
def test_near_misses_of_the_label(changes: dict[str, Any], code: str | None) -> None:
    envelope = sealed(**changes)
    if code is None:
        assert check_envelope(D.committee, envelope, NOW).order_id == envelope.order_id()
        return
    with refused(code):
        check_envelope(D.committee, envelope, NOW)


def test_near_misses_of_the_rest() -> None:
    good = sealed()
    bent = msgspec.structs.replace(good, ciphertext=good.ciphertext[:-1] + bytes((good.ciphertext[-1] ^ 1,)))
    for envelope, code in [
        (bent, "tdh2.proof"),
        (msgspec.structs.replace(good, ciphertext=good.ciphertext[:-1]), "ciphertext.length"),
        (msgspec.structs.replace(good, ciphertext=b"\x02" + good.ciphertext[1:]), "ciphertext.version"),
        (msgspec.structs.replace(good, label=b"\x02" + good.label[1:]), "label.version"),
        (msgspec.structs.replace(good, sponsor_signature=bytes(65)), "signature.encoding"),
        (variant(D, 0, good, 7, high_s=True), "signature.encoding"),
        (D.sponsored(D.traders[1], good.label, good.ciphertext), "sponsor.signature"),
    ]:
        with refused(code):
            check_envelope(D.committee, envelope, NOW)
    check_envelope(D.committee, variant(D, 0, good, 7), NOW)


def test_an_empty_window_is_refused() -> None:
    good = sealed()
    at = 1 + 8 + 20 + 32 + 20
    until = good.label[at + 8 : at + 16]
    empty = msgspec.structs.replace(good, label=good.label[:at] + until + good.label[at + 8 :])
    with refused("label.validity"):
        check_envelope(D.committee, empty, NOW)


def test_a_signature_variant_keeps_the_order_s_id_and_a_changed_byte_elsewhere_does_not() -> None:
    good = sealed()
    other = variant(D, 0, good, 7)
    assert other.order_id() == good.order_id()
    assert other.envelope_hash() != good.envelope_hash()
    ids = {good.order_id()}
    ids.add(msgspec.structs.replace(good, label=bytes(101)).order_id())
    ids.add(msgspec.structs.replace(good, ciphertext=good.ciphertext + b"\x00").order_id())
    assert len(ids) == 3
