"""The state tree against the recursive definition, whatever the history."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpc_sequencer.core import domains
from mpc_sequencer.market import tree
from mpc_sequencer.market.tree import StateTree, state_key
from tests.market import naive

# keys that agree in up to 255 leading bits, so that deep paths, splits and collapses happen
close_keys = st.builds(
    lambda bit, low: (low ^ (1 << 255 - bit if bit < 256 else 0)).to_bytes(32, "big"),
    st.integers(0, 256),
    st.sampled_from((0, 1, 2, 3, 1 << 200, (1 << 256) - 1)),
)
keys = close_keys | st.binary(min_size=32, max_size=32)
batches = st.lists(st.dictionaries(keys, st.none() | st.binary(max_size=4), max_size=12), max_size=8)


def apply(pairs: dict[bytes, bytes], values: dict[bytes, bytes | None]) -> None:
    for key, value in values.items():
        if value is None:
            pairs.pop(key, None)
        else:
            pairs[key] = value


@settings(max_examples=150, deadline=None)
@given(batches)
def test_the_root_is_the_recursive_definition_after_any_updates(history):
    state, pairs = StateTree(), {}
    assert state.root() == bytes(32)
    for values in history:
        state.update(values)
        apply(pairs, values)
        assert state.root() == naive.set_root(list(pairs.items()))


@settings(max_examples=100, deadline=None)
@given(batches)
def test_the_root_does_not_depend_on_the_history(history):
    one, pairs = StateTree(), {}
    for values in history:
        one.update(values)
        apply(pairs, values)
    other = StateTree()
    other.update(pairs)
    assert one.root() == other.root()
    one.update(dict.fromkeys(pairs))
    assert one.root() == bytes(32)


def test_a_single_pair_has_its_leaf_as_root_and_a_half_may_be_empty():
    state = StateTree()
    low, lower = b"\x01" + bytes(31), bytes(32)
    state.update({low: b"a"})
    leaf = naive.tagged("state-leaf", low, b"a")
    assert state.root() == leaf
    state.update({lower: b"b"})
    root = naive.tagged("state-node", naive.tagged("state-leaf", lower, b"b"), leaf)
    for _ in range(7):
        root = naive.tagged("state-node", root, bytes(32))
    assert state.root() == root
    state.update({lower: None})
    assert state.root() == leaf


@pytest.mark.parametrize("kind", [tree.ACCOUNT_KIND, tree.ORDER_KIND, tree.MARKET_KIND])
def test_keys_are_tagged_with_their_kind(kind):
    assert state_key(kind, b"name") == naive.tagged("state-key", bytes([kind]), b"name")


def test_an_update_hashes_paths_not_the_tree(monkeypatch):
    state = StateTree()
    state.update({naive.tagged("state-key", i.to_bytes(4, "big")): b"x" for i in range(4096)})
    hashed = []
    node = domains.STATE_NODE
    monkeypatch.setattr(domains, "STATE_NODE", lambda left, right: hashed.append(left) or node(left, right))
    state.update({naive.tagged("state-key", i.to_bytes(4, "big")): b"y" for i in range(8)})
    assert len(hashed) <= 8 * 16
