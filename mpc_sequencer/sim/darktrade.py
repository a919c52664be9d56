"""Dark orders of simulated traders: sealed as clients seal them, or with boxes, shares or rows that are wrong.

Kinds: *valid*; *known* (valid, and the run knows its shares); *box* (a party's box does not open to shares); *share*
(one party's shares are off the polynomial of the others); *row* (well shared, and no order: it says two prices);
*keys* (sealed for keys that nobody agreed on); *short* (a box too few). Nobody but the run knows what is in them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from mpc_sequencer.core.actions import DarkOrder, label_hash
from mpc_sequencer.core.darkterms import LENGTH_BYTES
from mpc_sequencer.core.types import Envelope
from mpc_sequencer.dark.field import ELEMENT_BYTES, Elements, to_bytes
from mpc_sequencer.dark.keys import AgreedKeys, order_context
from mpc_sequencer.dark.layout import Deposit, Layout, encode_order
from mpc_sequencer.dark.orders import params_of, seal_dark_order, seal_shares
from mpc_sequencer.dark.params import PRIME
from mpc_sequencer.dark.sharing import seeded, share
from mpc_sequencer.market.types import Market
from mpc_sequencer.sim.deployment import Deployment, Trader
from threshold import boxes
from threshold.group import reduce_scalar

WRONG_KINDS: Final = ("box", "share", "row", "keys", "short")


@dataclass(frozen=True, slots=True)
class DarkTerms:
    """What a dark order says, and how it was made."""

    side: int
    price_ticks: int
    quantity_lots: int
    kind: str = "valid"
    party: int = 0
    """Whose box or shares are wrong."""


@dataclass(frozen=True, slots=True)
class DarkSent:
    """A dark order that was sent; ``shares`` are what each party was dealt, empty where only the client knows."""

    envelope: Envelope
    action: DarkOrder
    terms: DarkTerms
    shares: tuple[bytes, ...] = field(repr=False)


def dark_order(
    d: Deployment, market: Market, keys: AgreedKeys, trader: Trader, now_ms: int, terms: DarkTerms
) -> DarkSent:
    """A sealed dark order of ``trader`` with its next nonce. It locks both assets, so that its side does not show."""
    trader.nonce += 1
    deposit = Deposit(terms.quantity_lots * terms.price_ticks, terms.quantity_lots)
    named = AgreedKeys(keys.topic, keys.attempt + (terms.kind == "keys"), keys.box_keys, keys.rest_hash)
    boxes, shares = _sealed(d, market, named, trader, terms, deposit)
    for bucket in d.committee.size_buckets:
        label = d.label(trader.address, now_ms, size_bucket=bucket)
        bound = label_hash(label.encode())
        locked = (deposit.quote_tick_lots, deposit.base_lots)
        action = DarkOrder(trader.address, trader.nonce, bound, market.id, named.id, *locked, boxes)
        plaintext = d.plaintext(trader, action)
        if len(plaintext) + LENGTH_BYTES <= bucket:
            return DarkSent(d.envelope(trader, label, plaintext), action, terms, shares)
    raise ValueError(f"an order of {sum(map(len, boxes))} bytes of boxes fits no bucket")


def _sealed(
    d: Deployment, market: Market, keys: AgreedKeys, trader: Trader, terms: DarkTerms, deposit: Deposit
) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
    """An order's boxes, and the shares in them where they are known."""
    n, t, grid, seed = d.committee.n, d.committee.f, market.dark, d.sigma()
    assert grid is not None
    names = (keys, trader.address, trader.nonce, market.id)
    limit = (terms.side, terms.price_ticks, terms.quantity_lots)
    if terms.kind in ("valid", "keys", "short"):
        sealed = seal_dark_order(grid, n, t, *names, *limit, deposit, seed)
        return sealed[:-1] if terms.kind == "short" else sealed, ()
    params = params_of(grid, n, t)
    row = encode_order(params, *limit, deposit, int(seeded(d.sigma(), b"mask")(1)[0]))
    if terms.kind == "row":
        row = _spoilt(Layout.of(params), row)
    shares = share(row, t, n, seeded(seed, b"share"))
    known = tuple(to_bytes(one) for one in shares)
    if terms.kind == "share":
        shares[terms.party][0] = (shares[terms.party][0] + 1) % PRIME
    sealed = seal_shares(*names, shares, seed)
    if terms.kind != "box" or not sealed[terms.party]:
        return sealed, known
    context = order_context(keys.id, market.id, trader.address, trader.nonce, terms.party)
    garbage = b"\xff" * (len(row) * ELEMENT_BYTES)  # well sealed, and no element of the field
    wrong = boxes.seal(keys.box_keys[terms.party], garbage, reduce_scalar(d.sigma()), context)
    return (*sealed[: terms.party], wrong, *sealed[terms.party + 1 :]), known


def _spoilt(layout: Layout, row: Elements) -> Elements:
    """The row of an order that says a second price."""
    spoilt = row.copy()
    at = next(at for at in range(layout.entries.stop) if not spoilt[at])
    spoilt[at] = 1
    return spoilt
