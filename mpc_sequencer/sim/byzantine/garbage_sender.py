"""Sends noise: valid messages with a field changed, signed values of the wrong author, far numbers and views, and
frames with bits flipped (one that does not decode gets no further than the decoder).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from mpc_sequencer.core import limits
from mpc_sequencer.core.codec import decode, encode
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.messages import (
    Bodies,
    FetchBlock,
    FetchBodies,
    FetchLists,
    ListMessage,
    PeerMessage,
    VoteMessage,
)
from mpc_sequencer.core.types import FINALIZE, NO_SIGNATURE, Envelope, OrderList
from mpc_sequencer.sim.byzantine.base import Behaviour

NOISE_CHANCE: Final = 0.3


class GarbageSender(Behaviour):
    name = "garbage_sender"

    def outgoing(self, receiver: int, message: PeerMessage) -> Iterable[PeerMessage]:
        if self.rng.random() > NOISE_CHANCE:
            return (message,)
        flipped = self._flipped(message)
        return (flipped,) if flipped is not None else ()

    def _flipped(self, message: PeerMessage) -> PeerMessage | None:
        """The message with one bit changed; None where that is no message any more."""
        frame = bytearray(encode(message))
        frame[self.rng.randrange(len(frame))] ^= 1 << self.rng.randrange(8)
        try:
            decoded: PeerMessage = decode(PeerMessage, bytes(frame))
        except ProtocolError:
            return None
        return decoded

    def extra(self, now_ms: int) -> Iterable[tuple[int, PeerMessage]]:
        if self.rng.random() < NOISE_CHANCE / 4:
            yield self.rng.choice(self.peers()), self._noise(now_ms)

    def _noise(self, now_ms: int) -> PeerMessage:
        noise = self.rng.randbytes(32)
        view = self.core.simplex.view
        far = self.rng.choice((0, 1, view, view + limits.VIEWS_AHEAD_MAX, limits.UINT_MAX))
        author = self.rng.randrange(self.committee.n)
        unsigned = OrderList(0, 0, author, far, noise, (noise,), NO_SIGNATURE)
        envelope = Envelope(1, self.rng.randbytes(101), self.rng.randbytes(300), self.rng.randbytes(65))
        made: tuple[PeerMessage, ...] = (
            ListMessage(self.resign(unsigned)),
            ListMessage(self.resign(msgspec.structs.replace(unsigned, node=self.node, entries=(noise, noise)))),
            VoteMessage(self.vote(FINALIZE, far, noise)),
            VoteMessage(msgspec.structs.replace(self.vote(FINALIZE, view, noise), node=author)),
            Bodies((envelope,)),
            FetchBodies((noise,)),
            FetchBlock(noise),
            FetchLists(author, 0, limits.UINT_MAX, noise if far else bytes(32)),
        )
        return self.rng.choice(made)
