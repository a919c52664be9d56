"""What members take from the settlement chain, held against the chain itself."""

from __future__ import annotations

from mpc_sequencer.core import limits
from mpc_sequencer.core.effects import Append, Effect
from mpc_sequencer.core.transcript import INPUT_BOND, INPUT_DEPOSIT, BlockEntry
from mpc_sequencer.core.types import Block, Checkpoint
from mpc_sequencer.sim.checkers.base import Checker, Watched
from mpc_sequencer.sim.simulation import Simulation


class ChainTaken(Checker):
    """Every final checkpoint is a block of the chain and none goes back; credits and bonds are what the chain has up to
    the inputs that are taken; a forced order is batched by the first block at whose checkpoint the contract has it due;
    and in the end all is taken up."""

    name = "chain"
    sees = frozenset({Append})

    def __init__(self, watched: Watched) -> None:
        super().__init__(watched)
        self._height = 0
        self._checkpoint: Checkpoint = self.committee.genesis.checkpoint
        self._taken = self._checkpoint.inputs_count
        """How many inputs blocks have taken, where none stood still."""
        self._batched: set[bytes] = set()
        self._late: dict[bytes, int] = {}
        """Forced orders that were not batched when they were due, and the height of that block."""

    def on_effect(self, node: int, effect: Effect) -> None:
        if isinstance(effect, Append) and isinstance(effect.entry, BlockEntry):
            block = effect.entry.block
            if block.header.height == self._height + 1:
                self._height += 1
                self._final(block)

    def _final(self, block: Block) -> None:
        chain, seen, height = self.watched.chain, block.header.checkpoint, block.header.height
        if chain is None:
            return
        if chain.blocks.get(seen.number) != seen:
            self.report(height, f"checkpoint {seen.number} is no block of the chain")
        if seen.number < self._checkpoint.number:
            self.report(height, f"checkpoint {seen.number} after {self._checkpoint.number}")
        self._checkpoint = seen
        self._taken = min(seen.inputs_count, self._taken + limits.INPUTS_PER_BLOCK_MAX)
        carried = self._taken < seen.inputs_count
        self._batched.update(one.order_id for one in block.batch)
        for one in chain.forced:
            if one.due > seen.number:
                break
            if one.order_id and one.order_id not in self._batched and not carried:
                self._late.setdefault(one.order_id, height)

    def at_end(self, simulation: Simulation) -> None:
        chain = self.watched.chain
        if chain is None:
            return
        for node in sorted(self.watched.correct - simulation.stopped):
            self._check_core(simulation, node)
        if self.watched.strict_chain:
            for order_id, height in self._late.items():
                self.report(height, f"forced order {order_id.hex()} was due and is not batched")

    def _check_core(self, simulation: Simulation, node: int) -> None:
        chain, core = self.watched.chain, simulation.hosts[node].core
        assert chain is not None
        state = core.chain.final_state
        taken = state.chain
        where = f"member {node}"
        if chain.hashes[taken.inputs_count] != taken.inputs_hash:
            self.report(state.height, f"{where} has taken inputs that the chain does not have")
        inputs = chain.inputs[: taken.inputs_count]
        owed = [one for one in chain.forced if one.due <= taken.cleared_number]
        if taken.forced_head < len(owed):
            self.report(state.height, f"{where}: {taken.forced_head} forced orders let go, {len(owed)} owed")
        bonds: dict[bytes, int] = {}
        for one in inputs:
            if one.kind == INPUT_BOND:
                bonds[one.account] = bonds.get(one.account, 0) + one.amount_units
        if bonds != core.bonds_wei:
            self.report(state.height, f"{where} has other bonds than the chain")
        if core.execution.executed_height != state.last_counting:
            return  # some inputs are not credited yet
        for asset in range(len(self.committee.genesis.assets)):
            deposits = [one for one in inputs if (one.kind, one.asset) == (INPUT_DEPOSIT, asset)]
            accounts = {one.account for one in deposits} | {self.committee.genesis.fee_account}
            held = sum(sum(core.execution.engine.balance(account, asset)) for account in accounts)
            credited = sum(one.amount_units for one in deposits)
            if held != credited:
                self.report(state.height, f"{where}: asset {asset} has {held} units, {credited} were deposited")
        if self.watched.strict_chain and taken.cleared_number < max(chain.blocks):
            text = f"{where}: {taken.cleared_number} is cleared, the chain's last block is {max(chain.blocks)}"
            self.report(state.height, text)
