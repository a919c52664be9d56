"""What the dark demo found: for each batch what all see, what each party saw, and what its trader alone knows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mpc_sequencer.client.units import MarketUnits
from mpc_sequencer.core.actions import SIDE_NAMES
from mpc_sequencer.demo.dark_plan import DarkWish
from mpc_sequencer.demo.dark_view import BatchView, PartyView
from mpc_sequencer.demo.summary import pair


@dataclass(frozen=True, slots=True)
class DarkSummary:
    """Everything that ``mpcseq demo --dark`` found. ``wishes`` are the traders' own orders by id, ``ends`` the codes
    they ended with, ``end_ms`` milliseconds from submission to the end, sorted."""

    nodes: int
    faults: int
    demonstration: bool
    orders: int
    ends: Mapping[str, int]
    end_ms: tuple[float, ...]
    batches: tuple[BatchView, ...]
    wishes: Mapping[bytes, DarkWish]
    units: MarketUnits
    settlements: int
    audit: str
    key_ms: int | None
    problems: tuple[str, ...]

    @property
    def succeeded(self) -> bool:
        """Whether every order ended by its batch, something traded, all balances are right and the audit passed."""
        computed = set(self.ends) <= {"filled", "unfilled"} and sum(self.ends.values()) == self.orders
        traded = any(view.outcome.volume_lots for view in self.batches)
        return not self.problems and self.audit == "pass" and computed and traded

    def as_json(self) -> dict[str, Any]:
        """The object that ``mpcseq demo --dark --json`` prints."""
        return {
            "nodes": self.nodes,
            "faults_tolerated": self.faults,
            "demonstration": self.demonstration,
            "orders": self.orders,
            "outcomes": dict(self.ends),
            "end_ms": pair(self.end_ms),
            "batches": [self._batch(view) for view in self.batches],
            "settlements": self.settlements,
            "audit": self.audit,
            "key_ms": self.key_ms,
            "problems": list(self.problems),
        }

    def public(self, view: BatchView) -> list[dict[str, Any]]:
        """What everybody sees of each order: whose it is, what it locks and, where it traded, what."""
        fills = {fill.order: fill for fill in view.outcome.fills}
        return [
            {
                "order_id": order_id.hex(),
                "trader": self.wishes[order_id].account,
                "base_lots_locked": deposit.base_lots,
                "quote_tick_lots_locked": deposit.quote_tick_lots,
                "side": SIDE_NAMES[fills[place].side] if place in fills else None,
                "lots": fills[place].lots if place in fills else 0,
            }
            for place, (order_id, deposit) in enumerate(zip(view.order_ids, view.deposits, strict=True))
        ]

    def unseen(self, view: BatchView) -> list[dict[str, Any]]:
        """The orders that did not trade, as their traders know them: nobody else does."""
        traded = {view.order_ids[fill.order] for fill in view.outcome.fills}
        return [self._wish(order_id) for order_id in view.order_ids if order_id not in traded]

    def _wish(self, order_id: bytes) -> dict[str, Any]:
        wish = self.wishes[order_id]
        return {
            "order_id": order_id.hex(),
            "trader": wish.account,
            "side": SIDE_NAMES[wish.side],
            "price_ticks": wish.price_ticks,
            "quantity_lots": wish.quantity_lots,
        }

    def _batch(self, view: BatchView) -> dict[str, Any]:
        return {
            "batch": view.batch,
            "session": view.session.hex(),
            "orders": len(view.order_ids),
            "public": {
                "price_ticks": view.price_ticks,
                "volume_lots": view.outcome.volume_lots,
                "marginal_side": SIDE_NAMES.get(view.outcome.side),
                "orders": self.public(view),
                "coin": view.outcome.coin.hex(),
            },
            "opened": {"rounds": view.rounds, "values": view.opened},
            "replay_agrees": view.reported,
            "parties": [_party(one) for one in view.parties],
            "unseen": self.unseen(view),
        }


def _party(view: PartyView) -> dict[str, Any]:
    return {
        "party": view.party,
        "order_id": view.order_id.hex(),
        "first_shares": list(view.shares),
        "shares_of_the_order": view.elements,
        "ones_among_bits": round(view.ones, 4),
    }
