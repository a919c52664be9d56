"""What a block takes from the settlement chain: the checkpoint its heads agree on, the queue's next inputs, forced
orders that are due (docs/protocol.md, "Chain inputs").

Nothing here is a leader's to choose. A checkpoint that f+1 heads name identically is one honest member's word at least,
and it commits to every input up to it by hash; taking them, and letting forced orders in, follows from the parent's
state. What this adds to the rule's source (PROTOCOL, sections 4 and 6):

* **When a forced order is due** must be the same for all, members without a chain and auditors included, but the
  queue's hash does not cover it. So it is derived here: an input that the parent's checkpoint did not cover was queued
  in a later block, hence ``due = max(that checkpoint's number + 1 + delay, due before + spacing)``. By induction this
  is never later than the contract's own ``max(queued + delay, due before + spacing)``.
* **cleared_number** is the chain block up to which nothing is owed: the last checkpoint with all inputs taken and all
  due forced orders through. An order commit names it, not the checkpoint's number, as its l1_head: the contract
  refuses a commit that leaves out what was due at its l1_head, so one made while inputs are carried could never be
  posted.
* **A block that lets a forced order go counts**, though its batch be empty, so that a commit follows that covers it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from mpc_sequencer.core import limits
from mpc_sequencer.core.codec import encode
from mpc_sequencer.core.ordering.chainstate import ChainState, ForcedOrder
from mpc_sequencer.core.ordering.state import OrderFacts, Queued
from mpc_sequencer.core.transcript import INPUT_BOND, INPUT_FORCED, ChainInput
from mpc_sequencer.core.types import Checkpoint, Head

COUNT_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class ForcedTerms:
    """The contract's terms for forced orders, in blocks of the chain; or less."""

    delay_blocks: int
    spacing_blocks: int


AT_ONCE: Final = ForcedTerms(0, 0)

class ForcedFacts(Struct, frozen=True, gc=False):
    """What a forced envelope is: its order and what ordering needs of it; no facts where it is none that may ever be
    sequenced."""

    order_id: bytes
    facts: OrderFacts | None


Between = Callable[[ChainState, Checkpoint], "tuple[ChainInput, ...] | None"]
"""The inputs from where a state stands up to a checkpoint, hash by hash; None where some are not at hand."""
Forced = Callable[[bytes], "ForcedFacts | None"]
"""What a queued envelope is; None where this member cannot tell yet."""


def none_between(chain: ChainState, checkpoint: Checkpoint) -> tuple[ChainInput, ...] | None:
    """:data:`Between` of who has no inputs."""
    return () if chain.inputs_hash == checkpoint.inputs_hash else None


def none_forced(body: bytes) -> ForcedFacts | None:
    """:data:`Forced` of who can judge no envelope."""
    return None


@dataclass(frozen=True, slots=True)
class Intake:
    """A block's chain side: the state with its inputs taken, these inputs, and those that its checkpoint is the
    first to cover."""

    chain: ChainState
    taken: tuple[ChainInput, ...]
    told: tuple[ChainInput, ...]

    def root_part(self) -> tuple[bytes, ...]:
        """What the block's inputs root covers of the inputs it takes: how many are taken now, and the queue's hash."""
        if not self.taken:
            return ()
        return (self.chain.inputs_count.to_bytes(COUNT_BYTES, "big"), self.chain.inputs_hash)

    def bonds_wei(self, before: Mapping[bytes, int]) -> dict[bytes, int]:
        """The bonds of those that the taken inputs raise; they are credit from the next block on."""
        raised: dict[bytes, int] = {}
        for one in self.taken:
            if one.kind == INPUT_BOND:
                raised[one.account] = raised.get(one.account, before.get(one.account, 0)) + one.amount_units
        return raised


def agreed_checkpoint(parent: ChainState, heads: Sequence[Head], faults: int) -> Checkpoint:
    """The highest checkpoint above the parent's that f+1 heads name identically; else the parent's."""
    last = parent.checkpoint
    named = Counter(head.checkpoint for head in heads if head.checkpoint.number > last.number)
    backed = [one for one, count in named.items() if count > faults and one.inputs_count >= last.inputs_count]
    return max(backed, key=lambda one: (one.number, encode(one)), default=last)


