"""Chain inputs in a committee: credits before the batch, bonds from the block after, forced orders, members that come
back, that join late or whose chain node is dead."""

from __future__ import annotations

from functools import partial

import pytest
from chain_kit import HandChain, bond, deposit, forced, taken_up
from core_kit import answers, check_safety, submit

from mpc_sequencer.core import limits
from mpc_sequencer.core.actions import BUY, IOC, SELL
from mpc_sequencer.core.effects import FromPeer
from mpc_sequencer.core.genesis import inputs_chain
from mpc_sequencer.core.logslice import SLICE_INTERVAL_MS, SLICES_BURST_MAX
from mpc_sequencer.core.messages import FetchInputs, InputsMessage
from mpc_sequencer.core.recovery import dump
from mpc_sequencer.core.signing import Signer
from mpc_sequencer.core.transcript import BlockEntry, EnvelopeEntry, InputsEntry, LogEntry, SettlementEntry
from mpc_sequencer.core.types import ZERO_HASH, Block
from mpc_sequencer.sim import Cluster, Deployment, make_deployment
from mpc_sequencer.sim.deployment import DEPOSIT_UNITS, Trader


def blocks_of(log: list[LogEntry]) -> list[Block]:
    return [entry.block for entry in log if isinstance(entry, BlockEntry)]


def stranger(name: bytes) -> Trader:
    return Trader(Signer(name * 32))


@pytest.fixture
def running() -> tuple[Deployment, Cluster, HandChain]:
    d = make_deployment(4, seed=11, chain_terms=(1, 2, 1))
    return d, Cluster(d, seed=11), HandChain(d)


def test_a_deposit_is_there_for_the_batch_of_the_very_block_that_takes_it(
    running: tuple[Deployment, Cluster, HandChain],
) -> None:
    d, cluster, chain = running
    new = stranger(b"\x21")
    label = d.label(d.traders[0].address, cluster.now_ms)
    order = d.envelope(d.traders[0], label, d.plaintext(new, d.limit_order(new, label, side=SELL, quantity_lots=7)))
    chain.block(deposit(new.address, 0, 700_000), forced(order))
    chain.block(blocks=3)
    chain.tell(cluster)  # the deposit and the order that is due are in one step
    assert cluster.run(5_000, partial(taken_up, chain))
    core = cluster.cores[0]
    taking = next(one for one in blocks_of(cluster.logs[0]) if one.header.checkpoint == chain.newest)
    assert [one.order_id for one in taking.batch] == [order.order_id()]
    assert core.execution.engine.balance(new.address, 0) == (0, 700_000), "the order rests on what came with it"
    check_safety(cluster)


def test_an_order_without_a_deposit_rests_on_nothing(running: tuple[Deployment, Cluster, HandChain]) -> None:
    d, cluster, chain = running
    new = stranger(b"\x22")
    label = d.label(d.traders[0].address, cluster.now_ms)
    order = d.envelope(d.traders[0], label, d.plaintext(new, d.limit_order(new, label, side=SELL, quantity_lots=7)))
    chain.block(deposit(new.address, 0, 699_999), forced(order))
    chain.block(blocks=3)
    chain.tell(cluster)
    assert cluster.run(5_000, partial(taken_up, chain))
    assert cluster.cores[0].execution.engine.balance(new.address, 0) == (699_999, 0)


