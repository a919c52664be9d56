"""What the agreement engine asks of a member (:class:`~mpc_sequencer.core.agreement.engine.Application`): blocks to
propose, verdicts on proposals, what is on disk before a vote, and whether there is work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mpc_sequencer.core import limits
from mpc_sequencer.core.agreement import Accepted, Rejected, Verdict, Waiting
from mpc_sequencer.core.effects import Fault, Persist
from mpc_sequencer.core.recovery import support
from mpc_sequencer.core.types import Block, Certificate

if TYPE_CHECKING:
    from mpc_sequencer.core.node import NodeCore

STALLED_VIEW_MS: Final = 500
REBUILD_MS: Final = 20
PROPOSED_SKEW_MS_MAX: Final = limits.BLOCK_TIME_SKEW_MS_MAX // 2  # leaves voters room for delays and their clocks


class NodeApplication:
    """The engine's application over a member's parts."""

    def __init__(self, core: NodeCore) -> None:
        self._core = core
        self.waits: dict[bytes, tuple[int, list[bytes]]] = {}
        """Proposals that wait: what had arrived when they were looked at last, and the bodies they lack."""
        self._built_from: tuple[bytes, int, int] | None = None
        self._built_ms = 0

    def entered_view(self, view: int, now_ms: int) -> None:
        """Cut the open list; the head of the new view is signed with the next flush at the latest."""
        self._core.now_ms = now_ms
        self._core.statements.cut_list()
        self._core.statements.changed()

    def prepare_proposal(self, parent_id: bytes, view: int, now_ms: int) -> Block | None:
        """A block that does some work, or None."""
        inputs = (parent_id, self._core.arrivals, self._core.heads_seen)
        if inputs == self._built_from and now_ms - self._built_ms < REBUILD_MS:
            return None  # the same inputs gave nothing a moment ago
        self._built_from, self._built_ms = inputs, now_ms
        built = self._core.chain.build(parent_id, view, now_ms - PROPOSED_SKEW_MS_MAX)
        if built is None:
            return None
        block, derived = built
        if abs(derived.time_ms - now_ms) > PROPOSED_SKEW_MS_MAX:
            return None  # the heads are old: those who see work sign new ones
        stalled = self._core.simplex.view_age_ms(now_ms) >= STALLED_VIEW_MS
        if not (
            derived.counts
            or derived.key_messages
            or derived.certified
            or self._core.ranges.due(now_ms)
            or self._core.keygen.due(now_ms)
            or derived.state.handover
            or now_ms - self._core.last_final_ms >= limits.HEARTBEAT_MS
            or (stalled and self.has_work(now_ms))
        ):
            return None
        self._core.chain.keep_own(block, derived, parent_id)
        return block

    def process_proposal(self, block: Block, source: int, now_ms: int, *, voting: bool) -> Verdict:
        self._core.standing.seen_block(block)
        block_id = block.header.block_id()
        arrivals, bodies = self.waits.get(block_id, (-1, []))
        while bodies and not self._lacks(bodies[-1]):
            bodies.pop()
        if bodies or arrivals == self._core.arrivals:
            return Waiting()  # deriving it again would find the same things missing
        self.note_needs()
        verdict = self._core.chain.check(block, now_ms if voting else None)
        self.waits.pop(block_id, None)
        if isinstance(verdict, Waiting):
            while len(self.waits) >= limits.VIEWS_AHEAD_MAX:
                del self.waits[next(iter(self.waits))]
            self.waits[block_id] = (self._core.arrivals, list(self._core.chain.needs.bodies))
            self.note_needs(source)
        elif isinstance(verdict, Accepted):
            self._core.arrivals += 1
            self._core.fetcher.got_block(block_id)
        elif isinstance(verdict, Rejected):
            self._core.effects.append(Fault(source, verdict.error.code, str(verdict.error)))
        return verdict

    def _lacks(self, key: bytes) -> bool:
        return self._core.pool.find(key) is None and key not in self._core.keybook

    def rely_on(self, block: Block) -> None:
        """Put a block, others' lists it adds and bodies it needs to disk: behind q votes are f+1 honest disks."""
        self._core.effects += [Persist(record) for record in support(self._core, block)]

    def left_waiting(self, block: Block, source: int) -> None:
        """Keep on fetching what the block lacks: others may have notarized it."""
        self._core.peers.hold_block(block, source)

    def finalized(self, block_id: bytes, certificate: Certificate, now_ms: int) -> None:
        self._core.pend_final(certificate)
        self._core.retry_final(now_ms)

    def loaded(self) -> bool:
        """Whether so many orders wait that a block can as well hold them in one, or the last final block held so many:
        hardly any wait right after it, and a block that did not wait then would be a small one for the same price."""
        return max(self._core.pool.pending, self._core.last_batch_orders) >= limits.BLOCK_LOADED_ORDERS

    def may_vote(self, view: int) -> bool:
        """Whether this member can know that it signs nothing against an earlier vote."""
        return self._core.standing.may_vote(view)

    def own_vote_unknown(self, view: int) -> None:
        """A certificate holds a vote of this member that it does not know."""
        self._core.standing.own_vote_unknown(view)

    def has_work(self, now_ms: int) -> bool:
        """Whether there is reason to run the view's timer (docs/protocol.md, "Agreement": *work*)."""
        core = self._core
        return (
            core.simplex.unfinalized()
            or bool(core.chain.final_state.counting)
            or core.ranges.due(now_ms)
            or core.keygen.due(now_ms)
            or core.keybook.waiting(core.keygen.live)
            or bool(core.chain.final_state.handover)
            or now_ms - core.last_final_ms >= limits.HEARTBEAT_MS
            or self._chain_waits(now_ms)
            or self._orders_wait(now_ms)
        )

    def _chain_waits(self, now_ms: int) -> bool:
        """Whether a block would take inputs, let forced orders go, or wake, were others to see it alike."""
        core = self._core
        state = core.chain.final_state
        if core.committee.keys is None:
            return False
        newest, chain = core.chain_view.newest, state.chain
        if max(newest.inputs_count, chain.checkpoint.inputs_count) > chain.inputs_count:
            return True
        if chain.forced and chain.forced[0].due_number <= max(newest.number, chain.checkpoint.number):
            return True
        return bool(state.last_counting) and core.due_height(now_ms) == state.last_counting

    def block(self, block_id: bytes) -> Block | None:
        entry = self._core.chain.entry(block_id)
        return entry.block if entry else None

    def note_needs(self, source: int | None = None) -> None:
        """Turn what a check found missing into wants."""
        if not self._core.chain.needs:
            return
        needs = self._core.chain.take_needs()
        for author, first, last, last_hash in needs.lists:
            asked = author if source is None else source
            self._core.fetcher.want_lists(author, first, last, asked, self._core.now_ms, last_hash)
        fallback = source if source is not None else (self._core.node + 1) % self._core.committee.n
        for key in needs.bodies:
            # what a client has brought is judged within a moment: peers are asked only should it be refused
            later_ms = limits.FETCH_RETRY_MS if key in self._core.gateway else 0
            self._core.fetcher.want_body(key, fallback, self._core.now_ms + later_ms, needed=True)
        for block_id in needs.blocks:
            self._core.fetcher.want_block(block_id, fallback, self._core.now_ms)
        for count, inputs_hash in needs.inputs:
            self._core.fetcher.want_inputs(count, inputs_hash, fallback, self._core.now_ms)

    def _orders_wait(self, now_ms: int) -> bool:
        """Whether a pending order could be batched: passes check, validity and credit on the final state."""
        if not self._core.pool.pending:
            return False
        state = self._core.chain.final_state
        parked = 0
        for order in state.queue:
            charged = state.charged_wei.get(order.sponsor, 0) + order.charge_wei
            ready = order.valid_from_ms <= now_ms and charged <= self._core.bonds_wei.get(order.sponsor, 0)
            if ready and order.valid_until_ms > now_ms:
                return True
            if order.valid_until_ms > now_ms:
                parked += 1
        return self._core.pool.pending > parked
