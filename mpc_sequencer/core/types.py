"""The protocol's values: what members, clients and auditors sign, exchange and store (docs/protocol.md, "Objects").

Every type is an immutable MessagePack array with bounded fields, so its encoding is canonical (see
:mod:`mpc_sequencer.core.codec`). Integers are at most 2^63-1. A signed value offers ``struct_hash()``, the EIP-712
struct hash its signature covers; the digest adds the deployment's domain separator, so that no value is valid on
another chain or for another settlement contract.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Final, Literal, TypeVar

import msgspec
from msgspec import Meta

from mpc_sequencer.core import domains, limits
from mpc_sequencer.core.codec import encode
from threshold import COIN_SHARE_BYTES, Label

Hash32 = Annotated[bytes, Meta(min_length=32, max_length=32)]
Address = Annotated[bytes, Meta(min_length=20, max_length=20)]
CoinShareBytes = Annotated[bytes, Meta(min_length=COIN_SHARE_BYTES, max_length=COIN_SHARE_BYTES)]
PointBytes = Annotated[bytes, Meta(min_length=33, max_length=33)]
PointOrNone = Annotated[bytes, Meta(max_length=33)]
"""A point, or nothing."""
SignatureBytes = Annotated[bytes, Meta(min_length=65, max_length=65)]
Uint = Annotated[int, Meta(ge=0, le=limits.UINT_MAX)]
NodeIndex = Annotated[int, Meta(ge=0, lt=limits.COMMITTEE_MEMBERS_MAX)]
PlaceIndex = Annotated[int, Meta(ge=0, le=limits.COMMITTEE_MEMBERS_MAX)]
"""A member's index, or the committee's size for who follows without a place."""
KeyAuthor = Annotated[int, Meta(ge=0, lt=2 * limits.COMMITTEE_MEMBERS_MAX)]
"""Who signed a key message: a member's index, or n and the number of a joiner of the next committee."""

ZERO_HASH: Final = bytes(32)
NO_SIGNATURE: Final = bytes(65)

NOTARIZE: Final = 1
NULLIFY: Final = 2
FINALIZE: Final = 3
VoteKind = Literal[1, 2, 3]
VOTE_NAMES: Final = {NOTARIZE: "notarize", NULLIFY: "nullify", FINALIZE: "finalize"}


