"""Promises to traders and among members: receipts, inclusion, no accusation of the honest, equal results."""

from __future__ import annotations

from bisect import bisect_left, insort
from typing import Final

from mpc_sequencer.core import limits
from mpc_sequencer.core.effects import Append, Broadcast, Effect, Evidence, Fault, Reply, Send
from mpc_sequencer.core.messages import HeadMessage, SubmitReply
from mpc_sequencer.core.transcript import BlockEntry, OpenedEntry, ResultEntry, UnopenableEntry
from mpc_sequencer.core.types import Block, Receipt
from mpc_sequencer.sim.checkers.base import SENT, Checker, Watched
from mpc_sequencer.sim.checkers.lives import own_list
from mpc_sequencer.sim.simulation import Simulation
from mpc_sequencer.sim.workload import POOR_TRADERS

CLOCK_CODES: Final = frozenset({"block.time"})
"""Refusals that follow from clocks and delays: they accuse nobody."""
KEY_CODES: Final = frozenset({"dkg.silent", "key.aborted", "key.no_share"})
"""What a key generation says of members that may have been away: :mod:`mpc_sequencer.sim.checkers.keys` judges it."""
DARK_CODES: Final = frozenset({"dark.silent", "dark.aborted", "dark.no_keys"})
"""What a dark batch says of members that may have been away."""
PASSED_CODES: Final = CLOCK_CODES | KEY_CODES | DARK_CODES


Place = tuple[int, int, int, int]
"""Member, epoch, incarnation, list number."""


class Receipts(Checker):
    """Every order with an honest member's receipt is in exactly the list the receipt names, and that list is cut. Who
    loses its journal defaults on the lists it had not cut, and on no other."""

    name = "receipts"
    sees = frozenset({Broadcast, Send, Reply})

    def __init__(self, watched: Watched) -> None:
        super().__init__(watched)
        self._promised: dict[Place, set[bytes]] = {}
        self._lists: dict[Place, frozenset[bytes]] = {}
        self._first: dict[tuple[int, int, int, bytes], Receipt] = {}

    def on_effect(self, node: int, effect: Effect) -> None:
        if isinstance(effect, Reply) and isinstance(effect.message, SubmitReply):
            for one in effect.message.results:
                if one.receipt is not None:
                    self._promise(node, one.receipt)
        elif (cut := own_list(self.watched.number(node), effect)) is not None:
            place = (node, cut.epoch, cut.incarnation, cut.number)
            if place not in self._lists:
                self._lists[place] = frozenset(cut.entries)
                self._compare(place)

    def _promise(self, node: int, receipt: Receipt) -> None:
        first = self._first.setdefault((node, receipt.epoch, receipt.incarnation, receipt.order_id), receipt)
        if first != receipt:
            self.report(0, f"member {node} gave two receipts for order {receipt.order_id.hex()}")
        place = (node, receipt.epoch, receipt.incarnation, receipt.list_number)
        self._promised.setdefault(place, set()).add(receipt.order_id)
        if place in self._lists:
            self._compare(place)

    def _compare(self, place: Place) -> None:
        node, _, _, number = place
        for order_id in sorted(self._promised.get(place, set()) - self._lists[place]):
            self.report(0, f"member {node} promised order {order_id.hex()} in list {number}, which lacks it")

    def at_end(self, simulation: Simulation) -> None:
        wiped = self.watched.plan.wiped
        for node, epoch, incarnation, number in self._promised.keys() - self._lists.keys():
            defaulted = node in wiped and incarnation == 0
            if node not in simulation.stopped and not defaulted:
                self.report(0, f"member {node} gave receipts for list {number} of epoch {epoch} and never cut it")


class Accusations(Checker):
    """No honest member charges an honest one with anything, however both crash or lag."""

    name = "accusation"
    sees = frozenset({Evidence, Fault})

    def on_effect(self, node: int, effect: Effect) -> None:
        if not isinstance(effect, Evidence | Fault):
            return
        person = self.watched.person(node, effect.node)
        if isinstance(effect, Evidence) and person in self.watched.honest:
            self.report(0, f"member {node} convicts member {person} of {effect.kind}: {effect.detail}")
        elif isinstance(effect, Fault) and person in self.watched.honest and effect.code not in PASSED_CODES:
            self.report(0, f"member {node} charges member {person} with {effect.code}: {effect.detail}")


