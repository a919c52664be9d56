"""What a session ends with, derived from public messages alone.

Generation: with A_k = sum of the qualified dealers' A_ik, Y = A_0 and Y_j = sum j^k A_k. Resharing: the same with
A_k = sum lambda_d A_dk over the t_old deals that count, whose A_0 must be the old Y again. Every receiver has its
verification key, also one that was silent: a share that it gets later, by extraction or refresh, is judged by it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from threshold import group, tags
from threshold.dkg.plan import SESSION_BYTES, Kind, Plan
from threshold.errors import ThresholdError
from threshold.group import POINT_BYTES, Point
from threshold.shamir import evaluate_in_exponent, interpolate_at_zero


@dataclass(frozen=True, slots=True)
class Result:
    """The key: Y and Y_j (33 bytes each), any `threshold` of whose holders use it; `qualified` dealers made it.

    `refresh_advised`: not every receiver declared itself ready, so some may lack their share until the next resharing.
    It is no part of the hash, which receivers declare before it is known.
    """

    session: bytes
    threshold: int
    public_key: bytes
    verification_keys: Mapping[int, bytes]
    qualified: tuple[int, ...]
    refresh_advised: bool = False

    def encode(self) -> bytes:
        """session 32 || t u16 || Y 33 || receivers u16 || (j u16 || Y_j 33)* || dealers u16 || i u16*, ascending."""
        keys = (j.to_bytes(2, "big") + key for j, key in sorted(self.verification_keys.items()))
        dealers = (i.to_bytes(2, "big") for i in self.qualified)
        return b"".join(
            (
                self.session,
                self.threshold.to_bytes(2, "big"),
                self.public_key,
                len(self.verification_keys).to_bytes(2, "big"),
                *keys,
                len(self.qualified).to_bytes(2, "big"),
                *dealers,
            )
        )

    @classmethod
    def decode(cls, data: bytes) -> Result:
        """The result that `encode` wrote. Raises `dkg.length`, `dkg.order`, `dkg.threshold` or a `point.*` code."""
        at = SESSION_BYTES + 2 + POINT_BYTES + 2
        receivers = int.from_bytes(data[at - 2 : at], "big")
        step = 2 + POINT_BYTES
        end = at + receivers * step + 2
        dealers = int.from_bytes(data[end - 2 : end], "big")
        if len(data) != end + 2 * dealers:  # a count that is cut off leaves its own bytes missing
            raise ThresholdError("dkg.length", "result", f"{len(data)} bytes", "what its counts say")
        rows = [data[at + k * step : at + (k + 1) * step] for k in range(receivers)]
        keys = {int.from_bytes(row[:2], "big"): row[2:] for row in rows}
        qualified = tuple(int.from_bytes(data[end + 2 * k : end + 2 * k + 2], "big") for k in range(dealers))
        public_key = data[SESSION_BYTES + 2 : SESSION_BYTES + 2 + POINT_BYTES]
        for name, key in (("public_key", public_key), *((f"verification_keys[{j}]", key) for j, key in keys.items())):
            group.parse_point(key, name)
        threshold = int.from_bytes(data[SESSION_BYTES : SESSION_BYTES + 2], "big")
        result = cls(data[:SESSION_BYTES], threshold, public_key, keys, qualified)
        if result.encode() != data or any(a >= b for a, b in pairwise((0, *qualified))) or 0 in keys:
            raise ThresholdError("dkg.order", "result", "another order, or an index twice", "ascending indexes from 1")
        if not 1 <= threshold <= receivers:
            raise ThresholdError("dkg.threshold", "result", str(threshold), f"1 .. {receivers}, its receivers")
        return result

    def hash(self) -> bytes:
        """What receivers declare themselves ready for, 32 bytes."""
        return tags.DKG_RESULT(self.encode())


def make_result(plan: Plan, commitments: Mapping[int, Sequence[Point | None]]) -> Result:
    """The result of the qualified dealers' Feldman commitments. Raises `dkg.abort_result`.

    A key at infinity, which takes the dealers' joint intent, is no key; a resharing's other public key than the old
    one means that the plan's verification keys are not those of one sharing.
    """
    qualified = tuple(sorted(commitments))
    sums: list[Point | None] = []
    for k in range(plan.threshold):
        column = {i: point for i in qualified if (point := commitments[i][k]) is not None}
        if plan.kind is Kind.RESHARE:  # no infinity among them: these commitments were all sent
            sums.append(interpolate_at_zero(column))
        else:
            sums.append(group.add(list(column.values())) if column else None)
    keys = {j: _encode(evaluate_in_exponent(sums, j)) for j in plan.receivers}
    public_key = _encode(sums[0])
    if plan.kind is Kind.RESHARE and public_key != plan.public_key:
        raise _no_result(public_key.hex(), plan.public_key.hex())
    return Result(plan.session, plan.threshold, public_key, keys, qualified)


def _encode(point: Point | None) -> bytes:
    if point is None:
        raise _no_result("infinity", "finite keys")
    return group.encode_point(point)


def _no_result(seen: str, expected: str) -> ThresholdError:
    return ThresholdError("dkg.abort_result", "public_key", seen, expected)
