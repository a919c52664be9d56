"""Settlements, receipts and the contract's signers where the committee changes: each belongs to the epoch of its
members, and one of another epoch is a finding of its own."""

from __future__ import annotations

from typing import Any

import pytest

from mpc_sequencer.audit.chain import check_chain
from mpc_sequencer.audit.report import Recorder
from mpc_sequencer.core.transcript import ReceiptEntry, SettlementEntry
from mpc_sequencer.settlement.payloads import BATCH_RESULT, Input
from tests.audit.audited_deployment import replace
from tests.audit.audited_epochs_kit import KEEPER, Log, Rotated, audited, codes, grown, log_of, shrunk


def test_a_range_that_counts_no_height_goes_on_into_the_next_epoch_whose_members_sign_it() -> None:
    audit = audited(grown(), log_of(grown(), 1))
    end = audit.epochs.all[1].last_height
    assert end is not None
    [range_] = [one for one in audit.settlement.ranges.values() if one.first_height <= end < one.last_height]
    assert range_.settled and range_.epoch.number == 2
    assert [one for one in audit.settlement.ranges.values() if one.last_height == audit.epochs.all[0].last_height]


# --- findings: settlements and receipts ---------------------------------------------------------------------------
def settlements(entries: Log) -> list[int]:
    return [at for at, one in enumerate(entries) if isinstance(one, SettlementEntry)]


def resettled(run: Rotated, at: int, epoch: int, signers: int, **changes: Any) -> Log:
    """The log up to a settlement that members of ``epoch``, as many as ``signers`` has for q, have signed for it."""
    entry: Any = replace(log_of(run)[at], **changes)
    digest = BATCH_RESULT(
        epoch, entry.first_height, entry.last_height, entry.prev_state_root, entry.state_root, entry.fills_root,
        entry.data_hash, entry.inputs_count, entry.inputs_hash, entry.deltas_hash,
    )  # fmt: skip
    digest = run.house.committee.digest(digest)
    committee = run.committees[signers]
    signed = tuple((node, run.signer(signers, node).sign_digest(digest)) for node in range(committee.q))
    return [*log_of(run)[:at], replace(entry, signatures=signed)]


def test_settlement_signed_for_or_by_another_epoch() -> None:
    run = shrunk()
    first, second, *_ = settlements(log_of(run))
    assert codes(run, resettled(run, first, 0, 0)) == codes(run, resettled(run, second, 1, 1)) == []
    assert codes(run, resettled(run, second, 0, 1)) == ["settlement.signature"]
    assert codes(run, resettled(run, second, 1, 0)) == ["settlement.signature"]
    assert codes(run, resettled(run, first, 0, 1)) == ["settlement.quorum"]


def test_settlement_that_spans_the_end_of_an_epoch() -> None:
    run = shrunk()
    first, second, *_ = settlements(log_of(run))
    later: Any = log_of(run)[second]
    whole = resettled(run, second, 1, 1, first_height=1)
    assert codes(run, whole) == ["settlement.range"]
    assert codes(run, resettled(run, first, 0, 0, last_height=later.last_height)) == ["settlement.range"]


def receipts(entries: Log, epoch: int) -> list[tuple[int, Any]]:
    found = [(at, one.receipt) for at, one in enumerate(entries) if isinstance(one, ReceiptEntry)]
    return [(at, receipt) for at, receipt in found if receipt.epoch == epoch]


@pytest.mark.parametrize("epoch", [0, 1])
def test_receipt_without_listing_in_its_epoch(epoch: int) -> None:
    run = shrunk()
    entries = log_of(run, 7 if epoch else KEEPER)
    (at, one), (_, other), *_ = receipts(entries, epoch)
    assert one.list_number != other.list_number
    entries[at] = ReceiptEntry(run.signed(replace(one, list_number=other.list_number)))
    assert codes(run, entries) == ["receipt.broken"]


def test_receipt_of_one_epoch_is_not_kept_by_a_list_of_another() -> None:
    """Numbers begin again: the list of that number in the next epoch holds other orders."""
    run = shrunk()
    entries = log_of(run)
    at, one = receipts(entries, 0)[0]
    node = run.committees[1].addresses.index(run.signer(0, one.node).address)
    entries[at] = ReceiptEntry(run.signed(replace(one, epoch=1, node=node)))
    entries.append(entries.pop(at))
    assert codes(run, entries) == ["receipt.broken"]


def test_receipt_of_an_epoch_in_which_its_member_has_no_place() -> None:
    run = shrunk()
    entries = log_of(run, 1)  # who left
    [(_, one), *_] = receipts(entries, 0)
    entries.append(ReceiptEntry(run.signed(replace(one, epoch=1))))
    assert codes(run, entries) == ["receipt.member"]
    entries[-1] = ReceiptEntry(run.signed(replace(one, epoch=2), run.signer(0, 1)))
    assert codes(run, entries) == ["receipt.member"]


def test_a_receipt_whose_list_no_block_of_its_epoch_includes_is_counted_and_no_finding() -> None:
    audit = audited(shrunk(), log_of(shrunk()))
    checks = audit.recorder.checks
    assert checks["receipts"] == checks["receipts_kept"] + checks["receipts_outlived"]
    assert checks["receipts_outlived"] and audit.epochs.current.number == 1


# --- the settlement contract --------------------------------------------------------------------------------------
class Contract:
    """A settlement contract that knows the signers of these epochs and nothing else."""

    def __init__(self, run: Rotated, signers: dict[int, tuple[list[bytes], int]]) -> None:
        self._checkpoint = run.house.committee.genesis.checkpoint
        self._inputs = [
            Input(at, one.kind, one.account, one.asset, int.from_bytes(one.amount, "big"), self._checkpoint.inputs_hash)
            for at, one in enumerate(run.house.inputs)
        ]
        self._signers = signers

    def block_number(self) -> int:
        return self._checkpoint.number

    def block_hash(self, block: int) -> bytes:
        return self._checkpoint.block_hash

    def signers(self, epoch: int = 0) -> tuple[list[bytes], int]:
        return self._signers.get(epoch, ([], 0))

    def inputs(self, up_to_block: int) -> list[Any]:
        return self._inputs

    def results(self, up_to_block: int | None = None) -> list[Any]:
        return []

    def balance(self, account: bytes, asset: int) -> tuple[int, int]:
        return 0, 0

    def exits(self, up_to_block: int) -> dict[tuple[bytes, int], int]:
        return {}


def test_the_contracts_signers_are_those_of_their_epochs() -> None:
    run = grown()
    true = {one.epoch: (list(one.addresses), one.q) for one in run.committees}
    unheard = {0: true[0]}
    swapped = {**true, 1: true[2]}
    no_first = {1: true[1], 2: true[2]}
    audit = audited(run, log_of(run))
    for signers, expected in ((true, []), (unheard, []), (swapped, ["chain.signers"]), (no_first, ["chain.signers"])):
        recorder = Recorder()
        check_chain(Contract(run, signers), audit.epochs, audit.settlement, recorder)
        assert [one.code for one in recorder.findings] == expected
