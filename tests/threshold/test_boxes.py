"""Provable boxes: one encoding, nothing of another's in one's own, and openings that nobody can make up."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import reference_boxes as reference
from hypothesis import example, given, settings
from hypothesis import strategies as st

from threshold import CODES, ThresholdError, boxes, ecies, group
from threshold.boxes import BOX_OVERHEAD_BYTES, Box
from threshold.errors import UsageError
from threshold.group import N

FOLDER = Path(__file__).parents[1] / "vectors"
FILE: dict[str, Any] = json.loads((FOLDER / "boxes.json").read_text())


def raw(text: str) -> bytes:
    return bytes.fromhex(text)


def seeded(name: str) -> bytes:
    return hashlib.sha256(b"test boxes: " + name.encode()).digest()


SECRET, KEY, NONCE_SEED = raw(FILE["secret"]), raw(FILE["key"]), raw(FILE["nonce_seed"])
FIRST = FILE["boxes"][0]
CONTEXT = raw(FIRST["context"])
GOOD = raw(FIRST["box"])


def refusal(data: bytes, context: bytes = CONTEXT) -> str:
    with pytest.raises(ThresholdError) as error:
        boxes.parse(data, context)
    return error.value.code


# -- vectors ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("vector", FILE["boxes"], ids=[one["name"] for one in FILE["boxes"]])
def test_a_box_and_its_opening_are_the_reference_s(vector: dict[str, Any]) -> None:
    plaintext, context, data = (raw(vector[name]) for name in ("plaintext", "context", "box"))
    assert boxes.seal(KEY, plaintext, raw(vector["ephemeral"]), context) == data
    assert len(data) == len(plaintext) + BOX_OVERHEAD_BYTES
    box = boxes.parse(data, context)
    assert box.encode() == data
    assert boxes.open_with_secret(SECRET, KEY, box, context) == plaintext
    opened = boxes.prove_opened(SECRET, box, context, NONCE_SEED)
    assert [part.hex() for part in opened] == [vector["opened"][name] for name in ("point", "c", "z")]
    assert boxes.verify_opened(KEY, box, context, *opened)
    assert boxes.open_with_point(KEY, box, context, opened[0]) == plaintext


@pytest.mark.parametrize("vector", FILE["refused"], ids=[one["name"] for one in FILE["refused"]])
def test_a_near_miss_is_refused_with_its_code(vector: dict[str, str]) -> None:
    assert refusal(raw(vector["box"]), raw(vector["context"])) == vector["error"]


@pytest.mark.parametrize("vector", FILE["unproven"], ids=[one["name"] for one in FILE["unproven"]])
def test_an_opening_with_one_thing_changed_is_not_proven(vector: dict[str, str]) -> None:
    box = boxes.parse(GOOD, CONTEXT)
    parts = (raw(vector[name]) for name in ("point", "c", "z"))
    assert not boxes.verify_opened(raw(vector["key"]), box, raw(vector["context"]), *parts)


def test_the_file_is_what_its_script_makes() -> None:
    spec = importlib.util.spec_from_file_location("make_boxes", FOLDER / "make_boxes.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.main(["--check"]) == 0


# -- attacks ------------------------------------------------------------------------------------------------


def test_copying_another_s_box_into_an_order_of_one_s_own_fails() -> None:
    """The context names the order; whoever does not know k can say nothing about E in another one."""
    own = seeded("own order")
    assert refusal(GOOD, own) == "box.proof"
    ephemeral, mine = GOOD[:33], seeded("mine")
    body = boxes.seal(KEY, b"mine", mine, own)[97:]
    statement = reference.proof_statement(own, ephemeral, body)
    assert refusal(ephemeral + group.schnorr_prove_secret(mine, statement, bytes(32)) + body, own) == "box.proof"
    assert refusal(ephemeral + GOOD[33:97] + body, own) == "box.proof"


def test_a_box_for_another_context_opens_to_nothing_in_this_one() -> None:
    box, elsewhere = boxes.parse(GOOD, CONTEXT), seeded("elsewhere")
    assert boxes.open_with_secret(SECRET, KEY, box, elsewhere) is None
    point, *_ = boxes.prove_opened(SECRET, box, CONTEXT, NONCE_SEED)
    assert boxes.open_with_point(KEY, box, elsewhere, point) is None


def test_a_box_sealed_to_another_key_is_bad_and_its_opening_shows_it() -> None:
    other = group.generator_multiply_secret(seeded("other"))
    box = boxes.parse(boxes.seal(other, b"row", seeded("k"), CONTEXT), CONTEXT)
    assert boxes.open_with_secret(SECRET, KEY, box, CONTEXT) is None
    opened = boxes.prove_opened(SECRET, box, CONTEXT, NONCE_SEED)
    assert boxes.verify_opened(KEY, box, CONTEXT, *opened)
    assert boxes.open_with_point(KEY, box, CONTEXT, opened[0]) is None


def test_garbage_sealed_with_a_right_proof_is_bad_and_its_opening_shows_it() -> None:
    k = seeded("k")
    ephemeral, body = group.generator_multiply_secret(k), bytes(40)
    proof = group.schnorr_prove_secret(k, reference.proof_statement(CONTEXT, ephemeral, body), bytes(32))
    box = boxes.parse(ephemeral + proof + body, CONTEXT)
    assert boxes.open_with_secret(SECRET, KEY, box, CONTEXT) is None
    opened = boxes.prove_opened(SECRET, box, CONTEXT, NONCE_SEED)
    assert boxes.verify_opened(KEY, box, CONTEXT, *opened)
    assert boxes.open_with_point(KEY, box, CONTEXT, opened[0]) is None


def test_a_false_complaint_cannot_open_a_box_to_something_else() -> None:
    """With another point than bE a right box opens to nothing, and no proof of that point is found."""
    box = boxes.parse(GOOD, CONTEXT)
    another = group.multiply_secret(box.point, seeded("another"))
    assert boxes.open_with_point(KEY, box, CONTEXT, another) is None
    forged = reference.prove_opened(int.from_bytes(SECRET, "big"), GOOD, CONTEXT, NONCE_SEED, another)
    assert not boxes.verify_opened(KEY, box, CONTEXT, *forged)


def test_nonces_of_two_openings_differ() -> None:
    """Two answers with one nonce would give b away: z - z' = (c - c') b."""
    one = boxes.parse(GOOD, CONTEXT)
    two = boxes.parse(boxes.seal(KEY, b"two", seeded("two"), CONTEXT), CONTEXT)
    answers = [boxes.prove_opened(SECRET, box, CONTEXT, seed) for box in (one, two) for seed in (NONCE_SEED, bytes(32))]
    b = int.from_bytes(SECRET, "big")
    nonces = {(int.from_bytes(z, "big") - int.from_bytes(c, "big") * b) % N for _, c, z in answers}
    assert len(nonces) == 4
    assert boxes.prove_opened(SECRET, one, CONTEXT, NONCE_SEED) == answers[0], "and the same one makes the same answer"


# -- secrets ------------------------------------------------------------------------------------------------


def test_secret_scalars_meet_constant_time_functions_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sealing, opening and proving call none of the variable-time functions; verifying uses nothing else."""

    def forbidden(*_args: object) -> object:
        raise AssertionError("a variable-time function on a secret")

    box = boxes.parse(GOOD, CONTEXT)
    k = raw(FIRST["ephemeral"])
    with monkeypatch.context() as patched:
        for name in ("multiply", "add", "negate_scalar", "generator_table", "lift_x", "is_scalar"):
            patched.setattr(group, name, forbidden)
        assert boxes.seal(KEY, raw(FIRST["plaintext"]), k, CONTEXT) == GOOD
        assert boxes.open_with_secret(SECRET, KEY, box, CONTEXT) == raw(FIRST["plaintext"])
        opened = boxes.prove_opened(SECRET, box, CONTEXT, NONCE_SEED)
    with monkeypatch.context() as patched:
        for name in [name for name in vars(group) if name.endswith("_secret")]:
            patched.setattr(group, name, forbidden)
        assert boxes.verify_opened(KEY, boxes.parse(GOOD, CONTEXT), CONTEXT, *opened)


