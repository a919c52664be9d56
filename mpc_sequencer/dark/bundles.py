"""A trader's side of a dark order: its row shared among the parties, sealed to each, and one signature over it all.

The rule. The row (:mod:`mpc_sequencer.dark.layout`) is Shamir-shared with degree t. Party j's shares go into a
*bundle*: epoch, batch, market, trader, nonce and j beside the shares, so that nobody passes a bundle off as another
trader's, batch's or party's; and a salt. The bundle is sealed to j's X25519 key in libsodium's sealed-box format::

    plaintext hash_j = H(bundle_j)          leaf_j = H(plaintext hash_j || SHA256(sealed box_j))
    bundles_root     = Merkle root of the n leaves, in the order's terms, which the trader signs (EIP-712)

Two things are there for a reason that does not meet the eye:

* *The salt.* Shares of t parties and a guess of the row give every other party's shares. Rows have little entropy, so
  without 32 secret bytes in each bundle a hash of another's bundle would tell t parties which guess is right.
* *The sealed bytes are in the leaf.* So a party that gets other bytes has got nothing yet, whoever garbled them, and
  one that gets these and finds them bad holds the trader's fault in its hand. An honest trader is therefore never
  asked by an honest party to open a bundle, and opening one for a party that complains falsely tells only what that
  party has: t openings reveal nothing. :class:`PreparedOrder` makes no more than t.

Randomness is a value: 32 fresh bytes of the caller. All of sharing, mask, salts and ephemeral sealing keys follow from
it *and* from what is shared (as RFC 6979 does it for nonces), so that a seed used again by mistake for another order
does not put two rows on one polynomial.
"""

from __future__ import annotations

import hashlib

from msgspec.structs import replace
from nacl.exceptions import CryptoError
from nacl.public import Box, PrivateKey, PublicKey, SealedBox

from mpc_sequencer.core import limits, signing
from mpc_sequencer.core.codec import decode, encode
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.merkle import merkle_levels, path_in, root_of_path
from mpc_sequencer.dark import tags
from mpc_sequencer.dark.field import Elements, from_bytes, to_bytes
from mpc_sequencer.dark.inputs import (
    BUNDLE_BYTES_MAX,
    MISSING,
    Acknowledgement,
    BatchContext,
    Complaint,
    DarkOrder,
    DarkTerms,
    Delivery,
    OpenedBundle,
    ShareBundle,
)
from mpc_sequencer.dark.layout import Deposit, Layout, check_deposit, encode_order
from mpc_sequencer.dark.sharing import SEED_BYTES, seeded, share


class PreparedOrder:
    """A dark order with all its bundles, which the trader keeps until its batch has closed. Shows and pickles nothing
    secret: whoever has t+1 of the bundles has the order."""

    __slots__ = ("_context", "_opened", "_plaintexts", "deliveries", "order")

    def __init__(
        self, context: BatchContext, order: DarkOrder, deliveries: tuple[Delivery, ...], plaintexts: tuple[bytes, ...]
    ) -> None:
        self._context = context
        self._plaintexts = plaintexts
        self._opened: set[int] = set()
        self.order = order
        self.deliveries = deliveries
        """One for each party, in party order."""

    def __repr__(self) -> str:
        return f"PreparedOrder({self.order.order_id().hex()})"

    def __reduce__(self) -> str:
        raise TypeError("a prepared order cannot be pickled")

    def answer(self, complaint: Complaint) -> Delivery | OpenedBundle:
        """What the trader puts into the log against ``complaint``: the sealed bundle where it was missing, the opened
        one where it was bad. Raises ProtocolError where the complaint is not signed by its party or about another
        order, and ``dark.openings`` rather than open more bundles than t."""
        check_complaint(self._context, complaint)
        if complaint.order_id != self.order.order_id():
            raise ProtocolError("dark.unknown_order", "order_id", complaint.order_id, self.order.order_id().hex())
        if complaint.kind == MISSING:
            return self.deliveries[complaint.party]
        most = self._context.params.faults_t
        if len(self._opened | {complaint.party}) > most:
            raise ProtocolError("dark.openings", "party", complaint.party, f"at most {most} opened bundles")
        self._opened.add(complaint.party)
        delivery = self.deliveries[complaint.party]
        plaintext = self._plaintexts[complaint.party]
        sealed_hash = hashlib.sha256(delivery.sealed).digest()
        return OpenedBundle(self.order.order_id(), complaint.party, plaintext, sealed_hash, delivery.path)


