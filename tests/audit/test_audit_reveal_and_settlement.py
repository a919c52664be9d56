"""One thing wrong in bundles, openings, results, settlements or receipts is exactly one finding of its own code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mpc_sequencer.audit import FINDINGS_MAX
from mpc_sequencer.audit.reveal import unpadded
from mpc_sequencer.audit.settlement import pack
from mpc_sequencer.core import transcript
from mpc_sequencer.core.actions import BUY, SELL
from mpc_sequencer.core.types import NOTARIZE
from tests.audit.log_builder import (
    BASE,
    QUOTE,
    LogBuilder,
    chain_input,
    deployment,
    first_batch,
    flip,
    replace,
    secret,
    standard,
)
from threshold import BundleContext, coin_share


def codes(log: LogBuilder, folder: Path) -> list[str]:
    return [finding.code for finding in log.report(folder).findings]


# --- bundles ----------
def test_share_before_finality(tmp_path: Path) -> None:
    """A bundle whose certificate only notarizes: its member released shares before the block was final."""
    log = LogBuilder()
    first_batch(log)
    notarized = log.certificate(log.blocks[1].header, kind=NOTARIZE)
    log.bundles(1, (0, 2))
    log.append(
        transcript.BundleEntry(log.bundle(1, 1, lambda bundle: replace(bundle, certificate=notarized)))
    )
    assert codes(log, tmp_path) == ["bundle.certificate"]


def test_a_bundle_with_a_certificate_of_q_minus_1_is_share_before_finality(tmp_path: Path) -> None:
    log = LogBuilder()
    first_batch(log)
    short = log.certificate(log.blocks[1].header, nodes=(0, 1))
    log.append(transcript.BundleEntry(log.bundle(1, 1, lambda bundle: replace(bundle, certificate=short))))
    assert codes(log, tmp_path) == ["bundle.certificate"]


BUNDLES: dict[str, Callable[[Any], Any]] = {
    "bundle.block": lambda bundle: replace(bundle, block_id=secret("another block")),
    "bundle.member": lambda bundle: replace(bundle, epoch=1),
    "bundle.shares": lambda bundle: replace(bundle, shares=bundle.shares[:1]),
}


@pytest.mark.parametrize("code", BUNDLES)
def test_a_bundle_that_does_not_count_is_one_finding(code: str, tmp_path: Path) -> None:
    log = LogBuilder()
    first_batch(log)
    log.append(transcript.BundleEntry(log.bundle(1, 1, BUNDLES[code])))
    assert codes(log, tmp_path) == [code]


def test_a_bundle_without_its_proof_is_found(tmp_path: Path) -> None:
    log = LogBuilder()
    first_batch(log)
    log.append(transcript.BundleEntry(log.bundle(1, 1, lambda bundle: replace(bundle, proof=b""))))
    assert codes(log, tmp_path) == ["bundle.shares"]


def test_a_bundle_signed_by_another_member_is_found(tmp_path: Path) -> None:
    log = LogBuilder()
    first_batch(log)
    forged = replace(log.bundle(1, 1), node=2)
    log.append(transcript.BundleEntry(forged))
    assert codes(log, tmp_path) == ["bundle.signature"]


# --- coins ----------
def of_another_block(bundle: Any) -> Any:
    """A coin share the member did make, for another block."""
    house = deployment()
    context = BundleContext(house.committee.sealing_key.key_id, 0, secret("another block"), bundle.node + 1)
    made = coin_share(house.shares[bundle.node], context, entropy=secret("nonce"))
    return replace(bundle, coin_share=made)


BAD_COINS: dict[str, Callable[[Any], Any]] = {
    "bit flipped": lambda bundle: replace(bundle, coin_share=flip(bundle.coin_share)),
    "zeros": lambda bundle: replace(bundle, coin_share=bytes(97)),
    "of another block": of_another_block,
}


def with_coins(good: tuple[int, ...], bad: Callable[[Any], Any] | None = None) -> LogBuilder:
    """A whole height, its bundles by ``good`` and a last one of member 1 edited by ``bad``."""
    log = LogBuilder()
    order_ids = first_batch(log)
    log.bundles(1, good)
    if bad is not None:
        log.append(transcript.BundleEntry(log.bundle(1, 1, bad)))
    for order_id in order_ids:
        log.open(1, order_id)
    return log


@pytest.mark.parametrize("bad", BAD_COINS)
def test_a_bad_coin_share_is_one_finding_and_enters_no_coin(bad: str, tmp_path: Path) -> None:
    log = with_coins((0, 2, 3), BAD_COINS[bad])
    log.result(1)
    assert codes(log, tmp_path) == ["bundle.coin"]


def test_a_result_before_t_valid_coin_shares_is_found(tmp_path: Path) -> None:
    log = with_coins((0, 2), BAD_COINS["bit flipped"])
    log.append(transcript.ResultEntry(1, secret("state"), secret("fills"), secret("result")))
    assert codes(log, tmp_path) == ["bundle.coin", "coin.missing"]


def test_a_coin_share_that_comes_after_the_openings_counts(tmp_path: Path) -> None:
    log = with_coins((0, 2), BAD_COINS["bit flipped"])
    log.bundles(1, (3,))
    log.result(1)
    assert codes(log, tmp_path) == ["bundle.coin"]


def contested(coin: bytes | None) -> LogBuilder:
    """One lot for sale and two bids for it at one price: the draw decides, by the coin the log's author used."""
    log = LogBuilder()
    order_ids = [log.order("alice", SELL, 100, 1), *(log.order(who, BUY, 100, 1) for who in ("bob", "carol"))]
    log.list_all(*order_ids)
    log.block()
    if coin is not None:
        log.audit.reveal.coin = lambda height: coin  # type: ignore[method-assign]
    log.reveal(1)
    return log


