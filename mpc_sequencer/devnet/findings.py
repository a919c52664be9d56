"""What must hold after members were killed under load, as pure checks over logs, receipts and a client's records.

A receipt that a client holds is

* *kept* where the list it names is in a final block and holds the order;
* *defaulted* where its member has announced a new incarnation since: allowed only to a member that lost its disk;
* *open* where no block holds the list and the latest head of its member in a block is no more than LIST_CUT_MS_MAX
  younger than the receipt: the promise is not due. So it stays where the receipt's epoch ended first; then its order is
  listed again in the next. A member cuts its open list within milliseconds, so a later head
  that names an earlier last list shows that the list will never come: a finding;
* otherwise *broken*.

Each check gives findings, one code per cause, and no finding where all is well.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from mpc_sequencer.client.tracker import OrderRecord
from mpc_sequencer.core.types import Receipt
from mpc_sequencer.devnet.logfacts import LastHead, ListPlace, LogFacts, Seat

LIST_CUT_MS_MAX: Final = 2_000
PER_CODE_MAX: Final = 20
NOBODY_LEFT: Final[Mapping[int, int]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that must not be: a code per cause, and what was seen."""

    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class JudgedReceipts:
    """How many receipts were kept, are open, and were given up with a lost disk; what is wrong."""

    kept: int
    open: int
    defaulted: int
    findings: tuple[Finding, ...]


def receipts_of(records: Iterable[OrderRecord]) -> list[Receipt]:
    """Every receipt a client holds."""
    return [receipt for one in records for receipt in (*one.receipts.values(), *one.earlier_receipts)]


def judge_receipts(receipts: Iterable[Receipt], logs: Sequence[LogFacts], wiped: Iterable[Seat]) -> JudgedReceipts:
    """Judge receipts by the lists and heads of their epochs in all logs; ``wiped`` are the seats, in all epochs, of the
    members whose disks were removed."""
    lists: dict[ListPlace, dict[bytes, frozenset[bytes]]] = {}
    heads: dict[Seat, LastHead] = {}
    for log in logs:
        for place, variants in log.lists.items():
            lists.setdefault(place, {}).update(variants)
        for seat, head in log.last_heads.items():
            if seat not in heads or heads[seat].time_ms < head.time_ms:
                heads[seat] = head
    lost = frozenset(wiped)
    counts = {"kept": 0, "open": 0, "defaulted": 0}
    findings: list[Finding] = []
    for receipt in receipts:
        held = lists.get((receipt.epoch, receipt.incarnation, receipt.node, receipt.list_number))
        seat = (receipt.epoch, receipt.node)
        verdict = _verdict(receipt, held, heads.get(seat))
        if verdict == "defaulted" and seat not in lost:
            findings.append(Finding("receipt.defaulted", f"{_words(receipt)}: its member never lost its disk"))
        if verdict in counts:
            counts[verdict] += 1
        else:
            findings.append(Finding(f"receipt.{verdict}", _words(receipt)))
    return JudgedReceipts(counts["kept"], counts["open"], counts["defaulted"], tuple(findings))


def _verdict(receipt: Receipt, held: Mapping[bytes, frozenset[bytes]] | None, head: LastHead | None) -> str:
    if held is not None:
        return "kept" if all(receipt.order_id in entries for entries in held.values()) else "broken"
    if head is not None and head.incarnation > receipt.incarnation:
        return "defaulted"
    if head is None or head.time_ms <= receipt.received_ms + LIST_CUT_MS_MAX:
        return "open"
    return "skipped" if head.list_number >= receipt.list_number else "overdue"


def _words(receipt: Receipt) -> str:
    place = f"list {receipt.list_number} of member {receipt.node} in epoch {receipt.epoch}"
    place += f", incarnation {receipt.incarnation}"
    return f"order {receipt.order_id.hex()[:16]} in {place}, received at {receipt.received_ms} ms"


