"""What a key generation or resharing is about: who deals to whom, at which threshold, within which windows.

The caller decides the plan, everybody alike, before the first message: a session is a function of its plan and of the
log alone. `session` binds deployment, epoch and attempt: everything that is signed, hashed or encrypted in a session
hashes it, so that nothing of one session counts in another.

In a generation the members are dealers and receivers under one index. In a resharing (Desmedt and Jajodia, 1997) a
person may deal under its index of the old sharing and receive under another one of the new.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise
from typing import Final

from threshold import group
from threshold.errors import UsageError
from threshold.secret_share import INDEX_MAX

SESSION_BYTES: Final = 32
WINDOW_HEIGHTS_MAX: Final = 2**32 - 1
WINDOW_MS_MAX: Final = 2**48 - 1


class Kind(Enum):
    """Whether a session makes a new key or shares an old one anew."""

    GENERATE = "generate"
    RESHARE = "reshare"


class Role(Enum):
    """Whose index a message names: a dealer's or a receiver's."""

    DEALER = "dealer"
    RECEIVER = "receiver"


class Phase(Enum):
    """What a session waits for; a generation goes through all, a resharing skips FELDMAN and EXTRACTION."""

    KEYS = "keys"
    DEALS = "deals"
    ANSWERS = "answers"
    FELDMAN = "feldman"
    EXTRACTION = "extraction"
    READY = "ready"
    DONE = "done"
    ABORTED = "aborted"


@dataclass(frozen=True, slots=True)
class Plan:
    """Made by `generate` or `reshare`, which name the arguments that belong to each.

    Indexes are 1..65535 and ascend. `threshold` and `faults` are t and f of the receivers' sharing; a phase closes by
    itself after `window_heights` heights and `window_ms` milliseconds of block time, both of them. The fields from
    `dealer_threshold` on are a resharing's: t and f of the old sharing, Y_i in the order of `dealers`, and Y.
    """

    kind: Kind
    session: bytes
    dealers: tuple[int, ...]
    receivers: tuple[int, ...]
    threshold: int
    faults: int
    window_heights: int
    window_ms: int
    dealer_threshold: int = 0
    dealer_faults: int = 0
    dealer_keys: tuple[bytes, ...] = ()
    public_key: bytes = b""

    @classmethod
    def generate(
        cls,
        session: bytes,
        members: Sequence[int],
        *,
        threshold: int,
        faults: int,
        window_heights: int,
        window_ms: int,
    ) -> Plan:
        """A new key for `members`. Raises `UsageError` when the arguments do not fit each other."""
        everybody = tuple(members)
        return cls(Kind.GENERATE, session, everybody, everybody, threshold, faults, window_heights, window_ms)

    @classmethod
    def reshare(
        cls,
        session: bytes,
        dealer_keys: Mapping[int, bytes],
        receivers: Sequence[int],
        *,
        public_key: bytes,
        dealer_threshold: int,
        dealer_faults: int,
        threshold: int,
        faults: int,
        window_heights: int,
        window_ms: int,
    ) -> Plan:
        """The key `public_key` for `receivers`, dealt by the holders of its old shares.

        `dealer_keys` maps each dealer's index to its verification key Y_i, 33 bytes. Raises `UsageError` when the
        arguments do not fit each other, and a `point.*` code for a key that is no point.
        """
        dealers = tuple(sorted(dealer_keys))
        return cls(
            Kind.RESHARE,
            session,
            dealers,
            tuple(receivers),
            threshold,
            faults,
            window_heights,
            window_ms,
            dealer_threshold,
            dealer_faults,
            tuple(dealer_keys[i] for i in dealers),
            public_key,
        )

    def __post_init__(self) -> None:
        if len(self.session) != SESSION_BYTES:
            raise UsageError(f"a session is {SESSION_BYTES} bytes, not {len(self.session)}")
        for name, indexes in (("dealers", self.dealers), ("receivers", self.receivers)):
            ascending = all(a < b for a, b in pairwise(indexes))
            if not indexes or not ascending or not 1 <= indexes[0] <= indexes[-1] <= INDEX_MAX:
                raise UsageError(f"{name} ascend strictly within 1..{INDEX_MAX}, not {indexes}")
        _require_sharing("receivers", len(self.receivers), self.threshold, self.faults)
        if not 1 <= self.window_heights <= WINDOW_HEIGHTS_MAX or not 0 <= self.window_ms <= WINDOW_MS_MAX:
            raise UsageError(f"windows are out of range: {self.window_heights} heights, {self.window_ms} ms")
        if self.kind is Kind.GENERATE:
            if self.dealers != self.receivers:
                raise UsageError("in a generation the dealers are the receivers")
            if self.dealer_threshold or self.dealer_faults or self.dealer_keys or self.public_key:
                raise UsageError("a generation has no old sharing")
            return
        _require_sharing("dealers", len(self.dealers), self.dealer_threshold, self.dealer_faults)
        if len(self.dealer_keys) != len(self.dealers):
            raise UsageError("every dealer of a resharing has a verification key")
        group.parse_point(self.public_key, "public_key")
        for index, key in zip(self.dealers, self.dealer_keys, strict=True):
            group.parse_point(key, f"dealer_keys[{index}]")

    @property
    def quorum(self) -> int:
        """q = n - f of the receivers."""
        return len(self.receivers) - self.faults

    @property
    def dealer_quorum(self) -> int:
        """q = n - f of the dealers."""
        faults = self.faults if self.kind is Kind.GENERATE else self.dealer_faults
        return len(self.dealers) - faults

    @property
    def closes_on_quorum(self) -> bool:
        """Whether q receivers' keys and answers suffice: t honest ones are among any q, since t <= n - 2f."""
        return self.threshold <= len(self.receivers) - 2 * self.faults

    @property
    def deals_close_on_quorum(self) -> bool:
        """Whether q dealers' deals suffice: in a resharing where t of any q are honest, never in a generation.

        A generation needs q qualified dealers. Closed on q deals, a single bad one among them would end it, even
        though the deals of honest dealers were still on their way.
        """
        if self.kind is Kind.GENERATE:
            return False
        return self.dealer_threshold <= len(self.dealers) - 2 * self.dealer_faults

    @property
    def dealers_needed(self) -> int:
        """Dealers that must qualify: q in a generation, t of the old sharing in a resharing."""
        return self.quorum if self.kind is Kind.GENERATE else self.dealer_threshold

    def verification_key(self, dealer: int) -> bytes:
        """Y_i of a resharing's dealer, 33 bytes."""
        return self.dealer_keys[self.dealers.index(dealer)]

    def indexes(self, role: Role) -> tuple[int, ...]:
        """Who has this role."""
        return self.dealers if role is Role.DEALER else self.receivers


def _require_sharing(name: str, n: int, t: int, f: int) -> None:
    if not f >= 0 or not f + 1 <= t <= n - f:
        raise UsageError(f"{name}: f + 1 <= t <= n - f, not n={n}, t={t}, f={f}")
