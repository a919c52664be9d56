"""What an order costs by committee size: processor time, messages and bytes, and which part of them grows.

All members run in one process, one after the other, over a network without delays worth mention and with their real
cryptography. Each repetition sends one batch of sealed orders to all members, as the SDK does, and runs the committee
until every member has executed them and their results are certified; the processor time that the members took,
encoding and decoding of their messages included, is divided by the orders and by the members. Of several repetitions,
which go over all sizes in turn, the cheapest of each part counts, since what else runs on the machine only adds. Disks
and TLS are not part of it.

The parts, per order and member; the time of the cryptographic ones is what :mod:`mpc_sequencer.bench.meter` clocked in
the calls, a share of a kind of call by its count:

    door        the ciphertext's check, the sponsor's signature, the receipt: once per order
    reveal      the share and its part of the bundle's proof, t shares combined, the opening: once per order
    account     the account's signature: once per order
    statements  signatures made and verified over heads, lists, votes, certificates, bundles and settlement results: by
                block and member
    coin        the coin share made, those of others verified, t combined: by block and member
    wire        encoding and strict decoding of all messages
    other       everything else: hashing, ordering, clearing, the state tree, Python itself
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final

from mpc_sequencer.bench.floor import Geometry
from mpc_sequencer.bench.growth import named, power_law
from mpc_sequencer.bench.wan import Spent, Wan
from mpc_sequencer.core.actions import BUY, GTC, SELL
from mpc_sequencer.core.limits import SUBMIT_ENVELOPES_MAX
from mpc_sequencer.core.messages import ClientReply, Submit
from mpc_sequencer.core.types import Envelope
from mpc_sequencer.sim.deployment import START_MS, Deployment, make_deployment

SIZES_DEFAULT: Final = (4, 7, 13, 31)
ORDERS_DEFAULT: Final = 192
ROUNDS_DEFAULT: Final = 3
ROUNDS_MAX: Final = 100
HOP_US: Final = 500
TRADERS: Final = 16
PRICE_TICKS: Final = 618_000
SETTLED_US_MAX: Final = 60_000_000
PARTS: Final = ("door", "reveal", "account", "statements", "coin", "wire", "other")


class _Trial:
    """A committee that goes on from batch to batch."""

    def __init__(self, nodes: int, seed: int) -> None:
        self.deployment: Deployment = make_deployment(nodes, seed=seed, traders=TRADERS)
        committee = self.deployment.committee
        hops = tuple(tuple(0 if i == j else HOP_US for j in range(nodes)) for i in range(nodes))
        geometry = Geometry.of(hops, ((HOP_US,) * nodes,), f=committee.f, q=committee.q, t=committee.t)
        self.wan = Wan(self.deployment, geometry, {}, self._ignore, timed=True)
        self.requests = 0

    def _ignore(self, _now_us: int, _client: int, _node: int, _reply: ClientReply) -> None:
        """Members answer their clients; what they say is not measured here."""

    def seal(self, orders: int) -> tuple[Envelope, ...]:
        """``orders`` sealed orders that cross: the clients' work, which is not counted."""
        d, now_ms = self.deployment, START_MS + self.wan.now_us // 1_000
        return tuple(
            d.order(
                d.traders[number % TRADERS],
                now_ms,
                side=(BUY, SELL)[number % 2],
                price_ticks=PRICE_TICKS,
                quantity_lots=1 + number % 7,
                time_in_force=GTC,
            )
            for number in range(orders)
        )

    def settle(self, sealed: tuple[Envelope, ...]) -> None:
        """Hand a batch to all members and run until its results are certified."""
        self.requests += 1
        for node in range(self.deployment.committee.n):
            self.wan.submit(0, node, Submit(self.requests, sealed, True))
        wanted = [member.core.board.sequenced + len(sealed) for member in self.wan.members]

        def settled() -> bool:
            return all(
                core.board.sequenced >= count and not core.chain.final_state.counting
                for core, count in zip((member.core for member in self.wan.members), wanted, strict=True)
            )

        if not self.wan.run(settled, SETTLED_US_MAX):
            raise RuntimeError(f"{len(sealed)} orders were not certified within {SETTLED_US_MAX // 1_000_000} s")

    def round(self, orders: int) -> dict[str, Any]:
        """One batch: nanoseconds by part in all, and per order and member messages, bytes and calls."""
        sealed, heights, handled = self.seal(orders), len(self.wan.blocks), orders * self.deployment.committee.n
        with self.wan as wan:
            spent = wan.spent = Spent()
            wan.meter.calls.clear()
            wan.meter.spent_ns.clear()
            self.settle(sealed)
            parts = parts_ns(wan.meter.calls, wan.meter.spent_ns, handled)
            other_ns = max(0, spent.rounds_ns - sum(parts.values()))
            return {
                "parts_ns": {**parts, "wire": spent.wire_ns, "other": other_ns},
                "messages": round(spent.messages / handled, 2),
                "bytes": round(spent.message_bytes / handled),
                "blocks": len(wan.blocks) - heights,
                "calls": {name: round(count / handled, 3) for name, count in sorted(wan.meter.calls.items())},
            }


