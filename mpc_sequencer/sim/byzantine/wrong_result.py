"""Reports results and signs settlements that no execution gives."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from mpc_sequencer.core.messages import HeadMessage, PeerMessage, SettlementShare
from mpc_sequencer.core.types import ResultRef
from mpc_sequencer.sim.byzantine.base import Behaviour


class WrongResult(Behaviour):
    name = "wrong_result"

    def outgoing(self, receiver: int, message: PeerMessage) -> Iterable[PeerMessage]:
        if isinstance(message, HeadMessage) and message.head.results:
            results = tuple(ResultRef(ref.height, bytes(reversed(ref.result))) for ref in message.head.results)
            return (HeadMessage(self.resign(msgspec.structs.replace(message.head, results=results))),)
        if isinstance(message, SettlementShare):
            claim = msgspec.structs.replace(message.claim, state_root=bytes(reversed(message.claim.state_root)))
            return (SettlementShare(claim, self.node, self.sign_digest_of(claim.struct_hash())),)
        return (message,)