def compare_logs(
    logs: Sequence[LogFacts], through_height: int, ended: Mapping[int, int] = NOBODY_LEFT
) -> list[Finding]:
    """Every log holds every height up to ``through_height``, with the same block and the same result. Of a node that
    has left the committee (``ended``: with which block) no more is asked."""
    findings: list[Finding] = []
    blocks: dict[int, tuple[int, bytes]] = {}
    results: dict[int, tuple[int, bytes]] = {}
    counting = {height for log in logs for heights in log.batched.values() for height in heights}
    for log in logs:
        through = min(through_height, ended.get(log.node, through_height))
        missing = [height for height in range(1, through + 1) if height not in log.blocks]
        missing += [height for height in sorted(counting) if height <= through and height not in log.results]
        if missing:
            findings.append(Finding("log.short", f"the log of member {log.node} lacks height {missing[0]}"))
        for name, seen, told in (("block", blocks, log.blocks), ("result", results, log.results)):
            for height, value in told.items():
                node, first = seen.setdefault(height, (log.node, value))
                if first != value:
                    detail = f"height {height}: {first.hex()[:16]} of member {node}, {value.hex()[:16]} of {log.node}"
                    findings.append(Finding(f"log.{name}", detail))
    return findings


def judge_orders(records: Mapping[bytes, OrderRecord], logs: Sequence[LogFacts], enough: int) -> list[Finding]:
    """Every order is in one batch, the same in all logs, as f+1 members (``enough``) told the client. One that is in
    none is a finding unless it expired and fewer than f+1 members had given a receipt."""
    findings: list[Finding] = []
    now_ms = max((log.last_time_ms for log in logs), default=0)
    for order_id, record in records.items():
        name = f"order {order_id.hex()[:16]}"
        heights = {height for log in logs for height in log.batched.get(order_id, ())}
        if len(heights) > 1 or any(len(log.batched.get(order_id, ())) > 1 for log in logs):
            findings.append(Finding("order.twice", f"{name} is in the batches of heights {sorted(heights)}"))
        elif not heights:
            expired = record.envelope.decoded_label().valid_until_ms <= now_ms
            if not expired or len(record.receipts) >= enough:
                findings.append(Finding("order.lost", f"{name} is in no batch, with {len(record.receipts)} receipts"))
        findings += _told(name, record, heights, logs)
    return findings


def _told(name: str, record: OrderRecord, heights: set[int], logs: Sequence[LogFacts]) -> list[Finding]:
    """What the client was told of the order against the logs."""
    told = {report[0] for report in (record.final, record.executed) if report is not None}
    if not told <= heights:
        return [Finding("order.told", f"{name} was reported at heights {sorted(told)}, not {sorted(heights)}")]
    if record.final is not None:
        height, block_id = record.final
        if any(log.blocks.get(height, block_id) != block_id for log in logs):
            return [Finding("order.told", f"{name} was reported in block {block_id.hex()[:16]}, not the logs' block")]
    if record.executed is None and heights:
        return [Finding("order.untold", f"{name} is in a batch, but f+1 members never reported its outcome")]
    return []


def judge_audits(reports: Mapping[int, Mapping[str, Any]], errors: Mapping[int, str]) -> list[Finding]:
    """Every member's log passes its audit."""
    findings = [Finding("audit.error", f"log of member {node}: {error}") for node, error in errors.items() if error]
    for node, report in reports.items():
        told = report.get("findings", ())
        findings += [
            Finding("audit.fail", f"log of member {node}, height {one['height']}: {one['code']}: {one['detail']}")
            for one in told
        ]
        if report.get("verdict") != "pass" and not told and not errors.get(node):
            findings.append(Finding("audit.fail", f"log of member {node}: verdict {report.get('verdict')}"))
    return findings


def shown(findings: Sequence[Finding]) -> list[Finding]:
    """At most PER_CODE_MAX of each code."""
    counts: dict[str, int] = {}
    kept = []
    for one in findings:
        counts[one.code] = counts.get(one.code, 0) + 1
        if counts[one.code] <= PER_CODE_MAX:
            kept.append(one)
    return kept
