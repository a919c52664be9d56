"""The checks an envelope must pass: the same for a client before it sends and for a member at its door.

Order of the checks: cheap ones before group operations, so that garbage costs little. :func:`check_sealed` holds the
rules that never change for an order (a batch relies on them), :func:`check_window` those that depend on a clock,
:func:`check_sponsor` the one that depends on the signature variant.
"""

from __future__ import annotations

from dataclasses import dataclass

from mpc_sequencer.core import domains, limits, signing
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.ordering import OrderFacts
from mpc_sequencer.core.types import Envelope
from threshold import CheckedCiphertext, Label, check


@dataclass(frozen=True, slots=True)
class SealedOrder:
    """An order whose sealing is verified: only such an order may ever get a share."""

    order_id: bytes
    label: bytes
    facts: OrderFacts
    checked: CheckedCiphertext


def check_window(label: Label, now_ms: int) -> None:
    """Refuse a label not valid at ``now_ms`` (``label.expired``, ``label.not_yet_valid``, ``label.validity``)."""
    if label.valid_until_ms <= now_ms:
        raise ProtocolError("label.expired", "label.valid_until_ms", label.valid_until_ms, f"more than {now_ms}")
    if label.valid_from_ms > now_ms + limits.CLIENT_CLOCK_SLACK_MS:
        raise ProtocolError(
            "label.not_yet_valid",
            "label.valid_from_ms",
            label.valid_from_ms,
            f"at most {now_ms + limits.CLIENT_CLOCK_SLACK_MS}",
        )
    if label.valid_until_ms > now_ms + limits.VALIDITY_MS_MAX:
        raise ProtocolError(
            "label.validity",
            "label.valid_until_ms",
            label.valid_until_ms,
            f"at most {now_ms + limits.VALIDITY_MS_MAX}",
        )


def check_span(label: Label) -> None:
    """Refuse a window longer than VALIDITY_MS_MAX (``label.validity``)."""
    span = label.valid_until_ms - label.valid_from_ms
    if span > limits.VALIDITY_MS_MAX:
        raise ProtocolError("label.validity", "label", f"{span} ms", f"at most {limits.VALIDITY_MS_MAX} ms")


def check_deployment(committee: Committee, label: Label) -> None:
    """Refuse a label for another chain, contract or key (``label.chain``, ``label.settlement``, ``label.key``)."""
    genesis = committee.genesis
    if label.chain_id != genesis.chain_id:
        raise ProtocolError("label.chain", "label.chain_id", label.chain_id, genesis.chain_id)
    if label.settlement != genesis.settlement:
        raise ProtocolError("label.settlement", "label.settlement", label.settlement, genesis.settlement.hex())
    if label.key_id != committee.sealing_key.key_id:
        raise ProtocolError("label.key", "label.key_id", label.key_id, committee.sealing_key.key_id.hex())


def check_sealed(
    committee: Committee, envelope: Envelope, label: Label, order_id: bytes | None = None
) -> SealedOrder:
    """Deployment, span and the ciphertext's own check; raises ProtocolError or ThresholdError. ``order_id`` saves
    hashing where the caller has it."""
    check_deployment(committee, label)
    check_span(label)
    checked = check(
        committee.sealing_key, envelope.label, envelope.ciphertext, buckets=committee.size_buckets
    )
    facts = OrderFacts(label.valid_from_ms, label.valid_until_ms, label.sponsor, label.size_bucket)
    return SealedOrder(order_id or envelope.order_id(), envelope.label, facts, checked)


def check_sponsor(committee: Committee, order_id: bytes, sponsor: bytes, signature: bytes) -> None:
    """Refuse a sponsor signature that is not the label's sponsor's (``sponsor.signature``)."""
    digest = committee.digest(domains.SPONSOR_TYPE(order_id))
    seen = signing.recover_address(digest, signature, "sponsor_signature")
    if seen != sponsor:
        raise ProtocolError("sponsor.signature", "sponsor_signature", seen, sponsor.hex())


def check_envelope(
    committee: Committee, envelope: Envelope, now_ms: int, order_id: bytes | None = None
) -> SealedOrder:
    """Every check a member makes at its door but for credit, duplicates and its own bounds."""
    label = envelope.decoded_label()
    check_deployment(committee, label)
    check_window(label, now_ms)
    order = check_sealed(committee, envelope, label, order_id)
    check_sponsor(committee, order.order_id, label.sponsor, envelope.sponsor_signature)
    return order
