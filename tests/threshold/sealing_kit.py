"""A small committee and orders sealed to it: what the tests of sealing and the attacks on it start from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import pytest

import threshold
from threshold import BundleContext, CheckedCiphertext, Dealing, Label, SealingKey, ThresholdError

CHAIN_ID = 31337
SETTLEMENT = bytes(range(20))
BUCKETS = (64, 128)


def seeded(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


def other_contexts(context: BundleContext) -> pytest.MarkDecorator:
    """Each ``context`` that differs in one thing from that of a proof."""
    changes: dict[str, Any] = {
        "block_id": seeded("another block"),
        "epoch": context.epoch + 1,
        "index": context.index - 1,
        "key_id": seeded("another key"),
    }
    others = [replace(context, **{name: value}) for name, value in changes.items()]
    return pytest.mark.parametrize("context", others, ids=list(changes))


@dataclass(frozen=True)
class Committee:
    n: int
    t: int
    dealing: Dealing
    key: SealingKey

    @classmethod
    def dealt(cls, n: int = 4, t: int = 3, name: str = "committee") -> Committee:
        dealing = threshold.deal(n, t, secret=None, entropy=seeded(name))
        return cls(n, t, dealing, SealingKey(dealing.public_key, CHAIN_ID, SETTLEMENT))

    def label(self, **changes: int | bytes) -> Label:
        label = Label(CHAIN_ID, SETTLEMENT, self.key.key_id, b"\x51" * 20, 1_000, 61_000, 64)
        return replace(label, **changes)  # type: ignore[arg-type]

    def seal(self, message: bytes = b"buy 3", sigma: bytes = b"\x07" * 32, **changes: int | bytes) -> bytes:
        return threshold.seal(self.key, self.label(**changes), message, sigma=sigma)

    def check(self, ciphertext: bytes, label: Label | bytes | None = None) -> CheckedCiphertext:
        label = self.label() if label is None else label
        encoded = label.encode() if isinstance(label, Label) else label
        return threshold.check(self.key, encoded, ciphertext, buckets=BUCKETS)

    def shares(self, checked: CheckedCiphertext) -> dict[int, bytes]:
        return {secret.index: threshold.share(secret, checked) for secret in self.dealing.shares}

    def subsets(self) -> Iterable[tuple[int, ...]]:
        return combinations(range(1, self.n + 1), self.t)

    def opened_by(
        self, checked: CheckedCiphertext, shares: dict[int, bytes], subset: Iterable[int]
    ) -> threshold.Opening:
        point = threshold.combine({index: shares[index] for index in subset}, self.t)
        return threshold.open_ciphertext(self.key, checked, point)

    def verdicts(self, checked: CheckedCiphertext, shares: dict[int, bytes]) -> set[str]:
        """What each subset of t shares says: "opened" or an error's code, all of them together."""
        found = set()
        for subset in self.subsets():
            try:
                self.opened_by(checked, shares, subset)
                found.add("opened")
            except ThresholdError as error:
                found.add(error.code)
        return found


def refusal(code: str) -> pytest.RaisesExc[ThresholdError]:
    """`with refusal("tdh2.proof"):` — the block must raise a ThresholdError of exactly this code."""
    return pytest.raises(ThresholdError, check=lambda error: error.code == code)