def prepare(
    context: BatchContext,
    signer: signing.Signer,
    *,
    nonce: int,
    valid_from_ms: int,
    valid_until_ms: int,
    side: int,
    price_ticks: int,
    quantity_lots: int,
    deposit: Deposit,
    seed: bytes,
) -> PreparedOrder:
    """Share, seal and sign an order. ``seed`` is 32 bytes, fresh and secret. Raises ProtocolError for an order the
    committee would reject, ``ValueError`` for a seed of another size."""
    terms = DarkTerms(
        *(context.epoch, context.batch, context.market, signer.address, nonce, valid_from_ms, valid_until_ms),
        *(deposit.quote_tick_lots, deposit.base_lots, bytes(32)),
    )
    mask_seed = _master_seed(seed, encode(terms), encode((side, price_ticks, quantity_lots)))
    mask = int(seeded(mask_seed, b"mask")(1)[0])
    row = encode_order(context.params, side, price_ticks, quantity_lots, deposit, mask)
    return prepare_row(context, signer, terms, row, seed)


def prepare_row(
    context: BatchContext, signer: signing.Signer, terms: DarkTerms, row: Elements, seed: bytes
) -> PreparedOrder:
    """Share, seal and sign ``row`` (L elements, mask included) under ``terms``, whose root is filled in here."""
    params = context.params
    master = _master_seed(seed, encode(terms), to_bytes(row))
    shared = share(row, params.faults_t, params.parties, seeded(master, b"share"))
    plaintexts = tuple(
        encode(
            ShareBundle(
                *(1, terms.epoch, terms.batch, terms.market, terms.trader, terms.nonce, party),
                *(_derive(master, b"salt", party), to_bytes(shares)),
            )
        )
        for party, shares in enumerate(shared)
    )
    return seal_bundles(context, signer, terms, plaintexts, master)


def seal_bundles(
    context: BatchContext, signer: signing.Signer, terms: DarkTerms, plaintexts: tuple[bytes, ...], master: bytes
) -> PreparedOrder:
    """Seal the n encoded bundles, each to its party, and sign their root. ``master`` gives the ephemeral keys."""
    sealed = tuple(
        seal(key, plaintext, _derive(master, b"ephemeral", party))
        for party, (key, plaintext) in enumerate(zip(context.sealing_keys, plaintexts, strict=True))
    )
    hashes = tuple(tags.BUNDLE(plaintext) for plaintext in plaintexts)
    leaves = [_leaf(one, hashlib.sha256(box).digest()) for one, box in zip(hashes, sealed, strict=True)]
    levels = merkle_levels(leaves, tags.BUNDLE_NODE)
    signed = replace(terms, bundles_root=levels[-1][0])
    order = DarkOrder(1, signed, signer.sign_digest(context.digest(signed.struct_hash())))
    deliveries = tuple(
        Delivery(order, party, sealed[party], hashes[party], path_in(levels, party)) for party in range(len(sealed))
    )
    return PreparedOrder(context, order, deliveries, plaintexts)


def seal(public_key: bytes, plaintext: bytes, ephemeral_secret: bytes) -> bytes:
    """A sealed box of libsodium (``crypto_box_seal``) with its ephemeral key given; SEAL_BYTES more."""
    ephemeral = PrivateKey(ephemeral_secret)
    sender = bytes(ephemeral.public_key)
    nonce = hashlib.blake2b(sender + public_key, digest_size=Box.NONCE_SIZE).digest()
    box: bytes = Box(ephemeral, PublicKey(public_key)).encrypt(plaintext, nonce).ciphertext
    return sender + box


def unseal(secret: bytes, sealed: bytes) -> bytes:
    """The plaintext of a sealed box. Raises ``dark.sealing`` where this key opens it not."""
    try:
        plaintext: bytes = SealedBox(PrivateKey(secret)).decrypt(sealed)
    except (CryptoError, RuntimeError):
        raise ProtocolError("dark.sealing", "sealed", f"{len(sealed)} bytes", "a box sealed to this party") from None
    return plaintext


# --- checks -------------------------------------------------------------------------------------------------------
def check_order(context: BatchContext, order: DarkOrder) -> None:
    """Refuse an order of another batch, out of bounds or not signed by its trader."""
    terms = order.terms
    _check_batch(context, terms.epoch, terms.batch, terms.market)
    span = terms.valid_until_ms - terms.valid_from_ms
    if not 0 < span <= limits.VALIDITY_MS_MAX:
        raise ProtocolError("label.validity", "DarkTerms", f"{span} ms", f"1 to {limits.VALIDITY_MS_MAX} ms")
    check_deposit(Layout.of(context.params), terms.deposit)
    signing.check_signer(context.digest(terms.struct_hash()), order.signature, terms.trader, "DarkOrder.signature")


def check_window(terms: DarkTerms, time_ms: int) -> None:
    """Refuse an order that is not valid at ``time_ms``, the block time of its batch."""
    if terms.valid_until_ms <= time_ms:
        raise ProtocolError("label.expired", "valid_until_ms", terms.valid_until_ms, f"more than {time_ms}")
    if terms.valid_from_ms > time_ms:
        raise ProtocolError("label.not_yet_valid", "valid_from_ms", terms.valid_from_ms, f"at most {time_ms}")


def check_delivery(context: BatchContext, delivery: Delivery) -> None:
    """Refuse sealed bytes that the trader did not sign for (``dark.leaf``). The order is checked by
    :func:`check_order`."""
    sealed_hash = hashlib.sha256(delivery.sealed).digest()
    _check_leaf(context, delivery.order, delivery.party, delivery.plaintext_hash, sealed_hash, delivery.path)


