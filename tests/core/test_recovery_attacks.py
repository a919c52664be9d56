"""What peers may try on a member that comes back, and on members that serve one."""

from __future__ import annotations

import random
from dataclasses import replace

import msgspec
import pytest
from core_kit import make_head, make_share, sign
from recovery_kit import drive

from mpc_sequencer.core import catchup, logslice
from mpc_sequencer.core.agreement import Rejected
from mpc_sequencer.core.codec import encode
from mpc_sequencer.core.effects import FromPeer, ServeLog
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.logslice import LogIndex, SliceBudget, slice_log
from mpc_sequencer.core.messages import FetchLog, ListMessage, LogSlice
from mpc_sequencer.core.replay import Replay, _shares
from mpc_sequencer.core.transcript import ReceiptEntry, SettlementEntry
from mpc_sequencer.core.types import NO_SIGNATURE, ZERO_HASH, Block, BlockHeader, OrderList, Receipt
from mpc_sequencer.sim import Cluster, make_deployment

LIAR = 3


# --- incarnations -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("head_lives", "list_lives"), [(0, 1), (1, 0)])
def test_lists_of_another_incarnation_than_the_heads_are_refused(head_lives: int, list_lives: int) -> None:
    """Old lists under a new incarnation, or new ones under the old: both would be judged otherwise by an auditor."""
    cluster = Cluster(make_deployment(4))
    d, core = cluster.deployment, cluster.cores[0]
    if head_lives:
        state = core.chain.final_state
        core.chain._states[state.block_id] = replace(state, incarnations=(0, 0, 0, 1))
    unsigned = OrderList(0, list_lives, LIAR, 1, ZERO_HASH, (b"\x01" * 32,), NO_SIGNATURE)
    other = sign(d, LIAR, unsigned)
    head = make_head(d, LIAR, 1, cluster.now_ms, other, incarnation=head_lives)
    heads = (*(make_head(d, node, 1, cluster.now_ms) for node in range(3)), head)
    header = BlockHeader(
        1, 0, 1, 1, core.chain.final_id, cluster.now_ms, ZERO_HASH, ZERO_HASH, ZERO_HASH, head.checkpoint
    )
    block = Block(header, heads, (), ())
    core.chain.check(block, None)
    core.lists.add(other)
    verdict = core.chain.check(block, None)
    assert isinstance(verdict, Rejected)
    assert (verdict.error.code, verdict.error.field) == ("block.lists", "OrderList.incarnation")
    core.lists.accept_head(head)
    assert core.chain._rule._usable_head(core.chain.final_state, LIAR, 1) is None, "nor does a leader build on it"


def test_a_list_of_an_incarnation_that_has_not_begun_asks_nobody_for_more() -> None:
    cluster = Cluster(make_deployment(4))
    cluster.run(20)
    core = cluster.cores[0]
    forged = OrderList(0, 7, LIAR, 10**6, ZERO_HASH, (b"\x01" * 32,), NO_SIGNATURE)
    core.step(FromPeer(1, ListMessage(forged)), cluster.now_ms)
    assert not core.fetcher._lists


# --- resuming ---------------------------------------------------------------------------------------------------------
def muted(seed: int) -> Cluster:
    rng = random.Random(seed)
    cluster = Cluster(make_deployment(4, seed=seed), seed=seed)
    drive(cluster, rng, 4)
    cluster.stop(LIAR)
    cluster.hosts[LIAR].disk.wipe(keep_log=False)
    return cluster


def test_f_members_alone_do_not_let_a_damaged_member_resume() -> None:
    cluster = muted(1)
    cluster.network.cut = {(node, LIAR) for node in (1, 2)} | {(LIAR, node) for node in (1, 2)}
    cluster.restart(LIAR, damaged=True)
    drive(cluster, random.Random(2), 30)
    cluster.run(8_000)
    standing = cluster.cores[LIAR].standing
    assert standing.muted and not standing.floor_view and standing._heard <= {0}


def test_a_convicted_member_cannot_keep_a_damaged_one_waiting() -> None:
    cluster = muted(3)
    cluster.network.cut = {(1, LIAR)}
    cluster.restart(LIAR, damaged=True)
    drive(cluster, random.Random(3), 10)
    core = cluster.cores[LIAR]
    assert not core.standing.floor_view, "one of three is silent"
    core.convictions.cut_off.add(1)
    drive(cluster, random.Random(4), 20)
    cluster.run(8_000)
    assert not core.standing.muted


def test_nothing_is_voted_for_in_views_that_a_log_led_past() -> None:
    cluster = muted(5)
    cluster.restart(LIAR, damaged=True)
    drive(cluster, random.Random(5), 4)
    core = cluster.cores[LIAR]
    core.standing.muted, core.standing.floor_view = True, 1
    core.standing.flush()
    view = core.chain.final_state.view
    assert view > 1 and not core.standing.muted
    assert not core.standing.may_vote(view) and core.standing.may_vote(view + 1)


