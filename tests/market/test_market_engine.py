"""The engine's door: terms, deposits, misuse, snapshots, roots."""

from __future__ import annotations

import msgspec
import pytest
from msgspec.structs import replace

from mpc_sequencer.core.codec import decode, encode
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.market import Engine, PreparedOrder, genesis_result, result_hash
from mpc_sequencer.market.snapshot import Snapshot
from tests.market import desk, naive

MOST = 2**127 - 1


@pytest.mark.parametrize(
    ("markets", "assets"),
    [
        ([replace(desk.SPOT, base_units_per_lot=0)], desk.ASSETS),
        ([replace(desk.SPOT, quote_units_per_tick_lot=0)], desk.ASSETS),
        ([replace(desk.SPOT, reference_price_ticks=0)], desk.ASSETS),
        ([replace(desk.SPOT, reference_price_ticks=2**48)], desk.ASSETS),
        ([replace(desk.SPOT, id=2**32)], desk.ASSETS),
        ([replace(desk.SPOT, symbol="")], desk.ASSETS),
        ([replace(desk.SPOT, quote_asset=desk.BASE)], desk.ASSETS),
        ([replace(desk.SPOT, quote_asset=9)], desk.ASSETS),
        ([desk.SPOT, desk.SPOT], desk.ASSETS),
        ([desk.SPOT], (1, 2, 2)),
        ([], (65536,)),
        ([], (-1,)),
    ],
)
def test_terms_out_of_bounds_are_refused(markets, assets):
    with pytest.raises(ValueError):
        Engine(markets, assets, desk.SEPARATOR)


def test_a_domain_separator_has_32_bytes():
    with pytest.raises(ValueError):
        Engine([desk.SPOT], desk.ASSETS, b"")


def test_a_supply_beyond_the_bound_is_refused_and_changes_nothing():
    made = desk.engine(accounts=())
    made.credit(desk.ACCOUNTS[0], desk.BASE, MOST - 1)
    before = made.dump(), made.state_root()
    for account, asset, amount in (
        (desk.ACCOUNTS[1], desk.BASE, 2),
        (desk.ACCOUNTS[0], desk.BASE, -1),
        (desk.ACCOUNTS[0], 9, 1),
        (b"", desk.BASE, 1),
    ):
        with pytest.raises(ValueError):
            made.credit(account, asset, amount)
        assert (made.dump(), made.state_root()) == before
    made.credit(desk.ACCOUNTS[1], desk.BASE, 1)
    with pytest.raises(ValueError):
        Engine.load(made.dump()).credit(desk.ACCOUNTS[1], desk.BASE, 1)
    desk.run(made, 1, [desk.withdrawal(0, 1, desk.BASE, 5)])
    made.credit(desk.ACCOUNTS[1], desk.BASE, 5)


def test_the_largest_order_locks_and_trades_exactly():
    most = 2**48 - 1
    market = replace(desk.SPOT, base_units_per_lot=1, quote_units_per_tick_lot=1)
    made = desk.engine([market], amount=0)
    made.credit(desk.ACCOUNTS[0], desk.QUOTE, most * most)
    made.credit(desk.ACCOUNTS[1], desk.BASE, most)
    result = desk.run(made, 1, [desk.buy(0, 1, most, most), desk.sell(1, 1, most, most)])
    assert result.clearing == ((1, most, most),)
    assert made.balance(desk.ACCOUNTS[1], desk.QUOTE) == (most * most, 0)
    assert made.balance(desk.ACCOUNTS[0], desk.BASE) == (most, 0)
    assert made.balance(desk.ACCOUNTS[0], desk.QUOTE) == (0, 0)


@pytest.mark.parametrize(
    ("height", "coin", "ids"),
    [
        (1, b"", [bytes(32)]),
        (-1, bytes(32), [bytes(32)]),
        (2**63, bytes(32), [bytes(32)]),
        (1, bytes(32), [bytes(32), bytes(32)]),
        (1, bytes(32), [bytes(31)]),
    ],
)
def test_a_callers_mistake_is_refused_before_anything_changes(height, coin, ids):
    made = desk.engine()
    before = made.dump()
    batch = [PreparedOrder(name, desk.buy(0, i, 10, 1), None) for i, name in enumerate(ids)]
    with pytest.raises(ValueError):
        made.execute(height, desk.TIME_MS, coin, batch)
    assert made.dump() == before


