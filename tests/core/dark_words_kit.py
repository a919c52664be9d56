"""A committee with a dark market beside the usual one, and members' words on it."""

from __future__ import annotations

from dataclasses import replace

import msgspec

from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.types import NO_SIGNATURE, KeyMessage, with_signature
from mpc_sequencer.dark.keyparty import KeyParty
from mpc_sequencer.dark.messages import ResultSaid, Word, encode_word
from mpc_sequencer.market import Market
from mpc_sequencer.market.types import DARK, DarkGrid
from mpc_sequencer.sim import Deployment, make_deployment

GRID = DarkGrid(
    ticks=8,
    price_first_ticks=617_960,
    price_step_ticks=10,
    quantity_bits=4,
    slack_bits=28,
    orders_max=12,
    interval_ms=1_500,
)


def dark_market(grid: DarkGrid = GRID, market: int = 7) -> Market:
    return Market(
        id=market,
        base_asset=0,
        quote_asset=1,
        base_units_per_lot=100_000,
        quote_units_per_tick_lot=100,
        reference_price_ticks=618_000,
        symbol=f"DARK{market}",
        policy=DARK,
        dark=grid,
    )


def dark_deployment(n: int = 5, *, seed: int = 0, joiners: int = 0, markets: int = 1) -> Deployment:
    """The usual deployment with ``markets`` dark ones more."""
    d = make_deployment(n, seed=seed, joiners=joiners)
    genesis = d.committee.genesis
    more = tuple(dark_market(market=7 + i) for i in range(markets))
    return replace(d, committee=Committee(msgspec.structs.replace(genesis, markets=(*genesis.markets, *more))))


def signed(d: Deployment, node: int, payload: bytes, session: bytes | None = None) -> KeyMessage:
    """A key message of a member, of a dark topic unless another ``session`` is given. Members and then joiners sign."""
    topic = d.committee.dark_topic if session is None else session
    assert topic is not None
    unsigned = KeyMessage(0, topic, node, payload, NO_SIGNATURE)
    signer = [*d.signers, *d.joiners][node]
    return with_signature(unsigned, signer.sign_digest(d.committee.digest(unsigned.struct_hash())))


def said(d: Deployment, node: int, word: Word) -> KeyMessage:
    return signed(d, node, encode_word(word))


def result(d: Deployment, node: int, batch: int, market: int = 7) -> KeyMessage:
    """A word that nobody asked for: the batch is none that runs."""
    return said(d, node, ResultSaid(market, batch, None))


def key_word(d: Deployment, core: object, node: int) -> KeyMessage:
    """A member's true first word of the epoch: its box key."""
    desk = core.dark.desk  # type: ignore[attr-defined]
    return said(d, node, KeyParty(bytes((node + 1,)) * 32, node).say_key(desk.agreement))
