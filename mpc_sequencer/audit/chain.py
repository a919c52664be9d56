"""Compares a log with the settlement contract: signers, inputs, every posted result, the balances it
changed.

The events do not carry the balance changes, so these are judged by their effect: an account's free amount
is the sum of its deposits and of the settled changes. A frozen contract pays that out, with what was withdrawable, and
has nothing of it then. A posted range that is not in the log yet is left open.
"""

from __future__ import annotations

from typing import Protocol

from mpc_sequencer.audit.epochs import Epochs
from mpc_sequencer.audit.report import Recorder
from mpc_sequencer.audit.settlement import Settlement
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.settlement.chain import ChainClient, PostedResult
from mpc_sequencer.settlement.payloads import INPUT_DEPOSIT, Input

BALANCES_READ_MAX = 2_000


class ChainReader(Protocol):
    """What is read of the contract; :class:`mpc_sequencer.settlement.chain.ChainClient` has it."""

    def block_number(self) -> int: ...
    def block_hash(self, block: int) -> bytes: ...
    def signers(self, epoch: int = 0) -> tuple[list[bytes], int]: ...
    def inputs(self, up_to_block: int) -> list[Input]: ...
    def results(self, up_to_block: int | None = None) -> list[PostedResult]: ...
    def balance(self, account: bytes, asset: int) -> tuple[int, int]: ...
    def exits(self, up_to_block: int) -> dict[tuple[bytes, int], int]: ...


def connect(url: str, committee: Committee) -> ChainClient:
    """The deployment's contract at a JSON-RPC URL.

    Raises :class:`~mpc_sequencer.settlement.errors.ChainError`.
    """
    client = ChainClient(url, committee.genesis.settlement)
    client.connect()
    return client


def check_chain(chain: ChainReader, epochs: Epochs, settlement: Settlement, recorder: Recorder) -> None:
    """Compare. Raises :class:`~mpc_sequencer.settlement.errors.ChainError` where the chain cannot be read."""
    recorder.entry_index = None
    for epoch in epochs.all:
        members, quorum = chain.signers(epoch.number)
        if not members and epoch.proven_by is not None:
            continue  # the chain has not heard of it yet
        if (tuple(members), quorum) != (epoch.committee.addresses, epoch.committee.q):
            recorder.fail("chain.signers", f"epoch {epoch.number}: {len(members)} signers, quorum {quorum}")
    checkpoint = epochs.current.committee.genesis.checkpoint
    last_block = chain.block_number()
    inputs = chain.inputs(last_block)
    count = checkpoint.inputs_count
    known = inputs[count - 1].inputs_hash if 0 < count <= len(inputs) else bytes(32)
    agrees = (
        last_block >= checkpoint.number
        and chain.block_hash(checkpoint.number) == checkpoint.block_hash
        and count <= len(inputs)
        and known == checkpoint.inputs_hash
    )
    if not agrees:
        recorder.fail("chain.inputs", f"block {checkpoint.number}, {len(inputs)} inputs on the chain")
    recorder.done("chain_inputs", len(inputs))
    posted = chain.results(last_block)
    if _check_results(posted, settlement, recorder) and agrees:
        _check_balances(chain, inputs, posted, settlement, recorder)


def _check_results(posted: list[PostedResult], settlement: Settlement, recorder: Recorder) -> bool:
    """Compare each posted result with its range; True where the log has all of them and they agree."""
    complete = True
    for result in posted:
        expected = settlement.ranges.get(result.first_height)
        if expected is None and result.first_height > settlement.last_ended_height:
            complete = False
            continue
        if expected is not None and not expected.state_root:
            complete = False
            continue
        recorder.done("chain_results")
        seen = (result.epoch, result.last_height, result.state_root, result.fills_root, result.data_hash)
        if expected is None or seen != (
            expected.epoch.number,
            expected.last_height,
            expected.state_root,
            expected.fills_root,
            expected.data_hash,
        ):
            complete = False
            where = f"{result.first_height}..{result.last_height}"
            recorder.fail(
                "chain.result", f"{where}, state root {result.state_root.hex()}", height=result.last_height
            )
    transactions = {result.last_height: result.transaction_hash for result in posted}
    for last_height, transaction in settlement.transactions.items():
        if transactions.get(last_height) != transaction:
            recorder.fail("chain.missing", f"transaction {transaction.hex()}", height=last_height)
    return complete


def _check_balances(
    chain: ChainReader,
    inputs: list[Input],
    posted: list[PostedResult],
    settlement: Settlement,
    recorder: Recorder,
) -> None:
    expected: dict[tuple[bytes, int], int] = {}
    withdrawn: dict[tuple[bytes, int], int] = {}
    for result in posted:
        for (asset, account), (free, withdrawable) in settlement.ranges[result.first_height].changes.items():
            expected[account, asset] = expected.get((account, asset), 0) + free
            withdrawn[account, asset] = withdrawn.get((account, asset), 0) + withdrawable
    for queued in inputs:
        if queued.kind == INPUT_DEPOSIT and (queued.account, queued.asset) in expected:
            expected[queued.account, queued.asset] += queued.amount
    seen = {key: chain.balance(*key)[0] for key in sorted(expected)[:BALANCES_READ_MAX]}
    last_block = chain.block_number()
    exits = chain.exits(last_block)
    if chain.results(last_block) != posted or len(chain.inputs(last_block)) != len(inputs):
        return  # the chain moved on while its balances were read
    if any(key in exits and free for key, free in seen.items()):
        seen = {key: chain.balance(*key)[0] if key in exits else free for key, free in seen.items()}
    recorder.done("chain_balances", len(seen))
    for (account, asset), free in seen.items():
        due = expected[account, asset]
        said = f"account {account.hex()}, asset {asset}: {free}"
        paid = exits.get((account, asset))
        if paid is None and free != due:
            recorder.fail("chain.balance", f"{said}, expected {due}")
        elif paid is not None and (free or not due <= paid <= due + withdrawn[account, asset]):
            most = due + withdrawn[account, asset]
            recorder.fail("chain.balance", f"{said} and {paid} paid out, expected 0 and {due} to {most}")
