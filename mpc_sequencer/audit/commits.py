"""Rules of order commits: one per range, which says what the range's final headers say, signed by q members.

A commit names its range by the last height. It is in the log before the range's settlement, and each builds on the one
before, so the chain of commits is that of the ranges.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mpc_sequencer.audit.epochs import Epoch
from mpc_sequencer.audit.report import Recorder
from mpc_sequencer.core.transcript import CommitEntry
from mpc_sequencer.core.types import ZERO_HASH
from mpc_sequencer.settlement.payloads import ORDER_COMMIT


@dataclass(frozen=True, slots=True)
class ExpectedCommit:
    """What a closed range's headers say."""

    epoch: Epoch
    height: int
    prev_hash: bytes
    ciphertext_root: bytes
    l1_head: int
    forced_head: int

    def struct_hash(self) -> bytes:
        return ORDER_COMMIT(
            self.epoch.number, self.height, self.prev_hash, self.ciphertext_root, self.l1_head, self.forced_head
        )


@dataclass(slots=True)
class Commits:
    """The order commits of the log so far."""

    recorder: Recorder
    expected: dict[int, ExpectedCommit] = field(default_factory=dict)
    """By last height of the range."""
    seen: set[int] = field(default_factory=set)
    last_hash: bytes = ZERO_HASH
    """Struct hash of the last closed range's commit."""

    def close(self, epoch: Epoch, height: int, ciphertext_root: bytes, l1_head: int, forced_head: int) -> None:
        """A range has ended."""
        expected = ExpectedCommit(epoch, height, self.last_hash, ciphertext_root, l1_head, forced_head)
        self.expected[height] = expected
        self.last_hash = expected.struct_hash()

    def add(self, entry: CommitEntry) -> None:
        """Judge a signed order commit."""
        commit = entry.commit
        height = commit.height
        expected = self.expected.get(height)
        if expected is None:
            return self.recorder.fail("commit.range", f"height {height} ends no range", height=height)
        if height in self.seen:
            return self.recorder.fail("commit.repeated", f"height {height}", height=height)
        self.seen.add(height)
        self.recorder.done("commits")
        self.recorder.done("commit_signatures", len(entry.signatures))
        problem = expected.epoch.signatures.check_quorum(entry.signatures, commit.struct_hash())
        for code, seen, wanted in (
            ("epoch", str(commit.epoch), str(expected.epoch.number)),
            ("prev_hash", commit.prev_hash.hex(), expected.prev_hash.hex()),
            ("ciphertext_root", commit.ciphertext_root.hex(), expected.ciphertext_root.hex()),
            ("l1_head", str(commit.l1_head), str(expected.l1_head)),
            ("forced_head", str(commit.forced_head), str(expected.forced_head)),
        ):
            if seen != wanted:
                signed = "q members signed it" if problem is None else "q members did not sign it"
                return self.recorder.fail(f"commit.{code}", f"{seen}, expected {wanted}; {signed}", height=height)
        if problem is not None:
            self.recorder.fail(f"commit.{problem[0]}", problem[1], height=height)
        return None
