"""A state as one canonical value, and back: two members in the same state write the same bytes.

A snapshot holds the state and nothing derived from it. Loading checks all that heights guarantee, so that a file which
was cut, bent or made up is refused and never traded on: locks are what the open orders need, books are uncrossed, no
stop waits that its price has met.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Annotated, Final, Literal

from msgspec import Meta
from msgspec.structs import asdict

from mpc_sequencer.core.actions import LIMIT, Order
from mpc_sequencer.core.codec import decode, encode
from mpc_sequencer.core.limits import MARKETS_MAX, OPEN_ORDERS_PER_ACCOUNT_MAX
from mpc_sequencer.core.types import ZERO_HASH, Address, Hash32, Uint, Value
from mpc_sequencer.market.dark import deposit_units, dump_desk, load_desk
from mpc_sequencer.market.fees import lock_asset, lock_units
from mpc_sequencer.market.nonces import NonceState
from mpc_sequencer.market.openorder import OpenOrder, of_value
from mpc_sequencer.market.state import State, checked_terms
from mpc_sequencer.market.stops import is_triggered
from mpc_sequencer.market.terms import is_stop, may_rest, terms_refusal
from mpc_sequencer.market.types import (
    AUCTION,
    DARK,
    NONCE_CONSUMED,
    POLICY_NAMES,
    STATUS_RESTING,
    STATUS_WAITING,
    AccountValue,
    AssetId,
    DarkGrid,
    Market,
    OrderValue,
    PlainTerms,
    PriceTicks,
)

_BEFORE_ALL_MS: Final = -1


class Snapshot(Value, frozen=True):
    """A state without dark markets, with the terms it runs under; markets by id, assets ascending, accounts by
    address, orders by id, reference prices and last sequences in the order of the markets."""

    version: Literal[3]
    domain_separator: Hash32
    fee_account: Address
    markets: Annotated[tuple[PlainTerms, ...], Meta(max_length=MARKETS_MAX)]
    assets: tuple[AssetId, ...]
    reference_prices_ticks: tuple[PriceTicks, ...]
    sequences: tuple[Uint, ...]
    accounts: tuple[tuple[Address, AccountValue], ...]
    orders: tuple[tuple[Hash32, OrderValue], ...]


class DarkSnapshot(Value, frozen=True):
    """A state some of whose markets are dark. ``grids`` in the order of the markets; ``desk`` is their orders and
    batches, encoded, so that only who has such markets loads what computes them."""

    version: Literal[4]
    plain: Snapshot
    grids: Annotated[tuple[DarkGrid | None, ...], Meta(max_length=MARKETS_MAX)]
    desk: bytes


_DARK_VERSION: Final = encode((4,))[1:]
"""As the second byte of a snapshot's array."""


def dump_state(state: State, domain_separator: bytes) -> bytes:
    """The state's canonical encoding: equal states give equal bytes."""
    plain = _snapshot_of(state, domain_separator)
    if state.desk is None:
        return encode(plain)
    grids = tuple(market.dark for market in state.markets.values())
    return encode(DarkSnapshot(4, plain, grids, dump_desk(state.desk)))


def load_state(data: bytes) -> tuple[State, bytes]:
    """The state whose :func:`dump_state` is ``data``, and its domain separator. Raises ``ValueError`` (of which a
    :class:`~mpc_sequencer.core.errors.ProtocolError` is one) where it describes none that heights could reach."""
    if data[1:2] != _DARK_VERSION:
        snapshot: Snapshot = decode(Snapshot, data, bytes_max=len(data))
        return _state_of(snapshot, [None] * len(snapshot.markets), b""), snapshot.domain_separator
    dark: DarkSnapshot = decode(DarkSnapshot, data, bytes_max=len(data))
    if len(dark.grids) != len(dark.plain.markets) or not any(dark.grids):
        raise ValueError("the terms of dark markets and the markets differ in number, or no market is dark")
    return _state_of(dark.plain, dark.grids, dark.desk), dark.plain.domain_separator


def _snapshot_of(state: State, domain_separator: bytes) -> Snapshot:
    accounts = ((account, state.ledger.value(account)) for account in state.ledger.handles.addresses)
    return Snapshot(
        version=3,
        domain_separator=domain_separator,
        fee_account=state.fee_account,
        markets=tuple(market.plain() for market in state.markets.values()),
        assets=tuple(sorted(state.assets)),
        reference_prices_ticks=tuple(state.reference_prices_ticks.values()),
        sequences=tuple(state.sequences.values()),
        accounts=tuple(sorted((account, value) for account, value in accounts if value is not None)),
        orders=tuple((order_id, order.value()) for order_id, order in sorted(state.orders.by_id.items())),
    )


