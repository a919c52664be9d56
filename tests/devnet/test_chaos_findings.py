"""What is checked after members were killed: each check fails when its condition is broken, and only then."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from mpc_sequencer.client.reports import ExecutedReport
from mpc_sequencer.client.tracker import OrderRecord
from mpc_sequencer.core.types import Envelope, Receipt
from mpc_sequencer.devnet.findings import (
    LIST_CUT_MS_MAX,
    PER_CODE_MAX,
    Finding,
    compare_logs,
    judge_audits,
    judge_orders,
    judge_receipts,
    receipts_of,
    shown,
)
from mpc_sequencer.devnet.logfacts import LastHead, LogFacts
from threshold import Label

ORDER, OTHER = b"\x01" * 32, b"\x02" * 32
RECEIVED_MS = 1_000_000
ENOUGH = 2


def receipt(list_number: int = 3, node: int = 1, incarnation: int = 0, order_id: bytes = ORDER) -> Receipt:
    return Receipt(0, incarnation, order_id, node, list_number, RECEIVED_MS, bytes(65))


def log(node: int = 0) -> LogFacts:
    """A log of three heights; ORDER is in list 3 of member 1 and in the batch of height 2."""
    facts = LogFacts(node)
    facts.blocks = {height: bytes((height,)) * 32 for height in (1, 2, 3)}
    facts.results = {2: b"\x22" * 32}
    facts.batched = {ORDER: [2]}
    facts.lists = {(0, 0, 1, 3): {b"\x33" * 32: frozenset({ORDER})}}
    facts.last_heads = {(0, 1): LastHead(RECEIVED_MS + 60_000, 0, 3)}
    facts.last_time_ms = RECEIVED_MS + 60_000
    return facts


def codes(findings: Any) -> list[str]:
    return [one.code for one in findings]


# --- receipts -----------------------------------------------------------------------------------------------------
def test_a_receipt_is_kept_where_its_list_holds_the_order() -> None:
    judged = judge_receipts([receipt()], [log()], ())
    assert (judged.kept, judged.open, judged.defaulted, judged.findings) == (1, 0, 0, ())


def test_a_list_without_the_order_breaks_the_receipt() -> None:
    judged = judge_receipts([receipt(order_id=OTHER)], [log()], ())
    assert codes(judged.findings) == ["receipt.broken"] and judged.kept == 0


def test_one_of_two_lists_of_a_number_without_the_order_breaks_the_receipt() -> None:
    other = log(1)
    other.lists = {(0, 0, 1, 3): {b"\x44" * 32: frozenset({OTHER})}}
    assert codes(judge_receipts([receipt()], [log(), other], ()).findings) == ["receipt.broken"]


@pytest.mark.parametrize(
    ("later_ms", "last_list", "verdict"),
    [
        (LIST_CUT_MS_MAX, 3, "open"),
        (LIST_CUT_MS_MAX + 1, 3, "receipt.overdue"),
        (LIST_CUT_MS_MAX + 1, 4, "receipt.skipped"),
    ],
)
def test_a_promise_is_due_once_its_member_has_said_a_later_last_list(
    later_ms: int, last_list: int, verdict: str
) -> None:
    facts = log()
    facts.last_heads[0, 1] = LastHead(RECEIVED_MS + later_ms, 0, last_list)
    judged = judge_receipts([receipt(list_number=4)], [facts], ())
    if verdict == "open":
        assert (judged.open, judged.findings) == (1, ())
    else:
        assert (judged.open, codes(judged.findings)) == (0, [verdict])


def test_the_latest_head_in_any_log_counts() -> None:
    early = log()
    early.last_heads[0, 1] = LastHead(RECEIVED_MS, 0, 3)
    assert judge_receipts([receipt(list_number=4)], [early], ()).open == 1
    for logs in ([early, log(1)], [log(1), early]):
        assert codes(judge_receipts([receipt(list_number=4)], logs, ()).findings) == ["receipt.overdue"]


def test_a_new_life_gives_up_receipts_only_of_a_member_that_lost_its_disk() -> None:
    facts = log()
    facts.last_heads[0, 1] = LastHead(RECEIVED_MS + 60_000, 1, 1)
    wiped = judge_receipts([receipt(list_number=4)], [facts], {(0, 1)})
    assert (wiped.defaulted, wiped.findings) == (1, ())
    others = {(0, 0), (0, 2), (1, 1)}
    assert codes(judge_receipts([receipt(list_number=4)], [facts], others).findings) == ["receipt.defaulted"]
    kept = judge_receipts([receipt()], [facts], ())
    assert (kept.kept, kept.findings) == (1, ()), "what was listed before stays kept"


def test_every_receipt_of_every_life_is_judged() -> None:
    record = OrderRecord(ORDER, ENVELOPE, frozenset({(0, 1)}), 0)
    record.receipts[1] = receipt(incarnation=1, list_number=1)
    record.earlier_receipts.append(receipt())
    assert receipts_of([record]) == [receipt(incarnation=1, list_number=1), receipt()]


# --- logs ---------------------------------------------------------------------------------------------------------
def test_equal_logs_give_no_finding() -> None:
    assert compare_logs([log(node) for node in range(4)], 3) == []


def drop_block(facts: LogFacts) -> None:
    del facts.blocks[1]


def other_block(facts: LogFacts) -> None:
    facts.blocks[3] = bytes(32)


def drop_result(facts: LogFacts) -> None:
    facts.results.clear()


def other_result(facts: LogFacts) -> None:
    facts.results[2] = bytes(32)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (drop_block, "log.short"),
        (other_block, "log.block"),
        (drop_result, "log.short"),
        (other_result, "log.result"),
    ],
)
def test_a_log_that_differs_is_found(change: Callable[[LogFacts], None], code: str) -> None:
    logs = [log(node) for node in range(4)]
    change(logs[2])
    assert codes(compare_logs(logs, 3)) == [code]
    assert "member 2" in compare_logs(logs, 3)[0].detail or "of 2" in compare_logs(logs, 3)[0].detail


def test_a_log_may_be_ahead_of_what_all_had() -> None:
    ahead = log()
    ahead.blocks[4] = b"\x04" * 32
    assert compare_logs([ahead, log(1)], 3) == []
    assert codes(compare_logs([ahead, log(1)], 4)) == ["log.short"]


# --- orders -------------------------------------------------------------------------------------------------------
def envelope(valid_until_ms: int) -> Envelope:
    label = Label(31337, bytes(20), bytes(32), bytes(20), 0, valid_until_ms, 256).encode()
    return Envelope(version=1, label=label, ciphertext=b"c", sponsor_signature=bytes(65))


ENVELOPE = envelope(RECEIVED_MS + 600_000)


def record() -> OrderRecord:
    made = OrderRecord(ORDER, ENVELOPE, frozenset(range(4)), 0)
    made.receipts = {node: receipt(node=node) for node in range(3)}
    made.final = (2, b"\x02" * 32)
    made.executed = ExecutedReport(2, "filled", 1, 5, 5)
    return made


def judged(one: OrderRecord, *logs: LogFacts) -> list[str]:
    return codes(judge_orders({ORDER: one}, logs or (log(), log(1)), ENOUGH))


def test_an_order_in_one_batch_as_reported_is_right() -> None:
    assert judged(record()) == []


def test_an_order_in_two_batches_is_found_in_one_log_and_between_logs() -> None:
    twice, elsewhere = log(), log(1)
    twice.batched[ORDER] = [2, 2]
    assert judged(record(), twice) == ["order.twice"]
    elsewhere.batched[ORDER] = [3]
    assert judged(record(), log(), elsewhere) == ["order.twice"]


def test_an_order_in_no_batch_is_lost_unless_it_expired_and_was_hardly_promised() -> None:
    gone = log()
    gone.batched.clear()
    promised = dataclasses.replace(record(), final=None, executed=None)
    assert judged(promised, gone) == ["order.lost"]
    expired = dataclasses.replace(promised, envelope=envelope(gone.last_time_ms))
    assert judged(expired, gone) == ["order.lost"], "f+1 receipts bind an honest member"
    assert judged(dataclasses.replace(expired, receipts={0: receipt(node=0)}), gone) == []
    assert judged(dataclasses.replace(promised, receipts={0: receipt(node=0)}), gone) == ["order.lost"]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"final": (3, b"\x03" * 32)}, "order.told"),
        ({"final": (2, bytes(32))}, "order.told"),
        ({"executed": (3, "filled", 1, 5)}, "order.told"),
        ({"executed": None}, "order.untold"),
    ],
)
def test_what_the_client_was_told_is_what_the_logs_say(change: dict[str, Any], code: str) -> None:
    assert judged(dataclasses.replace(record(), **change)) == [code]


# --- audits -------------------------------------------------------------------------------------------------------
def test_an_audit_that_does_not_pass_is_found() -> None:
    good = {"verdict": "pass", "findings": []}
    assert judge_audits({0: good, 1: good}, {0: "", 1: ""}) == []
    told = {"code": "list.skipped", "height": 4, "detail": "one"}
    assert codes(judge_audits({0: {"verdict": "fail", "findings": [told]}}, {0: ""})) == ["audit.fail"]
    assert codes(judge_audits({0: {"verdict": "fail"}}, {0: ""})) == ["audit.fail"]
    assert codes(judge_audits({0: {"verdict": "error"}}, {0: "no log"})) == ["audit.error"]


def test_a_flood_of_one_finding_does_not_hide_the_others() -> None:
    many = [Finding("receipt.broken", str(number)) for number in range(100)] + [Finding("log.block", "x")]
    assert codes(shown(many)) == ["receipt.broken"] * PER_CODE_MAX + ["log.block"]


def test_facts_are_taken_from_entries() -> None:
    from mpc_sequencer.core.transcript import BlockEntry, ListEntry, ResultEntry
    from mpc_sequencer.core.types import ZERO_HASH, BatchEntry, Block, BlockHeader, Checkpoint, Head, OrderList

    checkpoint = Checkpoint(0, ZERO_HASH, 0, ZERO_HASH)
    head = Head(0, 1, 2, 7, 500, 9, ZERO_HASH, (), checkpoint, 0, bytes(65))
    header = BlockHeader(1, 0, 4, 7, ZERO_HASH, 510, ZERO_HASH, ZERO_HASH, ZERO_HASH, checkpoint)
    order_list = OrderList(0, 1, 2, 9, ZERO_HASH, (ORDER, OTHER), bytes(65))
    block = Block(header, (head,), (BatchEntry(ORDER, ZERO_HASH),), ())
    facts = LogFacts(2)
    for entry in (ListEntry(order_list), BlockEntry(block), ResultEntry(4, ZERO_HASH, ZERO_HASH, b"\x05" * 32)):
        facts.add(entry)
    assert facts.blocks == {4: header.block_id()} and facts.results == {4: b"\x05" * 32}
    assert facts.batched == {ORDER: [4]} and facts.last_time_ms == 510
    assert facts.lists == {(0, 1, 2, 9): {order_list.struct_hash(): frozenset({ORDER, OTHER})}}
    assert facts.last_heads == {(0, 2): LastHead(500, 1, 9)}
    facts.add(BlockEntry(msgspec.structs.replace(block, header=msgspec.structs.replace(header, height=5))))
    assert facts.batched[ORDER] == [4, 5]
