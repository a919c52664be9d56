"""What a member answers to a client that asks for epochs: proofs of those that began, and the rotation under way."""

from __future__ import annotations

import msgspec
import pytest

from mpc_sequencer.core import limits, rotation
from mpc_sequencer.core.codec import decode, encode
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.messages import ClientReply, EpochsQuery, EpochsReply
from mpc_sequencer.sim import Cluster, make_deployment


def asked(cluster: Cluster, node: int, after_epoch: int = 0) -> EpochsReply:
    """The answer of the member that a host runs, over the wire."""
    client = 1_000 + node
    cluster.replies.pop(client, None)
    cluster.request(node, EpochsQuery(7, after_epoch), client=client)
    cluster.run(2)
    _, reply = cluster.replies[client][-1]
    decoded = decode(ClientReply, encode(reply))
    assert isinstance(decoded, EpochsReply) and decoded.request == 7
    return decoded


def test_a_member_names_the_rotation_under_way_and_then_proves_the_epochs_that_began() -> None:
    deployment = make_deployment(4, seed=11, joiners=1)
    cluster = Cluster(deployment, seed=12)
    cluster.run(500)
    cluster.join(0)
    cluster.run(500)
    target, other = deployment.next_committee(range(5), 3), deployment.next_committee(range(5), 4)
    empty = asked(cluster, 0)
    assert (empty.starts, empty.agreed, empty.proposed, empty.approvals) == ((), None, None, 0)

    cluster.approve(other, [3])
    cluster.approve(target, [0, 1])
    assert cluster.run(20_000, until=lambda c: all(len(core.succession._approvals) == 3 for core in c.cores[:4]))
    said = asked(cluster, 2)
    assert (said.starts, said.agreed, said.proposed, said.approvals) == ((), None, target, 2)

    cluster.approve(target, [2])
    assert cluster.run(20_000, until=lambda c: c.cores[0].succession.target is not None)
    said = asked(cluster, 0)
    assert (said.starts, said.agreed, said.proposed, said.approvals) == ((), target, None, 3)

    assert cluster.run(60_000, until=lambda c: all(host.core.committee.epoch == 1 for host in c.hosts))
    said = asked(cluster, 0)
    assert [start.epoch for start in said.starts] == [1] and said.approvals == 0
    assert said.agreed is None and said.proposed is None
    followed = rotation.follow_all(deployment.committee, said.starts)
    assert followed.genesis == cluster.hosts[0].core.committee.genesis
    assert followed.sealing_key.public_key == deployment.committee.sealing_key.public_key
    assert asked(cluster, 0, after_epoch=1).starts == () and asked(cluster, 0, after_epoch=9).starts == ()
    with pytest.raises(ProtocolError, match=r"epoch\.unknown"):
        rotation.follow_all(followed, said.starts)

    # a long history is answered in parts: what counts here is the number, so the same start stands for all
    core = cluster.hosts[0].core
    epochs = range(1, 2 * limits.EPOCH_STARTS_MAX + 4)
    many = tuple(msgspec.structs.replace(said.starts[0], epoch=epoch) for epoch in epochs)
    object.__setattr__(core.committee.origin, "starts", many)
    pages, after = [], 0
    while starts := core.succession.reply(1, after).starts:
        pages.append(len(starts))
        assert [start.epoch for start in starts] == list(range(after + 1, after + 1 + len(starts)))
        after = starts[-1].epoch
    assert pages == [limits.EPOCH_STARTS_MAX, limits.EPOCH_STARTS_MAX, 3]

