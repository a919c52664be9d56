"""What must hold across the lives of a member that goes down and comes back: what it signs, its log, its return.

What a member *sent* counts, and what its journal held for good: a record that was written, torn off and never said
binds nobody.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from mpc_sequencer.core.effects import AdmittedRecord, Broadcast, Effect, ListRecord, Persist, Reply, Send, VoteRecord
from mpc_sequencer.core.messages import ListMessage, Proposal, SubmitReply, VoteMessage
from mpc_sequencer.core.transcript import BlockEntry, EnvelopeEntry, LogEntry, entry_key
from mpc_sequencer.core.types import FINALIZE, NOTARIZE, NULLIFY, OrderList, Vote
from mpc_sequencer.sim.checkers.base import SENT, Checker, Watched
from mpc_sequencer.sim.host import Host
from mpc_sequencer.sim.simulation import Simulation

WITH_VOTE: Final = (VoteMessage, Proposal)


def own_vote(node: int, effect: Effect) -> Vote | None:
    """The vote of its own that a member sends."""
    if isinstance(effect, SENT) and isinstance(effect.message, WITH_VOTE):
        vote = effect.message.vote
        return vote if vote.node == node else None
    return None


def own_list(node: int, effect: Effect) -> OrderList | None:
    """The list of its own that a member sends."""
    if isinstance(effect, SENT) and isinstance(effect.message, ListMessage):
        sent = effect.message.order_list
        return sent if sent.node == node else None
    return None


class Durable(Checker):
    """Votes, lists and receipts are durable before they leave."""

    name = "durable"
    sees = frozenset({Persist, Broadcast, Send, Reply})

    def __init__(self, watched: Watched) -> None:
        super().__init__(watched)
        self._kept: set[bytes] = set()

    def on_effect(self, node: int, effect: Effect) -> None:
        if isinstance(effect, Persist):
            match effect.record:
                case VoteRecord(vote):
                    self._kept.add(vote.signature)
                case ListRecord(order_list):
                    self._kept.add(order_list.signature)
                case AdmittedRecord(_, receipt):
                    self._kept.add(receipt.signature)
        elif isinstance(effect, Reply):
            if isinstance(effect.message, SubmitReply):
                for one in effect.message.results:
                    if one.receipt is not None and one.receipt.signature not in self._kept:
                        self.report(0, f"member {node} gave a receipt for {one.order_id.hex()} before it kept it")
        elif (sent := self._sent(self.watched.number(node), effect)) and sent.signature not in self._kept:
            what = f"a vote of view {sent.view}" if isinstance(sent, Vote) else f"list {sent.number}"
            self.report(0, f"member {node} sent {what} before it kept it")

    def _sent(self, number: int, effect: Effect) -> Vote | OrderList | None:
        return own_vote(number, effect) or own_list(number, effect)


class SignedOnce(Checker):
    """An honest member sends one vote of a kind in a view, does not both nullify and finalize one, and does not
    notarize one after it nullified it; and it sends one list of an (incarnation, number)."""

    name = "signed-once"
    sees = frozenset({Persist, Broadcast, Send})

    def __init__(self, watched: Watched) -> None:
        super().__init__(watched)
        self._votes: dict[tuple[int, int, int], dict[int, bytes]] = {}
        self._lists: dict[tuple[int, int, int, int], bytes] = {}
        self._nullified: set[tuple[int, int, int]] = set()

    def on_effect(self, node: int, effect: Effect) -> None:
        if isinstance(effect, Persist):
            if isinstance(effect.record, VoteRecord):
                self._cast(node, effect.record.vote)
        elif (vote := own_vote(self.watched.number(node), effect)) is not None:
            self._sent(node, vote)
        elif (order_list := own_list(self.watched.number(node), effect)) is not None:
            place = (node, order_list.epoch, order_list.incarnation, order_list.number)
            if self._lists.setdefault(place, order_list.signature) != order_list.signature:
                self.report(0, f"member {node} signed two lists {order_list.number} of life {order_list.incarnation}")

    def _cast(self, node: int, vote: Vote) -> None:
        if vote.kind == NULLIFY:
            self._nullified.add((node, vote.epoch, vote.view))
        elif vote.kind == NOTARIZE and (node, vote.epoch, vote.view) in self._nullified:
            self.report(0, f"member {node} notarized view {vote.view} after it nullified it")

    def _sent(self, node: int, vote: Vote) -> None:
        cast = self._votes.setdefault((node, vote.epoch, vote.view), {})
        if cast.setdefault(vote.kind, vote.block_id) != vote.block_id:
            self.report(0, f"member {node} voted twice in view {vote.view}")
        if FINALIZE in cast and NULLIFY in cast:
            self.report(0, f"member {node} nullified and finalized view {vote.view}")


class Log(Checker):
    """What a checkpoint has covered never changes; no entry is twice in a log; blocks follow each other without a gap.
    Who loses its disk begins a new log."""

    name = "log"

    def __init__(self, watched: Watched) -> None:
        super().__init__(watched)
        self._signed: dict[tuple[int, int], list[LogEntry]] = {}
        """By member and log."""

    def at_interval(self, simulation: Simulation) -> None:
        for host in simulation.hosts:
            if host.node not in self.watched.honest:
                continue
            disk = host.disk
            signed = self._signed.get((host.node, disk.logs_lost), [])
            if disk.log[: len(signed)] != signed:
                self.report(0, f"member {host.node} forked the {len(signed)} log entries it had signed")
            self._signed[host.node, disk.logs_lost] = disk.log[: disk.checkpointed]

    def at_end(self, simulation: Simulation) -> None:
        self.at_interval(simulation)
        for host in simulation.hosts:
            if host.node in self.watched.honest:
                self._whole(host)

    def _whole(self, host: Host) -> None:
        keys: Counter[tuple[object, ...]] = Counter()
        blocks = 0
        for entry in host.disk.log:
            blocks += isinstance(entry, BlockEntry)
            # a block may lift an order that an earlier one had lifted
            keys[(*entry_key(entry), blocks if isinstance(entry, EnvelopeEntry) else 0)] += 1
        for key, times in keys.items():
            if times > 1:
                self.report(0, f"member {host.node} logged {key[0]} {times} times")
        heights = [entry.block.header.height for entry in host.disk.log if isinstance(entry, BlockEntry)]
        if heights != list(range(1, len(heights) + 1)):
            self.report(heights[-1], f"the blocks in the log of member {host.node} leave a gap")


class Recovered(Checker):
    """Who came back is one of the others again: it has executed what they have, and signs. Who lost its journal signs
    as the next incarnation, all others as the first."""

    name = "recovered"
    sees = frozenset({Broadcast})

    def __init__(self, watched: Watched) -> None:
        super().__init__(watched)
        self._views: dict[int, int] = {}

    def on_effect(self, node: int, effect: Effect) -> None:
        vote = own_vote(node, effect)
        if vote is not None:
            self._views[node] = vote.view

    def at_end(self, simulation: Simulation) -> None:
        healthy = self.watched.correct | self.watched.plan.wiped
        executed = max(simulation.cores[node].execution.executed_height for node in healthy)
        for host in simulation.hosts:
            if host.node not in healthy or not host.boots:
                continue
            core, node = host.core, host.node
            expected = int(node in self.watched.plan.wiped)
            standing = core.standing
            if standing.muted or not standing.may_list() or standing.incarnation != expected:
                self.report(0, f"member {node} is {'muted' if standing.muted else standing.incarnation} to the end")
            if core.execution.executed_height < executed:
                self.report(executed, f"member {node} has executed {core.execution.executed_height} only")
            if self._views.get(node, 0) <= standing.floor_view:
                self.report(0, f"member {node} has not voted since it came back")
