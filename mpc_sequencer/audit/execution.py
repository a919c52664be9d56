"""One height executed from the document (docs/protocol-execution.md, "One height"), step by step.

Orders past their expiry end; what the batch cancels is cancelled; the batch's other orders enter in draw order, and
triggered stops join them. Then each market that got a new order is cleared with all of its resting orders, or lets its
new orders meet them one after the other; and its last price triggers stops, which join the next height. Last, dark
markets go on by what members said of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from mpc_sequencer.audit.auction import auction
from mpc_sequencer.audit.cancels import Cancels
from mpc_sequencer.audit.dark import DarkDesk
from mpc_sequencer.audit.dark_orders import DarkParties, are_boxes
from mpc_sequencer.audit.dark_settlement import settle_dark
from mpc_sequencer.audit.entry import Entry
from mpc_sequencer.audit.height import Executed, Height
from mpc_sequencer.audit.matching import match, sequence_of
from mpc_sequencer.audit.ordering import tree_root
from mpc_sequencer.audit.state import State
from mpc_sequencer.audit.trades import Traded, book_trades
from mpc_sequencer.core import domains, eip712, limits, signing
from mpc_sequencer.core.actions import BUY, LIMIT, MARKET, STOP, Action, DarkOrder, SignedAction, label_hash
from mpc_sequencer.core.codec import decode, encode
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.market.types import (
    AUCTION,
    STATUS_TRIGGERED,
    STATUS_WAITING,
    Market,
    Precedence,
)

__all__ = ["Executed", "Execution", "OpenedOrder"]


@dataclass(frozen=True, slots=True)
class OpenedOrder:
    """An order of a final batch; ``plaintext`` is None where it is malformed."""

    order_id: bytes
    label: bytes
    plaintext: bytes | None


class Execution:
    """Markets, assets and state of one deployment."""

    def __init__(
        self,
        markets: Iterable[Market],
        assets: int,
        separator: bytes,
        fee_account: bytes = bytes(20),
        parties: DarkParties | None = None,
    ) -> None:
        """``parties`` are the first committee. ``ValueError`` where there is none and a market is dark."""
        self.markets = {market.id: market for market in markets}
        self.assets = assets
        self.state = State(self.markets.values())
        self._separator = separator
        self.fee_account = fee_account
        self.dark: DarkDesk | None = None
        if parties is None and any(market.dark is not None for market in self.markets.values()):
            raise ValueError("a market is dark, and nobody computes its batches")
        if parties is not None:
            self.dark = DarkDesk(self.markets.values(), parties)
            self._note_dark(self.dark)

    def credit(self, account: bytes, asset: int, amount: int) -> None:
        """A deposit of ``amount`` base units."""
        self.state.supply[asset] = self.state.supply.get(asset, 0) + amount
        self.state.account(account).move(asset, free=amount)

    def execute(
        self,
        height: int,
        time_ms: int,
        coin: bytes,
        batch: Sequence[OpenedOrder],
        precedence: Precedence | None = None,
        words: Sequence[tuple[int, bytes]] = (),
        parties: DarkParties | None = None,
    ) -> Executed:
        """Execute a batch of a block of time ``time_ms``. Nothing in a plaintext raises.

        ``precedence`` says in which order a market that orders by receipt takes the batch's orders, whose ids it is
        given in draw order. ``ValueError``, which leaves a state to be thrown away, where it is missing then or
        leaves one out. ``words`` are what the height's members, ``parties``, said of dark markets: (member, payload),
        as its block lifts them.
        """
        run = Height(
            height,
            time_ms,
            coin,
            [order.order_id for order in batch],
            state=self.state,
            markets=self.markets,
            assets=self.assets,
            fee_account=self.fee_account,
            dark=self.dark,
        )
        result = run.result
        self._expire(run)
        actions: dict[bytes, Action] = {}
        for order in batch:
            action = self.read(order)
            if isinstance(action, str):
                result.outcomes[order.order_id] = action
            else:
                actions[order.order_id] = action
        cancels = Cancels(run, actions)
        cancels.run()
        Entry(run, cancels).run(actions)
        self._join(run)
        for market_id in sorted(run.new):
            market = self.markets[market_id]
            book_trades(run, market, self._trade(run, market, precedence))
        self._trigger()
        self._step_dark(run, words, parties)
        result.fills_root = tree_root([domains.FILL_LEAF(encode(fill)) for fill in result.fills], domains.FILL_NODE)
        result.deltas = {key: change for key, change in result.deltas.items() if change != (0, 0)}
        result.state_root = self.state.root()
        return result

    # --- the steps ----------
    def _expire(self, run: Height) -> None:
        """Close what a time in force has ended."""
        past = [order for order in self.state.open.values() if 0 < order.terms.expires_ms <= run.time_ms]
        for order in past:
            run.close(order, "expired")

    def read(self, order: OpenedOrder) -> Action | str:
        """The action an account signed for this label, or the outcome code."""
        if order.plaintext is None:
            return "malformed"
        try:
            signed: SignedAction = decode(SignedAction, order.plaintext)
        except ProtocolError:
            return "plaintext"
        if signed.action.label_hash != label_hash(order.label):
            return "label"
        digest = eip712.digest(self._separator, signed.action.struct_hash())
        try:
            signer = signing.recover_address(digest, signed.signature, "signature")
        except ProtocolError:
            return "signature"
        action = signed.action
        if signer != action.account:
            return "signature"
        if isinstance(action, DarkOrder) and self.dark is not None and action.market in self.dark.books:
            return action if are_boxes(action) else "dark_boxes"
        return action

    def _step_dark(self, run: Height, words: Sequence[tuple[int, bytes]], parties: DarkParties | None) -> None:
        """Dark markets go on, and what ended is settled. Their rows stand by order id among the market's."""
        if self.dark is None:
            return
        for ended in self.dark.step(parties or self.dark.parties, run.time_ms, words):
            settle_dark(run, self.markets[ended.market], ended)
        dark = [fill for fill in run.result.fills if fill.market in self.dark.books]
        if dark:
            others = [fill for fill in run.result.fills if fill.market not in self.dark.books]
            dark.sort(key=lambda fill: fill.order_id)
            run.result.fills = sorted(others + dark, key=lambda fill: fill.market)
        self._note_dark(self.dark)

    def _note_dark(self, dark: DarkDesk) -> None:
        for market in dark.books:
            self.state.put_dark_leaf(market, dark.leaf(market))

    def _join(self, run: Height) -> None:
        """Triggered stops become new market and limit orders, by draw, as many as a height takes."""
        triggered = [order for order in self.state.open.values() if order.status == STATUS_TRIGGERED]
        triggered.sort(key=lambda order: run.draw(order.order_id))
        for order in triggered[: limits.TRIGGERED_PER_HEIGHT_MAX]:
            self.state.remove(order)
            kind = MARKET if order.terms.kind == STOP else LIMIT
            order.terms = replace(order.terms, kind=kind, stop_ticks=0)
            run.new.setdefault(order.terms.market, {})[order.order_id] = order

    def _trade(self, run: Height, market: Market, precedence: Precedence | None) -> Traded:
        """What a market's new orders do with its book."""
        resting, new = self.state.resting[market.id], run.new[market.id]
        if market.policy == AUCTION:
            return auction(resting, new, self.state.reference_ticks[market.id], run.draw)
        received = [order_id for order_id in new if run.in_batch(order_id)]
        joined = [order_id for order_id in new if not run.in_batch(order_id)]
        sequence = sequence_of(market, received, joined, run.draw, precedence)
        return match(resting, [new[order_id] for order_id in sequence], self.state.last_sequences[market.id])

    def _trigger(self) -> None:
        """Stops whose price their market has reached join the next height."""
        for order in self.state.open.values():
            if order.status != STATUS_WAITING:
                continue
            reference_ticks, stop_ticks = self.state.reference_ticks[order.terms.market], order.terms.stop_ticks
            reached = reference_ticks >= stop_ticks if order.terms.side == BUY else reference_ticks <= stop_ticks
            if reached:
                order.status = STATUS_TRIGGERED
                self.state.put(order)
