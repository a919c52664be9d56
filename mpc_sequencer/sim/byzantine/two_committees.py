"""Approves two committees: beside what its operator wants one of the same people that needs another number of shares,
as its next word or as another one of the same number.
"""

from __future__ import annotations

from typing import Final

import msgspec

from mpc_sequencer.core.effects import Approve, Event
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.rotation import Approval, check_next, encode_payload
from mpc_sequencer.core.types import NextCommittee
from mpc_sequencer.sim.byzantine.base import Behaviour

APPROVALS_MAX: Final = 12
"""More than anybody lists of one author."""


class TwoCommittees(Behaviour):
    name = "two_committees"
    _said = 0

    def incoming(self, event: Event) -> Event | None:
        if not isinstance(event, Approve):
            return event
        other = self._other(event.committee)
        if other is not None and self._said < APPROVALS_MAX and self.core.node < self.committee.n:
            self._said += 1
            said = [one.number for one in self.core.succession._own_approvals()]
            number = max(said, default=0) + self.rng.choice((0, 1)) or 1
            self.core.keygen.voice.say(self.core.succession.topic, encode_payload(Approval(other, number)))
        return event

    def _other(self, target: NextCommittee) -> NextCommittee | None:
        """A committee that may follow, and is not ``target``."""
        steps = (-1, 1) if self.rng.random() < 0.5 else (1, -1)
        for step in steps:
            other = msgspec.structs.replace(target, threshold=target.threshold + step)
            try:
                check_next(self.committee, other)
            except ProtocolError:
                continue
            return other
        return None
