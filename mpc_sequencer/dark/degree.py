"""The degree check: are all shares that the traders dealt those of polynomials of degree t?

The rule. The coin comes after the inputs are fixed, and gives a weight for every column. Each party weighs its shares
of each order's row, adds its share of the trader's mask, and *logs* the N results, signed: 12 bytes an order. If a
trader dealt any column off a polynomial of degree t, its order's result is off as well but for a chance of 1/p (the
weights are independent of what was dealt). The mask is a uniform element of the trader's own, so the value that the
results show, a sum of the whole row, says nothing about it. It hides one opening: a row is checked once, in one batch.

The verdict is a function of what is logged, so that no party that says one thing here and another there can make
two honest members go on with different orders (:func:`judge`). For each order, of the shares said:

* all on one polynomial of degree t: *good*;
* too far from any: *bad*. Of an honest trader's row at most t shares are wrong, which t liars and t silent parties of
  n >= 4t+1 (or t liars of 3t+1) leave decodable; so here the trader dealt badly. It is dropped;
* on one but for some parties, which are *disputed*: they lied, or the trader dealt them something else. Each may log
  its own bundle, opened (:func:`mpc_sequencer.dark.bundles.check_opened`). What it should have said follows from the
  bundle alone, as the mask is in it. Where that is off the polynomial the trader dealt it: the order is dropped, and
  bundle and logged shares prove why. Where it is on it, or no bundle is shown, the order stays, and the party has said
  what it had not been dealt.

Nobody is blamed without the opened bundle. No t liars can have an honest trader's order dropped; opening a bundle
takes nothing from it either, for no honest party is ever in dispute with an honest trader. A member whose own share was
the odd one sees it by :func:`disputes` and opens its bundle. A party whose shares are not in the log was not checked:
it counts as absent in the computation.

Why not inside the computation's session, as one combination of all orders and then one per order: there a party that
was dealt a wrong share would pass for a liar and be convicted, a row on no polynomial would abort the batch, and
without the log members could come to different verdicts. Per order it is one message as well.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Final

import numpy as np
from msgspec import Meta

from mpc_sequencer.core import domains, signing
from mpc_sequencer.core.actions import MarketNumber
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.types import NO_SIGNATURE, NodeIndex, SignatureBytes, Uint, Value
from mpc_sequencer.dark import tags
from mpc_sequencer.dark.bundles import check_opened
from mpc_sequencer.dark.decoding import Decoder
from mpc_sequencer.dark.errors import Undecodable
from mpc_sequencer.dark.field import ELEMENT_BYTES, UNIFORM_BYTES, Elements, SharedRows, from_bytes, to_bytes, uniform
from mpc_sequencer.dark.inputs import BatchContext, DarkOrder, OpenedBundle
from mpc_sequencer.dark.layout import Layout
from mpc_sequencer.dark.params import ORDERS_MAX, PRIME, DarkParams

COIN_BYTES: Final = 32


class DegreeShares(Value, frozen=True):
    """What party ``party`` says its share of every order's combination is: 12 bytes each, in the batch's order."""

    epoch: Uint
    batch: Uint
    market: MarketNumber
    party: NodeIndex
    shares: Annotated[bytes, Meta(max_length=ORDERS_MAX * ELEMENT_BYTES)]
    signature: SignatureBytes

    def struct_hash(self) -> bytes:
        shares_hash = tags.DEGREE_SHARES(self.shares)
        return domains.DARK_DEGREE_TYPE(self.epoch, self.batch, self.market, self.party, shares_hash)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Of a batch's orders by index: which are ``kept``, which ``dropped`` for what their traders dealt, and the parties
    that said what they had not been dealt, where a bundle shows it (``shown``) and where none was opened (``mute``)."""

    kept: tuple[int, ...]
    dropped: tuple[int, ...]
    shown: frozenset[int]
    mute: frozenset[int]


def weights(params: DarkParams, coin: bytes) -> Elements:
    """L x 1: the weight of each column by the coin (32 bytes, drawn after the inputs were fixed); the mask's is 1."""
    if len(coin) != COIN_BYTES:
        raise ValueError(f"a coin of {len(coin)} bytes, expected {COIN_BYTES}")
    layout = Layout.of(params)
    stream = hashlib.shake_256(tags.DEGREE(coin)).digest(layout.columns * UNIFORM_BYTES)
    drawn = uniform(stream, layout.columns)
    drawn[layout.mask] = 1
    return drawn.reshape(layout.columns, 1)


