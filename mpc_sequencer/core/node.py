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

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from mpc_sequencer.core import domains, finalized, limits
from mpc_sequencer.core.agreement import Simplex
from mpc_sequencer.core.application import NodeApplication
from mpc_sequencer.core.catchup import CatchUp
from mpc_sequencer.core.chain import Chain
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.convictions import Convictions
from mpc_sequencer.core.darkside import dark_voice
from mpc_sequencer.core.darkwords import DarkWords, parties_of
from mpc_sequencer.core.effects import (
    Append,
    Approve,
    ChainSeen,
    ClientGone,
    Effect,
    Event,
    Fault,
    FromClient,
    FromPeer,
    PeerAhead,
    PeerDown,
    PeerUp,
    Persist,
    SettlementSeen,
)
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.execution import Execution
from mpc_sequencer.core.fetch import Fetcher
from mpc_sequencer.core.gateway import Gateway
from mpc_sequencer.core.genesis import genesis_engine
from mpc_sequencer.core.keybook import KeyBook
from mpc_sequencer.core.keygen import KeySessions
from mpc_sequencer.core.lists import ListStore, OwnLists
from mpc_sequencer.core.messages import CommitShare, ProofQuery, SettlementShare, Submit
from mpc_sequencer.core.offences import accused
from mpc_sequencer.core.peers import PeerHandlers
from mpc_sequencer.core.pool import Pool
from mpc_sequencer.core.proofdesk import ProofDesk
from mpc_sequencer.core.publish import Publisher
from mpc_sequencer.core.reveal import Reveal
from mpc_sequencer.core.rotation import check_next
from mpc_sequencer.core.signing import Signer
from mpc_sequencer.core.standing import Standing
from mpc_sequencer.core.statements import Statements
from mpc_sequencer.core.status import StatusBoard, answer
from mpc_sequencer.core.succession import Succession
from mpc_sequencer.core.transcript import ChainInput, GenesisEntry, InputsEntry, SettledEntry
from mpc_sequencer.core.types import ZERO_HASH, Certificate, NextCommittee
from mpc_sequencer.settlement.ranges import Ranges
from threshold import SecretShare, ThresholdError

INPUTS_PER_ENTRY: Final = 256
OFFER_MS: Final = 500
"""How often a joiner offers anew what no final block has taken up."""
PENDING_FINAL_MS: Final = 2_000  # a certified block that could not be derived for so long is looked for in logs


