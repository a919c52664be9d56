"""The bounds of a dark market: what exists keeps them, and one more of anything does not exist."""

import dataclasses
from math import comb

import pytest
from mpyc import gmpy

from mpc_sequencer.dark.params import PRIME, PRIME_BITS, STATISTICAL_BITS, DarkParams

PLAIN = DarkParams(
    parties=5, faults_t=1, ticks=128, quantity_bits=20, slack_bits=40, orders_max=1024, price_first_ticks=100
)


def test_the_prime_is_the_largest_blum_prime_of_94_bits() -> None:
    assert PRIME_BITS == 94 == PRIME.bit_length()
    assert gmpy.is_prime(PRIME) and PRIME % 4 == 3
    assert not any(gmpy.is_prime(other) for other in range(PRIME + 4, 1 << 94, 4))


def test_the_market_of_the_published_figures_fits_with_quantities_of_33_bits() -> None:
    assert dataclasses.replace(PLAIN, quantity_bits=33).comparison_bits == 45
    with pytest.raises(ValueError, match=r"ticks \(orders_max 2\^quantity_bits\)\^2"):
        dataclasses.replace(PLAIN, quantity_bits=34)


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"faults_t": 0}, "faults_t is 0"),
        ({"parties": 3, "demonstration": True}, "at least 3t"),
        ({"parties": 4}, "demonstration=True"),
        ({"parties": 8, "faults_t": 2}, "demonstration=True"),
        ({"parties": 21, "faults_t": 4}, "keys"),
        ({"ticks": 0}, "ticks is 0"),
        ({"ticks": 1025}, "ticks is 1025"),
        ({"orders_max": 0}, "orders_max is 0"),
        ({"orders_max": 4097}, "orders_max is 4097"),
        ({"quantity_bits": 0}, "quantity_bits is 0"),
        ({"slack_bits": 0}, "slack_bits is 0"),
        ({"slack_bits": 94}, "price_max"),
        ({"price_first_ticks": 0}, "price_first_ticks is 0"),
        ({"price_first_ticks": 1 << 74}, "price_max"),
        ({"price_step_ticks": 1 << 68}, "price_max"),
        ({"price_step_ticks": 0}, "price_step_ticks is 0"),
        ({"ticks": 1, "orders_max": 1, "quantity_bits": 46}, None),
        ({"parties": 13, "faults_t": 3, "ticks": 1, "orders_max": 1, "quantity_bits": 43}, None),
        ({"parties": 13, "faults_t": 3, "ticks": 1, "orders_max": 1, "quantity_bits": 44}, "wraps around"),
    ],
)
def test_a_size_out_of_its_bound_is_refused_by_name(change: dict[str, int], cause: str | None) -> None:
    if cause is None:
        dataclasses.replace(PLAIN, **change)
        return
    with pytest.raises(ValueError, match=cause):
        dataclasses.replace(PLAIN, **change)


def test_four_parties_only_detect_lies_and_five_correct_them() -> None:
    assert PLAIN.corrects
    assert not dataclasses.replace(PLAIN, parties=4, demonstration=True).corrects


def test_a_comparison_and_its_mask_stay_below_the_prime() -> None:
    for parties, faults_t in ((5, 1), (9, 2), (13, 3)):
        params = dataclasses.replace(PLAIN, parties=parties, faults_t=faults_t)
        difference = params.orders_max * ((1 << params.quantity_bits) - 1)
        assert difference < 1 << (params.comparison_bits - 1)
        largest_mask = comb(parties, faults_t) * ((1 << (params.comparison_bits + STATISTICAL_BITS)) - 1)
        assert (1 << params.comparison_bits) + largest_mask < PRIME


def test_the_last_column_has_the_highest_price() -> None:
    assert PLAIN.price_last_ticks == 227
    assert dataclasses.replace(PLAIN, price_step_ticks=10).price_last_ticks == 1370
