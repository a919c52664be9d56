"""What the tests of rotations share: committees with joiners, steps of a rotation to wait for, words of members."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from mpc_sequencer.core import keys
from mpc_sequencer.core.effects import Approve, FromClient
from mpc_sequencer.core.messages import Submit, SubmitReply
from mpc_sequencer.core.node import NodeCore
from mpc_sequencer.core.rotation import Approval, Handover, encode_payload, topic
from mpc_sequencer.core.transcript import BlockEntry
from mpc_sequencer.core.types import NO_SIGNATURE, Envelope, KeyMessage, NextCommittee, with_signature
from mpc_sequencer.market import AUCTION
from mpc_sequencer.market.types import OrderPolicy
from mpc_sequencer.sim import Cluster, Network, make_deployment
from mpc_sequencer.sim.host import Host

ROTATION_MS = 60_000
"""A rotation with all of its windows takes less."""


def cluster_of(
    n: int = 4,
    *,
    joiners: int = 3,
    generated: bool = False,
    seed: int = 3,
    network: Network | None = None,
    key_refresh_ms: int = 0,
    poor_traders: int = 0,
    policy: OrderPolicy = AUCTION,
    joined: Iterable[int] | None = None,
) -> Cluster:
    """A committee that has its key, and joiners that follow its log."""
    d = make_deployment(
        n,
        seed=seed,
        joiners=joiners,
        generated=generated,
        key_refresh_ms=key_refresh_ms,
        poor_traders=poor_traders,
        policy=policy,
    )
    cluster = Cluster(d, seed=seed + 1, network=network)
    if generated:
        assert cluster.run(5_000, until=lambda c: all(core.committee.sharings for core in c.cores))
        certificate = cluster.cores[0].committee.sharing(0).certificate
        assert certificate is not None
        keys.establish(d.committee, certificate)
    for joiner in range(joiners) if joined is None else joined:
        cluster.join(joiner)
    cluster.run(700)
    return cluster


def target_of(cluster: Cluster, people: Iterable[int], threshold: int | None = None) -> NextCommittee:
    """A committee of these people, with t = q at first."""
    chosen = list(people)
    return cluster.deployment.next_committee(chosen, threshold or len(chosen) - (len(chosen) - 1) // 3)


def as_it_is(cluster: Cluster) -> NextCommittee:
    """The committee of the first epoch, as a proposal."""
    committee = cluster.deployment.committee
    return cluster.deployment.next_committee(range(committee.n), committee.t)


def approve(cluster: Cluster, target: NextCommittee, places: Iterable[int]) -> None:
    """The operators of these hosts' members want ``target`` to follow."""
    cluster.epochs = True
    for place in places:
        cluster.at(cluster.now_ms, place, Approve(target))


def word(cluster: Cluster, node: int, said: Approval | Handover) -> KeyMessage:
    """What member ``node`` of the first epoch says of the succession, signed."""
    d = cluster.deployment
    unsigned = KeyMessage(0, topic(d.committee), node, encode_payload(said), NO_SIGNATURE)
    signer = [*d.signers, *d.joiners][node]
    return with_signature(unsigned, signer.sign_digest(d.committee.digest(unsigned.struct_hash())))


def up(cluster: Cluster) -> list[Host]:
    return [host for host in cluster.hosts if host.up]


def wait(
    cluster: Cluster, what: Callable[[NodeCore], bool], ms: int = ROTATION_MS, *, places: Sequence[int] = ()
) -> None:
    """Until all that are up (or the hosts at ``places``) are so far."""

    def reached(c: Cluster) -> bool:
        return all(what(c.hosts[place].core) for place in places or [host.place for host in up(c)])

    assert cluster.run(ms, until=reached), states(cluster)


def wait_any(cluster: Cluster, what: Callable[[NodeCore], bool], ms: int = ROTATION_MS) -> None:
    """Until one that is up is so far."""
    assert cluster.run(ms, until=lambda c: any(what(host.core) for host in up(c))), states(cluster)


def in_epoch(epoch: int) -> Callable[[NodeCore], bool]:
    return lambda core: core.committee.epoch >= epoch


def resharing(core: NodeCore) -> bool:
    """A session for another committee is under way."""
    return core.succession.target is not None and core.keygen.running is not None


def reshared(core: NodeCore) -> bool:
    return core.succession.outcome is not None or core.committee.epoch > 0


def handed_over(core: NodeCore) -> bool:
    return bool(core.chain.final_state.handover) or core.committee.epoch > 0


def rotate(cluster: Cluster, target: NextCommittee, places: Iterable[int] = range(4), epoch: int = 1) -> None:
    """All the way into ``epoch``."""
    approve(cluster, target, places)
    wait(cluster, in_epoch(epoch))


def states(cluster: Cluster) -> list[object]:
    return [
        (h.up, h.core.committee.epoch, h.core.node, h.core.chain.final_height, h.core.keygen.phase, h.core.over)
        for h in cluster.hosts
    ]


def trade(cluster: Cluster, places: Sequence[int] = (0, 1, 2, 3), trader: int = 0, **terms: int) -> Envelope:
    """An order of the trader, sealed and handed to the hosts at ``places`` now; client ``1 + place`` asks."""
    d = cluster.deployment
    order = d.order(d.traders[trader], cluster.now_ms, **terms)
    send(cluster, order, places)
    return order


def send(cluster: Cluster, order: Envelope, places: Sequence[int]) -> None:
    for place in places:
        cluster.at(cluster.now_ms, place, FromClient(1 + place, Submit(1, (order,), True)))


def executed(*orders: Envelope) -> Callable[[NodeCore], bool]:
    """Whether a core has batched and opened all of these."""
    ids = [order.order_id() for order in orders]

    def look(core: NodeCore) -> bool:
        held = [core.pool.get(order_id) for order_id in ids]
        done = core.execution.executed_height
        return all(one is not None and 0 < one.sequenced_height <= done for one in held)

    return look


def same_everywhere(cluster: Cluster, places: Sequence[int] = ()) -> None:
    """Hosts that are up agree on the chain and on what came of it, and nobody is accused."""
    chosen = [cluster.hosts[place] for place in places] or up(cluster)
    cluster.run(300)
    for _ in range(40):
        if len({host.core.chain.final_id for host in chosen}) == 1:
            break
        cluster.run(50)
    assert len({host.core.chain.final_id for host in chosen}) == 1, states(cluster)
    assert len({host.core.execution.engine.state_root() for host in chosen}) == 1
    assert len({host.core.committee.starts for host in chosen}) == 1
    assert not cluster.evidence


def batched(cluster: Cluster, place: int) -> list[bytes]:
    """The ids of all orders in the batches that the host's log holds, in order; each is there once."""
    blocks = [one.block for one in cluster.hosts[place].disk.log if isinstance(one, BlockEntry)]
    ids = [one.order_id for block in blocks for one in block.batch]
    assert len(ids) == len(set(ids)), "an order is batched once, whatever the epoch"
    return ids


def promised(cluster: Cluster, order: Envelope, places: Iterable[int] = range(40)) -> bool:
    """Whether one of these hosts' members has given a receipt for the order."""
    found = [
        one
        for place in places
        for _, reply in cluster.replies.get(1 + place, ())
        if isinstance(reply, SubmitReply)
        for one in reply.results
    ]
    return any(one.order_id == order.order_id() and one.receipt is not None for one in found)
