"""Rules of the transcripts of dark batches' computations in a log (docs/dark.md, "What an auditor can check").

A transcript is what the log's keeper counted: messages of members, each under its author's signature, so its finding of
a liar rests on the liar's own word. It is of a batch that the log asks to be computed, and of just that computation. It
is replayed once its batch has ended: what it leads to is what its keeper has said in the log, and what the batch was
settled by.

A member that takes no part, or has lost its part in a restart, has no transcript, and one whose computation came to
nothing has one that leads to nothing: that is told, and no finding. Neither is a liar: it is told as well.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from mpc_sequencer.audit.dark import DarkDesk
from mpc_sequencer.audit.dark_outcomes import replayed
from mpc_sequencer.audit.dark_state import Computed
from mpc_sequencer.audit.epochs import Epochs
from mpc_sequencer.audit.report import Recorder
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.transcript import DarkEntry
from mpc_sequencer.dark.errors import Undecodable
from mpc_sequencer.dark.messages import OutcomeValue
from mpc_sequencer.dark.program import ProgramFault
from mpc_sequencer.dark.signed import SignedTranscript, joined, shares_of
from mpc_sequencer.dark.transcript import TRANSCRIPT_BYTES_MAX


@dataclass(slots=True)
class RunTally:
    """Of one market: batches that were to be computed and are over, and what the log's transcripts led to."""

    computed: int = 0
    replayed: int = 0
    fruitless: int = 0
    """Transcripts that lead to no outcome: their keeper's computation came to nothing."""