def test_a_result_drawn_from_another_coin_is_found(tmp_path: Path) -> None:
    honest = contested(None)
    assert codes(honest, tmp_path / "honest") == []
    block_id = honest.blocks[1].header.block_id()
    others = [contested(coin) for coin in (block_id, *(secret(f"coin {i}") for i in range(16)))]
    bent = [log for log in others if log.entries[-1].state_root != honest.entries[-1].state_root]
    assert 0 < len(bent) < len(others)
    assert codes(bent[0], tmp_path / "bent") == ["result.state_root"]


# --- openings ----------
def opened(
    edit: Callable[[Any], Any] = lambda value: value, bundles: tuple[int, ...] = (0, 2, 3)
) -> LogBuilder:
    log = LogBuilder()
    order_ids = first_batch(log)
    log.bundles(1, bundles)
    log.open(1, order_ids[0], edit)
    return log


def test_a_bad_opening_is_found(tmp_path: Path) -> None:
    assert codes(opened(lambda value: replace(value, sigma=flip(value.sigma))), tmp_path) == ["opening.wrong"]


def test_an_opening_with_other_contents_is_found(tmp_path: Path) -> None:
    def change(value: Any) -> Any:
        return replace(value, padded=value.padded[:40] + flip(value.padded[40:41]) + value.padded[41:])

    assert codes(opened(change), tmp_path) == ["opening.wrong"]


def test_an_opening_before_t_bundles_is_found(tmp_path: Path) -> None:
    assert codes(opened(bundles=(0, 2)), tmp_path) == ["opening.early"]


def test_an_opening_of_an_order_outside_the_batch_is_found(tmp_path: Path) -> None:
    assert codes(opened(lambda value: replace(value, order_id=secret("another order"))), tmp_path) == [
        "opening.order"
    ]


def test_two_openings_of_one_order_are_found(tmp_path: Path) -> None:
    log = opened()
    log.append(log.entries[-1])
    assert codes(log, tmp_path) == ["opening.repeated"]


