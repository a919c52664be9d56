"""Forced orders: how they queue, what makes them due, and when one that was left out lets anybody freeze."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import boa
from settlement_house import CAROL, TERMS, House, as_address

from mpc_sequencer.settlement.payloads import next_inputs_hash


def test_a_forced_order_joins_the_input_queue(house: House) -> None:
    before = house.contract.inputs_hash_at(4)
    envelope = b"sealed" * 100
    with boa.env.prank(as_address(CAROL)):
        boa.env.set_balance(as_address(CAROL), 10**18)
        house.force(envelope)
    logs = {type(log).__name__: log for log in house.contract.get_logs()}
    amount = int.from_bytes(hashlib.sha256(envelope).digest(), "big")
    expected = next_inputs_hash(before, 3, CAROL, 0, amount)
    assert house.contract.inputs_hash_at(5) == expected == logs["InputQueued"].inputs_hash
    assert (logs["InputQueued"].kind, logs["InputQueued"].amount) == (3, amount)
    forced = logs["ForcedQueued"]
    assert (forced.index, forced.forced, forced.due, forced.envelope) == (
        4,
        0,
        house.block + TERMS.forced_delay_blocks,
        envelope,
    )
    assert house.contract.forced_count() == 1 and house.contract.inputs_count() == 5


def test_due_blocks_keep_their_spacing(house: House) -> None:
    start = house.block
    for _ in range(3):
        house.force()
        house.force()
        house.mine()
    house.mine(30)
    house.force()
    dues = [house.contract.forced_entry(index)[2] - start for index in range(7)]
    delay, spacing = TERMS.forced_delay_blocks, TERMS.forced_spacing_blocks
    assert dues == [*(delay + spacing * index for index in range(6)), 33 + delay]
    assert house.contract.forced_entry(7) == (0, 0, 0)


def test_forced_orders_that_are_refused(house: House) -> None:
    with boa.reverts("force: fee too small"):
        house.force(fee=TERMS.forced_fee_wei - 1)
    with boa.reverts("force: empty envelope"):
        house.force(b"")
    with boa.reverts():
        house.force(bytes(1_025))
    house.force(bytes(1_024))
    house.force(fee=TERMS.forced_fee_wei + 1)
    with boa.reverts("force: block full"):
        house.force()
    assert house.contract.forced_count() == 2
    house.mine()
    house.force()


def test_freeze_not_a_block_too_early(house: House) -> None:
    with boa.reverts("freeze: nothing is late"):
        house.contract.freeze()
    house.force()
    due = house.contract.forced_entry(0)[2]
    house.mine(due + TERMS.grace_blocks - house.block)
    with boa.reverts("freeze: nothing is late"):
        house.contract.freeze()
    house.mine()
    house.contract.freeze()
    assert house.contract.status()[:2] == (True, True)
    with boa.reverts("settlement: frozen"):
        house.contract.freeze()


def test_a_commit_that_covers_the_entry_saves_the_committee(house: House) -> None:
    house.force()
    due = house.contract.forced_entry(0)[2]
    house.mine(due + TERMS.grace_blocks + 10 - house.block)
    house.post_commit(house.commit())
    with boa.reverts("freeze: nothing is late"):
        house.contract.freeze()
    house.post(house.sign(house.result()))


def test_freeze_by_forced_spam(house: House) -> None:
    """*Freeze by forced spam*: who queues more forced orders than a committee can batch would freeze the contract with
    them. A block takes few, and in any stretch one falls due each ``forced_spacing_blocks``, whatever waits."""
    blocks, spacing = 12, TERMS.forced_spacing_blocks
    for _ in range(blocks):
        for _ in range(TERMS.forced_per_block_max):
            house.force()
        with boa.reverts("force: block full"):
            house.force()
        house.mine()
    queued = blocks * TERMS.forced_per_block_max
    assert house.contract.forced_count() == queued
    covered, stretch = 0, 6
    house.mine(house.contract.forced_entry(0)[2] - house.block)
    while covered < queued:
        house.mine(stretch)
        commit = house.commit()
        assert commit.forced_head - covered <= stretch // spacing, "what a committee must batch in a stretch is bounded"
        with boa.reverts("freeze: nothing is late"):
            house.contract.freeze()
        house.post_commit(commit)
        covered = commit.forced_head
    # The spam is over: whoever comes now waits the delay and no longer.
    house.mine(TERMS.forced_delay_blocks)
    house.force()
    assert house.contract.forced_entry(queued)[2] == house.block + TERMS.forced_delay_blocks


def test_forced_order_due_between_commit_and_posting(house: House) -> None:
    """*Forced order due between commit and posting*: one queued so that it falls due after a commit was signed must not
    void the commit; and a committee that names old blocks for ever, so that it never falls due, is frozen."""
    house.force()
    due = house.contract.forced_entry(0)[2]
    house.mine(due - 1 - house.block)
    signed = house.commit()
    assert (signed.l1_head, signed.forced_head) == (due - 2, 0)
    house.mine(5)
    with boa.reverts("commit: due entry not covered"):
        house.post_commit(replace(signed, l1_head=due))
    house.post_commit(signed)
    house.mine(due + TERMS.grace_blocks - house.block)
    house.post_commit(house.commit(l1_head=due - 1, forced_head=0))
    with boa.reverts("freeze: nothing is late"):
        house.contract.freeze()
    house.mine()
    house.contract.freeze()
    assert house.contract.status()[1]
