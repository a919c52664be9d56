"""What a member takes from its own chain node, keeps of inputs, and holds against a block's checkpoint."""

from __future__ import annotations

from typing import Any

import pytest
from chain_kit import HandChain, deposit, forced
from core_kit import freeze, refused
from msgspec.structs import replace

from mpc_sequencer.core import limits
from mpc_sequencer.core.chainview import INPUTS_PER_MESSAGE_MAX, ChainView
from mpc_sequencer.core.effects import ChainSeen, Fault, Persist
from mpc_sequencer.core.ordering.chainstate import chain_at
from mpc_sequencer.core.ordering.inputs import ForcedTerms
from mpc_sequencer.core.recovery import dump
from mpc_sequencer.core.transcript import ChainInput
from mpc_sequencer.core.types import Checkpoint
from mpc_sequencer.sim import Cluster, make_deployment

D = make_deployment(4, seed=21, chain_terms=(2, 3, 2))
GENESIS = D.committee.genesis.checkpoint
TERMS = ForcedTerms(3, 2)
ACCOUNT = D.traders[0].address


def view() -> ChainView:
    return ChainView(GENESIS, 2, TERMS)


def told(*inputs: ChainInput, blocks: int = 1) -> tuple[HandChain, ChainSeen]:
    chain = HandChain(D)
    chain.block(*inputs, blocks=blocks)
    return chain, chain.seen(GENESIS)


ONE = deposit(ACCOUNT, 0, 1)
LATE = forced(b"envelope")


def test_the_own_node_s_word_is_on_disk_before_a_head_names_it() -> None:
    chain, event = told(ONE, LATE)
    core = Cluster(D, seed=1).cores[0]
    effects = core.step(event, core.now_ms)
    records = [effect.record for effect in effects if isinstance(effect, Persist)]
    assert effects == [Persist(one) for one in records]
    assert [one for record in records for one in record.inputs] == [ONE, LATE]  # type: ignore[union-attr]
    assert records[-1].checkpoint == chain.newest  # type: ignore[union-attr]
    again = view()
    for record in records:
        again.recall(record)  # type: ignore[arg-type]
    assert again.newest == chain.newest and again.told == (chain.newest.inputs_count, chain.newest.inputs_hash)
    assert again.between(chain_at(GENESIS), chain.newest) == (ONE, LATE)


def bent(**changes: Any) -> ChainSeen:
    _, event = told(ONE, LATE)
    checkpoint = replace(event.checkpoint, **{k: v for k, v in changes.items() if k in Checkpoint.__struct_fields__})
    return ChainSeen(checkpoint, changes.get("inputs", event.inputs), changes.get("forced_due", event.forced_due))


BAD = {
    "a number that is no multiple of the step": ("chain.step", bent(number=3)),
    "a number that was told before": ("chain.number", bent(number=0)),
    "an input left out": ("chain.inputs", bent(inputs=(ONE,), forced_due=())),
    "an input too many": ("chain.inputs", bent(inputs=(ONE, ONE, LATE))),
    "inputs in another order": ("chain.inputs", bent(inputs=(LATE, ONE))),
    "another hash": ("chain.inputs", bent(inputs_hash=bytes(32))),
    "another count": ("chain.inputs", bent(inputs_count=GENESIS.inputs_count + 3)),
    "another body": ("chain.body", bent(inputs=(ONE, replace(LATE, body=b"another")))),
    "a deposit with a body": ("chain.body", bent(inputs=(replace(ONE, body=b"body"), LATE))),
    "a forced order without its due number": ("chain.terms", bent(forced_due=())),
    "a due number too many": ("chain.terms", bent(forced_due=(6, 8))),
    "a due number before the terms'": ("chain.terms", bent(forced_due=(GENESIS.number + 3,))),
}


@pytest.mark.parametrize("name", BAD)
def test_a_node_that_contradicts_itself_is_told_to_the_operator_and_not_taken(name: str) -> None:
    code, event = BAD[name]
    mine = view()
    before = freeze(mine)
    with refused(code):
        mine.seen(event)
    assert freeze(mine) == before
    core = Cluster(D, seed=1).cores[0]
    kept = dump(core)
    (fault,) = core.step(event, core.now_ms)
    assert isinstance(fault, Fault) and (fault.node, fault.code) == (0, code)
    assert dump(core) == kept


def test_the_least_due_numbers_that_the_terms_allow_are_taken() -> None:
    least = GENESIS.number + 1 + TERMS.delay_blocks
    second = forced(b"second")
    chain, event = told(LATE, second)
    taken = ChainSeen(event.checkpoint, event.inputs, (least, least + 2))
    assert view().seen(taken)
    with refused("chain.terms"):
        view().seen(ChainSeen(event.checkpoint, event.inputs, (least, least + 1)))
    mine = view()
    mine.seen(taken)
    chain.block(forced(b"third"), blocks=2)
    known = event.checkpoint
    later = chain.seen(known)
    with refused("chain.terms"):  # a node's word goes on where the last one ended
        mine.seen(ChainSeen(later.checkpoint, later.inputs, (least + 3,)))
    assert mine.seen(ChainSeen(later.checkpoint, later.inputs, (least + 4,)))


def test_inputs_that_do_not_lead_to_the_hash_are_refused_and_change_nothing() -> None:
    mine = view()
    before = freeze(mine)
    through = ONE.chained(GENESIS.inputs_hash)
    for inputs, start in (((LATE,), GENESIS.inputs_hash), ((ONE,), bytes(32)), ((ONE, ONE), GENESIS.inputs_hash)):
        with refused("chain.inputs"):
            mine.add(inputs, GENESIS.inputs_count, start, through)
    hollow = replace(LATE, body=b"another")
    with refused("chain.inputs"):
        mine.add((hollow,), GENESIS.inputs_count, GENESIS.inputs_hash, LATE.chained(GENESIS.inputs_hash))
    assert freeze(mine) == before
    mine.add((ONE,), GENESIS.inputs_count, GENESIS.inputs_hash, through)
    assert mine.leading_to(through) == (GENESIS.inputs_hash, (ONE,))


