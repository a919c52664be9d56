"""Accounts, markets and orders for the market's tests."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from msgspec.structs import astuple, replace

from mpc_sequencer.core import eip712
from mpc_sequencer.core.actions import (
    BUY,
    EVERY_MARKET,
    GTC,
    IOC,
    SELL,
    Action,
    Cancel,
    CancelAll,
    Order,
    Replace,
    Withdrawal,
    label_hash,
    plain_order,
    with_account_signature,
)
from mpc_sequencer.core.codec import encode
from mpc_sequencer.core.signing import Signer
from mpc_sequencer.market import (
    AUCTION,
    RECEIVE,
    SHUFFLE,
    BatchOrder,
    Engine,
    HeightResult,
    Market,
    PreparedOrder,
)
from mpc_sequencer.market.openorder import EARLIER, NEW, OpenOrder, opened

BASE, QUOTE, OTHER = 1, 2, 3
ASSETS = (BASE, QUOTE, OTHER)
SEPARATOR = eip712.domain_separator(31337, bytes(range(20)))
SPOT = Market(1, BASE, QUOTE, 10, 3, 12, "BASE/QUOTE", AUCTION)
CROSS = Market(7, OTHER, QUOTE, 1, 1, 5, "OTHER/QUOTE", AUCTION)
MARKETS = (SPOT, CROSS)
POLICIES = (AUCTION, SHUFFLE, RECEIVE)
SIGNERS = tuple(Signer(hashlib.sha256(bytes((i,))).digest()) for i in range(1, 6))
ACCOUNTS = tuple(signer.address for signer in SIGNERS)
FEES = b"\xfe" * 20
LABEL = bytes((1,)) + bytes(100)
TIME_MS = 1_700_000_000_000
COIN = hashlib.sha256(b"coin").digest()


def markets(spot_policy: int, cross_policy: int = AUCTION) -> tuple[Market, Market]:
    """The two markets under other policies."""
    return replace(SPOT, policy=spot_policy), replace(CROSS, policy=cross_policy)


def received(order_ids: Sequence[bytes]) -> list[bytes]:
    """A precedence that has nothing to do with any draw."""
    return sorted(order_ids, key=lambda order_id: hashlib.sha256(b"received" + order_id).digest())


def order_id(name: object) -> bytes:
    return hashlib.sha256(repr(name).encode()).digest()


def engine(
    markets: Sequence[Market] = MARKETS,
    amount: int = 10**9,
    accounts: Iterable[bytes] = ACCOUNTS,
    fee_account: bytes = FEES,
) -> Engine:
    """An engine whose accounts hold ``amount`` of every asset."""
    made = Engine(markets, ASSETS, SEPARATOR, fee_account)
    for account in accounts:
        for asset in ASSETS:
            made.credit(account, asset, amount)
    return made


def limit(  # one order of account number ``who``
    who: int,
    nonce: int,
    side: int,
    price_ticks: int,
    quantity_lots: int,
    *,
    time_in_force: int = GTC,
    market: int = SPOT.id,
    label: bytes = LABEL,
    **terms: int,
) -> Order:
    made = plain_order(
        ACCOUNTS[who],
        nonce,
        label_hash(label),
        market=market,
        side=side,
        time_in_force=time_in_force,
        price_ticks=price_ticks,
        quantity_lots=quantity_lots,
    )
    return replace(made, **terms) if terms else made


def replacement(target_nonce: int, order: Order) -> Replace:
    """The replacement of an earlier order by ``order``, under its nonce."""
    account, nonce, bound, *terms = astuple(order)
    return Replace(account, nonce, bound, target_nonce, *terms)


def cancel(who: int, nonce: int, target_nonce: int) -> Cancel:
    return Cancel(ACCOUNTS[who], nonce, label_hash(LABEL), target_nonce)


def cancel_all(who: int, nonce: int, market: int = EVERY_MARKET) -> CancelAll:
    return CancelAll(ACCOUNTS[who], nonce, label_hash(LABEL), market)


def buy(who: int, nonce: int, price_ticks: int, quantity_lots: int, *, ioc: bool = False, **terms: int) -> Order:
    return limit(who, nonce, BUY, price_ticks, quantity_lots, **{"time_in_force": IOC if ioc else GTC, **terms})


def sell(who: int, nonce: int, price_ticks: int, quantity_lots: int, *, ioc: bool = False, **terms: int) -> Order:
    return limit(who, nonce, SELL, price_ticks, quantity_lots, **{"time_in_force": IOC if ioc else GTC, **terms})


def open_order(
    name: object, side: int, price_ticks: int, lots: int, *, resting: bool = True, display_lots: int = 0
) -> OpenOrder:
    """An order as the engine holds it, of nobody in particular."""
    made = opened(
        order_id(name),
        limit(0, 1, side, price_ticks, lots, display_lots=display_lots),
        filled_lots=0,
        origin=EARLIER if resting else NEW,
    )
    if resting:
        made.status, made.shown_lots = 1, min(display_lots, lots)
    return made


def withdrawal(who: int, nonce: int, asset: int, amount: int) -> Withdrawal:
    return Withdrawal(ACCOUNTS[who], nonce, label_hash(LABEL), asset, amount.to_bytes(16, "big"))


def prepared(name: object, action: Action) -> PreparedOrder:
    """An order whose state-free checks have passed."""
    return PreparedOrder(order_id(name), action, None)


def plaintext(who: int, action: Action, *, separator: bytes = SEPARATOR) -> bytes:
    """``action`` signed by account number ``who`` (whether or not it names that account)."""
    signature = SIGNERS[who].sign_digest(eip712.digest(separator, action.struct_hash()))
    return encode(with_account_signature(action, signature))


def sealed(name: object, who: int, action: Action, *, label: bytes = LABEL) -> BatchOrder:
    return BatchOrder(order_id(name), label, plaintext(who, action))


def run(made: Engine, height: int, actions: Sequence[Action], coin: bytes = COIN) -> HeightResult:
    """Execute actions as a batch; each order's id is made of height and place."""
    return made.execute(height, TIME_MS, coin, [prepared((height, i), action) for i, action in enumerate(actions)])


def run_received(made: Engine, height: int, actions: Sequence[Action]) -> HeightResult:
    """:func:`run` where some market orders by receipt: by :func:`received`."""
    batch = [prepared((height, i), action) for i, action in enumerate(actions)]
    return made.execute(height, TIME_MS, COIN, batch, received)


def codes(result: HeightResult) -> dict[bytes, str]:
    return {outcome.order_id: outcome.code for outcome in result.outcomes}


def plain(result: HeightResult) -> tuple[object, ...]:
    """A result in the slow model's terms."""
    return (
        result.state_root,
        result.fills_root,
        [
            (f.height, f.market, f.order_id, f.account, f.side, f.price_ticks, f.quantity_lots, f.fee, f.maker)
            for f in result.fills
        ],
        [
            (o.order_id, o.code, o.filled_lots, o.price_ticks, o.notional_tick_lots, o.fee_units)
            for o in result.outcomes
        ],
        [
            (o.order_id, o.code, o.filled_lots, o.price_ticks, o.notional_tick_lots, o.fee_units, o.remaining_lots)
            for o in result.updates
        ],
        list(result.deltas),
        list(result.clearing),
    )
