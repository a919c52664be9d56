"""Proofs of accounts, open orders and fills lead to the certified roots, and nothing else does."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpc_sequencer.core import domains
from mpc_sequencer.core.codec import decode, encode
from mpc_sequencer.core.merkle import merkle_path, merkle_root, root_of_path
from mpc_sequencer.core.proofs import StateProof, fills_root_of, state_root_of
from mpc_sequencer.market import Engine, Fill, HeightResult, OrderValue, tree
from mpc_sequencer.market.tree import StateTree, state_key
from tests.market import desk, naive

ACCOUNT, ORDER = tree.ACCOUNT_KIND, tree.ORDER_KIND


def traded() -> tuple[Engine, HeightResult]:
    made = desk.engine()
    actions = [desk.buy(0, 1, 10, 5), desk.sell(1, 1, 9, 3), desk.sell(2, 1, 11, 4), desk.buy(3, 1, 10, 1)]
    return made, desk.run(made, 1, actions)


def test_accounts_orders_and_fills_are_proven_to_the_roots():
    made, result = traded()
    for account in (*desk.ACCOUNTS, desk.FEES):
        proof = made.prove_account(account)
        if proof is None:
            assert account == desk.FEES
            continue
        assert state_root_of(ACCOUNT, account, proof) == result.state_root
    order_id = desk.order_id((1, 2))
    proof = made.prove_order(order_id)
    assert proof is not None and state_root_of(ORDER, order_id, proof) == result.state_root
    assert decode(OrderValue, proof.value) == made.open_order(order_id)
    assert {fill.order_id for fill in result.fills} == {desk.order_id((1, i)) for i in (0, 1, 3)}
    for fill in result.fills:
        (proven,) = made.prove_fill(fill.order_id)
        assert decode(Fill, proven.value) == fill
        assert fills_root_of(proven) == result.fills_root
    assert made.prove_fill(order_id) == ()
    assert made.prove_order(desk.order_id("unknown")) is None and made.prove_account(bytes(20)) is None


def test_a_bent_proof_leads_elsewhere():
    made, result = traded()
    account = desk.ACCOUNTS[0]
    proof = made.prove_account(account)
    assert proof is not None and proof.siblings
    bent = [
        replace(proof, value=proof.value[:-1] + bytes((proof.value[-1] ^ 1,))),
        replace(proof, siblings=proof.siblings[1:]),
        replace(proof, siblings=(bytes(32), *proof.siblings)),
        replace(proof, siblings=(*proof.siblings[:-1], bytes(32))),
    ]
    assert all(state_root_of(ACCOUNT, account, one) != result.state_root for one in bent)
    assert state_root_of(ACCOUNT, desk.ACCOUNTS[1], proof) != result.state_root
    assert state_root_of(ORDER, account, proof) != result.state_root
    (fill, *_) = result.fills
    (proven,) = made.prove_fill(fill.order_id)
    worse = encode(Fill(*(*[getattr(fill, n) for n in fill.__struct_fields__[:-1]], 1 - fill.maker)))
    assert fills_root_of(replace(proven, value=worse)) != result.fills_root
    for change in ({"place": 3}, {"place": -1}, {"count": 99}, {"path": ()}, {"path": (*proven.path, bytes(32))}):
        with pytest.raises(ValueError, match=r"leaf|path"):
            fills_root_of(replace(proven, **change))
    with pytest.raises(ValueError, match="siblings"):
        state_root_of(ACCOUNT, account, StateProof(b"", (bytes(32),) * 257))


@settings(max_examples=60, deadline=None)
@given(st.sets(st.binary(min_size=1, max_size=3), min_size=1, max_size=40))
def test_every_leaf_of_a_tree_is_proven(names):
    state = StateTree()
    state.update({state_key(1, name): name for name in names})
    for name in names:
        siblings = state.prove(state_key(1, name))
        assert state_root_of(1, name, StateProof(name, siblings)) == state.root()
    with pytest.raises(KeyError):
        state.prove(state_key(2, b"absent"))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40))
def test_every_leaf_of_a_sequence_is_proven(count):
    leaves = [naive.tagged("fill-leaf", bytes((i,))) for i in range(count)]
    root = merkle_root(leaves, domains.FILL_NODE)
    for place, leaf in enumerate(leaves):
        path = merkle_path(leaves, place, domains.FILL_NODE)
        assert root_of_path(leaf, place, count, path, domains.FILL_NODE) == root
    with pytest.raises(ValueError, match="no leaf"):
        merkle_path(leaves, count, domains.FILL_NODE)
