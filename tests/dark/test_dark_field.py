"""Field vectors and shared rows: every fast path is equal to plain integers, to the edges of what is exact."""

import pickle
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from mpyc.finfields import GF

from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.dark import field, limbs
from mpc_sequencer.dark.field import Elements, SharedRows, elements, from_bytes, inverse, sqrt_blum, to_bytes
from mpc_sequencer.dark.params import PRIME

NEAR = [0, 1, 2, 104, 105, 106, (1 << 24) - 1, 1 << 24, (1 << 48) - 1, (1 << 72) - 1, 1 << 93, PRIME - 2, PRIME - 1]
element = st.one_of(st.sampled_from(NEAR), st.integers(0, PRIME - 1))
ORACLE = GF(PRIME)


def matrix(rows: int, columns: int, seed: int) -> tuple[SharedRows, Elements]:
    """Rows that mix random elements with those of all limbs set, and the same as integers."""
    generator = np.random.default_rng(seed)
    values = [int.from_bytes(generator.bytes(20), "little") % PRIME for _ in range(rows * columns)]
    values = [PRIME - 1 if at % 7 == 3 else value for at, value in enumerate(values)]
    plain = np.array(values, dtype=object).reshape(rows, columns)
    return SharedRows.from_bytes(to_bytes(plain), rows, columns), plain


@given(st.lists(element))
def test_bytes_and_back(values: list[int]) -> None:
    vector = elements(values)
    data = to_bytes(vector)
    assert data == b"".join(value.to_bytes(12, "little") for value in values)
    back = from_bytes(data, len(values))
    assert back.tolist() == values and all(type(value) is int for value in back)


@pytest.mark.parametrize("value", [PRIME, PRIME + 1, PRIME + 104, 1 << 94, (1 << 95) + 7, (1 << 96) - 1])
@pytest.mark.parametrize("place", [0, 3])
def test_an_element_not_below_the_prime_is_refused_wherever_it_is(value: int, place: int) -> None:
    data = [(PRIME - 1).to_bytes(12, "little")] * 4
    assert from_bytes(b"".join(data), 4).tolist() == [PRIME - 1] * 4
    data[place] = value.to_bytes(12, "little")
    for read in (lambda: from_bytes(b"".join(data), 4), lambda: SharedRows.from_bytes(b"".join(data), 2, 2)):
        with pytest.raises(ProtocolError) as error:
            read()
        assert (error.value.code, error.value.field) == ("dark.element", f"elements[{place}]")
        assert str(value) not in str(error.value)


@pytest.mark.parametrize("size", [0, 35, 37, 24, 48])
def test_a_vector_of_another_length_is_refused(size: int) -> None:
    for read in (lambda: from_bytes(bytes(size), 3), lambda: SharedRows.from_bytes(bytes(size), 3, 1)):
        with pytest.raises(ProtocolError) as error:
            read()
        assert error.value.code == "dark.length"


@given(st.lists(element, min_size=1))
def test_inverses(values: list[int]) -> None:
    vector = elements(values)
    if 0 in values:
        with pytest.raises(ValueError, match="zero"):
            inverse(vector)
    else:
        assert (inverse(vector) * vector % PRIME == 1).all()


