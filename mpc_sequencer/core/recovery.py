"""What a member knows of itself after a crash: its snapshot, its journal since, and its audit log since.

Order of recovery, each step on top of the one before:

1. *snapshot*: the state after a final block, the market, open ranges, final batches not executed yet, and in
   ``records`` what of the journal before it still matters;
2. *journal* records since the snapshot: own lists, receipts and the open list, own votes, blocks voted for. The journal
   is synced before anything it says has left, so a member that has taken it in never signs against what it signed;
3. *log* entries since the snapshot: the final blocks, derived again (:mod:`mpc_sequencer.core.replay`). What the member
   then appends and the log holds already is passed over by :class:`Relog`;
4. *peers*: later blocks by certificates, like any member that lags (:mod:`mpc_sequencer.core.catchup`).

Only step 2 matters for safety: without 1, 3 and 4 a member is late, not wrong. A snapshot is taken between two rounds
of the shell, when every effect so far is carried out; the shell makes the audit log durable up to it before it writes
the snapshot, and drops older records after it (:mod:`mpc_sequencer.node.storage`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated, Final, Literal

from msgspec import Meta

from mpc_sequencer.core.chain import Finality
from mpc_sequencer.core.codec import decode, encode
from mpc_sequencer.core.darkside import DarkAttemptRecord
from mpc_sequencer.core.effects import (
    AdmittedRecord,
    Append,
    Broadcast,
    CertificateRecord,
    CommitReady,
    CommitRecord,
    Effect,
    HeldKeyRecord,
    HeldRecord,
    InputsRecord,
    KeyRecord,
    ListRecord,
    MutedRecord,
    OthersListRecord,
    ProposalRecord,
    Recall,
    Record,
    Reply,
    ResumedRecord,
    RotationRecord,
    Send,
    ServeLog,
    Settle,
    VoteRecord,
)
from mpc_sequencer.core.execution import ExecutionValue
from mpc_sequencer.core.finalized import open_batch
from mpc_sequencer.core.keygen import KeySessionsValue
from mpc_sequencer.core.messages import CommitShare, SettlementShare
from mpc_sequencer.core.ordering.value import PositionsRow, StateValue, state_of, value_of
from mpc_sequencer.core.replay import Replay
from mpc_sequencer.core.status import BoardValue
from mpc_sequencer.core.succession import SuccessionValue
from mpc_sequencer.core.transcript import ChainInput, ReceiptEntry
from mpc_sequencer.core.types import (
    FINALIZE,
    Block,
    BlockHeader,
    Certificate,
    EpochStart,
    Hash32,
    KeyPayload,
    NodeIndex,
    PlaceIndex,
    Uint,
    Value,
)
from mpc_sequencer.settlement.range_values import RangesValue

if TYPE_CHECKING:
    from mpc_sequencer.core.node import NodeCore

SNAPSHOT_BYTES_MAX: Final = 1 << 30
BATCHES_OPENING_MAX: Final = 16


class FinalityValue(Value, frozen=True):
    """A final batch that is not executed yet."""

    block: Block
    certificate: Certificate
    path: tuple[BlockHeader, ...]
    positions: tuple[PositionsRow, ...]
    taken: tuple[ChainInput, ...]
    words: tuple[tuple[NodeIndex, KeyPayload], ...]


class Snapshot(Value, frozen=True):
    """A member's state between two rounds; only that member reads it."""

    version: Literal[1]
    genesis: Hash32
    node: PlaceIndex
    time_ms: Uint
    ordering: StateValue
    block: Block | None
    """The final block; None at genesis."""
    certificate: Certificate | None
    """The latest finalization known."""
    unexecuted: tuple[FinalityValue, ...]
    execution: ExecutionValue
    ranges: RangesValue
    board: BoardValue
    keys: KeySessionsValue
    succession: SuccessionValue
    starts: tuple[EpochStart, ...]
    """How this epoch and those before it, but for the first, began."""
    farewell: tuple[SettlementShare | CommitShare, ...]
    logged: tuple[Hash32, ...]
    """Signature variants of held orders that are in the log, by envelope hash."""
    records: Annotated[tuple[Record, ...], Meta(max_length=1 << 24)]