def test_an_order_skipped_in_the_reveal_is_found(tmp_path: Path) -> None:
    log = opened()
    log.append(transcript.ResultEntry(1, secret("state"), secret("fills"), secret("result")))
    assert codes(log, tmp_path) == ["opening.missing"]


# --- malformed orders ----------
def with_garbage() -> tuple[LogBuilder, bytes, bytes]:
    """A batch of a good order and one with honest u, v and proof over a garbage c."""
    from threshold import group
    from threshold.hash_to_curve import second_generator
    from threshold.tdh2 import _challenge

    log = LogBuilder()
    good = log.order("alice", SELL, 100, 1)
    label = log.label(valid_until_ms=1_400_000)
    r, s = secret("r"), secret("s")
    second = group.parse_point(second_generator(), "second")
    u, v = group.generator_multiply_secret(r), group.multiply_secret(second, r)
    c = bytes(256 + 48)
    w, w2 = group.generator_multiply_secret(s), group.multiply_secret(second, s)
    e = _challenge(label.encode(), u + v, w, w2, c)
    z = group.scalar_multiply_add_secret(r, e, s)
    bad = log.envelope(label, bytes((1,)) + u + v + e + z + c).order_id()
    log.list_all(good, bad)
    log.block()
    return log, good, bad


def test_honest_u_with_garbage_c_is_malformed_and_the_rest_goes_on(tmp_path: Path) -> None:
    log, good, bad = with_garbage()
    log.bundles(1)
    log.unopenable(1, bad)
    log.open(1, good)
    log.result(1)
    report = log.report(tmp_path)
    assert report.findings == () and report.malformed == 1 and report.checks["bundle_proofs"] == 3


def test_a_good_order_called_malformed_is_found(tmp_path: Path) -> None:
    log, good, _ = with_garbage()
    log.bundles(1)
    log.unopenable(1, good)
    assert codes(log, tmp_path) == ["malformed.opens"]


def test_a_malformed_verdict_by_fewer_than_t_members_is_found(tmp_path: Path) -> None:
    for nodes in ((0, 2), (0, 0, 2), (0, 1, 2)):
        log, _, bad = with_garbage()
        log.bundles(1)
        log.unopenable(1, bad, nodes)
        assert codes(log, tmp_path / str(nodes)) == ["malformed.members"]


def test_bad_share_in_a_valid_bundle_cannot_make_an_order_malformed(tmp_path: Path) -> None:
    log, good, _ = with_garbage()
    log.bundles(1, (0, 2))
    bend = lambda bundle: replace(bundle, shares=bundle.shares[::-1])  # noqa: E731
    log.append(transcript.BundleEntry(log.bundle(1, 3, bend)))
    log.unopenable(1, good)
    assert codes(log, tmp_path) == ["malformed.proof"]


def test_bad_share_beside_a_good_opening_is_no_fault_of_the_log(tmp_path: Path) -> None:
    log, good, _ = with_garbage()
    log.bundles(1, (0, 2))
    bend = lambda bundle: replace(bundle, shares=bundle.shares[::-1])  # noqa: E731
    log.append(transcript.BundleEntry(log.bundle(1, 3, bend)))
    log.open(1, good)
    assert codes(log, tmp_path) == []


def test_a_length_or_padding_that_does_not_fit_is_malformed() -> None:
    assert unpadded(b"\0\0\0\1a\0\0") == b"a" and unpadded(b"\0\0\0\3abc") == b"abc"
    for padded in (b"\0\0\0", b"\0\0\0\1a\0\1", b"\0\0\0\4abc"):
        assert unpadded(padded) is None