def test_a_bond_is_credit_from_the_block_after(running: tuple[Deployment, Cluster, HandChain]) -> None:
    d, cluster, chain = running
    new = stranger(b"\x23")
    label = d.label(new.address, cluster.now_ms)
    order = d.envelope(new, label, d.plaintext(d.traders[0], d.limit_order(d.traders[0], label)))
    chain.block(bond(new.address, limits.ORDER_CHARGE_WEI), forced(order))
    chain.block(blocks=3)
    chain.tell(cluster)
    assert cluster.run(5_000, partial(taken_up, chain))
    assert not any(one.batch for one in blocks_of(cluster.logs[0])), "in the block of the bond it is no credit yet"
    state = cluster.cores[0].chain.final_state
    assert state.chain.forced_head == 1 and state.bonded_wei[new.address] == limits.ORDER_CHARGE_WEI
    submit(cluster, 0, order)
    assert cluster.run(5_000, lambda c: bool(c.cores[0].board.sequenced)), "the door goes by final blocks"
    poor = stranger(b"\x24")
    other = d.label(poor.address, cluster.now_ms)
    refused = d.envelope(poor, other, d.plaintext(d.traders[0], d.limit_order(d.traders[0], other)))
    submit(cluster, 0, refused)
    assert cluster.run(1_000, lambda c: answers(c)[-1].code == "credit.exhausted")


def test_a_forced_order_is_batched_though_no_member_was_ever_sent_it(
    running: tuple[Deployment, Cluster, HandChain],
) -> None:
    d, cluster, chain = running
    order = d.order(d.traders[0], cluster.now_ms)
    first = chain.block(forced(order))
    chain.tell(cluster)
    assert cluster.run(5_000, partial(taken_up, chain))
    assert not cluster.cores[0].board.sequenced, "it is not due yet"
    assert cluster.cores[0].chain.final_state.chain.cleared_number == first.number
    chain.block(blocks=chain.due[0] - first.number)
    chain.tell(cluster)
    assert cluster.run(5_000, partial(taken_up, chain))
    core = cluster.cores[0]
    assert core.pool.sequenced_height(order.order_id())
    assert core.chain.final_state.chain.forced_head == 1
    logged = [entry.envelope for entry in cluster.logs[0] if isinstance(entry, EnvelopeEntry)]
    assert logged == [order]
    check_safety(cluster)


@pytest.mark.parametrize("name", ["garbage", "expired", "not valid yet", "uncredited", "bent", "sequenced before"])
def test_a_forced_order_that_may_not_be_batched_is_let_go_and_its_height_counts(
    name: str, running: tuple[Deployment, Cluster, HandChain]
) -> None:
    d, cluster, chain = running
    poor, now_ms = stranger(b"\x25"), cluster.now_ms
    trader = d.traders[0]

    def order(sponsor: Trader, from_ms: int, life_ms: int):  # type: ignore[no-untyped-def]
        label = d.label(sponsor.address, from_ms, life_ms=life_ms)
        return d.envelope(sponsor, label, d.plaintext(trader, d.limit_order(trader, label, time_in_force=IOC)))

    plain = order(trader, now_ms, 120_000)
    bent = bytearray(plain.ciphertext)
    bent[50] ^= 1
    envelope = {
        "garbage": b"no envelope",
        "expired": order(trader, now_ms - 1_000, 1_001),
        "not valid yet": order(trader, now_ms + 60_000, 120_000),
        "uncredited": order(poor, now_ms, 120_000),
        "bent": d.sponsored(trader, plain.label, bytes(bent)),
        "sequenced before": plain,
    }[name]
    batched = int(name == "sequenced before")
    if batched:
        submit(cluster, 0, plain)
        assert cluster.run(5_000, lambda c: all(core.board.sequenced for core in c.cores))
    first = chain.block(forced(envelope))
    chain.tell(cluster)
    assert cluster.run(5_000, partial(taken_up, chain))
    before = cluster.cores[0].chain.final_state
    assert before.chain.forced_head == 0
    chain.block(blocks=chain.due[0] - first.number)
    chain.tell(cluster)
    assert cluster.run(5_000, partial(taken_up, chain))
    state = cluster.cores[0].chain.final_state
    assert state.chain.forced_head == 1 and state.sequenced == batched
    assert state.last_counting > before.last_counting, "so that an order commit follows that covers it"
    assert state.chain.cleared_number == chain.newest.number
    check_safety(cluster)


