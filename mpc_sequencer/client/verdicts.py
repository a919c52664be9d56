"""What is made of a record: why it was refused, and whether it has come as far as is awaited."""

from __future__ import annotations

from collections.abc import Callable

from mpc_sequencer.client.errors import ClientError
from mpc_sequencer.client.tracker import OrderRecord, Submission
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.messages import Refused, SubmitResult


def as_refusal(result: SubmitResult) -> ProtocolError | None:
    """A member's refusal as the error the client would have raised itself; None for a code nobody defines."""
    try:
        return ProtocolError(result.code, result.field, result.seen, result.expected)
    except KeyError:
        return None


def closing_refusal(reply: Refused) -> ProtocolError:
    """Why a member closes the connection, as the error the client would have raised itself."""
    try:
        return ProtocolError(reply.code, reply.field, reply.seen, reply.expected)
    except KeyError:
        return ProtocolError("wire.malformed", reply.field, reply.seen, reply.expected)


def submission_of(record: OrderRecord) -> Submission:
    """What members have said of an order at the door so far; codes that nobody defines are left out."""
    refusals = {node: as_refusal(result) for node, result in record.refusals.items()}
    known = {node: refusal for node, refusal in refusals.items() if refusal is not None}
    return Submission(record.order_id, dict(record.receipts), known)


def refusal_of(record: OrderRecord) -> ProtocolError | ClientError:
    """Why an order that every member refused was refused."""
    for node, result in sorted(record.refusals.items()):
        refusal = as_refusal(result)
        if refusal is not None:
            return refusal
        return ClientError(f"member {node} refused the order: {result.code}", "see the member's log")
    return ClientError("every member refused the order", "see the members' logs")


Predicate = Callable[[OrderRecord], bool]


def is_final(record: OrderRecord) -> bool:
    """Whether f+1 members reported its block (an executed order is final too)."""
    return record.final is not None or record.executed is not None


def is_executed(record: OrderRecord) -> bool:
    """Whether f+1 members reported its outcome."""
    return record.executed is not None


def is_ended(record: OrderRecord) -> bool:
    """Whether f+1 members reported how it ended: it is neither open nor waits for its dark batch."""
    return record.end is not None
