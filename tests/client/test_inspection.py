"""Inspecting an envelope: every check has its verdict, and the first refusal is the member's own."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpc_sequencer.client import inspect_envelope, parse_envelope
from mpc_sequencer.client.inspection import ENVELOPE_FILE_BYTES_MAX, describe
from mpc_sequencer.core.codec import decode, encode
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.envelopes import check_envelope
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.types import Envelope
from threshold import ThresholdError

NOW_MS = 1_700_000_000_000


def changed(envelope: Envelope, field: str, index: int, bit: int = 1) -> bytes:
    data = bytearray(getattr(envelope, field))
    data[index] ^= bit
    return encode(msgspec.structs.replace(envelope, **{field: bytes(data)}))


def test_a_good_envelope_passes_all_checks_in_bytes_and_in_hex(make_order: Any, committee: Committee) -> None:
    data = encode(make_order().envelope)
    for form in (data, b"0x" + data.hex().encode() + b"\n"):
        inspection = inspect_envelope(committee, form, NOW_MS)
        assert inspection.valid and inspection.first_refusal is None
        description = describe(inspection)
        assert description["valid"] and [row["verdict"] for row in description["checks"]] == ["ok"] * 8
        assert bytes.fromhex(description["label_hex"]) == parse_envelope(form).label


@pytest.mark.parametrize(
    ("field", "index", "code"),
    [
        ("label", 0, "label.version"),
        ("label", 8, "label.chain"),
        ("label", 10, "label.settlement"),
        ("label", 30, "label.key"),
        ("label", 62, "tdh2.proof"),
        ("label", 100, "ciphertext.length"),
        ("ciphertext", 0, "ciphertext.version"),
        ("ciphertext", 1, "point.encoding"),
        ("ciphertext", 70, "tdh2.proof"),
        ("ciphertext", 300, "tdh2.proof"),
        ("sponsor_signature", 40, "sponsor.signature"),
        ("sponsor_signature", 64, "signature.encoding"),
    ],
)
def test_each_changed_byte_has_the_code_of_the_rule_it_breaks(
    make_order: Any, committee: Committee, field: str, index: int, code: str
) -> None:
    bit = 8 if (field, index) == ("ciphertext", 1) or index == 64 else 1
    data = changed(make_order().envelope, field, index, bit)
    inspection = inspect_envelope(committee, data, NOW_MS)
    codes = {check.refusal.code for check in inspection.checks if check.refusal is not None}
    assert code in codes
    with pytest.raises((ProtocolError, ThresholdError)):
        check_envelope(committee, decode(Envelope, data), NOW_MS)


@pytest.mark.parametrize(
    ("at_ms", "code"),
    [
        (NOW_MS + 60_000, "label.expired"),
        (NOW_MS - 5_001, "label.not_yet_valid"),
    ],
)
def test_the_window_is_judged_at_the_given_time(
    make_order: Any, committee: Committee, at_ms: int, code: str
) -> None:
    data = encode(make_order().envelope)
    refusal = inspect_envelope(committee, data, at_ms).first_refusal
    assert refusal is not None and refusal.code == code


@pytest.mark.parametrize(
    ("edit", "code"),
    [
        (lambda data: data[:-1], "wire.malformed"),
        (lambda data: data + b"\0", "wire.malformed"),
        (lambda data: b"", "wire.malformed"),
        (lambda data: b"\x95" + data[1:] + b"\x01", "wire.type"),
        (lambda data: b"\xdc\x00\x04" + data[1:], "wire.canonical"),
        (lambda data: data[:1] + b"\x02" + data[2:], "wire.type"),
        (lambda data: bytes(ENVELOPE_FILE_BYTES_MAX + 1), "wire.size"),
        (lambda data: b"0x" + b"zz", "wire.malformed"),
    ],
)
def test_bytes_that_are_no_canonical_envelope_have_their_code(
    make_order: Any, committee: Committee, edit: Any, code: str
) -> None:
    inspection = inspect_envelope(committee, edit(encode(make_order().envelope)), NOW_MS)
    assert [check.verdict for check in inspection.checks] == ["refused"] + ["skipped"] * 7
    assert inspection.first_refusal is not None and inspection.first_refusal.code == code
    assert describe(inspection)["label_hex"] is None


@given(st.binary(max_size=800))
def test_no_bytes_at_all_make_the_inspection_raise(data: bytes) -> None:
    # The committee is needed only behind the decoder, which random bytes do not pass.
    inspection = inspect_envelope(None, data, NOW_MS)  # type: ignore[arg-type]
    assert not inspection.valid