class DarkRuns:
    """The transcripts of the log. :meth:`judge` after each height, :meth:`finish` at the log's end."""

    def __init__(self, epochs: Epochs, recorder: Recorder, desk: DarkDesk) -> None:
        self.keeper: bytes | None = None
        """The key that signs the log."""
        self._epochs = epochs
        self._recorder = recorder
        self._desk = desk
        self._parts: list[DarkEntry] = []
        self._bytes = 0
        self._waiting: dict[tuple[int, int, int], tuple[SignedTranscript, int | None]] = {}
        """By (market, epoch, batch): transcripts whose batch has not ended, with the entry they end at."""
        self.tallies = {market: RunTally() for market in desk.books}
        self.liars: Counter[tuple[int, int, int, int]] = Counter()
        """By (market, epoch, batch, party)."""

    # --- entries ----------
    def add(self, entry: DarkEntry) -> None:
        """Take a part of a transcript. One that a crash cut off is followed by the first part of another."""
        if entry.part == 0:
            self._parts, self._bytes = [], 0
        if entry.part != len(self._parts):
            self._fail("dark.part", entry, f"part {entry.part} of {entry.parts} after {len(self._parts)}")
            return
        self._parts.append(entry)
        self._bytes += len(entry.data)
        if self._bytes > TRANSCRIPT_BYTES_MAX:
            self._fail("dark.transcript", entry, f"more than {TRANSCRIPT_BYTES_MAX} bytes")
            self._parts, self._bytes = [], 0
        elif len(self._parts) == entry.parts:
            parts, self._parts, self._bytes = self._parts, [], 0
            self._take(entry, parts)

    def _take(self, entry: DarkEntry, parts: list[DarkEntry]) -> None:
        """A transcript is whole: its messages are signed, and of members."""
        name = entry.market, entry.epoch, entry.batch
        self._recorder.done("dark_transcripts")
        try:
            transcript = joined(parts)
            transcript.plain()
        except ProtocolError as error:
            self._fail("dark.transcript", entry, str(error))
            return
        if entry.market not in self.tallies or name in self._waiting:
            self._fail("dark.batch", entry, "of no dark market, or a second one")
        elif self._signed(entry, transcript):
            self._waiting[name] = transcript, self._recorder.entry_index
            self.judge()

    def _signed(self, entry: DarkEntry, transcript: SignedTranscript) -> bool:
        """Whether all messages are signed by their members; a finding where not."""
        epoch = self._epochs.numbered(entry.epoch)
        if epoch is None:
            self._fail("dark.batch", entry, "of an epoch that the log does not lead to")
            return False
        for one in transcript.said:
            self._recorder.done("dark_messages")
            shares = shares_of(transcript.session_id, one.party, one.round, one.payload, one.signature)
            if not epoch.signatures.is_members(one.party, shares.struct_hash(), one.signature):
                self._fail("dark.signature", entry, f"member {one.party}, round {one.round}")
                return False
        return True

    def _fail(self, code: str, entry: DarkEntry, detail: str) -> None:
        self._recorder.fail(code, f"{_named(entry.market, entry.epoch, entry.batch)}: {detail}")

    # --- batches ----------
    def judge(self) -> None:
        """Judge the transcripts whose batches have ended since."""
        for market, epoch, batch in list(self._waiting):
            computed = self._desk.books[market].computed.get((epoch, batch))
            if computed is not None and computed.over:
                self._judge((market, epoch, batch), computed)

    def finish(self, *, open_heights: bool) -> None:
        """The log ends: judge what is left. Where it ends with ``open_heights``, batches may be missing that its keeper
        knew."""
        for name in list(self._waiting):
            market, epoch, batch = name
            computed = self._desk.books[market].computed.get((epoch, batch))
            if computed is not None:
                self._judge(name, computed)
            elif not open_heights:
                self._recorder.fail("dark.batch", f"{_named(*name)}: not computed in this log")
        for market, book in self._desk.books.items():
            self.tallies[market].computed += sum(one.over for one in book.computed.values())

    def _judge(self, name: tuple[int, int, int], computed: Computed) -> None:
        market, epoch, batch = name
        transcript, index = self._waiting.pop(name)
        before, self._recorder.entry_index = self._recorder.entry_index, index
        try:
            self._replay(name, transcript, computed)
        finally:
            self._recorder.entry_index = before
        if computed.over:
            del self._desk.books[market].computed[epoch, batch]
            self.tallies[market].computed += 1

    def _replay(self, name: tuple[int, int, int], transcript: SignedTranscript, computed: Computed) -> None:
        market, epoch, batch = name
        expected, participants = computed.computation.session_id, computed.computation.participants
        if transcript.session_id != expected:
            detail = f"session {transcript.session_id.hex()}, expected {expected.hex()}"
            self._recorder.fail("dark.session", f"{_named(*name)}: {detail}")
            return
        strangers = {one.party for one in transcript.said} - set(participants)
        if strangers:
            self._recorder.fail("dark.transcript", f"{_named(*name)}: {sorted(strangers)} take no part")
            return
        outcome: OutcomeValue | None = None
        liars: frozenset[int] = frozenset()
        nothing = ""
        try:
            outcome, liars = replayed(computed.computation, transcript.plain())
        except (Undecodable, ProgramFault) as error:
            nothing = str(error)
        except ProtocolError as error:
            nothing = str(error)
            if not error.field.startswith("round "):  # else it ends before the computation does
                self._recorder.fail("dark.transcript", f"{_named(*name)}: {error}")
                return
        else:
            self._recorder.done("dark_replays")
        tally = self.tallies[market]
        tally.replayed += outcome is not None
        tally.fruitless += outcome is None
        if self._is_what_was_said(name, computed, outcome, nothing):
            for party in liars:
                self.liars[market, epoch, batch, party] += 1

    def _is_what_was_said(
        self, name: tuple[int, int, int], computed: Computed, outcome: OutcomeValue | None, nothing: str
    ) -> bool:
        """Whether a transcript leads to what its keeper said, and to what was decided; a finding where not."""
        said = computed.said.get(self._keeper(name[1]))
        if outcome is None and said is not None:
            detail = f"leads to nothing, and its keeper said an outcome: {nothing}"
        elif outcome is not None and (said not in (None, outcome) or computed.decided not in (None, outcome)):
            detail = "another outcome than was said or decided"
        else:
            return True
        self._recorder.fail("dark.outcome", f"{_named(*name)}: {detail}")
        return False

    def _keeper(self, number: int) -> int:
        """The keeper's index in an epoch; -1 where it has none."""
        epoch = self._epochs.numbered(number)
        place = None if epoch is None or self.keeper is None else epoch.place(self.keeper)
        return -1 if place is None else place


def _named(market: int, epoch: int, batch: int) -> str:
    return f"market {market}, epoch {epoch}, batch {batch}"
