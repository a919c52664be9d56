"""What the settlement contract holds is compared with the log."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from mpc_sequencer.audit import verify_log
from mpc_sequencer.audit.chain import check_chain
from mpc_sequencer.audit.execution import Execution
from mpc_sequencer.core.codec import encode
from mpc_sequencer.core.lognote import log_origin
from mpc_sequencer.core.transcript import SettlementEntry
from mpc_sequencer.core.types import Checkpoint
from mpc_sequencer.node.translog import TransparencyLog
from mpc_sequencer.settlement.chain import Bond, ChainClient, Deposit, PostedResult
from mpc_sequencer.settlement.devchain import DEV_SECRET
from mpc_sequencer.settlement.embedded import EmbeddedChain, start_embedded
from mpc_sequencer.settlement.payloads import BatchResult, Input, SignedResult, unpack_deltas
from tests.audit import audited_deployment
from tests.audit.audited_deployment import secret
from tests.audit.log_builder import LogBuilder
from tests.audit.log_samples import standard


@dataclass
class RecordedChain:
    """What a chain answered once, to be changed one answer at a time."""

    members: list[bytes]
    quorum: int
    queue: list[Input]
    posted: list[PostedResult]
    free: dict[tuple[bytes, int], int]
    hash_of_checkpoint: bytes
    reads: list[str] = field(default_factory=list)
    paid: dict[tuple[bytes, int], int] = field(default_factory=dict)

    def block_number(self) -> int:
        return 99

    def block_hash(self, block: int) -> bytes:
        assert block == 5
        return self.hash_of_checkpoint

    def signers(self, epoch: int = 0) -> tuple[list[bytes], int]:
        return self.members, self.quorum

    def inputs(self, up_to_block: int) -> list[Input]:
        return self.queue

    def results(self, up_to_block: int | None = None) -> list[PostedResult]:
        return self.posted

    def balance(self, account: bytes, asset: int) -> tuple[int, int]:
        self.reads.append(account.hex())
        return (0 if (account, asset) in self.paid else self.free[account, asset]), 0

    def exits(self, up_to_block: int) -> dict[tuple[bytes, int], int]:
        return self.paid


def recorded(log: LogBuilder) -> RecordedChain:
    """The chain as it is after the log's settlement was posted."""
    house = log.house
    entry = next(entry for entry in log.entries if isinstance(entry, SettlementEntry))
    free = {
        (row.account, row.asset): int.from_bytes(row.amount, "big") for row in house.inputs if row.kind == 1
    }
    for delta in unpack_deltas(entry.deltas):
        free[delta.account, delta.asset] += delta.free
    last_hash = house.committee.genesis.checkpoint.inputs_hash
    queue = [
        Input(index, row.kind, row.account, row.asset, int.from_bytes(row.amount, "big"), last_hash)
        for index, row in enumerate(house.inputs)
    ]
    result = PostedResult(
        0, 1, 3, entry.state_root, entry.fills_root, entry.data_hash, 7, secret("transaction")
    )
    return RecordedChain(list(house.committee.addresses), 3, queue, [result], free, b"\x33" * 32)


def compare(log: LogBuilder, chain: RecordedChain) -> list[str]:
    check_chain(chain, log.audit.epochs, log.audit.settlement, log.audit.recorder)
    return [finding.code for finding in log.audit.recorder.findings]


def test_a_chain_that_holds_what_the_log_says_has_no_finding() -> None:
    log = standard()
    assert compare(log, recorded(log)) == []
    assert log.audit.recorder.checks["chain_results"] == 1 and log.audit.recorder.checks["chain_balances"] > 3


@pytest.mark.parametrize(
    ("code", "change"),
    [
        ("chain.signers", {"quorum": 2}),
        ("chain.signers", {"members": [b"\x01" * 20]}),
        ("chain.inputs", {"queue": []}),
        ("chain.inputs", {"hash_of_checkpoint": b"\x34" * 32}),
        ("chain.missing", {"posted": []}),
    ],
)
def test_a_chain_that_differs_is_one_finding(code: str, change: dict[str, object]) -> None:
    log = standard()
    assert compare(log, replace(recorded(log), **change)) == [code]


@pytest.mark.parametrize(
    "part", ["epoch", "last_height", "state_root", "fills_root", "data_hash", "first_height"]
)
def test_a_posted_result_other_than_the_ranges_is_found(part: str) -> None:
    log = standard()
    chain = recorded(log)
    value = secret("other") if part.endswith(("root", "hash")) else 2
    chain.posted = [replace(chain.posted[0], **{part: value})]
    expected = ["chain.result", "chain.missing"] if part == "last_height" else ["chain.result"]
    assert compare(log, chain) == expected


def test_a_posting_in_another_transaction_is_found() -> None:
    log = standard()
    chain = recorded(log)
    chain.posted = [replace(chain.posted[0], transaction_hash=secret("other"))]
    assert compare(log, chain) == ["chain.missing"]


def test_a_balance_other_than_deposits_and_settled_changes_is_found() -> None:
    log = standard()
    chain = recorded(log)
    asset, account = min(log.range().changes)
    chain.free[account, asset] += 1
    assert compare(log, chain) == ["chain.balance"]


