"""One thing wrong in a block is exactly one finding of its own code: its parts, its time, its batch, its carry and the
results that it certifies."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mpc_sequencer.audit.ordering import batch_root
from mpc_sequencer.core import domains, limits
from mpc_sequencer.core.actions import BUY, SELL
from mpc_sequencer.core.codec import encode
from mpc_sequencer.core.types import Checkpoint, ResultRef
from tests.audit.audited_deployment import flip, replace, secret
from tests.audit.log_builder import LogBuilder
from tests.audit.log_samples import codes, first_batch, standard


def test_a_valid_log_passes_with_everything_checked(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    report = standard().report(tmp_path, progress=lambda done, total: seen.append((done, total)))
    assert report.verdict == "pass" and report.findings == () and not report.stopped_early
    assert (report.node, report.heights, report.orders, report.fills, report.settlements) == (0, 3, 4, 2, 1)
    assert report.malformed == 0 and report.chain == "not checked"
    assert report.checks["entries"] == report.entries == seen[-1][0] == seen[-1][1]
    assert report.checks["openings"] == report.checks["account_signatures"] == 4
    assert report.checks["receipts_kept"] == 2 and report.checks["certified_compared"] == 2
    assert report.open == {"receipts": 0, "heights": 0}
    assert report.as_dict()["verdict"] == "pass"


def edit_header(**changes: Any) -> Callable[[Any], Any]:
    def edit(block: Any) -> Any:
        values = {name: value(block.header) if callable(value) else value for name, value in changes.items()}
        return replace(block, header=replace(block.header, **values))

    return edit


def with_batch(change: Callable[[tuple[Any, ...]], tuple[Any, ...]]) -> Callable[[Any], Any]:
    def edit(block: Any) -> Any:
        batch = change(block.batch)
        return replace(block, batch=batch, header=replace(block.header, batch_root=batch_root(batch)))

    return edit


def with_certified(change: Callable[[tuple[Any, ...]], tuple[Any, ...]]) -> Callable[[Any], Any]:
    def edit(block: Any) -> Any:
        certified = change(block.certified)
        root = domains.CERTIFIED(encode(certified))
        return replace(block, certified=certified, header=replace(block.header, certified_root=root))

    return edit


BLOCKS: dict[str, Callable[[Any], Any]] = {
    "block.time": edit_header(time_ms=lambda header: header.time_ms + 1),
    "block.inputs_root": edit_header(inputs_root=lambda header: flip(header.inputs_root)),
    "block.checkpoint": edit_header(checkpoint=Checkpoint(6, b"\x33" * 32, 8, b"\x00" * 32)),
    "block.certified": with_certified(lambda certified: (*certified, ResultRef(1, secret("result")))),
    "block.certified_root": edit_header(certified_root=lambda header: flip(header.certified_root)),
    "block.batch_root": edit_header(batch_root=lambda header: flip(header.batch_root)),
    "block.batch_order": with_batch(lambda batch: batch[::-1]),
    "block.skipped": with_batch(lambda batch: batch[:1]),
    "block.repeated": with_batch(lambda batch: (*batch, batch[0])),
}


@pytest.mark.parametrize("code", BLOCKS)
def test_a_part_of_a_block_that_is_not_the_function_of_its_inputs_is_one_finding(
    code: str, tmp_path: Path
) -> None:
    log = LogBuilder()
    first_batch(log, edit=BLOCKS[code])
    assert codes(log, tmp_path) == [code]


@pytest.mark.parametrize(
    "changes",
    [{"height": 3}, {"parent_id": secret("another block")}, {"view": 1}, {"epoch": 1}],
)
def test_a_block_that_does_not_extend_the_one_before_is_found(
    changes: dict[str, Any], tmp_path: Path
) -> None:
    log = LogBuilder()
    first_batch(log)
    log.block(edit=edit_header(**changes), finality=False)
    assert codes(log, tmp_path) == ["block.chain"]


def clocks(*times_ms: int) -> Callable[[Any], Any]:
    return lambda heads: [
        replace(head, time_ms=time_ms) for head, time_ms in zip(heads, times_ms, strict=True)
    ]


def test_block_time_is_the_lower_median_and_never_goes_back(tmp_path: Path) -> None:
    log = LogBuilder()
    first_batch(log)
    before_ms = log.audit.blocks.last_time_ms
    # Two of four clocks far ahead: the lower median is the second, and here it is below the parent's time.
    log.block(
        nodes=(0, 1, 2, 3),
        edit_heads=clocks(before_ms - 50, before_ms + 900, before_ms - 10, before_ms + 900),
    )
    assert log.audit.blocks.last_time_ms == before_ms
    log.block(
        nodes=(0, 1, 2, 3),
        edit_heads=clocks(before_ms + 7, before_ms + 900, before_ms - 10, before_ms + 900),
    )
    assert log.audit.blocks.last_time_ms == before_ms + 7
    assert codes(log, tmp_path) == []


def test_an_order_listed_by_f_members_only_is_not_batched(tmp_path: Path) -> None:
    log = LogBuilder()
    order_id = log.order("alice", SELL, 100, 1)
    log.list(0, order_id)
    assert log.block().batch == ()
    log.list(3, order_id)
    assert [entry.order_id for entry in log.block(nodes=(0, 1, 3)).batch] == [order_id]
    assert codes(log, tmp_path) == []


def test_a_batched_order_that_f_members_listed_is_found(tmp_path: Path) -> None:
    log = LogBuilder()
    order_id = log.order("alice", SELL, 100, 1)
    log.list(0, order_id)
    log.block(edit=with_batch(lambda _: (log.batch_entry(order_id),)))
    assert codes(log, tmp_path) == ["block.unlisted"]


def test_a_leader_that_drops_an_order_is_found(tmp_path: Path) -> None:
    log = LogBuilder()
    first_batch(log, edit=with_batch(lambda _: ()))
    assert codes(log, tmp_path) == ["block.skipped"]


def test_a_batch_that_names_a_signature_variant_not_in_the_log_is_found(tmp_path: Path) -> None:
    log = LogBuilder()
    rename = lambda batch: (replace(batch[0], envelope_hash=secret("variant")), *batch[1:])  # noqa: E731
    first_batch(log, edit=with_batch(rename))
    assert codes(log, tmp_path) == ["block.variant"]


def test_an_uncharged_sponsor_is_found(tmp_path: Path) -> None:
    log = LogBuilder()  # the bond of `poor` covers one charge
    ids = [log.order("alice", SELL, 100 + i, 1, sponsor="poor") for i in range(2)]
    log.list_all(*ids)
    everything = tuple(log.batch_entry(order_id) for order_id in ids)
    block = log.block(edit=with_batch(lambda batch: (*batch, *(e for e in everything if e not in batch))))
    assert len(block.batch) == 2
    assert codes(log, tmp_path) == ["block.credit"]


def test_an_order_without_credit_waits_and_others_pass_it(tmp_path: Path) -> None:
    log = LogBuilder()
    ids = [log.order("alice", SELL, 100 + i, 1, sponsor="poor") for i in range(2)]
    log.list_all(*ids, log.order("bob", BUY, 90, 1))
    assert len(log.block().batch) == 2
    assert len(log.block().batch) == 0
    assert len(log.audit.ordering.queue) == 1
    assert codes(log, tmp_path) == []


def test_an_order_before_its_validity_is_found_and_waits_otherwise(tmp_path: Path) -> None:
    log = LogBuilder()
    early = log.order("alice", SELL, 100, 1, valid_from_ms=log.now_ms + 5_000)
    log.list_all(early)
    assert log.block().batch == ()
    assert len(log.block(5_000).batch) == 1
    assert codes(log, tmp_path / "waits") == []
    log = LogBuilder()
    early = log.order("alice", SELL, 100, 1, valid_from_ms=log.now_ms + 5_000)
    log.list_all(early)
    log.block(edit=with_batch(lambda _: (log.batch_entry(early),)))
    assert codes(log, tmp_path / "taken") == ["block.not_yet_valid"]


def test_an_expired_order_leaves_the_queue(tmp_path: Path) -> None:
    log = LogBuilder()
    late = log.order(
        "alice", SELL, 100, 1, valid_from_ms=log.now_ms + 5_000, valid_until_ms=log.now_ms + 6_000
    )
    log.list_all(late)
    log.block()
    assert late in log.audit.ordering.queue
    log.block(6_000, edit=with_batch(lambda _: (log.batch_entry(late),)))
    assert codes(log, tmp_path) == ["block.unlisted"]


def test_a_batched_order_that_others_list_later_is_not_lifted_again(tmp_path: Path) -> None:
    log = LogBuilder()
    order_id = log.order("alice", SELL, 100, 1)
    for node in (0, 1):
        log.list(node, order_id)
    assert len(log.block().batch) == 1
    for node in (2, 3):
        log.list(node, order_id)
    assert log.block(nodes=(1, 2, 3)).batch == () and log.audit.ordering.listings_ms == {}
    assert codes(log, tmp_path) == []


def test_an_order_leaves_the_queue_at_the_very_end_of_its_validity(tmp_path: Path) -> None:
    for after_ms, batched in ((99, 1), (100, 0)):
        log = LogBuilder()
        start_ms = log.now_ms
        order_id = log.order(
            "alice", SELL, 100, 1, valid_from_ms=start_ms + 50, valid_until_ms=start_ms + 100
        )
        log.list_all(order_id)
        log.block(10, edit_heads=clocks(start_ms, start_ms, start_ms))
        assert order_id in log.audit.ordering.queue
        time_ms = start_ms + after_ms
        assert len(log.block(10, edit_heads=clocks(time_ms, time_ms, time_ms)).batch) == batched
        assert log.audit.ordering.queue == {} and codes(log, tmp_path / str(after_ms)) == []


def test_an_order_lifted_after_its_end_is_not_queued_and_leaves_no_listing(tmp_path: Path) -> None:
    log = LogBuilder()
    log.block(2_000)
    late = log.order("alice", SELL, 100, 1, valid_until_ms=log.now_ms)
    for node in range(4):
        log.list(node, late)
    log.block(nodes=(0, 1, 2, 3))
    assert log.audit.ordering.queue == {} and log.audit.ordering.listings_ms == {}
    assert codes(log, tmp_path) == []


@pytest.mark.parametrize("over", [0, 1])
def test_a_listing_above_a_member_s_bound_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, over: int
) -> None:
    monkeypatch.setattr(limits, "LISTINGS_PER_MEMBER_MAX", 2)
    log = LogBuilder()
    ids = [log.order("alice", SELL, 100, 1) for _ in range(2 + over)]
    for order_id in ids:
        log.list(0, order_id)
    log.block(nodes=(0, 1, 2))
    log.list(1, ids[-1])
    assert len(log.block(nodes=(0, 1, 2)).batch) == 1 - over
    assert codes(log, tmp_path) == []


def test_a_listing_dies_after_its_validity(tmp_path: Path) -> None:
    log = LogBuilder()
    order_id = log.order("alice", SELL, 100, 1, valid_from_ms=1_500_000, valid_until_ms=2_000_000)
    log.list(0, order_id)
    log.block()
    listed_ms = log.audit.blocks.last_time_ms
    log.list(3, order_id)
    log.block(
        nodes=(1, 2, 3), edit_heads=lambda heads: [replace(h, time_ms=listed_ms + 600_000) for h in heads]
    )
    assert log.audit.ordering.queue == {} and log.audit.ordering.listings_ms[order_id].keys() == {3}
    log.now_ms += 600_000
    log.list(1, order_id)
    assert len(log.block().batch) == 1
    assert codes(log, tmp_path) == []


def overflowing(monkeypatch: pytest.MonkeyPatch, orders_max: int) -> LogBuilder:
    monkeypatch.setattr(limits, "BATCH_ORDERS_MAX", orders_max)
    log = LogBuilder()
    log.list_all(*[log.order("alice", SELL, 100 + i, 1) for i in range(4)])
    return log


def test_a_wrong_carry_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """After an overflow the leader takes the order behind the one whose turn it is."""
    log = overflowing(monkeypatch, 2)
    assert len(log.block().batch) == 2
    waiting = sorted(log.audit.ordering.queue, key=lambda order_id: log.audit.ordering.queue[order_id])
    log.list_all(log.order("bob", BUY, 90, 1))  # lifted later, so behind both
    log.block(edit=with_batch(lambda batch: batch[::-1]))
    assert len(waiting) == 2 and codes(log, tmp_path) == ["block.batch_order"]


def test_a_carry_by_order_id_instead_of_its_hash_is_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    log = overflowing(monkeypatch, 4)
    log.block(edit=with_batch(lambda batch: tuple(sorted(batch, key=lambda entry: entry.order_id))))
    assert codes(log, tmp_path) == ["block.batch_order"]


def test_a_batch_over_the_limit_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    log = overflowing(monkeypatch, 2)
    everything = [log.batch_entry(order_id) for order_id in log.envelopes]
    log.block(edit=with_batch(lambda batch: (*batch, next(e for e in everything if e not in batch))))
    assert codes(log, tmp_path) == ["block.overfull"]


def test_a_batch_while_results_lag_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(limits, "RESULT_LAG_HEIGHTS", 1)
    log = LogBuilder()
    first_batch(log)
    order_id = log.order("carol", BUY, 90, 1)
    log.list_all(order_id)
    assert log.block().batch == ()
    log.block(edit=with_batch(lambda _: (log.batch_entry(order_id),)))
    assert codes(log, tmp_path) == ["block.lag"]


def test_a_result_certified_by_fewer_than_q_is_found(tmp_path: Path) -> None:
    log = LogBuilder()
    first_batch(log)
    log.reveal(1)
    result = ResultRef(1, log.audit.results.results[1])
    two = lambda heads: [heads[0], heads[1], replace(heads[2], results=())]  # noqa: E731
    log.block(edit_heads=two, edit=with_certified(lambda _: (result,)))
    assert codes(log, tmp_path) == ["block.certified"]


def test_reports_of_several_blocks_count_together_and_once_per_member(tmp_path: Path) -> None:
    log = LogBuilder()
    first_batch(log)
    log.reveal(1)
    only = lambda *members: lambda heads: [h if h.node in members else replace(h, results=()) for h in heads]  # noqa: E731
    assert log.block(edit_heads=only(0, 1)).certified == ()
    assert log.block(edit_heads=only(0)).certified == ()
    assert [ref.height for ref in log.block(edit_heads=only(2)).certified] == [1]
    assert codes(log, tmp_path) == []


def test_a_wrong_certified_result_is_found(tmp_path: Path) -> None:
    log = LogBuilder()
    first_batch(log)
    log.reveal(1)
    wrong = (ResultRef(1, secret("wrong result")),)
    log.block(edit_heads=lambda heads: [replace(head, results=wrong) for head in heads])
    assert codes(log, tmp_path) == ["result.certified"]


def test_a_wrong_certified_result_is_found_when_the_member_executes_later(tmp_path: Path) -> None:
    log = LogBuilder()
    first_batch(log)
    wrong = (ResultRef(1, secret("wrong result")),)
    log.block(edit_heads=lambda heads: [replace(head, results=wrong) for head in heads])
    log.reveal(1)
    assert codes(log, tmp_path) == ["result.certified"]
