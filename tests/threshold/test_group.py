"""The wrappers around libsecp256k1, against plain integers, with the cases the library does not forgive."""

import pytest
import reference
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sealing_kit import refusal

from threshold import group
from threshold.errors import UsageError
from threshold.group import FIELD_PRIME, FixedBase, N

GENERATOR = group.parse_point(group.GENERATOR, "g")
TABLE = FixedBase(GENERATOR)
scalars = st.integers(1, N - 1)


def wire(number: int) -> bytes:
    return number.to_bytes(32, "big")


def on_reference(number: int) -> bytes:
    return reference.compress(reference.multiply(number, reference.G))


@settings(max_examples=15, deadline=None)
@given(scalars)
@example(1)
@example(N - 1)
@example(256**31)
@example(0xFF)
def test_every_multiplication_agrees_with_plain_integers(k: int) -> None:
    expected = on_reference(k)
    assert group.encode_point(group.multiply(GENERATOR, wire(k))) == expected
    assert group.multiply_secret(GENERATOR, wire(k)) == expected
    assert group.generator_multiply_secret(wire(k)) == expected
    product = TABLE.multiply_add(wire(k))
    assert product is not None and group.encode_point(product) == expected


@settings(max_examples=15, deadline=None)
@given(scalars, scalars, scalars)
@example(1, N - 1, 2)
def test_scalar_arithmetic_on_secrets_agrees_with_plain_integers(a: int, b: int, c: int) -> None:
    expected = (a * b + c) % N
    if expected:
        assert group.scalar_multiply_add_secret(wire(a), wire(b), wire(c)) == wire(expected)
    assert group.negate_scalar(wire(a)) == wire(N - a)


def test_a_zero_result_or_operand_is_refused_not_returned() -> None:
    with pytest.raises(UsageError):
        group.scalar_multiply_add_secret(wire(2), wire(3), wire(N - 6))
    for bad in (wire(0), wire(N), b"\xff" * 32):
        with pytest.raises(UsageError):
            group.scalar_multiply_add_secret(wire(1), bad, wire(1))
        with pytest.raises(UsageError):
            group.multiply_secret(GENERATOR, bad)
        with pytest.raises(UsageError):
            group.generator_multiply_secret(bad)
        with pytest.raises(UsageError):
            group.multiply(GENERATOR, bad)
    for short in (b"", b"\x01" * 31, b"\x01" * 33):
        with pytest.raises(UsageError):
            group.multiply_secret(GENERATOR, short)
        with pytest.raises(UsageError):
            group.generator_multiply_secret(short)


def test_sums_repeat_points_cancel_to_none_and_refuse_to_be_empty() -> None:
    tripled = group.add([GENERATOR, GENERATOR, GENERATOR])
    assert tripled is not None and group.encode_point(tripled) == on_reference(3)
    assert group.add([GENERATOR, group.negate(GENERATOR)]) is None
    assert TABLE.multiply_add(wire(5), group.multiply(GENERATOR, wire(N - 5))) is None
    assert TABLE.multiply_add(wire(0)) is None
    with pytest.raises(UsageError):
        group.add([])


def test_operations_leave_their_arguments_alone() -> None:
    before = group.encode_point(GENERATOR)
    group.multiply(GENERATOR, wire(7))
    group.negate(GENERATOR)
    TABLE.multiply_add(wire(7), GENERATOR)
    assert group.encode_point(GENERATOR) == before


def test_reduction_of_digests() -> None:
    assert group.reduce_scalar(wire(N - 1)) == wire(N - 1)
    assert group.reduce_scalar(wire(N + 5)) == wire(5)
    for zero in (wire(0), wire(N)):
        with pytest.raises(UsageError):
            group.reduce_scalar(zero)


@pytest.mark.parametrize(
    ("encoded", "code"),
    [
        (b"", "point.encoding"),
        (group.GENERATOR[:-1], "point.encoding"),
        (group.GENERATOR + b"\0", "point.encoding"),
        (b"\x04" + group.GENERATOR[1:], "point.encoding"),
        (b"\x00" + group.GENERATOR[1:], "point.encoding"),
        (b"\x05" + group.GENERATOR[1:], "point.encoding"),
        (b"\x04" + b"".join(wire(c) for c in reference.G), "point.encoding"),
        (b"\x06" + b"".join(wire(c) for c in reference.G), "point.encoding"),
        (b"\x02" + wire(FIELD_PRIME), "point.encoding"),
        (b"\x02" + wire(FIELD_PRIME + 1), "point.encoding"),
        (b"\x02" + b"\xff" * 32, "point.encoding"),
        (b"\x02" + wire(5), "point.off_curve"),
        (b"\x02" + wire(0), "point.off_curve"),
        (bytes(33), "point.infinity"),
        (b"\0", "point.infinity"),
    ],
)
def test_point_decoding_is_strict(encoded: bytes, code: str) -> None:
    with refusal(code):
        group.parse_point(encoded, "p")


@settings(max_examples=100, deadline=None)
@given(st.binary(min_size=31, max_size=35))
def test_whatever_decodes_as_a_point_encodes_to_the_same_bytes(data: bytes) -> None:
    try:
        point = group.parse_point(data, "p")
    except ValueError:
        return
    assert group.encode_point(point) == data


@settings(max_examples=60, deadline=None)
@given(st.integers(0, FIELD_PRIME - 1))
def test_lifting_gives_the_even_root_or_none(x: int) -> None:
    square = (x**3 + 7) % FIELD_PRIME
    y = group.lift_x(x)
    if y is None:
        assert pow(square, (FIELD_PRIME - 1) // 2, FIELD_PRIME) == FIELD_PRIME - 1
    else:
        assert y * y % FIELD_PRIME == square and y % 2 == 0 and y < FIELD_PRIME


def test_coordinates_off_the_curve_are_refused() -> None:
    with refusal("point.off_curve"):
        group.point_from_xy(reference.G[0], reference.G[1] ^ 1)
