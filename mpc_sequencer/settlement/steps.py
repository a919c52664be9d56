"""What the settlement contract is still to be told, as a function of what it says and of what is signed. Pure.

The contract takes order commits in a chain, results in a chain, a result only after the commit for its last height,
and what is signed by the members of the next epoch only once that epoch's signers were announced (``rotate``) and their
delay is over. A result of many deltas is begun, its parts are checked in order, then applied in order. So at any moment
there is one next step; :func:`next_step` names it. Whoever posted the steps before does not matter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from mpc_sequencer.settlement.claims import SignedCommit
from mpc_sequencer.settlement.payloads import SignedResult, is_staged

APPLY_ROWS: Final = 400
"""Rows that one apply_part writes: with every one a new balance they stay under a transaction's gas."""
UNSETTLED_EPOCHS_MAX: Final = 64
"""The contract gives signers to no epoch that is further past that of the last result."""


class Kind(Enum):
    """What a transaction of the submitter does."""

    COMMIT = "commit"
    RESULT = "result"
    BOTH = "commit and result"
    BEGIN = "begin a result in parts"
    CHECK = "check a part"
    APPLY = "apply a part"
    ROTATE = "rotation"
    CANCEL = "nothing"


@dataclass(frozen=True, slots=True)
class Step:
    """One transaction: ``height`` is the last one of its range, or the epoch of a rotation; ``part`` and ``row`` are
    zero but for results in parts."""

    kind: Kind
    height: int
    part: int = 0
    row: int = 0

    def overlaps(self, other: Step) -> bool:
        """Whether both would tell the contract the same."""
        if self.height != other.height or (self.kind is Kind.ROTATE) != (other.kind is Kind.ROTATE):
            return False
        kinds = {self.kind, other.kind}
        if Kind.CANCEL in kinds:
            return False
        if Kind.BOTH in kinds and kinds <= {Kind.BOTH, Kind.COMMIT, Kind.RESULT, Kind.BEGIN}:
            return True
        return (self.kind, self.part, self.row) == (other.kind, other.part, other.row)

    def __str__(self) -> str:
        where = "epoch" if self.kind is Kind.ROTATE else "the range up to height"
        return f"{self.kind.value} of {where} {self.height}" + (f", part {self.part}" if self.part else "")


@dataclass(frozen=True, slots=True)
class Rotation:
    """The signers of epoch ``epoch`` in the words that q members of the epoch before have signed."""

    epoch: int
    signers: tuple[bytes, ...]
    threshold: int
    committee: bytes
    sharing: bytes
    signatures: tuple[tuple[int, bytes], ...]


@dataclass(frozen=True, slots=True)
class Staged:
    """A result in parts that is under way: whether all parts are checked, and which row of which part is next."""

    height: int
    checked: bool
    part: int
    row: int


@dataclass(frozen=True, slots=True)
class ContractView:
    """What the contract says at ``block``; ``commits_required`` is a term of its deployment. ``epoch`` is the newest
    whose signers count by then, which may be past that of the last result: an epoch may settle nothing."""

    block: int
    epoch: int
    result_height: int
    commit_height: int
    usable_block: int
    """From which the signers of the epoch after ``epoch`` count; 0 while there are none."""
    stopped: str = ""
    """Why it takes nothing: ``frozen``, ``paused``, ``not started``; empty where it does."""
    staged: Staged | None = None
    commits_required: bool = True
    settled_epoch: int = 0
    """That of the last result."""


@dataclass(slots=True)
class Range:
    """A settlement range with what of it is signed by a quorum."""

    number: int
    epoch: int
    last: int
    commit: SignedCommit | None = None
    result: SignedResult | None = None

    @property
    def first(self) -> int | None:
        """Known with the result."""
        return None if self.result is None else self.result.result.first_height


def is_done(step: Step, view: ContractView) -> bool:
    """Whether the contract has what ``step`` would tell it."""
    match step.kind:
        case Kind.CANCEL:
            return True
        case Kind.ROTATE:
            return view.epoch >= step.height or (view.epoch + 1 == step.height and view.usable_block > 0)
        case Kind.COMMIT:
            return max(view.commit_height, view.result_height) >= step.height
        case Kind.RESULT | Kind.BOTH:
            return view.result_height >= step.height
        case Kind.BEGIN:
            staged = view.staged
            return view.result_height >= step.height or (staged is not None and staged.height == step.height)
        case Kind.CHECK | Kind.APPLY:
            if view.result_height >= step.height:
                return True
            staged = view.staged
            if staged is None or staged.height != step.height:
                return False
            if staged.checked != (step.kind is Kind.APPLY):
                return staged.checked
            return (staged.part, staged.row) > (step.part, step.row)


def next_step(
    ranges: Sequence[Range], rotations: Mapping[int, Rotation], view: ContractView, *, alone: bool
) -> Step | None:
    """What the contract lacks next and can be told; None where it must be waited for. ``ranges`` ascend and follow one
    another. ``alone``: commits whose results are not signed yet need not wait for these."""
    if view.stopped == "paused" and view.staged is not None and view.staged.checked:
        return _part(view.staged, ranges)  # what is checked may be applied in a pause
    if view.stopped:
        return None
    if view.staged is not None:
        return _part(view.staged, ranges)
    following = view.epoch + 1
    if view.usable_block == 0 and following in rotations and following - view.settled_epoch <= UNSETTLED_EPOCHS_MAX:
        return Step(Kind.ROTATE, following)
    open_ranges = [one for one in ranges if one.last > view.result_height]
    if not open_ranges or not _usable(open_ranges[0].epoch, view):
        return None
    head = open_ranges[0]
    if head.result is not None and head.first == view.result_height + 1:
        staged = is_staged(len(head.result.result.deltas))
        if view.commit_height >= head.last or not view.commits_required:
            return Step(Kind.BEGIN if staged else Kind.RESULT, head.last)
        if head.commit is not None:
            return Step(Kind.COMMIT if staged else Kind.BOTH, head.last)
        return None
    if not alone:
        return None
    for one in open_ranges:
        if one.last > view.commit_height:
            ready = one.commit is not None and _usable(one.epoch, view)
            return Step(Kind.COMMIT, one.last) if ready else None
    return None


def _usable(epoch: int, view: ContractView) -> bool:
    """Whether the contract takes what members of ``epoch`` sign."""
    if epoch <= view.epoch:
        return True
    return epoch == view.epoch + 1 and 0 < view.usable_block <= view.block + 1


def _part(staged: Staged, ranges: Sequence[Range]) -> Step | None:
    known = any(one.last == staged.height and one.result is not None for one in ranges)
    if not known:
        return None
    return Step(Kind.APPLY if staged.checked else Kind.CHECK, staged.height, staged.part, staged.row)
