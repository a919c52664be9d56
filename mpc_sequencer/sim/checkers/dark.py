"""What must hold of dark batches, whoever crashes or lies: the outcome is the plain rule's, and nobody sees orders.

The run knows what its traders ordered. A batch that settled must be what :mod:`mpc_sequencer.dark.rule` makes of them
in the plain, under the coin that the members opened. Every order that was taken in must end. Good orders end for no
fault of their traders', and bad ones trade nothing. Honest members open no more boxes than were sealed wrong for them,
and of what they send nothing is a share that an honest member was dealt.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Final

from mpc_sequencer.core.codec import decode
from mpc_sequencer.core.effects import Append, Broadcast, Effect, Outcomes, Send
from mpc_sequencer.core.messages import DarkShares, ExecutedRow
from mpc_sequencer.core.transcript import KeyEntry
from mpc_sequencer.core.types import KeyMessage
from mpc_sequencer.dark.facts import priority
from mpc_sequencer.dark.field import ELEMENT_BYTES
from mpc_sequencer.dark.messages import OpeningsSaid, OutcomeValue, ReportSaid, ResultSaid, decode_word
from mpc_sequencer.dark.rule import PlainOrder, clear_openly
from mpc_sequencer.dark.transcript import RoundShares
from mpc_sequencer.market.types import DARK_ABORTED, DARK_BAD, DARK_REJECTED, FILLED, IN_DARK, UNFILLED
from mpc_sequencer.sim.checkers.base import Checker, Watched
from mpc_sequencer.sim.darktrade import DarkTerms
from mpc_sequencer.sim.deployment import DARK_MARKET
from mpc_sequencer.sim.simulation import Simulation

SETTLED: Final = frozenset({FILLED, UNFILLED, DARK_REJECTED})
ENDS: Final = SETTLED | {DARK_BAD, DARK_ABORTED}
COMPUTED: Final = frozenset({"valid", "known", "box", "share"})
"""Kinds of orders whose rows are good, whatever became of a party's box."""


