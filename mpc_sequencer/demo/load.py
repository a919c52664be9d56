"""The traders: sign, seal and submit planned orders at their times, all through one client.

Orders that fall due in one tick are sealed one after the other and leave in one submission per connection.
Sealing is about half a millisecond of computing per order; the loop lets replies in between, so that a
burst does not delay the receipts of earlier orders. While no member can be reached at all, the traders wait.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import trio

from mpc_sequencer.client.build import (
    limit_order,
    make_label,
    seal_order,
    sign_action,
    validity_window,
    withdrawal,
)
from mpc_sequencer.client.sequencer import SequencerClient
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.signing import Signer
from mpc_sequencer.core.types import Envelope
from mpc_sequencer.demo.plan import PlannedOrder

TICK_S: Final = 0.02
LIFETIME_MS: Final = 300_000
SEALS_PER_TURN: Final = 8
SUBMISSION_ORDERS_MAX: Final = 128
OUTAGE_S_MAX: Final = 60.0


@dataclass(slots=True)
class Traders:
    """The demo's accounts and what they have sent."""

    committee: Committee
    client: SequencerClient
    signers: tuple[Signer, ...]
    sent: dict[bytes, PlannedOrder] = field(default_factory=dict)
    sealed: int = 0
    _ahead: dict[PlannedOrder, tuple[bytes, Envelope]] = field(default_factory=dict)
    late_s_max: float = 0.0
    """How far behind its time an order was sealed at most: the load generator's own lag."""

    async def seal_ahead(self, orders: Sequence[PlannedOrder]) -> None:
        """Seal orders before their time, so that a burst is as fast as the network and not as sealing."""
        for number, order in enumerate(orders, 1):
            self._ahead[order] = self.seal(order)
            if number % SEALS_PER_TURN == 0:
                await trio.lowlevel.checkpoint()

    async def trade(self, orders: Sequence[PlannedOrder], progress: Callable[[int], None]) -> None:
        """Submit all planned orders in time; ``progress`` gets how many are sent."""
        start_s = trio.current_time()
        position = 0
        while position < len(orders):
            due_s = start_s + orders[position].at_s
            await trio.sleep_until(max(due_s, _next_tick_s(start_s)))
            now_s = trio.current_time() - start_s
            end = position
            while end < len(orders) and orders[end].at_s <= now_s and end - position < SUBMISSION_ORDERS_MAX:
                end += 1
            self.late_s_max = max(self.late_s_max, now_s - orders[position].at_s)
            await self._submit(orders[position:end])
            position = end
            progress(position)

    async def _submit(self, orders: Sequence[PlannedOrder]) -> None:
        envelopes: list[Envelope] = []
        for number, order in enumerate(orders, 1):
            sealed = self._ahead.pop(order) if order in self._ahead else self.seal(order)
            order_id, envelope = sealed
            self.sent[order_id] = order
            envelopes.append(envelope)
            if number % SEALS_PER_TURN == 0:
                await trio.lowlevel.checkpoint()
        if not self.client.connected():
            await self.client.wait_connected(1, OUTAGE_S_MAX)
        self.client.send(envelopes, checked=True)
        await trio.lowlevel.checkpoint()

    def seal(self, order: PlannedOrder) -> tuple[bytes, Envelope]:
        """Sign and seal a planned order, and send it to nobody: its id and the envelope."""
        trader = self.signers[order.account]
        label = make_label(self.committee, trader.address, validity_window(_now_ms(), LIFETIME_MS))
        action = limit_order(
            self.committee,
            label,
            account=trader.address,
            nonce=order.nonce,
            market=self.committee.genesis.markets[0].id,
            side=order.side,
            time_in_force=order.time_in_force,
            price_ticks=order.price_ticks,
            quantity_lots=order.quantity_lots,
        )
        signed = sign_action(self.committee, action, trader)
        sealed = seal_order(self.committee, label, signed, trader, sigma=secrets.token_bytes(32))
        self.sealed += 1
        return sealed.order_id, sealed.envelope

    def withdraw(self, account: int, nonce: int, asset: int, amount_units: int) -> bytes:
        """Seal and send a withdrawal; returns its order id."""
        trader = self.signers[account]
        label = make_label(self.committee, trader.address, validity_window(_now_ms(), LIFETIME_MS))
        action = withdrawal(
            self.committee, label, account=trader.address, nonce=nonce, asset=asset, amount_units=amount_units
        )
        signed = sign_action(self.committee, action, trader)
        sealed = seal_order(self.committee, label, signed, trader, sigma=secrets.token_bytes(32))
        self.sealed += 1
        return self.client.send([sealed.envelope], checked=True)[0]


def _next_tick_s(start_s: float) -> float:
    passed = (trio.current_time() - start_s) / TICK_S
    return start_s + (int(passed) + 1) * TICK_S


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
