"""Order commits: signed at a range's closing header, before anything of it is executed, once, and by q members."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import msgspec
import pytest
from core_kit import make_commit, make_commit_share, submit
from msgspec.structs import replace

from mpc_sequencer.core import domains, limits
from mpc_sequencer.core.effects import Broadcast, CommitReady, CommitRecord, Effect, Persist
from mpc_sequencer.core.messages import BundleMessage, CommitShare, LogSlice, PeerMessage
from mpc_sequencer.core.ordering.chainstate import ChainState, chain_at
from mpc_sequencer.core.recovery import dump, restore
from mpc_sequencer.core.transcript import BlockEntry, CommitEntry, SettlementEntry
from mpc_sequencer.core.types import ZERO_HASH, BlockHeader, Checkpoint
from mpc_sequencer.settlement.claims import OrderCommit, check_follows
from mpc_sequencer.settlement.gathering import EARLY_RANGES_MAX, SHARES_KEPT_PER_MEMBER, Gathering
from mpc_sequencer.settlement.ranges import COMMITS, Ranges
from mpc_sequencer.sim import Cluster, make_deployment

D = make_deployment(4)
ME = 1
ID = b"\x01" * 32


@cache
def traded() -> Cluster:
    """A run with several ranges."""
    cluster = Cluster(D)
    cluster.run(50)
    for turn in range(40):
        submit(cluster, turn % 3, D.order(D.traders[turn % 4], cluster.now_ms))
        cluster.run(300)
    cluster.run(limits.SETTLEMENT_RANGE_MS + 3_000)
    return cluster


def test_every_range_has_one_commit_with_q_signatures_and_they_are_chained() -> None:
    cluster = traded()
    for log in cluster.logs:
        commits = [one for one in log if isinstance(one, CommitEntry)]
        ranges = [one for one in log if isinstance(one, SettlementEntry)]
        assert len(commits) == len(ranges) >= 2
        assert [one.commit.height for one in commits] == [one.last_height for one in ranges]
        assert commits[0].commit.prev_hash == ZERO_HASH
        for before, after in pairwise(commits):
            check_follows(before.commit, after.commit)
        for one in commits:
            assert len(one.signatures) == D.committee.q
            for node, signature in one.signatures:
                D.committee.check_signature(node, one.commit.struct_hash(), signature, "commit")


def test_a_commit_covers_the_batches_of_its_range() -> None:
    log = traded().logs[0]
    headers = [one.block.header for one in log if isinstance(one, BlockEntry)]
    counting = {one.block.header.height for one in log if isinstance(one, BlockEntry) and one.block.batch}
    first = 1
    for entry in log:
        if isinstance(entry, CommitEntry):
            inside = [one for one in headers if first <= one.height <= entry.commit.height]
            roots = [one.batch_root for one in inside if one.height in counting]
            assert entry.commit.ciphertext_root == domains.RANGE_ORDERS(*roots)
            assert entry.commit.l1_head == inside[-1].checkpoint.number, "nothing is owed here"
            first = entry.commit.height + 1


def test_it_is_signed_and_ready_while_nothing_of_the_range_can_be_opened() -> None:
    """The sealed orders are committed to before anybody can read them."""
    cluster = Cluster(D)
    secret = (BundleMessage, LogSlice)
    cluster.network.tamper = lambda _s, _r, message: None if isinstance(message, secret) else message
    ready: list[CommitReady] = []
    for core in cluster.cores:
        watch(core, ready)
    cluster.run(50)
    for turn in range(20):
        submit(cluster, turn % 3, D.order(D.traders[turn % 4], cluster.now_ms))
        cluster.run(300)
    assert ready and not any(core.execution.executed_height for core in cluster.cores)


def watch(core: object, found: list[CommitReady]) -> None:
    """Note the order commits that a core gives out."""
    collect = core.collect  # type: ignore[attr-defined]

    def told() -> list[Effect]:
        effects: list[Effect] = collect()
        found.extend(one for one in effects if isinstance(one, CommitReady))
        return effects

    core.collect = told  # type: ignore[attr-defined]


def header(height: int, time_ms: int) -> BlockHeader:
    return BlockHeader(1, 0, height, height, ID, time_ms, ID, ID, ID, Checkpoint(7, ID, 3, ID))


def chain(number: int = 7, forced_head: int = 0) -> ChainState:
    """Where a block stands with the chain: nothing is owed up to ``number``."""
    standing = chain_at(Checkpoint(9, ID, 3, ID))
    return replace(standing, cleared_number=number, forced_head=forced_head)


def closed(ranges: Ranges, **terms: int) -> OrderCommit:
    """Close the first range at height 2; its order commit."""
    ranges.final(header(1, 1_000), ID, True, chain())
    ranges.final(header(2, 9_000), ID, False, chain(**terms))
    [(share, _)] = ranges.take_commits()
    return share.commit


def fresh() -> Ranges:
    return Ranges(D.committee, ME, D.signers[ME], ID)


def test_a_commit_names_the_chain_s_block_and_the_forced_entries_of_its_last_header() -> None:
    commit = closed(fresh(), number=12, forced_head=5)
    assert commit == OrderCommit(0, 2, ZERO_HASH, domains.RANGE_ORDERS(ID), 12, 5)


def test_it_is_on_disk_before_it_is_sent() -> None:
    cluster = traded()
    for host in cluster.hosts:
        kept = {one.share.commit.height for one in host.disk.records if isinstance(one, CommitRecord)}
        sent = {one.commit.height for one in host.core.ranges.own_shares() if isinstance(one, CommitShare)}
        assert sent and sent <= kept
    order: list[type] = []
    core = cluster._new_core(0)
    core.ranges = fresh()
    core.ranges.final(header(1, 1_000), ID, True, chain())
    core.ranges.final(header(2, 9_000), ID, False, chain())
    core.publisher.settle()
    order = [type(one) for one in core.effects]
    assert order == [Persist, Broadcast]


def test_a_member_that_comes_back_signs_nothing_against_its_word() -> None:
    ranges = fresh()
    said = make_commit_share(D, ME, closed(fresh(), number=11))
    ranges.recall_commit(said)
    ranges.final(header(1, 1_000), ID, True, chain())
    ranges.final(header(2, 9_000), ID, False, chain())
    assert ranges.take_commits() == []
    assert ranges.stopped is not None and ranges.stopped.code == "commit.contradiction"
    again = fresh()
    again.recall_commit(said)
    again.final(header(1, 1_000), ID, True, chain())
    again.final(header(2, 9_000), ID, False, chain(11))
    assert again.take_commits() == [(said, True)], "what it said is said again, and not journalled twice"
    assert again.stopped is None


def test_a_snapshot_keeps_commits_and_their_signatures() -> None:
    cluster = traded()
    core = cluster.cores[0]
    data, _ = dump(core)
    other = cluster._new_core(0)
    restore(other, data, (), cluster.now_ms)
    assert other.ranges.dump() == core.ranges.dump()
    assert [one for one in other.ranges.own_shares() if isinstance(one, CommitShare)] != []


def test_results_wait_for_the_order_commit() -> None:
    """A member whose commits nobody hears of still gets q of the others; without q no range is given out."""
    cluster = Cluster(D)

    def mute(sender: int, _: int, message: PeerMessage) -> PeerMessage | None:
        return None if isinstance(message, CommitShare) and sender in (2, 3) else message

    cluster.network.tamper = mute
    cluster.run(50)
    for turn in range(12):
        submit(cluster, turn % 3, D.order(D.traders[turn % 4], cluster.now_ms))
        cluster.run(300)
    cluster.run(limits.SETTLEMENT_RANGE_MS + 3_000)
    assert {node for node, _ in cluster.settlements} <= {2, 3}, "0 and 1 know of three signatures at most by others"
    assert not [one for one in cluster.logs[0] if isinstance(one, SettlementEntry)]


@pytest.mark.parametrize("height", [1, 65])
def test_early_signatures_are_counted_once_the_range_closes(height: int) -> None:
    ranges = fresh()
    commit = closed(fresh())
    early = msgspec.structs.replace(commit, height=height)
    ranges.on_commit(make_commit_share(D, 0, early))
    ranges.on_commit(make_commit_share(D, 2, commit))
    ranges.on_commit(make_commit_share(D, 3, commit))
    assert closed(ranges) == commit
    [(number, signed)] = ranges.ready_commits()
    assert number == 1 and [node for node, _ in signed.signatures] == [1, 2, 3]
    assert ranges.ready_commits() == []


def test_a_flood_of_commits_costs_bounded_memory() -> None:
    ranges = fresh()
    for height in range(1, EARLY_RANGES_MAX + 6):
        ranges.on_commit(make_commit_share(D, 3, make_commit(height)))
    assert sorted(ranges._commits._seen[3]) == list(range(1, EARLY_RANGES_MAX + 1))
    gathering = Gathering(D.committee, COMMITS)
    for height in range(1, SHARES_KEPT_PER_MEMBER + 6):
        assert gathering.take(make_commit_share(D, 3, make_commit(height)), known=True, next_place=1)
    assert sorted(gathering._seen[3]) == list(range(6, SHARES_KEPT_PER_MEMBER + 6)), "the latest"
