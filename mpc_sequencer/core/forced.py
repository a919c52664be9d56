"""Envelopes that somebody forced in through the chain: what each is, judged once.

A forced envelope passes the checks that never change for an order (:func:`~mpc_sequencer.core.envelopes.check_sealed`)
and its sponsor's signature, or it is one that no block may ever sequence. Every member comes to the same verdict, for
it depends on the envelope and the threshold key alone. No block asks for it before there is that key: members name no
checkpoint until they know it, and f+1 of them name each that a block takes up.
"""

from __future__ import annotations

import hashlib
from typing import Final

from mpc_sequencer.core.codec import decode
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.envelopes import check_sealed, check_sponsor
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.limits import FORCED_BYTES_MAX
from mpc_sequencer.core.ordering.inputs import ForcedFacts, ForcedTerms
from mpc_sequencer.core.types import ZERO_HASH, Envelope
from threshold import ThresholdError

JUDGED_MAX: Final = 4_096


def forced_terms(committee: Committee) -> ForcedTerms:
    """The terms for forced orders that blocks go by."""
    return ForcedTerms(committee.genesis.forced_delay_blocks, committee.genesis.forced_spacing_blocks)


class ForcedBook:
    """Verdicts on forced envelopes by their hash, the latest JUDGED_MAX."""

    def __init__(self, committee: Committee) -> None:
        self._committee = committee
        self._judged: dict[bytes, ForcedFacts] = {}

    @staticmethod
    def envelope(body: bytes) -> Envelope:
        """The envelope that was queued. Raises ProtocolError where it is none."""
        envelope: Envelope = decode(Envelope, body, bytes_max=FORCED_BYTES_MAX)
        return envelope

    def judge(self, body: bytes) -> ForcedFacts | None:
        """What a queued envelope is; None before this member knows the threshold key."""
        if self._committee.keys is None:
            return None
        key = hashlib.sha256(body).digest()
        held = self._judged.get(key)
        if held is None:
            held = self._judged[key] = self._judge(body)
            if len(self._judged) > JUDGED_MAX:
                del self._judged[next(iter(self._judged))]
        return held

    def _judge(self, body: bytes) -> ForcedFacts:
        try:
            envelope = self.envelope(body)
            label = envelope.decoded_label()
            order = check_sealed(self._committee, envelope, label)
            check_sponsor(self._committee, order.order_id, label.sponsor, envelope.sponsor_signature)
        except (ProtocolError, ThresholdError):
            return ForcedFacts(ZERO_HASH, None)
        return ForcedFacts(order.order_id, order.facts)
