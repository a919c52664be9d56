"""Who is no member: what a joiner, a visitor or a member of another epoch may say; the rest changes nothing."""

from __future__ import annotations

from functools import cache

import pytest
from core_kit import picture, refused
from msgspec.structs import replace
from rotation_kit import (
    approve,
    as_it_is,
    cluster_of,
    executed,
    resharing,
    rotate,
    same_everywhere,
    target_of,
    trade,
    wait,
    word,
)

from mpc_sequencer.core.effects import (
    Fault,
    FromPeer,
    HeadRecord,
    ListRecord,
    PeerAhead,
    PeerUp,
    Send,
    VoteRecord,
)
from mpc_sequencer.core.logslice import PEERS_KEPT_MAX, SLICE_INTERVAL_MS, SLICES_BURST_MAX, SliceBudget
from mpc_sequencer.core.messages import (
    BundleMessage,
    CommitShare,
    FetchLog,
    HeadMessage,
    KeyBodies,
    ListMessage,
    PeerMessage,
    SettlementShare,
    VoteMessage,
)
from mpc_sequencer.core.rotation import Approval
from mpc_sequencer.core.transcript import BundleEntry, KeyEntry
from mpc_sequencer.sim import Cluster
from mpc_sequencer.sim.epochs import STRANGER


@cache
def rotated() -> Cluster:
    """A committee of seven after one of four, with an order executed in each epoch."""
    cluster = cluster_of()
    first = trade(cluster)
    wait(cluster, executed(first), places=range(4))
    rotate(cluster, target_of(cluster, range(7)))
    second = trade(cluster)
    wait(cluster, executed(second))
    return cluster


def test_a_message_of_a_joiner_that_is_not_known_here_yet_is_nobody_s_fault() -> None:
    ahead, behind = cluster_of(), cluster_of()
    approve(ahead, target_of(ahead, range(7)), range(4))
    wait(ahead, resharing)
    ahead.run(300)
    said = next(one.message for one in ahead.cores[0].keybook.kept() if one.message.node >= 4)
    core = behind.cores[0]
    core.fetcher.want_body(said.message_id(), 1, behind.now_ms)
    before = picture(core)
    effects = core.step(FromPeer(1, KeyBodies((said,))), behind.now_ms)
    assert not [one for one in effects if isinstance(one, Fault)] and picture(core) == before
    core.succession.admit(target_of(ahead, range(7)))
    core.step(FromPeer(1, KeyBodies((said,))), behind.now_ms)
    assert said.message_id() in core.keybook, "it is asked for again, and taken once the joiners are known"


def of_the_old_epoch(kind: str) -> PeerMessage:
    """What member 1 of the first epoch signed there."""
    cluster = rotated()
    disk = cluster.hosts[1].disk
    if kind == "bundle":
        bundle = next(one.bundle for one in disk.log if isinstance(one, BundleEntry) and one.bundle.node == 1)
        return BundleMessage(replace(bundle, height=10**6, block_id=bytes(32)))  # of a height that is not over
    if kind == "key message":
        return KeyBodies((next(one.message for one in disk.log if isinstance(one, KeyEntry)),))
    for record in disk.records:
        match record:
            case VoteRecord(vote) if kind == "vote" and vote.epoch == 0:
                return VoteMessage(vote)
            case ListRecord(order_list) if kind == "list" and order_list.epoch == 0:
                return ListMessage(order_list)
            case HeadRecord(head) if kind == "head" and head.epoch == 0:
                return HeadMessage(replace(head, view=10**6))  # which is no old one
    raise AssertionError(kind)


@pytest.mark.parametrize("kind", ["vote", "list", "head", "bundle"])
def test_what_was_signed_in_the_epoch_before_is_refused_and_changes_nothing(kind: str) -> None:
    cluster = rotated()
    core, message = cluster.cores[0], of_the_old_epoch(kind)
    before = picture(core)
    with refused("epoch.unknown"):
        core.peers.handle(1, message, cluster.now_ms)
    assert picture(core) == before


def test_a_deal_or_approval_of_the_epoch_before_is_not_taken_even_where_it_is_asked_for() -> None:
    cluster = rotated()
    core, message = cluster.cores[0], of_the_old_epoch("key message")
    assert isinstance(message, KeyBodies)
    core.fetcher.want_body(message.messages[0].message_id(), 1, cluster.now_ms)
    before = picture(core)
    with refused("epoch.unknown"):
        core.peers.handle(1, message, cluster.now_ms)
    assert picture(core) == before
    core.fetcher.got_body(message.messages[0].message_id())


