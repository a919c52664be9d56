"""The settlement chain of a run: blocks with deposits, bonds and forced orders, and members' nodes that tell of them.

Blocks come every BLOCK_MS until the faults are over. Every member's node is asked now and then; it tells of the newest
finalized block that is a multiple of the step, some nodes late (*chain_late*), some never (*chain_blind*, at most f of
the correct ones, so that f+1 see all the same). The contract's due numbers are the chain's own; blocks of the sequencer
go by what they derive, and the checker holds the one against the other.
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from mpc_sequencer.core.actions import BUY, IOC
from mpc_sequencer.core.codec import encode
from mpc_sequencer.core.effects import ChainSeen
from mpc_sequencer.core.limits import FORCED_BYTES_MAX
from mpc_sequencer.core.transcript import INPUT_BOND, INPUT_DEPOSIT, INPUT_FORCED, ChainInput
from mpc_sequencer.core.types import Checkpoint, Envelope
from mpc_sequencer.sim.deployment import Deployment, Trader

if TYPE_CHECKING:
    from mpc_sequencer.sim.cluster import Cluster

BLOCK_MS: Final = 130
ASK_MS: Final = 70
STEP_BLOCKS: Final = 2
DELAY_BLOCKS: Final = 3
SPACING_BLOCKS: Final = 1
BURST_INPUTS: Final = 300
"""A block may hold more inputs than a block of the sequencer takes."""
MARGIN_MS: Final = 4_000
"""Who forces an order has it valid for a while already: block time may be behind, and it may be due at once."""
UNLISTED_ASSET: Final = 9
FORCED_KINDS: Final = ("valid", "valid", "valid", "listed", "short", "later", "garbage", "bent", "poor", "twice")


@dataclass(frozen=True, slots=True)
class QueuedForced:
    """A forced order as the contract has it."""

    due: int
    body: bytes
    order_id: bytes
    """Of one that must be batched once it is due; else empty."""


class SimulatedChain:
    """Blocks by number, the contract's queue, and what is due when."""

    def __init__(self, deployment: Deployment, rng: random.Random, sent: dict[bytes, Envelope]) -> None:
        genesis = deployment.committee.genesis
        self._deployment = deployment
        self._rng = rng
        self._sent = sent
        self.delay_blocks, self.spacing_blocks = genesis.forced_delay_blocks, genesis.forced_spacing_blocks
        self.step_blocks = genesis.l1_step_blocks
        self.inputs: list[ChainInput] = list(deployment.inputs)
        self.hashes: list[bytes] = [bytes(32)]
        """By count: the queue's hash."""
        for one in self.inputs:
            self.hashes.append(one.chained(self.hashes[-1]))
        self.blocks: dict[int, Checkpoint] = {genesis.checkpoint.number: genesis.checkpoint}
        self.mined_ms: dict[int, int] = {genesis.checkpoint.number: 0}
        self.number = genesis.checkpoint.number
        self.forced: list[QueuedForced] = []

    def mine(self, now_ms: int) -> None:
        """The next block, with what is drawn for it."""
        self.number += 1
        for _ in range(self._rng.choice((0, 0, 1, 1, 2, 4))):
            self._queue(self._drawn(now_ms))
        if self._rng.random() < 0.02:
            for _ in range(BURST_INPUTS):
                self._queue(self._deposit())
        block_hash = hashlib.sha256(b"%d" % self.number + self._rng.randbytes(8)).digest()
        self.blocks[self.number] = Checkpoint(self.number, block_hash, len(self.inputs), self.hashes[-1])
        self.mined_ms[self.number] = now_ms

    def _queue(self, one: ChainInput) -> None:
        self.inputs.append(one)
        self.hashes.append(one.chained(self.hashes[-1]))

    def _trader(self) -> Trader:
        return self._rng.choice(self._deployment.traders[:-1])

    def _deposit(self) -> ChainInput:
        asset = self._rng.choice((0, 0, 0, 1, 1, UNLISTED_ASSET))
        return ChainInput(INPUT_DEPOSIT, self._trader().address, asset, self._rng.randint(1, 10**9).to_bytes(32, "big"))

    def _drawn(self, now_ms: int) -> ChainInput:
        kind = self._rng.choice((INPUT_DEPOSIT, INPUT_DEPOSIT, INPUT_BOND, INPUT_FORCED))
        if kind == INPUT_DEPOSIT:
            return self._deposit()
        if kind == INPUT_BOND:
            return ChainInput(INPUT_BOND, self._trader().address, 0, self._rng.randint(1, 10**15).to_bytes(32, "big"))
        return self.force(self._rng.choice(FORCED_KINDS), now_ms)

    def force(self, kind: str, now_ms: int) -> ChainInput:
        """Queue an envelope of a kind at the block under way; its input, which the caller appends."""
        body, order_id = self._envelope(kind, now_ms)
        last = self.forced[-1].due + self.spacing_blocks if self.forced else 0
        self.forced.append(QueuedForced(max(self.number + self.delay_blocks, last), body, order_id))
        return ChainInput(INPUT_FORCED, self._trader().address, 0, hashlib.sha256(body).digest(), body)

    def _envelope(self, kind: str, now_ms: int) -> tuple[bytes, bytes]:
        """An envelope as queued, and its id where it must be batched once it is due."""
        d = self._deployment
        if kind == "garbage" or d.committee.keys is None:
            return self._rng.randbytes(self._rng.randint(0, 200)), b""
        if kind == "twice" and self.forced:
            return self.forced[-1].body, b""
        if kind == "listed" and self._sent:
            listed = encode(self._sent[self._rng.choice(sorted(self._sent))])
            if len(listed) <= FORCED_BYTES_MAX:  # the contract takes no larger one
                return listed, b""
        trader = d.traders[-1] if kind == "poor" else self._trader()
        begins_ms = now_ms + (60_000 if kind == "later" else -MARGIN_MS)
        life_ms = MARGIN_MS + (40 if kind == "short" else 120_000)
        label = d.label(trader.address, begins_ms, life_ms=life_ms)
        plaintext = d.plaintext(trader, d.limit_order(trader, label, side=BUY, time_in_force=IOC))
        envelope = d.envelope(trader, label, plaintext)
        if kind == "bent":
            ciphertext = bytearray(envelope.ciphertext)
            ciphertext[40] ^= 1
            return encode(d.sponsored(trader, envelope.label, bytes(ciphertext))), b""
        self._sent[envelope.order_id()] = envelope
        return encode(envelope), envelope.order_id() if kind in ("valid", "listed", "twice") else b""

    def told(self, newest: Checkpoint, seen_ms: int) -> ChainSeen | None:
        """What a node that is at ``seen_ms`` tells a member that knows ``newest``; None where that is nothing new."""
        numbers = [one for one, mined_ms in self.mined_ms.items() if mined_ms <= seen_ms and not one % self.step_blocks]
        if not numbers or max(numbers) <= newest.number:
            return None
        checkpoint = self.blocks[max(numbers)]
        inputs = tuple(self.inputs[newest.inputs_count : checkpoint.inputs_count])
        before = sum(one.kind == INPUT_FORCED for one in self.inputs[: newest.inputs_count])
        forced = sum(one.kind == INPUT_FORCED for one in inputs)
        return ChainSeen(checkpoint, inputs, tuple(one.due for one in self.forced[before : before + forced]))


