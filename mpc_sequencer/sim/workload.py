"""What traders do in a run: orders good and bad, to one member or many, drawn from the seed.

Kinds: *valid*; *poor* (its sponsor's bond covers a few orders only); *short* (expires within moments); *later* (not
valid yet); *garbage* (a plaintext that is no order); *resealed* (the same signed order sealed twice: only the first
may touch the nonce); *bent* (a ciphertext whose proof does not hold: refused at the door). What valid ones say is
drawn too (:mod:`mpc_sequencer.sim.actions`).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from mpc_sequencer.core.actions import BUY, GTC, IOC, SELL
from mpc_sequencer.core.messages import Submit
from mpc_sequencer.core.types import Envelope
from mpc_sequencer.sim.actions import PRICE_TICKS, SPREAD_TICKS, draw_action
from mpc_sequencer.sim.cluster import Cluster
from mpc_sequencer.sim.deployment import Deployment, Trader

RICH_TRADERS: Final = 4
POOR_TRADERS: Final = 1
LOAD_MS: Final = 2_800
SUBMISSION_EVERY_MS: Final = (20, 160)
KINDS: Final = ("valid",) * 8 + ("poor", "poor", "short", "later", "garbage", "resealed", "bent")


@dataclass(slots=True)
class Workload:
    """Submits orders to a cluster; ``sent`` has every envelope that a member may admit, by order id."""

    cluster: Cluster
    rng: random.Random
    sent: dict[bytes, Envelope] = field(default_factory=dict)
    _requests: int = 0

    @property
    def _deployment(self) -> Deployment:
        return self.cluster.deployment

    def schedule(self) -> None:
        """Plan all submissions of the load phase."""
        at_ms = self.cluster.now_ms
        end_ms = at_ms + LOAD_MS
        while (at_ms := at_ms + self.rng.randint(*SUBMISSION_EVERY_MS)) < end_ms:
            self.cluster.call(at_ms, self.submit_some)

    def submit_some(self) -> None:
        """One or two orders of a kind, now, to members drawn at random."""
        for envelope in self._orders(self.rng.choice(KINDS)):
            self.submit(envelope, self._targets())

    def submit(self, envelope: Envelope, targets: list[int]) -> None:
        """Hand an envelope to members now, once to each."""
        self.sent[envelope.order_id()] = envelope
        self._requests += 1
        for node in targets:
            self.cluster.request(node, Submit(self._requests, (envelope,), True), client=1 + node)

    def _targets(self) -> list[int]:
        """One member, one member twice, some, or all."""
        nodes = self._members()
        one = self.rng.choice(nodes)
        some = self.rng.sample(nodes, self.rng.randint(2, len(nodes)))
        return self.rng.choice(([one], [one], [one, one], some, list(nodes)))

    def _members(self) -> Sequence[int]:
        return range(self._deployment.committee.n)

    def probe(self, turn: int) -> bytes:
        """A plain order to all members; its id."""
        trader = self._deployment.traders[turn % RICH_TRADERS]
        envelope = self._deployment.order(trader, self.cluster.now_ms, side=BUY + turn % 2, time_in_force=IOC)
        self.submit(envelope, list(self._members()))
        return envelope.order_id()

    def _terms(self) -> dict[str, int]:
        return {
            "side": self.rng.choice((BUY, SELL)),
            "price_ticks": PRICE_TICKS + self.rng.randint(-SPREAD_TICKS, SPREAD_TICKS),
            "quantity_lots": self.rng.randint(1, 50),
            "time_in_force": self.rng.choice((GTC, GTC, IOC)),
        }

    def _orders(self, kind: str) -> list[Envelope]:
        d, now_ms = self._deployment, self.cluster.now_ms
        trader = d.traders[-1] if kind == "poor" else self.rng.choice(d.traders[:RICH_TRADERS])
        label = d.label(trader.address, now_ms, life_ms=self.rng.randint(60, 500) if kind == "short" else 120_000)
        if kind == "later":
            label = d.label(trader.address, now_ms + self.rng.randint(100, 1_500))
        plaintext = self._plaintext(kind, trader, label)
        envelopes = [d.envelope(trader, label, plaintext)]
        if kind == "resealed":
            envelopes.append(d.envelope(trader, label, plaintext))
        if kind == "bent":
            body = bytearray(envelopes[0].ciphertext)
            body[self.rng.randrange(1, len(body))] ^= 1
            envelopes.append(d.sponsored(trader, envelopes[0].label, bytes(body)))
        return envelopes

    def _plaintext(self, kind: str, trader: Trader, label: object) -> bytes:
        if kind == "garbage":
            return self.rng.randbytes(self.rng.randint(0, 120))
        order = self._deployment.limit_order(trader, label, **self._terms())  # type: ignore[arg-type]
        if self.rng.random() < 0.1:
            order = msgspec.structs.replace(order, nonce=max(1, order.nonce - 1))  # two orders with one nonce
        return self._deployment.plaintext(trader, draw_action(self.rng, order, self.cluster.now_ms))