class Value(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """Base of all protocol values: immutable, one array on the wire, no unknown fields."""


class Envelope(Value, frozen=True):
    """A sealed order as it travels: label (101 bytes), ciphertext, the sponsor's signature over the order id."""

    version: Literal[1]
    label: Annotated[bytes, Meta(min_length=101, max_length=101)]
    ciphertext: Annotated[bytes, Meta(min_length=1, max_length=limits.ENVELOPE_BYTES_MAX)]
    sponsor_signature: SignatureBytes

    def order_id(self) -> bytes:
        """32 bytes over label and ciphertext: variants of the signature are the same order."""
        return domains.ORDER_ID(self.label, hashlib.sha256(self.ciphertext).digest())

    def envelope_hash(self, order_id: bytes | None = None) -> bytes:
        """32 bytes that name this variant of the signature too; ``order_id`` saves hashing where it is known."""
        return domains.ENVELOPE_HASH(order_id or self.order_id(), self.sponsor_signature)

    def decoded_label(self) -> Label:
        """The label's fields; raises :class:`threshold.ThresholdError`."""
        return Label.decode(self.label)


KeyPayload = Annotated[bytes, Meta(min_length=1, max_length=limits.KEY_PAYLOAD_BYTES_MAX)]


class KeyMessage(Value, frozen=True):
    """A member's message of a key session, signed. It is listed like an order and counts where a final block lifts it;
    ``payload`` is :mod:`threshold.dkg`'s, or of a topic: what is said of the next epoch, or of dark markets."""

    epoch: Uint
    session: Hash32
    node: KeyAuthor
    payload: KeyPayload
    signature: SignatureBytes

    def struct_hash(self) -> bytes:
        return domains.KEY_MESSAGE_TYPE(self.epoch, self.session, self.node, domains.KEY_PAYLOAD(self.payload))

    def message_id(self) -> bytes:
        """What lists name: 32 bytes over all but the signature."""
        return domains.KEY_MESSAGE(self.struct_hash())


class KeyReady(Value, frozen=True):
    """A member's signature over its ready message in a :class:`KeyCertificate`."""

    node: NodeIndex
    signature: SignatureBytes


class KeyCertificate(Value, frozen=True):
    """The result of a key session, and q members' signed word that it is theirs: enough for whoever has the committee
    file alone. ``result`` encodes a :class:`threshold.dkg.Result`, canonically; it is sharing ``sharing``, which
    attempt ``attempt`` made."""

    epoch: Uint
    sharing: Annotated[int, Meta(ge=0, lt=1 << 32)]
    attempt: Annotated[int, Meta(ge=0, lt=1 << 32)]
    result: Annotated[bytes, Meta(max_length=limits.KEY_PAYLOAD_BYTES_MAX)]
    ready: Annotated[tuple[KeyReady, ...], Meta(min_length=1, max_length=limits.COMMITTEE_MEMBERS_MAX)]


class NextMember(Value, frozen=True):
    """A member of a proposed committee: its consensus key, its log and TLS key, where it listens (``host:port``), and
    the certificate (DER) of its TLS key, which the members' shells check."""

    consensus_key: PointBytes
    log_key: Hash32
    endpoint: Annotated[str, Meta(min_length=3, max_length=limits.ENDPOINT_CHARS_MAX)]
    tls_certificate: Annotated[bytes, Meta(max_length=limits.TLS_CERTIFICATE_BYTES_MAX)]


class NextCommittee(Value, frozen=True):
    """A proposed committee, members ascending by consensus address."""

    threshold: Uint
    members: Annotated[tuple[NextMember, ...], Meta(min_length=1, max_length=limits.COMMITTEE_MEMBERS_MAX)]

    def committee_hash(self) -> bytes:
        """32 bytes that name this committee, keys and endpoints included."""
        return domains.NEXT_COMMITTEE(encode(self))


class EpochStart(Value, frozen=True):
    """How an epoch follows the one before: its committee, the sharing of the key that it was dealt, and q old members'
    signatures over both. Enough for whoever knows the committee of the epoch before.

    ``result`` encodes the :class:`threshold.dkg.Result` of attempt ``attempt`` at sharing ``sharing``. ``anchor_id`` is
    the last block of the epoch before, at ``anchor_height``.
    """

    epoch: Uint
    committee: NextCommittee
    sharing: Annotated[int, Meta(ge=0, lt=1 << 32)]
    attempt: Annotated[int, Meta(ge=0, lt=1 << 32)]
    result: Annotated[bytes, Meta(max_length=limits.KEY_PAYLOAD_BYTES_MAX)]
    handover: Annotated[tuple[KeyReady, ...], Meta(min_length=1, max_length=limits.COMMITTEE_MEMBERS_MAX)]
    anchor_id: Hash32
    anchor_height: Uint


class Receipt(Value, frozen=True):
    """A member's promise that the order is in exactly its list ``list_number``."""

    epoch: Uint
    incarnation: Uint
    order_id: Hash32
    node: NodeIndex
    list_number: Uint
    received_ms: Uint
    signature: SignatureBytes

    def struct_hash(self) -> bytes:
        return domains.RECEIPT_TYPE(
            self.epoch, self.incarnation, self.order_id, self.node, self.list_number, self.received_ms
        )


class OrderList(Value, frozen=True):
    """A member's signed, numbered, hash-chained report of the orders it received, in receive order."""

    epoch: Uint
    incarnation: Uint
    node: NodeIndex
    number: Uint
    prev_hash: Hash32
    entries: Annotated[tuple[Hash32, ...], Meta(min_length=1, max_length=limits.LIST_ENTRIES_MAX)]
    signature: SignatureBytes

    def struct_hash(self) -> bytes:
        """The list's hash: what the next list's ``prev_hash`` and a head's ``list_hash`` name."""
        entries_hash = domains.LIST_ENTRIES(*self.entries)
        return domains.LIST_TYPE(
            self.epoch, self.incarnation, self.node, self.number, self.prev_hash, entries_hash
        )


class Checkpoint(Value, frozen=True):
    """A finalized block of the settlement chain and the contract's input queue at it."""

    number: Uint
    block_hash: Hash32
    inputs_count: Uint
    inputs_hash: Hash32

    def struct_hash(self) -> bytes:
        return domains.CHECKPOINT(encode(self))


class ResultRef(Value, frozen=True):
    """The result hash of one counting height."""

    height: Uint
    result: Hash32


class Head(Value, frozen=True):
    """A member's statement on entering ``view``: its clock, last list, results, chain checkpoint and what is due."""

    epoch: Uint
    incarnation: Uint
    node: NodeIndex
    view: Uint
    time_ms: Uint
    list_number: Uint
    list_hash: Hash32
    results: Annotated[tuple[ResultRef, ...], Meta(max_length=limits.HEAD_RESULTS_MAX)]
    checkpoint: Checkpoint
    due_height: Uint
    """The last counting height that this member has executed, where triggered stops or due expiries wait; else 0."""
    signature: SignatureBytes

    def struct_hash(self) -> bytes:
        return domains.HEAD_TYPE(
            self.epoch,
            self.incarnation,
            self.node,
            self.view,
            self.time_ms,
            self.list_number,
            self.list_hash,
            domains.HEAD_RESULTS(encode(self.results)),
            self.checkpoint.struct_hash(),
            self.due_height,
        )


class BatchEntry(Value, frozen=True):
    """An order of a batch and the signature variant the block uses."""

    order_id: Hash32
    envelope_hash: Hash32


class BlockHeader(Value, frozen=True):
    """What a block id covers. Certificates are no part of it."""

    version: Literal[1]
    epoch: Uint
    height: Uint
    view: Uint
    parent_id: Hash32
    time_ms: Uint
    inputs_root: Hash32
    batch_root: Hash32
    certified_root: Hash32
    checkpoint: Checkpoint

    def block_id(self) -> bytes:
        return domains.BLOCK_ID(encode(self))


class Block(Value, frozen=True):
    """A header with the heads it names and what follows from them: the batch and the newly certified results."""

    header: BlockHeader
    heads: Annotated[tuple[Head, ...], Meta(max_length=limits.COMMITTEE_MEMBERS_MAX)]
    batch: Annotated[tuple[BatchEntry, ...], Meta(max_length=limits.BATCH_ORDERS_MAX)]
    certified: Annotated[tuple[ResultRef, ...], Meta(max_length=limits.CERTIFIED_PER_BLOCK_MAX)]


class Vote(Value, frozen=True):
    """One member's notarize, nullify (``block_id`` is zero) or finalize vote in a view."""

    kind: VoteKind
    epoch: Uint
    view: Uint
    block_id: Hash32
    node: NodeIndex
    signature: SignatureBytes

    def struct_hash(self) -> bytes:
        return vote_struct_hash(self.kind, self.epoch, self.view, self.block_id)


class CertificateVote(Value, frozen=True):
    """A signer of a certificate."""

    node: NodeIndex
    signature: SignatureBytes


class Certificate(Value, frozen=True):
    """At least q votes of one kind for one view and block, signers strictly ascending."""

    kind: VoteKind
    epoch: Uint
    view: Uint
    block_id: Hash32
    votes: Annotated[tuple[CertificateVote, ...], Meta(min_length=1, max_length=limits.COMMITTEE_MEMBERS_MAX)]

    def struct_hash(self) -> bytes:
        return vote_struct_hash(self.kind, self.epoch, self.view, self.block_id)


class Bundle(Value, frozen=True):
    """A member's decryption shares of a final block's batch, in batch order, with one proof for all, and its share of
    the block's coin. ``sharing`` names the sharing of the key they are of: the hash of its result (zero where the
    committee file gives it), so that nobody can hold them against another one.

    ``certificate`` finalizes the last header of ``path`` (or the block itself where ``path`` is empty); ``path``
    leads from the child of the block to the certified block. ``proof`` is empty exactly where there are no shares.
    """

    epoch: Uint
    height: Uint
    block_id: Hash32
    node: NodeIndex
    sharing: Hash32
    certificate: Certificate
    path: Annotated[tuple[BlockHeader, ...], Meta(max_length=limits.HEADER_PATH_MAX)]
    shares: Annotated[tuple[PointBytes, ...], Meta(max_length=limits.BATCH_ORDERS_MAX)]
    proof: Annotated[bytes, Meta(max_length=98)]
    coin_share: CoinShareBytes
    signature: SignatureBytes

    def struct_hash(self) -> bytes:
        shares_hash = domains.BUNDLE_SHARES(*self.shares, self.proof, self.coin_share)
        # covered too, or anyone could put a false certificate into an honest member's bundle
        finality_hash = domains.BUNDLE_FINALITY(encode(self.certificate), encode(self.path))
        return domains.BUNDLE_TYPE(
            self.epoch, self.height, self.block_id, self.node, self.sharing, finality_hash, shares_hash
        )


class Opened(Value, frozen=True):
    """The public opening of an order: (sigma, padded plaintext); anyone re-encrypts and compares."""

    order_id: Hash32
    sigma: Hash32
    padded: Annotated[bytes, Meta(max_length=limits.ENVELOPE_BYTES_MAX)]


class Unopenable(Value, frozen=True):
    """An order that t valid shares do not open: the members whose shares show it (their bundles are in the log)."""

    order_id: Hash32
    nodes: Annotated[tuple[NodeIndex, ...], Meta(max_length=limits.COMMITTEE_MEMBERS_MAX)]


def vote_struct_hash(kind: int, epoch: int, view: int, block_id: bytes) -> bytes:
    """The EIP-712 struct hash a vote of ``kind`` signs."""
    if kind == NULLIFY:
        return domains.NULLIFY_TYPE(epoch, view)
    vote_type = domains.NOTARIZE_TYPE if kind == NOTARIZE else domains.FINALIZE_TYPE
    return vote_type(epoch, view, block_id)


Signed = TypeVar("Signed", KeyMessage, Receipt, OrderList, Head, Vote, Bundle)


def with_signature(value: Signed, signature: bytes) -> Signed:
    """The same value carrying ``signature``."""
    return msgspec.structs.replace(value, signature=signature)
