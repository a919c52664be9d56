"""The degree check: are all shares that the traders dealt those of polynomials of degree t?

The rule. When a batch is closed its orders are fixed, and with them, by the keys they are sealed to, all shares. A hash
of all that (:func:`degree_seed`) gives a weight for every column. Each party weighs its shares of each order's row,
adds its share of the trader's mask, and says the N results in the log: 12 bytes an order. If a trader dealt any column
off a polynomial of degree t, its order's result is off as well but for a chance of 1/p (the weights are independent of
what was dealt; who tries other orders to be given other weights has a chance of 1/p with each, and p is 2^94). The mask
is a uniform element of the trader's own, so the value that the results show, a sum of the whole row, says nothing about
it. It hides one opening: a row is checked once, in one batch, however often what is left of the batch is said again.

The verdict is a function of what is logged, so that no party that says one thing here and another there can make
two honest members go on with different orders. For each order, of the shares said (:func:`disputes`):

* all on one polynomial of degree t: *good*;
* too far from any: *bad*. Of an honest trader's row at most t shares are wrong, which t liars and t silent parties of
  n >= 4t+1 (or t liars of 3t+1) leave decodable; so here the trader dealt badly. It is dropped;
* on one but for some parties, which are *disputed*: they lied, or the trader dealt them something else. Each may open
  its box to everybody. What it should have said follows from the box alone, as the mask is in it
  (:func:`is_dealt_off`). Where that is off the polynomial the trader dealt it: the order is dropped. Where it is on it,
  or no box is opened, the order stays, and the party has said what it had not been dealt.

Nobody is blamed without the opened box. No t liars can have an honest trader's order dropped; opening a box takes
nothing from it either, for no honest party is ever in dispute with an honest trader. A party that has said nothing was
not checked: it stays out of the computation.

Why not inside the computation's session, as one combination of all orders and then one per order: there a party that
was dealt a wrong share would pass for a liar and be convicted, a row on no polynomial would abort the batch, and
without the log members could come to different verdicts. Per order it is one message as well.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from mpc_sequencer.dark import tags
from mpc_sequencer.dark.decoding import Decoder
from mpc_sequencer.dark.errors import Undecodable
from mpc_sequencer.dark.field import UNIFORM_BYTES, Elements, SharedRows, uniform
from mpc_sequencer.dark.layout import Layout
from mpc_sequencer.dark.params import PRIME, DarkParams


def degree_seed(keys_id: bytes, market: int, batch: int, order_ids: Sequence[bytes]) -> bytes:
    """32 bytes that the weights follow from: of the keys' name and the ids of all orders of the closed batch."""
    return tags.DEGREE(keys_id, market.to_bytes(4, "big"), batch.to_bytes(8, "big"), *order_ids)


def weights(params: DarkParams, seed: bytes) -> Elements:
    """L x 1: the weight of each column by the batch's :func:`degree_seed`; the mask's is 1."""
    layout = Layout.of(params)
    stream = hashlib.shake_256(seed).digest(layout.columns * UNIFORM_BYTES)
    drawn = uniform(stream, layout.columns)
    drawn[layout.mask] = 1
    return drawn.reshape(layout.columns, 1)


def combine(params: DarkParams, seed: bytes, rows: SharedRows) -> Elements:
    """This party's share of every order's combination, (N,). To be made known for one seed only."""
    return rows.weigh(weights(params, seed))[:, 0]


def disputes(params: DarkParams, shares: Mapping[int, Elements]) -> tuple[dict[int, frozenset[int]], frozenset[int]]:
    """By order index the parties whose shares are off the polynomial of the others, where there are any; and the orders
    whose shares lie on none. Raises :class:`Undecodable` where too few parties said anything: then nothing can be
    checked, and the batch does not start."""
    decoder = Decoder(params.parties, params.faults_t, params.faults_t)
    if len(shares) < decoder.shares_min:
        raise Undecodable(f"{len(shares)} parties' degree shares, expected at least {decoder.shares_min}")
    disputed: dict[int, frozenset[int]] = {}
    bad: set[int] = set()
    pending = [(0, len(next(iter(shares.values()))))]
    while pending:
        first, last = pending.pop()
        part = {party: values[first:last] for party, values in shares.items()}
        try:
            liars = decoder.decode(part).liars
        except Undecodable:
            if last - first == 1:
                bad.add(first)
            else:  # some order is bad, or different parties are off in different orders
                middle = (first + last) // 2
                pending += [(first, middle), (middle, last)]
            continue
        for party in liars:
            off = np.flatnonzero(part[party] != decoder.decode(part, party + 1).values)
            for index in (off + first).tolist():
                disputed[index] = disputed.get(index, frozenset()) | {party}
    return disputed, frozenset(bad)


def is_dealt_off(
    params: DarkParams, shares: Mapping[int, Elements], index: int, party: int, row: Elements, column_weights: Elements
) -> bool:
    """Whether ``row``, what a party in dispute about order ``index`` was dealt, is off the polynomial of the others'
    ``shares``: then the trader dealt it so."""
    said = {one: values[index : index + 1] for one, values in shares.items()}
    expected = Decoder(params.parties, params.faults_t, params.faults_t).decode(said, party + 1).values[0]
    return int((row @ column_weights)[0]) % PRIME != int(expected)
