"""What an order for a dark market may say, what it locks, and how large it is: checked before anything is sealed.

Nobody but its trader sees side, price and quantity of a dark order (docs/dark.md). Everybody sees its *deposits*: how
much of the quote asset and of the base asset it locks. So deposits are what an order tells, and the rule for them
matters more than any other choice of a trader:

* :attr:`DepositRule.HIDE`, the default. The quantity is rounded up to a *size class*, the next power of two (at most
  the largest quantity of the market). Locked are so many lots of the base asset, and what so many lots cost at the
  market's highest price of the quote asset. Both are functions of the size class alone: they tell it, and nothing of
  side and price. The account needs both assets; where it has not, nothing is locked or sent, and the trader decides.
* :attr:`DepositRule.SIDE`. The same deposit, of the asset that the order pays with alone. It tells the side.
* Exact amounts of the trader's own, as a :class:`Deposits`.

All orders for a market are padded to one size (:func:`mpc_sequencer.client.build.dark_bucket_bytes`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from mpc_sequencer.core.actions import (
    BUY,
    GTC,
    IOC,
    LIMIT,
    SELF_TRADE_ALLOWED,
    SELL,
    DarkOrder,
)
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.market.dark import deposit_units
from mpc_sequencer.market.types import DarkGrid, Market

if TYPE_CHECKING:
    from mpc_sequencer.client.terms import OrderTerms
    from mpc_sequencer.core.committee import Committee

_ENDS_WITH_ITS_BATCH: Final = (GTC, IOC)
"""A dark order lives for one batch, whichever of these is said."""


class DepositRule(StrEnum):
    """How an order's deposits are picked; see the module."""

    HIDE = "hide"
    SIDE = "side"


@dataclass(frozen=True, slots=True)
class Deposits:
    """What an order locks, for all to see: ``quote_tick_lots`` (lots times ticks) and ``base_lots``."""

    quote_tick_lots: int
    base_lots: int

    @property
    def hides_side(self) -> bool:
        """Whether both assets are locked, so that the order may be a buy or a sell."""
        return self.quote_tick_lots > 0 and self.base_lots > 0

    def units(self, market: Market) -> dict[int, int]:
        """What is locked in base units, by asset; the fee on what may be bought is in it."""
        quote_units, base_units = deposit_units(market, self.quote_tick_lots, self.base_lots)
        return {market.quote_asset: quote_units, market.base_asset: base_units}


def grid_of(market: Market) -> DarkGrid:
    """The terms of a dark market; refuses another one (``market.dark``)."""
    if market.dark is None:
        raise ProtocolError("market.dark", "action.market", market.id, "a dark market")
    return market.dark


def price_last_ticks(grid: DarkGrid) -> int:
    """The highest price of a market's grid."""
    return grid.price_first_ticks + grid.price_step_ticks * (grid.ticks - 1)


def quantity_lots_max(grid: DarkGrid) -> int:
    """The largest order, and the largest deposit of the base asset."""
    return (1 << grid.quantity_bits) - 1


def quote_tick_lots_max(grid: DarkGrid) -> int:
    """The largest deposit of the quote asset."""
    return (1 << (grid.slack_bits - grid.quantity_bits)) - 1


def check_dark_terms(market: Market, terms: OrderTerms) -> None:
    """Refuse what a dark market does not take: anything but a plain limit order on its grid. Quantity 0 is cover."""
    grid = grid_of(market)
    plain = (
        ("order.kind", "kind", terms.kind, LIMIT),
        ("order.post_only", "post_only", terms.post_only, False),
        ("order.stop_price", "stop_ticks", terms.stop_ticks, 0),
        ("order.display", "display_lots", terms.display_lots, 0),
        ("order.expiry", "expires_ms", terms.expires_ms, 0),
        ("order.self_trade", "self_trade", terms.self_trade, SELF_TRADE_ALLOWED),
        ("order.client_id", "client_id", terms.client_id, 0),
    )
    for code, name, seen, only in plain:
        if seen != only:
            expected = f"{int(only)}: a dark market takes plain limit orders alone"
            raise ProtocolError(code, f"action.{name}", seen, expected)
    if terms.time_in_force not in _ENDS_WITH_ITS_BATCH:
        expected = f"{GTC} (GTC) or {IOC} (IOC): a dark order ends with its batch, filled or not"
        raise ProtocolError("order.time_in_force", "action.time_in_force", terms.time_in_force, expected)
    if terms.side not in (BUY, SELL):
        raise ProtocolError("order.side", "action.side", terms.side, "1 (buy) or 2 (sell)")
    check_price(grid, terms.price_ticks)
    most = quantity_lots_max(grid)
    if not 0 <= terms.quantity_lots <= most:
        code = "order.quantity_max" if terms.quantity_lots > 0 else "order.quantity"
        raise ProtocolError(code, "action.quantity_lots", terms.quantity_lots, f"at most {most}")


