"""A committee with a dark market whose wire is in reach: what members send each other, bent or kept back."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from core_kit import submit

from mpc_sequencer.core.codec import decode, encode
from mpc_sequencer.core.messages import DarkShares, PeerMessage
from mpc_sequencer.core.transcript import DarkEntry, KeyEntry, LogEntry
from mpc_sequencer.core.types import KeyMessage
from mpc_sequencer.dark.bookstate import RUN
from mpc_sequencer.dark.messages import ResultSaid, decode_word
from mpc_sequencer.dark.transcript import RoundShares
from mpc_sequencer.sim import Cluster, Deployment, make_deployment
from mpc_sequencer.sim.darktrade import DarkSent, DarkTerms, dark_order
from mpc_sequencer.sim.deployment import DARK_MARKET

MARKET_ID = DARK_MARKET.id
Bend = Callable[[int, int, DarkShares], Iterable[DarkShares]]


class Wire(Cluster):
    """A cluster whose members' shares pass through ``bend``; ``said`` has all that they sent."""

    bend: Bend | None = None
    said: list[DarkShares]

    def _transmit(self, sender: int, receiver: int, message: PeerMessage) -> None:
        if not isinstance(message, DarkShares):
            super()._transmit(sender, receiver, message)
            return
        self.__dict__.setdefault("said", []).append(message)
        for one in (message,) if self.bend is None else self.bend(sender, receiver, message):
            super()._transmit(sender, receiver, one)


def dark_wire(seed: int = 21, **terms: int) -> Wire:
    """Five members that have agreed on keys."""
    cluster = Wire(make_deployment(5, seed=seed, dark=DARK_MARKET, **terms), seed=seed)
    assert cluster.run(5_000, lambda c: all(core.dark.desk.keys for core in c.cores))
    return cluster


def send(cluster: Cluster, trader: int, side: int, tick: int, lots: int, **terms: object) -> DarkSent:
    """A trader's dark order, to one member."""
    d, grid = cluster.deployment, DARK_MARKET.dark
    keys = next(host.core.dark.desk.keys for host in cluster.hosts if host.up)
    price_ticks = grid.price_first_ticks + grid.price_step_ticks * tick
    made = DarkTerms(side, price_ticks, lots, **terms)
    sent = dark_order(d, DARK_MARKET, keys, d.traders[trader], cluster.now_ms, made)
    submit(cluster, trader % 5, sent.envelope)
    return sent


def end_of(cluster: Cluster, node: int, sent: DarkSent) -> tuple[str, int, int] | None:
    """What an order came to at a member: code, lots, price; None while it waits."""
    disk = cluster.hosts[node].disk
    rows = {**disk.updates, **disk.fresh_updates}
    found = [row for (order_id, _), row in rows.items() if order_id == sent.envelope.order_id()]
    return (found[-1].code, found[-1].filled_lots, found[-1].price_ticks) if found else None


def ended(cluster: Cluster, orders: Iterable[DarkSent], nodes: Iterable[int], most_ms: int = 60_000) -> bool:
    """Run until the orders have ended at the members."""
    listed, places = list(orders), list(nodes)
    return cluster.run(most_ms, lambda c: all(end_of(c, node, one) for node in places for one in listed))


def computing(cluster: Cluster, node: int) -> bool:
    """Whether a member has begun to compute a batch and has spoken."""
    batch = cluster.hosts[node].core.dark.desk.book(MARKET_ID).state.batch
    said = getattr(cluster, "said", [])
    return batch is not None and batch.phase == RUN and any(one.party == node for one in said)


def words(log: Iterable[LogEntry], d: Deployment) -> list[tuple[int, object]]:
    """Author and word of all that a log has of dark markets."""
    messages: list[KeyMessage] = [one.message for one in log if isinstance(one, KeyEntry)]
    return [(one.node, decode_word(one.payload)) for one in messages if one.session == d.committee.dark_topic]


def results(log: Iterable[LogEntry], d: Deployment) -> dict[int, object]:
    return {node: word.outcome for node, word in words(log, d) if isinstance(word, ResultSaid)}


def transcripts(log: Iterable[LogEntry]) -> list[DarkEntry]:
    return [one for one in log if isinstance(one, DarkEntry)]


def other_shares(d: Deployment, message: DarkShares) -> DarkShares:
    """The author's message with its first share changed, signed by the author."""
    inner: RoundShares = decode(RoundShares, message.message)
    payload = bytes((inner.payload[0], inner.payload[1] ^ 1)) + inner.payload[2:]
    return resigned(d, message, encode(RoundShares(inner.session_id, inner.round, payload)))


def resigned(d: Deployment, message: DarkShares, data: bytes, signer: int | None = None) -> DarkShares:
    unsigned = DarkShares(message.session, message.party, message.round, data, bytes(65))
    digest = d.committee.digest(unsigned.struct_hash())
    signature = d.signers[message.party if signer is None else signer].sign_digest(digest)
    return DarkShares(message.session, message.party, message.round, data, signature)