def dump(core: NodeCore) -> tuple[bytes, int | None]:
    """The snapshot, and the first height of which the log's entries are needed beside it (None: what follows)."""
    unexecuted = _unexecuted(core)
    entry = core.chain.entry(core.chain.final_id)
    kept = core.pool.kept(core.execution.executed_height)
    snapshot = Snapshot(
        version=1,
        genesis=core.committee.genesis_id,
        node=core.node,
        time_ms=core.now_ms,
        ordering=value_of(core.chain.final_state),
        block=entry.block if entry is not None else None,
        certificate=core.simplex.final_certificate(),
        unexecuted=tuple(
            FinalityValue(
                one.block, one.certificate, one.path, tuple(sorted(one.positions.items())), one.taken, one.words
            )
            for one in unexecuted
        ),
        execution=core.execution.dump(),
        ranges=core.ranges.dump(),
        board=core.board.dump(core.reveal.malformed),
        keys=core.keygen.dump(),
        succession=core.succession.dump(),
        starts=core.committee.starts,
        farewell=core.farewell,
        logged=tuple(sorted(variant for pooled in kept for variant in pooled.logged)),
        records=tuple(_records(core)),
    )
    return encode(snapshot), unexecuted[0].height if unexecuted else None


def _unexecuted(core: NodeCore) -> list[Finality]:
    """Final batches above the executed height, ascending."""
    return sorted([*core.execution.finals(), *core.reveal.finals()], key=lambda one: one.height)


def _records(core: NodeCore) -> Iterable[Record]:
    """The journal that would lead to the member's statements of now."""
    for _, sharing in sorted(core.committee.sharings.items()):
        if sharing.certificate is not None:
            yield KeyRecord(sharing.certificate, sharing.from_height)
    standing = core.standing.record()
    if standing is not None:
        yield standing
    yield from core.chain_view.records()
    yield from _held_orders(core)
    for held in core.keybook.kept():
        yield HeldKeyRecord(held.message, held.list_number)
    if core.node >= core.committee.n:
        return  # an observer signs nothing that a record could keep it to
    final_number, _ = core.chain.final_state.last_lists[core.node]
    held_through, _ = core.lists.held_through(core.node)
    for order_list, _ in core.lists.between(core.node, final_number, held_through) or ():
        yield ListRecord(order_list)
    for block in core.chain.above_final():
        yield from _rests_on(core, block)
    for certificate in core.simplex.kept_certificates():
        yield CertificateRecord(certificate)
    for vote in core.simplex.kept_votes():
        yield VoteRecord(vote)
    for share in core.ranges.own_commits():
        yield CommitRecord(share)
    if core.dark_voice is not None:
        yield from core.dark_voice.runs.records()


def _held_orders(core: NodeCore) -> Iterator[Record]:
    """The orders that are wanted still, with the receipts given for them; one of an earlier epoch names a list of that
    epoch."""
    for pooled in core.pool.kept(core.execution.executed_height):
        for variant in pooled.variant_order:
            envelope, receipt = pooled.variants[variant], pooled.receipt
            if receipt is not None:
                yield AdmittedRecord(envelope, receipt)
            if receipt is None or receipt.epoch != core.committee.epoch:
                yield HeldRecord(envelope, pooled.list_number)


def support(core: NodeCore, block: Block) -> Iterator[Record]:
    """What must be on disk before a notarize vote for an accepted block: all that deriving it again takes."""
    entry = core.chain.entry(block.header.block_id())
    assert entry is not None, "a member votes for what it has accepted"
    for order_id in dict.fromkeys((*entry.lifted, *(one.order_id for one in block.batch))):  # in an order of its own
        pooled = core.pool.get(order_id)
        if pooled is not None and not pooled.on_disk:
            pooled.on_disk = True
            yield from (HeldRecord(envelope, 0) for envelope in pooled.variants.values())
        held = core.keybook.get(order_id)
        if held is not None and not held.on_disk:
            held.on_disk = True
            yield HeldKeyRecord(held.message, 0)
    for one in block.batch:  # a leader may name a variant that came after the one on disk
        pooled = core.pool.get(one.order_id)
        if pooled is not None and one.envelope_hash != pooled.first_variant():
            yield HeldRecord(pooled.variants[one.envelope_hash], 0)
    yield from core.chain_view.support(entry.state.chain)
    yield from _rests_on(core, block)