class Inclusion(Checker):
    """What all correct members listed before they entered view v-1 is batched by each final block of view >= v, or by
    its ancestors, validity, credit and the batch's size permitting."""

    name = "inclusion"
    sees = frozenset({Append, Broadcast, Send})

    def __init__(self, watched: Watched) -> None:
        super().__init__(watched)
        self._listed: dict[bytes, dict[int, int]] = {}
        self._heads: dict[int, list[tuple[int, int]]] = {node: [] for node in watched.correct}
        """By member: (view, list number) of the heads it sent, ascending; a new life may go back by some views."""
        self._height = 0
        self._sequenced: set[bytes] = set()
        self._counting: set[int] = set()
        poor = watched.deployment.traders[-POOR_TRADERS:]
        self._uncredited = frozenset(trader.address for trader in poor)

    def on_effect(self, node: int, effect: Effect) -> None:
        if isinstance(effect, Append) and isinstance(effect.entry, BlockEntry):
            block = effect.entry.block
            if block.header.height == self._height + 1:
                self._height += 1
                self._final(block)
        if node not in self.watched.correct:
            return
        if (cut := own_list(node, effect)) is not None:
            for order_id in cut.entries:
                self._listed.setdefault(order_id, {}).setdefault(node, cut.number)
        elif isinstance(effect, SENT) and isinstance(effect.message, HeadMessage):
            head = effect.message.head
            if head.node == node:
                insort(self._heads[node], (head.view, head.list_number))

    def _final(self, block: Block) -> None:
        header = block.header
        for entry in block.batch:
            if entry.order_id in self._sequenced:
                self.report(header.height, f"order {entry.order_id.hex()} is batched twice")
            self._sequenced.add(entry.order_id)
            self._listed.pop(entry.order_id, None)
        lagging = len(self._counting) >= limits.RESULT_LAG_HEIGHTS
        if block.batch:
            self._counting.add(header.height)
        last_certified = max((ref.height for ref in block.certified), default=0)
        self._counting = {height for height in self._counting if height > last_certified}
        if lagging or len(block.batch) >= limits.BATCH_ORDERS_MAX:
            return
        for order_id, numbers in self._listed.items():
            if self._due(order_id, numbers, header.view, header.time_ms):
                self.report(header.height, f"order {order_id.hex()} was due in view {header.view} and is not in")

    def _due(self, order_id: bytes, numbers: dict[int, int], view: int, time_ms: int) -> bool:
        if len(numbers) < len(self.watched.correct) or order_id in self._sequenced:
            return False
        if not self._batchable(order_id, time_ms):
            return False
        return all(self._listed_before(node, number, view - 1) for node, number in numbers.items())

    def _batchable(self, order_id: bytes, time_ms: int) -> bool:
        """Whether an order is known, covered, and valid at a block time."""
        envelope = self.watched.sent.get(order_id)
        if envelope is None:
            return False
        label = envelope.decoded_label()
        return label.sponsor not in self._uncredited and label.valid_from_ms <= time_ms < label.valid_until_ms

    def _listed_before(self, node: int, number: int, view: int) -> bool:
        """Whether the member's first head of ``view`` or later, if it signed one yet, names the list."""
        heads = self._heads[node]
        at = bisect_left(heads, (view, 0))
        return at == len(heads) or heads[at][1] >= number


class Results(Checker):
    """Honest members open the same orders to the same plaintexts and compute the same results."""

    name = "results"
    sees = frozenset({Append})

    def __init__(self, watched: Watched) -> None:
        super().__init__(watched)
        self._results: dict[int, tuple[bytes, bytes]] = {}
        self._openings: dict[bytes, bytes | None] = {}
        self.executed: dict[int, int] = {}

    def on_effect(self, node: int, effect: Effect) -> None:
        if not isinstance(effect, Append):
            return
        entry = effect.entry
        if isinstance(entry, ResultEntry):
            self.executed[node] = entry.height
            seen = (entry.state_root, entry.result)
            if self._results.setdefault(entry.height, seen) != seen:
                self.report(entry.height, f"member {node} has another result than the others")
        elif isinstance(entry, OpenedEntry):
            self._verdict(node, entry.height, entry.opened.order_id, entry.opened.padded)
        elif isinstance(entry, UnopenableEntry):
            self._verdict(node, entry.height, entry.unopenable.order_id, None)

    def _verdict(self, node: int, height: int, order_id: bytes, padded: bytes | None) -> None:
        if self._openings.setdefault(order_id, padded) != padded:
            self.report(height, f"member {node} opened order {order_id.hex()} to something else than the others")
