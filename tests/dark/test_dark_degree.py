"""The degree check: sharings off a polynomial, liars in the check, and opened bundles that decide."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
from dark_kit import Committee, committee, deposit_for, honest_row, order, refused, secret, small_params, terms, trader
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from mpc_sequencer.core.codec import encode
from mpc_sequencer.core.types import NO_SIGNATURE
from mpc_sequencer.dark import degree as degree_module
from mpc_sequencer.dark.bundles import PreparedOrder, open_delivery, prepare_row, seal_bundles, unseal
from mpc_sequencer.dark.degree import (
    DegreeShares,
    Verdict,
    check_degree_shares,
    collect,
    combine,
    degree_shares,
    disputes,
    judge,
    mark,
    weights,
)
from mpc_sequencer.dark.errors import Undecodable
from mpc_sequencer.dark.field import Elements, SharedRows, from_bytes, to_bytes
from mpc_sequencer.dark.inputs import DarkOrder, OpenedBundle, ShareBundle
from mpc_sequencer.dark.layout import Layout
from mpc_sequencer.dark.params import PRIME
from mpc_sequencer.dark.sharing import interpolate, seeded, share

COIN = secret("coin")
SIZES = [(5, 1), (9, 2), (4, 1)]
CLEAN = Verdict((0, 1, 2), (), frozenset(), frozenset())


@cache
def committee_of(parties: int, faults_t: int) -> Committee:
    return committee(small_params(parties, faults_t))


class Deal:
    """Three orders, each of a trader of its own, with whatever their traders dealt."""

    def __init__(self, of: Committee, dealers: dict[int, Callable[[list[Elements]], None]] | None = None) -> None:
        self.of, self.n = of, of.context.params.parties
        self.prepared = [self._dealt(number, (dealers or {}).get(number)) for number in range(3)]
        self.orders: tuple[DarkOrder, ...] = tuple(one.order for one in self.prepared)
        columns = Layout.of(of.context.params).columns
        self.rows = [
            SharedRows.from_bytes(
                b"".join(
                    open_delivery(of.context, party, of.secrets[party], one.deliveries[party])
                    for one in self.prepared
                ),
                3,
                columns,
            )
            for party in range(self.n)
        ]
        self.shares = {party: combine(of.context.params, COIN, self.rows[party]) for party in range(self.n)}

    def _dealt(self, number: int, dealer: Callable[[list[Elements]], None] | None) -> PreparedOrder:
        context = self.of.context
        row = honest_row(context.params, mask=int(seeded(secret("mask", number), b"")(1)[0]))
        blank = terms(context, number, deposit=deposit_for(context.params))
        honest = prepare_row(context, trader(number), blank, row, secret("seed", number))
        if dealer is None:
            return honest
        shares = share(row, context.params.faults_t, self.n, seeded(secret("dealer", number), b""))
        dealer(shares)
        plaintexts = tuple(
            encode(
                ShareBundle(
                    *(1, context.epoch, context.batch, context.market, trader(number).address, 1, party),
                    *(secret("salt", party), to_bytes(shares[party])),
                )
            )
            for party in range(self.n)
        )
        return seal_bundles(context, trader(number), blank, plaintexts, secret("sealer"))

    def opened(self, index: int, party: int) -> OpenedBundle:
        import hashlib

        delivery = self.prepared[index].deliveries[party]
        plaintext = unseal(self.of.secrets[party], delivery.sealed)
        sealed_hash = hashlib.sha256(delivery.sealed).digest()
        return OpenedBundle(self.orders[index].order_id(), party, plaintext, sealed_hash, delivery.path)

    def judge(self, *opened: OpenedBundle, without: tuple[int, ...] = ()) -> Verdict:
        shares = {party: values for party, values in self.shares.items() if party not in without}
        return judge(self.of.context, COIN, self.orders, shares, opened)


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
    deal = Deal(committee_of(*size))
    assert deal.judge() == CLEAN
    n, t = size
    assert deal.judge(without=tuple(range(n - t, n))) == CLEAN


@pytest.mark.parametrize("size", SIZES)
def test_a_row_of_a_higher_degree_is_dropped_alone(size: tuple[int, int]) -> None:
    n, t = size
    for degree in (t + 1, 2 * t, n - 1):
        for column in (3, 17, Layout.of(committee_of(*size).context.params).mask):
            verdict = Deal(committee_of(*size), {1: of_degree(degree, column)}).judge()
            assert verdict == Verdict((0, 2), (1,), frozenset(), frozenset()), (degree, column)


@pytest.mark.parametrize("size", SIZES)
def test_a_wrong_share_is_shown_by_the_opened_bundle_and_nobody_else_is_blamed(size: tuple[int, int]) -> None:
    """The party that was dealt it is the odd one, like a liar; its bundle tells which it is."""
    of = committee_of(*size)
    victim = of.context.params.parties - 1
    deal = Deal(of, {2: wrong_for(victim)})
    disputed, bad = disputes(of.context.params, deal.shares)
    assert disputed == {2: frozenset({victim})} and not bad
    assert deal.judge(deal.opened(2, victim)) == Verdict((0, 1), (2,), frozenset(), frozenset())
    assert deal.judge() == Verdict((0, 1, 2), (), frozenset(), frozenset({victim}))


@pytest.mark.parametrize("size", SIZES)
def test_t_liars_have_no_honest_order_dropped(size: tuple[int, int]) -> None:
    of = committee_of(*size)
    n, t = size
    liars = tuple(range(t))
    deal = Deal(of)
    for liar in liars:
        deal.shares[liar] = (deal.shares[liar] + 1 + liar) % PRIME
    assert deal.judge() == Verdict((0, 1, 2), (), frozenset(), frozenset(liars))
    true_bundles = [deal.opened(index, liar) for index in range(3) for liar in liars]
    assert deal.judge(*true_bundles) == Verdict((0, 1, 2), (), frozenset(liars), frozenset())
    if n >= 4 * t + 1:  # and t more that say nothing
        silent = tuple(range(n - t, n))
        assert deal.judge(*true_bundles, without=silent).kept == (0, 1, 2)


def test_an_opened_bundle_that_the_trader_did_not_sign_for_counts_for_nothing() -> None:
    """A liar that lies about what it was dealt, too, and one that shows another's."""
    deal = Deal(committee_of(5, 1))
    deal.shares[0] = (deal.shares[0] + 1) % PRIME
    true = deal.opened(1, 0)
    mute = Verdict((0, 1, 2), (), frozenset(), frozenset({0}))
    forged = replace(true, plaintext=true.plaintext[:-1] + bytes([true.plaintext[-1] ^ 1]))
    for false in (
        forged,
        replace(true, order_id=deal.orders[2].order_id()),
        replace(true, order_id=bytes(32)),
        replace(deal.opened(1, 1), party=0),
        deal.opened(1, 1),  # nobody disputes party 1
    ):
        assert deal.judge(false) == mute
    assert deal.judge(forged, true).shown == {0}  # the false one does not take the place of the true one