def _rests_on(core: NodeCore, block: Block) -> Iterator[Record]:
    """Others' lists that a kept block adds, and the block."""
    entry = core.chain.entry(block.header.block_id())
    for order_list in entry.lists if entry is not None else ():
        if order_list.node != core.node:
            yield OthersListRecord(order_list)
    yield ProposalRecord(block)


def restore(core: NodeCore, snapshot: bytes | None, journal: Iterable[bytes], now_ms: int) -> None:
    """Bring a fresh core to where its snapshot and journal leave it. Raises ``ValueError`` (a ProtocolError where
    bytes do not decode) or ThresholdError where they are not this member's own."""
    core.now_ms = now_ms
    taken = None if snapshot is None else _decode(core, snapshot)
    open_ids: dict[bytes, int] = {}
    if taken is None:
        core.open_log()
    else:
        core.log_opened = True
        _restore_state(core, taken)
        for record in taken.records:
            _recall(core, record, open_ids, now_ms)
    for data in journal:
        told: Record = decode(Record, data)
        _recall(core, told, open_ids, now_ms)
        if isinstance(told, AdmittedRecord):
            core.effects.append(Append(ReceiptEntry(told.receipt)))
    for order_id, number in open_ids.items():
        if number > core.own_lists.number:
            core.own_lists.add(order_id)
    if taken is not None:
        _restore_batches(core, taken, now_ms)
        core.keygen.restore(taken.keys)


def _decode(core: NodeCore, data: bytes) -> Snapshot:
    snapshot: Snapshot = decode(Snapshot, data, bytes_max=SNAPSHOT_BYTES_MAX)
    if (snapshot.genesis, snapshot.node) != (core.committee.genesis_id, core.node):
        raise ValueError("the snapshot is another member's or another deployment's")
    return snapshot


def _restore_state(core: NodeCore, taken: Snapshot) -> None:
    state = state_of(taken.ordering)
    core.chain.restore(state, taken.block)
    core.bonds_wei.update(state.bonded_wei)
    core.lists.restore(state.last_lists, state.incarnations)
    if core.node < core.committee.n:
        core.own_lists.begin(state.incarnations[core.node])
        core.own_lists.number, core.own_lists.hash = state.last_lists[core.node]
    core.succession.restore(taken.succession)
    core.farewell = taken.farewell
    core.execution.restore(taken.execution)
    core.board.restore(taken.board)
    core.reveal.malformed = taken.board.malformed
    core.reveal.restore(state.height)
    commits, results = core.ranges.restore(taken.ranges)
    core.effects += [CommitReady(number, signed) for number, signed in commits]
    core.effects += [Settle(number, signed) for number, signed in results]
    if taken.certificate is not None:
        core.simplex.recall_final(taken.certificate)
        if taken.certificate.block_id != state.block_id:
            core.pend_final(taken.certificate)