class NodeCore:
    """A member: ``node`` is its index in ``committee``; ``inputs`` are the chain inputs up to the genesis checkpoint;
    ``entropy`` is 32 fresh random bytes of this start; ``secrets`` is what its vault holds, by name. ``secret`` is its
    share where the committee file has the threshold key already. ``node`` is the committee's size for an observer, who
    has no place in it; ``log_key`` is the public key of its log then."""

    def __init__(
        self,
        committee: Committee,
        node: int,
        signer: Signer,
        secret: SecretShare | None,
        inputs: Sequence[ChainInput],
        entropy: bytes,
        secrets: Mapping[str, bytes] = MappingProxyType({}),
        log_key: bytes = b"",
    ) -> None:
        committee = self.committee = committee.own()
        self.node = node
        members = committee.genesis.members
        self.log_key = log_key or (members[node].log_key if node < committee.n else ZERO_HASH)
        self._inputs = tuple(inputs)
        self.log_opened = False
        engine, bonds_wei = genesis_engine(committee, self._inputs)
        self.bonds_wei = dict(bonds_wei)
        """By sponsor, with the inputs that final blocks have taken: what the door goes by."""
        self.pool = Pool(committee, self.bonds_wei)
        self.keybook = KeyBook(committee)
        self.succession = Succession(self, signer)
        self.lists = ListStore(committee)
        self.own_lists = OwnLists(committee, node, signer)
        self.chain = Chain(committee, self.pool, self.keybook, self.lists, bonds_wei, self._inputs)
        self.chain_view = self.chain.view
        self.application = NodeApplication(self)
        self.simplex = Simplex(committee, node, signer, self.application)
        self.reveal = Reveal(committee, node, signer, domains.ENTROPY(entropy))
        self.execution = Execution(engine, committee.f, parties := parties_of(committee))
        self.dark = DarkWords(self, parties)
        self.keybook.wanted = self.dark.wanted
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
        self.proofs = ProofDesk(self)
        self.now_ms = 0
        self.arrivals = 0
        """Grows with every list, body and block that a waiting block may need."""
        self.heads_seen = 0
        self._pending_final: tuple[bytes, Certificate] | None = None
        self._pending_since_ms = 0
        self.last_final_ms = self.last_batch_orders = 0
        """How many orders the last final block batched."""
        self.farewell: tuple[SettlementShare | CommitShare, ...] = ()
        """This member's signatures over ranges of the epoch before, for members that are still in it."""
        self.offered_ms = 0
        """When a joiner last offered its messages; 0 where it has a new one."""
        self.effects: list[Effect] = []
        self.keygen = KeySessions(self, signer, secrets, secret, entropy)
        self.dark_voice = dark_voice(self, signer, secrets, entropy)

    # --- the shell's side ---------------------------------------------------------------------------------------
    def start(self, now_ms: int) -> list[Effect]:
        """The first call, or the first after a recovery: opens the log and enters the view."""
        self.now_ms = self.last_final_ms = now_ms
        self.open_log()
        if self.committee.origin is not None and self.chain.final_id == self.committee.anchor_id:
            lifted = {} if self.committee.solid is not None else self.chain.final_state.lifted
            self.statements.relist(one for one in self.pool.ids() if one not in lifted)
        self.simplex.start(now_ms)
        return self.flush(now_ms)

    def open_log(self) -> None:
        """The entries that every audit log starts with, once."""
        if self.log_opened:
            return
        self.log_opened = True
        self.effects.append(Append(GenesisEntry(self.committee.genesis_id, self.log_key)))
        for first in range(0, len(self._inputs), INPUTS_PER_ENTRY):
            self.effects.append(Append(InputsEntry(first, self._inputs[first : first + INPUTS_PER_ENTRY])))

    def step(self, event: Event, now_ms: int) -> list[Effect]:
        """Take one event. Never raises for what a peer or client sent."""
        self.now_ms = now_ms
        match event:
            case FromPeer(node, message):
                try:
                    if node not in self.convictions.cut_off or not self.convictions.drops(node, message):
                        self.peers.handle(node, message, now_ms)
                except (ProtocolError, ThresholdError) as error:
                    self.blame(node, error)
            case FromClient(client, request):
                if isinstance(request, Submit):
                    self.gateway.submit(client, request)
                elif isinstance(request, ProofQuery):
                    self.proofs.ask(client, request)
                else:
                    self.effects.append(answer(self, client, request))
            case ClientGone(client):
                self.gateway.gone(client)
                self.proofs.gone(client)
            case PeerUp(node):
                if node < self.committee.n:
                    self.board.up(node)
                self.peers.welcome(node)
            case PeerAhead(node):
                self.catchup.ahead(node)
            case Approve(target):
                self._approve(target)
            case PeerDown(node):
                if node < self.committee.n:
                    self.board.down(node)
                    self.standing.lost(node)
            case ChainSeen():
                self._on_chain(event)
            case SettlementSeen(last_height, transaction, gas_used):
                self.ranges.settled(last_height)
                if self.board.settled(last_height, gas_used) and transaction != ZERO_HASH:
                    self.effects.append(Append(SettledEntry(last_height, transaction, gas_used)))
        return self.collect()

    def _on_chain(self, event: ChainSeen) -> None:
        """Take the own chain node's word; one that contradicts itself is told to the operator, and not taken."""
        try:
            records = self.chain_view.seen(event)
        except ProtocolError as error:
            self.effects.append(Fault(self.node, error.code, f"the own chain node: {error}"))
            return
        self.effects += [Persist(record) for record in records]
        self.arrivals += 1

    def _approve(self, target: NextCommittee) -> None:
        """Say that this member's operator wants ``target`` to follow, once."""
        try:
            check_next(self.committee, target)
            approval = self.succession.approval(target)
        except ProtocolError as error:
            self.effects.append(Fault(self.node, error.code, str(error)))
            return
        self.keygen.voice.say(self.succession.topic, approval)

    def blame(self, node: int, error: ProtocolError | ThresholdError) -> None:
        """Report a refused message; whoever signed what convicts it is named, not who passed it on."""
        offence = getattr(error, "offence", None)
        self.effects.append(Fault(node if offence is None else accused(offence), error.code, str(error)))
        if offence is not None:
            self.effects += self.convictions.take(offence)

    def has_work(self, now_ms: int | None = None) -> bool:
        """Whether this member has something to do: without ``now_ms`` chunks for :meth:`work`, with it reason to run
        the view's timer."""
        if now_ms is not None:
            return self.application.has_work(now_ms)
        return (
            self.reveal.has_work()
            or self.execution.has_work()
            or self.gateway.has_work()
            or self.peers.has_work()
            or self.catchup.has_work()
            or self.keygen.has_work()
            or (self.dark_voice is not None and self.dark_voice.has_work())
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
            finalized.on_executed(self, executed)
        self.gateway.work()
        self.peers.work(now_ms)
        self.catchup.work(now_ms)
        self.keygen.work()
        if self.dark_voice is not None:
            self.dark_voice.work()
        return self.collect()

    def flush(self, now_ms: int) -> list[Effect]:
        """After a round of events: lists, head, retries, timers, proposals, fetches."""
        self.now_ms = now_ms
        self._forget_orders(now_ms)
        self.peers.retry(now_ms)
        self.retry_final(now_ms)
        self.standing.flush()
        self.keygen.flush()
        if self.dark_voice is not None:
            self.dark_voice.flush(now_ms)
        self.statements.list_key_messages()
        if self.node >= self.committee.n and now_ms - self.offered_ms >= OFFER_MS:
            self.offered_ms = now_ms
            self.peers.offer_key_messages()
        stale = now_ms >= self.statements.stale_at_ms()
        self.statements.flush(now_ms, working=stale and self.has_work(now_ms))
        if self.chain.ended:
            return self._flush_ended(now_ms)
        before = -1
        while before != self.simplex.view:
            before = self.simplex.view
            self.statements.sign_head()
            self.simplex.tick(now_ms)
        self.statements.sign_head()
        self.application.note_needs()
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

    def _flush_ended(self, now_ms: int) -> list[Effect]:
        """The epoch is over: nothing is agreed on any more. What its heights still want is fetched and served."""
        for block_id, node in self.reveal.missing(now_ms):
            self.fetcher.want_bundle(block_id, node, now_ms)
        self.effects += self.fetcher.requests(now_ms)
        stuck = self.reveal.stuck(now_ms)
        if stuck is None and not self.ranges.all_signed and now_ms - self.last_final_ms >= PENDING_FINAL_MS:
            stuck = self.chain.final_height  # the signatures of the last range are in others' logs
        if stuck is not None:
            self.catchup.stuck(stuck)
        self.effects += self.catchup.requests(now_ms)
        return self.collect()

    @property
    def over(self) -> bool:
        """Whether the next epoch can begin here: this one's last block is final, all its batches are executed and its
        settlement ranges signed by a quorum."""
        done = self.chain.ended and not self.reveal.pending() and not self.execution.waiting()
        return done and not self.keygen.has_work() and self.ranges.all_signed

    def listed_through(self) -> int:
        """The number of this member's last list in final blocks."""
        if self.node >= self.committee.n:
            return 0
        return self.chain.final_state.last_lists[self.node][0]

    def _forget_orders(self, now_ms: int) -> None:
        executed_height, listed_through = self.execution.executed_height, self.listed_through()
        self.pool.retire(min(executed_height, self.chain.final_height - limits.BODIES_KEPT_HEIGHTS), listed_through)
        self.pool.expire(now_ms, executed_height, listed_through)

    @property
    def even(self) -> bool:
        """Whether this member has all that it knows to be final."""
        return self._pending_final is None and not self.catchup.behind

    def wake_at_ms(self) -> int:
        """When :meth:`flush` must be called again though nothing happens."""
        now_ms, deadline_ms = self.now_ms, self.simplex.deadline_ms
        at_ms = now_ms + limits.HEARTBEAT_MS
        if self.chain.ended:
            wanted = (self.fetcher.next_due_ms(), self.catchup.next_due_ms(), now_ms + limits.FETCH_RETRY_MS)
            return max(min(at_ms, *(one for one in wanted if one is not None)), now_ms + 1)
        clock_ms = None if self.dark_voice is None else self.dark_voice.runs.due_ms()
        fetches = (self.fetcher.next_due_ms(), self.catchup.next_due_ms())
        for due in (self.own_lists.due_ms(), deadline_ms, clock_ms, *fetches):
            if due is not None and due < at_ms:
                at_ms = due
        later = [self.last_final_ms + limits.HEARTBEAT_MS]
        if self.committee.leader(self.simplex.view) == self.node:
            later.append(self.simplex.propose_at_ms())
        if deadline_ms is not None:
            later.append(self.statements.stale_at_ms())
        for time_ms in later:  # what is past asks for nothing
            if now_ms < time_ms < at_ms:
                at_ms = time_ms
        if self.reveal.pending() or self._pending_final is not None:
            at_ms = min(at_ms, now_ms + limits.FETCH_RETRY_MS)
        return max(at_ms, now_ms + 1)

    def collect(self) -> list[Effect]:
        """The effects since the last call."""
        collected = self.effects
        for part in (self.reveal, self.execution, self.gateway, self.simplex):
            if part.effects:
                collected += part.effects
                part.effects = []
        for found in (self.lists.offences, self.simplex.offences, self.reveal.offences, self.ranges.offences):
            if found:
                for offence in found:
                    collected += self.convictions.take(offence)
                found.clear()
        self.effects = []
        return collected

    # --- finality -----------------------------------------------------------------------------------------------
    def retry_final(self, now_ms: int) -> None:
        """Finalize what a certificate is held for, once it is at hand."""
        if self._pending_final is None:
            return
        block_id, certificate = self._pending_final
        final = self.chain.finalize(block_id, certificate)
        if final is None:
            return
        self._pending_final = None
        for one in final:
            finalized.on_final(self, one, now_ms)
        self.reveal.forget_before(self.simplex.final_view - limits.VIEWS_AHEAD_MAX)

    def pend_final(self, certificate: Certificate) -> None:
        """A finalization whose block may not be at hand yet."""
        if self._pending_final is None:
            self._pending_since_ms = self.now_ms
        self._pending_final = (certificate.block_id, certificate)

    def due_height(self, now_ms: int) -> int:
        """What a head says of it: the last executed counting height, where triggered stops or due expiries wait."""
        return self.execution.executed_height if self.execution.engine.due(now_ms) else 0
