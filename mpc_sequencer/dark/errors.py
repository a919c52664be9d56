"""What the arithmetic refuses. A peer's malformed bytes are a :class:`~mpc_sequencer.core.errors.ProtocolError`;
these two are about values that were well formed.

:class:`Undecodable` is an outcome of a computation: the shares of an opening determine no value that may be used.
:class:`LabelReused` is our own bug, and it is raised before a mask is used a second time.
"""

from __future__ import annotations


class Undecodable(Exception):
    """The shares of an opening do not determine their values; the batch aborts, or waits for more shares.

    ``detail`` says what was seen, in party indices and counts and never in shares. ``positions`` is how many values of
    the opening fail the parity check (0: too few shares to check any). ``suspects`` are parties that were shown to lie
    before decoding had to end; it is empty where a lie is only detected.
    """

    def __init__(self, detail: str, *, positions: int = 0, suspects: frozenset[int] = frozenset()) -> None:
        super().__init__(detail)
        self.detail = detail
        self.positions = positions
        self.suspects = suspects


class LabelReused(RuntimeError):
    """A label of pseudorandom sharing was asked for a second time in one context: two openings would share a mask."""

    def __init__(self, label: str) -> None:
        super().__init__(f"label {label!r} was consumed before")
        self.label = label