def _recall(core: NodeCore, record: Record, open_ids: dict[bytes, int], now_ms: int) -> None:
    """Take one record in."""
    match record:
        case AdmittedRecord(envelope, receipt) if receipt.epoch != core.committee.epoch:
            core.pool.recall(envelope, now_ms, 0, receipt)
        case AdmittedRecord(envelope, receipt):
            core.pool.recall(envelope, now_ms, receipt.list_number, receipt)
            open_ids.setdefault(receipt.order_id, receipt.list_number)
        case HeldRecord(envelope, list_number):
            core.pool.recall(envelope, now_ms, list_number, None)
            if list_number:  # held for a block only, it may have been listed later
                open_ids.setdefault(envelope.order_id(), list_number)
        case HeldKeyRecord(message, list_number):
            core.keybook.add(message, needed=True).on_disk = True
            if list_number:
                core.keybook.note_listed(message.message_id(), list_number)
                open_ids.setdefault(message.message_id(), list_number)
        case KeyRecord(certificate, from_height):
            core.keygen.know(certificate, from_height)
        case InputsRecord():
            core.chain_view.recall(record)
        case RotationRecord(target):
            core.succession.admit(target)
        case OthersListRecord(order_list):
            core.lists.recall(order_list)
        case ListRecord(order_list):
            list_hash = core.own_lists.recall(order_list)
            core.lists.add_own(order_list, list_hash)
        case VoteRecord(vote):
            core.simplex.recall_vote(vote)
        case CertificateRecord(certificate):
            core.simplex.recall_certificate(certificate)
            if certificate.kind == FINALIZE and certificate.view == core.simplex.final_view:
                core.pend_final(certificate)
        case MutedRecord() | ResumedRecord():
            core.standing.recall(record)
        case CommitRecord(share) if share.commit.epoch == core.committee.epoch:
            core.ranges.recall_commit(share)
        case DarkAttemptRecord() if core.dark_voice is not None:
            core.dark_voice.runs.recall(record)
        case ProposalRecord(block):
            core.peers.hold_block(block, core.node)
        case _:
            pass  # heads and bundles are made anew and bind to nothing


def _restore_batches(core: NodeCore, taken: Snapshot, now_ms: int) -> None:
    """The final batches that are to be opened, and what their orders and sponsors were charged."""
    logged = set(taken.logged)
    for pooled in core.pool.kept(0):
        pooled.logged.update(logged.intersection(pooled.variants))
    for one in taken.unexecuted:
        parts = (one.block, one.certificate, one.path, dict(one.positions), one.taken, one.words)
        open_batch(core, Finality(one.block.header.block_id(), *parts), now_ms)
    core.pool.charged_wei = dict(taken.ordering.charged_wei)


def recover(
    core: NodeCore,
    snapshot: bytes | None,
    journal: Iterable[bytes],
    log: Iterable[bytes],
    now_ms: int,
    *,
    damaged: bool = False,
) -> list[Effect]:
    """All of a member's own recovery (steps 1 to 3) on a fresh core; what is to be kept, appended or settled. Nothing
    is sent: peers ask for what they miss. ``damaged``: an earlier journal is lost, so the member is muted. Raises like
    :func:`restore`, and ProtocolError or ThresholdError where the log does not follow from itself."""
    if damaged:
        core.standing.mute()
    restore(core, snapshot, journal, now_ms)
    return take_up_log(core, iter(log), now_ms)


def take_up_log(core: NodeCore, log: Iterator[bytes], now_ms: int) -> list[Effect]:
    """Step 3 of a recovery. Where the epoch is over before the log is (the snapshot was lost, and the log is whole) the
    rest of ``log`` is for the next epoch's core. Raises like :func:`recover`."""
    replay = Replay(core, own=True)
    effects: list[Effect] = []
    while not core.over and (data := next(log, None)) is not None:
        replay.feed(data, now_ms)
        while core.has_work() and (core.chain.ended or core.reveal.pending() > BATCHES_OPENING_MAX):
            effects += core.work(now_ms)  # the epoch is over once its batches are open: what follows is the next one's
    while core.has_work():
        effects += core.work(now_ms)
    effects += core.collect()
    return [one for one in effects if not isinstance(one, Broadcast | Send | Reply | Recall | ServeLog)]


class Relog:
    """Passes over what the audit log holds already when a recovering member appends it again."""

    def __init__(self, held: Iterable[tuple[object, ...]]) -> None:
        self._held = Counter(held)

    def is_news(self, key: tuple[object, ...]) -> bool:
        """Whether an entry of that key is to be appended; each one held is passed over once."""
        if key not in self._held:
            return True
        self._held[key] -= 1
        if not self._held[key]:
            del self._held[key]
        return False

    def __bool__(self) -> bool:
        return bool(self._held)
