"""Attack: get honest members to release decryption shares of a block that is not final.

Shares before finality would show a batch while it can still be thrown away and replaced. Neither a notarized block, nor
a request, nor a forged certificate, nor an accomplice's bundle brings a member to compute one.

Evidence: `false-finality`: the accomplice's own signed bundle; a forged certificate is refused (`certificate.quorum`,
`signature.signer`) and signed by nobody, and shares handed around in private leave no trace.
"""

from typing import Any

import msgspec
import pytest
from core_kit import all_sequenced, make_certificate, picture, refused, submit
from evidence_kit import evidence_left

from mpc_sequencer.core import reveal
from mpc_sequencer.core.effects import Evidence, Fault, FromPeer
from mpc_sequencer.core.messages import (
    BundleMessage,
    CertificateMessage,
    FetchBundle,
    PeerMessage,
    VoteMessage,
)
from mpc_sequencer.core.types import FINALIZE, NOTARIZE
from mpc_sequencer.sim import Cluster, make_deployment


def _finalize(message: PeerMessage) -> bool:
    value = getattr(message, "vote", None) or getattr(message, "certificate", None)
    return isinstance(message, VoteMessage | CertificateMessage) and value.kind == FINALIZE


@pytest.fixture
def notarized(monkeypatch: pytest.MonkeyPatch) -> tuple[Cluster, list[bytes], bytes]:
    """A committee whose finalize votes are all lost, a list of u's that got a share, and a notarized block's id."""
    shared: list[bytes] = []
    honest_share = reveal.share

    def recorded(secret: Any, checked: Any) -> bytes:
        shared.append(checked.ciphertext.u)
        return honest_share(secret, checked)

    monkeypatch.setattr(reveal, "share", recorded)
    d = make_deployment(4)
    cluster = Cluster(d)
    cluster.network.tamper = lambda _s, _r, message: None if _finalize(message) else message
    submit(cluster, 0, d.order(d.traders[0], cluster.now_ms))
    cluster.run(1_500)
    entries = [e for e in cluster.cores[1].chain._entries.values() if e.block.batch]
    assert entries, "the batch is notarized"
    return cluster, shared, entries[0].block_id


def test_a_notarized_block_gets_no_share_however_long_it_waits(notarized: tuple[Cluster, list[bytes], bytes]) -> None:
    cluster, shared, _ = notarized
    cluster.run(5_000)
    assert not shared
    assert all(core.chain.final_height == 0 for core in cluster.cores)
    assert evidence_left(cluster) == set()


def test_asking_for_a_bundle_gets_none(notarized: tuple[Cluster, list[bytes], bytes]) -> None:
    cluster, shared, block_id = notarized
    core = cluster.cores[1]
    before = picture(core)
    assert core.step(FromPeer(3, FetchBundle(block_id)), cluster.now_ms) == []
    assert picture(core) == before
    assert not core.has_work()
    assert not shared


@pytest.mark.parametrize("forgery", ["too few", "notarize", "stranger's votes"])
def test_a_forged_finalization_is_refused(forgery: str, notarized: tuple[Cluster, list[bytes], bytes]) -> None:
    cluster, shared, block_id = notarized
    d, core = cluster.deployment, cluster.cores[1]
    view = core.chain._entries[block_id].block.header.view
    certificate, code = {
        "too few": (make_certificate(d, FINALIZE, view, block_id, nodes=(2, 3)), "certificate.quorum"),
        "notarize": (
            msgspec.structs.replace(make_certificate(d, NOTARIZE, view, block_id), kind=FINALIZE),
            "signature.signer",
        ),
        "stranger's votes": (
            make_certificate(make_deployment(4, seed=9), FINALIZE, view, block_id),
            "signature.signer",
        ),
    }[forgery]
    before = picture(core)
    with refused(code):
        core.simplex.on_certificate(certificate, cluster.now_ms)
    assert picture(core) == before
    cluster.at(cluster.now_ms, 1, FromPeer(3, CertificateMessage(certificate)))
    cluster.run(100)
    assert not shared
    assert evidence_left(cluster) == set()


def test_an_accomplice_s_bundle_does_not_bring_shares_forth(notarized: tuple[Cluster, list[bytes], bytes]) -> None:
    """The bundle is of another, final run of the same order; only its certificate is this block's, and forged."""
    cluster, shared, block_id = notarized
    d = cluster.deployment
    other = Cluster(make_deployment(4))
    other.run(137)
    order = other.deployment.order(other.deployment.traders[0], other.now_ms)
    submit(other, 0, order)
    assert other.run(5_000, until=all_sequenced({order.order_id()}, {3}))
    other.run(500)
    bundle = next(iter(other.cores[3].reveal._own_bundles.values()))
    assert bundle.block_id != block_id
    forged = msgspec.structs.replace(bundle, block_id=block_id)
    forged = msgspec.structs.replace(
        forged, signature=d.signers[3].sign_digest(d.committee.digest(forged.struct_hash()))
    )
    shared.clear()
    core = cluster.cores[1]
    before = picture(core)
    effects = core.step(FromPeer(3, BundleMessage(forged)), cluster.now_ms)
    assert [one.code for one in effects if isinstance(one, Fault)] == ["bundle.path"]
    evidence = [(one.node, one.kind) for one in effects if isinstance(one, Evidence)]
    assert evidence == [(3, "false-finality")], "the accomplice is convicted by its own bundle"
    assert picture(core) == before
    cluster.run(100)
    assert not shared


def test_shares_follow_once_the_finalization_is_there(notarized: tuple[Cluster, list[bytes], bytes]) -> None:
    cluster, shared, block_id = notarized
    view = cluster.cores[1].chain._entries[block_id].block.header.view
    certificate = make_certificate(cluster.deployment, FINALIZE, view, block_id)
    cluster.at(cluster.now_ms, 1, FromPeer(3, CertificateMessage(certificate)))
    cluster.run(10)
    assert len(shared) == 1
