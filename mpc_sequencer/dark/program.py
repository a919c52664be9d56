"""What the parties of a dark batch compute, as programs: generators that yield rounds of openings.

A program computes on one party's shares. Where it needs to know a shared value it yields a :class:`Round` and is sent
the opened values, in the order of its openings; everything else is local. It reads no clock, draws no randomness (the
shared randomness is in its :class:`mpc_sequencer.dark.prss.Prss`) and knows of no network, so that the same program
runs in a node, in a test with five parties in one process, and with shares of zero in a reader of the transcript
(:mod:`mpc_sequencer.dark.transcript`): its course depends on public values only. Programs compose with ``yield from``,
one after the other, and with :func:`gather`, in the same rounds.

A program that meets an opened value that no honest run gives raises :class:`ProgramFault`, which aborts the batch: with
openings checked it means that the shared randomness was inconsistent or that more than t parties are corrupt.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from mpc_sequencer.dark.field import Elements

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Opening:
    """Shares to open: this party's ``shares`` (one dimension) of values shared with polynomials of ``degree``; ``name``
    says what they are, in a report of who lied about them."""

    shares: Elements = field(repr=False)
    degree: int
    name: str


@dataclass(frozen=True, slots=True)
class Round:
    """All openings of one round: one message of each party."""

    openings: tuple[Opening, ...]


Program = Generator[Round, "tuple[Elements, ...]", T]


class ProgramFault(Exception):
    """Opened values contradict each other; ``name`` is the opening's, ``detail`` says what was seen (public values)."""

    def __init__(self, name: str, detail: str) -> None:
        super().__init__(f"{name}: {detail}")
        self.name = name
        self.detail = detail


def reveal(shares: Elements, degree: int, name: str) -> Program[Elements]:
    """Open one vector in a round of its own."""
    (opened,) = yield Round((Opening(shares, degree, name),))
    return opened


def gather(*programs: Program[Any]) -> Program[tuple[Any, ...]]:
    """Run independent programs side by side; their rounds are sent together, so that all take as many rounds as the
    longest. Results come in the order of the programs. Where one raises, the others are closed."""
    results: list[Any] = [None] * len(programs)
    sent: dict[int, tuple[Elements, ...] | None] = dict.fromkeys(range(len(programs)))
    try:
        while sent:
            rounds: dict[int, Round] = {}
            for index, opened in sent.items():
                try:
                    rounds[index] = next(programs[index]) if opened is None else programs[index].send(opened)
                except StopIteration as ended:
                    results[index] = ended.value
            if not rounds:
                break
            values = yield Round(tuple(opening for one in rounds.values() for opening in one.openings))
            sent, at = {}, 0
            for index, one in rounds.items():
                sent[index] = values[at : at + len(one.openings)]
                at += len(one.openings)
    finally:
        for program in programs:
            program.close()
    return tuple(results)
