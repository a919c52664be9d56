"""Keys without a dealer: generation and resharing of a threshold key over a log that everybody reads alike.

`Session` is the public side, a pure function of a `Plan` and the log's messages; `Participant` is a member's secret
side. The rules are in `session`, layouts in `wire`, the cryptography in `deals`.

    plan = Plan.generate(session_id, members, threshold=3, faults=1, window_heights=20, window_ms=30_000)
    session = Session.begin(plan, height, time_ms)
    member = Participant(plan, seed, index, index)
    ... per block: session = session.block(height, time_ms, messages); send what member.messages(session) owes
    ... once session.result is there: member.share(session), then member.erase()
"""

from threshold.dkg.participant import SEED_BYTES, Participant
from threshold.dkg.plan import Kind, Phase, Plan, Role
from threshold.dkg.result import Result
from threshold.dkg.session import Culprit, Message, Session
from threshold.dkg.wire import MessageType, message_type, payload_bytes_max

__all__ = [
    "SEED_BYTES",
    "Culprit",
    "Kind",
    "Message",
    "MessageType",
    "Participant",
    "Phase",
    "Plan",
    "Result",
    "Role",
    "Session",
    "message_type",
    "payload_bytes_max",
]
