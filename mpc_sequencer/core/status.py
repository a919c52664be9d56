"""A member's view of itself: counters for ``node status`` and the last outcomes of orders, bounded; answers to clients'
questions."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from mpc_sequencer.core import limits
from mpc_sequencer.core.actions import AMOUNT_BYTES
from mpc_sequencer.core.darkstatus import DarkBoard, dark_keys_reply, dark_status
from mpc_sequencer.core.effects import Recall, Reply
from mpc_sequencer.core.messages import (
    DarkKeysQuery,
    EpochsQuery,
    ExecutedRow,
    KeyQuery,
    KeyReply,
    MarketQuery,
    MarketReply,
    OrderQuery,
    OrderReply,
    StatusQuery,
    StatusReply,
)
from mpc_sequencer.core.types import Uint, Value
from mpc_sequencer.market import Engine, HeightResult

if TYPE_CHECKING:
    from mpc_sequencer.core.node import NodeCore

OUTCOMES_KEPT: Final = 4_096  # some seconds under load; older ones are on the disk
CLEARINGS_KEPT: Final = 64
NO_NOTIONAL: Final = bytes(AMOUNT_BYTES)
Query = OrderQuery | KeyQuery | EpochsQuery | StatusQuery | MarketQuery | DarkKeysQuery


class BoardValue(Value, frozen=True):
    """The counters in a snapshot. Outcomes of orders are not in it: the shell keeps them by order."""

    sequenced: Uint
    fills: Uint
    height_settled: Uint
    settlements: Uint
    settlement_gas: Uint
    malformed: Uint


def answer(core: NodeCore, client: int, query: Query) -> Reply | Recall:
    """The answer to a client's question; a :class:`Recall` where the shell may know more of an order."""
    match query:
        case OrderQuery(number, order_id, after_height, watch):
            if watch:
                core.gateway.watch(client, order_id, _is_open(core.execution.engine, order_id))
            height = core.pool.sequenced_height(order_id)
            reply = core.board.order(number, order_id, height)
            # what this member has forgotten, or executed some time ago, and what came after, its shell may still have
            executed = reply.state == "executed" or reply.height <= core.execution.executed_height
            ask = reply.state != "pending" and (executed or reply.state == "unknown")
            return Recall(client, reply, after_height) if ask else Reply(client, reply)
        case KeyQuery(number):
            return Reply(client, KeyReply(number, core.keygen.certificate, core.keygen.phase))
        case EpochsQuery(number, after_epoch):
            return Reply(client, core.succession.reply(number, after_epoch))
        case StatusQuery(number):
            return Reply(client, core.board.status(number, core))
        case MarketQuery():
            return Reply(client, _market(core, query))
        case DarkKeysQuery(number):
            return Reply(client, dark_keys_reply(core, number))


def _is_open(engine: Engine, order_id: bytes) -> bool:
    """Whether later heights may still do something to an order: it is open, or waits for its dark batch."""
    if engine.open_order(order_id) is not None:
        return True
    desk = engine.desk
    return desk is not None and any(
        order_id == one.order_id for market in desk.markets for one in desk.book(market).orders()
    )


def _market(core: NodeCore, query: MarketQuery) -> MarketReply:
    """A market as the height executed last left it."""
    engine, height = core.execution.engine, core.execution.executed_height
    terms = next((one for one in core.committee.genesis.markets if one.id == query.market), None)
    if terms is None:
        return MarketReply(query.request, query.market, None, height, 0, (), (), None)
    book = engine.book(query.market, query.levels)
    return MarketReply(
        request=query.request,
        market=query.market,
        terms=terms,
        height=height,
        reference_price_ticks=engine.reference_price_ticks(query.market),
        bids=book["bids"],
        asks=book["asks"],
        clearing=core.board.last_clearing(query.market),
    )


def executed_reply(request: int, height: int, row: ExecutedRow) -> OrderReply:
    """The answer for an order with an outcome."""
    return OrderReply(
        request=request,
        order_id=row.order_id,
        state="executed",
        height=height,
        code=row.code,
        filled_lots=row.filled_lots,
        price_ticks=row.price_ticks,
        notional=row.notional,
        fee=row.fee,
        remaining_lots=row.remaining_lots,
    )


Updates = Sequence[tuple[int, ExecutedRow]]


def recalled(otherwise: OrderReply, known: tuple[int, ExecutedRow] | None, updates: Updates) -> OrderReply:
    """The answer from what the shell keeps: the order's outcome, if any, and what later heights did to it, ascending;
    one more of these than an answer takes says that there are more."""
    reply = otherwise if known is None else executed_reply(otherwise.request, *known)
    first = tuple(updates[: limits.UPDATES_MAX])
    return msgspec.structs.replace(reply, updates=first, more=len(updates) > len(first))