@given(st.lists(element, min_size=1, max_size=20))
def test_roots_are_the_oracles(values: list[int]) -> None:
    squares = elements(value * value for value in values)
    roots = sqrt_blum(squares)
    assert (roots * roots % PRIME == squares).all()
    for root, square in zip(roots, squares, strict=True):
        assert root in [int(one) % PRIME for one in (ORACLE(square).sqrt(), -ORACLE(square).sqrt())]
        assert root == pow(int(square), (PRIME + 1) // 4, PRIME)
    if 0 not in values:
        assert (field.inverse_sqrt_blum(squares) * roots % PRIME == 1).all()


@given(st.lists(element, min_size=1, max_size=20))
def test_a_value_without_a_root_is_refused_among_others(values: list[int]) -> None:
    vector = elements(values)
    has_roots = all(value == 0 or pow(value, (PRIME - 1) // 2, PRIME) == 1 for value in values)
    for root, defined in ((sqrt_blum, has_roots), (field.inverse_sqrt_blum, has_roots and 0 not in values)):
        if defined:
            root(vector)
        else:
            with pytest.raises(ValueError, match="no square"):
                root(vector)


def test_roots_of_nothing_and_of_more_than_a_block() -> None:
    assert sqrt_blum(elements([])).shape == (0,)
    squares = elements(value * value for value in range(1, 4100))
    assert (sqrt_blum(squares) ** 2 % PRIME == squares).all()
    assert sqrt_blum(squares[:6].reshape(2, 3)).shape == (2, 3)


def loose(words: list[int]) -> np.ndarray:
    return np.array(words, dtype=np.int64).reshape(4, 1)


LOOSE_MAX = [(1 << 25) - 1] * 4
loose_limbs = st.lists(st.integers(0, (1 << 25) - 1), min_size=4, max_size=4)


@given(loose_limbs, loose_limbs)
@example(LOOSE_MAX, LOOSE_MAX)
def test_products_of_loose_limbs_are_exact_and_loose(one: list[int], other: list[int]) -> None:
    def value(words: np.ndarray) -> int:
        return sum(int(word) << (24 * at) for at, word in enumerate(words[:, 0]))

    for product, expected in (
        (limbs.multiply(loose(one), loose(other)), value(loose(one)) * value(loose(other))),
        (limbs.square(loose(one)), value(loose(one)) ** 2),
    ):
        assert product.min() >= 0 and product.max() < 1 << 25
        assert value(product) % PRIME == expected % PRIME
        joined = limbs.join(product)
        assert int.from_bytes(joined.tobytes(), "little") == expected % PRIME


@pytest.mark.parametrize("value", [*NEAR, PRIME, PRIME + 1, (1 << 94) - 1, 1 << 94, (1 << 96) - 1, 2 * PRIME])
def test_joining_reduces_to_below_the_prime(value: int) -> None:
    words = loose([(value >> (24 * at)) & 0xFFFFFF for at in range(4)])
    assert int.from_bytes(limbs.join(words).tobytes(), "little") == value % PRIME


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 40), st.integers(1, 40), st.integers(1, 5), st.integers(0, 1 << 32))
def test_weighing_rows_is_a_matrix_product(rows: int, columns: int, count: int, seed: int) -> None:
    shared, plain = matrix(rows, columns, seed)
    _, weights = matrix(columns, count, seed + 1)
    assert (shared.weigh(weights) == plain.dot(weights) % PRIME).all()
    assert shared.weigh(weights).shape == (rows, count)
    part = slice(columns // 3, columns)
    assert (shared.weigh(weights[part], part) == plain[:, part].dot(weights[part]) % PRIME).all()
    assert (shared.squares(part).block(slice(None)) == plain[:, part] ** 2 % PRIME).all()


@pytest.mark.parametrize("columns", [1365, 1366, 2732])
def test_the_largest_sums_that_floats_take_are_exact(columns: int) -> None:
    largest = PRIME - 1
    shared = SharedRows.from_bytes(largest.to_bytes(12, "little") * 3 * columns, 3, columns)
    weights = np.full((columns, 2), largest, dtype=object)
    assert (shared.weigh(weights) == columns * largest * largest % PRIME).all()


def test_a_product_of_all_limbs_set_is_exact_up_to_its_bound() -> None:
    terms = field.PRODUCT_TERMS_MAX
    words = np.full((1, terms), 0xFFFF, dtype=np.uint16)
    factor = np.full((terms, 4), float(0xFFFFFF))
    expected = terms * 0xFFFF * 0xFFFFFF * sum(1 << shift for shift in (0, 24, 48, 72))
    assert field.combine(words, factor)[0, 0] == expected % PRIME
    twice = field.combine(np.tile(words, 2), np.tile(factor, (2, 1)))
    assert twice[0, 0] == 2 * expected % PRIME


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 30), st.integers(1, 30), st.data())
def test_sums_and_parts_of_rows(rows: int, columns: int, data: st.DataObject) -> None:
    shared, plain = matrix(rows, columns, rows * 31 + columns)
    marked = np.array(data.draw(st.lists(st.booleans(), min_size=rows, max_size=rows)), dtype=bool)
    first = data.draw(st.integers(0, columns))
    last = data.draw(st.integers(first, columns))
    zeros = np.zeros(columns, dtype=object)
    assert (shared.column_sums() == plain.sum(axis=0) % PRIME).all()
    assert (shared.column_sums(marked) == (plain[marked].sum(axis=0) + zeros) % PRIME).all()
    assert shared.column_sums(marked, slice(first, last)).tolist() == shared.column_sums(marked)[first:last].tolist()
    expected = [sum(row[first:last]) % PRIME for row in plain.tolist()]
    assert shared.sum_columns(first, last).tolist() == expected
    column = data.draw(st.integers(0, columns - 1))
    assert shared.take(column).tolist() == plain[:, column].tolist()
    assert (shared.block(slice(first, last)) == plain[:, first:last]).all()
    assert shared.to_bytes() == to_bytes(plain)


def test_rows_of_wrong_shapes_are_refused() -> None:
    shared, _ = matrix(3, 4, 1)
    weights = elements(range(12)).reshape(4, 3)
    for wrong in (
        lambda: shared.weigh(weights[:3]),
        lambda: shared.weigh(weights[:, 0]),
        lambda: shared.weigh(weights, slice(0, 3)),
        lambda: shared.column_sums(np.ones(4, dtype=bool)),
        lambda: shared.sum_columns(2, 5),
        lambda: shared.sum_columns(3, 2),
        lambda: SharedRows(np.zeros((3, 4), dtype=np.uint16)),
        lambda: SharedRows(np.zeros((3, 4, 6), dtype=np.int64)),
        lambda: SharedRows(np.zeros((65537, 1, 6), dtype=np.uint16)),
        lambda: field.uniform(bytes(21), 1),
    ):
        with pytest.raises(ValueError, match=r"expected|uniform|columns \d"):
            wrong()


def test_shares_are_neither_shown_nor_pickled() -> None:
    shared, _ = matrix(3, 4, 1)
    assert repr(shared) == "SharedRows(rows=3, columns=4)"
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(shared)


def test_the_package_imports_nothing_of_mpyc() -> None:
    code = (
        "import sys, mpc_sequencer.dark.prss, mpc_sequencer.dark.decoding;"
        "print([name for name in sys.modules if name.partition('.')[0] == 'mpyc'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