def test_more_inputs_than_a_block_takes_are_carried_and_nothing_is_cleared_meanwhile(
    running: tuple[Deployment, Cluster, HandChain],
) -> None:
    d, cluster, chain = running
    many = 2 * limits.INPUTS_PER_BLOCK_MAX + 3
    account = d.traders[0].address
    chain.block(*(deposit(account, 0, 1) for _ in range(many)))
    chain.tell(cluster)
    states = []

    def watch(c: Cluster) -> bool:
        states.append(c.cores[0].chain.final_state.chain)
        return taken_up(chain, c) and states[-1].inputs_count == chain.newest.inputs_count

    assert cluster.run(5_000, watch)
    steps = sorted({(one.inputs_count - len(d.inputs), one.cleared_number) for one in states})
    genesis, last = d.committee.genesis.checkpoint.number, chain.newest.number
    assert steps == [(0, genesis), (256, genesis), (512, genesis), (many, last)]
    assert sum(cluster.cores[0].execution.engine.balance(account, 0)) == DEPOSIT_UNITS + many
    told = [entry for entry in cluster.logs[0] if isinstance(entry, InputsEntry)]
    assert sum(len(entry.inputs) for entry in told) == len(chain.inputs), "the log tells them before the first block"
    check_safety(cluster)


def test_a_deposit_that_the_market_cannot_hold_credits_nothing_and_stops_nobody(
    running: tuple[Deployment, Cluster, HandChain],
) -> None:
    d, cluster, chain = running
    account = d.traders[0].address
    chain.block(deposit(account, 5, 10), deposit(account, 0, limits.AMOUNT_MAX), deposit(account, 0, 4))
    chain.tell(cluster)
    assert cluster.run(5_000, partial(taken_up, chain))
    assert cluster.cores[2].execution.engine.balance(account, 0) == (DEPOSIT_UNITS + 4, 0)
    check_safety(cluster)


def test_a_member_whose_chain_node_is_dead_takes_inputs_from_peers_and_votes(
    running: tuple[Deployment, Cluster, HandChain],
) -> None:
    d, cluster, chain = running
    account = d.traders[1].address
    chain.block(deposit(account, 0, 5))
    chain.tell(cluster, 0, 1)  # f+1 see it, which is one short of a quorum
    assert cluster.run(8_000, partial(taken_up, chain))
    for core in cluster.cores:
        assert core.execution.engine.balance(account, 0) == (DEPOSIT_UNITS + 5, 0)
    assert cluster.cores[2].chain_view.newest == d.committee.genesis.checkpoint
    check_safety(cluster)


def test_what_f_members_alone_see_is_taken_up_by_nobody(running: tuple[Deployment, Cluster, HandChain]) -> None:
    d, cluster, chain = running
    chain.block(deposit(d.traders[1].address, 0, 5))
    chain.tell(cluster, 3)
    cluster.run(8_000)
    for core in cluster.cores:
        assert core.chain.final_state.chain.checkpoint == d.committee.genesis.checkpoint


def test_inputs_nobody_asked_for_are_dropped(running: tuple[Deployment, Cluster, HandChain]) -> None:
    d, cluster, _ = running
    core = cluster.cores[0]
    before = dump(core)
    invented = deposit(d.traders[0].address, 0, 10**12)
    through = invented.chained(d.committee.genesis.checkpoint.inputs_hash)
    message = InputsMessage(through, d.committee.genesis.checkpoint.inputs_hash, (invented,))
    assert core.step(FromPeer(1, message), cluster.now_ms) == []
    assert dump(core) == before