def check_price(grid: DarkGrid, price_ticks: int) -> None:
    """Refuse a price that is none of the grid's."""
    first, last, step = grid.price_first_ticks, price_last_ticks(grid), grid.price_step_ticks
    if not first <= price_ticks <= last:
        raise ProtocolError("order.price", "action.price_ticks", price_ticks, f"{first} .. {last}, the market's grid")
    if (price_ticks - first) % step:
        expected = f"{first} and whole steps of {step}, the market's grid"
        raise ProtocolError("order.price_tick", "action.price_ticks", price_ticks, expected)


def size_class_lots(grid: DarkGrid, quantity_lots: int) -> int:
    """The quantity rounded up to a power of two, and to no more than the market's largest order."""
    return min(1 << max(0, quantity_lots - 1).bit_length(), quantity_lots_max(grid))


def pick_deposits(market: Market, terms: OrderTerms, rule: DepositRule | Deposits) -> Deposits:
    """What an order of ``terms`` locks by ``rule``. Refuses deposits out of the market's bounds (``dark.deposit``), or
    that do not cover the order (``dark.unfunded``)."""
    grid = grid_of(market)
    if isinstance(rule, Deposits):
        deposits = rule
    else:
        lots = size_class_lots(grid, terms.quantity_lots)
        quote = min(lots * price_last_ticks(grid), quote_tick_lots_max(grid))
        hides = rule is DepositRule.HIDE
        deposits = Deposits(quote if hides or terms.side == BUY else 0, lots if hides or terms.side == SELL else 0)
    check_deposits(grid, deposits.quote_tick_lots, deposits.base_lots)
    quote_needed = terms.price_ticks * terms.quantity_lots if terms.side == BUY else 0
    base_needed = terms.quantity_lots if terms.side == SELL else 0
    if deposits.quote_tick_lots < quote_needed:
        raise ProtocolError("dark.unfunded", "quote_tick_lots", deposits.quote_tick_lots, f"at least {quote_needed}")
    if deposits.base_lots < base_needed:
        raise ProtocolError("dark.unfunded", "base_lots", deposits.base_lots, f"at least {base_needed}")
    return deposits


def check_deposits(grid: DarkGrid, quote_tick_lots: int, base_lots: int) -> None:
    """Refuse deposits out of the market's bounds."""
    bounds = (
        ("quote_tick_lots", quote_tick_lots, quote_tick_lots_max(grid)),
        ("base_lots", base_lots, quantity_lots_max(grid)),
    )
    for name, seen, most in bounds:
        if not 0 <= seen <= most:
            raise ProtocolError("dark.deposit", name, seen, f"between 0 and {most}")


def check_free(market: Market, deposits: Deposits, free_units: dict[int, int]) -> None:
    """Refuse deposits that the account's free balances, in base units by asset, do not cover (``dark.balance``)."""
    for asset, needed in deposits.units(market).items():
        if free_units.get(asset, 0) < needed:
            field = f"the free balance of asset {asset}"
            raise ProtocolError("dark.balance", field, free_units.get(asset, 0), f"at least {needed} base units")


def check_dark_order(committee: Committee, market: Market, action: DarkOrder) -> None:
    """Refuse a sealed order that execution would refuse in any state: boxes that are not one for each member, of the
    market's size or empty, or deposits out of bounds."""
    from mpc_sequencer.dark.orders import box_bytes, params_of  # computes with numpy, which other markets do without

    grid = grid_of(market)
    check_deposits(grid, action.quote_tick_lots, action.base_lots)
    size = box_bytes(params_of(grid, committee.n, committee.f))
    lengths = sorted({len(box) for box in action.boxes})
    if len(action.boxes) != committee.n:
        raise ProtocolError("dark.boxes", "action.boxes", len(action.boxes), f"one for each of {committee.n} members")
    if lengths not in ([size], [0, size]):
        raise ProtocolError("dark.boxes", "action.boxes", f"boxes of {lengths} bytes", f"{size} bytes, or none")
