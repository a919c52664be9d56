"""Taking an audit log in: how a member goes on from its own log after a stop, and from a peer's where it is behind.

The log is a certified transcript, so it needs no trust: each final block comes with its lists, the bodies it lifts and
the certificate, and is derived again from its parent like any proposal; bundles are verified as if their senders had
just sent them, and execution follows from them. What does not follow is refused (``log.*`` or the code of the check
that failed), and the core is left as it was before that block.

Entries of one block are gathered until its finality; their bytes are bounded by BLOCK_BYTES_MAX, so that an endless
log of bodies costs its sender the connection and nobody memory.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from mpc_sequencer.core.agreement import Accepted, Rejected
from mpc_sequencer.core.codec import decode
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.evidence import check_certified
from mpc_sequencer.core.finalized import on_final
from mpc_sequencer.core.limits import LOG_ENTRY_BYTES_MAX
from mpc_sequencer.core.messages import CommitShare, SettlementShare
from mpc_sequencer.core.transcript import (
    BlockEntry,
    BundleEntry,
    ChainInput,
    CommitEntry,
    EnvelopeEntry,
    FinalityEntry,
    InputsEntry,
    KeyEntry,
    ListEntry,
    LogEntry,
    SettledEntry,
    SettlementEntry,
)
from mpc_sequencer.core.types import Block, Envelope, KeyMessage, OrderList
from mpc_sequencer.settlement.claims import ResultClaim

if TYPE_CHECKING:
    from mpc_sequencer.core.node import NodeCore

BLOCK_BYTES_MAX: Final = 256 << 20


class Replay:
    """Feeds the entries of one log, in its order, to a core. ``own``: the log is this member's."""

    def __init__(self, core: NodeCore, *, own: bool) -> None:
        self._core = core
        self._own = own
        self._clear()

    def _clear(self) -> None:
        self._bytes = 0
        self._lists: dict[bytes, OrderList] = {}
        self._bodies: dict[bytes, Envelope | KeyMessage] = {}
        self._inputs: list[InputsEntry] = []
        self._block: Block | None = None

    def feed(self, data: bytes, now_ms: int) -> None:
        """Take one entry. Raises ProtocolError or ThresholdError."""
        entry: LogEntry = decode(LogEntry, data, bytes_max=LOG_ENTRY_BYTES_MAX)
        core = self._core
        if self._is_of_another_epoch(entry):
            return
        match entry:
            case InputsEntry() | ListEntry() | EnvelopeEntry() | KeyEntry() | BlockEntry():
                self._gather(entry, len(data))
            case FinalityEntry():
                try:
                    self._final(entry, now_ms)
                finally:
                    self._clear()
            case BundleEntry(bundle):
                core.committee.check_member(bundle.node, "Bundle.node")
                # this member's own is made again, unless its share is erased by now
                if bundle.node != core.node or core.reveal.is_past(bundle.height):
                    self._apart(bundle.node, partial(core.reveal.on_bundle, bundle, None))
            case SettlementEntry():
                for share in _shares(entry, core.committee.epoch):
                    self._apart(share.node, partial(core.ranges.on_share, share))
                core.publisher.settle()
            case CommitEntry(commit, signatures):
                for node, signature in signatures:
                    one = CommitShare(commit, node, signature)
                    self._apart(node, partial(core.ranges.on_commit, one))
                core.publisher.settle()
            case SettledEntry(last_height, _, gas_used) if self._own:
                core.board.settled(last_height, gas_used)
                core.ranges.settled(last_height)
            case _:
                pass  # what follows from the rest is made again, not read

    def _is_of_another_epoch(self, entry: LogEntry) -> bool:
        """Whether this core has nothing to learn of an entry: the epoch before is behind it, the next one is another
        core's."""
        core = self._core
        match entry:
            case InputsEntry() | ListEntry() | EnvelopeEntry() | KeyEntry() | BlockEntry() | FinalityEntry():
                return core.chain.ended
            case BundleEntry(bundle):
                return bundle.epoch != core.committee.epoch
            case SettlementEntry(last_height=last_height):
                after = core.chain.ended and last_height > core.chain.final_height
                return after or last_height <= core.committee.anchor_height
            case CommitEntry(commit):
                return commit.epoch != core.committee.epoch
            case _:
                return False

    def _apart(self, node: int, take: Callable[[], object]) -> None:
        """Take what ``node`` signed. Where it contradicts what is held of that member, the member is to blame: the
        log's keeper saw the other half only, and the log goes on."""
        try:
            take()
        except ProtocolError as error:
            if error.offence is None:
                raise
            self._core.blame(node, error)

    def _gather(self, entry: InputsEntry | ListEntry | EnvelopeEntry | KeyEntry | BlockEntry, size: int) -> None:
        self._bytes += size
        if self._bytes > BLOCK_BYTES_MAX:
            raise ProtocolError("log.size", "entries of one block", self._bytes, f"at most {BLOCK_BYTES_MAX} bytes")
        match entry:
            case InputsEntry():
                self._inputs.append(entry)
            case ListEntry(order_list):
                self._lists[order_list.struct_hash()] = order_list
            case EnvelopeEntry(envelope):
                order_id = envelope.order_id()
                self._bodies.setdefault(order_id, envelope)
                self._bodies[envelope.envelope_hash(order_id)] = envelope
            case KeyEntry(message):
                self._bodies[message.message_id()] = message
            case BlockEntry(block):
                self._block = block

    def _final(self, entry: FinalityEntry, now_ms: int) -> None:
        core, block = self._core, self._block
        if block is None or block.header.block_id() != entry.block_id:
            raise ProtocolError("log.order", "FinalityEntry.block_id", entry.block_id, "the block before it")
        if block.header.height <= core.chain.final_height:
            return
        if block.header.parent_id != core.chain.final_id:
            expected = f"{core.chain.final_height + 1}, on the last block"
            raise ProtocolError("log.gap", "BlockHeader.height", block.header.height, expected)
        check_certified(entry.block_id, entry.certificate, entry.path, core.committee)
        self._accept(block, now_ms)
        final = core.chain.finalize(entry.block_id, entry.certificate, entry.path)
        core.fetcher.got_block(entry.block_id)
        core.arrivals += 1
        for one in final or ():
            on_final(core, one, now_ms)
        core.keygen.drain()  # orders of the next block may be sealed to the key that this one gives
        if not entry.path:
            core.simplex.recall_final(entry.certificate)

    def _accept(self, block: Block, now_ms: int) -> None:
        """Keep the block; lists and bodies it needs come from the entries before it."""
        core = self._core
        if not self._own:
            core.standing.seen_block(block)
        core.chain.take_needs()
        while not isinstance(verdict := core.chain.check(block, None), Accepted):
            if isinstance(verdict, Rejected):
                raise verdict.error
            needs = core.chain.take_needs()
            given = sum(self._give_list(list_hash) for _, _, _, list_hash in needs.lists)
            given += sum(self._give_body(key, now_ms) for key in needs.bodies)
            given += sum(self._give_inputs(count, inputs_hash) for count, inputs_hash in needs.inputs)
            if not given:
                raise ProtocolError("log.incomplete", "Block", block.header.height, "its lists and bodies before it")

    def _give_list(self, list_hash: bytes) -> int:
        """Hand over the list of that hash and those before it that are awaited too, newest first: each names the next.
        One that is held is not handed over again: its author may have signed another of that number."""
        given = 0
        while (one := self._lists.pop(list_hash, None)) is not None and self._core.lists.wants(one):
            self._core.lists.add(one)
            given += 1
            list_hash = one.prev_hash
        return given

    def _give_inputs(self, count: int, inputs_hash: bytes) -> int:
        """Hand over the inputs that lead from the last block's checkpoint to that hash, of a queue of ``count``. The
        log has none of before; those behind may be held already, for a peer serves the newest first."""
        before = self._core.chain.final_state.chain.checkpoint
        entries = [entry for entry in self._inputs if entry.first_index >= before.inputs_count]
        inputs: list[ChainInput] = []
        for entry in entries:
            expected = before.inputs_count + len(inputs)
            if entry.first_index != expected:
                raise ProtocolError("log.order", "InputsEntry.first_index", entry.first_index, expected)
            inputs += entry.inputs
        self._inputs = []
        behind = inputs[max(0, count - before.inputs_count) :]
        del inputs[len(inputs) - len(behind) :]
        if not inputs:
            return 0
        if not self._core.chain_view.holds(behind, inputs_hash):
            raise ProtocolError("chain.inputs", "InputsEntry.inputs", f"{len(behind)} after {count}", "those held")
        self._core.chain_view.add(inputs, before.inputs_count, before.inputs_hash, inputs_hash)
        self._core.fetcher.got_inputs(inputs_hash)
        return 1

    def _give_body(self, key: bytes, now_ms: int) -> int:
        body = self._bodies.pop(key, None)
        if body is None:
            return 0
        if isinstance(body, KeyMessage):
            self._core.keybook.add(body, message_id=key, needed=True)
        else:
            self._core.pool.fetched(body, now_ms, needed=True)
        self._core.fetcher.got_body(key)
        return 1


def _shares(entry: SettlementEntry, epoch: int) -> list[SettlementShare]:
    """The signatures of a settled range as their members sent them."""
    claim = ResultClaim(
        epoch=epoch,
        first_height=entry.first_height,
        last_height=entry.last_height,
        prev_state_root=entry.prev_state_root,
        state_root=entry.state_root,
        fills_root=entry.fills_root,
        data_hash=entry.data_hash,
        inputs_count=entry.inputs_count,
        inputs_hash=entry.inputs_hash,
        deltas_hash=entry.deltas_hash,
    )
    return [SettlementShare(claim, node, signature) for node, signature in entry.signatures]
