"""Rotations of every shape in a running cluster: who follows whom, and what becomes of orders and receipts."""

from __future__ import annotations

from dataclasses import replace

import pytest
from rotation_kit import (
    ROTATION_MS,
    approve,
    as_it_is,
    batched,
    cluster_of,
    executed,
    handed_over,
    in_epoch,
    promised,
    reshared,
    rotate,
    same_everywhere,
    send,
    target_of,
    trade,
    wait,
    wait_any,
)

from mpc_sequencer.core import limits
from mpc_sequencer.core.messages import SubmitReply, SubmitResult
from mpc_sequencer.core.rotation import Handover, encode_payload, handover_hash
from mpc_sequencer.core.transcript import ListEntry, ReceiptEntry
from mpc_sequencer.core.types import Envelope
from mpc_sequencer.market import RECEIVE
from mpc_sequencer.sim import Cluster
from mpc_sequencer.sim.deployment import POOR_BOND_ORDERS
from threshold.dkg import Result


def answers_of(cluster: Cluster, place: int, order: Envelope) -> list[SubmitResult]:
    """What the client of the host at ``place`` was told of the order."""
    replies = [reply for _, reply in cluster.replies.get(1 + place, ()) if isinstance(reply, SubmitReply)]
    return [one for reply in replies for one in reply.results if one.order_id == order.order_id()]


@pytest.mark.parametrize(
    ("n", "joiners", "people", "threshold"),
    [
        (4, 1, range(5), 2),  # grows; f stays
        (7, 0, (1, 3, 4, 6), 3),  # shrinks; everybody has another number
        (4, 5, range(4, 9), 4),  # replaced wholly
        (4, 2, (0, 2, 4, 5), 2),  # half of it
        (4, 0, range(4), 2),  # another threshold only
    ],
)
def test_a_committee_of_another_shape_goes_on(n: int, joiners: int, people: tuple[int, ...], threshold: int) -> None:
    cluster = cluster_of(n, joiners=joiners)
    before = trade(cluster, range(n))
    wait(cluster, executed(before), places=range(n))
    waiting = cluster.deployment.order(cluster.deployment.traders[1], cluster.now_ms)  # sealed before, sent after
    approve(cluster, target_of(cluster, people, threshold), range(n))
    wait(cluster, in_epoch(1))
    places = list(people)
    for place in places:
        core = cluster.hosts[place].core
        assert core.committee.genesis.members[core.node].consensus_key == core.succession.own_key
        assert (core.committee.n, core.committee.t) == (len(places), threshold)
    send(cluster, waiting, places)
    wait(cluster, executed(waiting), 10_000, places=places)
    assert batched(cluster, places[0])[-1] == waiting.order_id()
    same_everywhere(cluster, places)
    quick = threshold <= len(places) - 2 * cluster.hosts[places[0]].core.committee.f  # a phase may close on q answers
    assert {fault.code for _, fault in cluster.faults} <= ({"key.no_share"} if quick else set())


def test_two_rotations_in_a_row_and_a_member_that_leaves_and_comes_back() -> None:
    cluster = cluster_of(joiners=3)
    rotate(cluster, target_of(cluster, [1, 2, 3, 4, 5], 4))
    first = trade(cluster, [1, 2, 4])
    wait(cluster, executed(first), places=[1, 2, 3, 4, 5])
    assert cluster.hosts[0].core.node == 5, "it is no member"
    approve(cluster, target_of(cluster, [0, 1, 4, 5], 3), [1, 2, 3, 4, 5])
    places = [0, 1, 4, 5]
    wait(cluster, in_epoch(2), places=places)
    second = trade(cluster, places)
    wait(cluster, executed(second), places=places)
    same_everywhere(cluster, places)
    assert [start.epoch for start in cluster.hosts[0].core.committee.starts] == [1, 2]
    cluster.run(2 * limits.HEARTBEAT_MS)
    assert [sorted(cluster.hosts[place].disk.vault) for place in places] == [["share-2"]] * 4


