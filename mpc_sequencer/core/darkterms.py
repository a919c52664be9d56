"""What a deployment's dark markets ask of its committee, and how large an order for one may be.

Rule: the parties of a dark market are the committee's members, and as many may be corrupt as the committee tolerates
(``t = f``). Lies are corrected with ``n >= 4f+1`` only, so ``f = (n-1)//4`` where a market is dark and no demonstration
(:func:`mpc_sequencer.core.committee.faults_tolerated`); :class:`mpc_sequencer.dark.params.DarkParams` has the bounds of
the computation. A party's share of the keys' agreement must fit a key message, which ends at 13 members with t = 3. A
dark order carries a sealed box for every party, so it is as large as the committee and the market's grid make it: what
does not fit the largest size bucket is no market on this committee.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from mpc_sequencer.core import limits
from mpc_sequencer.core.actions import DarkOrder, SignedAction
from mpc_sequencer.core.codec import encode
from mpc_sequencer.core.types import NO_SIGNATURE, ZERO_HASH
from mpc_sequencer.market.types import DarkGrid, Market

LENGTH_BYTES: Final = 4
"""What the padding takes of a size bucket."""


def dark_markets(markets: Iterable[Market]) -> tuple[tuple[Market, DarkGrid], ...]:
    """The dark ones among ``markets``, with their grids."""
    return tuple((market, market.dark) for market in markets if market.dark is not None)


def size_buckets(markets: Iterable[Market]) -> tuple[int, ...]:
    """The sizes that labels may name, ascending, in bytes of the padded plaintext."""
    return (*limits.SIZE_BUCKETS_BYTES, *(limits.DARK_SIZE_BUCKETS_BYTES if dark_markets(markets) else ()))


@lru_cache(maxsize=64)
def order_bytes(members: int, faults: int, grid: DarkGrid) -> int:
    """The most that a signed order for a dark market takes of a size bucket, with a box for each of ``members``. Raises
    ``ValueError`` where they cannot compute the market, or a box is too large."""
    from mpc_sequencer.dark.orders import box_bytes, params_of  # with numpy: only where a market is dark

    size, most = box_bytes(params_of(grid, members, faults)), limits.UINT_MAX
    if size > limits.DARK_BOX_BYTES_MAX:
        raise ValueError(f"a party's box takes {size} bytes, expected at most {limits.DARK_BOX_BYTES_MAX}")
    boxes = (bytes(size),) * members
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
            size, largest = order_bytes(members, faults, grid), max(limits.DARK_SIZE_BUCKETS_BYTES)
        except ValueError as error:
            raise ValueError(f"dark market {market.id}: {error}") from None
        if size > largest:
            expected = f"with a box for each of {members}, expected at most {largest}"
            raise ValueError(f"dark market {market.id}: an order takes {size} bytes {expected}")
    if found:
        from mpc_sequencer.dark.keys import deal_payload_bytes_max

        deal = deal_payload_bytes_max(members, faults)
        if deal > limits.KEY_PAYLOAD_BYTES_MAX:
            raise ValueError(f"a deal of the dark keys takes {deal} bytes, at most {limits.KEY_PAYLOAD_BYTES_MAX}")
