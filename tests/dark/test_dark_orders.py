"""Dark orders in provable boxes: what a trader seals, and what nobody can make of another's box."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from dark_kit import refused, secret
from desk_kit import GRID
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from mpc_sequencer.core.actions import BUY, SELL, DarkOrder
from mpc_sequencer.dark.field import ELEMENT_BYTES, from_bytes
from mpc_sequencer.dark.keys import AgreedKeys
from mpc_sequencer.dark.layout import Deposit, Layout, encode_order
from mpc_sequencer.dark.orders import (
    box_bytes,
    check_boxes,
    check_terms,
    judge_opened,
    open_box,
    params_of,
    prove_box,
    row_in,
    seal_dark_order,
    seal_shares,
)
from mpc_sequencer.dark.params import PRIME
from mpc_sequencer.dark.sharing import interpolate
from threshold import group
from threshold.group import reduce_scalar

N, T, MARKET = 5, 1, 3
PARAMS = params_of(GRID, N, T)
LAYOUT = Layout.of(PARAMS)
SECRETS = tuple(reduce_scalar(secret("box", party)) for party in range(N))
BOX_KEYS = tuple(group.generator_multiply_secret(one) for one in SECRETS)
KEYS = AgreedKeys(secret("topic"), 0, BOX_KEYS, secret("rest"))
ACCOUNT, OTHER = secret("account")[:20], secret("other")[:20]
DEPOSIT = Deposit(2_000, 15)


@dataclass(frozen=True)
class Terms:
    nonce: int = 1
    side: int = BUY
    price_ticks: int = 110
    quantity_lots: int = 7
    deposit: Deposit = DEPOSIT
    seed: bytes = bytes(32)
    account: bytes = ACCOUNT
    keys: AgreedKeys = KEYS

    def seal(self) -> DarkOrder:
        names = (self.keys, self.account, self.nonce, MARKET)
        order = (self.side, self.price_ticks, self.quantity_lots, self.deposit, self.seed)
        boxes = seal_dark_order(GRID, N, T, *names, *order)
        lots = self.deposit.quote_tick_lots, self.deposit.base_lots
        return DarkOrder(self.account, self.nonce, bytes(32), MARKET, self.keys.id, *lots, boxes)


def opened(action: DarkOrder, party: int) -> bytes | None:
    return open_box(PARAMS, action, party, SECRETS[party], BOX_KEYS[party])


def rows(action: DarkOrder) -> list[np.ndarray]:  # type: ignore[type-arg]
    plaintexts = [opened(action, party) for party in range(N)]
    return [from_bytes(one, LAYOUT.columns) for one in plaintexts if one is not None]


@pytest.mark.parametrize(("side", "price_ticks", "quantity_lots"), [(BUY, 110, 7), (SELL, 135, 15), (BUY, 100, 0)])
def test_any_t_plus_1_parties_shares_are_the_order_s_row(side: int, price_ticks: int, quantity_lots: int) -> None:
    action = Terms(side=side, price_ticks=price_ticks, quantity_lots=quantity_lots).seal()
    assert check_boxes(action) and check_terms(PARAMS, KEYS, action)
    shares = rows(action)
    assert {len(box) for box in action.boxes} == {box_bytes(PARAMS)} and len(shares) == N
    whole = interpolate(dict(enumerate(shares)))
    for pair in ((0, 1), (3, 4)):
        assert np.array_equal(interpolate({party: shares[party] for party in pair}), whole)
    mask = int(whole[LAYOUT.mask])
    assert mask >> 60
    assert np.array_equal(whole, encode_order(PARAMS, side, price_ticks, quantity_lots, DEPOSIT, mask))


def test_a_party_without_a_key_gets_no_box() -> None:
    keys = replace(KEYS, box_keys=(*BOX_KEYS[:4], b""))
    action = Terms(keys=keys).seal()
    assert action.boxes[4] == b"" and check_boxes(action) and check_terms(PARAMS, keys, action)
    assert not check_terms(PARAMS, KEYS, action) and not check_terms(PARAMS, keys, Terms().seal())
    assert all(opened(action, party) for party in range(4))


@pytest.mark.parametrize(
    ("code", "terms"),
    [
        ("order.side", Terms(side=3)),
        ("order.price", Terms(price_ticks=99)),
        ("order.price", Terms(price_ticks=140)),
        ("order.price_tick", Terms(price_ticks=111)),
        ("order.quantity", Terms(quantity_lots=16)),
        ("dark.deposit", Terms(deposit=Deposit(1 << 16, 0))),
        ("dark.deposit", Terms(deposit=Deposit(0, 16))),
        ("dark.unfunded", Terms(deposit=Deposit(769, 15))),
        ("dark.unfunded", Terms(side=SELL, deposit=Deposit(9_999, 6))),
    ],
)
def test_what_the_committee_would_reject_is_not_sealed(code: str, terms: Terms) -> None:
    with refused(code):
        terms.seal()


def test_seeds_of_another_size_and_committees_that_are_too_small_are_refused() -> None:
    with pytest.raises(ValueError, match="seed of 31"):
        Terms(seed=bytes(31)).seal()
    with pytest.raises(ValueError, match="4t"):
        seal_dark_order(GRID, 4, 1, KEYS, ACCOUNT, 1, MARKET, BUY, 110, 1, DEPOSIT, bytes(32))


def test_a_seed_used_again_for_another_order_puts_no_two_rows_on_one_polynomial() -> None:
    """The difference of two such rows' shares would be the difference of the rows: one share would show the order."""
    base = Terms()
    seen = set()
    for terms in (
        base,
        Terms(nonce=2),
        Terms(side=SELL),
        Terms(price_ticks=115),
        Terms(quantity_lots=6),
        Terms(deposit=Deposit(2_001, 15)),
        Terms(account=OTHER),
        Terms(seed=b"\1" * 32),
    ):
        action = terms.seal()
        shares = rows(action)
        seen |= {(int(shares[0][column]) - int(shares[1][column])) % PRIME for column in range(LAYOUT.columns)}
        seen |= {box[:33] for box in action.boxes}  # type: ignore[misc]
    assert len(seen) == 8 * (LAYOUT.columns + N)
    assert base.seal() == base.seal()


