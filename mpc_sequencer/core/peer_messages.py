"""What travels between members, over mutually authenticated links: :data:`PeerMessage`. Tags 1 .. 31."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from mpc_sequencer.core import domains, limits
from mpc_sequencer.core.transcript import ChainInput
from mpc_sequencer.core.types import (
    Block,
    Bundle,
    Certificate,
    Envelope,
    Hash32,
    Head,
    KeyMessage,
    NodeIndex,
    OrderList,
    SignatureBytes,
    Uint,
    Value,
    Vote,
)
from mpc_sequencer.settlement.claims import OrderCommit, ResultClaim

FetchIds = Annotated[tuple[Hash32, ...], Meta(min_length=1, max_length=limits.FETCH_IDS_MAX)]


class PeerHello(Value, frozen=True, tag=1):
    """First frame of a link, both ways: which deployment, and the epoch that the sender is in (who it is, its
    certificate says). A link may bring later ones: its sender has gone over to a later epoch."""

    genesis: Hash32
    epoch: Uint


class ListMessage(Value, frozen=True, tag=2):
    """A member's new list."""

    order_list: OrderList


class HeadMessage(Value, frozen=True, tag=3):
    """A member's new head."""

    head: Head


class Proposal(Value, frozen=True, tag=4):
    """A leader's block with the certificates that make its parent extendable in this view."""

    block: Block
    parent: Certificate | None
    nullifications: Annotated[tuple[Certificate, ...], Meta(max_length=limits.VIEWS_AHEAD_MAX)]
    vote: Vote


class VoteMessage(Value, frozen=True, tag=5):
    vote: Vote


class CertificateMessage(Value, frozen=True, tag=6):
    certificate: Certificate


class BundleMessage(Value, frozen=True, tag=7):
    bundle: Bundle


class SettlementShare(Value, frozen=True, tag=8):
    """A member's signature over the BatchResult that ``claim`` describes."""

    claim: ResultClaim
    node: NodeIndex
    signature: SignatureBytes


class CommitShare(Value, frozen=True, tag=18):
    """A member's signature over the order commit of a range."""

    commit: OrderCommit
    node: NodeIndex
    signature: SignatureBytes


class FetchBodies(Value, frozen=True, tag=9):
    """Ask for envelopes by order id, or by envelope hash where one signature variant is wanted."""

    ids: FetchIds


class Bodies(Value, frozen=True, tag=10):
    envelopes: Annotated[tuple[Envelope, ...], Meta(min_length=1, max_length=limits.FETCH_IDS_MAX)]


class FetchLists(Value, frozen=True, tag=11):
    """Ask for the lists ``first..last`` of ``author``; where ``last_hash`` is not zero, for those that lead to the list
    of that hash, which a block names (an author may have signed two lists of one number)."""

    author: NodeIndex
    first: Uint
    last: Uint
    last_hash: Hash32


class FetchBlock(Value, frozen=True, tag=12):
    block_id: Hash32


class BlockMessage(Value, frozen=True, tag=13):
    """A block for a member that asked for it by its id, with the certificate that finalizes it where there is one."""

    block: Block
    finalization: Certificate | None


class FetchBundle(Value, frozen=True, tag=14):
    """Ask a member for its own bundle of a final block."""

    block_id: Hash32


class FetchLog(Value, frozen=True, tag=15):
    """Ask for a part of a member's audit log: from the entries of block ``height`` on, or from ``position`` where that
    is not zero (what an earlier answer named)."""

    height: Uint
    position: Uint


class LogSlice(Value, frozen=True, tag=16):
    """Encoded log entries that blocks, openings and settlement follow from, and where the next part starts."""

    entries: Annotated[
        tuple[Annotated[bytes, Meta(min_length=1, max_length=limits.LOG_ENTRY_BYTES_MAX)], ...],
        Meta(max_length=limits.LOG_SLICE_ENTRIES_MAX),
    ]
    next_position: Uint


class KeyBodies(Value, frozen=True, tag=17):
    """Messages of key sessions, asked for by id like envelopes."""

    messages: Annotated[tuple[KeyMessage, ...], Meta(min_length=1, max_length=limits.FETCH_IDS_MAX)]


class FetchInputs(Value, frozen=True, tag=20):
    """Ask for the chain inputs that lead up to a hash of the queue."""

    inputs_hash: Hash32


class InputsMessage(Value, frozen=True, tag=21):
    """Chain inputs that lead up to ``inputs_hash``, and the queue's hash before them: if the one is the chain's, so is
    all of it."""

    inputs_hash: Hash32
    after_hash: Hash32
    inputs: Annotated[tuple[ChainInput, ...], Meta(min_length=1, max_length=256)]


class DarkShares(Value, frozen=True, tag=22):
    """A party's shares of one round of a dark batch's computation. ``message`` is the encoded
    :class:`mpc_sequencer.dark.transcript.RoundShares`; ``session`` and ``round`` are those in it. Signed, so that what
    it said can be shown; in a member's log once the computation is over (docs/protocol-log.md)."""

    session: Hash32
    party: NodeIndex
    round: Annotated[int, Meta(ge=0, lt=limits.DARK_ROUNDS_MAX)]
    message: Annotated[bytes, Meta(min_length=1, max_length=limits.DARK_SHARES_BYTES_MAX)]
    signature: SignatureBytes

    def message_hash(self) -> bytes:
        return domains.KEY_PAYLOAD(self.message)

    def struct_hash(self) -> bytes:
        return domains.DARK_SHARES_TYPE(self.session, self.party, self.round, self.message_hash())


PeerMessage = (
    PeerHello
    | ListMessage
    | HeadMessage
    | Proposal
    | VoteMessage
    | CertificateMessage
    | BundleMessage
    | SettlementShare
    | CommitShare
    | FetchBodies
    | Bodies
    | FetchLists
    | FetchBlock
    | BlockMessage
    | FetchBundle
    | FetchLog
    | LogSlice
    | KeyBodies
    | FetchInputs
    | InputsMessage
    | DarkShares
)
