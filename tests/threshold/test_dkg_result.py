"""A result has one encoding: what `encode` would not have written is refused, with one code per cause."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
from dkg_kit import generation, members, play
from hypothesis import given, settings
from hypothesis import strategies as st

from threshold import ThresholdError
from threshold.dkg import Result

SESSION_END = 32
Y_START = SESSION_END + 2
ROWS_START = Y_START + 33 + 2
ROW = 2 + 33
N_MEMBERS = 4
DEALERS_START = ROWS_START + N_MEMBERS * ROW + 2
OFF_CURVE = b"\x02" + bytes(31) + b"\x05"  # 5^3 + 7 is no square


@cache
def made() -> Result:
    plan = generation(N_MEMBERS, 3, 1)
    result = play(plan, members(plan)).result
    assert result is not None and result.qualified == (1, 2, 3, 4)
    return result


def refusal(data: bytes) -> str:
    with pytest.raises(ThresholdError) as refused:
        Result.decode(data)
    return refused.value.code


def written(at: int, data: bytes) -> bytes:
    """The result's encoding with other bytes from `at` on."""
    good = made().encode()
    return good[:at] + data + good[at + len(data) :]


def row(number: int) -> bytes:
    start = ROWS_START + number * ROW
    return made().encode()[start : start + ROW]


def test_what_encode_writes_reads_back() -> None:
    assert Result.decode(made().encode()) == made()
    some = replace(made(), qualified=(2, 65_535))
    assert Result.decode(some.encode()) == some


@pytest.mark.parametrize("missing", [1, 2, 8, 9, 10, ROW, 200])
def test_a_truncated_result_is_refused(missing: int) -> None:
    assert refusal(made().encode()[:-missing]) == "dkg.length"


def test_every_prefix_of_a_result_is_refused() -> None:
    good = made().encode()
    assert {refusal(good[:end]) for end in range(len(good))} == {"dkg.length"}


@pytest.mark.parametrize("behind", [b"\0", b"\0\5", bytes(ROW)])
def test_bytes_behind_a_result_are_refused(behind: bytes) -> None:
    assert refusal(made().encode() + behind) == "dkg.length"


@pytest.mark.parametrize("at", [ROWS_START - 2, DEALERS_START - 2], ids=["receivers", "dealers"])
@pytest.mark.parametrize("count", [0, N_MEMBERS - 1, N_MEMBERS + 1, 0xFFFF])
def test_a_count_of_more_or_fewer_than_follow_is_refused(at: int, count: int) -> None:
    assert refusal(written(at, count.to_bytes(2, "big"))) == "dkg.length"


def test_a_receiver_named_twice_is_refused() -> None:
    assert refusal(written(ROWS_START + ROW, row(0))) == "dkg.order"
    assert refusal(written(ROWS_START + ROW, row(0)[:2])) == "dkg.order", "with another key as well"


def test_receivers_in_another_order_are_refused() -> None:
    assert refusal(written(ROWS_START, row(1) + row(0))) == "dkg.order"
    assert refusal(written(ROWS_START + 2 * ROW, row(3) + row(2))) == "dkg.order"


def test_dealers_twice_or_in_another_order_are_refused() -> None:
    for dealers in [(1, 1, 3, 4), (2, 1, 3, 4), (1, 2, 4, 3), (1, 2, 3, 3)]:
        assert refusal(replace(made(), qualified=dealers).encode()) == "dkg.order"


def test_an_index_of_0_is_refused() -> None:
    assert refusal(written(ROWS_START, bytes(2))) == "dkg.order"
    assert refusal(replace(made(), qualified=(0, 2, 3, 4)).encode()) == "dkg.order"


@pytest.mark.parametrize("at", [Y_START, ROWS_START + 2, ROWS_START + 3 * ROW + 2], ids=["Y", "first", "last"])
@pytest.mark.parametrize(
    ("point", "code"),
    [
        (bytes(33), "point.infinity"),
        (OFF_CURVE, "point.off_curve"),
        (b"\x04" + OFF_CURVE[1:], "point.encoding"),
        (b"\x03" + b"\xff" * 32, "point.encoding"),
    ],
)
def test_a_key_that_is_no_point_is_refused(at: int, point: bytes, code: str) -> None:
    assert refusal(written(at, point)) == code


@pytest.mark.parametrize("threshold", [0, N_MEMBERS + 1, 0xFFFF])
def test_a_threshold_out_of_range_is_refused(threshold: int) -> None:
    assert refusal(replace(made(), threshold=threshold).encode()) == "dkg.threshold"


@pytest.mark.parametrize("threshold", [1, N_MEMBERS])
def test_a_threshold_at_either_bound_is_read(threshold: int) -> None:
    assert Result.decode(replace(made(), threshold=threshold).encode()).threshold == threshold


def test_a_result_of_nobody_is_refused() -> None:
    assert refusal(replace(made(), verification_keys={}, qualified=(), threshold=0).encode()) == "dkg.threshold"


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300) | st.integers(0, 8 * len(made().encode()) - 1))
def test_whatever_is_read_is_what_encode_writes(bent: bytes | int) -> None:
    data = bent
    if isinstance(data, int):
        flipped = bytearray(made().encode())
        flipped[data // 8] ^= 1 << data % 8
        data = bytes(flipped)
    try:
        result = Result.decode(data)
    except ThresholdError:
        return
    assert result.encode() == data and 1 <= result.threshold <= len(result.verification_keys)
