"""The coin of a block decides a height's draws, comes with every opened batch, and is what the log says it is."""

from __future__ import annotations

import itertools

import msgspec
import pytest
from core_kit import check_safety, picture, results, sign, submit

from mpc_sequencer.audit.verify import Audit
from mpc_sequencer.core import reveal
from mpc_sequencer.core.actions import BUY, SELL
from mpc_sequencer.core.effects import FromPeer
from mpc_sequencer.core.execution import Execution
from mpc_sequencer.core.messages import BundleMessage, PeerMessage
from mpc_sequencer.core.transcript import BlockEntry, BundleEntry, OpenedEntry
from mpc_sequencer.core.types import Bundle
from mpc_sequencer.sim import Cluster, make_deployment
from threshold import BundleContext, coin_share, combine_coin, verify_coin_share

HEIGHTS = 6


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[reveal.OpenedBatch]:
    """Batches as they reach execution, of all members."""
    seen: list[reveal.OpenedBatch] = []
    honest = Execution.opened

    def recorded(self: Execution, batch: reveal.OpenedBatch) -> None:
        seen.append(batch)
        honest(self, batch)

    monkeypatch.setattr(Execution, "opened", recorded)
    return seen


def contested(cluster: Cluster, through: int) -> None:
    """One lot for sale and three bids for it at one price: the draw says who gets it."""
    d = cluster.deployment
    orders = [d.order(d.traders[0], cluster.now_ms, side=SELL, quantity_lots=1)]
    orders += [d.order(trader, cluster.now_ms, side=BUY, quantity_lots=1) for trader in d.traders[1:]]
    submit(cluster, through, *orders)


def coins(cluster: Cluster, node: int) -> dict[bytes, bytes]:
    """Per block, the one coin that all t-subsets of the coin shares in a member's log give."""
    committee = cluster.deployment.committee
    found: dict[bytes, bytes] = {}
    bundles = [one.bundle for one in cluster.logs[node] if isinstance(one, BundleEntry)]
    for block_id in {bundle.block_id for bundle in bundles}:
        shares = [
            verify_coin_share(
                committee.genesis.members[bundle.node].verification_key,
                BundleContext(committee.sealing_key.key_id, committee.epoch, block_id, bundle.node + 1),
                bundle.coin_share,
            )
            for bundle in bundles
            if bundle.block_id == block_id
        ]
        made = {combine_coin(chosen, committee.t) for chosen in itertools.combinations(shares, committee.t)}
        assert len(made) == 1
        found[block_id] = made.pop()
    return found


def test_every_member_executes_with_the_coin_of_the_shares_in_its_log(opened: list[reveal.OpenedBatch]) -> None:
    cluster = Cluster(make_deployment(4))
    for height in range(HEIGHTS):
        contested(cluster, height % 4)
        cluster.run(700)
    cluster.run(3_000)
    check_safety(cluster)
    expected = [coins(cluster, node) for node in range(4)]
    assert len(expected[0]) == HEIGHTS and expected.count(expected[0]) == 4
    assert len(opened) == 4 * HEIGHTS
    for batch in opened:
        assert batch.coin == expected[0][batch.final.block_id] != batch.final.block_id
    assert len(set(expected[0].values())) == HEIGHTS


def test_the_auditor_comes_to_the_same_coins_and_results(opened: list[reveal.OpenedBatch]) -> None:
    """The second implementation replays a log in which the draw decided every height."""
    cluster = Cluster(make_deployment(4))
    for height in range(HEIGHTS):
        contested(cluster, height % 4)
        cluster.run(700)
    cluster.run(3_000)
    assert len(results(cluster, 2)) == HEIGHTS
    audit = Audit(cluster.deployment.committee)
    for entry in cluster.logs[2]:
        audit.add(entry)
    assert audit.recorder.findings == []
    assert audit.results.results == results(cluster, 2)
    assert audit.recorder.checks["coin_shares"] >= 3 * HEIGHTS


def test_only_blocks_with_a_batch_have_bundles_and_so_coins() -> None:
    cluster = Cluster(make_deployment(4))
    contested(cluster, 0)
    cluster.run(8_000)
    blocks = [one.block for one in cluster.logs[1] if isinstance(one, BlockEntry)]
    counting = {block.header.block_id() for block in blocks if block.batch}
    assert len(blocks) > len(counting) >= 1
    assert coins(cluster, 1).keys() == counting


def test_a_bundle_whose_coin_share_somebody_else_changed_is_no_bundle_of_its_member() -> None:
    """The member's signature covers its coin share: nobody can put a bad one into an honest member's name."""
    d = make_deployment(4)
    cluster = Cluster(d)
    caught: list[Bundle] = []

    def hold(_: int, receiver: int, message: PeerMessage) -> PeerMessage | None:
        if isinstance(message, BundleMessage) and receiver == 1:
            caught.append(message.bundle)
            return None
        return message

    cluster.network.tamper = hold
    contested(cluster, 0)
    cluster.run(300)
    core, bundle = cluster.cores[1], caught[0]
    of_another = BundleContext(d.committee.sealing_key.key_id, 0, bytes(32), bundle.node + 1)
    changed = msgspec.structs.replace(
        bundle, coin_share=coin_share(d.shares[bundle.node], of_another, entropy=bytes(32))
    )
    assert changed.struct_hash() != bundle.struct_hash()
    before = picture(core)
    effects = core.step(FromPeer(bundle.node, BundleMessage(changed)), cluster.now_ms)
    assert [(one.node, one.code) for one in effects] == [(bundle.node, "signature.signer")]  # type: ignore[union-attr]
    assert picture(core) == before
    assert sign(d, bundle.node, bundle) == bundle, "the member did sign the one it sent"


def test_no_order_is_opened_before_t_coin_shares_are_verified() -> None:
    """In each log, t bundles of distinct members, all with valid coin shares, stand before the first opening."""
    cluster = Cluster(make_deployment(4))
    contested(cluster, 0)
    cluster.run(3_000)
    for log in cluster.logs:
        first = next(at for at, one in enumerate(log) if isinstance(one, OpenedEntry))
        assert len({one.bundle.node for one in log[:first] if isinstance(one, BundleEntry)}) >= 3
    assert all(coins(cluster, node) for node in range(4))