# --- results ----------
def resulting(**changes: Any) -> LogBuilder:
    log = LogBuilder()
    order_ids = first_batch(log)
    log.bundles(1)
    for order_id in order_ids:
        log.open(1, order_id)
    log.result(1, **changes)
    return log


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("result.state_root", {"state_root": secret("state")}),
        ("result.fills_root", {"fills_root": secret("a wrong fill")}),
        ("result.hash", {"result": secret("result")}),
        ("result.order", {"height": 2}),
    ],
)
def test_a_wrong_result_is_one_finding(code: str, changes: dict[str, Any], tmp_path: Path) -> None:
    assert codes(resulting(**changes), tmp_path) == [code]


def test_results_out_of_order_or_twice_are_found(tmp_path: Path) -> None:
    log = resulting()
    log.append(log.entries[-1])
    assert codes(log, tmp_path) == ["result.order"]


# --- settlement ----------
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


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("commit.epoch", {"epoch": 1}),
        ("commit.prev_hash", {"prev_hash": secret("prev")}),
        ("commit.ciphertext_root", {"ciphertext_root": secret("orders")}),
        ("commit.l1_head", {"l1_head": 99}),
        ("commit.forced_head", {"forced_head": 1}),
        ("commit.quorum", {"nodes": (0, 1)}),
        ("commit.quorum", {"nodes": (0, 1, 1)}),
        ("commit.signature", {"after": lambda entry: replace(entry, signatures=forged(entry.signatures))}),
    ],
)
def test_a_wrong_order_commit_is_one_finding(code: str, changes: dict[str, Any], tmp_path: Path) -> None:
    log = uncommitted()
    log.commit(**changes)
    log.settlement()
    assert codes(log, tmp_path) == [code]


def test_an_order_commit_of_no_range_and_one_said_twice_are_found(tmp_path: Path) -> None:
    log = uncommitted()
    log.commit(height=2)
    assert codes(log, tmp_path / "none") == ["commit.range"]
    log = standard()
    log.append(next(entry for entry in log.entries if isinstance(entry, transcript.CommitEntry)))
    assert codes(log, tmp_path / "twice") == ["commit.repeated"]


def test_a_settlement_without_its_order_commit_is_found(tmp_path: Path) -> None:
    log = uncommitted()
    log.settlement(committed=False)
    assert codes(log, tmp_path) == ["settlement.uncommitted"]


def forged(signatures: tuple[tuple[int, bytes], ...]) -> tuple[tuple[int, bytes], ...]:
    return (*signatures[:2], (3, signatures[2][1]))


def uncommitted() -> LogBuilder:
    """The valid log as it is before its range's order commit."""
    log = standard()
    del log.entries[-3:]
    log.audit.settlement.ranges[1].settled = False
    log.audit.settlement.commits.seen.clear()
    return log


@pytest.mark.parametrize("whole", [False, True])
def test_changes_that_one_entry_cannot_hold_are_taken_together(tmp_path: Path, whole: bool) -> None:
    log = settled()
    last = log.entries.pop()
    assert isinstance(last, transcript.SettlementEntry)
    log.audit.settlement.ranges[1].settled = False
    head, tail = last.deltas[:54], last.deltas[54:]
    log.append(transcript.DeltasEntry(1, head))
    log.append(replace(last, deltas=tail if whole else tail[54:]))
    assert codes(log, tmp_path) == ([] if whole else ["settlement.deltas"])


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


def test_chain_inputs_after_the_start_are_found(tmp_path: Path) -> None:
    log = standard()
    log.append(transcript.InputsEntry(first_index=len(deployment().inputs), inputs=deployment().inputs[:1]))
    assert codes(log, tmp_path) == ["log.order"]


def test_an_audit_stops_after_enough_findings(tmp_path: Path) -> None:
    log = standard()
    for _ in range(FINDINGS_MAX + 5):
        log.receipt(log.lists[0][0].entries[0], 1, node=1)
    report = log.report(tmp_path)
    assert len(report.findings) == FINDINGS_MAX and report.stopped_early and report.verdict == "fail"