@pytest.mark.parametrize("kind", ["vote", "list", "head", "bundle"])
@pytest.mark.parametrize("number", [7, STRANGER + 9])
def test_a_visitor_that_says_what_members_say_is_refused_and_changes_nothing(kind: str, number: int) -> None:
    cluster = rotated()
    core, message = cluster.cores[0], of_the_old_epoch(kind)
    before = picture(core)
    with refused("member.visitor"):
        core.peers.handle(number, message, cluster.now_ms)
    assert picture(core) == before


def test_a_joiner_approves_nothing_and_lists_nothing() -> None:
    cluster = cluster_of()
    approve(cluster, target_of(cluster, range(7)), range(4))
    wait(cluster, resharing)
    core = cluster.cores[0]
    before = picture(core)
    message = word(cluster, 4, Approval(as_it_is(cluster), 1))
    with refused("member.unknown"):
        core.peers.handle(4, KeyBodies((message,)), cluster.now_ms)
    assert picture(core) == before


def test_a_visitor_cannot_offer_a_joiner_s_messages_nor_a_joiner_another_s() -> None:
    ahead, behind = cluster_of(), cluster_of()
    for cluster in (ahead, behind):
        approve(cluster, target_of(cluster, range(7)), range(4))
        wait(cluster, resharing)
    ahead.run(300)
    said = next(one.message for one in ahead.cores[0].keybook.kept() if one.message.node == 5)
    core = behind.cores[0]
    for one in [held.message.message_id() for held in core.keybook.kept() if held.message.node == 5]:
        core.keybook._drop(one)
    for visitor in (4, 6, STRANGER):
        core.peers.handle(visitor, KeyBodies((said,)), behind.now_ms)
        assert said.message_id() not in core.keybook
    core.peers.handle(5, KeyBodies((said,)), behind.now_ms)
    assert said.message_id() in core.keybook


def test_a_joiner_s_flood_is_bounded_and_leaves_room_for_the_others() -> None:
    cluster = cluster_of()
    approve(cluster, target_of(cluster, range(7)), range(4))
    wait(cluster, resharing)
    core, joiner = cluster.cores[0], cluster.hosts[4].core
    session = core.keygen.running
    assert session is not None
    held_before = len(core.keybook)
    for number in range(200):
        joiner.keygen.voice.say(session, b"\x07" + number.to_bytes(4, "big"))
    flood = [one.message for one in joiner.keybook.kept() if one.message.node == 4]
    for message in flood:
        core.step(FromPeer(4, KeyBodies((message,))), cluster.now_ms)
    assert len(flood) >= 200 and len(core.keybook) - held_before <= 32
    wait(cluster, lambda one: one.committee.epoch == 1)
    same_everywhere(cluster)


def test_a_liar_that_is_no_epoch_ahead_costs_questions_and_nothing_else() -> None:
    cluster = cluster_of()
    core = cluster.cores[0]
    effects = core.step(PeerAhead(3), cluster.now_ms) + core.flush(cluster.now_ms)
    assert [one for one in effects if isinstance(one, Send) and isinstance(one.message, FetchLog)]
    assert core.even and not core.catchup.lags and not core.over
    asked = cluster.messages
    cluster.run(10_000)
    assert cluster.messages - asked < 400
    order = trade(cluster)
    wait(cluster, executed(order), places=range(4))


def test_who_is_behind_is_given_the_last_range_s_signatures_and_no_lists_or_votes() -> None:
    cluster = rotated()
    core = cluster.cores[0]
    effects = core.step(PeerUp(STRANGER + 2), cluster.now_ms)
    sent = [one.message for one in effects if isinstance(one, Send)]
    assert sent and all(isinstance(one, SettlementShare | CommitShare) for one in sent)
    assert {one.claim.epoch if isinstance(one, SettlementShare) else one.commit.epoch for one in sent} == {0}


def test_visitors_without_number_cost_bounded_memory_and_each_its_own_pace() -> None:
    budget = SliceBudget()
    for visitor in range(10_000):
        assert budget.take(STRANGER + visitor, 1_000 + visitor * SLICE_INTERVAL_MS)
    assert len(budget._spent_until_ms) <= PEERS_KEPT_MAX
    now_ms = 10**7
    assert [budget.take(1, now_ms) for _ in range(SLICES_BURST_MAX + 1)] == [True] * SLICES_BURST_MAX + [False]
