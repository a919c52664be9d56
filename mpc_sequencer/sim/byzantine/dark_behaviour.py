"""What Byzantine behaviours in dark markets share: a hand on the member's words and on its shares of each round.

A behaviour has the last word on each word that the member owes the log (:meth:`DarkBehaviour.bend`), and may send each
receiver other shares than the computation gives, under the member's own signature.
"""

from __future__ import annotations

import random
from collections.abc import Iterable

from msgspec.structs import replace

from mpc_sequencer.core.codec import decode, encode
from mpc_sequencer.core.messages import DarkShares, PeerMessage
from mpc_sequencer.core.node import NodeCore
from mpc_sequencer.core.types import NO_SIGNATURE
from mpc_sequencer.dark.messages import Word
from mpc_sequencer.dark.transcript import RoundShares
from mpc_sequencer.sim.byzantine.base import Behaviour
from mpc_sequencer.sim.deployment import Deployment


class DarkBehaviour(Behaviour):
    """Keeps to the protocol outside dark markets."""

    def __init__(self, node: int, core: NodeCore, deployment: Deployment, rng: random.Random) -> None:
        super().__init__(node, core, deployment, rng)
        self._bent: dict[tuple[bytes, int, int], DarkShares | None] = {}
        self._take_part(core)

    def rebind(self, core: NodeCore) -> None:
        super().rebind(core)
        self._take_part(core)

    def _take_part(self, core: NodeCore) -> None:
        if core.dark_voice is not None:
            core.dark_voice.bend = self.bend

    def bend(self, word: Word) -> Word | None:
        """What to say instead of a word; None for nothing."""
        return word

    def outgoing(self, receiver: int, message: PeerMessage) -> Iterable[PeerMessage]:
        if not isinstance(message, DarkShares):
            return super().outgoing(receiver, message)
        key = (message.session, message.round, self.version(receiver))
        if key not in self._bent:
            self._bent[key] = self.bend_shares(message, self.version(receiver))
        bent = self._bent[key]
        return () if bent is None else (bent,)

    def version(self, receiver: int) -> int:
        """Which version of this member's shares a receiver gets."""
        return 0

    def bend_shares(self, message: DarkShares, version: int) -> DarkShares | None:
        """What to send instead of a round's shares; None for nothing."""
        return message

    # --- tools --------------------------------------------------------------------------------------------------
    def other_shares(self, message: DarkShares) -> DarkShares:
        """The message with some shares changed, signed anew."""
        inner: RoundShares = decode(RoundShares, message.message)
        payload = bytearray(inner.payload)
        for _ in range(self.rng.choice((1, 1, 40))):
            if payload:
                payload[self.rng.randrange(len(payload))] ^= self.rng.choice((1, 1, 64))
        return self.resigned(message, encode(RoundShares(inner.session_id, inner.round, bytes(payload))))

    def resigned(self, message: DarkShares, shares: bytes) -> DarkShares:
        """Other bytes in the place of a message, under this member's signature."""
        unsigned = DarkShares(message.session, message.party, message.round, shares, NO_SIGNATURE)
        return replace(unsigned, signature=self.sign_digest_of(unsigned.struct_hash()))
