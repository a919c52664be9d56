"""The auditor over logs with chain inputs: clean ones pass, and each fault of the chain's side is one finding."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

import pytest
from chain_kit import HandChain, bond, deposit, forced, taken_up
from core_kit import submit
from msgspec.structs import replace

from mpc_sequencer.audit.report import Stop
from mpc_sequencer.audit.verify import Audit
from mpc_sequencer.core.codec import decode
from mpc_sequencer.core.limits import AMOUNT_MAX
from mpc_sequencer.core.transcript import BlockEntry, InputsEntry, LogEntry, SettlementEntry
from mpc_sequencer.core.types import Block, Envelope
from mpc_sequencer.sim import Cluster, make_deployment

D = make_deployment(4, seed=81, chain_terms=(1, 2, 1))


@cache
def clean() -> tuple[LogEntry, ...]:
    """A log with deposits, bonds, forced orders good and bad, and a settlement."""
    cluster, chain = Cluster(D, seed=81), HandChain(D)
    account = D.traders[1].address
    for turn in range(4):
        late = D.order(D.traders[0], cluster.now_ms - 1_000)
        chain.block(deposit(account, 0, 5 + turn), bond(account, 9), deposit(account, 7, 1), forced(late))
        chain.block(forced(b"no envelope"))
        chain.tell(cluster)
        submit(cluster, turn, D.order(D.traders[2], cluster.now_ms))
        assert cluster.run(8_000, partial(taken_up, chain))
    chain.block(blocks=9)
    chain.tell(cluster)
    assert cluster.run(8_000, partial(taken_up, chain))
    assert cluster.cores[0].chain.final_state.chain.forced_head == 8
    cluster.run(6_000)
    log = tuple(cluster.logs[0])
    assert any(isinstance(entry, SettlementEntry) for entry in log)
    return log


def codes(entries: list[LogEntry] | tuple[LogEntry, ...]) -> list[str]:
    audit = Audit(D.committee)
    try:
        for entry in entries:
            audit.add(entry)
        audit.finish()
    except Stop:
        pass
    return [finding.code for finding in audit.recorder.findings]


def first_code(change: Callable[[LogEntry], LogEntry | None]) -> str | None:
    """The first finding where the first entry that ``change`` changes is changed."""
    log = list(clean())
    for at, entry in enumerate(log):
        other = change(entry)
        if other is not None:
            found = codes([*log[:at], other, *log[at + 1 :]])
            return found[0] if found else None
    raise AssertionError("nothing was changed")


def blocks(change: Callable[[Block], Block | None]) -> Callable[[LogEntry], LogEntry | None]:
    def changed(entry: LogEntry) -> LogEntry | None:
        block = change(entry.block) if isinstance(entry, BlockEntry) else None
        return None if block is None else BlockEntry(block)

    return changed


def forced_ids() -> set[bytes]:
    bodies = [one.body for entry in clean() if isinstance(entry, InputsEntry) for one in entry.inputs if one.body]
    return {decode(Envelope, body).order_id() for body in bodies if body != b"no envelope"}


def without_forced(block: Block) -> Block | None:
    ids = forced_ids()
    kept = tuple(one for one in block.batch if one.order_id not in ids)
    return replace(block, batch=kept) if len(kept) < len(block.batch) else None


def checkpoint_ahead(block: Block) -> Block | None:
    header = block.header
    return replace(block, header=replace(header, checkpoint=replace(header.checkpoint, number=99)))


def settlement_inputs(entry: LogEntry) -> LogEntry | None:
    return replace(entry, inputs_count=entry.inputs_count + 1) if isinstance(entry, SettlementEntry) else None


def test_a_log_with_inputs_is_clean() -> None:
    assert codes(clean()) == []


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (blocks(without_forced), "block.forced"),
        (blocks(checkpoint_ahead), "block.checkpoint"),
        (settlement_inputs, "settlement.inputs"),
    ],
    ids=["a forced order is skipped", "a checkpoint its heads do not name", "a settlement of other inputs"],
)
def test_a_fault_of_the_chain_s_side_is_found(change: Callable[[LogEntry], LogEntry | None], code: str) -> None:
    assert first_code(change) == code


def test_a_credit_that_the_node_left_out_shows_in_the_results(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mpc_sequencer.audit.inputs.Inputs.credit", lambda self, queued: None)
    assert codes(clean())[0] == "result.state_root"


def test_a_deposit_that_takes_an_asset_past_what_a_balance_holds_credits_nothing() -> None:
    """The bound is over all accounts together, as in the market."""
    audit = Audit(D.committee)
    for entry in clean():
        audit.add(entry)
    state, account = audit.execution.state, b"\x31" * 20
    held = {address: one.free.get(0, 0) + one.locked.get(0, 0) for address, one in state.accounts.items()}
    room = AMOUNT_MAX - sum(held.values())
    audit.inputs.credit(deposit(account, 0, room + 1))
    assert account not in state.accounts
    audit.inputs.credit(deposit(account, 0, room))
    audit.inputs.credit(deposit(account, 0, 1))
    assert state.accounts[account].free == {0: room}


def test_credits_forced_orders_and_what_is_cleared_come_out_as_the_members_have_them() -> None:
    audit = Audit(D.committee)
    for entry in clean():
        audit.add(entry)
    chain = audit.blocks.chain
    assert chain.forced_done == 8 and chain.cleared_number == chain.checkpoint.number
    assert audit.inputs.bonds_wei[D.traders[1].address] == 10**18 + 36
