"""Accounts, markets and orders for the market's tests."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from mpc_sequencer.core import eip712
from mpc_sequencer.core.actions import (
    BUY,
    GTC,
    IOC,
    LIMIT,
    SELL,
    Action,
    Order,
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
    OrderValue,
    PreparedOrder,
)

BASE, QUOTE, OTHER = 1, 2, 3
ASSETS = (BASE, QUOTE, OTHER)
SEPARATOR = eip712.domain_separator(31337, bytes(range(20)))
SPOT = Market(1, BASE, QUOTE, 10, 3, 12, "BASE/QUOTE", AUCTION)
CROSS = Market(7, OTHER, QUOTE, 1, 1, 5, "OTHER/QUOTE", AUCTION)
MARKETS = (SPOT, CROSS)
POLICIES = (AUCTION, SHUFFLE, RECEIVE)
SIGNERS = tuple(Signer(hashlib.sha256(bytes((i,))).digest()) for i in range(1, 6))
ACCOUNTS = tuple(signer.address for signer in SIGNERS)
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
    markets: Sequence[Market] = MARKETS, amount: int = 10**9, accounts: Iterable[bytes] = ACCOUNTS
) -> Engine:
    """An engine whose accounts hold ``amount`` of every asset."""
    made = Engine(markets, ASSETS, SEPARATOR)
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
) -> Order:
    return plain_order(
        ACCOUNTS[who],
        nonce,
        label_hash(label),
        market=market,
        side=side,
        time_in_force=time_in_force,
        price_ticks=price_ticks,
        quantity_lots=quantity_lots,
    )


def buy(who: int, nonce: int, price_ticks: int, quantity_lots: int, *, ioc: bool = False) -> Order:
    return limit(who, nonce, BUY, price_ticks, quantity_lots, time_in_force=IOC if ioc else GTC)


def sell(who: int, nonce: int, price_ticks: int, quantity_lots: int, *, ioc: bool = False) -> Order:
    return limit(who, nonce, SELL, price_ticks, quantity_lots, time_in_force=IOC if ioc else GTC)


def resting(side: int, price_ticks: int, lots: int) -> OrderValue:
    """An order as it rests in the book, of nobody in particular."""
    return OrderValue(
        account=ACCOUNTS[0], nonce=1, market=SPOT.id, client_id=0, side=side, kind=LIMIT, time_in_force=GTC,
        post_only=0, self_trade=0, price_ticks=price_ticks, stop_ticks=0, quantity_lots=lots, filled_lots=0,
        display_lots=0, shown_lots=0, expires_ms=0, sequence=0, status=1,
    )  # fmt: skip


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
