"""Which members of a run are faulty, and how: at most f, a function of the seed.

Consecutive seeds take the kinds in turn. Where hosts may go down as well, every fourth seed leaves them room: it has
fewer than f faulty members from the start. Any 42 seeds show each kind at least once all the same.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

from mpc_sequencer.sim.byzantine import BEHAVIOURS, DARK_BEHAVIOURS, KEY_BEHAVIOURS, ROTATION_BEHAVIOURS

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
        "chain_late",
        "chain_blind",
    }
)
"""What may befall any member, all of them together: each stays correct."""
RESTART_FAULTS: Final = frozenset({"restart", "powercut", "torn", "slow_disk", "full_disk"})
"""What may befall any honest member's host: it stays correct."""
HOST_FAULTS: Final = ("crash", "clock", "wipe")
"""What makes a member faulty though it is honest."""
FAULT_KINDS: Final = NETWORK_FAULTS | RESTART_FAULTS | frozenset(HOST_FAULTS) | frozenset(BEHAVIOURS)
DARK_FAULT_KINDS: Final = FAULT_KINDS | frozenset(DARK_BEHAVIOURS)
"""Those of a run with a dark market."""
KEY_FAULT_KINDS: Final = FAULT_KINDS | frozenset(KEY_BEHAVIOURS)
"""Those of a run that begins with a key generation."""
ROTATION_FAULT_KINDS: Final = KEY_FAULT_KINDS | frozenset(ROTATION_BEHAVIOURS)
"""Those of a run in which the committee is replaced."""
EVERY_FAULT_KIND: Final = ROTATION_FAULT_KINDS | DARK_FAULT_KINDS


CHAIN_LATE_MS_MAX: Final = 2_500


@dataclass(frozen=True, slots=True)
class MemberFaults:
    """Faulty members by kind; together at most f."""

    crashed: tuple[int, ...]
    beyond_skew: tuple[int, ...]
    behaviours: tuple[tuple[int, str], ...]
    wiped: tuple[int, ...] = ()
    """Members that lose their journal, once."""

    @property
    def faulty(self) -> frozenset[int]:
        return frozenset((*self.crashed, *self.beyond_skew, *self.wiped, *(node for node, _ in self.behaviours)))


def parse_faults(
    text: str, *, generated: bool = False, rotated: bool = False, dark: bool = False
) -> frozenset[str]:
    """``all``, ``none``, or names separated by commas; ``byzantine``, ``network`` and ``restarts`` stand for groups.
    ``generated``: the run begins with a key generation; ``rotated``: its committee is replaced; ``dark``: a market is
    dark.

    Raises ``ValueError`` for an unknown name.
    """
    kinds = ROTATION_FAULT_KINDS if rotated else KEY_FAULT_KINDS if generated else FAULT_KINDS
    kinds = DARK_FAULT_KINDS if dark else kinds
    groups = {
        "all": kinds,
        "none": frozenset[str](),
        "byzantine": kinds & {*BEHAVIOURS, *KEY_BEHAVIOURS, *ROTATION_BEHAVIOURS, *DARK_BEHAVIOURS},
        "network": NETWORK_FAULTS,
        "restarts": RESTART_FAULTS | {"wipe"},
    }
    chosen: set[str] = set()
    for name in filter(None, (part.strip() for part in text.split(","))):
        if name not in groups and name not in kinds:
            known = ", ".join(sorted({*groups, *kinds}))
            raise ValueError(f"unknown fault {name!r}, expected some of {known}")
        chosen |= groups.get(name, {name})
    return frozenset(chosen)


def member_faults(seed: int, nodes: int, faults: frozenset[str]) -> MemberFaults:
    """Draw f faulty members (none where ``faults`` names no member fault), or fewer where hosts go down beside them."""
    rng = random.Random(f"{seed}/{nodes}/members")
    kinds = [name for name in (*BEHAVIOURS, *HOST_FAULTS, *KEY_BEHAVIOURS, *DARK_BEHAVIOURS) if name in faults]
    count = (nodes - 1) // 3 if kinds else 0
    if count and faults & RESTART_FAULTS and seed % 4 == 0:
        count = rng.randrange(count)
    members = rng.sample(range(nodes), count)
    chosen = [kinds[seed % len(kinds)] if turn == 0 else rng.choice(kinds) for turn in range(count)]
    given = list(zip(members, chosen, strict=True))
    return MemberFaults(
        crashed=tuple(sorted(node for node, kind in given if kind == "crash")),
        beyond_skew=tuple(sorted(node for node, kind in given if kind == "clock")),
        behaviours=tuple(sorted((node, kind) for node, kind in given if kind not in HOST_FAULTS)),
        wiped=tuple(sorted(node for node, kind in given if kind == "wipe")),
    )


def chain_late_ms(seed: int, nodes: int, faults: frozenset[str]) -> tuple[int, ...]:
    """By member: how late its chain node is; empty where none is."""
    if "chain_late" not in faults:
        return ()
    drawn = [random.Random(f"{seed}/{node}/chain") for node in range(nodes)]
    return tuple(rng.choice((0, 0, rng.randint(0, 400), rng.randint(0, CHAIN_LATE_MS_MAX))) for rng in drawn)


def chain_blind(seed: int, nodes: int, faults: frozenset[str]) -> frozenset[int]:
    """Up to f members that never see the chain: f+1 others that are correct do."""
    if "chain_blind" not in faults:
        return frozenset()
    rng = random.Random(f"{seed}/{nodes}/blind")
    return frozenset(rng.sample(range(nodes), rng.randint(0, (nodes - 1) // 3)))
