"""Which members of a run are faulty, and how: at most f, a function of the seed.

Consecutive seeds take the behaviours in turn, so that any 19 of them show each at least once.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

from mpc_sequencer.sim.byzantine import BEHAVIOURS

NETWORK_FAULTS: Final = frozenset(
    {
        "regions",
        "jitter",
        "loss",
        "reorder",
        "links",
        "partitions",
        "one_way",
        "stalls",
        "duplicates",
        "skew",
        "jumps",
    }
)
"""What may befall any member, all of them together: each stays correct."""
HOST_FAULTS: Final = ("crash", "clock")
FAULT_KINDS: Final = NETWORK_FAULTS | frozenset(HOST_FAULTS) | frozenset(BEHAVIOURS)


@dataclass(frozen=True, slots=True)
class MemberFaults:
    """Faulty members by kind; together at most f."""

    crashed: tuple[int, ...]
    beyond_skew: tuple[int, ...]
    behaviours: tuple[tuple[int, str], ...]


def parse_faults(text: str) -> frozenset[str]:
    """``all``, ``none``, or names separated by commas, where ``byzantine`` and ``network`` stand for groups.

    Raises ``ValueError`` for an unknown name.
    """
    groups = {
        "all": FAULT_KINDS,
        "none": frozenset[str](),
        "byzantine": frozenset(BEHAVIOURS),
        "network": NETWORK_FAULTS,
    }
    chosen: set[str] = set()
    for name in filter(None, (part.strip() for part in text.split(","))):
        if name not in groups and name not in FAULT_KINDS:
            known = ", ".join(sorted({*groups, *FAULT_KINDS}))
            raise ValueError(f"unknown fault {name!r}, expected some of {known}")
        chosen |= groups.get(name, {name})
    return frozenset(chosen)


def member_faults(seed: int, nodes: int, faults: frozenset[str]) -> MemberFaults:
    """Draw f faulty members (none where ``faults`` names no member fault)."""
    rng = random.Random(f"{seed}/{nodes}/members")
    kinds = [name for name in (*BEHAVIOURS, *HOST_FAULTS) if name in faults]
    count = (nodes - 1) // 3 if kinds else 0
    members = rng.sample(range(nodes), count)
    chosen = [kinds[seed % len(kinds)] if turn == 0 else rng.choice(kinds) for turn in range(count)]
    given = list(zip(members, chosen, strict=True))
    return MemberFaults(
        crashed=tuple(sorted(node for node, kind in given if kind == "crash")),
        beyond_skew=tuple(sorted(node for node, kind in given if kind == "clock")),
        behaviours=tuple(sorted((node, kind) for node, kind in given if kind in BEHAVIOURS)),
    )
