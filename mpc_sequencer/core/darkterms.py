"""What a deployment's dark markets ask of its committee, and how large an order for one may be.

Rule: the parties of a dark market are the committee's members, and as many may be corrupt as the committee tolerates
(``t = f``). Lies are corrected with ``n >= 4f+1`` only, so ``f = (n-1)//4`` where a market is dark and no demonstration
(:func:`mpc_sequencer.core.committee.faults_tolerated`); :class:`mpc_sequencer.dark.params.DarkParams` has the bounds of
the computation. A dark order carries a sealed box for every party, so it is as large as the committee and the market's
grid make it: what does not fit the largest size bucket is no market on this committee.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from mpc_sequencer.core import limits
from mpc_sequencer.core.actions import DarkOrder, SignedAction
from mpc_sequencer.core.codec import encode
from mpc_sequencer.core.types import NO_SIGNATURE, ZERO_HASH
from mpc_sequencer.dark.params import DarkParams
from mpc_sequencer.market.types import DarkGrid, Market

BOX_OVERHEAD_BYTES: Final = 113
"""A box is longer by so much than what is sealed in it (:mod:`threshold.boxes`)."""
ELEMENT_BYTES: Final = 12
LENGTH_BYTES: Final = 4
"""What the padding takes of a size bucket."""


def dark_markets(markets: Iterable[Market]) -> tuple[tuple[Market, DarkGrid], ...]:
    """The dark ones among ``markets``, with their grids."""
    return tuple((market, market.dark) for market in markets if market.dark is not None)


def size_buckets(markets: Iterable[Market]) -> tuple[int, ...]:
    """The sizes that labels may name, ascending, in bytes of the padded plaintext."""
    return (*limits.SIZE_BUCKETS_BYTES, *(limits.DARK_SIZE_BUCKETS_BYTES if dark_markets(markets) else ()))


def box_bytes(grid: DarkGrid) -> int:
    """The size of a box that seals one party's shares of a row: both halves of the curve, the quantity's bits, the
    slack's, and the mask."""
    return BOX_OVERHEAD_BYTES + ELEMENT_BYTES * (2 * grid.ticks + grid.quantity_bits + grid.slack_bits + 1)


def order_bytes(members: int, grid: DarkGrid) -> int:
    """The most that a signed order for a dark market takes of a size bucket, with a box for each of ``members``."""
    most = limits.UINT_MAX
    boxes = (bytes(box_bytes(grid)),) * members
    order = DarkOrder(bytes(20), most, ZERO_HASH, (1 << 32) - 1, ZERO_HASH, most, most, boxes)
    return LENGTH_BYTES + len(encode(SignedAction(version=1, action=order, signature=NO_SIGNATURE)))


def check_dark(members: int, faults: int, markets: Iterable[Market]) -> None:
    """Raise ``ValueError``, naming the bound, where a committee of ``members`` that tolerates ``faults`` cannot run the
    dark ones among ``markets``."""
    found = dark_markets(markets)
    if len(found) > limits.DARK_MARKETS_MAX:
        raise ValueError(f"{len(found)} dark markets, expected at most {limits.DARK_MARKETS_MAX}")
    for market, grid in found:
        try:
            _check_market(members, faults, grid)
        except ValueError as error:
            raise ValueError(f"dark market {market.id}: {error}") from None


def _check_market(members: int, faults: int, grid: DarkGrid) -> None:
    DarkParams(
        parties=members,
        faults_t=faults,
        ticks=grid.ticks,
        quantity_bits=grid.quantity_bits,
        slack_bits=grid.slack_bits,
        orders_max=grid.orders_max,
        price_first_ticks=grid.price_first_ticks,
        price_step_ticks=grid.price_step_ticks,
        demonstration=bool(grid.demonstration),
    )
    box, most = box_bytes(grid), limits.DARK_BOX_BYTES_MAX
    if box > most:
        raise ValueError(f"a party's box takes {box} bytes, expected at most {most}")
    size, largest = order_bytes(members, grid), max(limits.DARK_SIZE_BUCKETS_BYTES)
    if size > largest:
        raise ValueError(f"an order takes {size} bytes with a box for each of {members}, expected at most {largest}")
