"""Rules of blocks: every part of a final block is the function of its heads, its lists and its ancestors.

The derivation is :mod:`mpc_sequencer.audit.ordering`; this module compares it with what the log says, part
by part, and then goes on with what the log says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise, zip_longest

from mpc_sequencer.audit import ordering
from mpc_sequencer.audit.chaininputs import BOND, DEPOSIT, ChainInputs, Forced
from mpc_sequencer.audit.envelopes import Envelopes
from mpc_sequencer.audit.epochs import Epoch, Epochs
from mpc_sequencer.audit.inputs import Inputs
from mpc_sequencer.audit.keys import Keys
from mpc_sequencer.audit.lists import Lists
from mpc_sequencer.audit.precedence import Places, fair_order
from mpc_sequencer.audit.report import Recorder
from mpc_sequencer.audit.signatures import BlockRef, block_ref
from mpc_sequencer.core import domains, limits
from mpc_sequencer.core.codec import encode
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.transcript import ChainInput, FinalityEntry
from mpc_sequencer.core.types import Block, BlockHeader, Head, OrderList


class Blocks:
    """The chain of final blocks so far, from the genesis block on."""

    def __init__(
        self,
        epochs: Epochs,
        recorder: Recorder,
        *,
        lists: Lists,
        envelopes: Envelopes,
        keys: Keys,
        state: ordering.Ordering,
        chain: ChainInputs,
        inputs: Inputs,
    ) -> None:
        self._epochs = epochs
        self._recorder = recorder
        self._lists = lists
        self._envelopes = envelopes
        self._keys = keys
        self._state = state
        self.chain = chain
        self._inputs = inputs
        self.counts = False
        """Whether the last block's height counts."""
        self._taken: dict[int, list[ChainInput]] = {}
        """The inputs that blocks take, by height, until it is executed."""
        committee = epochs.current.committee
        self._included = [0] * committee.n
        self._final_ids: dict[int, bytes] = {}
        self.last = BlockRef(0, 0, committee.genesis_id, committee.genesis.time_ms)
        self._view = 0
        """Of the last block in its epoch; 0 before an epoch's first."""
        self.ended = False
        """The last block is its epoch's last, and the next epoch has not begun."""
        self.last_time_ms = committee.genesis.time_ms
        self.refs: list[BlockRef] = [self.last]
        self.finalized_height = 0
        self._places: dict[int, Mapping[bytes, Places]] = {}
        self._dark_words: dict[int, list[tuple[int, bytes]]] = {}
        """What the blocks of counting heights lift of dark markets, until it is executed."""

    @property
    def _committee(self) -> Committee:
        return self._epochs.current.committee

    @property
    def certified_height(self) -> int:
        """The highest height whose result the log's blocks certify."""
        return self._state.certified_height

    def included_lists(self, node: int) -> int:
        """The number of the member's last list that a block includes."""
        return self._included[node]

    def take_precedence(self, height: int) -> Callable[[Sequence[bytes]], list[bytes]]:
        """How receive order turns orders of the height's batch, given in the order of their draws, into the order of
        their receipt. To be called once a height, where a market orders by receipt."""
        places = self._places.pop(height, {})
        f = self._epochs.at(height).committee.f
        return lambda order_ids: fair_order(order_ids, places, f)

    def take_dark_words(self, height: int) -> list[tuple[int, bytes]]:
        """What the block of a counting height lifts of dark markets: (member, payload), in their order. To be called
        once a height."""
        return self._dark_words.pop(height, [])

    def credit(self, height: int) -> None:
        """Credit the deposits that the height's block takes; before it is executed."""
        for one in self._taken.pop(height, ()):
            self._inputs.credit(one)

    def begin_epoch(self) -> None:
        """The current epoch has begun on the last block. What was said to be final after that block counts for
        nothing: blocks that leaders proposed until it was final."""
        committee = self._committee
        self._included = [0] * committee.n
        self._final_ids = {}
        self._view = 0
        self.ended = False
        self._state.begin_epoch(committee.f, committee.q, committee.solid)

    # --- finality ----------
    def finality(self, entry: FinalityEntry) -> None:
        """Judge what finalizes the last block."""
        if entry.block_id != self.last.block_id or self.finalized_height == self.last.height:
            self._recorder.halt(
                "log.order", f"a finality entry for {entry.block_id.hex()}, expected the last block's"
            )
        self._recorder.done("finality_certificates")
        epoch = self._epochs.at(self.last.height)
        problem = epoch.signatures.check_finality(self.last, entry.certificate, entry.path)
        if problem is not None:
            self._recorder.fail(f"finality.{problem[0]}", problem[1], height=self.last.height)
        elif not self.remember_final(entry.path, epoch):
            self._recorder.fail("finality.fork", "its path leads over another block", height=self.last.height)
        self.finalized_height = self.last.height

    def remember_final(self, path: Sequence[BlockHeader], epoch: Epoch) -> bool:
        """Note that the headers of a verified path of an epoch are final, up to its last block; False where the log has
        another block there."""
        agrees = True
        for header in path:
            if epoch.last_height is not None and header.height > epoch.last_height:
                break
            known = self.refs[header.height].block_id if header.height < len(self.refs) else None
            final_id = self._final_ids.setdefault(header.height, header.block_id())
            agrees = agrees and header.block_id() == final_id and known in (None, final_id)
        return agrees

    # --- the block ----------
    def add(self, block: Block) -> None:
        """Judge the next block with the lists, envelopes and key messages logged since the last one."""
        header = block.header
        height = header.height
        ends = self._state.ends()
        if self.finalized_height != self.last.height:
            self._recorder.fail(
                "finality.missing", "no finality entry before the next block", height=self.last.height
            )
        self._check_chain(header)
        lists = self._lists.take_pending()
        self._check_heads(block)
        self._check_lists(block, lists)
        self._check_certified(block)
        wakes, stands = self._state.wakes(block.heads), self._state.stands()
        taken = self._check_chain_inputs(block, stands)
        root = self._check_derived(block, lists, taken)
        lifted = self._list_orders(block, lists, root)
        due = self.chain.due(stands)
        self._check_batch(block, due)
        _, done = self._state.forced_batch(header.time_ms, due)
        lifted |= {entry.order_id for entry in block.batch} - set(self._state.queue)
        self.chain.let_go(done)
        named = {entry.envelope_hash for entry in block.batch}
        self._envelopes.close_block(lifted, named, height)
        messages = ordering.key_message_order(root, self._keys.among(lifted))
        words, dark_words = self._keys.words(messages), self._keys.dark_words(messages)
        self._keys.close_block(height, header.time_ms, messages)
        for head in block.heads:
            if self._starts(head):
                self._lists.begin(head.node, head.incarnation)
            self._included[head.node] = head.list_number
        places = self._state.take([entry.order_id for entry in block.batch], self._envelopes.labels)
        if places:
            self._places[height] = places
        self.counts = bool(block.batch or taken or done or wakes or self._state.speaks(dark_words))
        if self.counts:
            self._state.count(height)
            self._dark_words[height] = dark_words
        self._taken[height] = [one for one in taken if one.kind == DEPOSIT]
        for one in taken:
            if one.kind == BOND:
                self._inputs.raise_bond(one)
        self._state.hand_over(words)
        self.ended = ends
        self.last = block_ref(header)
        self._view = header.view
        self.last_time_ms = header.time_ms
        self.refs.append(self.last)
        self._final_ids.pop(height, None)
        self._recorder.done("blocks")

    def _check_chain(self, header: BlockHeader) -> None:
        if self._epochs.is_beyond(header.epoch, header.height):
            detail = f"a block of epoch {header.epoch}, view {header.view}; the epoch is {self._committee.epoch}"
            self._recorder.halt("block.beyond", detail, height=header.height)
        expected = (self.last.height + 1, self.last.block_id, self._committee.epoch)
        if (header.height, header.parent_id, header.epoch) != expected or header.view <= self._view:
            self._recorder.halt(
                "block.chain",
                f"height {header.height}, epoch {header.epoch}, view {header.view}, parent {header.parent_id.hex()}; "
                f"expected height {expected[0]}, epoch {expected[2]}, a view above {self._view}, "
                f"parent {expected[1].hex()}",
                height=header.height,
            )
        final_id = self._final_ids.get(header.height)
        if final_id not in (None, header.block_id()):
            self._recorder.fail(
                "finality.fork", "an earlier path finalizes another block", height=header.height
            )

    def _check_heads(self, block: Block) -> None:
        height, view = block.header.height, block.header.view
        nodes = [head.node for head in block.heads]
        if any(node >= self._committee.n for node in nodes):
            self._recorder.halt("head.member", f"members {nodes}", height=height)
        if any(a >= b for a, b in pairwise(nodes)):
            self._recorder.halt("head.order", f"members {nodes}", height=height)
        if len(nodes) < self._committee.q:
            self._recorder.fail(
                "head.count", f"{len(nodes)} heads, at least {self._committee.q}", height=height
            )
            if not nodes:
                self._recorder.halt("head.count", "no block time follows from no heads", height=height)
        for head in block.heads:
            self._check_head(head, height, view)

    def _check_head(self, head: Head, height: int, view: int) -> None:
        where = f"member {head.node}'s head of view {head.view}"
        starts = self._starts(head)
        lived = self._lists.incarnation(head.node)
        known = head.incarnation == lived or (starts and head.incarnation <= limits.INCARNATIONS_MAX)
        if head.epoch != self._committee.epoch or not known:
            self._recorder.fail(
                "head.member", f"{where}, epoch {head.epoch}/{head.incarnation}", height=height
            )
        if head.view not in (view - 1, view):
            self._recorder.fail("head.view", f"{where} in a block of view {view}", height=height)
        self._recorder.done("head_signatures")
        if not self._epochs.current.signatures.is_members(head.node, head.struct_hash(), head.signature):
            self._recorder.fail("head.signature", where, height=height)

    def _starts(self, head: Head) -> bool:
        """Whether a head starts its member's next incarnation: it has no list yet."""
        return head.incarnation == self._lists.incarnation(head.node) + 1 and not head.list_number

    def _check_lists(self, block: Block, lists: Sequence[OrderList]) -> None:
        height = block.header.height
        expected: list[tuple[int, int]] = []
        for head in block.heads:
            first = 1 if self._starts(head) else self._included[head.node] + 1
            if head.list_number < first - 1:
                self._recorder.halt(
                    "head.stale",
                    f"member {head.node} at list {head.list_number} after {first - 1}",
                    height=height,
                )
            if head.list_number - first >= limits.LISTS_PER_BLOCK_MAX:
                self._recorder.halt(
                    "block.lists_count", f"member {head.node} up to {head.list_number}", height=height
                )
            expected += [(head.node, number) for number in range(first, head.list_number + 1)]
        seen = [(order_list.node, order_list.number) for order_list in lists]
        self._recorder.done("included_lists", len(expected))
        if seen != expected:
            odd = sorted(set(seen).symmetric_difference(expected))[:3]
            self._recorder.halt("block.lists", f"(member, number) on one side only: {odd}", height=height)
        if len(expected) > limits.LISTS_PER_BLOCK_MAX:
            self._recorder.fail("block.lists_count", f"{len(expected)} lists", height=height)
        for head in block.heads:
            if head.list_hash != self._lists.hash_of(head.node, 0 if self._starts(head) else head.list_number):
                self._recorder.fail(
                    "head.list_hash", f"member {head.node}, list {head.list_number}", height=height
                )

    def _check_chain_inputs(self, block: Block, stands: bool) -> list[ChainInput]:
        """The checkpoint, and the inputs that follow from it."""
        header = block.header
        expected = self.chain.checkpoint if stands else self.chain.agreed(block.heads, self._committee.f)
        self._recorder.done("checkpoints")
        if header.checkpoint != expected:
            detail = f"chain block {header.checkpoint.number}, f+1 heads name {expected.number}"
            self._recorder.fail("block.checkpoint", detail, height=header.height)
        return self.chain.advance(expected, header.height, stands)

    def _check_certified(self, block: Block) -> None:
        """The results that the block certifies."""
        height = block.header.height
        certified = self._state.report(block.heads)
        if block.certified != certified:
            seen, wanted = ([ref.height for ref in refs] for refs in (block.certified, certified))
            self._recorder.fail(
                "block.certified", f"heights {seen}, q members reported {wanted}", height=height
            )
        if block.header.certified_root != domains.CERTIFIED(encode(block.certified)):
            self._recorder.fail("block.certified_root", block.header.certified_root.hex(), height=height)
        self._state.certify(block.certified)
        self._recorder.done("certified_results", len(certified))

    def _check_derived(self, block: Block, lists: Sequence[OrderList], taken: Sequence[ChainInput]) -> bytes:
        """Time and inputs root; the inputs root the rules give."""
        header = block.header
        height = header.height
        time_ms = ordering.block_time_ms(self.last_time_ms, block.heads)
        if header.time_ms != time_ms:
            self._recorder.fail("block.time", f"{header.time_ms} ms, expected {time_ms} ms", height=height)
        queue = (self.chain.taken_count, self.chain.taken_hash) if taken else None
        root = ordering.inputs_root(block.heads, lists, queue)
        if header.inputs_root != root:
            self._recorder.fail(
                "block.inputs_root", f"{header.inputs_root.hex()}, expected {root.hex()}", height=height
            )
        self._recorder.done("block_times")
        return root

    def _list_orders(self, block: Block, lists: Sequence[OrderList], root: bytes) -> set[bytes]:
        header = block.header
        labels = self._envelopes.labels
        try:
            lifted = self._state.list_orders(
                header.height, header.time_ms, root, lists, labels, self._keys.pending
            )
        except ordering.MissingBody as error:
            self._recorder.halt("block.body", f"id {error.args[0].hex()}", height=header.height)
        self._state.expire(header.height, header.time_ms, labels)
        self._recorder.done("listings", sum(len(order_list.entries) for order_list in lists))
        return set(lifted)

    # --- the batch ----------
    def _check_batch(self, block: Block, due: Sequence[Forced]) -> None:
        header = block.header
        height = header.height
        seen = [entry.order_id for entry in block.batch]
        unknown = [order_id for order_id in seen if order_id not in self._envelopes.labels]
        if unknown:
            self._recorder.halt("block.unlisted", f"order {unknown[0].hex()} has no envelope", height=height)
        expected = self._state.batch(header.time_ms, self._envelopes.labels, due)
        self._recorder.done("batch_orders", len(seen))
        problem = self._batch_problem(seen, expected, header.time_ms, due)
        if problem is not None:
            self._recorder.fail(f"block.{problem[0]}", problem[1], height=height)
        if header.batch_root != ordering.batch_root(block.batch):
            self._recorder.fail("block.batch_root", header.batch_root.hex(), height=height)
        for entry in block.batch:
            if entry.envelope_hash not in self._envelopes.orders[entry.order_id].variants:
                self._recorder.fail("block.variant", f"order {entry.order_id.hex()}", height=height)

    def _batch_problem(
        self, seen: list[bytes], expected: list[bytes], time_ms: int, due: Sequence[Forced]
    ) -> tuple[str, str] | None:
        """What is wrong with a batch: (part of a finding's code, detail), or None."""
        if seen == expected:
            return None
        forced, _ = self._state.forced_batch(time_ms, due)
        if expected[: len(forced)] == forced != seen[: len(forced)]:
            first = next(order_id for order_id, other in zip_longest(forced, seen) if order_id != other)
            return "forced", f"forced order {first.hex()} is not where it is due"
        extra = [order_id for order_id in seen if order_id not in set(expected)]
        if extra:
            return self._extra_problem(extra[0], time_ms, due), f"order {extra[0].hex()}"
        if len(set(seen)) != len(seen):
            return "repeated", f"{len(seen)} rows, {len(set(seen))} orders"
        if len(seen) < len(expected):
            left_out = next(order_id for order_id in expected if order_id not in set(seen))
            return "skipped", f"order {left_out.hex()}"
        return "batch_order", f"first {seen[0].hex()}, expected {expected[0].hex()}"

    def _extra_problem(self, order_id: bytes, time_ms: int, due: Sequence[Forced]) -> str:
        if order_id not in self._state.queue:
            return "unlisted"
        if self._state.handover is not None:
            return "handover"
        if self._state.lags():
            return "lag"
        label = self._envelopes.labels[order_id]
        if label.valid_from_ms > time_ms:
            return "not_yet_valid"
        held_back = self._state.held_back(order_id, time_ms, self._envelopes.labels)
        if held_back is not None:
            return held_back
        batch = self._state.batch(time_ms, self._envelopes.labels, due)
        if len(batch) == limits.BATCH_ORDERS_MAX:
            return "overfull"
        large_bytes = sum(ordering.weight(self._envelopes.labels[one]) for one in batch)
        if large_bytes + ordering.weight(label) > limits.BATCH_LARGE_BYTES_MAX:
            return "overweight"
        return "credit"
