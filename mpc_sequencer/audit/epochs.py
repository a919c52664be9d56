"""The epochs of a log: which committee's signatures count at which height.

The first epoch's committee is the committee file's; each later one is proven by the log itself, in whose key messages
q members of the epoch before have signed for it (:mod:`mpc_sequencer.audit.rotation`). An epoch ends with a block. What
is signed for a height, before or after that block is in the log, is judged by the committee of the height's epoch.
"""

from __future__ import annotations

from dataclasses import dataclass

from mpc_sequencer.audit.signatures import Signatures
from mpc_sequencer.core.committee import Committee


@dataclass(slots=True)
class Epoch:
    """One committee's time. ``proven_by`` are the members of the epoch before whose handovers prove it, None for the
    committee file's; ``sharing`` and ``attempt`` name the key session that made its first sharing."""

    committee: Committee
    signatures: Signatures
    first_height: int
    last_height: int | None = None
    """Of the block that ended it; None while it goes on."""
    proven_by: tuple[int, ...] | None = None
    sharing: int = 0
    attempt: int = 0

    @property
    def number(self) -> int:
        """The number that everything signed in it carries."""
        return self.committee.epoch

    def place(self, log_key: bytes) -> int | None:
        """The index of the member that keeps its log with this key; None where there is none."""
        keys = [member.log_key for member in self.committee.genesis.members]
        return keys.index(log_key) if log_key in keys else None


class Epochs:
    """The epochs that the log has led to so far, without a gap between their heights."""

    def __init__(self, committee: Committee) -> None:
        self.all = [Epoch(committee, Signatures(committee), 1)]

    @property
    def current(self) -> Epoch:
        """The epoch that the next block belongs to."""
        return self.all[-1]

    def at(self, height: int) -> Epoch:
        """The epoch of a height: the current one for a height that has no block yet."""
        return next(one for one in reversed(self.all) if one.first_height <= height or one is self.all[0])

    def numbered(self, number: int) -> Epoch | None:
        """The epoch whose signed values carry ``number``; None where the log has led to no such one."""
        return next((one for one in self.all if one.number == number), None)

    def begin(self, committee: Committee, proven_by: tuple[int, ...], sharing: int, attempt: int) -> None:
        """The current epoch's last block is its committee's ``anchor_height``: the next one follows."""
        self.current.last_height = committee.anchor_height
        signatures = Signatures(committee)
        first_height = committee.anchor_height + 1
        self.all.append(Epoch(committee, signatures, first_height, None, proven_by, sharing, attempt))

    def is_beyond(self, number: int, height: int) -> bool:
        """Whether a height lies after the last block of the epoch ``number``."""
        epoch = self.numbered(number)
        return epoch is not None and epoch.last_height is not None and height > epoch.last_height
