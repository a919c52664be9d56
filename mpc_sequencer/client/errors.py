"""What can go wrong on a trader's side, each with a hint that a command line can show.

A refusal by rule is a :class:`~mpc_sequencer.core.errors.ProtocolError` (or a
:class:`threshold.ThresholdError`), with the same codes a member uses. The errors here are the rest: a
member that does not answer, or that answers with something it could only send by breaking the protocol. The
latter names the member.
"""

from __future__ import annotations

from mpc_sequencer.core.errors import ProtocolError
from threshold import ThresholdError

Refusal = ProtocolError | ThresholdError
"""A value broke a rule: both families carry ``code``, ``field``, ``seen`` and ``expected``."""


class ClientError(Exception):
    """Base: ``cause`` says what happened, ``hint`` what to do."""

    def __init__(self, cause: str, hint: str) -> None:
        super().__init__(cause)
        self.cause = cause
        self.hint = hint


class NotConnected(ClientError):
    """No member, or fewer than needed, could be reached in time."""


class TimedOut(ClientError):
    """An order did not reach the awaited state in time. It may still reach it: ask again."""


class KeyPending(ClientError):
    """The committee's threshold key is not known yet, so nothing can be sealed, checked or sent."""


class DarkKeysPending(ClientError):
    """The keys that dark orders are sealed to are not known yet in this epoch."""


class NothingThere(ClientError):
    """A member has no such account, order or fill, or cannot prove it."""


class TooManyOrders(ClientError):
    """The client tracks as many orders as it may."""


class MemberFault(ClientError):
    """Member ``node`` sent what no honest member sends; ``refusal`` says which rule it breaks."""

    def __init__(self, node: int, refusal: Refusal) -> None:
        super().__init__(
            f"member {node} broke the protocol: {refusal}",
            "keep what it sent and do not rely on this member alone",
        )
        self.node = node
        self.refusal = refusal
