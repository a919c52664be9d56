"""Rules of the chain inputs: those the genesis checkpoint commits to, all of them, in order.

The chain's queue hashes each input onto the last: ``sha256(hash || kind u8 || account || asset u16 ||
amount u256)`` from 32 zero bytes.
"""

from __future__ import annotations

from hashlib import sha256

from mpc_sequencer.audit.execution import Execution
from mpc_sequencer.audit.report import Recorder
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.limits import AMOUNT_MAX
from mpc_sequencer.core.transcript import ChainInput, InputsEntry

DEPOSIT = 1
BOND = 2


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

    def add(self, entry: InputsEntry) -> None:
        """Take the next inputs."""
        if entry.first_index != self._count:
            self._recorder.halt("inputs.chain", f"inputs from {entry.first_index}, expected {self._count}")
        for queued in entry.inputs:
            self._add(queued)

    def _add(self, queued: ChainInput) -> None:
        self._hash = sha256(
            self._hash
            + bytes((queued.kind,))
            + queued.account
            + queued.asset.to_bytes(2, "big")
            + queued.amount
        ).digest()
        self._count += 1
        self._recorder.done("inputs")
        amount = int.from_bytes(queued.amount, "big")
        if queued.kind == BOND:
            self.bonds_wei[queued.account] = self.bonds_wei.get(queued.account, 0) + amount
            return
        self._deposited[queued.asset] = self._deposited.get(queued.asset, 0) + amount
        if queued.asset >= len(self._committee.genesis.assets) or self._deposited[queued.asset] > AMOUNT_MAX:
            self._recorder.halt(
                "inputs.amount", f"input {self._count - 1}: asset {queued.asset}, amount {amount}"
            )
        self._execution.credit(queued.account, queued.asset, amount)

    def finish(self) -> None:
        """Compare with the genesis checkpoint."""
        checkpoint = self._committee.genesis.checkpoint
        if (self._count, self._hash) != (checkpoint.inputs_count, checkpoint.inputs_hash):
            self._recorder.halt(
                "inputs.chain",
                f"{self._count} inputs with hash {self._hash.hex()}, expected {checkpoint.inputs_count}",
            )
