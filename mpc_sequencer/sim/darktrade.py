"""Dark orders of simulated traders: sealed as clients seal them, or with boxes, shares or rows that are wrong.

Kinds: *valid*; *box* (some parties' boxes do not open to shares); *share* (one party's shares are off the polynomial of
the others); *row* (well shared, and no order: it says two prices, or more than the deposit covers); *keys* (sealed for
keys that nobody agreed on); *short* (a box too few). What is in a valid one nobody but its trader knows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from mpc_sequencer.core.actions import BUY, SELL, DarkOrder, label_hash
from mpc_sequencer.core.codec import encode
from mpc_sequencer.core.darkterms import LENGTH_BYTES
from mpc_sequencer.core.types import Envelope
from mpc_sequencer.dark.field import ELEMENT_BYTES, Elements
from mpc_sequencer.dark.keys import AgreedKeys
from mpc_sequencer.dark.layout import Deposit, Layout, encode_order
from mpc_sequencer.dark.orders import params_of, seal_dark_order, seal_shares
from mpc_sequencer.dark.params import PRIME
from mpc_sequencer.dark.sharing import seeded, share
from mpc_sequencer.market.types import Market
from mpc_sequencer.sim.deployment import Deployment, Trader

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
    """A dark order that was sent."""

    envelope: Envelope
    action: DarkOrder
    terms: DarkTerms


def dark_order(
    d: Deployment, market: Market, keys: AgreedKeys, trader: Trader, now_ms: int, terms: DarkTerms
) -> DarkSent:
    """A sealed dark order of ``trader`` with its next nonce. It locks both assets, so that its side does not show."""
    trader.nonce += 1
    deposit = Deposit(terms.quantity_lots * terms.price_ticks, terms.quantity_lots)
    named = AgreedKeys(keys.topic, keys.attempt + (terms.kind == "keys"), keys.box_keys, keys.rest_hash)
    boxes = _boxes(d, market, named, trader, terms, deposit)
    for bucket in d.committee.size_buckets:
        label = d.label(trader.address, now_ms, size_bucket=bucket)
        bound = label_hash(label.encode())
        locked = (deposit.quote_tick_lots, deposit.base_lots)
        action = DarkOrder(trader.address, trader.nonce, bound, market.id, named.id, *locked, boxes)
        plaintext = d.plaintext(trader, action)
        if len(plaintext) + LENGTH_BYTES <= bucket:
            return DarkSent(d.envelope(trader, label, plaintext), action, terms)
    raise ValueError(f"a dark order of {len(encode(boxes))} bytes of boxes fits no bucket")


def _boxes(
    d: Deployment, market: Market, keys: AgreedKeys, trader: Trader, terms: DarkTerms, deposit: Deposit
) -> tuple[bytes, ...]:
    n, t, grid, seed = d.committee.n, d.committee.f, market.dark, d.sigma()
    assert grid is not None
    names = (keys, trader.address, trader.nonce, market.id)
    limit = (terms.side, terms.price_ticks, terms.quantity_lots)
    if terms.kind in ("valid", "keys", "short"):
        sealed = seal_dark_order(grid, n, t, *names, *limit, deposit, seed)
        return sealed[:-1] if terms.kind == "short" else sealed
    params = params_of(grid, n, t)
    row = encode_order(params, *limit, deposit, int(seeded(d.sigma(), b"mask")(1)[0]))
    if terms.kind == "row":
        row = _spoilt(Layout.of(params), row)
    shares = share(row, t, n, seeded(seed, b"share"))
    if terms.kind == "share":
        shares[terms.party][0] = (shares[terms.party][0] + 1) % PRIME
    sealed = seal_shares(*names, shares, seed)
    if terms.kind != "box" or not sealed[terms.party]:
        return sealed
    # well sealed, and the last element is none
    return tuple(
        _sealed_bytes(keys, trader, market, party, len(shares[party]), d.sigma()) if party == terms.party else box
        for party, box in enumerate(sealed)
    )


def _spoilt(layout: Layout, row: Elements) -> Elements:
    """The row of an order that says a second price."""
    spoilt = row.copy()
    at = next(at for at in range(layout.entries.stop) if not spoilt[at])
    spoilt[at] = 1
    return spoilt


def _sealed_bytes(keys: AgreedKeys, trader: Trader, market: Market, party: int, columns: int, seed: bytes) -> bytes:
    """A good box for a party that holds no field elements."""
    from mpc_sequencer.dark.orders import box_context
    from threshold import boxes

    context = box_context(keys.id, market.id, trader.address, trader.nonce, party)
    return boxes.seal(keys.box_keys[party], b"\xff" * (columns * ELEMENT_BYTES), seed, context)


def opposite(side: int) -> int:
    return SELL if side == BUY else BUY
