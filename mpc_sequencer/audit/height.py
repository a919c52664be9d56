"""What the steps of one height share: the state they change, and what they report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from mpc_sequencer.audit.dark import DarkDesk
from mpc_sequencer.audit.fees import lock
from mpc_sequencer.audit.state import OpenOrder, State
from mpc_sequencer.core import domains
from mpc_sequencer.market.types import Fill, Market


@dataclass(slots=True)
class Executed:
    """What a height did: roots, fills in order, outcome code per order of the batch, changes per (asset, account)."""

    height: int
    state_root: bytes = b""
    fills_root: bytes = b""
    fills: list[Fill] = field(default_factory=list)
    outcomes: dict[bytes, str] = field(default_factory=dict)
    updates: dict[bytes, tuple[str, int]] = field(default_factory=dict)
    """Orders of earlier heights that traded or ended: code and the lots that are open of it afterwards."""
    deltas: dict[tuple[int, bytes], tuple[int, int]] = field(default_factory=dict)
    """(change of free + locked, change of withdrawable)."""

    def change(self, account: bytes, asset: int, total: int, withdrawable: int = 0) -> None:
        """Add to the changes of an account."""
        before = self.deltas.get((asset, account), (0, 0))
        self.deltas[asset, account] = (before[0] + total, before[1] + withdrawable)


class Height:
    """One height under way."""

    def __init__(
        self,
        number: int,
        time_ms: int,
        coin: bytes,
        batch: Iterable[bytes],
        *,
        state: State,
        markets: Mapping[int, Market],
        assets: int,
        fee_account: bytes,
        dark: DarkDesk | None = None,
    ) -> None:
        self.time_ms = time_ms
        self.state = state
        self.markets = markets
        self.assets = assets
        self.fee_account = fee_account
        self.dark = dark
        self.result = Executed(number)
        self.new: dict[int, dict[bytes, OpenOrder]] = {}
        """Per market that will be cleared: the batch's orders that meet its book now, and stops that join."""
        self._coin = coin
        self._batch = set(batch)
        self._draws: dict[bytes, bytes] = {}

    def draw(self, order_id: bytes) -> bytes:
        """The order's random number of this height."""
        if order_id not in self._draws:
            self._draws[order_id] = domains.DRAW(self._coin, order_id)
        return self._draws[order_id]

    def in_batch(self, order_id: bytes) -> bool:
        """Whether it came with this height."""
        return order_id in self._batch

    def report(self, order: OpenOrder, code: str, open_lots: int) -> None:
        """Say what became of an order, in the place where it belongs."""
        if self.in_batch(order.order_id):
            self.result.outcomes[order.order_id] = code
        else:
            self.result.updates[order.order_id] = (code, open_lots)

    def close(self, order: OpenOrder, code: str) -> None:
        """End an order; what it has locked still is free again."""
        asset, amount = lock(self.markets[order.terms.market], order.terms, order.remaining_lots)
        self.state.account(order.account).move(asset, free=amount, locked=-amount)
        self.state.remove(order)
        self.report(order, code, 0)
