"""The engine against the slow model of the text, over random sequences of batches, under all order policies."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from mpc_sequencer.core.actions import Order, Withdrawal
from mpc_sequencer.market import Engine, HeightResult, Market, PreparedOrder
from tests.market import desk, naive

PRICE_MAX = 16
FUNDED = desk.ACCOUNTS[:4]  # the last account has a nonce to use and nothing else

good_orders = st.builds(
    desk.limit,
    who=st.integers(0, 4),
    nonce=st.integers(0, 60),
    side=st.sampled_from((1, 2)),
    price_ticks=st.integers(1, PRICE_MAX) | st.integers(7, 10),
    quantity_lots=st.integers(1, 6) | st.integers(1, 300),
    time_in_force=st.sampled_from((1, 2)),
    market=st.sampled_from((1, 1, 7)),
)
bad_orders = st.builds(
    desk.limit,
    who=st.integers(0, 4),
    nonce=st.integers(0, 60) | st.sampled_from((2**20, 2**20 + 61, 3000, 2**63 - 1)),
    side=st.integers(0, 3),
    price_ticks=st.integers(0, PRICE_MAX) | st.sampled_from((2**48, 2**63 - 1)),
    quantity_lots=st.sampled_from((0, 1, 2**48 - 1, 2**48, 2**63 - 1)),
    time_in_force=st.integers(0, 3),
    market=st.sampled_from((0, 1, 7)),
)
withdrawals = st.builds(
    desk.withdrawal,
    who=st.integers(0, 4),
    nonce=st.integers(0, 60),
    asset=st.integers(0, 4),
    amount=st.integers(0, 4000) | st.sampled_from((2**127 - 1, 2**127, 2**128 - 1)),
)
refusals = st.sampled_from(("malformed", "plaintext", "label", "signature"))
verdicts = st.one_of(good_orders, good_orders, good_orders, good_orders, bad_orders, withdrawals, refusals)
histories = st.lists(
    st.tuples(st.binary(min_size=32, max_size=32), st.lists(verdicts, max_size=14)), max_size=6
)


def prepared_batch(height: int, verdicts: Sequence[Order | Withdrawal | str]) -> list[PreparedOrder]:
    return [
        PreparedOrder(desk.order_id((height, i)), None, verdict)
        if isinstance(verdict, str)
        else desk.prepared((height, i), verdict)
        for i, verdict in enumerate(verdicts)
    ]


def plain(result: HeightResult) -> tuple[object, ...]:
    """A result in the model's terms."""
    return (
        result.state_root,
        result.fills_root,
        [
            (f.height, f.market, f.order_id, f.account, f.side, f.price_ticks, f.quantity_lots, f.fee, f.maker)
            for f in result.fills
        ],
        [(o.order_id, o.code, o.filled_lots, o.price_ticks, o.notional_tick_lots) for o in result.outcomes],
        list(result.deltas),
        list(result.clearing),
    )


def pair(markets: Sequence[Market], amount: int) -> tuple[Engine, naive.Model]:
    made, model = (
        desk.engine(markets, amount=amount, accounts=FUNDED),
        naive.Model(markets, desk.ASSETS, PRICE_MAX),
    )
    for account in FUNDED:
        for asset in desk.ASSETS:
            model.credit(account, asset, amount)
    return made, model


def totals(made: Engine) -> dict[int, int]:
    return {
        asset: sum(sum(made.balance(account, asset)) for account in desk.ACCOUNTS) for asset in desk.ASSETS
    }


mixes = st.builds(desk.markets, st.sampled_from(desk.POLICIES), st.sampled_from(desk.POLICIES))


@settings(max_examples=250, deadline=None)
@given(mixes, histories, st.sampled_from((2_000, 10**6)))
def test_engine_equals_the_naive_model_height_by_height(markets, history, amount):
    made, model = pair(markets, amount)
    assert made.state_root() == model.state_root()
    for height, (coin, verdicts) in enumerate(history, 1):
        batch = prepared_batch(height, verdicts)
        seen = made.execute(height, desk.TIME_MS, coin, batch, desk.received)
        assert plain(seen) == model.execute(height, desk.TIME_MS, coin, batch, desk.received)


