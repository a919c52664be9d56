"""Encodings of the messages: one for each value, and every bent byte refused for its cause."""

from __future__ import annotations

from collections.abc import Callable

import dkg_cheats as cheats
import pytest
from dkg_kit import flipped, generation, members, play
from hypothesis import given, settings
from hypothesis import strategies as st

from threshold.dkg import Kind, Message, MessageType, Phase, Session, message_type, payload_bytes_max, wire
from threshold.errors import ThresholdError
from threshold.group import POINT_BYTES

PLAN = generation(4, 3, 1)
STATES: dict[Phase, tuple[Session, list[Message]]] = {}


def _keep(session: Session, messages: list[Message]) -> list[Message]:
    STATES.setdefault(session.phase, (session, messages))
    return messages


class OneVictim(cheats.WrongShares, cheats.NoFeldman):
    victims = frozenset((1,))


PLAN_7 = generation(7, 4, 2)
play(PLAN_7, members(PLAN_7, {2: cheats.NoFeldman, 3: OneVictim}), _keep)
RECEIVERS = (1, 2, 3, 4, 5, 6, 7)
DECODERS: dict[Phase, Callable[[bytes], object]] = {
    Phase.KEYS: wire.decode_session_key,
    Phase.DEALS: lambda payload: wire.decode_deal(payload, Kind.GENERATE, RECEIVERS, 4),
    Phase.ANSWERS: lambda payload: wire.decode_opened(payload, MessageType.ANSWER, 7),
    Phase.FELDMAN: lambda payload: wire.decode_feldman(payload, 4),
    Phase.EXTRACTION: lambda payload: wire.decode_opened(payload, MessageType.EXTRACT, 7),
    Phase.READY: wire.decode_ready,
}


def encode(phase: Phase, decoded: object) -> bytes:
    if phase is Phase.READY:
        assert isinstance(decoded, bytes)
        return wire.encode_ready(decoded)
    if isinstance(decoded, tuple):
        return wire.encode_opened(MessageType.ANSWER if phase is Phase.ANSWERS else MessageType.EXTRACT, decoded)
    encoded: bytes = decoded.encode()  # type: ignore[attr-defined]
    return encoded


def code(decode: Callable[[bytes], object], payload: bytes) -> str:
    with pytest.raises(ThresholdError) as caught:
        decode(payload)
    return caught.value.code


PAYLOADS = {phase: messages[0].payload for phase, (_, messages) in STATES.items()}


def test_every_phase_has_a_message_to_bend() -> None:
    assert set(PAYLOADS) == set(DECODERS) and len(PAYLOADS[Phase.ANSWERS]) == 100


@pytest.mark.parametrize("phase", list(DECODERS))
def test_what_decodes_encodes_to_the_same_bytes(phase: Phase) -> None:
    payload = PAYLOADS[phase]
    assert encode(phase, DECODERS[phase](payload)) == payload
    assert len(payload) <= payload_bytes_max(Kind.GENERATE, 7, 7, 4)


