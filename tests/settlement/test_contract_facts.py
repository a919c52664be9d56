"""What `mpcseq devnet settle` reads of the contract is what the contract did: changes out of the transactions' data, of
results in one piece and in parts, money in and out; and a queue with a forced order reads."""

from __future__ import annotations

import pytest

from mpc_sequencer.core.signing import Signer
from mpc_sequencer.devnet.agreement import EngineFacts, compare
from mpc_sequencer.devnet.agreement_facts import contract_facts
from mpc_sequencer.settlement.contract import SettlementContract
from mpc_sequencer.settlement.devchain import DEV_SECRET
from mpc_sequencer.settlement.embedded import EmbeddedChain
from mpc_sequencer.settlement.errors import ChainMismatch
from mpc_sequencer.settlement.ethrpc import Call
from mpc_sequencer.settlement.payloads import INPUT_FORCED, Delta, delta_parts, pack_deltas
from mpc_sequencer.settlement.steps import Kind, Step
from tests.settlement.deployed_kit import GENESIS_ROOT, deploy

FEE_WEI = 10**15


def test_changes_deposits_claims_and_holdings_are_read_back(embedded: EmbeddedChain) -> None:
    house = deploy(embedded.url, commits_required=False)
    chain = SettlementContract(embedded.url, house.chain.settlement)
    alice, bob = house.traders
    deltas = (Delta(alice, 0, -100, 0), Delta(bob, 0, 100, 0), Delta(alice, 1, -300, 300))
    chain.post_result(house.result(1, 4, GENESIS_ROOT, *deltas), DEV_SECRET)
    chain.claim(DEV_SECRET, 1, alice)
    chain.force(DEV_SECRET, b"an envelope", FEE_WEI)
    assert [one.kind for one in chain.inputs(chain.block_number())][-1] == INPUT_FORCED
    facts = contract_facts(chain)
    (posted,) = facts.posted
    assert (posted.epoch, posted.first_height, posted.last_height) == (0, 1, 4)
    assert posted.changes == {(0, alice): (-100, 0), (0, bob): (100, 0), (1, alice): (-300, 300)}
    assert facts.claimed == {(1, alice): 300} and facts.exited == {}
    assert facts.balances == {(0, alice): (900, 0), (0, bob): (1_100, 0), (1, alice): (700, 0), (1, bob): (1_000, 0)}
    assert facts.held == {0: 2_000, 1: 1_700}
    totals = {place: free for place, (free, _) in facts.balances.items()}
    assert compare(EngineFacts({3: posted.changes}, totals), facts, settled=True) == []


def test_changes_of_a_result_in_parts_are_put_together(embedded: EmbeddedChain) -> None:
    house = deploy(embedded.url, commits_required=False)
    chain = SettlementContract(embedded.url, house.chain.settlement)
    alice = house.traders[0]
    receivers = [Signer(bytes([7]) * 30 + number.to_bytes(2, "big")).address for number in range(300)]
    rows = [Delta(account, asset, units, 0) for asset in (0, 1)
            for account, units in sorted([(alice, -300), *((one, 1) for one in receivers)])]  # fmt: skip
    signed = house.result(1, 4, GENESIS_ROOT, *rows)
    assert len(delta_parts(pack_deltas(signed.result.deltas))) == 2

    def send(kind: Kind, part: int = 0) -> None:
        chain.transact(DEV_SECRET, [chain.call_of(Step(kind, 4, part), None, signed, None)])

    send(Kind.BEGIN)
    send(Kind.CHECK)
    send(Kind.CHECK, 1)
    while (staged := chain.view_at(chain.block_number()).staged) is not None:
        send(Kind.APPLY, staged.part)
    (posted,) = contract_facts(chain).posted
    assert posted.changes == {(one.asset, one.account): (one.free, 0) for one in rows}


def test_a_transaction_that_calls_nothing_of_the_contract_is_refused(embedded: EmbeddedChain) -> None:
    house = deploy(embedded.url, commits_required=False)
    chain = SettlementContract(embedded.url, house.chain.settlement)
    (receipt,) = chain.transact(DEV_SECRET, [Call(Signer(DEV_SECRET).address, b"", 0, 21_000)])
    for transaction in (receipt.transaction_hash, b"\x01" * 32):
        with pytest.raises(ChainMismatch, match="no call of the contract"):
            chain.sent_call(transaction)
