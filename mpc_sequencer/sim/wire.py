"""The network of a :class:`~mpc_sequencer.sim.cluster.Cluster` without a fault plan: delays, cuts, bent messages.

Messages between two members may overtake each other as far as their delays allow. They cross in their canonical
encoding and are decoded strictly, so the codec is under test as well.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from mpc_sequencer.core.codec import decode, encode
from mpc_sequencer.core.messages import PeerMessage


@dataclass(slots=True)
class Network:
    """Delays and cuts. ``delay_ms(rng, sender, receiver)`` gives one message's delay."""

    delay_ms: Callable[[random.Random, int, int], int] = lambda rng, _s, _r: rng.randint(1, 5)
    cut: set[tuple[int, int]] = field(default_factory=set)
    """(sender, receiver) pairs whose messages are lost."""
    tamper: Callable[[int, int, PeerMessage], PeerMessage | None] = lambda _s, _r, message: message
    """What a Byzantine sender's wire does to a message: another one, or None to drop it."""

    def carry(
        self, rng: random.Random, sender: int, receiver: int, message: PeerMessage
    ) -> tuple[int, PeerMessage] | None:
        """How long a message is under way, in ms, and what its receiver gets; None where it is lost."""
        if (sender, receiver) in self.cut:
            return None
        sent = self.tamper(sender, receiver, message)
        if sent is None:
            return None
        delay_ms = self.delay_ms(rng, sender, receiver)
        arrived: PeerMessage = decode(PeerMessage, encode(sent))
        return delay_ms, arrived