def test_inputs_are_served_in_parts_from_the_end_and_found_missing_in_parts() -> None:
    many = [deposit(ACCOUNT, 0, 1 + i) for i in range(INPUTS_PER_MESSAGE_MAX + 5)]
    chain, event = told(*many)
    server, asker = view(), view()
    server.seen(event)
    start = chain_at(GENESIS)
    assert asker.between(start, chain.newest) is None
    asked = []
    while (lacking := asker.lacks(start, chain.newest)) is not None:
        count, inputs_hash = lacking
        asked.append(count - GENESIS.inputs_count)
        found = server.leading_to(inputs_hash)
        assert found is not None
        asker.add(found[1], count - len(found[1]), found[0], inputs_hash)
    assert asked == [len(many), 5]
    assert asker.between(start, chain.newest) == tuple(many)
    assert server.leading_to(bytes(32)) is None


def test_a_count_that_is_not_the_queue_s_leads_nowhere() -> None:
    chain, event = told(ONE)
    mine = view()
    mine.seen(event)
    assert mine.between(chain_at(GENESIS), replace(chain.newest, inputs_count=chain.newest.inputs_count + 1)) is None
    assert mine.between(chain_at(replace(GENESIS, inputs_count=1)), chain.newest) is None


CONTRADICTED = {
    "another block of that number": {"block_hash": bytes(32)},
    "another hash after as many inputs": {"number": 90, "inputs_hash": bytes(32)},
    "more inputs at a lower number": {"number": 1, "inputs_count": 10**6},
    "fewer inputs at a higher number": {"number": 90, "inputs_count": GENESIS.inputs_count - 1},
}


@pytest.mark.parametrize("name", CONTRADICTED)
def test_what_the_own_chain_has_otherwise_is_a_contradiction(name: str) -> None:
    chain, event = told(ONE, LATE)
    mine = view()
    mine.seen(event)
    assert mine.contradiction(chain.newest) is None and mine.contradiction(GENESIS) is None
    assert mine.contradiction(replace(chain.newest, number=90)) is None, "a later one with no more inputs may well be"
    assert mine.contradiction(Checkpoint(90, bytes(32), 10**6, bytes(32))) is None, "nor can a late node say"
    assert mine.contradiction(replace(chain.newest, **CONTRADICTED[name]))


def test_what_a_vote_rests_on_goes_to_disk_once_where_it_came_from_peers() -> None:
    chain, event = told(ONE, LATE)
    mine = view()
    state = replace(chain_at(GENESIS), checkpoint=chain.newest)
    assert list(mine.support(state)) == []
    mine.add(event.inputs, *mine.told, chain.newest.inputs_hash)
    records = list(mine.support(state))
    assert [one for record in records for one in record.inputs] == [ONE, LATE]
    assert list(mine.support(state)) == []
    again = view()
    for record in records:
        again.recall(record)
    assert again.between(chain_at(GENESIS), chain.newest) == (ONE, LATE) and again.newest == GENESIS
    own = view()
    own.seen(event)
    assert list(own.support(state)) == [], "the own node's word is there already"


def test_inputs_taken_long_ago_are_dropped_and_the_newest_checkpoint_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "INPUTS_KEPT", 8)
    mine, chain = view(), HandChain(D)
    for i in range(40):
        chain.block(deposit(ACCOUNT, 0, 1 + i), blocks=2 if i else 1)
        mine.seen(chain.seen(mine.newest))
        state = replace(chain_at(chain.newest), checkpoint=chain.newest)
        mine.prune(state)
    assert len(mine._links) <= 8 + 3
    assert mine.newest == chain.newest and mine.contradiction(replace(chain.newest, inputs_hash=bytes(32)))
    assert len(list(mine.records())) < 60


def test_a_member_without_a_chain_node_keeps_no_more_than_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """What its peers brought it is dropped as well; a node that answers again after long goes on all the same."""
    monkeypatch.setattr(limits, "INPUTS_KEPT", 8)
    mine, chain = view(), HandChain(D)
    last = GENESIS
    for i in range(40):
        chain.block(deposit(ACCOUNT, 0, 1 + i), blocks=2 if i else 1)
        event = chain.seen(last)
        mine.add(event.inputs, last.inputs_count, last.inputs_hash, chain.newest.inputs_hash)
        mine.prune(chain_at(chain.newest))
        last = chain.newest
    assert len(mine._links) <= 8 + 3
    assert len(list(mine.records())) < 20
    assert mine.leading_to(last.inputs_hash) is not None
    mine.seen(chain.seen(mine.newest))
    assert mine.newest == last and mine.contradiction(replace(last, inputs_hash=bytes(32)))
    final, one = chain_at(last), deposit(ACCOUNT, 0, 99)
    chain.block(one, blocks=2)
    mine.seen(chain.seen(last))
    assert mine.between(final, chain.newest) == (one,)
    for i in range(8):
        chain.block(deposit(ACCOUNT, 0, 100 + i), blocks=2)
        mine.seen(chain.seen(mine.newest))
        mine.prune(chain_at(chain.newest))
    assert len(mine._links) <= 8 + 3 and mine.told == (chain.newest.inputs_count, chain.newest.inputs_hash)