class ChainFeed:
    """Mines until ``end_ms`` and lets every host's node tell its member. ``late_ms`` is by member, ``blind`` those
    whose node is dead."""

    def __init__(
        self, cluster: Cluster, chain: SimulatedChain, end_ms: int, late_ms: tuple[int, ...], blind: frozenset[int]
    ) -> None:
        self._cluster = cluster
        self.chain = chain
        self._end_ms = end_ms
        self._late_ms = late_ms
        self._blind = blind
        cluster.call(cluster.now_ms + BLOCK_MS, self._mine)
        cluster.call(cluster.now_ms + ASK_MS, partial(self._ask, 0))

    def _mine(self) -> None:
        self.chain.mine(self._cluster.now_ms)
        # the last block is one that is told of
        if self._cluster.now_ms < self._end_ms or self.chain.number % self.chain.step_blocks:
            self._cluster.call(self._cluster.now_ms + BLOCK_MS, self._mine)

    def _ask(self, turn: int) -> None:
        """Some hosts' nodes are asked, the others next time."""
        for host in self._cluster.hosts:
            if host.up and host.node not in self._blind and host.place % 3 == turn % 3:
                late_ms = self._late_ms[host.node] if host.node < len(self._late_ms) else 0
                event = self.chain.told(host.core.chain_view.newest, self._cluster.now_ms - late_ms)
                if event is not None and not any(isinstance(one, ChainSeen) for one in host.inbox):
                    self._cluster._hand(host.place, event)
        self._cluster.call(self._cluster.now_ms + ASK_MS, partial(self._ask, turn + 1))
