"""Bad shares and bad coin shares, judged by the threshold key and by what a signed bundle pins.

The points that shares must be of follow from the bundle: block id, header, batch root, order ids, ciphertexts. The key
is the committee file's. Where that has none, it is the one that the first blocks generated, with q members' word for
it, which alone would not do: of an attempt that failed at its very end, q members' words may come together too late,
and nobody's shares are of that key. So the orders of the block must be sealed to the key in question. Their labels
name it, and an honest member releases shares of no others.
"""

from __future__ import annotations

from collections.abc import Sequence

from mpc_sequencer.core import domains, signing
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.merkle import merkle_root
from mpc_sequencer.core.offences import BadCoinShare, BadShares, KeyPin, SealedBytes
from mpc_sequencer.core.types import BatchEntry, BlockHeader, Bundle
from threshold import (
    BatchProof,
    BundleContext,
    Ciphertext,
    Label,
    ThresholdError,
    verify_bundle,
    verify_coin_share,
)


def judge_shares(offence: BadShares, committee: Committee) -> str:
    """What is wrong with the shares of a signed bundle, or ProtocolError: ``evidence.pinned``, ``evidence.legal`` or
    ``evidence.key``."""
    bundle, header, batch, orders = offence.bundle, offence.header, offence.batch, offence.orders
    _check_batch(header, batch, bundle)
    order_ids = [order.order_id() for order in orders]
    if order_ids != [entry.order_id for entry in batch]:
        raise ProtocolError("evidence.pinned", "BadShares.orders", len(orders), "the batch's orders, in its order")
    points = [_u_of(order) for order in orders]
    block = f"block {bundle.block_id.hex()[:16]}"
    if bundle.height != header.height:
        return f"shares of {block} under height {bundle.height}; it has height {header.height}"
    if len(bundle.shares) != len(points):
        return f"{len(bundle.shares)} shares of the {len(points)} orders of {block}"
    key = _verification_key(bundle, committee)
    for order in orders:
        _sealed_to(order.label, committee)
    try:
        if points:
            verify_bundle(key, _context(bundle, committee), points, bundle.shares, BatchProof.decode(bundle.proof))
    except ThresholdError as error:
        return f"shares of {block} that the member's key did not make: {error}"
    raise ProtocolError("evidence.legal", "Bundle.shares", "valid shares", "shares with a proof that fails")


def judge_coin_share(offence: BadCoinShare, committee: Committee) -> str:
    """What is wrong with the coin share of a signed bundle, or ProtocolError as for :func:`judge_shares`."""
    bundle = offence.bundle
    key = _verification_key(bundle, committee)
    if (offence.pin is None) != bool(committee.genesis.public_key):
        expected = "what pins the key, where the committee file does not have it"
        raise ProtocolError("evidence.pinned", "BadCoinShare.pin", offence.pin is not None, expected)
    if offence.pin is not None:
        _check_pin(offence.pin, bundle, committee)
    try:
        verify_coin_share(key, _context(bundle, committee), bundle.coin_share)
    except ThresholdError as error:
        return f"a coin share of block {bundle.block_id.hex()[:16]} that the member's key did not make: {error}"
    raise ProtocolError("evidence.legal", "Bundle.coin_share", "a valid coin share", "one with a proof that fails")


def _check_pin(pin: KeyPin, bundle: Bundle, committee: Committee) -> None:
    """Refuse a pin unless it shows that the orders of the bundle's block are sealed to the committee's key."""
    _check_batch(pin.header, pin.batch, bundle)
    if pin.order_id() != pin.batch[0].order_id:
        raise ProtocolError("evidence.pinned", "KeyPin.label", pin.order_id(), pin.batch[0].order_id.hex())
    _sealed_to(pin.label, committee)


def _check_batch(header: BlockHeader, batch: Sequence[BatchEntry], bundle: Bundle) -> None:
    """Refuse another header than the bundle's block has, and another batch than the header's."""
    if header.block_id() != bundle.block_id:
        raise ProtocolError("evidence.pinned", "header", header.block_id(), bundle.block_id.hex())
    root = merkle_root([domains.BATCH_LEAF(e.order_id, e.envelope_hash) for e in batch], domains.BATCH_NODE)
    if root != header.batch_root:
        raise ProtocolError("evidence.pinned", "batch", root, header.batch_root.hex())


def _sealed_to(label: bytes, committee: Committee) -> None:
    """Refuse an order that is sealed to another key than the committee's."""
    try:
        key_id = Label.decode(label).key_id
    except ThresholdError as error:
        raise ProtocolError("evidence.pinned", f"label: {error.field}", error.seen, error.expected) from None
    if key_id != committee.sealing_key.key_id:
        raise ProtocolError("evidence.pinned", "label.key_id", key_id, committee.sealing_key.key_id.hex())


def _context(bundle: Bundle, committee: Committee) -> BundleContext:
    return BundleContext(committee.sealing_key.key_id, bundle.epoch, bundle.block_id, bundle.node + 1)


def _verification_key(bundle: Bundle, committee: Committee) -> bytes:
    """Its member's verification key in the bundle's sharing; one that is no point convicts nobody, nor
    does one that is not known."""
    try:
        key = committee.verification_key(bundle.node, bundle.sharing)
    except ProtocolError:
        raise ProtocolError("evidence.key", "Bundle.sharing", bundle.sharing, "a sharing that is known") from None
    try:
        signing.address_of(key)
    except ValueError as error:
        raise ProtocolError("evidence.pinned", "verification_key", key, str(error)) from None
    return key


def _u_of(order: SealedBytes) -> bytes:
    try:
        return Ciphertext.decode(order.ciphertext, Label.decode(order.label).size_bucket).u
    except ThresholdError as error:
        raise ProtocolError("evidence.pinned", f"BadShares.orders: {error.field}", error.seen, error.expected) from None
