"""What a member does with another member's messages, and how it serves what others ask for.

Each handler checks that the message speaks for its sender before it looks further: lists, heads, votes, bundles and
settlement signatures are taken only from the member they name. (Lists and bodies that were asked for may come from
anyone: lists are signed and chained, bodies verified.) Fetched bodies are verified in small turns.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from mpc_sequencer.core import limits
from mpc_sequencer.core.agreement import Accepted, Rejected
from mpc_sequencer.core.effects import Broadcast, Fault, Send, ServeLog
from mpc_sequencer.core.envelopes import check_window
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.logslice import SliceBudget
from mpc_sequencer.core.messages import (
    BlockMessage,
    Bodies,
    BundleMessage,
    CertificateMessage,
    CommitShare,
    DarkShares,
    FetchBlock,
    FetchBodies,
    FetchBundle,
    FetchInputs,
    FetchLists,
    FetchLog,
    HeadMessage,
    InputsMessage,
    KeyBodies,
    ListMessage,
    LogSlice,
    PeerHello,
    PeerMessage,
    Proposal,
    SettlementShare,
    VoteMessage,
)
from mpc_sequencer.core.pool import PooledOrder
from mpc_sequencer.core.types import FINALIZE, ZERO_HASH, Block, Certificate, Envelope, KeyMessage, OrderList
from threshold import ThresholdError

if TYPE_CHECKING:
    from mpc_sequencer.core.node import NodeCore

BODIES_PER_TURN: Final = 8
BODIES_QUEUED_PER_MEMBER_MAX: Final = 1_024
BODIES_QUEUED_BYTES_PER_MEMBER_MAX: Final = 2 * limits.FETCH_BODIES_BYTES_MAX
ANOTHER_TIME_CODES: Final = frozenset(
    {"sponsor.signature", "signature.encoding", "label.not_yet_valid", "key.pending"}
)
"""Another variant may pass, or the same body later: it is still wanted."""
DOOR_CODES: Final = frozenset(
    {
        "label.expired",
        "label.not_yet_valid",
        "label.validity",
        "credit.exhausted",
        "intake.full",
        "intake.sponsor_full",
        "intake.bytes_full",
        "intake.sponsor_bytes_full",
        "intake.sequenced",
        "key.pending",
    }
)
"""What may differ from member to member: refusing such a body accuses nobody."""
FULL_CODES: Final = frozenset({"key.full"})
"""Refusals of asked-for key messages that are their author's doing: they are asked for again."""
UNCHECKED_BLOCKS_MAX: Final = 64
VISITORS_MESSAGES: Final = (FetchBodies, FetchLists, FetchBlock, FetchBundle, FetchLog, FetchInputs, KeyBodies)
"""What who is no member of the epoch may say: it asks, and a joiner offers what it owes to its key session."""
ACROSS_EPOCHS: Final = (FetchLog, LogSlice, SettlementShare, CommitShare)
"""What passes between members in different epochs."""


