"""What a member's submitter keeps in its data folder: the transactions it may have sent, and what is to be posted.

A transaction is on disk, synced, before the chain's node gets it, so that a member that comes back knows every nonce it
may have used, and sends the same bytes again rather than the same result under another nonce.

``transactions.json`` holds slots of one account on one chain. ``ranges/<number>`` holds what is signed of a range, in
the canonical encoding, until the range is settled: the chain may be away for days.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from mpc_sequencer.core.codec import decode, encode
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.nesting import hold_nesting
from mpc_sequencer.core.types import NodeIndex, SignatureBytes, Uint, Value
from mpc_sequencer.settlement.claims import OrderCommit, ResultClaim, SignedCommit, claim_of
from mpc_sequencer.settlement.errors import PayloadError
from mpc_sequencer.settlement.payloads import BatchResult, SignedResult, pack_deltas, unpack_deltas
from mpc_sequencer.settlement.steps import Kind, Step
from mpc_sequencer.settlement.submitter_events import Attempt, CommitKnown, ResultKnown, Slot

VERSION: Final = 1
RANGE_BYTES_MAX: Final = 4 << 20

Signatures = tuple[tuple[NodeIndex, SignatureBytes], ...]


class KeptCommit(Value, frozen=True):
    """An order commit with its quorum."""

    commit: OrderCommit
    signatures: Signatures


class KeptResult(Value, frozen=True):
    """A result with its quorum."""

    claim: ResultClaim
    deltas: bytes
    signatures: Signatures


class KeptRange(Value, frozen=True):
    """What is signed of range ``number``."""

    number: Uint
    commit: KeptCommit | None
    result: KeptResult | None


def write_synced(path: Path, data: bytes) -> None:
    """Replace ``path`` by ``data``; it is on disk when this returns. Raises OSError."""
    beside = path.with_name(path.name + ".new")
    with open(beside, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@dataclass
class KeptTransactions:
    """The slots of ``account`` on chain ``chain_id``, with the bytes of each attempt. Blocking."""

    folder: Path
    account: bytes
    chain_id: int
    raw: dict[bytes, bytes] = field(default_factory=dict)
    """By hash."""
    _slots: dict[int, list[Attempt]] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        return self.folder / "transactions.json"

    def load(self) -> tuple[list[Slot], str]:
        """The slots as they were, and what is wrong with the file (empty: nothing). A file that does not read, or is of
        another account or chain, is put aside."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self.path.exists():
            return [], ""
        try:
            hold_nesting()
            document = json.loads(self.path.read_text(encoding="utf-8"))
            owner = (document["version"], document["account"], document["chain_id"])
            if owner != (VERSION, self.account.hex(), self.chain_id):
                raise ValueError("it is of another account or chain")
            for row in document["slots"]:
                attempts = [self._attempt(one) for one in row["attempts"]]
                self._slots[int(row["nonce"])] = attempts
        except (ValueError, KeyError, TypeError, OSError, RecursionError, OverflowError) as error:
            self.raw, self._slots = {}, {}
            aside = self.path.with_suffix(".set-aside")
            os.replace(self.path, aside)
            return [], f"{self.path} is not used, it is put aside as {aside.name}: {error}"
        slots = [Slot(nonce, attempts[-1].step, list(attempts)) for nonce, attempts in self._slots.items() if attempts]
        return sorted(slots, key=lambda one: one.nonce), ""

    def _attempt(self, row: dict[str, Any]) -> Attempt:
        attempt = Attempt(
            bytes.fromhex(row["hash"]),
            Step(Kind[row["kind"]], int(row["height"]), int(row["part"]), int(row["row"])),
            int(row["max_fee_wei"]),
            int(row["priority_wei"]),
        )
        self.raw[attempt.transaction_hash] = bytes.fromhex(row["raw"])
        return attempt

    def add(self, nonce: int, attempt: Attempt, raw: bytes) -> None:
        """Keep a transaction. Raises OSError; then it is not kept and must not be sent."""
        self.raw[attempt.transaction_hash] = raw
        self._slots.setdefault(nonce, []).append(attempt)
        try:
            self._write()
        except OSError:
            # The same bytes may be signed again: who finds them here would take them for kept.
            self._slots[nonce].pop()
            del self.raw[attempt.transaction_hash]
            raise

    def forget(self, nonce: int) -> None:
        """The nonce is used up for good."""
        for attempt in self._slots.pop(nonce, ()):
            self.raw.pop(attempt.transaction_hash, None)
        self._write()

    def _write(self) -> None:
        slots = [
            {"nonce": nonce, "attempts": [self._row(one) for one in attempts]}
            for nonce, attempts in sorted(self._slots.items())
        ]
        document = {"version": VERSION, "account": self.account.hex(), "chain_id": self.chain_id, "slots": slots}
        write_synced(self.path, json.dumps(document, indent=1).encode())

    def _row(self, attempt: Attempt) -> dict[str, Any]:
        step = attempt.step
        return {
            "hash": attempt.transaction_hash.hex(),
            "kind": step.kind.name,
            "height": step.height,
            "part": step.part,
            "row": step.row,
            "max_fee_wei": attempt.max_fee_wei,
            "priority_wei": attempt.priority_wei,
            "raw": self.raw[attempt.transaction_hash].hex(),
        }


