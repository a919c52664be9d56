"""The tree of blocks this member accepted, and the branch of it that is final.

Finality walks from a certified block back to the last final one. What makes a block valid is
:class:`mpc_sequencer.core.blocks.BlockRule`'s to say.

Memory: blocks off the final branch go when their height is final; final ones after BLOCKS_KEPT_HEIGHTS.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from mpc_sequencer.core import limits
from mpc_sequencer.core.agreement.engine import Accepted, Rejected, Verdict, Waiting
from mpc_sequencer.core.blocks import BlockRule, Needs
from mpc_sequencer.core.chainview import ChainView
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.forced import forced_terms
from mpc_sequencer.core.keybook import KeyBook
from mpc_sequencer.core.lists import ListStore
from mpc_sequencer.core.ordering import (
    Derived,
    OrderingState,
    Positions,
    genesis_state,
)
from mpc_sequencer.core.ordering.chainstate import chain_at
from mpc_sequencer.core.pool import Pool
from mpc_sequencer.core.transcript import ChainInput
from mpc_sequencer.core.types import (
    Block,
    BlockHeader,
    Certificate,
    OrderList,
)

LiftedWord = tuple[int, bytes]
"""A member and its word, encoded (:mod:`mpc_sequencer.dark.messages`)."""


@dataclass(frozen=True, slots=True)
class ChainEntry:
    """An accepted block with what it was derived from and the state after it."""

    block_id: bytes
    block: Block
    state: OrderingState
    lists: tuple[OrderList, ...]
    lifted: tuple[bytes, ...]
    key_messages: tuple[bytes, ...]
    """Those of the lifted ids that are messages of key sessions, in the order in which they count."""
    positions: Mapping[bytes, Positions]
    """Where members listed the batch's orders; empty where no market orders by receipt."""
    taken: tuple[ChainInput, ...] = ()
    """The chain inputs that the block takes."""
    told: tuple[ChainInput, ...] = ()
    """The chain inputs that its checkpoint is the first to cover."""
    words: tuple[LiftedWord, ...] = ()
    """What members say of dark markets in the key messages that the block lifts, in the order in which they count."""


@dataclass(frozen=True, slots=True)
class Finality:
    """A final block and what shows that it is: ``certificate`` over the last header of ``path``, or over the block."""

    block_id: bytes
    block: Block
    certificate: Certificate
    path: tuple[BlockHeader, ...]
    positions: Mapping[bytes, Positions]
    """Where members listed the batch's orders, where a market orders by receipt."""
    taken: tuple[ChainInput, ...] = ()
    """The chain inputs that the block takes."""
    words: tuple[LiftedWord, ...] = ()
    """What members say of dark markets, where the block counts; execution takes it up with the height."""

    @property
    def height(self) -> int:
        return self.block.header.height


@dataclass(frozen=True, slots=True)
class FinalBlock:
    """A block that became final here, with what it was derived from."""

    entry: ChainEntry
    finality: Finality


