"""What the pure core takes in and gives out.

The shell feeds :data:`Event` values with the time at which it saw them and carries out the :data:`Effect` values, in
this order: everything to keep (:class:`Persist`, :class:`Append`, :class:`KeepSecret`) is on disk before any message
leaves (:class:`Broadcast`, :class:`Send`, :class:`Reply`, :class:`Settle`). Persist, then send: a node's safety
across crashes rests on that one rule of the shell.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from mpc_sequencer.core.darkside import DarkAttemptRecord
from mpc_sequencer.core.feed import FedHeight
from mpc_sequencer.core.messages import (
    ClientReply,
    ClientRequest,
    CommitShare,
    ExecutedRow,
    FetchLog,
    OrderReply,
    PeerMessage,
)
from mpc_sequencer.core.offences import Offence
from mpc_sequencer.core.transcript import ChainInput, LogEntry
from mpc_sequencer.core.types import (
    Block,
    Certificate,
    Checkpoint,
    Envelope,
    Hash32,
    Head,
    KeyCertificate,
    KeyMessage,
    NextCommittee,
    OrderList,
    Receipt,
    Uint,
    Value,
    Vote,
)
from mpc_sequencer.settlement.claims import SignedCommit
from mpc_sequencer.settlement.payloads import SignedResult


# --- events -----------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class PeerUp:
    """A link to a member is up: what it may have missed is sent again."""

    node: int


@dataclass(frozen=True, slots=True)
class PeerDown:
    node: int


@dataclass(frozen=True, slots=True)
class FromPeer:
    """A decoded message of an authenticated member."""

    node: int
    message: PeerMessage


@dataclass(frozen=True, slots=True)
class FromClient:
    """A decoded request of a client connection."""

    client: int
    request: ClientRequest


@dataclass(frozen=True, slots=True)
class ClientGone:
    client: int


@dataclass(frozen=True, slots=True)
class Approve:
    """This member's operator wants ``committee`` to follow, or, where it is the committee as it is, nobody."""

    committee: NextCommittee


@dataclass(frozen=True, slots=True)
class PeerAhead:
    """A link to a member that is in a later epoch: it serves its log, and that only."""

    node: int


@dataclass(frozen=True, slots=True)
class SettlementSeen:
    """The chain holds the range that ends at ``last_height``; posted in ``transaction`` for ``gas_used`` (zeros
    where another member posted it)."""

    last_height: int
    transaction: bytes
    gas_used: int


@dataclass(frozen=True, slots=True)
class ChainSeen:
    """This member's own chain node has ``checkpoint``, a finalized block whose number is a multiple of the genesis'
    ``l1_step_blocks``. ``inputs`` are the queue's entries after the last told ones (``NodeCore.chain_view.told``) up to
    ``checkpoint.inputs_count``; ``forced_due`` are the due block numbers of the forced ones among them, in order."""

    checkpoint: Checkpoint
    inputs: tuple[ChainInput, ...]
    forced_due: tuple[int, ...]


Event = PeerUp | PeerDown | PeerAhead | FromPeer | FromClient | ClientGone | SettlementSeen | ChainSeen | Approve


# --- journal records --------------------------------------------------------------------------------------------
class AdmittedRecord(Value, frozen=True, tag=1):
    """An admitted order and the receipt given for it."""

    envelope: Envelope
    receipt: Receipt


class ListRecord(Value, frozen=True, tag=2):
    order_list: OrderList


class HeadRecord(Value, frozen=True, tag=3):
    """A head. Heads are signed anew at will and convict nobody, so this record alone need not be synced first."""

    head: Head


class VoteRecord(Value, frozen=True, tag=4):
    vote: Vote


class ProposalRecord(Value, frozen=True, tag=5):
    """A block this member votes for. With q votes for it at least f+1 honest disks hold it."""

    block: Block


class BundleRecord(Value, frozen=True, tag=6):
    """This member has released its shares of the block."""

    height: int
    block_id: bytes


class HeldRecord(Value, frozen=True, tag=7):
    """An order without a receipt of this member that its list ``list_number`` names (0: none of its lists does)."""

    envelope: Envelope
    list_number: Uint


class MutedRecord(Value, frozen=True, tag=8):
    """The journal before this one is damaged or gone."""


class ResumedRecord(Value, frozen=True, tag=9):
    """The member signs again: votes above ``floor_view``, lists under ``incarnation``."""

    floor_view: Uint
    incarnation: Uint


class OthersListRecord(Value, frozen=True, tag=10):
    """Another member's list that a block this member votes for adds."""

    order_list: OrderList


class CertificateRecord(Value, frozen=True, tag=11):
    """A certificate that moved this member on. A Byzantine signer may forget its vote: without the certificate on disk
    nobody could show, after a loss of power, why the others voted as they did. It is synced with the next vote."""

    certificate: Certificate


