"""Tries to get shares of a block before it is final: asks for bundles of notarized blocks, and shows finalizations
made of notarize votes or of its own vote alone, bare and inside bundles of its own.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from mpc_sequencer.core.effects import Event, FromPeer
from mpc_sequencer.core.messages import (
    BundleMessage,
    CertificateMessage,
    FetchBundle,
    PeerMessage,
    Proposal,
)
from mpc_sequencer.core.types import FINALIZE, NOTARIZE, Bundle, Certificate, CertificateVote
from mpc_sequencer.sim.byzantine.base import Behaviour


class EarlyRevealer(Behaviour):
    name = "early_revealer"
    _notarized: Certificate | None = None
    _proposed: bytes | None = None
    _own: Bundle | None = None

    def incoming(self, event: Event) -> Event | None:
        if isinstance(event, FromPeer):
            message = event.message
            if isinstance(message, CertificateMessage) and message.certificate.kind == NOTARIZE:
                self._notarized = message.certificate
            elif isinstance(message, Proposal) and message.block.batch:
                self._proposed = message.block.header.block_id()
        return event

    def outgoing(self, receiver: int, message: PeerMessage) -> Iterable[PeerMessage]:
        if isinstance(message, BundleMessage) and message.bundle.node == self.node:
            self._own = message.bundle
        return (message,)

    def extra(self, now_ms: int) -> Iterable[tuple[int, PeerMessage]]:
        if self._proposed is not None:
            for peer in self.peers():
                yield peer, FetchBundle(self._proposed)
            self._proposed = None
        if self._notarized is not None:
            forged = self._forge(self._notarized)
            for peer in self.peers():
                yield peer, CertificateMessage(forged)
                if self._own is not None:
                    early = msgspec.structs.replace(
                        self._own, block_id=forged.block_id, certificate=forged, path=(), height=self._own.height + 1
                    )
                    yield peer, BundleMessage(self.resign(early))
            self._notarized = None

    def _forge(self, notarized: Certificate) -> Certificate:
        if self.rng.random() < 0.5:
            return msgspec.structs.replace(notarized, kind=FINALIZE)
        own = self.vote(FINALIZE, notarized.view, notarized.block_id)
        votes = tuple(CertificateVote(one.node, own.signature) for one in notarized.votes)
        return Certificate(FINALIZE, notarized.epoch, notarized.view, notarized.block_id, votes)