def test_orders_under_a_rotation_are_filled_once_and_receipts_are_kept() -> None:
    cluster = cluster_of()
    approve(cluster, target_of(cluster, range(7)), range(4))
    orders: list[Envelope] = []
    while not all(host.epoch for host in cluster.hosts):
        orders.append(trade(cluster, [len(orders) % 4, (len(orders) + 1) % 4], trader=len(orders) % 4))
        cluster.run(25)
    orders.append(trade(cluster))
    wait(cluster, executed(orders[-1]), 10_000)
    cluster.run(500)
    ids = set(batched(cluster, 6))
    for order in orders:
        assert order.order_id() in ids or not promised(cluster, order)
    refusals = [one.code for order in orders for place in range(4) for one in answers_of(cluster, place, order)]
    assert set(refusals) <= {"", "intake.recovering", "intake.cutover", "intake.duplicate", "intake.sequenced"}
    same_everywhere(cluster)


def test_a_duplicate_is_answered_with_the_first_receipt_after_the_cutover() -> None:
    cluster = cluster_of()
    approve(cluster, target_of(cluster, range(7)), range(4))
    wait(cluster, handed_over, places=range(4))
    order = trade(cluster, [0])
    wait(cluster, in_epoch(1))
    given = [one.receipt for one in answers_of(cluster, 0, order)]
    assert len(given) == 1 and given[0] is not None and given[0].epoch == 0
    send(cluster, order, [0])
    cluster.run(50)
    again = answers_of(cluster, 0, order)[-1]
    assert again.receipt == given[0]
    wait(cluster, executed(order), 10_000)
    kept = [one.receipt for one in cluster.hosts[0].disk.log if isinstance(one, ReceiptEntry)]
    assert kept.count(given[0]) == 1


def test_who_leaves_gives_no_receipts_from_the_handover_on_and_keeps_those_it_gave() -> None:
    cluster = cluster_of(joiners=4)
    approve(cluster, target_of(cluster, range(4, 8)), range(4))
    wait(cluster, reshared, places=range(4))
    before = trade(cluster, [0, 1])
    cluster.run(1)
    wait(cluster, handed_over, places=[0])
    late = trade(cluster, [0])
    cluster.run(10)
    codes = {one.code for one in answers_of(cluster, 0, late)}
    assert codes and codes <= {"intake.leaving", "intake.recovering"}
    wait(cluster, in_epoch(1))
    listed = [one.order_list for one in cluster.hosts[0].disk.log if isinstance(one, ListEntry)]
    kept = [one for one in listed if one.node == 0]
    given = [one.receipt for one in answers_of(cluster, 0, before) if one.receipt is not None]
    for receipt in given:
        assert [receipt.order_id in one.entries for one in kept if one.number == receipt.list_number] == [True]


def test_between_an_epoch_s_last_block_and_the_cutover_orders_are_put_off_and_who_leaves_says_so() -> None:
    """Neither promises anything then: a receipt would name a list that nobody lifts any more."""
    cluster = cluster_of(joiners=1)
    approve(cluster, target_of(cluster, range(1, 5)), range(4))
    wait(cluster, reshared, places=range(4))
    trade(cluster)  # its result is in a settlement range that ends with the epoch, and wants signatures then
    asked: dict[int, Envelope] = {}

    def ask(c: Cluster) -> bool:
        for place in {0, 1} - asked.keys():
            core = c.hosts[place].core
            if core.committee.epoch == 0 and core.chain.ended:
                asked[place] = trade(c, [place])
        return len(asked) == 2

    assert cluster.run(ROTATION_MS, until=ask), "the epoch ends here before it is over"
    wait(cluster, in_epoch(1))
    seen = {place: [(one.code, one.receipt) for one in answers_of(cluster, place, asked[place])] for place in (0, 1)}
    assert seen == {0: [("intake.leaving", None)], 1: [("intake.cutover", None)]}
    send(cluster, asked[1], [1])  # as the SDK does: the refusal passes
    wait(cluster, executed(asked[1]), 10_000, places=range(1, 5))


def test_what_waits_in_the_queue_is_batched_by_the_next_committee() -> None:
    """Orders that are valid a little later, and one that its sponsor's bond does not cover until it expires."""
    cluster = cluster_of(poor_traders=1)
    d = cluster.deployment
    poor = [trade(cluster, trader=3) for _ in range(POOR_BOND_ORDERS)]
    wait(cluster, executed(*poor), places=range(4))
    approve(cluster, target_of(cluster, [3, 4, 5, 6], 3), range(4))
    wait_any(cluster, reshared)
    label = replace(d.label(d.traders[0].address, cluster.now_ms), valid_from_ms=cluster.now_ms + 900)
    later = d.envelope(d.traders[0], label, d.plaintext(d.traders[0], d.limit_order(d.traders[0], label)))
    send(cluster, later, range(4))
    assert cluster.run(800, until=lambda c: bool(c.cores[3].chain.final_state.queue)), "it is lifted, and waits"
    wait(cluster, in_epoch(1), 850)
    assert cluster.now_ms < label.valid_from_ms and not cluster.cores[3].pool.get(later.order_id()).sequenced_height  # type: ignore[union-attr]
    wait(cluster, executed(later), 10_000, places=[3, 4, 5, 6])
    charged = cluster.cores[3].chain.final_state.charged_wei
    assert charged[d.traders[3].address] == POOR_BOND_ORDERS * limits.ORDER_CHARGE_WEI, "credit goes over"
    fourth = trade(cluster, [3, 4, 5, 6], trader=3)
    cluster.run(3_000)
    assert not executed(fourth)(cluster.cores[3])


