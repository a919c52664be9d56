"""The audit of one member's log: every rule of the protocol, computed a second time.

It shares encodings and the sealing library with the node, and nothing of its ordering, matching, execution or key
sessions. Input are the log and the committee; with a chain's URL the settlement contract as well. Entries are taken one
after the other, so memory holds pending work, order labels and leaf hashes, not the log.

With an epoch's last block the next epoch begins here: lists, heads, key messages and blocks after it are judged by the
next committee, shares, openings and settlements by the one of their heights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from mpc_sequencer.audit.blocks import Blocks
from mpc_sequencer.audit.chain import ChainReader, check_chain, connect
from mpc_sequencer.audit.chaininputs import ChainInputs
from mpc_sequencer.audit.dark_orders import DarkParties
from mpc_sequencer.audit.dark_report import DARK_NOT_PROVABLE, dark_report
from mpc_sequencer.audit.dark_runs import DarkRuns
from mpc_sequencer.audit.envelopes import Envelopes
from mpc_sequencer.audit.epochs import Epoch, Epochs
from mpc_sequencer.audit.execution import Execution
from mpc_sequencer.audit.inputs import Inputs
from mpc_sequencer.audit.keys import Keys
from mpc_sequencer.audit.lists import Lists
from mpc_sequencer.audit.ordering import Ordering
from mpc_sequencer.audit.reader import LogReader
from mpc_sequencer.audit.receipts import Receipts
from mpc_sequencer.audit.report import NOT_PROVABLE, EpochReport, Recorder, Report, Stop
from mpc_sequencer.audit.results import Results
from mpc_sequencer.audit.reveal import Reveal
from mpc_sequencer.audit.settlement import Settlement
from mpc_sequencer.core.codec import decode
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.limits import LOG_ENTRY_BYTES_MAX
from mpc_sequencer.core.transcript import (
    BlockEntry,
    BundleEntry,
    CommitEntry,
    DarkEntry,
    DeltasEntry,
    EnvelopeEntry,
    FinalityEntry,
    GenesisEntry,
    InputsEntry,
    KeyEntry,
    ListEntry,
    LogEntry,
    OpenedEntry,
    ReceiptEntry,
    ResultEntry,
    SettledEntry,
    SettlementEntry,
    UnopenableEntry,
)

PROGRESS_ENTRIES = 64


def verify_log(
    log_dir: Path,
    committee: Committee,
    *,
    chain_url: str | None = None,
    progress: Callable[[int, int], None] | None = None,
    earlier: Sequence[bytes] = (),
) -> Report:
    """Audit the log in ``log_dir`` (the folder with ``checkpoint`` and ``tile``).

    ``progress(done, total)`` is called with numbers of entries. ``earlier`` are checkpoints of the same
    member kept from before, which the log must extend. Nothing a log holds raises; a chain that cannot be
    read raises :class:`~mpc_sequencer.settlement.errors.ChainError`.
    """
    chain = connect(chain_url, committee) if chain_url is not None else None
    return Audit(committee).run(log_dir, chain, progress, earlier)


class Audit:
    """The rules wired together, for one log. ``committee`` is what the committee file says; a key that the log
    generates stays within the audit. ``execution``, where given, is an empty one to execute with."""

    def __init__(self, committee: Committee, execution: Execution | None = None) -> None:
        self.committee = committee = committee.own()
        self.recorder = Recorder()
        self.epochs = Epochs(committee)
        genesis = committee.genesis
        self.execution = execution or Execution(
            genesis.markets, len(genesis.assets), committee.separator, genesis.fee_account, DarkParties.of(committee)
        )
        desk = self.execution.dark
        self.dark_runs = None if desk is None else DarkRuns(self.epochs, self.recorder, desk)
        self.inputs = Inputs(committee, self.recorder, self.execution)
        self.lists = Lists(self.epochs, self.recorder)
        self.envelopes = Envelopes(committee, self.epochs.current.signatures, self.recorder)
        self.keys = Keys(self.epochs, self.recorder)
        self.ordering = Ordering(committee.f, committee.q, self.inputs.bonds_wei, solid=committee.solid)
        self.blocks = Blocks(
            self.epochs,
            self.recorder,
            lists=self.lists,
            envelopes=self.envelopes,
            keys=self.keys,
            state=self.ordering,
            chain=ChainInputs(genesis, self.recorder, self.envelopes.judge),
            inputs=self.inputs,
        )
        self.reveal = Reveal(self.epochs, self.recorder, self.blocks, self.envelopes)
        self.results = Results(self.recorder, self.execution, self.reveal, self.blocks, self.epochs)
        if committee.solid is not None:
            self.results.receive_order = self.blocks.take_precedence
        self.settlement = Settlement(self.epochs, self.recorder)
        self._receipts: Receipts | None = None
        self._started = False
        self._keeper: bytes | None = None
        self._entries = 0
        self._orders = 0
        self._settlements = 0

    def run(
        self,
        log_dir: Path,
        chain: ChainReader | None,
        progress: Callable[[int, int], None] | None,
        earlier: Sequence[bytes],
    ) -> Report:
        """Audit the log and report."""
        stopped_early, desk = False, self.execution.dark
        open_counts: dict[str, int] = {}
        try:
            reader = LogReader(log_dir, self.committee, self.recorder)
            self._keeper = reader.checkpoint.log_key
            reader.verify_tiles(earlier)
            self._read(reader, progress)
            open_counts = self.finish()
            if chain is not None:
                check_chain(chain, self.epochs, self.settlement, self.recorder)
        except Stop:
            stopped_early = True
        return Report(
            verdict="fail" if self.recorder.findings else "pass",
            node=None if self._keeper is None else self.epochs.all[0].place(self._keeper),
            keeper=self._keeper,
            entries=self._entries,
            heights=self.blocks.last.height,
            orders=self._orders,
            fills=self.results.fills,
            malformed=self.results.malformed,
            settlements=self._settlements,
            epochs=tuple(_epoch_report(epoch) for epoch in self.epochs.all),
            key=self.keys.report(),
            dark=None if desk is None or self.dark_runs is None else dark_report(desk, self.dark_runs),
            checks=dict(sorted(self.recorder.checks.items())),
            open=open_counts,
            findings=tuple(self.recorder.findings),
            stopped_early=stopped_early,
            chain="not checked" if chain is None or stopped_early else "checked",
            not_provable=NOT_PROVABLE if desk is None else (*NOT_PROVABLE, *DARK_NOT_PROVABLE),
        )

    def _read(self, reader: LogReader, progress: Callable[[int, int], None] | None) -> None:
        total = reader.checkpoint.size
        for index, data in reader.entries():
            try:
                entry: LogEntry = decode(LogEntry, data, bytes_max=LOG_ENTRY_BYTES_MAX)
            except ProtocolError as error:
                self.recorder.halt("log.entry", str(error))
            self.add(entry)
            self._entries = index + 1
            if progress is not None and (index % PROGRESS_ENTRIES == 0 or index + 1 == total):
                progress(index + 1, total)
        self.recorder.entry_index = None

    def finish(self) -> dict[str, int]:
        """Judge what only the whole log shows; how many receipts and heights are still open.

        Call it once, after the last entry. Raises :class:`~mpc_sequencer.audit.report.Stop` for an empty log.
        """
        if self._receipts is None or self._keeper is None:
            self.recorder.halt("log.genesis", "the log is empty")
        self._start()
        self.envelopes.check_unopened()
        self._check_keeper(self._keeper)
        self._end_epoch(self._receipts, self._keeper)
        open_heights = self.results.open_heights()
        if self.dark_runs is not None:
            self.dark_runs.finish(open_heights=open_heights > 0)
        return {"receipts": self._receipts.finish(), "heights": open_heights}

    def _check_keeper(self, keeper: bytes) -> None:
        """The log is a member's of one of its epochs, or of somebody whom the last one has agreed to let in."""
        target = self.keys.rotation.target
        joining = () if target is None else target.members
        seen = any(epoch.place(keeper) is not None for epoch in self.epochs.all)
        if not seen and keeper not in {member.log_key for member in joining}:
            self.recorder.fail("log.keeper", f"log key {keeper.hex()}")

    def _end_epoch(self, receipts: Receipts, keeper: bytes) -> None:
        """Receipts of the current epoch are due as far as its blocks include lists."""
        node = self.epochs.current.place(keeper)
        if node is not None:
            receipts.end_epoch(self.lists.incarnation(node), self.blocks.included_lists(node))

    # --- entries ----------
    def add(self, entry: LogEntry) -> None:
        """Judge the next entry of the log."""
        if self._receipts is None:
            self._add_genesis(entry)
        elif isinstance(entry, InputsEntry):
            if self._started or self.inputs.whole:
                self._start()
                self.blocks.chain.tell(entry)
            else:
                self.inputs.add(entry)
        else:
            self._start()
            self._add(entry, self._receipts)

    def _add_genesis(self, entry: LogEntry) -> None:
        if not isinstance(entry, GenesisEntry):
            self.recorder.halt("log.genesis", f"the first entry is a {type(entry).__name__}")
        if entry.genesis != self.committee.genesis_id or self._keeper not in (None, entry.keeper):
            self.recorder.halt("log.genesis", f"genesis {entry.genesis.hex()}, log key {entry.keeper.hex()}")
        self._keeper = entry.keeper
        if self.dark_runs is not None:
            self.dark_runs.keeper = entry.keeper
        self._receipts = Receipts(self.epochs, self.recorder, entry.keeper)

    def _start(self) -> None:
        """After the last chain input: fix the genesis state."""
        if not self._started and self._receipts is not None:
            self._started = True
            self.inputs.finish()
            self.blocks.chain.start(self.inputs.all)
            self.settlement.start(self.results.start())

    def _add(self, entry: LogEntry, receipts: Receipts) -> None:
        if isinstance(entry, ListEntry):
            self.lists.add(entry.order_list)
            receipts.add_list(entry.order_list)
        elif isinstance(entry, EnvelopeEntry):
            self.envelopes.add(entry.envelope)
        elif isinstance(entry, KeyEntry):
            self.keys.add(entry.message)
        elif isinstance(entry, BlockEntry):
            self._add_block(entry, receipts)
        elif isinstance(entry, FinalityEntry):
            self.blocks.finality(entry)
        elif isinstance(entry, BundleEntry):
            self.reveal.add_bundle(entry.bundle)
            self._execute()
        elif isinstance(entry, OpenedEntry):
            self.reveal.add_opened(entry.height, entry.opened)
            self._execute()
        elif isinstance(entry, UnopenableEntry):
            self.reveal.add_unopenable(entry.height, entry.unopenable)
            self._execute()
        elif isinstance(entry, ResultEntry):
            self.results.add(entry)
        elif isinstance(entry, SettlementEntry):
            self._settlements += 1
            self.settlement.add(entry, self.blocks.certified_height)
        elif isinstance(entry, CommitEntry):
            self.settlement.commits.add(entry)
        elif isinstance(entry, DeltasEntry):
            self.settlement.add_deltas(entry)
        elif isinstance(entry, SettledEntry):
            self.settlement.add_settled(entry)
        elif isinstance(entry, ReceiptEntry):
            receipts.add(entry.receipt)
        elif isinstance(entry, DarkEntry) and self.dark_runs is not None:
            self.dark_runs.add(entry)
        elif isinstance(entry, DarkEntry):
            self.recorder.halt("dark.batch", "no market is dark")
        else:
            self.recorder.halt("log.genesis", f"a second {type(entry).__name__}")

    def _add_block(self, entry: BlockEntry, receipts: Receipts) -> None:
        block = entry.block
        self.blocks.add(block)
        self._orders += len(block.batch)
        counts, chain = self.blocks.counts, self.blocks.chain
        self.reveal.add_block(block, counts)
        self.results.certify(block.certified)
        self.settlement.add_block(block.header, counts=counts, chain=chain, last=self.blocks.ended)
        self._execute()
        if self.blocks.ended:
            self._begin_epoch(receipts)

    def _begin_epoch(self, receipts: Receipts) -> None:
        """The block is its epoch's last: the next begins on it, with the committee that q members handed over to."""
        rotation, anchor, handover = self.keys.rotation, self.blocks.last, self.ordering.handover
        outcome = rotation.outcome
        if outcome is None or handover is None or handover != rotation.expected():
            said = "nothing" if handover is None else handover.hex()
            self.recorder.halt("rotation.handover", f"q members signed {said}", height=anchor.height)
        if self._keeper is not None:
            self._end_epoch(receipts, self._keeper)
        committee = rotation.next_committee(anchor.block_id, anchor.height)
        proven_by = rotation.backers(handover)
        self.recorder.done("handover_signatures", len(proven_by))
        self.epochs.begin(committee, proven_by, outcome.sharing, outcome.attempt)
        self.lists.begin_epoch()
        self.keys.begin_epoch(self.blocks.last_time_ms)
        self.blocks.begin_epoch()

    def _execute(self) -> None:
        done = self.results.execute_open()
        for executed in done:
            self.settlement.add_executed(executed)
        if done and self.dark_runs is not None:
            self.dark_runs.judge()


def _epoch_report(epoch: Epoch) -> EpochReport:
    return EpochReport(
        epoch=epoch.number,
        first_height=epoch.first_height,
        last_height=epoch.last_height,
        members=epoch.committee.addresses,
        threshold=epoch.committee.t,
        sharing=epoch.sharing,
        attempt=epoch.attempt,
        proven_by=epoch.proven_by,
    )
