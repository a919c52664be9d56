"""A fetched block may bring the certificate that finalizes it: of that block, with a quorum, only when asked for."""

from __future__ import annotations

import msgspec
import pytest
from core_kit import make_certificate, refused, submit

from mpc_sequencer.core.messages import BlockMessage
from mpc_sequencer.core.types import FINALIZE, NOTARIZE, Certificate
from mpc_sequencer.sim import Cluster, Deployment, make_deployment

ASKING, ANSWERING = 1, 3


@pytest.fixture
def cluster() -> Cluster:
    d = make_deployment(4)
    cluster = Cluster(d)
    cluster.run(40)
    submit(cluster, 0, d.order(d.traders[0], cluster.now_ms))
    cluster.run(2_000)
    return cluster


def answer(cluster: Cluster, finalization: Certificate | None) -> BlockMessage:
    entry = cluster.cores[ANSWERING].chain.final_entry(1)
    assert entry is not None
    return BlockMessage(entry.block, finalization)


def bad(d: Deployment, view: int, block_id: bytes, name: str) -> tuple[Certificate, str]:
    return {
        "another kind": (make_certificate(d, NOTARIZE, view, block_id), "vote.kind"),
        "another block": (make_certificate(d, FINALIZE, view, bytes([7]) * 32), "vote.kind"),
        "too few": (make_certificate(d, FINALIZE, view, block_id, nodes=(2, 3)), "certificate.quorum"),
        "strangers": (make_certificate(make_deployment(4, seed=9), FINALIZE, view, block_id), "signature.signer"),
    }[name]


@pytest.mark.parametrize("name", ["another kind", "another block", "too few", "strangers"])
def test_a_certificate_that_does_not_finalize_the_block_is_refused(cluster: Cluster, name: str) -> None:
    core, d = cluster.cores[ASKING], cluster.deployment
    plain = answer(cluster, None)
    block_id = plain.block.header.block_id()
    core.fetcher.want_block(block_id, ANSWERING, cluster.now_ms)
    core.chain.finalizations.pop(block_id, None)
    certificate, code = bad(d, plain.block.header.view, block_id, name)
    with refused(code):
        core.peers.handle(ANSWERING, msgspec.structs.replace(plain, finalization=certificate), cluster.now_ms)
    assert block_id not in core.chain.finalizations
    good = make_certificate(d, FINALIZE, plain.block.header.view, block_id)
    core.peers.handle(ANSWERING, msgspec.structs.replace(plain, finalization=good), cluster.now_ms)
    assert core.chain.finalizations[block_id] == good


def test_an_answer_nobody_asked_for_is_dropped_unread(cluster: Cluster) -> None:
    core = cluster.cores[ASKING]
    before = dict(core.chain.finalizations)
    unasked = answer(cluster, make_certificate(cluster.deployment, NOTARIZE, 1, bytes(31) + b"1"))
    core.peers.handle(ANSWERING, unasked, cluster.now_ms)
    assert core.chain.finalizations == before
    assert not core.peers._unchecked


def test_an_old_head_does_not_wake_a_member_without_work(cluster: Cluster) -> None:
    core = cluster.cores[ASKING]
    core.simplex._deadline_ms = cluster.now_ms + 60_000
    core.flush(cluster.now_ms + 1_000)
    assert not core.has_work(cluster.now_ms + 1_000)
    assert core.wake_at_ms() > cluster.now_ms + 1_001
