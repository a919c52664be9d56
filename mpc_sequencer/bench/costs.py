"""What a member's processor is charged for in simulated time: a fixed table, so that a run is a function of its seed.

The table holds measured costs in microseconds on one hardware thread of a shared host (docs/benchmarks.md): each
cryptographic call that :mod:`mpc_sequencer.bench.meter` counts, and for everything around them a cost per message
taken in, per chunk of work and per round. ``mpcseq bench regions --measured`` charges the time that the member's
code really took instead, and prints what it measured by the same names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final

from mpc_sequencer.bench.meter import PROVED_SHARES

ROUND: Final = "round"
SYNC: Final = "sync"
OTHER: Final = "other"

COSTS_US: Final[Mapping[str, int]] = {
    # cryptographic calls; combining takes the t = 9 shares of 13 members
    "check": 210,
    "recover": 60,
    "sign": 40,
    "share": 60,
    "prove": 220,
    PROVED_SHARES: 45,
    "verify_bundle": 500,
    "coin_share": 370,
    "verify_coin": 190,
    "combine_coin": 150,
    "combine": 195,
    "open": 110,
    # everything around them, by what is taken in, with its decoding
    "Submit": 60,
    "ListMessage": 60,
    "HeadMessage": 60,
    "Proposal": 700,
    "VoteMessage": 50,
    "CertificateMessage": 50,
    "BundleMessage": 90,
    OTHER: 60,
    "work": 170,
    ROUND: 120,  # with the encoding of what it sends
    SYNC: 300,  # one fsync of the journal on a disk that keeps what it is given
}


def cost_us(done: Counter[str], table: Mapping[str, int] = COSTS_US) -> int:
    """Microseconds for ``done``: how often each kind of work was done. Kinds the table does not name cost as
    ``OTHER``."""
    return sum(count * table.get(kind, table.get(OTHER, 0)) for kind, count in done.items())