def test_a_peer_that_asks_without_end_is_answered_now_and_then(
    running: tuple[Deployment, Cluster, HandChain],
) -> None:
    """An answer may be ten thousand times its question; who lacks inputs turns to the next peer meanwhile."""
    d, cluster, chain = running
    chain.block(*(deposit(d.traders[0].address, 0, 1 + i) for i in range(300)), blocks=2)
    chain.tell(cluster)
    cluster.run(10)
    core, question = cluster.cores[0], FetchInputs(chain.newest.inputs_hash)
    answers = [len(core.step(FromPeer(3, question), cluster.now_ms)) for _ in range(50)]
    assert answers == [1] * SLICES_BURST_MAX + [0] * (50 - SLICES_BURST_MAX)
    assert len(core.step(FromPeer(2, question), cluster.now_ms)) == 1, "of another peer it is the first"
    assert len(core.step(FromPeer(3, question), cluster.now_ms + SLICE_INTERVAL_MS)) == 1


@pytest.mark.parametrize("snapshot", [False, True])
def test_a_member_that_comes_back_has_its_inputs_and_goes_on_from_the_checkpoint_it_knew(
    snapshot: bool, running: tuple[Deployment, Cluster, HandChain]
) -> None:
    d, cluster, chain = running
    account = d.traders[1].address
    chain.block(deposit(account, 0, 5), forced(d.order(d.traders[0], cluster.now_ms)))
    chain.tell(cluster)
    assert cluster.run(5_000, partial(taken_up, chain))
    chain.block(deposit(account, 0, 6))
    chain.tell(cluster, 3)  # which nobody else has seen when it goes down
    cluster.run(50)
    known = cluster.cores[3].chain_view.newest
    assert known == chain.newest
    if snapshot:
        cluster.hosts[3].disk.take_snapshot(cluster.cores[3])
    cluster.stop(3)
    cluster.run(200)
    cluster.restart(3)
    assert cluster.cores[3].chain_view.newest == known, "the node goes on telling from there"
    assert cluster.cores[3].chain_view.told == (known.inputs_count, known.inputs_hash)
    chain.block(blocks=4)
    chain.tell(cluster)
    assert cluster.run(8_000, partial(taken_up, chain))
    core = cluster.cores[3]
    assert core.execution.engine.balance(account, 0) == (DEPOSIT_UNITS + 11, 0)
    assert core.chain.final_state.chain == cluster.cores[0].chain.final_state.chain
    assert core.chain.final_state.chain.forced_head == 1
    check_safety(cluster)


def test_a_member_that_lost_all_takes_inputs_from_logs() -> None:
    d = make_deployment(4, seed=12)
    cluster, chain = Cluster(d, seed=12), HandChain(d)
    account = d.traders[1].address
    cluster.stop(3)
    for turn in range(8):
        chain.block(*(deposit(account, 0, 1 + turn) for _ in range(3)), forced(d.order(d.traders[0], cluster.now_ms)))
        chain.tell(cluster)
        assert cluster.run(8_000, partial(taken_up, chain))
    cluster.hosts[3].disk.wipe(keep_log=False)
    cluster.restart(3, damaged=True)
    assert cluster.run(20_000, partial(taken_up, chain))
    for host in cluster.hosts:
        assert sum(host.core.execution.engine.balance(account, 0)) == DEPOSIT_UNITS + 3 * sum(range(1, 9))
    told = [one for entry in cluster.logs[3] if isinstance(entry, InputsEntry) for one in entry.inputs]
    assert told == chain.inputs
    check_safety(cluster)


def test_a_log_is_believed_where_the_newest_inputs_are_held_already() -> None:
    d = make_deployment(4, seed=12)
    cluster, chain = Cluster(d, seed=12), HandChain(d)
    cluster.stop(3)
    chain.block(*(deposit(d.traders[0].address, 0, 1) for _ in range(300)))
    inputs, through = tuple(chain.inputs), chain.newest.inputs_hash
    for _ in range(8):
        chain.tell(cluster, 0, 1, 2)
        assert cluster.run(8_000, partial(taken_up, chain))
        chain.block(deposit(d.traders[0].address, 0, 1))
    cluster.hosts[3].disk.wipe(keep_log=False)
    cluster.restart(3, damaged=True)
    count, inputs_hash = inputs_chain(inputs[:-256], 0, ZERO_HASH)
    cluster.hosts[3].core.chain_view.add(inputs[-256:], count, inputs_hash, through)  # a peer serves these first
    executed = cluster.cores[0].execution.executed_height
    assert cluster.run(20_000, lambda c: c.cores[3].execution.executed_height >= executed)
    assert not [fault for fault in cluster.faults if fault[0] == 3], "who served the log is accused"
    check_safety(cluster)