@pytest.mark.parametrize("phase", list(DECODERS))
def test_other_lengths_and_types_are_refused(phase: Phase) -> None:
    payload, decode = PAYLOADS[phase], DECODERS[phase]
    for wrong in (payload[:-1], payload + b"\0", payload[:2]):
        assert code(decode, wrong) == "dkg.length"
    other = bytes([payload[0] % 6 + 1]) + payload[1:]
    assert code(decode, other) == "dkg.type"
    for unknown in (b"", b"\x00", b"\x07", b"\xff" + payload[1:]):
        assert code(decode, unknown) == code(message_type, unknown) == "dkg.type"


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(list(DECODERS)), st.binary(max_size=300))
def test_random_bytes_decode_canonically_or_are_refused(phase: Phase, tail: bytes) -> None:
    for payload in (tail, PAYLOADS[phase][: 1 + len(tail) // 2] + tail, PAYLOADS[phase][:-1] + tail[:1]):
        try:
            decoded = DECODERS[phase](payload)
        except ThresholdError:
            continue
        assert encode(phase, decoded) == payload


#: For each message the codes that a bent byte of a field may meet with: (first byte, byte after the last, codes).
POINT = {"point.off_curve", "point.encoding"}
DEAL_HEAD = 1 + 4 * POINT_BYTES
FIELDS: dict[Phase, list[tuple[str, int, int, set[str]]]] = {
    Phase.KEYS: [("B", 1, 34, POINT | {"dkg.key_proof"}), ("proof", 34, 98, {"dkg.key_proof"})],
    Phase.DEALS: [
        ("commitments", 1, DEAL_HEAD, POINT | {"dkg.deal_proof"}),
        ("E", DEAL_HEAD, DEAL_HEAD + 33, POINT | {"dkg.deal_proof"}),
        ("proof", DEAL_HEAD + 33, DEAL_HEAD + 97, {"dkg.deal_proof"}),
        ("body", DEAL_HEAD + 97, DEAL_HEAD + 177, {"dkg.deal_proof"}),
    ],
    Phase.ANSWERS: [
        ("dealer", 1, 3, {"dkg.complaint_dealer", "dkg.complaint_proof"}),
        ("D", 3, 36, POINT | {"dkg.complaint_proof"}),
        ("c", 36, 68, {"dkg.complaint_proof"}),
        ("z", 68, 100, {"dkg.complaint_proof"}),
    ],
    Phase.FELDMAN: [
        ("commitments", 1, DEAL_HEAD, POINT | {"dkg.feldman_proof"}),
        ("c", DEAL_HEAD, DEAL_HEAD + 32, {"dkg.feldman_proof"}),
        ("z", DEAL_HEAD + 32, DEAL_HEAD + 64, {"dkg.feldman_proof"}),
    ],
    Phase.EXTRACTION: [
        ("dealer", 1, 3, {"dkg.extract_dealers", "dkg.order"}),
        ("D", 3, 36, POINT | {"dkg.extract_proof"}),
        ("c", 36, 68, {"dkg.extract_proof"}),
        ("z", 68, 100, {"dkg.extract_proof"}),
    ],
    Phase.READY: [("hash", 1, 33, {"dkg.ready_hash"})],
}


@pytest.mark.parametrize(("phase", "field"), [(phase, field) for phase, fields in FIELDS.items() for field in fields])
def test_every_bent_byte_is_refused_with_its_code(phase: Phase, field: tuple[str, int, int, set[str]]) -> None:
    """The bent message changes nothing but its author's mark and name; a receiver's deal stays as it was."""
    session, messages = STATES[phase]
    message, (_, first, end, codes) = messages[0], field
    clean = session.block(session.height + 1, session.time_ms, [])
    met = set()
    for at in range(first, end):
        bent = Message(message.index, flipped(message.payload, at))
        after = session.block(session.height + 1, session.time_ms, [bent])
        (new,) = [culprit for culprit in after.culprits if culprit not in session.culprits]
        met.add(new.code)
        assert new.code in codes and new.index == message.index and new.is_evidence
        assert after.phase is phase
        for name in ("keys", "deals", "disqualified", "feldman", "opened_values", "ready", "ephemerals"):
            assert getattr(after, name) == getattr(clean, name), (name, at)
    assert met <= codes and met - POINT, "the field is covered by its check, not only by the curve's equation"


def test_complaints_ascend_by_dealer() -> None:
    entry = PAYLOADS[Phase.ANSWERS][1:]
    for wrong in (entry + entry, entry + b"\0\1" + entry[2:]):
        assert code(DECODERS[Phase.ANSWERS], b"\x03" + wrong) == "dkg.order"
    assert code(DECODERS[Phase.ANSWERS], b"\x03" + 8 * entry) == "dkg.length"


def test_a_scalar_out_of_range_is_refused() -> None:
    for phase in (Phase.ANSWERS, Phase.FELDMAN, Phase.EXTRACTION):
        for bad in (bytes(32), b"\xff" * 32):
            payload = PAYLOADS[phase]
            assert code(DECODERS[phase], payload[:-32] + bad) == "scalar.range"
            at = len(payload) - 64
            assert code(DECODERS[phase], payload[:at] + bad + payload[-32:]) == "scalar.range"


def test_no_peer_can_make_a_session_raise() -> None:
    session, messages = STATES[Phase.DEALS]
    junk = [Message(i % 9, bytes([i % 8]) * (i * 37 % 900)) for i in range(200)]
    after = session.block(session.height + 1, session.time_ms, [*messages[:3], *junk])
    assert len(after.deals) == 3 and {culprit.index for culprit in after.culprits} == {4, 5, 6, 7}
    assert {culprit.code for culprit in after.culprits} == {"dkg.length"}
