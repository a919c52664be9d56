"""The ledger for many accounts at once does what it does for one after the other, whatever the amounts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpc_sequencer.core.limits import AMOUNT_MAX, NONCE_AHEAD_MAX, NONCE_WINDOW
from mpc_sequencer.market import ledger_columns as columns
from mpc_sequencer.market.accounts import Ledger
from mpc_sequencer.market.nonces import NonceState
from tests.market import desk

BASE, QUOTE = 1, 2
COUNT = 5
SMALL = st.integers(0, 9)
LARGE = st.integers(0, 2**61) | st.integers(2**64 - 2, 2**64 + 2) | st.integers(0, 2**120)


def ledgers(amount: int) -> tuple[Ledger, Ledger]:
    made = Ledger(), Ledger()
    for ledger in made:
        for account in desk.ACCOUNTS[:COUNT]:
            ledger.credit(account, BASE, amount)
            ledger.credit(account, QUOTE, amount)
    return made


def column(units: list[int]) -> columns.Amounts:
    """As amounts come: int64 where all of them together allow it."""
    return np.array(units, dtype=np.int64 if sum(units) < columns.SAFE else object)


@settings(max_examples=120, deadline=None)
@given(st.data(), st.sampled_from((SMALL, LARGE)))
def test_locks_and_trades_of_many_are_those_of_each(data, units):
    one, other = ledgers(2**122)
    handles = columns.handles_of(one, list(desk.ACCOUNTS[:COUNT]))
    for _ in range(2):
        locked = data.draw(st.lists(units, min_size=COUNT, max_size=COUNT))
        needs = columns.Needs()
        needs.add(QUOTE, column(locked))
        columns.lock(one, handles, needs, np.arange(COUNT))
        for account, some in zip(desk.ACCOUNTS, locked, strict=False):
            assert other.lock(account, QUOTE, some)
        at = data.draw(st.lists(st.integers(0, COUNT - 1), min_size=1, max_size=7))
        paid, freed, got = (data.draw(st.lists(units, min_size=len(at), max_size=len(at))) for _ in range(3))
        trades = columns.Trades()
        cut = data.draw(st.integers(0, len(at)))
        for part in (slice(None, cut), slice(cut, None)):
            trades.add(QUOTE, BASE, handles[at[part]], column(paid[part]), column(freed[part]), column(got[part]))
        trades.apply(one)
        for place, pays, frees, gets in zip(at, paid, freed, got, strict=True):
            other.pay(desk.ACCOUNTS[place], QUOTE, pays, frees)
            other.receive(desk.ACCOUNTS[place], BASE, gets)
        balances = [[ledger.balance(account, asset) for asset in (BASE, QUOTE)] for ledger in (one, other)
                    for account in desk.ACCOUNTS[:COUNT]]  # fmt: skip
        assert balances[:COUNT] == balances[COUNT:]
        deltas = one.take_deltas()
        assert deltas == other.take_deltas()
        assert one.take_touched() == other.take_touched()


@pytest.mark.parametrize("free", (0, 7, 2**62 - 1, 2**62, 2**64, AMOUNT_MAX // COUNT))
def test_a_need_one_unit_above_what_is_free_is_not_covered(free):
    ledger, _ = ledgers(free)
    handles = columns.handles_of(ledger, list(desk.ACCOUNTS[:COUNT]))
    for more, expected in ((0, True), (1, False), (2**127, False), (2**128, False)):
        needs = columns.Needs()
        needs.add(BASE, column([free + more, *[0] * (COUNT - 1)]))
        needs.add(QUOTE, column([0] * COUNT))
        found = columns.covered(ledger, handles, needs, np.arange(COUNT)).tolist()
        assert found == [expected, *[True] * (COUNT - 1)]


def test_needs_of_two_markets_in_one_asset_add_up():
    ledger, _ = ledgers(10)
    handles = columns.handles_of(ledger, list(desk.ACCOUNTS[:COUNT]))
    needs = columns.Needs()
    needs.add(BASE, column([6, 5, 0, 0, 0]))
    needs.add(BASE, column([5, 5, 0, 0, 0]))
    assert columns.covered(ledger, handles, needs, np.arange(COUNT)).tolist() == [False, True, True, True, True]
    for _ in range(7):
        needs.add(BASE, column([2**61, 0, 0, 0, 0]))
    assert int(needs.units[BASE][0]) == 11 + 7 * 2**61


def test_trades_of_many_levels_add_up_beyond_64_bits():
    ledger, _ = ledgers(2**120)
    handles, trades = columns.handles_of(ledger, [desk.ACCOUNTS[0]]), columns.Trades()
    for _ in range(9):
        trades.add(QUOTE, BASE, handles, column([2**61]), column([0]), column([2**61 + 1]))
    trades.apply(ledger)
    assert ledger.balance(desk.ACCOUNTS[0], QUOTE) == (2**120 - 9 * 2**61, 0)
    assert ledger.balance(desk.ACCOUNTS[0], BASE) == (2**120 + 9 * 2**61 + 9, 0)


@settings(max_examples=120, deadline=None)
@given(
    st.integers(0, 3000),
    st.sampled_from((0, 1, 63, 64, 65, 1022, 1023, 1024, 1025, 5000, NONCE_AHEAD_MAX, NONCE_AHEAD_MAX + 1)),
    st.lists(st.integers(0, NONCE_WINDOW - 1), min_size=1, max_size=9, unique=True),
)
def test_nonces_of_a_batch_are_used_as_one_by_one(used, ahead, behind):
    ledger, plain = Ledger(), NonceState()
    account = desk.ACCOUNTS[0]
    ledger.credit(account, BASE, 1)
    for nonce in (used // 2, used):
        plain.consume(nonce)
        ledger.consume_nonce(account, nonce)
    handles, highest = columns.handles_of(ledger, [account]), np.array([used + ahead])
    rows = np.array([0, *(one for one in behind if 0 < one <= used + ahead)])
    good = columns.nonces_ahead(ledger, handles, highest - rows.max(), highest)
    assert good.tolist() == [int(rows.max()) < ahead <= NONCE_AHEAD_MAX]
    if good.all():
        windows = columns.windows_of(np.zeros(len(rows), dtype=np.int64), rows, 1)
        columns.use_nonces(ledger, handles, highest, windows)
        for one in rows.tolist():
            assert plain.consume(used + ahead - one) is None
        held = ledger.get(account)
        assert held is not None
        assert (held.nonces.highest, held.nonces.window) == (plain.highest, plain.window)


def test_an_unknown_account_has_no_handle_and_gets_none():
    ledger, _ = ledgers(1)
    assert columns.handles_of(ledger, [desk.ACCOUNTS[1], bytes(20)]).tolist() == [1, -1]
    assert len(ledger.handles.addresses) == COUNT


def test_changes_of_many_are_taken_once_and_exactly():
    ledger = Ledger()
    handles = [ledger.handles.take(bytes([n]) * 20) for n in range(3)]
    for n, units in enumerate((5, 2**90, 7)):
        ledger.receive(bytes([n]) * 20, BASE, units)
    assert columns.take_changes(ledger, BASE, handles) == [5, 2**90, 7]
    assert columns.take_changes(ledger, BASE, handles) == [0, 0, 0]
    ledger.receive(bytes(20), BASE, -5)
    assert columns.take_changes(ledger, BASE, handles) == [-5, 0, 0]


class Full(bytearray):
    """An array for whose successor there is no memory."""

    def __add__(self, _: object) -> bytearray:
        raise MemoryError


@pytest.mark.parametrize("kind", ("balances", "changes"))
def test_a_ledger_that_finds_no_memory_to_grow_is_what_it_was_and_grows_later(kind):
    ledger = Ledger()
    crowd = [bytes([n]) * 20 for n in range(65)]
    for account in crowd[:64]:
        ledger.credit(account, BASE, 5)
        ledger.receive(account, QUOTE, 7)
    held: dict[int, bytearray] = getattr(ledger, kind)
    held[QUOTE] = Full(held[QUOTE])
    savepoint = ledger.savepoint(crowd)
    with pytest.raises(MemoryError):
        ledger.consume_nonce(crowd[64], 1)
    ledger.roll_back(savepoint)
    assert ledger.get(crowd[64]) is None and len(ledger.highest) == 64
    assert [ledger.balance(account, QUOTE) for account in crowd] == [(7, 0)] * 64 + [(0, 0)]
    held = getattr(ledger, kind)
    held[QUOTE] = bytearray(held[QUOTE])
    ledger.credit(crowd[64], QUOTE, 9)
    assert [ledger.balance(account, QUOTE) for account in crowd] == [(7, 0)] * 64 + [(9, 0)]
    assert {len(array) for array in ledger.balances.values()} == {len(ledger.highest) * 32}
    assert len(ledger.highest) * 16 == len(ledger.changes[QUOTE]) and not any(ledger.changes[QUOTE])
