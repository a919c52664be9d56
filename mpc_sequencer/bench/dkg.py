"""What key generation and resharing cost a member: all members of a session in one process, nothing between them.

A member's work is: make its messages, judge everybody's from the log, verify and sum its share. The judging is the
same for all members and is done once here for each of them, as each would: every member has a session of its own.
CPU is divided by the members; memory, disk and network are not in it. Figures are the median of the rounds, in CPU
time of this process, which other processes of the machine disturb little.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from time import perf_counter, process_time
from typing import Any, Final

from mpc_sequencer.bench.peer import measure_generation
from threshold import SecretShare
from threshold.dkg import Message, Participant, Plan, Role, Session, message_type
from threshold.hash_to_curve import pedersen_generator

SIZES_DEFAULT: Final = ((4, 3), (7, 5), (16, 11), (31, 21))
ROUNDS_DEFAULT: Final = 5
_WINDOW_HEIGHTS: Final = 10
_WINDOW_MS: Final = 10_000


def _seeded(name: str) -> bytes:
    return hashlib.sha256(b"mpc_sequencer bench dkg " + name.encode()).digest()


@dataclass(frozen=True, slots=True)
class _Cost:
    wall_ms: float
    cpu_ms: float
    bytes: float


@dataclass(frozen=True, slots=True)
class _Run:
    cost: _Cost
    session: Session
    shares: dict[int, SecretShare]


def _run(plan: Plan, members: Sequence[Participant]) -> _Run:
    """A session in which everybody is honest and every message lands in the next block; costs are per member."""
    wall_s, cpu_s = perf_counter(), process_time()
    sessions = [Session.begin(plan, 0, 0) for _ in members]
    sent_bytes = 0
    while not sessions[0].ended:
        messages: list[Message] = []
        for member, session in zip(members, sessions, strict=True):
            for payload in member.messages(session):
                index = member.dealer_index if message_type(payload).role is Role.DEALER else member.receiver_index
                messages.append(Message(index or 0, payload))
                sent_bytes += len(payload)
        sessions = [session.block(session.height + 1, session.time_ms + 1_000, messages) for session in sessions]
    pairs = [(m, s) for m, s in zip(members, sessions, strict=True) if m.receiver_index is not None]
    shares = {member.receiver_index or 0: member.share(session) for member, session in pairs}
    count = len(members)
    cost = _Cost(
        (perf_counter() - wall_s) * 1e3 / count, (process_time() - cpu_s) * 1e3 / count, sent_bytes / count
    )
    if sessions[0].result is None or sessions[0].culprits:
        raise RuntimeError("honest members did not agree on a key")
    return _Run(cost, sessions[0], shares)


def _faults(n: int, t: int) -> int:
    return min((n - 1) // 3, t - 1, n - t)


def _generation(n: int, t: int) -> _Run:
    plan = Plan.generate(
        _seeded(f"generation {n}"),
        range(1, n + 1),
        threshold=t,
        faults=_faults(n, t),
        window_heights=_WINDOW_HEIGHTS,
        window_ms=_WINDOW_MS,
    )
    return _run(plan, [Participant(plan, _seeded(f"seed {i}"), i, i) for i in plan.receivers])


def _resharing(n: int, t: int, before: _Run) -> _Run:
    """A refresh: the same members, the same threshold, new shares."""
    result = before.session.result
    if result is None:
        raise RuntimeError("there is no key to share anew")
    plan = Plan.reshare(
        _seeded(f"resharing {n}"),
        result.verification_keys,
        range(1, n + 1),
        public_key=result.public_key,
        dealer_threshold=t,
        dealer_faults=_faults(n, t),
        threshold=t,
        faults=_faults(n, t),
        window_heights=_WINDOW_HEIGHTS,
        window_ms=_WINDOW_MS,
    )
    members = [Participant(plan, _seeded(f"reshare {i}"), i, i, share) for i, share in before.shares.items()]
    return _run(plan, members)


def _figures(costs: Sequence[_Cost]) -> dict[str, float | int]:
    return {
        "wall_ms": round(median(cost.wall_ms for cost in costs), 2),
        "cpu_ms": round(median(cost.cpu_ms for cost in costs), 2),
        "bytes": round(costs[0].bytes),
    }


def measure(sizes: Sequence[tuple[int, int]] = SIZES_DEFAULT, rounds: int = ROUNDS_DEFAULT) -> dict[str, Any]:
    """Per member and size: `{"sizes": [{"n", "t", "generate": {...}, "reshare": {...}}], "peer": {...}}`.

    The inner figures are `wall_ms`, `cpu_ms` and `bytes` (sent). `peer` is that of `bench.peer`, whose CPU is of all
    its four members. Raises `ValueError` for rounds below 1 and `UsageError` for a size that is no sharing.
    """
    if rounds < 1:
        raise ValueError(f"rounds is at least 1, not {rounds}")
    pedersen_generator()
    measured = []
    for n, t in sizes:
        generated = [_generation(n, t) for _ in range(rounds)]
        reshared = [_resharing(n, t, generated[0]) for _ in range(rounds)]
        measured.append(
            {
                "n": n,
                "t": t,
                "generate": _figures([run.cost for run in generated]),
                "reshare": _figures([run.cost for run in reshared]),
            }
        )
    return {"sizes": measured, "peer": measure_generation()}