def test_a_prepared_order_has_an_action_or_a_refusal():
    for action, refusal in ((None, None), (desk.buy(0, 1, 1, 1), "label")):
        with pytest.raises(ValueError):
            PreparedOrder(bytes(32), action, refusal)


def test_an_empty_batch_leaves_the_state_and_has_the_empty_root():
    made = desk.engine()
    before = made.dump(), made.state_root()
    result = made.execute(1, desk.TIME_MS, desk.COIN, [])
    assert (made.dump(), result.state_root) == before
    assert (result.fills_root, result.fills, result.outcomes, result.deltas) == (bytes(32), (), (), ())


def test_only_markets_with_new_orders_clear_and_in_order_of_id():
    made = desk.engine()
    trades = [
        desk.limit(0, 1, 1, 5, 1, market=7), desk.limit(1, 1, 2, 5, 1, market=7), desk.buy(2, 1, 9, 1),
        desk.sell(3, 1, 9, 1),
    ]  # fmt: skip
    result = desk.run(made, 1, trades)
    assert result.clearing == ((1, 9, 1), (7, 5, 1))
    assert [fill.market for fill in result.fills] == [1, 1, 7, 7]
    for pair in (result.fills[:2], result.fills[2:]):
        ids = [fill.order_id for fill in pair]
        assert ids == sorted(ids)


def test_an_order_against_the_same_account_nets_to_no_delta():
    made = desk.engine()
    result = desk.run(made, 1, [desk.buy(0, 1, 9, 1), desk.sell(0, 2, 9, 1)])
    assert len(result.fills) == 2
    assert result.deltas == ()
    assert made.balance(desk.ACCOUNTS[0], desk.BASE) == (10**9, 0)


def test_deposits_change_the_root_but_enter_no_delta():
    made = desk.engine()
    before = made.state_root()
    made.credit(desk.ACCOUNTS[0], desk.BASE, 1)
    assert made.state_root() != before
    assert made.execute(1, desk.TIME_MS, desk.COIN, []).deltas == ()


def test_results_chain_from_genesis():
    root = desk.engine().state_root()
    first = genesis_result(root)
    assert first == naive.tagged("result", bytes(32), bytes(8), root, bytes(32))
    assert result_hash(first, 258, b"s" * 32, b"f" * 32) == naive.tagged(
        "result", first, bytes(6) + b"\x01\x02", b"s" * 32, b"f" * 32
    )


def traded() -> Engine:
    made = desk.engine(amount=5_000)
    desk.run(
        made, 1, [desk.buy(0, 1, 9, 5), desk.sell(1, 1, 10, 5), desk.sell(2, 1, 9, 2), desk.buy(3, 9, 4, 1)]
    )
    return made


def test_no_bit_of_a_dump_is_idle():
    """Whatever byte is changed: the dump does not load, or loads as the other state it now describes."""
    data = traded().dump()
    root = traded().state_root()
    for place in range(0, len(data), 7):
        changed = data[:place] + bytes((data[place] ^ 1,)) + data[place + 1 :]
        try:
            loaded = Engine.load(changed)
        except ValueError:
            continue
        assert loaded.dump() == changed
        terms = decode(Snapshot, changed), decode(Snapshot, data)
        same_terms = all(
            getattr(terms[0], name) == getattr(terms[1], name)
            for name in ("domain_separator", "fee_account", "markets", "assets")
        )
        assert loaded.state_root() != root or not same_terms


def snapshot() -> Snapshot:
    return decode(Snapshot, traded().dump())


def with_order(held: Snapshot, place: int = 0, **changes) -> Snapshot:
    rows = list(held.orders)
    rows[place] = (rows[place][0], replace(rows[place][1], **changes))
    return replace(held, orders=tuple(rows))


def met_ticks(held: Snapshot) -> int:
    """A trigger that the first order's market has met."""
    return 1 if held.orders[0][1].side == 1 else 99