class PeerHandlers:
    """Handlers by message type, over the member's parts."""

    def __init__(self, core: NodeCore) -> None:
        self._core = core
        self._bodies: deque[tuple[int, Envelope, tuple[bytes, bytes]]] = deque()
        self._queued = [(0, 0)] * core.committee.n
        """By member: bodies that it has sent and that are not checked yet, and their bytes."""
        self._unchecked: dict[tuple[bytes, int], Block] = {}
        self._slices = SliceBudget()
        self._input_answers = SliceBudget()
        """A question has 32 bytes, its answer up to 300 kB."""

    def handle(self, node: int, message: PeerMessage, now_ms: int) -> None:
        """Dispatch. Raises ProtocolError or ThresholdError with nothing changed."""
        core = self._core
        if node >= core.committee.n and not isinstance(message, VISITORS_MESSAGES):
            raise ProtocolError("member.visitor", "PeerMessage", type(message).__name__, "a question, or key messages")
        match message:
            case ListMessage(order_list):
                self._on_list(node, order_list, now_ms)
            case HeadMessage(head):
                _require_sender(node, head.node, "Head.node")
                core.standing.heard(node, head.view)
                if core.lists.accept_head(head):
                    core.heads_seen += 1
                    gap = core.lists.gap(node, head.list_number)
                    if gap is not None:
                        core.fetcher.want_lists(node, *gap, node, now_ms)
            case Proposal():
                core.simplex.on_proposal(message, node, now_ms)
            case VoteMessage(vote):
                _require_sender(node, vote.node, "Vote.node")
                core.simplex.on_vote(vote, now_ms)
            case CertificateMessage(certificate):
                core.simplex.on_certificate(certificate, now_ms)
            case BundleMessage(bundle):
                _require_sender(node, bundle.node, "Bundle.node")
                known = core.simplex.held(bundle.certificate)
                core.reveal.on_bundle(bundle, known)
                core.fetcher.got_bundle(bundle.block_id, node)
            case SettlementShare(claim) if claim.epoch != core.committee.epoch:
                pass  # meant for who ends that epoch: this member is past it, or has not come to it
            case SettlementShare():
                _require_sender(node, message.node, "SettlementShare.node")
                core.ranges.on_share(message)
                core.publisher.settle()
            case CommitShare(commit) if commit.epoch != core.committee.epoch:
                pass
            case CommitShare():
                _require_sender(node, message.node, "CommitShare.node")
                core.ranges.on_commit(message)
                core.publisher.settle()
            case Bodies(envelopes):
                self._on_bodies(node, envelopes)
            case KeyBodies(messages):
                self._on_key_messages(node, messages)
            case BlockMessage(block, finalization):
                self._on_block(node, block, finalization)
            case FetchBodies(ids):
                self._serve_bodies(node, ids)
            case FetchLists():
                self._serve_lists(node, message)
            case FetchBlock(block_id):
                entry = core.chain.entry(block_id)
                if entry is not None:
                    finalization = core.chain.finalizations.get(block_id)
                    core.effects.append(Send(node, BlockMessage(entry.block, finalization)))
            case FetchBundle(block_id):
                bundle_held = core.reveal.own_bundle(block_id)
                if bundle_held is not None:
                    core.effects.append(Send(node, BundleMessage(bundle_held)))
            case FetchInputs(inputs_hash):
                found = core.chain_view.leading_to(inputs_hash)
                if found is not None and self._input_answers.take(node, now_ms):
                    core.effects.append(Send(node, InputsMessage(inputs_hash, *found)))
            case InputsMessage(inputs_hash, after_hash, inputs):
                count = core.fetcher.wanted_count(inputs_hash)
                if count is not None:
                    core.chain_view.add(inputs, count - len(inputs), after_hash, inputs_hash)
                    core.fetcher.got_inputs(inputs_hash)
                    core.arrivals += 1
            case DarkShares():
                if core.dark_voice is None:
                    raise ProtocolError("dark.none", "PeerMessage", "DarkShares", "a deployment with a dark market")
                core.dark_voice.runs.heard(node, message)
            case FetchLog():
                if self._slices.take(node, now_ms):
                    core.effects.append(ServeLog(node, message))
            case LogSlice():
                core.catchup.on_slice(node, message)
            case PeerHello():
                pass  # the link's first frame is the transport's; a later one says nothing

    def welcome(self, node: int) -> None:
        """A link is up: send again what the peer may have missed. One that is no member of the epoch is a joiner, who
        follows, or in an epoch before, whose last range may want for signatures."""
        core = self._core
        if node >= core.committee.n + len(core.committee.joiners):
            core.effects += [Send(node, share) for share in core.farewell]  # who has left signed that range as well
            return
        if core.node >= core.committee.n:
            self.offer_key_messages(node)
            return
        last_number, _ = core.chain.final_state.last_lists[core.node]
        held_through, _ = core.lists.held_through(core.node)
        first = max(last_number, held_through - limits.LISTS_PER_MEMBER_MAX)
        for order_list, _ in core.lists.between(core.node, first, held_through) or ():
            core.effects.append(Send(node, ListMessage(order_list)))
        core.simplex.resend(node)
        core.effects += [Send(node, share) for share in core.ranges.own_shares()]
        if core.dark_voice is not None:
            core.dark_voice.runs.welcome(node)
        known = node < core.committee.n
        theirs = core.lists.by_hash(node, *core.lists.held_through(node)) if known else None
        if theirs is not None:  # a peer whose disk is an old copy learns it from its own word
            core.effects.append(Send(node, ListMessage(theirs)))
        heads = core.lists.heads(core.node)
        if heads:  # last: a peer that lost its journal takes it as the end of what was resent
            core.effects.append(Send(node, HeadMessage(heads[0][0])))

    def offer_key_messages(self, node: int | None = None) -> None:
        """An observer's own messages that no final block includes, to a member or to all."""
        core = self._core
        number = core.succession.own_number()
        own = [one.message for one in core.keybook.kept() if one.message.node == number and not one.included_height]
        if own:
            message = KeyBodies(tuple(own))
            core.effects.append(Broadcast(message) if node is None else Send(node, message))

    # --- lists and bodies ---------------------------------------------------------------------------------------
    def _on_list(self, node: int, order_list: OrderList, now_ms: int) -> None:
        core = self._core
        author = order_list.node
        if author == core.node:
            core.standing.seen_list(order_list)
        if author == core.node and not core.lists.wants(order_list):
            return  # its own lists a member learns from others only where it has lost them
        held_before = core.lists.taken
        try:
            adopted_lists = core.lists.add(order_list)
        except ProtocolError as error:
            if error.code != "list.chain" or author == node:
                raise
            core.committee.check_value(order_list)  # a forged list is its bringer's fault
            core.effects.append(Fault(author, error.code, str(error)))
            return  # the author signed two chains; who passes one of them on is not to blame
        core.arrivals += core.lists.taken - held_before
        core.fetcher.got_list(author, order_list.struct_hash())
        for adopted in adopted_lists:
            core.fetcher.got_lists(author, adopted.number)
            lifted = core.chain.final_state.lifted
            for order_id in adopted.entries:
                held = core.pool.knows(order_id) or order_id in core.keybook or order_id in core.gateway
                if not held and order_id not in lifted:
                    core.fetcher.want_body(order_id, author, now_ms + limits.FETCH_DELAY_MS)
        held_through, _ = core.lists.held_through(author)
        if order_list.number > held_through and core.lists.follows(order_list):
            gap = core.lists.gap(author, order_list.number - 1)
            if gap is not None:
                core.fetcher.want_lists(author, *gap, node, now_ms)

    def _on_bodies(self, node: int, envelopes: tuple[Envelope, ...]) -> None:
        core = self._core
        for envelope in envelopes:
            order_id = envelope.order_id()
            keys = (order_id, envelope.envelope_hash(order_id))
            count, size = self._queued[node]
            room = count < BODIES_QUEUED_PER_MEMBER_MAX and size < BODIES_QUEUED_BYTES_PER_MEMBER_MAX
            if core.fetcher.wants_body(*keys) and room:
                self._queued[node] = (count + 1, size + len(envelope.ciphertext))
                self._bodies.append((node, envelope, keys))

    def _on_key_messages(self, node: int, messages: tuple[KeyMessage, ...]) -> None:
        """Check and hold messages of key sessions that were asked for, or that a joiner, who signs no lists, offers of
        its own; this member lists them with its next flush. Who joins may be known to the sender already and not here:
        that is nobody's fault, and the message comes again."""
        core = self._core
        for message in messages:
            if message.node >= core.committee.n + len(core.committee.joiners):
                continue
            message_id = message.message_id()
            offered = node >= core.committee.n and message.node == node and message.session in core.keygen.live
            if core.fetcher.wants_body(message_id) or (offered and message_id not in core.keybook):
                needed, live = core.fetcher.needs_body(message_id), core.keygen.live
                try:
                    core.keybook.add(message, message_id=message_id, needed=needed, running=live)
                except ProtocolError as error:
                    if error.code not in FULL_CODES:
                        raise
                    continue  # its author says too much, not who was asked for it
                core.fetcher.got_body(message_id)
                core.arrivals += 1

    def has_work(self) -> bool:
        return bool(self._bodies)

    def work(self, now_ms: int) -> None:
        """Verify some fetched bodies; list those this member may still list."""
        for _ in range(min(BODIES_PER_TURN, len(self._bodies))):
            node, envelope, keys = self._bodies.popleft()
            count, size = self._queued[node]
            self._queued[node] = (count - 1, size - len(envelope.ciphertext))
            fetcher = self._core.fetcher
            if not fetcher.wants_body(*keys):
                continue
            try:
                needed = fetcher.needs_body(*keys)
                pooled = self._core.pool.fetched(envelope, now_ms, order_id=keys[0], needed=needed)
            except (ProtocolError, ThresholdError) as error:
                if error.code not in ANOTHER_TIME_CODES:
                    fetcher.got_body(*keys)  # no other body has this id: nobody can serve a better one
                if error.code not in DOOR_CODES:
                    self._core.effects.append(Fault(node, error.code, str(error)))
                continue
            fetcher.got_body(*keys)
            self._core.arrivals += 1
            self._list(pooled, now_ms)

    def _list(self, pooled: PooledOrder, now_ms: int) -> None:
        core = self._core
        if pooled.list_number or pooled.sequenced_height or not core.standing.may_list():
            return
        if core.lists.unfinal(core.node) >= limits.LISTS_PER_MEMBER_MAX:
            return
        try:
            check_window(pooled.order.checked.label, now_ms)
        except ProtocolError:
            return  # agreement may need the body, but this member's word is not given for it
        core.statements.list_fetched(pooled)

    # --- blocks -------------------------------------------------------------------------------------------------
    def _on_block(self, node: int, block: Block, finalization: Certificate | None) -> None:
        block_id = block.header.block_id()
        if not self._core.fetcher.wants_block(block_id):
            return
        if finalization is not None:
            if finalization.kind != FINALIZE or finalization.block_id != block_id:
                raise ProtocolError("vote.kind", "BlockMessage.finalization", finalization.kind, "of this block")
            self._core.committee.check_certificate(finalization)
        self._core.catchup.seen(node, block.header.height)
        # An id covers heads and batch only through roots that are checked later: until then others are asked as well.
        mine = sum(1 for _, source in self._unchecked if source == node)
        if mine < UNCHECKED_BLOCKS_MAX:
            self._unchecked[block_id, node] = block
            if finalization is not None:
                self._core.chain.finalizations[block_id] = finalization

    def hold_block(self, block: Block, source: int) -> None:
        """A proposal whose view is over, or a block out of this member's own journal: checked once its parent, lists
        and bodies are here. ``source`` is whom to ask for them."""
        block_id, ahead = block.header.block_id(), block.header.height - self._core.chain.final_height
        held = sum(1 for _, node in self._unchecked if node == source)
        if self._core.chain.entry(block_id) is None and held < UNCHECKED_BLOCKS_MAX and ahead <= limits.VIEWS_AHEAD_MAX:
            self._unchecked[block_id, source] = block

    def retry(self, now_ms: int) -> None:
        """Check fetched blocks again: their parents, lists or bodies may be here by now."""
        if not self._unchecked:
            return
        ordered = sorted(self._unchecked.items(), key=lambda item: item[1].header.height)
        for (block_id, node), block in ordered:
            if block.header.height <= self._core.chain.final_height:
                self._core.fetcher.got_block(block_id)
                del self._unchecked[block_id, node]
                continue
            verdict = self._core.application.process_proposal(block, node, now_ms, voting=False)
            if isinstance(verdict, Accepted | Rejected):
                del self._unchecked[block_id, node]

    # --- serving ------------------------------------------------------------------------------------------------
    def _serve_bodies(self, node: int, ids: tuple[bytes, ...]) -> None:
        found: list[Envelope] = []
        messages: list[KeyMessage] = []
        size = 0
        for key in ids:
            envelope = self._core.pool.find(key)
            if envelope is None:
                held = self._core.keybook.get(key)
                if held is not None and size < limits.FETCH_BODIES_BYTES_MAX:
                    messages.append(held.message)
                    size += len(held.message.payload)
                continue
            found.append(envelope)
            size += len(envelope.ciphertext) + len(envelope.label)
            if size >= limits.FETCH_BODIES_BYTES_MAX:
                break
        if found:
            self._core.effects.append(Send(node, Bodies(tuple(found))))
        if messages:
            self._core.effects.append(Send(node, KeyBodies(tuple(messages))))

    def _serve_lists(self, node: int, asked: FetchLists) -> None:
        author, first, last, cursor = asked.author, asked.first, asked.last, asked.last_hash
        self._core.committee.check_member(author, "FetchLists.author")
        if cursor == ZERO_HASH:
            last = min(last, first + limits.LISTS_PER_MEMBER_MAX)
            for number in range(first, last + 1):
                held = self._core.lists.between(author, number - 1, number)
                if held:
                    self._core.effects.append(Send(node, ListMessage(held[0][0])))
            return
        first = max(first, last - limits.LISTS_PER_MEMBER_MAX)
        for number in range(last, first - 1, -1):  # downwards: each one says which hash comes next
            one = self._core.lists.by_hash(author, number, cursor)
            if one is None:
                return
            self._core.effects.append(Send(node, ListMessage(one)))
            cursor = one.prev_hash


def _require_sender(sender: int, named: int, field: str) -> None:
    if sender != named:
        raise ProtocolError("member.sender", field, named, sender)