def test_a_bundle_that_is_logged_again_and_again_is_checked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A party may fill the log with the one bundle that the check asks it for."""
    deal, checked = Deal(committee_of(5, 1)), []
    deal.shares[0] = (deal.shares[0] + 1) % PRIME
    original = degree_module.check_opened

    def counted(*arguments: Any) -> bytes:
        checked.append(arguments)
        return original(*arguments)

    monkeypatch.setattr(degree_module, "check_opened", counted)
    assert deal.judge(*[deal.opened(1, 0)] * 5, *[deal.opened(2, 1)] * 5).shown == {0}
    assert len(checked) == 1


def test_two_wrong_shares_of_five_are_on_no_polynomial_and_the_order_is_dropped() -> None:
    assert Deal(committee_of(5, 1), {0: wrong_for(1, 3)}).judge() == Verdict((1, 2), (0,), frozenset(), frozenset())


def test_a_liar_beside_a_wrong_share_saves_nobody() -> None:
    """The trader deals party 4 badly and its accomplice 0 lies: on no polynomial, so it is dropped at once."""
    deal = Deal(committee_of(5, 1), {1: wrong_for(4)})
    deal.shares[0][1] = (deal.shares[0][1] + 5) % PRIME
    assert deal.judge().dropped == (1,)
    nine = Deal(committee_of(9, 2), {1: wrong_for(8)})
    nine.shares[0] = (nine.shares[0] + 5) % PRIME
    assert disputes(nine.of.context.params, nine.shares)[0][1] == {0, 8}
    assert nine.judge(nine.opened(1, 8), nine.opened(1, 0)) == Verdict((0, 2), (1,), frozenset({0}), frozenset({0}))


def test_nobody_is_blamed_for_silence_about_an_order_that_was_dropped() -> None:
    """Its trader dealt badly: what the other odd one was dealt is not known, and no longer matters."""
    deal = Deal(committee_of(9, 2), {1: wrong_for(7, 8)})
    assert deal.judge(deal.opened(1, 8)) == Verdict((0, 2), (1,), frozenset(), frozenset())
    assert deal.judge().mute == {7, 8}


def test_too_few_shares_start_no_batch() -> None:
    deal = Deal(committee_of(5, 1))
    with pytest.raises(Undecodable, match="2 parties' degree shares, expected at least 3"):
        deal.judge(without=(0, 1, 2))


def test_an_empty_batch_has_an_empty_verdict() -> None:
    empty = {party: np.empty(0, dtype=object) for party in range(5)}
    assert judge(committee_of(5, 1).context, COIN, (), empty, ()) == Verdict((), (), frozenset(), frozenset())


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_every_changed_share_is_seen_in_every_column(data: st.DataObject) -> None:
    of = committee_of(5, 1)
    columns = Layout.of(of.context.params).columns
    party, column = data.draw(st.integers(0, 4)), data.draw(st.integers(0, columns - 1))
    order_at = data.draw(st.integers(0, 2))
    deal = Deal(of, {order_at: wrong_for(party, column=column)})
    assert disputes(of.context.params, deal.shares) == ({order_at: frozenset({party})}, frozenset())
    assert deal.judge(deal.opened(order_at, party)).dropped == (order_at,)


# --- the combination ------------------------------------------------------------------------------------------------
def test_the_combination_is_of_all_columns_and_the_mask_hides_it() -> None:
    of = committee_of(5, 1)
    layout, drawn = Layout.of(of.context.params), weights(of.context.params, COIN)[:, 0]
    assert drawn[layout.mask] == 1 and len(set(drawn.tolist())) == layout.columns and all(drawn)
    deal = Deal(of)
    opened = interpolate(deal.shares)
    row = interpolate({party: deal.rows[party].block(slice(0, layout.columns)) for party in (0, 1)})
    assert np.array_equal(opened, row @ drawn % PRIME)
    unmasked = (opened - row[:, layout.mask]) % PRIME
    assert unmasked[0] == unmasked[1] == unmasked[2]  # three equal orders
    assert len(set(opened.tolist())) == 3  # that nobody sees to be equal


def test_the_coin_decides_the_weights() -> None:
    params = committee_of(5, 1).context.params
    one, other = weights(params, COIN)[:-1], weights(params, secret("other"))[:-1]
    assert not set(one[:, 0].tolist()) & set(other[:, 0].tolist())
    with pytest.raises(ValueError, match="coin of 31"):
        weights(params, bytes(31))


def test_an_honest_trader_s_mask_is_its_own_for_every_order() -> None:
    of = committee_of(5, 1)
    masks = set()
    for nonce in range(1, 5):
        prepared = order(of.context, nonce=nonce, seed=secret("one seed"))
        columns = Layout.of(of.context.params).columns
        shares = {
            party: from_bytes(open_delivery(of.context, party, of.secrets[party], prepared.deliveries[party]), columns)
            for party in (0, 1)
        }
        masks.add(int(interpolate(shares)[-1]))
    assert len(masks) == 4 and all(mask >> 64 for mask in masks)


# --- what is logged -------------------------------------------------------------------------------------------------
def test_logged_shares_are_signed_and_of_this_batch() -> None:
    of = committee_of(5, 1)
    deal = Deal(of)
    said = [degree_shares(of.context, party, COIN, deal.rows[party], of.signers[party]) for party in range(5)]
    collected = collect(of.context, said, 3)
    assert all(np.array_equal(collected[party], deal.shares[party]) for party in range(5))
    good = said[2]
    for code, bad in (
        ("epoch.unknown", replace(good, epoch=4)),
        ("dark.batch", replace(good, batch=1)),
        ("dark.market", replace(good, market=1)),
        ("member.unknown", replace(good, party=5)),
        ("signature.signer", replace(good, party=3)),
        ("signature.signer", replace(good, shares=said[1].shares)),
        ("signature.encoding", replace(good, signature=NO_SIGNATURE)),
    ):
        with refused(code):
            check_degree_shares(of.context, bad, 3)
        assert collect(of.context, [bad, good], 3).keys() == {2}
    with refused("dark.length"):
        check_degree_shares(of.context, good, 4)
    blank = replace(good, shares=b"\xff" * 36)
    signature = of.signers[2].sign_digest(of.context.digest(blank.struct_hash()))
    with refused("dark.element"):
        check_degree_shares(of.context, replace(blank, signature=signature), 3)


def test_of_two_logged_words_of_a_party_the_first_counts_for_all() -> None:
    """A liar that logs one thing for some and another for others: the log has an order."""
    of = committee_of(5, 1)
    deal = Deal(of)
    said = degree_shares(of.context, 0, COIN, deal.rows[0], of.signers[0])
    other = DegreeShares(of.context.epoch, of.context.batch, of.context.market, 0, bytes(36), NO_SIGNATURE)
    other = replace(other, signature=of.signers[0].sign_digest(of.context.digest(other.struct_hash())))
    assert np.array_equal(collect(of.context, [said, other], 3)[0], deal.shares[0])
    assert not collect(of.context, [other, said], 3)[0].any()


def test_kept_orders_select_their_rows() -> None:
    deal = Deal(committee_of(5, 1), {1: of_degree(2)})
    kept = deal.rows[0].select(mark(deal.judge().kept, 3))
    assert kept.rows == 2 and kept.take(0)[1] == deal.rows[0].take(0)[2]
