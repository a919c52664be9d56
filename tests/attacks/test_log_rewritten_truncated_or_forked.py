"""Attack: a member bends its audit log: it leaves out or changes what was written, cuts off the end, or shows one
auditor another log than the next.

The log is a Merkle tree under checkpoints that the member signs. What is not under a checkpoint is found at once; what
the member signed anew is found by the rules (a log is a function of its blocks) or by whoever kept an earlier
checkpoint, against which every log is held.

Evidence: `log-fork`: two checkpoints of one size and different roots; a log that was only cut off is found with an
earlier checkpoint (`log.forked`), and convicts once it has grown to that size again.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import msgspec
import pytest
from core_kit import refused, submit
from evidence_kit import evidence_left
from nacl.signing import SigningKey

from mpc_sequencer.audit import verify_log
from mpc_sequencer.core.codec import encode
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.evidence import decode_file, encode_file, verify, verify_file
from mpc_sequencer.core.offences import LogFork
from mpc_sequencer.core.transcript import BlockEntry, ListEntry, LogEntry, ReceiptEntry
from mpc_sequencer.sim import Cluster, Deployment, make_deployment
from tests.audit.log_files import hash_leaf, signed_note, write_log

LIAR = 1
KEYS = tuple(SigningKey(bytes((i,)) * 32) for i in range(1, 5))


@cache
def run() -> tuple[Deployment, tuple[LogEntry, ...]]:
    """A deployment whose log keys are known here, and the log of member LIAR after a while of honest work."""
    d = make_deployment(4)
    members = tuple(
        msgspec.structs.replace(one, log_key=bytes(key.verify_key))
        for one, key in zip(d.committee.genesis.members, KEYS, strict=True)
    )
    d = Deployment(
        Committee(msgspec.structs.replace(d.committee.genesis, members=members)),
        d.signers, d.shares, d.inputs, d.traders, d.seed,
    )  # fmt: skip
    cluster = Cluster(d)
    for turn in range(6):
        submit(cluster, LIAR, *(d.order(d.traders[i], cluster.now_ms, side=1 + (turn + i) % 2) for i in range(2)))
        cluster.run(150)
    cluster.run(3_000)
    assert evidence_left(cluster) == set()
    return d, tuple(cluster.logs[LIAR])


def note(entries: tuple[LogEntry, ...]) -> bytes:
    """The checkpoint that the member signs over ``entries``."""
    d, _ = run()
    return signed_note([hash_leaf(encode(one)) for one in entries], LIAR, KEYS[LIAR], d)  # type: ignore[arg-type]


def found(folder: Path, entries: tuple[LogEntry, ...], *, earlier: tuple[bytes, ...] = ()) -> list[str]:
    """What an auditor finds in a log of ``entries`` under the member's own signature."""
    d, _ = run()
    write_log(folder, [encode(one) for one in entries], LIAR, KEYS[LIAR], d)  # type: ignore[arg-type]
    return [one.code for one in verify_log(folder, d.committee, earlier=list(earlier)).findings]


def convicted(first: bytes, second: bytes) -> tuple[int, str]:
    """By a file with both checkpoints, judged alone."""
    d, _ = run()
    verdict = verify_file(decode_file(encode_file(LogFork(LIAR, first, second), d.committee)), d.committee)
    return verdict.node, verdict.kind


def without(entries: tuple[LogEntry, ...], kind: type) -> tuple[LogEntry, ...]:
    """The log without its last entry of a kind."""
    at = max(i for i, one in enumerate(entries) if isinstance(one, kind))
    return entries[:at] + entries[at + 1 :]


def swapped(entries: tuple[LogEntry, ...]) -> tuple[LogEntry, ...]:
    """Two receipts in each other's place: a log that no rule speaks against."""
    at = next(i for i in range(len(entries)) if all(isinstance(one, ReceiptEntry) for one in entries[i : i + 2]))
    return (*entries[:at], entries[at + 1], entries[at], *entries[at + 2 :])


def test_the_true_log_passes_and_its_checkpoints_convict_nobody(tmp_path: Path) -> None:
    d, log = run()
    sizes = (1, len(log) // 2, len(log) - 1, len(log))
    notes = tuple(note(log[:size]) for size in sizes)
    assert found(tmp_path, log, earlier=notes) == []
    for first in notes:
        for second in notes:
            with refused("evidence.same" if first == second else "evidence.unrelated"):
                verify(LogFork(LIAR, first, second), d.committee)


def test_without_the_members_key_nothing_in_it_changes(tmp_path: Path) -> None:
    d, log = run()
    changed = [encode(one) for one in swapped(log)]
    write_log(tmp_path, changed, LIAR, KEYS[LIAR], d)  # type: ignore[arg-type]
    (tmp_path / "checkpoint").write_bytes(note(log))
    assert [one.code for one in verify_log(tmp_path, d.committee).findings] == ["log.root"]
    write_log(tmp_path, changed, LIAR, KEYS[0], d)  # type: ignore[arg-type]
    assert [one.code for one in verify_log(tmp_path, d.committee).findings] == ["log.signature"]


@pytest.mark.parametrize("kind", [ListEntry, BlockEntry])
def test_rewritten_under_its_own_key_it_breaks_a_rule(kind: type, tmp_path: Path) -> None:
    _, log = run()
    rewritten = without(log, kind)
    assert found(tmp_path, rewritten), "a log is a function of its blocks"
    filled = (*rewritten, log[-1])
    assert convicted(note(log), note(filled)) == (LIAR, "log-fork")


def test_truncated_it_contradicts_a_checkpoint_that_somebody_kept(tmp_path: Path) -> None:
    d, log = run()
    whole = note(log)
    at = max(i for i, one in enumerate(log) if isinstance(one, ReceiptEntry))
    cut = log[:at]
    assert "log.forked" not in found(tmp_path / "alone", cut), "by itself it is an earlier state of the log"
    assert "log.forked" in found(tmp_path / "held", cut, earlier=(whole,))
    with refused("evidence.unrelated"):
        verify(LogFork(LIAR, whole, note(cut)), d.committee)
    regrown = (*cut, *log[at + 1 :], log[at])
    assert convicted(whole, note(regrown)) == (LIAR, "log-fork")


def test_forked_each_log_passes_alone_and_two_checkpoints_convict(tmp_path: Path) -> None:
    _, log = run()
    other = swapped(log)
    assert other != log
    assert found(tmp_path / "one", log) == found(tmp_path / "other", other) == []
    assert found(tmp_path / "third", other, earlier=(note(log),)) == ["log.forked"]
    assert convicted(note(log), note(other)) == (LIAR, "log-fork")
    with refused("evidence.signature"):
        verify(LogFork(0, note(log), note(other)), run()[0].committee)