@pytest.mark.parametrize(("off", "codes"), [(0, []), (-1, ["chain.balance"]), (1, ["chain.balance"])])
def test_what_a_frozen_contract_has_paid_out_is_what_was_settled(off: int, codes: list[str]) -> None:
    log = standard()
    chain = recorded(log)
    entry = next(entry for entry in log.entries if isinstance(entry, SettlementEntry))
    withdrawn: dict[tuple[bytes, int], int] = {}
    for delta in unpack_deltas(entry.deltas):
        key = delta.account, delta.asset
        withdrawn[key] = withdrawn.get(key, 0) + delta.withdrawable
    key = min(key for key in withdrawn if not withdrawn[key])
    exits = {one: chain.free[one] + amount for one, amount in withdrawn.items()}
    assert compare(log, replace(chain, paid=exits | {key: exits[key] + off})) == codes


def test_a_balance_that_stays_after_it_was_paid_out_is_found() -> None:
    log = standard()
    chain = recorded(log)
    key = min(key for key in chain.free if chain.free[key])

    class Doubled(RecordedChain):
        def balance(self, account: bytes, asset: int) -> tuple[int, int]:
            return self.free[account, asset], 0

    doubled = Doubled(chain.members, 3, chain.queue, chain.posted, chain.free, chain.hash_of_checkpoint)
    doubled.paid = {key: chain.free[key]}
    assert compare(log, doubled) == ["chain.balance"]


def test_a_result_posted_beyond_the_logs_end_is_left_open() -> None:
    log = standard()
    chain = recorded(log)
    chain.posted.append(
        replace(chain.posted[0], first_height=4, last_height=9, transaction_hash=secret("later"))
    )
    assert compare(log, chain) == [] and chain.reads == []


# --- a real chain, a real contract, the members' own log writer ----------
@pytest.fixture(scope="module")
def embedded() -> Iterator[EmbeddedChain]:
    with start_embedded() as chain:
        yield chain


def test_a_settled_log_passes_against_the_contract(embedded: EmbeddedChain, tmp_path: Path) -> None:
    chain = ChainClient(embedded.url)
    house, tokens = deploy(chain)
    assert len(tokens) == 2
    log = standard(house)
    entry = next(entry for entry in log.entries if isinstance(entry, SettlementEntry))
    result = BatchResult(
        0,
        *(getattr(entry, name) for name in entry.__struct_fields__[:8]),
        unpack_deltas(entry.deltas),
    )
    transaction = chain.post_result(SignedResult(result, entry.signatures), DEV_SECRET)
    chain.wait_receipt(transaction)
    log.entries[-1] = audited_deployment.replace(log.entries[-1], transaction=transaction)
    write_as_members_do(log, tmp_path)
    report = verify_log(tmp_path, house.committee, chain_url=embedded.url)
    assert report.findings == () and report.verdict == "pass" and report.chain == "checked"
    assert report.checks["chain_results"] == 1 and report.checks["chain_balances"] >= 4
    log.entries[-1] = audited_deployment.replace(log.entries[-1], transaction=secret("never sent"))
    report = log.report(tmp_path / "noted", chain_url=embedded.url)
    assert [finding.code for finding in report.findings] == ["chain.missing"]
    chain.close()


def deploy(chain: ChainClient) -> tuple[audited_deployment.Deployment, list[bytes]]:
    chain.connect()
    traders = audited_deployment.trader_signers()
    inputs = audited_deployment.trader_inputs(traders)
    tokens = [chain.deploy_token(DEV_SECRET, name, name, 6) for name in ("BASE", "QUOTE")]
    members = [signer.address for signer in audited_deployment.member_signers()]
    settlement = chain.deploy(DEV_SECRET, members, 3, tokens)
    amounts = [(row, int.from_bytes(row.amount, "big")) for row in inputs]
    deposits = [Deposit(row.account, row.asset, amount) for row, amount in amounts if row.kind == 1]
    bonds = [Bond(row.account, amount) for row, amount in amounts if row.kind == 2]
    chain.fund(DEV_SECRET, deposits, bonds)
    seen = chain.checkpoint(chain.block_number())
    assert seen.inputs_hash == audited_deployment.chained(inputs)
    checkpoint = Checkpoint(seen.number, seen.hash, seen.inputs_count, seen.inputs_hash)
    house = audited_deployment.make_deployment(chain.chain_id(), settlement, tokens, checkpoint, inputs)
    execution = Execution(house.committee.genesis.markets, 2, house.committee.separator)
    for deposit in deposits:
        execution.credit(deposit.account, deposit.asset, deposit.amount)
    chain.start(DEV_SECRET, execution.state.root(), seen.inputs_count)
    return house, tokens


def write_as_members_do(log: LogBuilder, folder: Path) -> None:
    origin = log_origin(log.committee.genesis_id, log.committee.genesis.members[0].log_key)
    writer = TransparencyLog(folder, origin, secret("log 0"))
    for entry in log.entries:
        writer.append(encode(entry))
    writer.checkpoint()