class HeldKeyRecord(Value, frozen=True, tag=12):
    """A key session's message that this member's list ``list_number`` names (0: none of its lists does)."""

    message: KeyMessage
    list_number: Uint


class KeyRecord(Value, frozen=True, tag=13):
    """A sharing of the threshold key, for batches from ``from_height`` on. Records after the first one may hold orders,
    which are sealed to that key."""

    certificate: KeyCertificate
    from_height: Uint


class RotationRecord(Value, frozen=True, tag=14):
    """Whom q members want to follow. Records after it may hold messages of those who join."""

    target: NextCommittee


class CommitRecord(Value, frozen=True, tag=16):
    """This member's signature over a range's order commit: it signs no other one of that epoch and height."""

    share: CommitShare


class InputsRecord(Value, frozen=True, tag=15):
    """Chain inputs that continue the queue's hash chain from ``after_hash``; ``checkpoint`` is the one of this member's
    own chain that they lead to, None where it was not told of one with them."""

    checkpoint: Checkpoint | None
    after_count: Uint
    after_hash: Hash32
    inputs: tuple[ChainInput, ...]


Record = (
    AdmittedRecord
    | ListRecord
    | HeadRecord
    | VoteRecord
    | ProposalRecord
    | BundleRecord
    | HeldRecord
    | MutedRecord
    | ResumedRecord
    | OthersListRecord
    | CertificateRecord
    | HeldKeyRecord
    | KeyRecord
    | RotationRecord
    | CommitRecord
    | InputsRecord
    | DarkAttemptRecord
)
UNBINDING: Final = (HeadRecord, CertificateRecord)
"""Records that need no sync of their own: they promise nothing that a later one could break."""


# --- effects ----------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Persist:
    """Write to the journal before anything leaves."""

    record: Record


@dataclass(frozen=True, slots=True)
class Append:
    """Append to the audit log."""

    entry: LogEntry


@dataclass(frozen=True, slots=True)
class Broadcast:
    """Send to every other member."""

    message: PeerMessage


@dataclass(frozen=True, slots=True)
class Send:
    node: int
    message: PeerMessage


@dataclass(frozen=True, slots=True)
class ServeLog:
    """Send the member a slice of this member's log, as ``asked``; the log is the shell's to read."""

    node: int
    asked: FetchLog


@dataclass(frozen=True, slots=True)
class Reply:
    client: int
    message: ClientReply


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What became of a height's orders: to be found again by :class:`Recall`, after a restart too. It is on disk before
    a snapshot that leaves the height behind."""

    height: int
    rows: tuple[ExecutedRow, ...]
    updates: tuple[ExecutedRow, ...] = ()
    """What it did to orders of earlier heights."""


@dataclass(frozen=True, slots=True)
class Recall:
    """Answer the client with the order's kept outcome and what heights after ``after_height`` did to it, or with
    ``otherwise`` where none is kept."""

    client: int
    otherwise: OrderReply
    after_height: int = 0


@dataclass(frozen=True, slots=True)
class Feed:
    """An executed height for an outside matching engine: on disk before anything of the round leaves."""

    fed: FedHeight


@dataclass(frozen=True, slots=True)
class Settle:
    """A settlement range with q signatures is ready for the chain."""

    number: int
    signed: SignedResult


@dataclass(frozen=True, slots=True)
class CommitReady:
    """The order commit of a settlement range has q signatures."""

    number: int
    signed: SignedCommit


@dataclass(frozen=True, slots=True)
class Fault:
    """A member's message broke a rule: ``code`` and text, for the operator."""

    node: int
    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """What convicts a member, verified: to be kept as a file. One per member and kind of offence."""

    node: int
    kind: str
    detail: str
    offence: Offence


@dataclass(frozen=True, slots=True)
class RolledBack:
    """This member met a signature of its own that its journal does not know: its disk is an old copy. It is muted
    already; its process should end before anything leaves, and give the data folder up as damaged."""

    detail: str


@dataclass(frozen=True, slots=True)
class KeepSecret:
    """Put a secret into the member's vault, before anything leaves."""

    name: str
    secret: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class EraseSecret:
    """Erase a secret of the vault for good, after everything else of the round; one that is not there is erased."""

    name: str


@dataclass(frozen=True, slots=True)
class RetireSecret:
    """Erase a secret of the vault as soon as all that is appended to the audit log so far is durable: until then it is
    the only way to that again."""

    name: str


Effect = (
    Persist
    | Append
    | Broadcast
    | Send
    | ServeLog
    | Reply
    | Outcomes
    | Recall
    | Feed
    | Settle
    | CommitReady
    | Fault
    | Evidence
    | RolledBack
    | KeepSecret
    | EraseSecret
    | RetireSecret
)
