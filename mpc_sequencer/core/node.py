"""One committee member as a pure state machine: the wiring of intake, lists, agreement, reveal, execution, settlement.

The shell calls :meth:`NodeCore.step` for each event, :meth:`NodeCore.work` while :meth:`NodeCore.has_work`, and after
each round of these :meth:`NodeCore.flush`, which cuts lists, signs a new head, runs timers and asks for what is
missing. Every call takes the time and returns effects; :mod:`mpc_sequencer.core.effects` says in which order they are
carried out. Nothing here reads a clock, draws randomness or touches a socket.

The path of an order: ``FromClient`` -> gateway -> pool (checks) -> own list, receipt -> list and head to all ->
leader's block (ordering) -> Simplex -> final -> bundle to all -> opened -> executed -> result in the head ->
certified by a final block -> settlement range signed.

A peer's message that breaks a rule changes nothing and becomes a :class:`Fault` effect.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from mpc_sequencer.core import limits
from mpc_sequencer.core.agreement import Accepted, Rejected, Simplex, Verdict, Waiting
from mpc_sequencer.core.catchup import CatchUp
from mpc_sequencer.core.chain import Chain, FinalBlock, Finality
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.convictions import Convictions
from mpc_sequencer.core.effects import (
    Append,
    ClientGone,
    Effect,
    Event,
    Fault,
    FromClient,
    FromPeer,
    PeerDown,
    PeerUp,
    Persist,
    Reply,
    SettlementSeen,
)
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.execution import Executed, Execution
from mpc_sequencer.core.fetch import Fetcher
from mpc_sequencer.core.gateway import Gateway
from mpc_sequencer.core.genesis import genesis_engine
from mpc_sequencer.core.lists import ListStore, OwnLists
from mpc_sequencer.core.messages import (
    ClientRequest,
    OrderQuery,
    StatusQuery,
    Submit,
)
from mpc_sequencer.core.offences import accused
from mpc_sequencer.core.peers import PeerHandlers
from mpc_sequencer.core.pool import Pool
from mpc_sequencer.core.publish import Publisher
from mpc_sequencer.core.recovery import support
from mpc_sequencer.core.reveal import Reveal
from mpc_sequencer.core.signing import Signer
from mpc_sequencer.core.standing import Standing
from mpc_sequencer.core.statements import Statements
from mpc_sequencer.core.status import StatusBoard
from mpc_sequencer.core.transcript import ChainInput, GenesisEntry, InputsEntry, SettledEntry
from mpc_sequencer.core.types import (
    ZERO_HASH,
    Block,
    Certificate,
)
from mpc_sequencer.settlement.ranges import Ranges
from threshold import SecretShare, ThresholdError

INPUTS_PER_ENTRY: Final = 256
STALLED_VIEW_MS: Final = 500
PENDING_FINAL_MS: Final = 2_000  # a certified block that could not be derived for so long is looked for in logs
REBUILD_MS: Final = 20
PROPOSED_SKEW_MS_MAX: Final = limits.BLOCK_TIME_SKEW_MS_MAX // 2  # leaves voters room for delays and their clocks


class NodeCore:
    """A member: ``node`` is its index in ``committee``; ``inputs`` are the chain inputs up to the genesis checkpoint;
    ``entropy`` is 32 fresh random bytes of this start."""

    def __init__(
        self,
        committee: Committee,
        node: int,
        signer: Signer,
        secret: SecretShare,
        inputs: Sequence[ChainInput],
        entropy: bytes,
    ) -> None:
        self.committee = committee
        self.node = node
        self._inputs = tuple(inputs)
        self.log_opened = False
        engine, bonds_wei = genesis_engine(committee, self._inputs)
        self.bonds_wei = bonds_wei
        self.pool = Pool(committee, bonds_wei)
        self.lists = ListStore(committee)
        self.own_lists = OwnLists(committee, node, signer)
        self.chain = Chain(committee, self.pool, self.lists, bonds_wei)
        self.simplex = Simplex(committee, node, signer, self)
        self.reveal = Reveal(committee, node, signer, secret, entropy)
        self.execution = Execution(engine, committee.f)
        self.ranges = Ranges(committee, node, signer, self.execution.genesis_state_root)
        self.statements = Statements(self, signer)
        self.gateway = Gateway(self.statements.admit)
        self.fetcher = Fetcher(committee.n, node)
        self.catchup = CatchUp(self)
        self.convictions = Convictions(committee)
        self.standing = Standing(self)
        self.board = StatusBoard()
        self.peers = PeerHandlers(self)
        self.publisher = Publisher(self)
        self.now_ms = 0
        self.arrivals = 0
        """Grows with every list, body and block that a waiting block may need."""
        self.heads_seen = 0
        self._waits: dict[bytes, tuple[int, tuple[bytes, ...]]] = {}
        self._built_from: tuple[bytes, int, int] | None = None
        self._built_ms = 0
        self._pending_final: tuple[bytes, Certificate] | None = None
        self._pending_since_ms = 0
        self._last_final_ms = 0
        self.effects: list[Effect] = []

    # --- the shell's side ---------------------------------------------------------------------------------------
    def start(self, now_ms: int) -> list[Effect]:
        """The first call, or the first after a recovery: opens the log and enters the view."""
        self.now_ms = self._last_final_ms = now_ms
        self.open_log()
        self.simplex.start(now_ms)
        return self.flush(now_ms)

    def open_log(self) -> None:
        """The entries that every audit log starts with, once."""
        if self.log_opened:
            return
        self.log_opened = True
        self.effects.append(Append(GenesisEntry(self.committee.genesis_id, self.node)))
        for first in range(0, len(self._inputs), INPUTS_PER_ENTRY):
            chunk = self._inputs[first : first + INPUTS_PER_ENTRY]
            self.effects.append(Append(InputsEntry(first, chunk)))

    def step(self, event: Event, now_ms: int) -> list[Effect]:
        """Take one event. Never raises for what a peer or client sent."""
        self.now_ms = now_ms
        match event:
            case FromPeer(node, message):
                try:
                    if not self.convictions.drops(node, message):
                        self.peers.handle(node, message, now_ms)
                except (ProtocolError, ThresholdError) as error:
                    self.blame(node, error)
            case FromClient(client, request):
                self._on_client(client, request)
            case ClientGone(client):
                self.gateway.gone(client)
            case PeerUp(node):
                self.board.up(node)
                self.peers.welcome(node)
            case PeerDown(node):
                self.board.down(node)
                self.standing.lost(node)
            case SettlementSeen(last_height, transaction, gas_used):
                self.ranges.settled(last_height)
                if self.board.settled(last_height, gas_used) and transaction != ZERO_HASH:
                    self.effects.append(Append(SettledEntry(last_height, transaction, gas_used)))
        return self.collect()

    def blame(self, node: int, error: ProtocolError | ThresholdError) -> None:
        """Report a refused message; whoever signed what convicts it is named, not who passed it on."""
        offence = getattr(error, "offence", None)
        self.effects.append(Fault(node if offence is None else accused(offence), error.code, str(error)))
        if offence is not None:
            self.effects += self.convictions.take(offence)

    def has_work(self, now_ms: int | None = None) -> bool:
        """Whether this member has something to do: without ``now_ms`` chunks for :meth:`work`, with it (for the
        agreement engine) reason to run the view's timer."""
        if now_ms is None:
            return (
                self.reveal.has_work()
                or self.execution.has_work()
                or self.gateway.has_work()
                or self.peers.has_work()
                or self.catchup.has_work()
            )
        return (
            self.simplex.unfinalized()
            or bool(self.chain.final_state.counting)
            or self.ranges.due(now_ms)
            or now_ms - self._last_final_ms >= limits.HEARTBEAT_MS
            or self._orders_wait(now_ms)
        )

    def work(self, now_ms: int) -> list[Effect]:
        """One chunk of each kind of cryptographic work, each of a few milliseconds."""
        self.now_ms = now_ms
        for batch in self.reveal.work():
            self.execution.opened(batch)
            self.fetcher.done_with_bundles(batch.final.block_id)
        executed = self.execution.work()
        # openings, the result, what the result settles: the log tells them in this order
        for part in (self.reveal, self.execution):
            self.effects += part.effects
            part.effects = []
        if executed is not None:
            self._on_executed(executed)
        self.gateway.work()
        self.peers.work(now_ms)
        self.catchup.work(now_ms)
        return self.collect()

    def flush(self, now_ms: int) -> list[Effect]:
        """After a round of events: lists, head, retries, timers, proposals, fetches."""
        self.now_ms = now_ms
        self.pool.expire(now_ms, self.execution.executed_height)
        self.peers.retry(now_ms)
        self._retry_final(now_ms)
        self.standing.flush()
        stale = now_ms >= self.statements.stale_at_ms()
        self.statements.flush(now_ms, working=stale and self.has_work(now_ms))
        before = -1
        while before != self.simplex.view:
            before = self.simplex.view
            self.statements.sign_head()
            self.simplex.tick(now_ms)
        self.statements.sign_head()
        self._note_needs()
        for block_id, node in self.reveal.missing(now_ms):
            self.fetcher.want_bundle(block_id, node, now_ms)
        self.effects += self.fetcher.requests(now_ms)
        if self._pending_final is not None and now_ms - self._pending_since_ms >= PENDING_FINAL_MS:
            self.catchup.stuck(self.chain.final_height + 1)  # peers that came back hold no lists of final blocks
        stuck = self.reveal.stuck(now_ms)
        if stuck is not None:
            self.catchup.stuck(stuck)
        self.effects += self.catchup.requests(now_ms)
        return self.collect()

    def wake_at_ms(self) -> int:
        """When :meth:`flush` must be called again though nothing happens."""
        now_ms = self.now_ms
        times = [now_ms + limits.HEARTBEAT_MS]
        if self._last_final_ms + limits.HEARTBEAT_MS > now_ms:
            times.append(self._last_final_ms + limits.HEARTBEAT_MS)
        fetches = (self.fetcher.next_due_ms(), self.catchup.next_due_ms())
        for due in (self.own_lists.due_ms(), self.simplex.deadline_ms, *fetches):
            if due is not None:
                times.append(due)
        if self.committee.leader(self.simplex.view) == self.node and self.simplex.propose_at_ms() > now_ms:
            times.append(self.simplex.propose_at_ms())
        if self.simplex.deadline_ms is not None and self.statements.stale_at_ms() > now_ms:
            times.append(self.statements.stale_at_ms())
        if self.reveal.pending() or self._pending_final is not None:
            times.append(now_ms + limits.FETCH_RETRY_MS)
        return max(min(times), now_ms + 1)

    def collect(self) -> list[Effect]:
        """The effects since the last call."""
        collected = self.effects
        for part in (self.reveal, self.execution, self.gateway, self.simplex):
            collected += part.effects
            part.effects = []
        for found in (self.lists.offences, self.simplex.offences, self.reveal.offences, self.ranges.offences):
            for offence in found:
                collected += self.convictions.take(offence)
            found.clear()
        self.effects = []
        return collected

    # --- clients ------------------------------------------------------------------------------------------------
    def _on_client(self, client: int, request: ClientRequest) -> None:
        match request:
            case Submit():
                self.gateway.submit(client, request)
            case OrderQuery(number, order_id):
                pooled = self.pool.get(order_id)
                reply = self.board.order(number, order_id, pooled.sequenced_height if pooled else None)
                self.effects.append(Reply(client, reply))
            case StatusQuery(number):
                self.effects.append(Reply(client, self.board.status(number, self)))

    # --- the agreement engine's application ---------------------------------------------------------------------
    def entered_view(self, view: int, now_ms: int) -> None:
        """Cut the open list; the head of the new view is signed with the next flush at the latest."""
        self.now_ms = now_ms
        self.statements.cut_list()
        self.statements.changed()

    def prepare_proposal(self, parent_id: bytes, view: int, now_ms: int) -> Block | None:
        """A block that does some work, or None."""
        inputs = (parent_id, self.arrivals, self.heads_seen)
        if inputs == self._built_from and now_ms - self._built_ms < REBUILD_MS:
            return None  # the same inputs gave nothing a moment ago
        self._built_from, self._built_ms = inputs, now_ms
        built = self.chain.build(parent_id, view, now_ms - PROPOSED_SKEW_MS_MAX)
        if built is None:
            return None
        block, derived = built
        if abs(derived.time_ms - now_ms) > PROPOSED_SKEW_MS_MAX:
            return None  # the heads are old: those who see work sign new ones
        stalled = self.simplex.view_age_ms(now_ms) >= STALLED_VIEW_MS
        if not (
            derived.batch
            or derived.certified
            or self.ranges.due(now_ms)
            or now_ms - self._last_final_ms >= limits.HEARTBEAT_MS
            or (stalled and self.has_work(now_ms))
        ):
            return None
        self.chain.keep_own(block, derived, parent_id)
        return block

    def process_proposal(self, block: Block, source: int, now_ms: int, *, voting: bool) -> Verdict:
        self.standing.seen_block(block)
        block_id = block.header.block_id()
        arrivals, bodies = self._waits.get(block_id, (-1, ()))
        if arrivals == self.arrivals or any(self.pool.find(key) is None for key in bodies):
            return Waiting()  # deriving it again would find the same things missing
        self._note_needs()
        verdict = self.chain.check(block, now_ms if voting else None)
        self._waits.pop(block_id, None)
        if isinstance(verdict, Waiting):
            while len(self._waits) >= limits.VIEWS_AHEAD_MAX:
                del self._waits[next(iter(self._waits))]
            self._waits[block_id] = (self.arrivals, tuple(self.chain.needs.bodies))
            self._note_needs(source)
        elif isinstance(verdict, Accepted):
            self.arrivals += 1
            self.fetcher.got_block(block_id)
        elif isinstance(verdict, Rejected):
            self.effects.append(Fault(source, verdict.error.code, str(verdict.error)))
        return verdict

    def rely_on(self, block: Block) -> None:
        """Put a block, others' lists it adds and bodies it needs to disk: behind q votes are f+1 honest disks."""
        self.effects += [Persist(record) for record in support(self, block)]

    def left_waiting(self, block: Block, source: int) -> None:
        """Keep on fetching what the block lacks: others may have notarized it."""
        self.peers.hold_block(block, source)

    def finalized(self, block_id: bytes, certificate: Certificate, now_ms: int) -> None:
        if self._pending_final is None:
            self._pending_since_ms = now_ms
        self._pending_final = (block_id, certificate)
        self._retry_final(now_ms)

    def may_vote(self, view: int) -> bool:
        """Whether this member can know that it signs nothing against an earlier vote."""
        return self.standing.may_vote(view)

    def own_vote_unknown(self, view: int) -> None:
        """A certificate holds a vote of this member that it does not know."""
        self.standing.own_vote_unknown(view)

    def block(self, block_id: bytes) -> Block | None:
        entry = self.chain.entry(block_id)
        return entry.block if entry else None

    def _note_needs(self, source: int | None = None) -> None:
        """Turn what a check found missing into wants."""
        needs = self.chain.take_needs()
        for author, first, last, last_hash in needs.lists:
            asked = author if source is None else source
            self.fetcher.want_lists(author, first, last, asked, self.now_ms, last_hash)
        fallback = source if source is not None else (self.node + 1) % self.committee.n
        for key in needs.bodies:
            self.fetcher.want_body(key, fallback, self.now_ms, needed=True)
        for block_id in needs.blocks:
            self.fetcher.want_block(block_id, fallback, self.now_ms)

    # --- finality -----------------------------------------------------------------------------------------------
    def _retry_final(self, now_ms: int) -> None:
        if self._pending_final is None:
            return
        block_id, certificate = self._pending_final
        final = self.chain.finalize(block_id, certificate)
        if final is None:
            return
        self._pending_final = None
        for one in final:
            self.on_final(one, now_ms)
        self.reveal.forget_before(self.simplex.final_view - limits.VIEWS_AHEAD_MAX)

    def on_final(self, final: FinalBlock, now_ms: int) -> None:
        """A block is final: what was waiting for it goes on. Blocks come in height order."""
        self._last_final_ms = now_ms
        entry = final.entry
        height, batch = entry.state.height, entry.block.batch
        self.publisher.final(final)
        self.execution.certified(entry.block.certified)
        if entry.block.certified:
            self.statements.changed()
        self.ranges.final(entry.block.header, entry.block_id, bool(batch))
        if batch:
            order_ids = [one.order_id for one in batch]
            self.gateway.final(height, entry.block_id, order_ids)
            self.board.sequenced += len(batch)
            self.open_batch(final.finality, now_ms)
        self.publisher.settle()

    def open_batch(self, final: Finality, now_ms: int) -> None:
        """Hand a final batch, whose bodies are held, to the reveal."""
        orders = []
        for one in final.block.batch:
            self.pool.sequence(one.order_id, final.height)
            pooled = self.pool.get(one.order_id)
            assert pooled is not None, "no block is accepted without the bodies it batches"
            orders.append(pooled.order)
        self.reveal.final(final, orders, now_ms)

    def pend_final(self, certificate: Certificate) -> None:
        """A finalization whose block is not at hand yet."""
        self._pending_final = (certificate.block_id, certificate)
        self._pending_since_ms = self.now_ms

    def _on_executed(self, executed: Executed) -> None:
        self.statements.changed()
        self.ranges.executed(executed.outcome)
        self.publisher.executed(executed.outcome)
        self.publisher.settle()

    # --- work ---------------------------------------------------------------------------------------------------
    def _orders_wait(self, now_ms: int) -> bool:
        """Whether a pending order could be batched: passes check, validity and credit on the final state."""
        if not self.pool.pending:
            return False
        state = self.chain.final_state
        parked = 0
        for order in state.queue:
            charged = state.charged_wei.get(order.sponsor, 0) + limits.ORDER_CHARGE_WEI
            ready = order.valid_from_ms <= now_ms and charged <= self.bonds_wei.get(order.sponsor, 0)
            if ready and order.valid_until_ms > now_ms:
                return True
            if order.valid_until_ms > now_ms:
                parked += 1
        return self.pool.pending > parked