def test_deals_and_boxes_share_no_hash() -> None:
    names = {tag for tag in vars(boxes.tags) if tag.startswith("BOX_")}
    assert len(names) == 5
    assert len({vars(boxes.tags)[name].name for name in names}) == 5
    assert set(vars(ecies)) & {"seal", "tags"} == set(), "what they share takes tags as arguments"


@pytest.mark.parametrize("wrong", [b"", bytes(32), N.to_bytes(32, "big"), b"\xff" * 32, bytes(31)])
def test_a_scalar_out_of_range_is_our_own_mistake(wrong: bytes) -> None:
    with pytest.raises(UsageError):
        boxes.seal(KEY, b"row", wrong, CONTEXT)
    box = boxes.parse(GOOD, CONTEXT)
    with pytest.raises(UsageError):
        boxes.open_with_secret(wrong, KEY, box, CONTEXT)
    with pytest.raises(UsageError):
        boxes.prove_opened(wrong, box, CONTEXT, NONCE_SEED)


def test_lengths_that_we_choose_are_held() -> None:
    with pytest.raises(UsageError):
        boxes.seal(KEY, b"row", seeded("k"), CONTEXT[:31])
    with pytest.raises(UsageError):
        boxes.parse(GOOD, CONTEXT + b"\0")
    with pytest.raises(UsageError):
        boxes.prove_opened(SECRET, boxes.parse(GOOD, CONTEXT), CONTEXT, NONCE_SEED[:31])
    with pytest.raises(ThresholdError) as error:
        boxes.seal(bytes(33), b"row", seeded("k"), CONTEXT)
    assert error.value.code == "point.infinity"