# --- logs -------------------------------------------------------------------------------------------------------------
def test_two_faced_settlement_signatures_do_not_stop_a_log() -> None:
    """The liar signed one result for its peers and another for the late member: every honest log holds the first."""
    rng = random.Random(7)
    cluster = Cluster(make_deployment(4, seed=7), seed=7)
    drive(cluster, rng, 60)
    cluster.run(9_000)
    log = cluster.logs[0]
    entry = next(one for one in log if isinstance(one, SettlementEntry))
    liar = entry.signatures[0][0]
    late = cluster._new_core(next(node for node in range(4) if node != liar))
    d = cluster.deployment
    claim = _shares(entry, 0)[0].claim
    late.ranges.on_share(make_share(d, liar, msgspec.structs.replace(claim, state_root=b"\x0f" * 32)))
    replay = Replay(late, own=False)
    for one in log:
        replay.feed(encode(one), cluster.now_ms)
        while late.has_work():
            late.work(cluster.now_ms)
    assert late.chain.final_id == cluster.cores[0].chain.final_id
    assert late.convictions.nodes == {liar}, "the liar is convicted, not the log's keeper"


def test_a_block_is_taken_in_beside_another_chain_of_its_authors_lists() -> None:
    """Of an equivocator's two lists the late member holds one and, as a variant, the other: the log goes on."""
    cluster = Cluster(make_deployment(4))
    d, core = cluster.deployment, cluster.cores[0]
    ours = sign(d, LIAR, OrderList(0, 0, LIAR, 1, ZERO_HASH, (b"\x01" * 32,), NO_SIGNATURE))
    first = sign(d, LIAR, OrderList(0, 0, LIAR, 1, ZERO_HASH, (b"\x02" * 32,), NO_SIGNATURE))
    second = sign(d, LIAR, OrderList(0, 0, LIAR, 2, first.struct_hash(), (b"\x03" * 32,), NO_SIGNATURE))
    core.lists.add(ours)
    core.lists.first_missing(LIAR, 0, (1, first.struct_hash()))
    core.lists.add(first)
    replay = Replay(core, own=False)
    replay._lists = {one.struct_hash(): one for one in (first, second)}
    core.lists.first_missing(LIAR, 0, (2, second.struct_hash()))
    assert replay._give_list(second.struct_hash()) == 1
    assert core.lists.lineage(LIAR, (0, ZERO_HASH), (2, second.struct_hash())) is not None


def test_one_peer_makes_a_member_read_its_log_a_bounded_number_of_times() -> None:
    cluster = Cluster(make_deployment(4))
    cluster.run(20)
    core, now_ms = cluster.cores[0], cluster.now_ms
    served = 0
    for ms in range(1_000):
        effects = [core.step(FromPeer(LIAR, FetchLog(1, 0)), now_ms + ms) for _ in range(5)]
        served += sum(isinstance(one, ServeLog) for some in effects for one in some)
    assert 10 <= served <= logslice.SLICES_BURST_MAX + 1_000 // logslice.SLICE_INTERVAL_MS
    others = core.step(FromPeer(1, FetchLog(1, 0)), now_ms + 1_000)
    assert any(isinstance(one, ServeLog) for one in others), "what one peer spends is its own"


def test_a_budget_is_saved_up_to_its_burst_only() -> None:
    budget = SliceBudget()
    assert sum(budget.take(0, 10**9) for _ in range(100)) == logslice.SLICES_BURST_MAX
    assert not budget.take(0, 10**9 + logslice.SLICE_INTERVAL_MS - 1)
    assert budget.take(0, 10**9 + logslice.SLICE_INTERVAL_MS)


def test_a_question_for_any_position_is_answered_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logslice, "SCAN_ENTRIES_MAX", 512)
    receipt = encode(ReceiptEntry(Receipt(0, 0, ZERO_HASH, 0, 1, 1, NO_SIGNATURE)))
    log = [receipt] * 5_000
    reads = 0

    def read(start: int, stop: int) -> list[bytes]:
        nonlocal reads
        reads += 1
        return log[start:stop]

    assert slice_log(LogIndex(), read, FetchLog(1, 7)) == LogSlice((), 7 + 512)
    assert reads == 2
    for position in (5_000, (1 << 63) - 1):
        assert slice_log(LogIndex(), read, FetchLog(1, position)) == LogSlice((), position)
    assert slice_log(LogIndex(), lambda a, b: [b"", b"\x90"][a:b], FetchLog(1, 1)) == LogSlice((), 2)


def test_a_log_that_leads_on_for_ever_and_holds_nothing_is_left() -> None:
    cluster = Cluster(make_deployment(4))
    cluster.run(20)
    core = cluster.cores[0]
    core.catchup.seen(2, 10_000)
    now_ms = cluster.now_ms
    peers: list[int] = []
    for turn in range(3 * catchup.EMPTY_ANSWERS_MAX):
        core.now_ms = now_ms = now_ms + catchup.ANSWER_MS // 2
        for effect in core.catchup.requests(now_ms):
            peers.append(effect.node)  # type: ignore[union-attr]
            core.catchup.on_slice(effect.node, LogSlice((), turn + 1))  # type: ignore[union-attr]
    assert peers[0] == 2 and set(peers) != {2}
    assert peers.index(next(p for p in peers if p != 2)) <= catchup.EMPTY_ANSWERS_MAX + 1


def test_what_is_no_entry_costs_its_sender_the_question() -> None:
    cluster = Cluster(make_deployment(4))
    core = cluster.cores[0]
    with pytest.raises(ProtocolError):
        Replay(core, own=False).feed(b"\x90", cluster.now_ms)
