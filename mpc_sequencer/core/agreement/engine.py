"""The seam between agreement and everything it orders, shaped like ABCI 2.0.

An engine drives an :class:`Application`: it asks the leader's for a block (``prepare_proposal``), every voter's for a
verdict (``process_proposal``) and tells all what is final (``finalized``). Lists, reveal and execution know nothing of
views and certificates beyond that; Simplex is one engine behind it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.types import Block, Certificate


@dataclass(frozen=True, slots=True)
class Accepted:
    """The block is what its inputs make it; the application keeps it."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """The block breaks a rule and gets no vote."""

    error: ProtocolError


@dataclass(frozen=True, slots=True)
class Waiting:
    """Something the block needs is being fetched; ask again when more is at hand."""


Verdict = Accepted | Rejected | Waiting


class Application(Protocol):
    """What an agreement engine needs of the rest of a node."""

    def prepare_proposal(self, parent_id: bytes, view: int, now_ms: int) -> Block | None:
        """A block of ``view`` on ``parent_id``, or None while there is nothing worth one or inputs are missing."""

    def process_proposal(self, block: Block, source: int, now_ms: int, *, voting: bool) -> Verdict:
        """Check a block and keep it where accepted; ``source`` is whom to ask for what is missing. ``voting`` adds
        the rule that depends on the own clock."""

    def rely_on(self, block: Block) -> None:
        """A notarize vote for an accepted block follows: it, and what it was derived from, must be on disk first."""

    def left_waiting(self, block: Block, source: int) -> None:
        """The view of a block that is still ``Waiting`` is over: it may be notarized without this member's vote."""

    def finalized(self, block_id: bytes, certificate: Certificate, now_ms: int) -> None:
        """The block and all its ancestors are final."""

    def entered_view(self, view: int, now_ms: int) -> None:
        """The member is in a new view: its lists are cut and its head is signed anew."""

    def has_work(self, now_ms: int) -> bool:
        """Whether the member has reason to run the view's timer."""

    def loaded(self) -> bool:
        """Whether blocks should come less often and hold more."""

    def may_vote(self, view: int) -> bool:
        """Whether this member may sign votes of ``view`` (not where it has lost what it signed there)."""

    def own_vote_unknown(self, view: int) -> None:
        """A certificate of ``view`` holds a vote that this member signed and does not know of."""

    def block(self, block_id: bytes) -> Block | None:
        """An accepted block that is still kept."""