# --- boxes of others ------------------------------------------------------------------------------------------------


def test_a_box_copied_into_another_s_order_or_place_is_none() -> None:
    """Else a thief has an honest party open the victim's box as a bad one."""
    mine, victim = Terms(account=OTHER).seal(), Terms().seal()
    for copied in (
        replace(mine, boxes=victim.boxes),
        replace(mine, boxes=(victim.boxes[0], *mine.boxes[1:])),
        replace(victim, nonce=2),
        replace(victim, account=OTHER),
        replace(victim, market=4),
        replace(victim, keys=bytes(32)),
        replace(victim, boxes=(victim.boxes[1], *victim.boxes[1:])),
        replace(victim, boxes=(victim.boxes[0][:97] + mine.boxes[0][97:], *victim.boxes[1:])),
        replace(victim, boxes=(b"\x02" * 10, *victim.boxes[1:])),
    ):
        assert not check_boxes(copied)
    assert check_boxes(mine) and check_boxes(victim)


@given(st.integers(0, N - 1), st.data())
@settings(max_examples=40, deadline=None)
def test_a_box_with_any_bit_changed_is_none(party: int, data: st.DataObject) -> None:
    action = Terms().seal()
    changed = bytearray(action.boxes[party])
    at = data.draw(st.integers(0, len(changed) - 1))
    changed[at] ^= 1 << data.draw(st.integers(0, 7))
    boxes = (*action.boxes[:party], bytes(changed), *action.boxes[party + 1 :])
    assert not check_boxes(replace(action, boxes=boxes))


def test_an_opening_shows_a_good_box_to_be_good_and_a_bad_one_to_be_bad() -> None:
    good = Terms().seal()
    shares = rows(good)
    cut = [one if party else one[:-1] for party, one in enumerate(shares)]
    bad = replace(good, boxes=seal_shares(KEYS, ACCOUNT, 1, MARKET, cut, bytes(32)))
    assert opened(bad, 0) is None and opened(bad, 1) == opened(good, 1)
    for action, row in ((good, shares[0]), (bad, None)):
        proof = prove_box(action, 0, SECRETS[0], 9, bytes(32))
        assert proof.index == 9
        holds, found = judge_opened(PARAMS, action, 0, BOX_KEYS[0], proof)
        assert holds and (found is None if row is None else np.array_equal(found, row))
        for wrong in (
            replace(proof, c=proof.z),
            replace(proof, z=bytes(32)),
            replace(proof, point=BOX_KEYS[1]),
            replace(proof, point=bytes(33)),
            prove_box(action, 0, SECRETS[1], 9, bytes(32)),
        ):
            assert judge_opened(PARAMS, action, 0, BOX_KEYS[0], wrong) == (False, None)
        assert judge_opened(PARAMS, action, 0, BOX_KEYS[1], proof) == (False, None)


def test_a_row_is_elements_below_the_prime_and_of_one_length() -> None:
    size = LAYOUT.columns * ELEMENT_BYTES
    assert row_in(PARAMS, bytes(size)) is not None
    largest = (PRIME - 1).to_bytes(12, "little")
    assert row_in(PARAMS, largest * LAYOUT.columns) is not None
    for bad in (None, b"", bytes(size - 12), bytes(size + 12), PRIME.to_bytes(12, "little") + bytes(size - 12)):
        assert row_in(PARAMS, bad) is None
