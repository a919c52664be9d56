"""Logs of a committee with a dark market, made by clusters of members, one of whom lies in a computation."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace as changed
from functools import cache

import pytest
from msgspec.structs import replace

from mpc_sequencer.core.actions import BUY, SELL
from mpc_sequencer.core.codec import decode, encode
from mpc_sequencer.core.darkruns import DarkRuns
from mpc_sequencer.core.messages import Submit
from mpc_sequencer.core.transcript import DarkEntry
from mpc_sequencer.dark.messages import ResultSaid, Word
from mpc_sequencer.dark.session import Effect, Say
from mpc_sequencer.dark.transcript import RoundShares
from mpc_sequencer.sim import Cluster, make_deployment
from mpc_sequencer.sim.darktrade import DarkSent, DarkTerms, dark_order
from mpc_sequencer.sim.deployment import DARK_MARKET
from tests.audit.audited_epochs_kit import Log, Rotated, _run, _with_log_keys, rotate

LIAR, LIES_IN = 4, 2
"""A member of the first epoch, and the round of every computation in which its shares are off."""
VOID = 2
"""The first epoch's batch that no members agree on."""
MARKET = DARK_MARKET.id
FIRST_TICKS = 617_960
Follow = Callable[[DarkRuns, bytes, object, Effect], None]


def send(cluster: Cluster, trader: int, side: int, tick: int, lots: int, **terms: object) -> DarkSent:
    """A dark order that members of the first place's epoch take."""
    d, core = cluster.deployment, cluster.hosts[0].core
    desk = core.execution.engine.desk
    assert desk is not None and desk.keys is not None
    made = DarkTerms(side, FIRST_TICKS + 10 * tick, lots, **terms)  # type: ignore[arg-type]
    sent = dark_order(d, DARK_MARKET, desk.keys, d.traders[trader], cluster.now_ms, made)
    for place in (0, 1, 2):
        cluster.request(place, Submit(1, (sent.envelope,), True), client=1 + place)
    return sent


def has_ended(cluster: Cluster, sent: Iterable[DarkSent]) -> bool:
    """Whether the first place's member says that all of these orders have ended."""
    desk = cluster.hosts[0].core.execution.engine.desk
    assert desk is not None
    waiting = {one.order_id for market in desk.markets for one in desk.book(market).orders()}
    disk = cluster.hosts[0].disk
    told = {order_id for order_id, _ in {**disk.updates, **disk.fresh_updates}}
    names = {one.envelope.order_id() for one in sent}
    return names <= told and not names & waiting


def lying(follow: Follow) -> Follow:
    """What a member does that sends shares of its own making in a round."""

    def bent(self: DarkRuns, session: bytes, run: object, effect: Effect) -> None:
        who = self._core.node, self._core.committee.epoch
        if isinstance(effect, Say) and (*who, effect.round) == (LIAR, 0, LIES_IN):
            said: RoundShares = decode(RoundShares, effect.message)
            other = replace(said, payload=bytes((said.payload[0] ^ 1,)) + said.payload[1:])
            effect = changed(effect, message=encode(other))
        follow(self, session, run, effect)

    return bent


def agrees_on_nothing(word: Word) -> Word:
    """A member that has no outcome of one batch."""
    return replace(word, outcome=None) if isinstance(word, ResultSaid) and word.batch == VOID else word


def _play(cluster: Cluster) -> None:
    hosts = cluster.hosts
    for host in hosts[:5]:
        voice = host.core.dark_voice
        assert voice is not None
        if host.node:
            voice.bend = agrees_on_nothing
    assert cluster.run(8_000, lambda c: all(core.execution.engine.desk.keys for core in c.cores))
    first = [
        send(cluster, 0, BUY, 5, 7),
        send(cluster, 1, SELL, 3, 4),
        send(cluster, 2, SELL, 4, 5),
        send(cluster, 3, BUY, 2, 9),
        send(cluster, 0, BUY, 6, 1, kind="box", party=2),
        send(cluster, 1, BUY, 6, 1, kind="share", party=3),
        send(cluster, 2, BUY, 6, 1, kind="row"),
    ]
    assert cluster.run(30_000, lambda c: has_ended(c, first))
    void = [send(cluster, 0, BUY, 5, 2), send(cluster, 1, SELL, 3, 2)]
    assert cluster.run(30_000, lambda c: has_ended(c, void))
    waiting = send(cluster, 3, SELL, 3, 2)
    cluster.run(300)
    rotate(cluster, cluster.deployment.next_committee((0, 1, 2, 3, 5), 4), (0, 1, 2, 3, 4))
    assert cluster.run(20_000, lambda c: has_ended(c, [waiting]) and bool(desk_keys(c)))
    last = [send(cluster, 0, BUY, 5, 3), send(cluster, 1, SELL, 3, 3)]
    assert cluster.run(30_000, lambda c: has_ended(c, last))
    cluster.run(3_000)


def desk_keys(cluster: Cluster) -> object:
    """What the second epoch's members have agreed on."""
    desk = cluster.hosts[0].core.execution.engine.desk
    return desk is not None and desk.parties.epoch == 1 and desk.keys


@cache
def darkened() -> Rotated:
    """Five members, of whom one lies in computations, settle a batch with bad orders in it, come to nothing in another,
    and are replaced while an order waits; the next epoch settles one more."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DarkRuns, "_follow", lying(DarkRuns._follow))
        return _with_log_keys(lambda: _run(make_deployment(5, seed=21, dark=DARK_MARKET, joiners=1), _play, 21))


def transcripts(entries: Log) -> list[int]:
    """Where parts of transcripts stand."""
    return [index for index, one in enumerate(entries) if isinstance(one, DarkEntry)]