class DarkBatches(Checker):
    name = "dark"
    sees = frozenset({Append, Broadcast, Outcomes, Send})

    def __init__(self, watched: Watched) -> None:
        super().__init__(watched)
        self._entered: dict[bytes, str] = {}
        self._ended: dict[int, dict[bytes, tuple[int, ExecutedRow]]] = defaultdict(dict)
        """By member and order: the height at which it ended, and what it came to."""
        self._results: dict[int, Counter[OutcomeValue]] = defaultdict(Counter)
        """By batch."""
        self._counted: set[bytes] = set()
        self._opened: Counter[int] = Counter()
        """Boxes that an honest member opened in the log."""
        self._elements: set[bytes] = set()
        """What honest members sent of their computations and reports."""
        self._looked: set[tuple[bytes, int, int]] = set()

    # --- what is seen -------------------------------------------------------------------------------------------
    def on_effect(self, node: int, effect: Effect) -> None:
        match effect:
            case Outcomes(height, rows, updates):
                self._on_outcomes(node, height, rows, updates)
            case Append(KeyEntry(message)) if message.session == self.committee.dark_topic:
                self._on_word(message)
            case Broadcast(DarkShares() as shares) | Send(_, DarkShares() as shares):
                self._on_shares(shares)

    def _on_outcomes(
        self, node: int, height: int, rows: tuple[ExecutedRow, ...], updates: tuple[ExecutedRow, ...]
    ) -> None:
        dark = self.watched.dark
        for row in rows:
            if row.order_id in dark:
                self._entered[row.order_id] = row.code
        for row in updates:
            if row.order_id in dark:
                self._ended[node][row.order_id] = (height, row)

    def _on_word(self, message: KeyMessage) -> None:
        message_id = message.message_id()
        if message_id in self._counted:
            return
        self._counted.add(message_id)
        word = decode_word(message.payload)
        honest = message.node in self.watched.honest
        match word:
            case ResultSaid(_, batch, outcome) if outcome is not None:
                self._results[batch][outcome] += 1
            case ReportSaid() if honest:
                self._opened[message.node] += len(word.bad)
                self._take(word.shares)
            case OpeningsSaid() if honest:
                self._opened[message.node] += len(word.opened)

    def _on_shares(self, shares: DarkShares) -> None:
        key = (shares.session, shares.party, shares.round)
        if key not in self._looked:
            self._looked.add(key)
            inner: RoundShares = decode(RoundShares, shares.message)
            self._take(inner.payload)

    def _take(self, data: bytes) -> None:
        self._elements.update(data[at : at + ELEMENT_BYTES] for at in range(0, len(data), ELEMENT_BYTES))

    # --- what must hold -----------------------------------------------------------------------------------------
    def at_end(self, simulation: Simulation) -> None:
        for node in sorted(self.watched.correct):
            self._check_ends(node)
        first = min(self.watched.correct)
        self._check_settled(first)
        self._check_secrets()

    def _check_ends(self, node: int) -> None:
        ended = self._ended[node]
        for order_id, code in self._entered.items():
            terms = self.watched.dark[order_id].terms
            if code != IN_DARK:
                continue
            if terms.kind in ("keys", "short"):
                self.report(0, f"the order {order_id.hex()[:16]} of kind {terms.kind} was taken in")
            elif order_id not in ended:
                self.report(0, f"at member {node} the order {order_id.hex()[:16]} never ended")
            else:
                self._check_end(terms, *ended[order_id])

    def _check_end(self, terms: DarkTerms, height: int, row: ExecutedRow) -> None:
        allowed = {DARK_ABORTED, *{"row": {DARK_REJECTED}, "box": {DARK_BAD}, "share": {DARK_BAD}}.get(terms.kind, ())}
        if terms.kind in COMPUTED:
            allowed |= {FILLED, UNFILLED}
        if row.code not in allowed:
            self.report(height, f"a {terms.kind} order ended as {row.code}, expected one of {sorted(allowed)}")

    def _check_settled(self, node: int) -> None:
        groups: dict[int, dict[bytes, ExecutedRow]] = defaultdict(dict)
        for order_id, (height, row) in self._ended[node].items():
            if row.code in SETTLED:
                groups[height][order_id] = row
        agreed = [
            (batch, outcome)
            for batch, said in sorted(self._results.items())
            for outcome, votes in said.items()
            if votes > self.committee.f
        ]
        if len(groups) != len(agreed):
            self.report(0, f"{len(groups)} batches settled at member {node}, and members agreed on {len(agreed)}")
            return
        for (height, rows), (batch, outcome) in zip(sorted(groups.items()), agreed, strict=True):
            self._check_batch(height, batch, rows, outcome)

    def _check_batch(self, height: int, batch: int, rows: dict[bytes, ExecutedRow], outcome: OutcomeValue) -> None:
        """What settled is what the plain rule makes of the orders."""
        grid = DARK_MARKET.dark
        assert grid is not None
        valid = tuple(sorted(one for one in rows if self.watched.dark[one].terms.kind in COMPUTED))
        orders = []
        for order_id in valid:
            terms = self.watched.dark[order_id].terms
            tick = (terms.price_ticks - grid.price_first_ticks) // grid.price_step_ticks
            orders.append(PlainOrder(terms.side, tick, terms.quantity_lots))
        expected = clear_openly(orders, grid.ticks, priority(outcome.coin, valid))
        lots = {valid[fill.order]: fill.lots for fill in expected.fills}
        price_ticks = 0 if expected.tick is None else grid.price_first_ticks + grid.price_step_ticks * expected.tick
        for order_id, row in rows.items():
            wanted = (lots.get(order_id, 0), price_ticks if order_id in lots else 0)
            if (row.filled_lots, row.price_ticks) != wanted:
                got = (row.filled_lots, row.price_ticks)
                self.report(height, f"batch {batch}: order {order_id.hex()[:16]} got {got}, the rule gives {wanted}")

    def _check_secrets(self) -> None:
        wrong: Counter[int] = Counter()
        for sent in self.watched.dark.values():
            if sent.terms.kind in ("box", "share"):
                wrong[sent.terms.party] += 1
            for party in self.watched.honest if sent.terms.kind != "share" else ():
                for at in range(0, len(sent.shares[party]) if sent.shares else 0, ELEMENT_BYTES):
                    if sent.shares[party][at : at + ELEMENT_BYTES] in self._elements:
                        self.report(0, f"member {party} sent a share of an order that it was dealt")
        for node, count in self._opened.items():
            if count > 2 * wrong[node]:  # once as bad, once in dispute
                self.report(0, f"member {node} opened {count} boxes, {wrong[node]} were sealed wrong for it")
