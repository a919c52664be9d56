"""A key generation among members far from each other: cores on virtual time, over half the p50 pings between regions.

Every message of the session goes the whole way: listed, lifted by a block, final. Delays are constant, nothing fails
and computing takes no virtual time, so the time found is that of the messages' ways; CPU is what all members take in
one process with agreement and codec in it, divided by them. What is sent counts each message once per receiver.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from time import process_time
from typing import Any, Final

from mpc_sequencer.bench.regions import geometry_of, regions_of
from mpc_sequencer.core.codec import encode
from mpc_sequencer.core.messages import PeerMessage
from mpc_sequencer.sim.cluster import Cluster
from mpc_sequencer.sim.deployment import START_MS, make_deployment
from mpc_sequencer.sim.wire import Network

VIRTUAL_MS_MAX: Final = 120_000
SEED: Final = 1


class _Counted(Cluster):
    """Counts the bytes that members send."""

    sent_bytes = 0

    def _transmit(self, sender: int, receiver: int, message: PeerMessage) -> None:
        self.sent_bytes += len(encode(message))
        super()._transmit(sender, receiver, message)


def measure_regions(sizes: Sequence[tuple[int, int]]) -> list[dict[str, Any]]:
    """Per size ``{"n", "t", "key_ms", "heights", "cpu_ms", "bytes"}``: virtual time until every member has its share,
    blocks it took, CPU and bytes sent per member. Raises ``RuntimeError`` where honest members get no key."""
    return [_measure(n, t) for n, t in sizes]


def _measure(n: int, t: int) -> dict[str, Any]:
    deployment = make_deployment(n, threshold=t, generated=True)
    delays_us = geometry_of(deployment, regions_of(n)).one_way_us

    def delay_ms(_rng: random.Random, sender: int, receiver: int) -> int:
        return max(1, round(delays_us[sender][receiver] / 1_000))

    began_s = process_time()
    cluster = _Counted(deployment, seed=SEED)
    cluster.network = Network(delay_ms=delay_ms)
    if not cluster.run(VIRTUAL_MS_MAX, until=lambda c: all(core.reveal.secrets for core in c.cores)):
        raise RuntimeError(f"{n} members got no key in {VIRTUAL_MS_MAX} ms")
    cpu_ms = (process_time() - began_s) * 1e3 / n
    return {
        "n": n,
        "t": t,
        "key_ms": cluster.now_ms - START_MS,
        "heights": max(core.committee.sharing(0).from_height - 1 for core in cluster.cores),
        "cpu_ms": round(cpu_ms, 1),
        "bytes": round(cluster.sent_bytes / n),
    }