class Chain:
    """Blocks by id, their ordering states, and the final branch."""

    def __init__(
        self,
        committee: Committee,
        pool: Pool,
        keybook: KeyBook,
        lists: ListStore,
        bonds_wei: Mapping[bytes, int],
        inputs: Sequence[ChainInput] = (),
    ) -> None:
        """``bonds_wei`` and ``inputs`` are those up to the genesis checkpoint."""
        genesis = committee.genesis
        self.view = ChainView(genesis.checkpoint, genesis.l1_step_blocks, forced_terms(committee))
        self._committee = committee
        self._pool = pool
        self._keybook = keybook
        self._lists = lists
        self._rule = BlockRule(committee, pool, keybook, lists, bonds_wei, self.view)
        self._entries: dict[bytes, ChainEntry] = {}
        self._final_ids: dict[int, bytes] = {}
        self.finalizations: dict[bytes, Certificate] = {}
        """Certificates of blocks that are final by their own, for members that come late."""
        self._states = {
            committee.anchor_id: genesis_state(
                committee.anchor_id, genesis.time_ms, committee.n, chain_at(genesis.checkpoint, inputs)
            )
        }
        self.final_id = committee.anchor_id
        self.final_height = 0

    # --- reading ------------------------------------------------------------------------------------------------
    def entry(self, block_id: bytes) -> ChainEntry | None:
        return self._entries.get(block_id)

    def state(self, block_id: bytes) -> OrderingState | None:
        return self._states.get(block_id)

    @property
    def final_state(self) -> OrderingState:
        return self._states[self.final_id]

    @property
    def ended(self) -> bool:
        """Whether the final block is the epoch's last."""
        return self.final_state.ended

    def final_entry(self, height: int) -> ChainEntry | None:
        block_id = self._final_ids.get(height)
        return self._entries.get(block_id) if block_id else None

    def above_final(self) -> list[Block]:
        """Kept blocks that are not final, by height."""
        entries = [entry for entry in self._entries.values() if entry.state.height > self.final_height]
        return [entry.block for entry in sorted(entries, key=lambda entry: entry.state.height)]

    @property
    def needs(self) -> Needs:
        """What was found missing since :meth:`take_needs`."""
        return self._rule.needs

    def take_needs(self) -> Needs:
        """What is missing since the last call."""
        needs, self._rule.needs = self._rule.needs, Needs()
        return needs

    # --- building and checking ----------------------------------------------------------------------------------
    def build(self, parent_id: bytes, view: int, since_ms: int = 0) -> tuple[Block, Derived] | None:
        """The block of ``view`` on ``parent_id``; see :meth:`BlockRule.build`."""
        parent = self._states.get(parent_id)
        return self._rule.build(parent, view, since_ms) if parent is not None else None

    def check(self, block: Block, now_ms: int | None) -> Verdict:
        """Accept (and keep) a block that is the function of its inputs. ``now_ms`` applies the clock rule."""
        block_id = block.header.block_id()
        if block_id in self._entries:
            verdict: Verdict = Accepted()
        else:
            try:
                verdict = self._check_new(block, block_id)
            except ProtocolError as error:
                return Rejected(error)
        if isinstance(verdict, Accepted) and now_ms is not None:
            skew = abs(block.header.time_ms - now_ms)
            if skew > limits.BLOCK_TIME_SKEW_MS_MAX:
                expected = f"within {limits.BLOCK_TIME_SKEW_MS_MAX} ms of {now_ms}"
                return Rejected(
                    ProtocolError("block.time", "BlockHeader.time_ms", block.header.time_ms, expected)
                )
            if (contradiction := self._contradiction(block)) is not None:
                return Rejected(contradiction)
        return verdict

    def _contradiction(self, block: Block) -> ProtocolError | None:
        """Why this member gives a block no vote that takes up a checkpoint which its own chain does not have."""
        parent, checkpoint = self._states.get(block.header.parent_id), block.header.checkpoint
        if parent is not None and parent.chain.checkpoint == checkpoint:
            return None
        own = self.view.contradiction(checkpoint)
        if own is None:
            return None
        return ProtocolError("block.checkpoint", "BlockHeader.checkpoint", checkpoint.block_hash, own)

    def _check_new(self, block: Block, block_id: bytes) -> Verdict:
        parent = self._states.get(block.header.parent_id)
        if parent is None:
            self.needs.blocks.append(block.header.parent_id)
            return Waiting()
        found = self._rule.check(block, parent)
        if found is None:
            return Waiting()
        derived, lists = found
        self.keep(block, block_id, derived, lists)
        return Accepted()

    def keep(
        self, block: Block, block_id: bytes, derived: Derived, lists: tuple[OrderList, ...]
    ) -> None:
        """Keep an accepted (or own) block and its state."""
        if block_id in self._entries:
            return
        state = replace(derived.state, block_id=block_id)
        self._pool.pin({*derived.lifted, *derived.batch})
        self._keybook.note_lifted(derived.key_messages, state.height)
        for head in block.heads:
            self._lists.included(head.node, head.incarnation, head.list_number)
        self._states[block_id] = state
        self._entries[block_id] = ChainEntry(
            block_id,
            block,
            state,
            lists,
            derived.lifted,
            derived.key_messages,
            derived.positions,
            derived.intake.taken,
            derived.intake.told,
            self._keybook.words(derived.key_messages) if derived.counts else (),
        )

    def keep_own(self, block: Block, derived: Derived, parent_id: bytes) -> None:
        """Keep the block this member is about to propose."""
        lists = self._rule.lists_of(block, self._states[parent_id])
        self.keep(block, block.header.block_id(), derived, lists)

    # --- finality -----------------------------------------------------------------------------------------------
    def restore(self, state: OrderingState, block: Block | None) -> None:
        """Start from a final block (None: the one that the epoch follows) and the state after it."""
        self._states = {state.block_id: state}
        self.final_id, self.final_height = state.block_id, state.height
        if block is not None:
            self._entries[state.block_id] = ChainEntry(state.block_id, block, state, (), (), (), {})
            self._final_ids[state.height] = state.block_id

    def finalize(
        self, block_id: bytes, certificate: Certificate, path: tuple[BlockHeader, ...] = ()
    ) -> list[FinalBlock] | None:
        """The blocks that become final with ``block_id``, in height order; None (and a need) where one is missing.
        ``certificate`` is for the last header of ``path``, or for the block."""
        if self.ended:
            return []  # blocks after the epoch's last one count for nothing
        if not path:
            self.finalizations[block_id] = certificate
        branch: list[ChainEntry] = []
        cursor = block_id
        while cursor != self.final_id:
            entry = self._entries.get(cursor)
            if entry is None:
                self.needs.blocks.append(cursor)
                return None
            if entry.state.height <= self.final_height:
                return []
            branch.append(entry)
            cursor = entry.block.header.parent_id
        final: list[FinalBlock] = []
        for entry in branch:  # from the newest down: each block takes the nearest certificate at or above it
            own = self.finalizations.get(entry.block_id)
            certificate, path = (own, ()) if own is not None else (certificate, path)
            shown = (certificate, path, entry.positions, entry.taken, entry.words)
            finality = Finality(entry.block_id, entry.block, *shown)
            final.append(FinalBlock(entry, finality))
            path = (entry.block.header, *path)
        final.reverse()
        branch.reverse()
        last = next((i for i, entry in enumerate(branch) if entry.state.ended), len(branch))
        final, branch = final[: last + 1], branch[: last + 1]
        for entry in branch:
            self._unpin(entry)
            self._final_ids[entry.state.height] = entry.block_id
            for node, (number, list_hash) in enumerate(entry.state.last_lists):
                self._lists.finalized(node, entry.state.incarnations[node], number, list_hash)
        if branch:
            self.final_id = branch[-1].block_id
            self.final_height = branch[-1].state.height
            self.view.prune(self.final_state.chain)
            self._prune()
        return final

    def _unpin(self, entry: ChainEntry) -> None:
        self._pool.unpin({*entry.lifted, *(one.order_id for one in entry.block.batch)})

    def _prune(self) -> None:
        oldest = self.final_height - limits.BLOCKS_KEPT_HEIGHTS
        for block_id, entry in list(self._entries.items()):
            height = entry.state.height
            on_branch = self._final_ids.get(height) == block_id
            if height <= self.final_height and (not on_branch or height < oldest):
                if not on_branch:
                    self._unpin(entry)
                del self._entries[block_id]
                self.finalizations.pop(block_id, None)
                self._states.pop(block_id, None)
            elif height < self.final_height:
                self._states.pop(block_id, None)
        if self.final_id != self._committee.anchor_id:
            self._states.pop(self._committee.anchor_id, None)
        for height in [h for h in self._final_ids if h < oldest]:
            del self._final_ids[height]
