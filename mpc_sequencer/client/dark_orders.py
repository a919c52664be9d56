"""From terms to the action that a dark market takes: shared, boxed, its deposits picked. Pure; the seed is an argument.

The action names its label like any other, so what comes after, signing, sealing, submitting, sending again, is the same
as for an order in the open. Boxes are bound to the account, the nonce, the market and the keys, and not to the label:
sent again under a new label it is the same action with the same boxes (:mod:`mpc_sequencer.client.desk`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mpc_sequencer.client.dark_terms import DepositRule, Deposits, check_dark_terms, grid_of, pick_deposits
from mpc_sequencer.core.actions import DarkOrder
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.dark.layout import Deposit
from mpc_sequencer.dark.orders import seal_dark_order

if TYPE_CHECKING:
    from mpc_sequencer.client.dark_keys import DarkKeys
    from mpc_sequencer.client.terms import OrderTerms
    from mpc_sequencer.core.committee import Committee
    from mpc_sequencer.market.types import Market


@dataclass(frozen=True, slots=True)
class DarkSealing:
    """What sealing to a dark market's members takes beside the terms: their keys, 32 fresh secret bytes for this order
    alone, and what it locks."""

    keys: DarkKeys
    seed: bytes = field(repr=False)
    deposits: DepositRule | Deposits = DepositRule.HIDE


def dark_order(
    committee: Committee,
    market: Market,
    terms: OrderTerms,
    sealing: DarkSealing,
    *,
    account: bytes,
    nonce: int,
    label_hash: bytes,
) -> DarkOrder:
    """A checked order for the dark ``market``. Refuses what the members would: terms that are no plain limit order on
    the market's grid, deposits that do not cover it, keys of another epoch than ``committee``'s (``dark.keys``)."""
    check_dark_terms(market, terms)
    if sealing.keys.agreed.topic != committee.dark_topic:
        raise ProtocolError("dark.keys", "keys.epoch", sealing.keys.epoch, f"keys of epoch {committee.epoch}")
    deposits = pick_deposits(market, terms, sealing.deposits)
    boxes = seal_dark_order(
        grid_of(market),
        committee.n,
        committee.f,
        sealing.keys.agreed,
        account,
        nonce,
        market.id,
        terms.side,
        terms.price_ticks,
        terms.quantity_lots,
        Deposit(deposits.quote_tick_lots, deposits.base_lots),
        sealing.seed,
    )
    return DarkOrder(
        account=account,
        nonce=nonce,
        label_hash=label_hash,
        market=market.id,
        keys=sealing.keys.id,
        quote_tick_lots=deposits.quote_tick_lots,
        base_lots=deposits.base_lots,
        boxes=boxes,
    )