@settings(max_examples=80, deadline=None)
@given(mixes, histories)
def test_every_asset_is_conserved_and_every_delta_accounts_for_it(markets, history):
    made = desk.engine(markets, amount=4_000)
    withdrawn = dict.fromkeys(desk.ASSETS, 0)
    before = totals(made)
    for height, (coin, verdicts) in enumerate(history, 1):
        held = {(a, s): sum(made.balance(a, s)) for a in desk.ACCOUNTS for s in desk.ASSETS}
        result = made.execute(height, desk.TIME_MS, coin, prepared_batch(height, verdicts), desk.received)
        for asset in desk.ASSETS:
            rows = [row for row in result.deltas if row[1] == asset]
            assert sum(free + withdrawable for _, _, free, withdrawable in rows) == 0
            withdrawn[asset] += sum(row[3] for row in rows)
        for account, asset, free, _ in result.deltas:
            assert sum(made.balance(account, asset)) == held.pop((account, asset)) + free
        for (account, asset), total in held.items():
            assert sum(made.balance(account, asset)) == total
        for account in desk.ACCOUNTS:
            assert all(amount >= 0 for asset in desk.ASSETS for amount in made.balance(account, asset))
    assert {asset: total + withdrawn[asset] for asset, total in totals(made).items()} == before


@settings(max_examples=80, deadline=None)
@given(mixes, histories, st.randoms(use_true_random=False))
def test_permuting_a_batch_changes_nothing(markets, history, random):
    one, other = desk.engine(markets, amount=4_000), desk.engine(markets, amount=4_000)
    for height, (coin, verdicts) in enumerate(history, 1):
        batch = prepared_batch(height, verdicts)
        shuffled = list(batch)
        random.shuffle(shuffled)
        seen = one.execute(height, desk.TIME_MS, coin, batch, desk.received)
        assert seen == other.execute(height, desk.TIME_MS, coin, shuffled, desk.received)
    assert one.dump() == other.dump()


@settings(max_examples=80, deadline=None)
@given(mixes, histories)
def test_no_fill_is_worse_than_its_limit_and_none_exceeds_its_order(markets, history):
    made = desk.engine(markets, amount=10**6)
    limits: dict[bytes, Order] = {}
    open_lots: dict[bytes, int] = {}
    for height, (coin, verdicts) in enumerate(history, 1):
        batch = prepared_batch(height, verdicts)
        for order in batch:
            if isinstance(order.action, Order):
                limits[order.order_id] = order.action
                open_lots[order.order_id] = order.action.quantity_lots
        for fill in made.execute(height, desk.TIME_MS, coin, batch, desk.received).fills:
            order = limits[fill.order_id]
            assert (fill.account, fill.side, fill.market) == (order.account, order.side, order.market)
            worse = (
                fill.price_ticks > order.price_ticks
                if fill.side == 1
                else fill.price_ticks < order.price_ticks
            )
            assert not worse
            open_lots[fill.order_id] -= fill.quantity_lots
            assert open_lots[fill.order_id] >= 0 < fill.quantity_lots


@settings(max_examples=80, deadline=None)
@given(mixes, histories, histories)
def test_a_loaded_dump_is_the_same_state_bit_by_bit_and_goes_on_alike(markets, history, continuation):
    made = desk.engine(markets, amount=4_000)
    for height, (coin, verdicts) in enumerate(history, 1):
        made.execute(height, desk.TIME_MS, coin, prepared_batch(height, verdicts), desk.received)
    loaded = Engine.load(made.dump())
    assert loaded.dump() == made.dump()
    assert loaded.state_root() == made.state_root()
    for height, (coin, verdicts) in enumerate(continuation, len(history) + 1):
        batch = prepared_batch(height, verdicts)
        seen = made.execute(height, desk.TIME_MS, coin, batch, desk.received)
        assert seen == loaded.execute(height, desk.TIME_MS, coin, batch, desk.received)
    assert loaded.dump() == made.dump()
