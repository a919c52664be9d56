"""Sharings: what a client hands out is what mpyc would recombine, and what it draws is drawn once."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mpyc import thresha
from mpyc.finfields import GF

from mpc_sequencer.dark.field import elements
from mpc_sequencer.dark.params import PRIME
from mpc_sequencer.dark.sharing import interpolate, lagrange, seeded, share

ORACLE = GF(PRIME)
SEED = bytes(range(32))
secret = st.integers(0, PRIME - 1)


@settings(max_examples=40, deadline=None)
@given(st.lists(secret, min_size=1, max_size=8), st.integers(1, 9), st.data())
def test_any_degree_plus_one_shares_recombine_and_the_oracle_agrees(
    values: list[int], parties: int, data: st.DataObject
) -> None:
    degree = data.draw(st.integers(0, parties - 1))
    shares = share(elements(values), degree, parties, seeded(SEED, b"test"))
    chosen = data.draw(st.permutations(range(parties)))[: degree + 1]
    assert interpolate({index: shares[index] for index in chosen}).tolist() == values
    points = [(index + 1, [ORACLE(int(one)) for one in shares[index]]) for index in chosen]
    assert [int(one) % PRIME for one in thresha.recombine(ORACLE, points)] == values
    other = data.draw(st.integers(0, parties - 1))
    assert interpolate({index: shares[index] for index in chosen}, other + 1).tolist() == shares[other].tolist()


@settings(max_examples=20, deadline=None)
@given(st.lists(secret, min_size=1, max_size=8), st.integers(1, 3))
def test_shares_of_the_oracle_recombine_here(values: list[int], degree: int) -> None:
    shares = thresha.random_split(ORACLE, [ORACLE(value) for value in values], degree, 5)
    ours = {index: elements(int(one) for one in vector) for index, vector in enumerate(shares)}
    assert interpolate(ours).tolist() == values


def test_one_share_less_leaves_every_secret_possible() -> None:
    shares = share(elements([7]), 2, 5, seeded(SEED, b"test"))
    seen = {0: shares[0], 3: shares[3]}
    for secret_value in (0, 7, PRIME - 1):
        # The polynomial through both shares and this secret has the same degree.
        weights = lagrange((0, 1, 4), 5)
        third = (weights[0] * secret_value + weights[1] * seen[0] + weights[2] * seen[3]) % PRIME
        assert interpolate({**seen, 4: third}).tolist() == [secret_value]


def test_the_coefficients_come_one_by_one_from_the_source() -> None:
    drawn: list[int] = []

    def random(count: int) -> np.ndarray:
        drawn.append(count)
        return elements(range(10, 10 + count))

    shares = share(elements([1, 2]), 2, 4, random)
    assert drawn == [4]
    for point, vector in enumerate(shares, start=1):
        assert vector.tolist() == [1 + 10 * point + 12 * point**2, 2 + 11 * point + 13 * point**2]


def test_a_seeded_source_repeats_by_seed_and_label_and_never_within() -> None:
    first, again, other_label = seeded(SEED, b"a"), seeded(SEED, b"a"), seeded(SEED, b"b")
    other_seed = seeded(bytes(32), b"a")
    draws = [first(5).tolist(), first(5).tolist(), other_label(5).tolist(), other_seed(5).tolist()]
    assert len({value for draw in draws for value in draw}) == 20
    assert [again(5).tolist(), again(5).tolist()] == draws[:2]
    with pytest.raises(ValueError, match="31 bytes"):
        seeded(bytes(31), b"a")


def test_a_sharing_that_could_not_be_opened_is_refused() -> None:
    for degree in (-1, 4, 5):
        with pytest.raises(ValueError, match="degree"):
            share(elements([1]), degree, 4, seeded(SEED, b"test"))
    with pytest.raises(ValueError, match="not distinct"):
        lagrange((1, 2, 1), 0)
