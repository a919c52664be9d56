"""The seam for an outside matching engine: batches of fair order out, fills back in, nothing believed unchecked.

``values`` is what crosses the seam, ``checker`` the rules an answer must keep (pure), ``run`` moves a ledger by
answers, ``store`` keeps what crossed, ``stream`` serves it over a WebSocket and ``consumer`` is the engine's end of it.
"""

from mpc_sequencer.matching.checker import Accepted, ExternalBook
from mpc_sequencer.matching.values import Answer, Ended, FairBatch, FillRow, MatchingEngine, OrderRow

__all__ = [
    "Accepted",
    "Answer",
    "Ended",
    "ExternalBook",
    "FairBatch",
    "FillRow",
    "MatchingEngine",
    "OrderRow",
]
