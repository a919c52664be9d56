"""A value of the engine's state with its path to the state root, by the kind of proof that a client asks for."""

from __future__ import annotations

from mpc_sequencer.core.codec import encode
from mpc_sequencer.core.proofs import StateProof
from mpc_sequencer.core.resultproof import ACCOUNT, ORDER
from mpc_sequencer.market import AUCTION, Engine
from mpc_sequencer.market.state import State
from mpc_sequencer.market.tree import EMPTY_ROOT, StateTree, _Branch, state_key


def state_proof(engine: Engine, kind: int, identifier: bytes) -> StateProof | None:
    """The value of an account, an open order or a market and its siblings; None where the state has none."""
    engine.state_root()  # brings the tree up to date
    state = engine._state
    if kind == ACCOUNT:
        held = state.ledger.get(identifier)
        account = None if held is None else held.value()
        value = None if account is None else account.state_value()
    elif kind == ORDER:
        order = engine.open_order(identifier)
        value = None if order is None else encode(order)
    else:
        value = _market_value(state, int.from_bytes(identifier, "big"))
    return None if value is None else StateProof(value, siblings_of(state._tree, state_key(kind, identifier)))


def _market_value(state: State, market_id: int) -> bytes | None:
    market = state.markets.get(market_id)
    if market is None:
        return None
    price_ticks = state.reference_prices_ticks[market_id]
    return encode((price_ticks,) if market.policy == AUCTION else (price_ticks, state.sequences[market_id]))


def siblings_of(tree: StateTree, key: bytes) -> tuple[bytes, ...]:
    """The siblings of the key's leaf, the lowest first. Raises ``KeyError`` where it has none."""
    siblings: list[bytes] = []
    node, depth = tree._root, 0
    while isinstance(node, _Branch):
        bit = key[depth >> 3] & 0x80 >> (depth & 7)
        node, other = (node.right, node.left) if bit else (node.left, node.right)
        siblings.append(EMPTY_ROOT if other is None else other.hash)
        depth += 1
    if node is None or node.key != key:
        raise KeyError(key)
    return tuple(reversed(siblings))
