"""One thing wrong in settlements, receipts or what a log begins with is exactly one finding of its own code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mpc_sequencer.audit import FINDINGS_MAX
from mpc_sequencer.audit.settlement import pack
from mpc_sequencer.core import transcript
from mpc_sequencer.core.actions import BUY, SELL
from tests.audit.audited_deployment import BASE, QUOTE, chain_input, deployment, replace, secret
from tests.audit.log_builder import LogBuilder
from tests.audit.log_samples import codes, first_batch, standard


def settled(**options: Any) -> LogBuilder:
    log = standard()
    del log.entries[-2:]
    log.audit.settlement.ranges[1].settled = False
    log.settlement(**options)
    return log


def wrong_deltas() -> bytes:
    traders = deployment().traders
    return pack({(QUOTE, traders["bob"].address): (5, 0), (QUOTE, traders["alice"].address): (-5, 0)})


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("settlement.state_root", {"state_root": secret("state")}),
        ("settlement.state_root", {"prev_state_root": secret("state")}),
        ("settlement.fills_root", {"fills_root": secret("fills")}),
        ("settlement.data_hash", {"data_hash": secret("data")}),
        ("settlement.inputs", {"inputs_count": 9}),
        ("settlement.inputs", {"inputs_hash": secret("inputs")}),
        ("settlement.deltas", {"deltas": wrong_deltas()}),
        ("settlement.range", {"last_height": 2}),
        ("settlement.range", {"first_height": 2}),
        ("settlement.quorum", {"nodes": (0, 1)}),
        ("settlement.quorum", {"nodes": (0, 1, 1)}),
        ("settlement.quorum", {"nodes": (0, 2, 1)}),
    ],
)
def test_a_wrong_settlement_is_one_finding(code: str, changes: dict[str, Any], tmp_path: Path) -> None:
    assert codes(settled(**changes), tmp_path) == [code]


def test_a_settlement_changed_after_it_was_signed_says_so(tmp_path: Path) -> None:
    log = settled(after=lambda entry: replace(entry, deltas=wrong_deltas()))
    [finding] = log.report(tmp_path).findings
    assert finding.code == "settlement.deltas" and "did not sign" in finding.detail
    log = settled(deltas=wrong_deltas())
    assert "q members signed it" in log.report(tmp_path / "signed").findings[0].detail


def test_a_settlement_with_another_members_signature_is_found(tmp_path: Path) -> None:
    forge = lambda entry: replace(entry, signatures=(*entry.signatures[:2], (3, entry.signatures[2][1])))  # noqa: E731
    assert codes(settled(after=forge), tmp_path) == ["settlement.signature"]


def test_a_range_settled_twice_is_found(tmp_path: Path) -> None:
    log = standard()
    log.append(log.entries[-2])
    assert codes(log, tmp_path) == ["settlement.repeated"]


def test_a_posting_noted_for_an_unsettled_range_is_found(tmp_path: Path) -> None:
    log = standard()
    log.append(transcript.SettledEntry(last_height=2, transaction=secret("t"), gas_used=1))
    assert codes(log, tmp_path) == ["settled.range"]


def test_a_range_settled_before_its_last_result_is_certified_is_found(tmp_path: Path) -> None:
    log = LogBuilder()
    first_batch(log)
    log.reveal(1)
    log.block(5_000, edit_heads=lambda heads: [replace(head, results=()) for head in heads])
    log.settlement()
    assert codes(log, tmp_path) == ["settlement.uncertified"]


def test_a_range_settled_before_the_log_has_its_results_is_found(tmp_path: Path) -> None:
    log = LogBuilder()
    first_batch(log)
    log.block(5_000)
    root = secret("state")
    log.settlement(prev_state_root=root, state_root=root, fills_root=root)
    assert codes(log, tmp_path) == ["settlement.unexecuted"]


def test_packed_changes_ascend_by_asset_and_account_without_zero_rows() -> None:
    first, second = b"\x01" * 20, b"\x02" * 20
    packed = pack({(1, first): (-5, 5), (0, second): (7, 0), (0, first): (0, 0)})
    assert packed == (
        second
        + bytes(2)
        + (7).to_bytes(16, "big")
        + bytes(16)
        + first
        + b"\0\1"
        + (-5).to_bytes(16, "big", signed=True)
        + (5).to_bytes(16, "big")
    )


def test_ranges_end_by_time_or_by_number_of_heights_and_only_with_a_counting_height() -> None:
    log = LogBuilder()
    log.block(10_000)
    assert log.audit.settlement.ranges == {}
    first_batch(log)
    log.reveal(2)
    log.block(3_998)
    assert log.audit.settlement.ranges == {}
    log.block(2)
    assert log.range().last_height == 4
    log.list_all(log.order("carol", BUY, 1, 1))
    for _ in range(63):
        log.block(1)
    assert set(log.audit.settlement.ranges) == {1}
    log.block(1)
    assert log.range(5).last_height == 68


# --- receipts ----------
def test_a_broken_receipt_is_found(tmp_path: Path) -> None:
    log = standard()
    order_id = log.order("alice", SELL, 100, 1)
    log.receipt(order_id, 2)
    assert codes(log, tmp_path) == ["receipt.broken"]


def test_a_receipt_kept_in_another_list_is_broken(tmp_path: Path) -> None:
    log = standard()
    listed = log.lists[0][0].entries[0]
    log.receipt(listed, 2)
    report = log.report(tmp_path)
    assert [finding.code for finding in report.findings] == ["receipt.broken"]
    assert report.findings[0].entry_index == len(log.entries) - 1


def test_a_receipt_whose_list_is_not_included_yet_is_open(tmp_path: Path) -> None:
    log = standard()
    log.receipt(log.order("alice", SELL, 100, 1), 3)
    report = log.report(tmp_path)
    assert report.verdict == "pass" and report.open["receipts"] == 1


def test_a_receipt_of_another_member_or_epoch_is_found(tmp_path: Path) -> None:
    log = standard()
    log.receipt(log.lists[0][0].entries[0], 1, node=1)
    assert codes(log, tmp_path) == ["receipt.member"]
    log = standard()
    log.receipt(log.lists[0][0].entries[0], 1, lambda receipt: replace(receipt, epoch=1))
    assert codes(log, tmp_path / "epoch") == ["receipt.member"]


def test_a_receipt_the_member_did_not_sign_is_found(tmp_path: Path) -> None:
    log = standard()
    log.receipt(
        log.lists[0][0].entries[0], 1, lambda receipt: replace(receipt, received_ms=receipt.received_ms + 1)
    )
    assert codes(log, tmp_path) == ["receipt.signature"]


# --- genesis, inputs ----------
def test_another_members_genesis_entry_is_found(tmp_path: Path) -> None:
    log = standard()
    log.entries[0] = replace(log.entries[0], keeper=log.committee.genesis.members[1].log_key)
    assert codes(log, tmp_path) == ["log.genesis"]
    log = standard()
    log.entries[0] = replace(log.entries[0], genesis=secret("another deployment"))
    assert codes(log, tmp_path / "deployment") == ["log.genesis"]


def test_a_log_that_starts_without_its_genesis_or_has_it_twice_is_found(tmp_path: Path) -> None:
    log = standard()
    log.append(log.entries[0])
    assert codes(log, tmp_path / "twice") == ["log.genesis"]
    log = standard()
    del log.entries[0]
    assert codes(log, tmp_path / "without") == ["log.genesis"]


@pytest.mark.parametrize("change", ["amount", "missing", "order", "more"])
def test_inputs_other_than_those_of_the_checkpoint_are_found(change: str, tmp_path: Path) -> None:
    inputs = list(deployment().inputs)
    if change == "amount":
        inputs[0] = chain_input(1, inputs[0].account, BASE, 10**9 + 1)
    elif change == "missing":
        inputs.pop()
    elif change == "order":
        inputs[0], inputs[1] = inputs[1], inputs[0]
    else:
        inputs.append(chain_input(2, inputs[0].account, 0, 1))
    log = LogBuilder(inputs=inputs)
    log.receipt(secret("order"), 1)
    assert codes(log, tmp_path) == ["inputs.chain"]


def test_deposits_beyond_what_a_balance_holds_or_of_no_asset_are_found(tmp_path: Path) -> None:
    inputs = list(deployment().inputs)
    for asset, amount in ((BASE, 1 << 127), (2, 1)):
        log = LogBuilder(inputs=[*inputs, chain_input(1, inputs[0].account, asset, amount)])
        assert codes(log, tmp_path / str(asset)) == ["inputs.amount"]


def test_chain_inputs_that_are_told_again_are_found(tmp_path: Path) -> None:
    log = standard()
    log.append(transcript.InputsEntry(first_index=0, inputs=deployment().inputs[:1]))
    assert codes(log, tmp_path) == ["inputs.chain"]


def test_an_audit_stops_after_enough_findings(tmp_path: Path) -> None:
    log = standard()
    for _ in range(FINDINGS_MAX + 5):
        log.receipt(log.lists[0][0].entries[0], 1, node=1)
    report = log.report(tmp_path)
    assert len(report.findings) == FINDINGS_MAX and report.stopped_early and report.verdict == "fail"