def with_account(change) -> Snapshot:
    held = snapshot()
    (account, value), *rest = held.accounts
    return replace(held, accounts=((account, change(value)), *rest))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda s: replace(s, accounts=s.accounts[::-1]), "accounts are not strictly ascending"),
        (lambda s: replace(s, accounts=(s.accounts[0], *s.accounts)), "accounts are not strictly ascending"),
        (lambda s: replace(s, orders=s.orders[::-1]), "orders are not strictly ascending"),
        (lambda s: replace(s, markets=s.markets[::-1]), "markets are not strictly ascending"),
        (lambda s: replace(s, assets=s.assets[::-1]), "assets are not strictly ascending"),
        (lambda s: replace(s, reference_prices_ticks=(1,)), "reference prices"),
        (lambda s: replace(s, orders=s.orders[1:]), "unlike its orders"),
        (lambda s: replace(s, accounts=()), "its nonce is not used"),
        (lambda s: replace(s, sequences=()), "last sequences"),
        (lambda s: replace(s, sequences=(1, 0)), "auction market 1 counts"),
        (lambda s: with_order(s, sequence=1), "sequence 1"),
        (lambda s: with_order(s, shown_lots=1), "it shows 1 lots"),
        (lambda s: with_order(s, status=2), "only a stop waits"),
        (lambda s: with_order(s, time_in_force=2), "no such order rests"),
        (lambda s: with_order(s, filled_lots=s.orders[0][1].quantity_lots), "it is filled"),
        (lambda s: with_order(s, nonce=777), "its nonce is not used"),
        (lambda s: with_order(s, kind=3, time_in_force=2, stop_ticks=met_ticks(s), status=2), "trigger is met"),
        (
            lambda s: replace(s, markets=s.markets[1:], reference_prices_ticks=(5,), sequences=(0,)),
            r"its terms \(market\)",
        ),
        (lambda s: with_account(lambda v: replace(v, balances=v.balances[::-1])), "canonical form"),
        (
            lambda s: with_account(lambda v: replace(v, balances=((9, bytes(15) + b"\1", bytes(16)),))),
            "asset 9",
        ),
        (
            lambda s: with_account(lambda v: replace(v, balances=((1, b"\x7f" + b"\xff" * 15, bytes(16)),))),
            "supply",
        ),
        (lambda s: with_account(lambda v: replace(v, window=bytes(127) + b"\2")), "highest nonce"),
        (lambda s: with_account(lambda v: replace(v, window=bytes(128), highest_nonce=3)), "highest nonce"),
    ],
)
def test_a_dump_of_no_reachable_state_is_refused(change, says):
    with pytest.raises(ValueError, match=says):
        Engine.load(encode(change(snapshot())))


def test_a_dump_with_a_crossed_book_is_refused():
    buyer, seller = desk.engine(accounts=()), desk.engine(accounts=())
    for made in (buyer, seller):
        for account in desk.ACCOUNTS[:2]:
            made.credit(account, desk.BASE, 100)
            made.credit(account, desk.QUOTE, 100)
    buyer.execute(1, desk.TIME_MS, desk.COIN, [desk.prepared("b", desk.buy(0, 1, 9, 1))])
    seller.execute(1, desk.TIME_MS, desk.COIN, [desk.prepared("s", desk.sell(1, 1, 9, 1))])
    one, other = decode(Snapshot, buyer.dump()), decode(Snapshot, seller.dump())
    accounts = dict(one.accounts) | {desk.ACCOUNTS[1]: dict(other.accounts)[desk.ACCOUNTS[1]]}
    crossed = replace(
        one, accounts=tuple(sorted(accounts.items())), orders=tuple(sorted(one.orders + other.orders))
    )
    with pytest.raises(ValueError, match="crossed"):
        Engine.load(encode(crossed))


def test_bytes_that_are_no_dump_are_refused():
    data = traded().dump()
    for wrong in (
        b"",
        data[:-1],
        data + b"\0",
        msgspec.msgpack.encode([1, *msgspec.msgpack.decode(data)[1:]]),
    ):
        with pytest.raises(ProtocolError):
            Engine.load(wrong)