def take_inputs(
    parent: ChainState, heads: Sequence[Head], faults: int, lagging: bool, between: Between, terms: ForcedTerms
) -> Intake | Checkpoint:
    """The block's intake; the checkpoint whose inputs are not at hand where they are not. ``lagging``: batches are
    empty and the checkpoint stays."""
    checkpoint = parent.checkpoint if lagging else agreed_checkpoint(parent, heads, faults)
    if lagging or checkpoint.inputs_hash == parent.inputs_hash:
        queued_from = parent.queued_from if lagging else checkpoint.number + 1
        return Intake(replace(parent, checkpoint=checkpoint, queued_from=queued_from), (), ())
    found = between(parent, checkpoint)
    if found is None:
        return checkpoint
    taken = found[: limits.INPUTS_PER_BLOCK_MAX]
    told = found[parent.checkpoint.inputs_count - parent.inputs_count :]
    inputs_hash = parent.inputs_hash
    forced: list[ForcedOrder] = []
    due = parent.last_due
    for one in taken:
        inputs_hash = one.chained(inputs_hash)
        if one.kind == INPUT_FORCED:
            due = max(parent.queued_from + terms.delay_blocks, due + terms.spacing_blocks)
            forced.append(ForcedOrder(due, one.body))
    whole = len(taken) == len(found)
    chain = replace(
        parent,
        checkpoint=checkpoint,
        inputs_count=parent.inputs_count + len(taken),
        inputs_hash=inputs_hash,
        queued_from=checkpoint.number + 1 if whole else parent.queued_from,
        forced=(*parent.forced, *forced),
        last_due=due,
    )
    return Intake(chain, taken, told)


@dataclass(frozen=True, slots=True)
class Forcing:
    """What a block does about forced orders that are due."""

    chain: ChainState
    """With those that it is done with taken off."""
    batch: tuple[bytes, ...]
    fresh: tuple[Queued, ...]
    """Those of the batch that no list had lifted."""
    bodies: Mapping[bytes, bytes]
    """Of ``fresh``, by order: the envelopes as queued."""
    charged_wei: Mapping[bytes, int]
    """Of the sponsors charged here, all they were charged so far."""

    def counts(self, before: ChainState) -> bool:
        """Whether the block lets a forced order go, in the batch or not."""
        return self.chain.forced_head > before.forced_head


def _due(chain: ChainState, lagging: bool) -> Iterator[ForcedOrder]:
    for one in chain.forced:
        if lagging or one.due_number > chain.checkpoint.number:
            return
        yield one


def force(
    chain: ChainState,
    waiting: Sequence[Queued],
    is_lifted: Callable[[bytes], bool],
    credit_wei: Mapping[bytes, int],
    charged_wei: Mapping[bytes, int],
    time_ms: int,
    lagging: bool,
    forced: Forced,
) -> Forcing | None:
    """Let the forced orders in that are due, in the queue's order, as many as a batch holds. One that is invalid,
    expired, not valid yet, without credit, or sequenced before is done with all the same. None where one cannot be
    judged yet."""
    queued = {one.order_id: one for one in waiting}
    batch: dict[bytes, None] = {}
    fresh: list[Queued] = []
    bodies: dict[bytes, bytes] = {}
    charges: dict[bytes, int] = {}
    done = 0
    for one in _due(chain, lagging):
        if len(batch) >= limits.BATCH_ORDERS_MAX:
            break
        seen = forced(one.body)
        if seen is None:
            return None
        done += 1
        facts, order_id = seen.facts, seen.order_id
        if facts is None or order_id in batch or (order_id not in queued and is_lifted(order_id)):
            continue
        charged = charges.get(facts.sponsor, charged_wei.get(facts.sponsor, 0)) + facts.charge_wei
        if not facts.valid_from_ms <= time_ms < facts.valid_until_ms or charged > credit_wei.get(facts.sponsor, 0):
            continue
        charges[facts.sponsor] = charged
        batch[order_id] = None
        if order_id not in queued:
            window = (facts.valid_from_ms, facts.valid_until_ms)
            fresh.append(Queued(order_id, 0, b"", *window, facts.sponsor, facts.size_bytes))
            bodies[order_id] = one.body
    return Forcing(_settle(chain, done), tuple(batch), tuple(fresh), bodies, charges)


def _settle(chain: ChainState, done: int) -> ChainState:
    """Take ``done`` forced orders off, and note up to where nothing is owed."""
    left = chain.forced[done:]
    number = chain.checkpoint.number
    owed = chain.inputs_count != chain.checkpoint.inputs_count or (bool(left) and left[0].due_number <= number)
    return replace(
        chain,
        forced=left,
        forced_head=chain.forced_head + done,
        cleared_number=chain.cleared_number if owed else number,
    )


class Credit(Mapping[bytes, int]):
    """Sponsors' bonds at a block's parent: what the genesis has and what inputs have added since."""

    def __init__(self, genesis_wei: Mapping[bytes, int], bonded_wei: Mapping[bytes, int]) -> None:
        self._genesis_wei = genesis_wei
        self._bonded_wei = bonded_wei

    def __getitem__(self, sponsor: bytes) -> int:
        return self._bonded_wei[sponsor] if sponsor in self._bonded_wei else self._genesis_wei[sponsor]

    def __iter__(self) -> Iterator[bytes]:
        return iter({**self._genesis_wei, **self._bonded_wei})

    def __len__(self) -> int:
        return len({**self._genesis_wei, **self._bonded_wei})


def wakes(parent_counting: int, heads: Sequence[Head], faults: int, lagging: bool) -> bool:
    """Whether f+1 heads say that what was executed last leaves stops or expiries that are due."""
    if lagging or not parent_counting:
        return False
    return sum(head.due_height == parent_counting for head in heads) > faults
