"""Sends wrong shares, too few of them, or none at all, in rounds drawn anew for each computation."""

from __future__ import annotations

from mpc_sequencer.core.codec import decode, encode
from mpc_sequencer.core.messages import DarkShares
from mpc_sequencer.dark.field import ELEMENT_BYTES
from mpc_sequencer.dark.transcript import RoundShares
from mpc_sequencer.sim.byzantine.dark_behaviour import DarkBehaviour

WHOLE_RUN = 0.3
"""In so many computations it lies in every round, else in single ones."""
LIE = 0.2


class DarkLiar(DarkBehaviour):
    name = "dark_liar"
    _run: tuple[bytes, float] = (b"", 0.0)

    def bend_shares(self, message: DarkShares, version: int) -> DarkShares | None:
        if self._run[0] != message.session:
            self._run = (message.session, 1.0 if self.rng.random() < WHOLE_RUN else LIE)
        if self.rng.random() >= self._run[1]:
            return message
        kind = self.rng.choice(("other", "other", "other", "short", "none"))
        if kind == "other":
            return self.other_shares(message)
        if kind == "none":
            return None
        inner: RoundShares = decode(RoundShares, message.message)
        shorter = RoundShares(inner.session_id, inner.round, inner.payload[:-ELEMENT_BYTES])
        return self.resigned(message, encode(shorter))
