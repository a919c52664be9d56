"""One thing wrong in the lists of members or in the heads that name them is exactly one finding of its own code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mpc_sequencer.core import limits, transcript
from mpc_sequencer.core.actions import SELL
from tests.audit.audited_deployment import replace, secret
from tests.audit.log_builder import LogBuilder
from tests.audit.log_samples import Build, codes, first_batch


def one_list(edit: Callable[[Any], Any]) -> Build:
    def build() -> LogBuilder:
        log = LogBuilder()
        order_id = log.order("alice", SELL, 100, 1)
        log.list(0, order_id)
        log.list(1, order_id, edit=edit)
        log.list(2, order_id)
        log.block()
        return log

    return build


def list_signed_by_another_member() -> LogBuilder:
    log = LogBuilder()
    log.list_all(log.order("alice", SELL, 100, 1))
    signature = log.lists[2][0].signature
    log.lists[1][0] = replace(log.lists[1][0], signature=signature)
    log.block()
    return log


def list_equivocation() -> LogBuilder:
    log = LogBuilder()
    first_batch(log)
    other = log.signed(replace(log.lists[1][0], entries=(secret("another order"),)))
    log.append(transcript.ListEntry(other))
    return log


def list_twice() -> LogBuilder:
    log = LogBuilder()
    first_batch(log)
    log.append(transcript.ListEntry(log.lists[1][0]))
    return log


def list_skipped() -> LogBuilder:
    log = LogBuilder()
    log.list(0, secret("a"))
    log.list(0, secret("b"))
    log.block(edit_lists=lambda lists: lists[1:])
    return log


def list_left_out_at_the_end() -> LogBuilder:
    log = LogBuilder()
    log.list(0, secret("a"))
    log.list(0, secret("b"))
    log.block(edit_lists=lambda lists: lists[:1])
    return log


def list_beyond_the_head() -> LogBuilder:
    log = LogBuilder()
    log.list(0, secret("a"))
    log.block(nodes=(1, 2, 3), edit_lists=lambda _: log.lists[0])
    return log


def test_lists_out_of_order_are_found(tmp_path: Path) -> None:
    log = LogBuilder()
    log.list(0, secret("a"))
    log.list(1, secret("b"))
    log.block(edit_lists=lambda lists: lists[::-1])
    assert codes(log, tmp_path) == ["log.order"]


LISTS = {
    "list.signature": list_signed_by_another_member,
    "list.equivocation": list_equivocation,
    "list.repeated": list_twice,
    "list.skipped": list_skipped,
    "list.chain": one_list(lambda made: replace(made, prev_hash=secret("elsewhere"))),
    "list.duplicate": one_list(lambda made: replace(made, entries=made.entries * 2)),
}


@pytest.mark.parametrize("code", LISTS)
def test_a_fault_of_a_list_is_one_finding(code: str, tmp_path: Path) -> None:
    assert codes(LISTS[code](), tmp_path) == [code]


@pytest.mark.parametrize("build", [list_left_out_at_the_end, list_beyond_the_head])
def test_a_block_includes_exactly_the_lists_up_to_its_heads(build: Build, tmp_path: Path) -> None:
    assert codes(build(), tmp_path) == ["block.lists"]


@pytest.mark.parametrize("changes", [{"epoch": 1}, {"incarnation": 1}, {"node": 9}])
def test_a_list_of_another_epoch_incarnation_or_member_is_one_finding(
    changes: dict[str, int], tmp_path: Path
) -> None:
    log = LogBuilder()
    first_batch(log)
    made = replace(log.lists[1][0], number=2, prev_hash=log.lists[1][0].struct_hash(), **changes)
    log.append(transcript.ListEntry(replace(made, signature=log.sign(1, made.struct_hash()))))
    assert codes(log, tmp_path) == ["list.member"]


def test_more_lists_in_a_block_than_allowed_are_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(limits, "LISTS_PER_BLOCK_MAX", 2)
    log = LogBuilder()
    for node in (0, 1):
        log.list(node, secret(str(node)))
    log.block()
    assert codes(log, tmp_path / "two") == []
    for node in (0, 1, 2):
        log.list(node, secret(f"second {node}"))
    log.block()
    assert codes(log, tmp_path / "three") == ["block.lists_count"]


def test_a_head_far_beyond_its_members_lists_is_found_at_once(tmp_path: Path) -> None:
    log = LogBuilder()
    log.block(edit_heads=lambda heads: [*heads[:2], replace(heads[2], list_number=1 << 62)], finality=False)
    assert codes(log, tmp_path) == ["block.lists_count"]


# --- heads ----------
def with_heads(edit: Callable[[Any], Any], **options: Any) -> Build:
    def build() -> LogBuilder:
        log = LogBuilder()
        first_batch(log)
        log.block(edit_heads=edit, **options)
        return log

    return build


def second(**changes: Any) -> Callable[[Any], Any]:
    return lambda heads: [heads[0], replace(heads[1], **changes), *heads[2:]]


HEADS = {
    "head.count": with_heads(lambda heads: heads[:2]),
    "head.order": with_heads(lambda heads: [heads[1], heads[0], heads[2]]),
    "head.member": with_heads(second(incarnation=1)),
    "head.view": with_heads(second(view=0)),
    "head.stale": with_heads(second(list_number=0)),
    "head.list_hash": with_heads(second(list_hash=secret("another list"))),
}


@pytest.mark.parametrize("code", HEADS)
def test_a_fault_of_a_head_is_one_finding(code: str, tmp_path: Path) -> None:
    assert codes(HEADS[code](), tmp_path) == [code]


def test_a_head_of_the_view_before_is_accepted_and_one_of_the_next_view_is_not(tmp_path: Path) -> None:
    assert codes(with_heads(second(view=1))(), tmp_path / "before") == []
    assert codes(with_heads(second(view=3))(), tmp_path / "next") == ["head.view"]


def test_a_head_signed_by_another_member_is_found(tmp_path: Path) -> None:
    log = LogBuilder()
    first_batch(log)

    def forge(heads: list[Any]) -> list[Any]:
        signed = [log.signed(head) for head in heads]
        return [signed[0], replace(signed[1], signature=log.sign(2, signed[1].struct_hash())), signed[2]]

    log.block(edit_heads=forge, resign_heads=False)
    assert codes(log, tmp_path) == ["head.signature"]