def measure_sizes(
    sizes: Sequence[int], orders: int, rounds: int, seed: int = 0, progress: Callable[[str], None] = lambda _text: None
) -> list[dict[str, Any]]:
    """By committee size: microseconds, messages and bytes per order and member. Rounds go over all sizes in turn, so
    that what else runs on the machine meets all of them; each part's cheapest round counts."""
    trials = [_Trial(nodes, seed) for nodes in sizes]
    rows: list[list[dict[str, Any]]] = [[] for _ in sizes]
    for number in range(rounds + 1):
        for trial, found in zip(trials, rows, strict=True):
            progress(f"round {number} of {rounds}, n = {trial.deployment.committee.n}")
            row = trial.round(orders)
            if number:  # the first fills caches and the books
                found.append(row)
    return [_cheapest(trial, found, orders) for trial, found in zip(trials, rows, strict=True)]


def _cheapest(trial: _Trial, rows: Sequence[dict[str, Any]], orders: int) -> dict[str, Any]:
    committee = trial.deployment.committee
    parts = {name: min(row["parts_ns"][name] for row in rows) for name in PARTS}
    handled, total_ns = orders * committee.n, sum(parts.values())
    crypto_ns = total_ns - parts["wire"] - parts["other"]
    return {
        "n": committee.n,
        "q": committee.q,
        "t": committee.t,
        "us": round(total_ns / 1_000 / handled, 1),
        "us_all": round(total_ns / 1_000 / orders, 1),
        "parts_us": {name: round(ns / 1_000 / handled, 1) for name, ns in parts.items()},
        "crypto_share": round(crypto_ns / total_ns, 3),
        **{name: rows[0][name] for name in ("messages", "bytes", "blocks", "calls")},
    }


def parts_ns(calls: Counter[str], spent_ns: Counter[str], orders_seen: int) -> dict[str, int]:
    """Nanoseconds by cryptographic part. ``orders_seen`` counts an order once per member; of the signature checks and
    signatures, those of orders are told from statements by that count."""
    recovered = min(calls["recover"], 2 * orders_seen)
    signed = min(calls["sign"], orders_seen)
    recover_ns = spent_ns["recover"] / max(1, calls["recover"])
    sign_ns = spent_ns["sign"] / max(1, calls["sign"])
    return {
        "door": round(spent_ns["check"] + recovered / 2 * recover_ns + signed * sign_ns),
        "reveal": sum(spent_ns[name] for name in ("share", "prove", "verify_bundle", "combine", "open")),
        "account": round(recovered / 2 * recover_ns),
        "statements": round((calls["recover"] - recovered) * recover_ns + (calls["sign"] - signed) * sign_ns),
        "coin": sum(spent_ns[name] for name in ("coin_share", "verify_coin", "combine_coin")),
    }


def measure(
    sizes: Sequence[int] = SIZES_DEFAULT,
    orders: int = ORDERS_DEFAULT,
    rounds: int = ROUNDS_DEFAULT,
    progress: Callable[[str], None] = lambda _text: None,
) -> dict[str, Any]:
    """All sizes and, where there are two or more, how each figure grows: the object ``bench scale --json`` prints.

    Raises ``ValueError`` for orders or rounds out of range.
    """
    if not 1 <= orders <= SUBMIT_ENVELOPES_MAX or not 1 <= rounds <= ROUNDS_MAX:
        raise ValueError(f"1 .. {SUBMIT_ENVELOPES_MAX} orders in 1 .. {ROUNDS_MAX} rounds, not {orders} in {rounds}")
    rows = measure_sizes(sizes, orders, rounds, progress=progress)
    return {"orders": orders, "rounds": rounds, "sizes": rows, "growth": growth(rows)}


def growth(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """By figure: the exponent of n, and its name. A part that is nothing somewhere is left out."""
    whole = ("us", "us_all", "messages", "bytes")
    series: dict[str, list[float]] = {name: [row[name] for row in rows] for name in whole}
    series |= {part: [row["parts_us"][part] for row in rows] for part in PARTS}
    found: dict[str, dict[str, Any]] = {}
    for name, values in series.items():
        if len(rows) >= 2 and min(values) > 0:
            exponent, _ = power_law([row["n"] for row in rows], values)
            found[name] = {"exponent": round(exponent, 2), "name": named(exponent)}
    return found
