"""A settlement chain by hand for tests: its queue, its blocks, and what a member's own node says of them."""

from __future__ import annotations

import hashlib

from mpc_sequencer.core.codec import encode
from mpc_sequencer.core.effects import ChainSeen
from mpc_sequencer.core.ordering.inputs import ForcedTerms
from mpc_sequencer.core.transcript import INPUT_BOND, INPUT_DEPOSIT, INPUT_FORCED, ChainInput
from mpc_sequencer.core.types import Checkpoint, Envelope
from mpc_sequencer.sim import Cluster, Deployment


def deposit(account: bytes, asset: int, amount: int) -> ChainInput:
    return ChainInput(INPUT_DEPOSIT, account, asset, amount.to_bytes(32, "big"))


def bond(account: bytes, wei: int) -> ChainInput:
    return ChainInput(INPUT_BOND, account, 0, wei.to_bytes(32, "big"))


def forced(envelope: Envelope | bytes) -> ChainInput:
    body = envelope if isinstance(envelope, bytes) else encode(envelope)
    return ChainInput(INPUT_FORCED, bytes(20), 0, hashlib.sha256(body).digest(), body)


class HandChain:
    """The chain of a deployment from its genesis checkpoint on. ``due`` has forced orders' due numbers, as the contract
    computes them."""

    def __init__(self, d: Deployment) -> None:
        genesis = d.committee.genesis
        self.terms = ForcedTerms(genesis.forced_delay_blocks, genesis.forced_spacing_blocks)
        self.inputs = list(d.inputs)
        self.newest = genesis.checkpoint
        self.due: list[int] = []

    def block(self, *inputs: ChainInput, blocks: int = 1, salt: bytes = b"") -> Checkpoint:
        """Mine: so many blocks, the last of them with these inputs."""
        number, inputs_hash = self.newest.number + blocks, self.newest.inputs_hash
        for one in inputs:
            inputs_hash = one.chained(inputs_hash)
            if one.kind == INPUT_FORCED:
                spaced = self.due[-1] + self.terms.spacing_blocks if self.due else 0
                self.due.append(max(number + self.terms.delay_blocks, spaced))
        self.inputs += inputs
        block_hash = hashlib.sha256(b"block" + salt + number.to_bytes(8, "big")).digest()
        self.newest = Checkpoint(number, block_hash, len(self.inputs), inputs_hash)
        return self.newest

    def seen(self, known: Checkpoint) -> ChainSeen:
        """What a node tells a member that knows ``known``."""
        before = sum(one.kind == INPUT_FORCED for one in self.inputs[: known.inputs_count])
        return ChainSeen(self.newest, tuple(self.inputs[known.inputs_count :]), tuple(self.due[before:]))

    def tell(self, cluster: Cluster, *places: int) -> None:
        """The nodes of hosts (by default of all) tell of the newest block now."""
        for host in cluster.hosts:
            if host.up and (not places or host.place in places):
                cluster.at(cluster.now_ms, host.place, self.seen(host.core.chain_view.newest))


def taken_up(chain: HandChain, cluster: Cluster, *places: int) -> bool:
    """Whether these members (by default all) have a final block at the chain's newest block, and have executed it."""
    hosts = [host for host in cluster.hosts if host.up and (not places or host.place in places)]
    return all(
        host.core.chain.final_state.chain.checkpoint == chain.newest
        and host.core.execution.executed_height == host.core.chain.final_state.last_counting
        for host in hosts
    )