def _state_of(snapshot: Snapshot, grids: Sequence[DarkGrid | None], desk: bytes) -> State:
    listed = [Market(**asdict(terms), dark=grid) for terms, grid in zip(snapshot.markets, grids, strict=True)]
    markets, assets = checked_terms(listed, snapshot.assets, snapshot.fee_account)
    for name, ids in (
        ("markets", [market.id for market in snapshot.markets]),
        ("assets", snapshot.assets),
        ("accounts", [account for account, _ in snapshot.accounts]),
        ("orders", [order_id for order_id, _ in snapshot.orders]),
    ):
        _check_ascending(name, ids)
    if not len(snapshot.reference_prices_ticks) == len(snapshot.sequences) == len(markets):
        raise ValueError("reference prices or last sequences and markets differ in number")
    dark = any(market.policy == DARK for market in listed)
    state = State(markets, assets, snapshot.fee_account, load_desk(markets, desk) if dark else None)
    for market_id, price_ticks in zip(markets, snapshot.reference_prices_ticks, strict=True):
        state.set_reference_price(market_id, price_ticks)
    for account, value in snapshot.accounts:
        state.ledger.restore(account, value)
    state.sequences = dict(zip(state.markets, snapshot.sequences, strict=True))
    _restore_orders(state, snapshot)
    _check_locks(state, snapshot)
    return state


def _restore_orders(state: State, snapshot: Snapshot) -> None:
    for market in state.markets.values():
        if market.policy in (AUCTION, DARK) and state.sequences[market.id]:
            raise ValueError(f"{POLICY_NAMES[market.policy]} market {market.id} counts the orders that came to rest")
    nonces = {
        account: NonceState(value.highest_nonce, int.from_bytes(value.window, "big"))
        for account, value in snapshot.accounts
    }
    client_ids: set[tuple[bytes, int]] = set()
    held: set[tuple[int, int]] = set()
    for order_id, value in sorted(snapshot.orders, key=lambda row: row[1].sequence):
        order = of_value(order_id, value)
        fault = _terms_fault(state, order) or _place_fault(state, order, held)
        used = nonces.get(order.account)
        if used is None or used.refusal(order.nonce) != NONCE_CONSUMED:
            fault = fault or "its nonce is not used"
        if order.nonce in state.orders.of_account(order.account):
            fault = fault or "its account has another of the same nonce"
        if order.client_id and (order.account, order.client_id) in client_ids:
            fault = fault or "its account has another of the same client id"
        if len(state.orders.of_account(order.account)) >= OPEN_ORDERS_PER_ACCOUNT_MAX:
            fault = fault or "its account has too many"
        if fault is not None:
            raise ValueError(f"order {order_id.hex()} cannot be open: {fault}")
        client_ids.add((order.account, order.client_id))
        state.orders.add(order)
    if any(book.is_crossed() for book in state.orders.books.values()):
        raise ValueError("a book is crossed")


def _terms_fault(state: State, order: OpenOrder) -> str | None:
    terms = Order(
        order.account, order.nonce, ZERO_HASH, order.market, order.client_id, order.side, order.kind,
        order.time_in_force, order.post_only, order.self_trade, order.price_ticks, order.stop_ticks,
        order.quantity_lots, order.display_lots, order.expires_ms,
    )  # fmt: skip
    refused = terms_refusal(terms, state.markets.get(order.market), _BEFORE_ALL_MS)
    if refused is not None:
        return f"its terms ({refused})"
    return None if order.remaining_lots > 0 else "it is filled"


def _place_fault(state: State, order: OpenOrder, held: set[tuple[int, int]]) -> str | None:
    """What is wrong with the order's status, sequence or shown part; adds the sequence to those ``held``."""
    market_id, sequence = order.market, order.sequence
    if order.status != STATUS_RESTING:
        if not is_stop(order.kind) or sequence or order.shown_lots:
            return "only a stop waits, without a sequence or a part that it shows"
        met = is_triggered(order, state.reference_prices_ticks[market_id])
        return "its trigger is met" if order.status == STATUS_WAITING and met else None
    if order.kind != LIMIT or not may_rest(order.time_in_force):
        return "no such order rests"
    counted = state.markets[market_id].policy != AUCTION
    if not counted <= sequence <= state.sequences[market_id] or (market_id, sequence) in held:
        return f"sequence {sequence}"
    if counted:
        held.add((market_id, sequence))
    most = min(order.display_lots, order.remaining_lots)
    least = min(1, most) if counted else most
    return None if least <= order.shown_lots <= most else f"it shows {order.shown_lots} lots"


def _check_locks(state: State, snapshot: Snapshot) -> None:
    locked: Counter[tuple[bytes, int]] = Counter()
    for order in state.orders.by_id.values():
        market = state.markets[order.market]
        amount = lock_units(market, order.side, order.price_ticks, order.remaining_lots)
        locked[order.account, lock_asset(market, order.side)] += amount
    for account, market_id, quote_tick_lots, base_lots in () if state.desk is None else state.desk.locks():
        market = state.markets[market_id]
        quote_units, base_units = deposit_units(market, quote_tick_lots, base_lots)
        locked[account, market.quote_asset] += quote_units
        locked[account, market.base_asset] += base_units
    locked = +locked  # without zeros
    for account, value in snapshot.accounts:
        for asset, _, amount_bytes in value.balances:
            amount = int.from_bytes(amount_bytes, "big")
            if asset not in state.assets or locked.pop((account, asset), 0) != amount:
                raise ValueError(f"account {account.hex()} locks {amount} of asset {asset}, unlike its orders")
    if locked:
        raise ValueError("an order is open without its lock")


def _check_ascending(name: str, ids: Iterable[int] | Iterable[bytes]) -> None:
    listed = list(ids)
    if any(first >= second for first, second in pairwise(listed)):  # type: ignore[operator]
        raise ValueError(f"{name} are not strictly ascending")
