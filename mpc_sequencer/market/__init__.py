"""Integer matching and accounts: what every member computes from a final batch, and nothing else.

Pure: no clock, randomness, sockets or files. :class:`Engine` is the door; the parts behind it are
``height`` (the steps of one height), ``clearing`` (the uniform-price auction), ``matching`` (orders one
after the other), ``dark`` (batches computed over shares), ``book``, ``accounts``, ``nonces``, ``state`` and ``tree``.
"""

from mpc_sequencer.market.engine import Engine
from mpc_sequencer.market.types import (
    AUCTION,
    DARK,
    OUTCOME_CODES,
    POLICY_NAMES,
    RECEIVE,
    SHUFFLE,
    BatchOrder,
    DarkGrid,
    Fill,
    HeightResult,
    Market,
    OrderValue,
    Outcome,
    Precedence,
    PreparedOrder,
    Update,
    genesis_result,
    result_hash,
)

__all__ = [
    "AUCTION",
    "DARK",
    "OUTCOME_CODES",
    "POLICY_NAMES",
    "RECEIVE",
    "SHUFFLE",
    "BatchOrder",
    "DarkGrid",
    "Engine",
    "Fill",
    "HeightResult",
    "Market",
    "OrderValue",
    "Outcome",
    "Precedence",
    "PreparedOrder",
    "Update",
    "genesis_result",
    "result_hash",
]