class KeptRanges:
    """What is signed and not settled, by range number. Blocking."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "ranges"

    def numbers(self) -> list[int]:
        """Which ranges are kept, ascending."""
        self._folder.mkdir(parents=True, exist_ok=True)
        return sorted(int(path.name) for path in self._folder.iterdir() if path.name.isdigit())

    def put(self, known: CommitKnown | ResultKnown) -> None:
        """Keep it. Raises OSError."""
        before = self._read(known.number)
        commit = before.commit if before is not None else None
        result = before.result if before is not None else None
        if isinstance(known, CommitKnown):
            commit = KeptCommit(known.signed.commit, known.signed.signatures)
        else:
            signed = known.signed
            result = KeptResult(claim_of(signed.result), pack_deltas(signed.result.deltas), signed.signatures)
        kept = KeptRange(known.number, commit, result)
        if kept != before:
            self._folder.mkdir(parents=True, exist_ok=True)
            write_synced(self._folder / str(known.number), encode(kept))

    def events(self, number: int) -> list[CommitKnown | ResultKnown]:
        """What is kept of a range; nothing where the file does not read, which the core's own word then replaces."""
        kept = self._read(number)
        found: list[CommitKnown | ResultKnown] = []
        if kept is not None and kept.commit is not None:
            found.append(CommitKnown(number, SignedCommit(kept.commit.commit, kept.commit.signatures)))
        if kept is not None and kept.result is not None:
            found.append(ResultKnown(number, _result(kept.result)))
        return found

    def forget(self, numbers: Iterable[int]) -> None:
        """These are settled."""
        for number in numbers:
            (self._folder / str(number)).unlink(missing_ok=True)

    def _read(self, number: int) -> KeptRange | None:
        path = self._folder / str(number)
        try:
            kept: KeptRange = decode(KeptRange, path.read_bytes(), bytes_max=RANGE_BYTES_MAX)
            if kept.number != number:
                return None
            if kept.result is not None:
                _result(kept.result)
        except (OSError, ProtocolError, PayloadError):
            return None
        return kept


def _result(kept: KeptResult) -> SignedResult:
    claim = kept.claim
    result = BatchResult(
        epoch=claim.epoch,
        first_height=claim.first_height,
        last_height=claim.last_height,
        prev_state_root=claim.prev_state_root,
        state_root=claim.state_root,
        fills_root=claim.fills_root,
        data_hash=claim.data_hash,
        inputs_count=claim.inputs_count,
        inputs_hash=claim.inputs_hash,
        deltas=unpack_deltas(kept.deltas),
    )
    return SignedResult(result, kept.signatures)
