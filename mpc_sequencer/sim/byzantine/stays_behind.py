"""Stays in an epoch that is over, and goes on voting there, for blocks after the last one too."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from mpc_sequencer.core.messages import PeerMessage, VoteMessage
from mpc_sequencer.core.types import FINALIZE, NOTARIZE
from mpc_sequencer.sim.byzantine.base import Behaviour

VOTE_CHANCE: Final = 0.3


class StaysBehind(Behaviour):
    name = "stays_behind"

    def goes_over(self) -> bool:
        return False

    def extra(self, now_ms: int) -> Iterable[tuple[int, PeerMessage]]:
        core = self.core
        if not core.chain.ended or core.node >= self.committee.n or self.rng.random() >= VOTE_CHANCE:
            return
        kept = [block for block in core.chain.above_final()]
        block_id = self.rng.choice(kept).header.block_id() if kept else self.rng.randbytes(32)
        kind = self.rng.choice((NOTARIZE, FINALIZE))
        vote = self.vote(kind, core.simplex.view + self.rng.randint(0, 2), block_id)
        for peer in self.peers():
            yield peer, VoteMessage(vote)