def test_the_chain_goes_on_where_an_epoch_ended_and_a_joiner_has_it_from_logs() -> None:
    d = make_deployment(4, seed=14, joiners=1, chain_terms=(1, 40, 1))
    cluster, chain = Cluster(d, seed=14), HandChain(d)
    account = d.traders[1].address
    late = d.order(d.traders[0], cluster.now_ms)
    chain.block(deposit(account, 0, 1), forced(late))
    chain.tell(cluster)
    assert cluster.run(8_000, partial(taken_up, chain))
    joiner = cluster.join(0)
    cluster.approve(d.next_committee((0, 1, 2, 3, 4), 4), range(4))
    for turn in range(10):
        chain.block(deposit(account, 0, 2 + turn))
        chain.tell(cluster, 0, 1, 2, 3)
        cluster.run(400)
    assert cluster.run(60_000, lambda c: all(host.core.committee.epoch == 1 for host in c.hosts))
    anchor = joiner.core.committee.anchor_height
    ending = [one for one in blocks_of(joiner.disk.log) if one.header.height == anchor]
    chain.block(blocks=40)
    chain.tell(cluster, 0, 1, 2, 3)
    assert cluster.run(20_000, partial(taken_up, chain))
    for host in cluster.hosts:
        assert sum(host.core.execution.engine.balance(account, 0)) == DEPOSIT_UNITS + sum(range(1, 12))
        assert host.core.pool.sequenced_height(late.order_id()), "forced in one epoch, due in the next"
    assert joiner.core.chain_view.newest == d.committee.genesis.checkpoint, "it has no chain node"
    told = [one for entry in joiner.disk.log if isinstance(entry, InputsEntry) for one in entry.inputs]
    assert told == chain.inputs and len(ending) == 1


def test_no_checkpoint_is_named_before_there_is_a_key_and_forced_garbage_stops_no_key_generation() -> None:
    d = make_deployment(4, seed=13, generated=True)
    cluster, chain = Cluster(d, seed=13), HandChain(d)
    chain.block(forced(b"who knows which key this is for"), deposit(d.traders[0].address, 0, 3))
    chain.tell(cluster)
    genesis = d.committee.genesis.checkpoint
    keyless = []

    def watch(c: Cluster) -> bool:
        keyless.extend(
            core.chain.final_state.chain.checkpoint for core in c.cores if core.committee.keys is None
        )
        return taken_up(chain, c)

    assert cluster.run(60_000, watch)
    assert set(keyless) == {genesis}
    assert cluster.cores[0].chain.final_state.chain.forced_head == 1
    check_safety(cluster)


def test_a_result_says_which_inputs_its_range_has_taken(running: tuple[Deployment, Cluster, HandChain]) -> None:
    d, cluster, chain = running
    chain.block(deposit(d.traders[1].address, 0, 5))
    chain.tell(cluster)
    submit(cluster, 0, d.order(d.traders[0], cluster.now_ms, side=BUY))
    assert cluster.run(20_000, lambda c: any(isinstance(one, SettlementEntry) for one in c.logs[0]))
    entry = next(one for one in cluster.logs[0] if isinstance(one, SettlementEntry))
    assert (entry.inputs_count, entry.inputs_hash) == (chain.newest.inputs_count, chain.newest.inputs_hash)
