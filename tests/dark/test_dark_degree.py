"""The degree check: sharings off a polynomial, liars in the check, and opened rows that decide."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from dark_kit import honest_row, secret, small_params
from hypothesis import given, settings
from hypothesis import strategies as st

from mpc_sequencer.dark.degree import combine, degree_seed, disputes, is_dealt_off, weights
from mpc_sequencer.dark.errors import Undecodable
from mpc_sequencer.dark.field import Elements, SharedRows, to_bytes
from mpc_sequencer.dark.layout import Layout
from mpc_sequencer.dark.params import PRIME
from mpc_sequencer.dark.sharing import interpolate, seeded, share

SEED = degree_seed(secret("keys"), 2, 17, [secret("order", number) for number in range(3)])
SIZES = [(5, 1), (9, 2), (4, 1)]
Dealer = Callable[[list[Elements]], None]
NOTHING: dict[int, frozenset[int]] = {}


class Deal:
    """Three orders, each of a trader of its own, with whatever their traders dealt."""

    def __init__(self, size: tuple[int, int], dealers: dict[int, Dealer] | None = None) -> None:
        self.n, self.t = size
        self.params = small_params(*size)
        self.dealt = [self._dealt(number, (dealers or {}).get(number)) for number in range(3)]
        columns = Layout.of(self.params).columns
        self.rows = [
            SharedRows.from_bytes(b"".join(to_bytes(shares[party]) for shares in self.dealt), 3, columns)
            for party in range(self.n)
        ]
        self.shares = {party: combine(self.params, SEED, self.rows[party]) for party in range(self.n)}

    def _dealt(self, number: int, dealer: Dealer | None) -> list[Elements]:
        row = honest_row(self.params, mask=int(seeded(secret("mask", number), b"")(1)[0]))
        shares = share(row, self.t, self.n, seeded(secret("dealer", number), b""))
        if dealer is not None:
            dealer(shares)
        return shares

    def judge(self, without: tuple[int, ...] = ()) -> tuple[dict[int, frozenset[int]], frozenset[int]]:
        return disputes(self.params, {party: one for party, one in self.shares.items() if party not in without})

    def is_off(self, index: int, party: int) -> bool:
        """The verdict on what the party was dealt, opened."""
        column_weights = weights(self.params, SEED)
        return is_dealt_off(self.params, self.shares, index, party, self.dealt[index][party], column_weights)


def wrong_for(*parties: int, column: int = 3) -> Callable[[list[Elements]], None]:
    def deal(shares: list[Elements]) -> None:
        for party in parties:
            shares[party][column] = (shares[party][column] + 1 + party) % PRIME

    return deal


def of_degree(degree: int, column: int = 3) -> Callable[[list[Elements]], None]:
    """One column on a polynomial of another degree with the same secret."""

    def deal(shares: list[Elements]) -> None:
        for party, one in enumerate(shares):
            one[column] = (one[column] + 12345 * (party + 1) ** degree) % PRIME

    return deal


@pytest.mark.parametrize("size", SIZES)
def test_honest_sharings_pass_with_all_parties_and_with_t_silent_ones(size: tuple[int, int]) -> None:
    deal = Deal(size)
    n, t = size
    assert deal.judge() == (NOTHING, frozenset())
    assert deal.judge(without=tuple(range(n - t, n))) == (NOTHING, frozenset())


@pytest.mark.parametrize("size", SIZES)
def test_a_row_of_a_higher_degree_is_dropped_alone(size: tuple[int, int]) -> None:
    n, t = size
    for degree in (t + 1, 2 * t, n - 1):
        for column in (3, 17, Layout.of(small_params(*size)).mask):
            assert Deal(size, {1: of_degree(degree, column)}).judge() == (NOTHING, {1}), (degree, column)


@pytest.mark.parametrize("size", SIZES)
def test_a_wrong_share_is_shown_by_the_opened_row_and_nobody_else_is_in_dispute(size: tuple[int, int]) -> None:
    """The party that was dealt it is the odd one, like a liar; what it was dealt tells which it is."""
    victim = size[0] - 1
    deal = Deal(size, {2: wrong_for(victim)})
    assert deal.judge() == ({2: {victim}}, frozenset())
    assert deal.is_off(2, victim)


@pytest.mark.parametrize("size", SIZES)
def test_t_liars_have_no_honest_order_dropped(size: tuple[int, int]) -> None:
    n, t = size
    liars = tuple(range(t))
    deal = Deal(size)
    for liar in liars:
        deal.shares[liar] = (deal.shares[liar] + 1 + liar) % PRIME
    everywhere = dict.fromkeys(range(3), frozenset(liars))
    assert deal.judge() == (everywhere, frozenset())
    assert not any(deal.is_off(index, liar) for index in range(3) for liar in liars)
    if n >= 4 * t + 1:  # and t more that say nothing
        assert deal.judge(without=tuple(range(n - t, n))) == (everywhere, frozenset())


def test_two_wrong_shares_of_five_are_on_no_polynomial_and_the_order_is_dropped() -> None:
    assert Deal((5, 1), {0: wrong_for(1, 3)}).judge() == (NOTHING, {0})


def test_a_liar_beside_a_wrong_share_saves_nobody() -> None:
    """The trader deals party 4 badly and its accomplice 0 lies: on no polynomial, so it is dropped at once."""
    deal = Deal((5, 1), {1: wrong_for(4)})
    deal.shares[0][1] = (deal.shares[0][1] + 5) % PRIME
    assert deal.judge()[1] == {1}
    nine = Deal((9, 2), {1: wrong_for(8)})
    nine.shares[0] = (nine.shares[0] + 5) % PRIME
    assert nine.judge()[0][1] == {0, 8}
    assert nine.is_off(1, 8) and not nine.is_off(1, 0)


def test_too_few_shares_start_no_batch() -> None:
    with pytest.raises(Undecodable, match="2 parties' degree shares, expected at least 3"):
        Deal((5, 1)).judge(without=(0, 1, 2))


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_every_changed_share_is_seen_in_every_column(data: st.DataObject) -> None:
    columns = Layout.of(small_params()).columns
    party, column = data.draw(st.integers(0, 4)), data.draw(st.integers(0, columns - 1))
    order_at = data.draw(st.integers(0, 2))
    deal = Deal((5, 1), {order_at: wrong_for(party, column=column)})
    assert deal.judge() == ({order_at: {party}}, frozenset())
    assert deal.is_off(order_at, party)


# --- the combination ------------------------------------------------------------------------------------------------
def test_the_combination_is_of_all_columns_and_the_mask_hides_it() -> None:
    deal = Deal((5, 1))
    layout, drawn = Layout.of(deal.params), weights(deal.params, SEED)[:, 0]
    assert drawn[layout.mask] == 1 and len(set(drawn.tolist())) == layout.columns and all(drawn)
    opened = interpolate(deal.shares)
    row = interpolate({party: deal.rows[party].block(slice(0, layout.columns)) for party in (0, 1)})
    assert np.array_equal(opened, row @ drawn % PRIME)
    unmasked = (opened - row[:, layout.mask]) % PRIME
    assert unmasked[0] == unmasked[1] == unmasked[2]  # three equal orders
    assert len(set(opened.tolist())) == 3  # that nobody sees to be equal


def test_the_closed_batch_decides_the_weights() -> None:
    """Keys, market, batch and every order: whoever changes one of them has other weights to pass."""
    ids = [secret("order", number) for number in range(3)]
    changed = (
        (secret("others"), 2, 17, ids),
        (secret("keys"), 3, 17, ids),
        (secret("keys"), 2, 18, ids),
        (secret("keys"), 2, 17, ids[:2]),
        (secret("keys"), 2, 17, [*ids[:2], secret("another")]),
    )
    one = set(weights(small_params(), SEED)[:-1, 0].tolist())
    for terms in changed:
        assert not one & set(weights(small_params(), degree_seed(*terms))[:-1, 0].tolist())