def combine(params: DarkParams, coin: bytes, rows: SharedRows) -> Elements:
    """This party's share of every order's combination, (N,). To be made known once for a row, whatever the coin."""
    return rows.weigh(weights(params, coin))[:, 0]


def degree_shares(
    context: BatchContext, party: int, coin: bytes, rows: SharedRows, signer: signing.Signer
) -> DegreeShares:
    """What party ``party`` logs."""
    shares = to_bytes(combine(context.params, coin, rows))
    fields = (context.epoch, context.batch, context.market, party, shares)
    digest = context.digest(DegreeShares(*fields, NO_SIGNATURE).struct_hash())
    return DegreeShares(*fields, signer.sign_digest(digest))


def check_degree_shares(context: BatchContext, said: DegreeShares, orders: int) -> Elements:
    """The shares said about a batch of ``orders``. Raises ProtocolError for another batch's, another length, elements
    that are none, or another signer."""
    for code, name in (("epoch.unknown", "epoch"), ("dark.batch", "batch"), ("dark.market", "market")):
        seen, expected = getattr(said, name), getattr(context, name)
        if seen != expected:
            raise ProtocolError(code, f"DegreeShares.{name}", seen, expected)
    if said.party >= context.params.parties:
        raise ProtocolError("member.unknown", "DegreeShares.party", said.party, f"below {context.params.parties}")
    member = context.members[said.party]
    signing.check_signer(context.digest(said.struct_hash()), said.signature, member, "DegreeShares.signature")
    return from_bytes(said.shares, orders)


def collect(context: BatchContext, logged: Iterable[DegreeShares], orders: int) -> dict[int, Elements]:
    """Of the logged shares the first well-formed ones of each party: what :func:`judge` takes."""
    collected: dict[int, Elements] = {}
    for said in logged:
        if said.party not in collected:
            try:
                collected[said.party] = check_degree_shares(context, said, orders)
            except ProtocolError:
                continue  # whoever logs what a party has not signed must not take its turn
    return collected


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


def judge(
    context: BatchContext,
    coin: bytes,
    orders: tuple[DarkOrder, ...],
    shares: Mapping[int, Elements],
    opened: Iterable[OpenedBundle],
) -> Verdict:
    """The verdict on ``orders`` (the batch, in its order) from the logged shares (:func:`collect`) and the bundles that
    parties in dispute opened in the log. Opened bundles that nobody asked for, or that the trader has not signed for,
    count for nothing. Raises :class:`Undecodable` as :func:`disputes` does."""
    params = context.params
    disputed, bad = disputes(params, shares)
    places = {order.order_id(): index for index, order in enumerate(orders)}
    decoder, column_weights = Decoder(params.parties, params.faults_t, params.faults_t), weights(params, coin)
    dropped, shown, answered = set(bad), set[int](), set[tuple[int, int]]()
    for bundle in opened:
        index = places.get(bundle.order_id)
        if index is None or bundle.party not in disputed.get(index, ()) or (index, bundle.party) in answered:
            continue
        dealt = _dealt(context, orders[index], bundle, column_weights)
        if dealt is None:
            continue
        answered.add((index, bundle.party))
        said = {party: values[index : index + 1] for party, values in shares.items()}
        if dealt == decoder.decode(said, bundle.party + 1).values[0]:
            shown.add(bundle.party)
        else:
            dropped.add(index)
    mute = {
        party
        for index, parties in disputed.items()
        for party in parties
        if index not in dropped and (index, party) not in answered
    }
    kept = tuple(index for index in range(len(orders)) if index not in dropped)
    return Verdict(kept, tuple(sorted(dropped)), frozenset(shown), frozenset(mute))


def _dealt(
    context: BatchContext, order: DarkOrder, bundle: OpenedBundle, column_weights: Elements
) -> int | None:
    """The combination of the shares in an opened bundle; None where the trader has not signed for it. A bundle that is
    signed for and malformed passes no party's intake, so none that holds it is in dispute."""
    try:
        dealt = check_opened(context, order, bundle)
    except ProtocolError:
        return None
    row = from_bytes(dealt, column_weights.shape[0])
    return int((row @ column_weights)[0]) % PRIME


def mark(kept: Iterable[int], orders: int) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """``kept`` as marks of rows, for :meth:`mpc_sequencer.dark.field.SharedRows.select`."""
    marks = np.zeros(orders, dtype=np.bool_)
    marks[list(kept)] = True
    return marks