def test_a_box_shows_no_point_and_equal_boxes_are_equal() -> None:
    box = boxes.parse(GOOD, CONTEXT)
    assert box == boxes.parse(GOOD, CONTEXT) and "cdata" not in repr(box)
    with pytest.raises((TypeError, pickle.PicklingError)):
        pickle.dumps(box)


# -- hostile bytes ------------------------------------------------------------------------------------------


@given(data=st.binary(max_size=400))
@example(data=b"")
@example(data=bytes(BOX_OVERHEAD_BYTES))
@settings(max_examples=200, deadline=None)
def test_of_any_bytes_only_a_threshold_error_escapes(data: bytes) -> None:
    with pytest.raises(ThresholdError) as error:
        boxes.parse(data, CONTEXT)
    assert error.value.code in CODES


@given(at=st.integers(0, len(GOOD) - 1), bit=st.integers(0, 7))
@settings(max_examples=150, deadline=None)
def test_no_bit_of_a_box_may_change(at: int, bit: int) -> None:
    with pytest.raises(ThresholdError):
        boxes.parse(GOOD[:at] + bytes([GOOD[at] ^ 1 << bit]) + GOOD[at + 1 :], CONTEXT)


@given(key=st.binary(max_size=40), point=st.binary(max_size=40), c=st.binary(max_size=40), z=st.binary(max_size=40))
@settings(max_examples=200, deadline=None)
def test_an_opening_of_any_bytes_is_not_proven_and_opens_nothing(key: bytes, point: bytes, c: bytes, z: bytes) -> None:
    box = boxes.parse(GOOD, CONTEXT)
    right = boxes.prove_opened(SECRET, box, CONTEXT, NONCE_SEED)
    assert boxes.verify_opened(key, box, CONTEXT, point, c, z) is False
    assert boxes.verify_opened(KEY, box, CONTEXT, right[0], c, z) is False
    assert boxes.verify_opened(KEY, box, CONTEXT, point, *right[1:]) is False
    assert boxes.verify_opened(key, box, CONTEXT, *right) is False
    assert boxes.open_with_point(KEY, box, CONTEXT, point) is None


@given(plaintext=st.binary(max_size=300), context=st.binary(min_size=32, max_size=32), seed=st.binary(max_size=8))
@settings(max_examples=50, deadline=None)
def test_what_is_sealed_opens(plaintext: bytes, context: bytes, seed: bytes) -> None:
    k, b = hashlib.sha256(b"k" + seed).digest(), hashlib.sha256(b"b" + seed).digest()
    key = group.generator_multiply_secret(b)
    box: Box = boxes.parse(boxes.seal(key, plaintext, k, context), context)
    assert boxes.open_with_secret(b, key, box, context) == plaintext
    opened = boxes.prove_opened(b, box, context, NONCE_SEED)
    assert boxes.verify_opened(key, box, context, *opened)
    assert boxes.open_with_point(key, box, context, opened[0]) == plaintext