def check_plaintext(context: BatchContext, terms: DarkTerms, party: int, plaintext: bytes) -> bytes:
    """The shares (L times 12 bytes, canonical) of a good bundle of party ``party`` under ``terms``; raises
    ProtocolError for any other."""
    bundle: ShareBundle = decode(ShareBundle, plaintext, bytes_max=BUNDLE_BYTES_MAX)
    _check_batch(context, bundle.epoch, bundle.batch, bundle.market)
    if bundle.trader != terms.trader:
        raise ProtocolError("dark.trader", "ShareBundle.trader", bundle.trader, terms.trader.hex())
    if bundle.nonce != terms.nonce:
        raise ProtocolError("dark.bundle_nonce", "ShareBundle.nonce", bundle.nonce, terms.nonce)
    if bundle.party != party:
        raise ProtocolError("dark.party", "ShareBundle.party", bundle.party, party)
    from_bytes(bundle.shares, Layout.of(context.params).columns)  # raises dark.length, dark.element
    return bundle.shares


def open_delivery(context: BatchContext, party: int, secret: bytes, delivery: Delivery) -> bytes:
    """The shares in a checked delivery. What this raises is the trader's fault: it signed for these bytes."""
    plaintext = unseal(secret, delivery.sealed)
    seen = tags.BUNDLE(plaintext)
    if seen != delivery.plaintext_hash:
        raise ProtocolError("dark.plaintext_hash", "plaintext_hash", delivery.plaintext_hash, seen.hex())
    return check_plaintext(context, delivery.order.terms, party, plaintext)


def check_opened(context: BatchContext, order: DarkOrder, opened: OpenedBundle) -> bytes:
    """The shares of a publicly opened bundle of ``order``; raises ProtocolError where it is not what the trader signed
    for, or that and no good bundle."""
    if opened.order_id != order.order_id():
        raise ProtocolError("dark.unknown_order", "order_id", opened.order_id, order.order_id().hex())
    plaintext_hash = tags.BUNDLE(opened.plaintext)
    _check_leaf(context, order, opened.party, plaintext_hash, opened.sealed_hash, opened.path)
    return check_plaintext(context, order.terms, opened.party, opened.plaintext)


def check_complaint(context: BatchContext, complaint: Complaint) -> None:
    """Refuse a complaint of another batch or not signed by its party."""
    _check_said(context, complaint)


def check_acknowledgement(context: BatchContext, acknowledgement: Acknowledgement) -> None:
    """Refuse an acknowledgement of another batch or not signed by its party."""
    _check_said(context, acknowledgement)


def _check_said(context: BatchContext, said: Complaint | Acknowledgement) -> None:
    name = type(said).__name__
    _check_batch(context, said.epoch, said.batch, said.market)
    if said.party >= context.params.parties:
        raise ProtocolError("member.unknown", f"{name}.party", said.party, f"below {context.params.parties}")
    member = context.members[said.party]
    signing.check_signer(context.digest(said.struct_hash()), said.signature, member, f"{name}.signature")


def _check_batch(context: BatchContext, epoch: int, batch: int, market: int) -> None:
    if epoch != context.epoch:
        raise ProtocolError("epoch.unknown", "epoch", epoch, context.epoch)
    if batch != context.batch:
        raise ProtocolError("dark.batch", "batch", batch, context.batch)
    if market != context.market:
        raise ProtocolError("dark.market", "market", market, context.market)


def _check_leaf(
    context: BatchContext,
    order: DarkOrder,
    party: int,
    plaintext_hash: bytes,
    sealed_hash: bytes,
    path: tuple[bytes, ...],
) -> None:
    root = order.terms.bundles_root
    try:
        leaf = _leaf(plaintext_hash, sealed_hash)
        seen = root_of_path(leaf, party, context.params.parties, path, tags.BUNDLE_NODE)
    except ValueError as error:
        raise ProtocolError("dark.leaf", "path", str(error), f"a path to {root.hex()}") from None
    if seen != root:
        raise ProtocolError("dark.leaf", "bundles_root", seen, root.hex())


def _leaf(plaintext_hash: bytes, sealed_hash: bytes) -> bytes:
    return tags.BUNDLE_LEAF(plaintext_hash, sealed_hash)


# --- randomness as a value ----------------------------------------------------------------------------------------
def _master_seed(seed: bytes, terms: bytes, secrets: bytes) -> bytes:
    if len(seed) != SEED_BYTES:
        raise ValueError(f"a seed of {len(seed)} bytes, expected {SEED_BYTES}")
    return tags.ORDER_SEED(seed, len(terms).to_bytes(4, "big"), terms, secrets)


def _derive(master: bytes, purpose: bytes, party: int) -> bytes:
    return tags.ORDER_SECRET(master, party.to_bytes(2, "big"), purpose)