class StatusBoard:
    """Counters and recent outcomes."""

    def __init__(self) -> None:
        self._peers: set[int] = set()
        self._outcomes: OrderedDict[bytes, tuple[int, ExecutedRow]] = OrderedDict()
        self._clearings: deque[tuple[int, int, int, int]] = deque(maxlen=CLEARINGS_KEPT)
        self.dark = DarkBoard()
        self.sequenced = 0
        self.sequenced_saved = 0
        """Orders sequenced up to the snapshot that this life began with."""
        self.fills = 0
        self.height_settled = 0
        self.settlements = 0
        self.settlement_gas = 0

    def dump(self, malformed: int) -> BoardValue:
        """The counters; ``malformed`` is the reveal's."""
        return BoardValue(
            self.sequenced, self.fills, self.height_settled, self.settlements, self.settlement_gas, malformed
        )

    def restore(self, value: BoardValue) -> None:
        """Count on from a snapshot."""
        self.sequenced, self.fills = value.sequenced, value.fills
        self.sequenced_saved = value.sequenced
        self.height_settled, self.settlements = value.height_settled, value.settlements
        self.settlement_gas = value.settlement_gas

    def up(self, node: int) -> None:
        self._peers.add(node)

    def down(self, node: int) -> None:
        self._peers.discard(node)

    def settled(self, last_height: int, gas_used: int) -> bool:
        """Note a posted range; False where it is not news."""
        if last_height <= self.height_settled:
            return False
        self.height_settled = last_height
        self.settlements += 1
        self.settlement_gas += gas_used
        return True

    def executed(
        self, outcome: HeightResult, rows: dict[bytes, ExecutedRow], dark_markets: tuple[int, ...] = ()
    ) -> None:
        """Remember a height's outcomes and clearings."""
        self.dark.executed(outcome, dark_markets)
        self.fills += len(outcome.fills)
        for market, price_ticks, volume_lots in outcome.clearing:
            self._clearings.append((outcome.height, market, price_ticks, volume_lots))
        for order_id, row in rows.items():
            self._outcomes[order_id] = (outcome.height, row)
        while len(self._outcomes) > OUTCOMES_KEPT:
            self._outcomes.popitem(last=False)

    def order(self, request: int, order_id: bytes, sequenced_height: int | None) -> OrderReply:
        """What this member knows of an order; ``sequenced_height`` is None where it does not hold it."""
        known = self._outcomes.get(order_id)
        if known is not None:
            return executed_reply(request, *known)
        if sequenced_height is None:
            return OrderReply(request, order_id, "unknown", 0, "", 0, 0, NO_NOTIONAL)
        state = "final" if sequenced_height else "pending"
        return OrderReply(request, order_id, state, sequenced_height, "", 0, 0, NO_NOTIONAL)

    def last_clearing(self, market: int) -> tuple[int, int, int] | None:
        """Height, price and volume of the market's last clearing among those remembered."""
        rows = (row for row in reversed(self._clearings) if row[1] == market)
        return next(((height, price, volume) for height, _, price, volume in rows), None)

    def status(self, request: int, core: NodeCore) -> StatusReply:
        """The whole; the shell fills in what only it knows (CPU time, memory)."""
        key_attempt, key_heard, key_expected = core.keygen.progress
        dark_phase, dark_keys, dark = dark_status(core)
        return StatusReply(
            request=request,
            node=core.node,
            epoch=core.committee.epoch,
            view=core.simplex.view,
            height_final=core.chain.final_height,
            height_executed=core.execution.executed_height,
            height_certified=core.execution.certified_height,
            height_settled=self.height_settled,
            orders_pending=core.pool.pending,
            orders_sequenced=self.sequenced,
            orders_malformed=core.reveal.malformed,
            fills=self.fills,
            settlements=self.settlements,
            settlement_gas=self.settlement_gas,
            peers_connected=tuple(sorted(self._peers)),
            convicted=tuple(sorted(core.convictions.nodes)),
            cpu_us=0,
            memory_bytes=0,
            clearing=tuple(self._clearings),
            key_phase=core.keygen.phase,
            key_attempt=key_attempt,
            key_heard=key_heard,
            key_expected=key_expected,
            key_due_ms=None if core.keygen.running is not None else core.keygen.due_ms,
            dark_phase=dark_phase,
            dark_keys=dark_keys,
            dark=dark,
        )
