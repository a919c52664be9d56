"""Rules of the chain inputs: those the genesis checkpoint commits to, all of them, in order.

The chain's queue hashes each input onto the last, from 32 zero bytes. Later inputs are
:mod:`mpc_sequencer.audit.chaininputs`'.
"""

from __future__ import annotations

from mpc_sequencer.audit.chaininputs import BOND, DEPOSIT, queue_hash
from mpc_sequencer.audit.execution import Execution
from mpc_sequencer.audit.report import Recorder
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.limits import AMOUNT_MAX
from mpc_sequencer.core.transcript import ChainInput, InputsEntry


class Inputs:
    """Deposits (credited to the market state) and bonds up to the genesis checkpoint."""

    def __init__(self, committee: Committee, recorder: Recorder, execution: Execution) -> None:
        self._committee = committee
        self._recorder = recorder
        self._execution = execution
        self._hash = bytes(32)
        self._count = 0
        self._deposited: dict[int, int] = {}
        self.bonds_wei: dict[bytes, int] = {}
        self.all: list[ChainInput] = []
        """Those up to the genesis checkpoint."""

    def add(self, entry: InputsEntry) -> None:
        """Take the next inputs."""
        if entry.first_index != self._count:
            self._recorder.halt("inputs.chain", f"inputs from {entry.first_index}, expected {self._count}")
        for queued in entry.inputs:
            self._add(queued)

    def _add(self, queued: ChainInput) -> None:
        self._hash = queue_hash(self._hash, queued)
        self._count += 1
        self.all.append(queued)
        self._recorder.done("inputs")
        amount = int.from_bytes(queued.amount, "big")
        if queued.kind == BOND:
            self.raise_bond(queued)
        if queued.kind != DEPOSIT:
            return
        self._deposited[queued.asset] = self._deposited.get(queued.asset, 0) + amount
        if queued.asset >= len(self._committee.genesis.assets) or self._deposited[queued.asset] > AMOUNT_MAX:
            self._recorder.halt(
                "inputs.amount", f"input {self._count - 1}: asset {queued.asset}, amount {amount}"
            )
        self._execution.credit(queued.account, queued.asset, amount)

    @property
    def whole(self) -> bool:
        """Whether all inputs up to the genesis checkpoint are there."""
        return self._count >= self._committee.genesis.checkpoint.inputs_count

    def raise_bond(self, queued: ChainInput) -> None:
        """A bond adds to its sponsor's credit."""
        added = int.from_bytes(queued.amount, "big")
        self.bonds_wei[queued.account] = self.bonds_wei.get(queued.account, 0) + added

    def credit(self, queued: ChainInput) -> None:
        """A deposit that a block takes enters free; one that the market cannot hold credits nothing."""
        amount = int.from_bytes(queued.amount, "big")
        if queued.kind != DEPOSIT or queued.asset >= len(self._committee.genesis.assets):
            return
        if self._execution.state.supply.get(queued.asset, 0) + amount <= AMOUNT_MAX:
            self._execution.credit(queued.account, queued.asset, amount)

    def finish(self) -> None:
        """Compare with the genesis checkpoint."""
        checkpoint = self._committee.genesis.checkpoint
        if (self._count, self._hash) != (checkpoint.inputs_count, checkpoint.inputs_hash):
            self._recorder.halt(
                "inputs.chain",
                f"{self._count} inputs with hash {self._hash.hex()}, expected {checkpoint.inputs_count}",
            )
