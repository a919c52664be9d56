"""Rules of envelopes: the label is for this deployment, the sponsor signed, the ciphertext's proof holds.

The proof of a ciphertext is checked only where the order is not opened: re-encryption of an opening gives
the very same bytes, proof included.
"""

from __future__ import annotations

from dataclasses import dataclass

from mpc_sequencer.audit.report import Recorder
from mpc_sequencer.audit.signatures import Signatures
from mpc_sequencer.core import domains, limits
from mpc_sequencer.core.codec import decode
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.types import Envelope
from threshold import CheckedCiphertext, Label, ThresholdError, check


@dataclass(slots=True)
class SealedOrder:
    """An order of the log: its label, its ciphertext until it is executed, the signature variants logged."""

    label_bytes: bytes
    ciphertext: bytes | None
    variants: set[bytes]


class Envelopes:
    """All envelopes of the log, by order id, and their labels decoded.

    ``pending`` are the (order id, envelope hash) of those since the last block.
    """

    def __init__(self, committee: Committee, signatures: Signatures, recorder: Recorder) -> None:
        self._committee = committee
        self._signatures = signatures
        self._recorder = recorder
        self.orders: dict[bytes, SealedOrder] = {}
        self.labels: dict[bytes, Label] = {}
        self.pending: list[tuple[bytes, bytes]] = []

    def add(self, envelope: Envelope) -> None:
        """Judge an envelope and keep it. One whose label does not hold is not kept; none can have been checked before
        the threshold key was there."""
        order_id = envelope.order_id()
        if self._committee.keys is None:
            self._recorder.halt("envelope.early", f"order {order_id.hex()}")
        label = self._label(envelope, order_id)
        if label is None:
            return
        digest = self._committee.digest(domains.SPONSOR_TYPE(order_id))
        self._recorder.done("sponsor_signatures")
        if not self._signatures.is_signers(label.sponsor, digest, envelope.sponsor_signature):
            self._recorder.fail("envelope.sponsor", f"order {order_id.hex()}, sponsor {label.sponsor.hex()}")
        self.labels[order_id] = label
        order = self.orders.setdefault(order_id, SealedOrder(envelope.label, envelope.ciphertext, set()))
        variant = envelope.envelope_hash()
        order.variants.add(variant)
        self.pending.append((order_id, variant))

    def judge(self, body: bytes) -> tuple[bytes, Label | None]:
        """An envelope that the chain's queue holds: its order id, and its label where label, sponsor's signature and
        the ciphertext's proof hold. Where they do not that is no fault: such an order is never sequenced."""
        if self._committee.keys is None:
            self._recorder.halt("envelope.early", "a forced order is due")
        key = self._committee.keys
        try:
            envelope: Envelope = decode(Envelope, body, bytes_max=limits.FORCED_BYTES_MAX)
            label = Label.decode(envelope.label)
            check(key, envelope.label, envelope.ciphertext, buckets=self._committee.size_buckets)
        except (ProtocolError, ThresholdError):
            return bytes(32), None
        order_id = envelope.order_id()
        digest = self._committee.digest(domains.SPONSOR_TYPE(order_id))
        deployment = (label.chain_id, label.settlement, label.key_id) == (key.chain_id, key.settlement, key.key_id)
        span_ms = label.valid_until_ms - label.valid_from_ms
        signed = self._signatures.is_signers(label.sponsor, digest, envelope.sponsor_signature)
        return order_id, label if deployment and span_ms <= limits.VALIDITY_MS_MAX and signed else None

    def _label(self, envelope: Envelope, order_id: bytes) -> Label | None:
        key = self._committee.sealing_key
        self._recorder.done("labels")
        try:
            label = Label.decode(envelope.label)
        except ThresholdError as error:
            self._recorder.fail("envelope.label", f"order {order_id.hex()}: {error}")
            return None
        span_ms = label.valid_until_ms - label.valid_from_ms
        if (
            (label.chain_id, label.settlement, label.key_id) != (key.chain_id, key.settlement, key.key_id)
            or label.size_bucket not in self._committee.size_buckets
            or span_ms > limits.VALIDITY_MS_MAX
        ):
            self._recorder.fail("envelope.label", f"order {order_id.hex()} has {label}")
            return None
        return label

    def checked(self, order_id: bytes) -> CheckedCiphertext | None:
        """The order's ciphertext with its proof checked; None, and a finding, where that does not hold."""
        order = self.orders[order_id]
        self._recorder.done("ciphertext_proofs")
        try:
            return check(
                self._committee.sealing_key,
                order.label_bytes,
                order.ciphertext or b"",
                buckets=self._committee.size_buckets,
            )
        except ThresholdError as error:
            self._recorder.fail("envelope.ciphertext", f"order {order_id.hex()}: {error}")
            return None

    def close_block(self, needed: set[bytes], named: set[bytes], height: int) -> None:
        """Judge the envelopes since the last block: of ``needed`` orders or ``named`` variants."""
        for order_id, variant in self.pending:
            if order_id not in needed and variant not in named:
                self._recorder.fail("envelope.unneeded", f"order {order_id.hex()}", height=height)
        self.pending = []

    def executed(self, order_id: bytes) -> None:
        """Drop the ciphertext of an order that will not be looked at again."""
        self.orders[order_id].ciphertext = None

    def check_unopened(self) -> None:
        """Check the proofs of all ciphertexts the log did not open."""
        for order_id, order in self.orders.items():
            if order.ciphertext is not None:
                self.checked(order_id)
