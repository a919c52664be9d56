"""What a member knows of the settlement chain: its own node's word, and inputs by the queue's hash chain.

Inputs are kept by the hash that the queue has after them, so each is what that hash commits to, whoever brought it:
this member's own chain node (:class:`~mpc_sequencer.core.effects.ChainSeen`), a peer that was asked, a log. A block
names a checkpoint; the inputs up to it are found by walking back from its hash to where the block's parent stands.

What an attacker tries: invented inputs (no hash leads to them), inputs nobody asked for (dropped), a checkpoint that
this member's own chain contradicts (:meth:`ChainView.contradiction`; the member gives a new one no vote). Inputs that
blocks have taken are dropped but for INPUTS_KEPT, so memory is bounded by what final blocks have not taken yet.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from mpc_sequencer.core import limits
from mpc_sequencer.core.effects import ChainSeen, InputsRecord
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.genesis import inputs_chain
from mpc_sequencer.core.ordering.chainstate import ChainState
from mpc_sequencer.core.ordering.inputs import ForcedTerms
from mpc_sequencer.core.transcript import INPUT_FORCED, ChainInput, input_entries
from mpc_sequencer.core.types import Checkpoint

INPUTS_PER_MESSAGE_MAX: Final = 256


@dataclass(slots=True)
class _Link:
    """An input, and the queue before it."""

    count_before: int
    hash_before: bytes
    one: ChainInput
    on_disk: bool


class ChainView:
    """One member's view. ``newest`` is the newest checkpoint that its own node has told of: the next
    :class:`~mpc_sequencer.core.effects.ChainSeen` goes on from it."""

    def __init__(self, genesis: Checkpoint, step_blocks: int, terms: ForcedTerms) -> None:
        self.newest = genesis
        self._step_blocks = step_blocks
        self._terms = terms
        self._links: dict[bytes, _Link] = {}
        self._own_hashes: dict[int, bytes] = {genesis.inputs_count: genesis.inputs_hash}
        """By count: the queue's hash as the own node has it."""
        self._own: dict[int, Checkpoint] = {genesis.number: genesis}
        """By number: the own node's checkpoints, the latest CHECKPOINTS_KEPT."""
        self._last_due = 0
        self._walked: tuple[bytes, bytes, tuple[ChainInput, ...]] = (b"", b"", ())
        self._pruned_count = genesis.inputs_count

    @property
    def told(self) -> tuple[int, bytes]:
        """Up to where the own node has told of inputs: their count and the queue's hash."""
        return self.newest.inputs_count, self.newest.inputs_hash

    # --- the own node -------------------------------------------------------------------------------------------
    def seen(self, event: ChainSeen) -> list[InputsRecord]:
        """Take the own node's word; what is to be on disk before a head names the checkpoint. Raises ProtocolError
        (``chain.*``), changing nothing, where it does not continue what that node has told before."""
        checkpoint, last = event.checkpoint, self.newest
        if checkpoint.number % self._step_blocks:
            raise ProtocolError(
                "chain.step", "Checkpoint.number", checkpoint.number, f"a multiple of {self._step_blocks}"
            )
        if checkpoint.number <= last.number:
            raise ProtocolError("chain.number", "Checkpoint.number", checkpoint.number, f"above {last.number}")
        for one in event.inputs:
            if not one.is_whole:
                raise ProtocolError("chain.body", "ChainInput.body", one.body, "what its amount is the hash of")
        count, inputs_hash = inputs_chain(event.inputs, *self.told)
        if (count, inputs_hash) != (checkpoint.inputs_count, checkpoint.inputs_hash):
            expected = f"{checkpoint.inputs_count}, {checkpoint.inputs_hash.hex()}"
            raise ProtocolError("chain.inputs", "ChainSeen.inputs", f"{count}, {inputs_hash.hex()}", expected)
        last_due = self._check_due(event)
        records = [*self._records_of(event.inputs, *self.told)]
        records.append(InputsRecord(checkpoint, count, inputs_hash, ()))
        self._add(event.inputs, *self.told, on_disk=True)
        self._note(checkpoint)
        self._last_due = last_due
        return records

    def _check_due(self, event: ChainSeen) -> int:
        """Refuse due numbers (``chain.terms``) that come before what blocks go by: the genesis' terms are longer than
        the contract's then, and forced orders would come too late."""
        number = sum(one.kind == INPUT_FORCED for one in event.inputs)
        if len(event.forced_due) != number:
            raise ProtocolError("chain.terms", "ChainSeen.forced_due", len(event.forced_due), f"{number} numbers")
        last = self._last_due
        for due in event.forced_due:
            least = self.newest.number + 1 + self._terms.delay_blocks
            if last:
                least = max(least, last + self._terms.spacing_blocks)
            if due < least:
                raise ProtocolError("chain.terms", "ChainSeen.forced_due", due, f"at least {least}")
            last = due
        return last

    @staticmethod
    def _records_of(inputs: Sequence[ChainInput], count: int, inputs_hash: bytes) -> Iterator[InputsRecord]:
        for entry in input_entries(count, inputs):
            yield InputsRecord(None, entry.first_index, inputs_hash, entry.inputs)
            _, inputs_hash = inputs_chain(entry.inputs, 0, inputs_hash)

    def _note(self, checkpoint: Checkpoint) -> None:
        self.newest = checkpoint
        self._own[checkpoint.number] = checkpoint
        for number in sorted(self._own)[: -limits.CHECKPOINTS_KEPT]:
            del self._own[number]
        cursor = checkpoint.inputs_hash
        self._own_hashes[checkpoint.inputs_count] = cursor
        while (link := self._links.get(cursor)) is not None and self._own_hashes.get(
            link.count_before
        ) != link.hash_before:
            cursor = link.hash_before
            self._own_hashes[link.count_before] = cursor

    def contradiction(self, checkpoint: Checkpoint) -> str | None:
        """What the own node has instead of ``checkpoint``, in words; None where it has nothing else."""
        own = self._own.get(checkpoint.number)
        if own is not None and own != checkpoint:
            return f"{own.block_hash.hex()} with {own.inputs_count} inputs at that number"
        inputs_hash = self._own_hashes.get(checkpoint.inputs_count)
        if inputs_hash is not None and inputs_hash != checkpoint.inputs_hash:
            return f"{inputs_hash.hex()} after {checkpoint.inputs_count} inputs"
        for one in (self.newest, *self._own.values()):
            if (one.number > checkpoint.number and one.inputs_count < checkpoint.inputs_count) or (
                one.number < checkpoint.number and one.inputs_count > checkpoint.inputs_count
            ):
                return f"{one.inputs_count} inputs at number {one.number}"
        return None

    # --- inputs by hash -----------------------------------------------------------------------------------------
    def add(self, inputs: Sequence[ChainInput], count: int, inputs_hash: bytes, through: bytes) -> None:
        """Take inputs that lead from ``inputs_hash`` (of ``count`` inputs) to the hash ``through``, which is known to
        be the chain's. Raises ProtocolError (``chain.inputs``), changing nothing, where they do not."""
        if inputs_chain(inputs, count, inputs_hash)[1] != through or not all(one.is_whole for one in inputs):
            raise ProtocolError("chain.inputs", "inputs", f"{len(inputs)} after {count}", through.hex())
        self._add(inputs, count, inputs_hash, on_disk=False)

    def holds(self, inputs: Sequence[ChainInput], inputs_hash: bytes) -> bool:
        """Whether exactly these inputs are held behind that hash."""
        for one in inputs:
            inputs_hash = one.chained(inputs_hash)
            if inputs_hash not in self._links:
                return False
        return True

    def _add(self, inputs: Sequence[ChainInput], count: int, inputs_hash: bytes, *, on_disk: bool) -> None:
        for one in inputs:
            after = one.chained(inputs_hash)
            held = self._links.setdefault(after, _Link(count, inputs_hash, one, on_disk))
            held.on_disk = held.on_disk or on_disk
            count, inputs_hash = count + 1, after

    def between(self, chain: ChainState, checkpoint: Checkpoint) -> tuple[ChainInput, ...] | None:
        """The inputs from where ``chain`` stands up to ``checkpoint``; None where some are not held."""
        if self._walked[:2] == (chain.inputs_hash, checkpoint.inputs_hash):
            return self._walked[2]
        last = chain.checkpoint
        carried = self._walk(last.inputs_count, last.inputs_hash, chain.inputs_count, chain.inputs_hash)
        new = self._walk(checkpoint.inputs_count, checkpoint.inputs_hash, last.inputs_count, last.inputs_hash)
        if carried is None or new is None:
            return None
        self._walked = (chain.inputs_hash, checkpoint.inputs_hash, (*carried, *new))
        return self._walked[2]

    def _walk(self, count: int, inputs_hash: bytes, to_count: int, to_hash: bytes) -> tuple[ChainInput, ...] | None:
        found: list[ChainInput] = []
        while count > to_count:
            link = self._links.get(inputs_hash)
            if link is None or link.count_before != count - 1:
                return None
            found.append(link.one)
            count, inputs_hash = link.count_before, link.hash_before
        return tuple(reversed(found)) if inputs_hash == to_hash else None

    def lacks(self, chain: ChainState, checkpoint: Checkpoint) -> tuple[int, bytes] | None:
        """Count and hash of the last input that is not held on the way from ``checkpoint`` back to ``chain``."""
        count, inputs_hash = checkpoint.inputs_count, checkpoint.inputs_hash
        while count > chain.inputs_count:
            link = self._links.get(inputs_hash)
            if link is None:
                return count, inputs_hash
            count, inputs_hash = link.count_before, link.hash_before
        return None

    def leading_to(self, inputs_hash: bytes) -> tuple[bytes, tuple[ChainInput, ...]] | None:
        """For a peer: up to INPUTS_PER_MESSAGE_MAX inputs that end at that hash, with the hash before them; None where
        it is not known here."""
        found: list[ChainInput] = []
        while len(found) < INPUTS_PER_MESSAGE_MAX and (link := self._links.get(inputs_hash)) is not None:
            found.append(link.one)
            inputs_hash = link.hash_before
        return (inputs_hash, tuple(reversed(found))) if found else None

    # --- disk ---------------------------------------------------------------------------------------------------
    def recall(self, record: InputsRecord) -> None:
        """Take one of the own journal's records."""
        self._add(record.inputs, record.after_count, record.after_hash, on_disk=True)
        if record.checkpoint is not None and record.checkpoint.number > self.newest.number:
            self._note(record.checkpoint)

    def support(self, chain: ChainState) -> Iterator[InputsRecord]:
        """What must be on disk before a vote for a block that leads to ``chain``: the inputs it rests on."""
        cursor = chain.checkpoint.inputs_hash
        unwritten: list[_Link] = []
        while (link := self._links.get(cursor)) is not None and not link.on_disk:
            link.on_disk = True
            unwritten.append(link)
            cursor = link.hash_before
        if unwritten:
            first = unwritten[-1]
            inputs = [link.one for link in reversed(unwritten)]
            yield from self._records_of(inputs, first.count_before, first.hash_before)

    def records(self) -> Iterator[InputsRecord]:
        """The records that lead to this view."""
        for link in sorted(self._links.values(), key=lambda link: link.count_before):
            yield InputsRecord(None, link.count_before, link.hash_before, (link.one,))
        for _, checkpoint in sorted(self._own.items()):
            yield InputsRecord(checkpoint, checkpoint.inputs_count, checkpoint.inputs_hash, ())

    def prune(self, final: ChainState) -> None:
        """Drop inputs that final blocks took long ago, whether the own node has told of them or not: it may be dead, or
        there is none. What is later is kept."""
        least = final.inputs_count - limits.INPUTS_KEPT
        if least <= self._pruned_count:
            return
        self._pruned_count = least + limits.INPUTS_KEPT // 4  # now and then, not with every block
        self._links = {key: link for key, link in self._links.items() if link.count_before >= least}
        self._own_hashes = {count: one for count, one in self._own_hashes.items() if count >= least}