def test_by_receipt_orders_are_placed_anew_by_the_next_committee() -> None:
    cluster = cluster_of(5, joiners=1, policy=RECEIVE)
    approve(cluster, target_of(cluster, range(6), 5), range(5))
    orders: list[Envelope] = []
    while not all(host.epoch for host in cluster.hosts):
        orders.append(trade(cluster, range(5), trader=len(orders) % 4))
        cluster.run(150)
    orders.append(trade(cluster, range(5)))
    wait(cluster, executed(orders[-1]), 15_000)
    ids = batched(cluster, 5)
    assert all(order.order_id() in ids or not promised(cluster, order) for order in orders)
    same_everywhere(cluster)


# --- handovers that are none ------------------------------------------------------------------------------------------
def test_words_for_another_result_or_before_their_time_end_nothing() -> None:
    """f members hand the key over to whom they like, as often as they like: q words of one handover are wanted."""
    cluster = cluster_of()
    d = cluster.deployment
    theirs = target_of(cluster, [3, 4, 5, 6], 3)
    for number in range(3):
        digest = handover_hash(1, theirs, bytes((number,)) * 32)
        said = Handover(digest, d.signers[3].sign_digest(d.committee.digest(digest)))
        core = cluster.cores[3]
        core.keygen.voice.say(core.succession.topic, encode_payload(said))
    approve(cluster, as_it_is(cluster), [3])  # says nothing; the host has a round
    cluster.run(2_000)
    for core in cluster.cores:
        assert len(core.chain.final_state.handovers) == 3 and not core.chain.final_state.handover
    rotate(cluster, target_of(cluster, range(7)), range(3))
    same_everywhere(cluster)


def test_a_member_s_first_words_do_not_count_for_the_true_handover_and_q_others_do_without_it() -> None:
    cluster = cluster_of()
    approve(cluster, target_of(cluster, range(7)), range(4))
    cluster.cores[3].succession.handover = lambda: None  # type: ignore[method-assign]
    wait(cluster, in_epoch(1))
    start = cluster.cores[0].committee.starts[0]
    assert [one.node for one in start.handover] == [0, 1, 2]
    result = Result.decode(start.result)
    assert result.public_key == cluster.deployment.committee.sealing_key.public_key


def test_without_q_words_the_old_committee_goes_on_and_nothing_is_shared_anew() -> None:
    cluster = cluster_of()
    approve(cluster, target_of(cluster, range(7)), range(4))
    for node in (2, 3):
        cluster.cores[node].succession.handover = lambda: None  # type: ignore[method-assign]
    wait(cluster, reshared, places=range(4))
    cluster.run(5_000)
    assert not any(core.chain.final_state.handover for core in cluster.cores)
    assert all(core.keygen.running is None and core.keygen.due_ms is None for core in cluster.cores)
    order = trade(cluster)
    wait(cluster, executed(order), places=range(4))
    for node in (2, 3):
        del cluster.cores[node].succession.handover
        cluster.cores[node].keygen.voice.asked = True
    wait(cluster, in_epoch(1))
    same_everywhere(cluster)


def test_q_less_one_approvals_and_approvals_of_two_committees_begin_nothing() -> None:
    cluster = cluster_of()
    seven, five = target_of(cluster, range(7)), target_of(cluster, range(5))
    approve(cluster, seven, [0, 1])
    approve(cluster, five, [2, 3])
    cluster.run(3_000)
    assert all(core.succession.target is None and core.keygen.running is None for core in cluster.cores)
    approve(cluster, seven, [2])
    wait(cluster, in_epoch(1))
    assert cluster.cores[0].committee.n == 7
