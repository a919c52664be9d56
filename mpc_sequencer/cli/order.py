"""``mpcseq order``."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from mpc_sequencer.cli.options import (
    COMMITTEE_DEFAULT,
    AsJson,
    CommitteePath,
    KeyFile,
    TimeoutS,
    no_key,
    parse_nodes,
    read_committee,
    use_key,
)
from mpc_sequencer.cli.output import console, print_fields, print_json, table
from mpc_sequencer.cli.seal import seal
from mpc_sequencer.core.limits import COMMITTEE_MEMBERS_MAX

if TYPE_CHECKING:
    from mpc_sequencer.client.tracker import OrderRecord
    from mpc_sequencer.core.committee import Committee
    from mpc_sequencer.core.messages import ExecutedRow, OrderReply

app = typer.Typer(no_args_is_help=True)
app.command("seal")(seal)
WAIT_STATES: Final = ("receipt", "final", "executed", "ended")


@app.callback()
def _group() -> None:
    """Seal, inspect, submit and follow orders."""


# --- inspect ------------------------------------------------------------------------------------------------
@app.command("inspect")
def inspect(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="An envelope: bytes, or 0x and hex digits.")],
    committee: CommitteePath = COMMITTEE_DEFAULT,
    key: KeyFile = None,
    at_ms: Annotated[
        int | None, typer.Option(min=0, help="Judge validity at this time, Unix ms. Default: now.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show every field of an envelope and the verdict of each check. Exit status 2 when one fails or is skipped."""
    from mpc_sequencer.client.inspection import ENVELOPE_FILE_BYTES_MAX, describe, inspect_envelope
    from mpc_sequencer.node import files

    file = read_committee(committee)
    use_key(file, key, committee)
    data = files.read_bounded(
        path, ENVELOPE_FILE_BYTES_MAX, "give an envelope that `mpcseq order seal` wrote"
    )
    inspection = inspect_envelope(file.committee, data, _now_ms() if at_ms is None else at_ms)
    description = describe(inspection)
    if as_json:
        print_json(description)
    else:
        _show_inspection(description)
    if inspection.first_refusal is not None:
        sys.stdout.flush()
        raise inspection.first_refusal
    if file.committee.keys is None:
        sys.stdout.flush()
        raise no_key()


def _show_inspection(description: dict[str, Any]) -> None:
    terminal = console()
    plain = ("order_id", "envelope_hash", "version", "label_hash", "sponsor_signature")
    print_fields(
        terminal, [(name, description[name]) for name in plain if description[name] is not None], "envelope"
    )
    for part in ("label", "ciphertext"):
        if description[part] is not None:
            print_fields(terminal, list(description[part].items()), part)
        if description[f"{part}_hex"] is not None:
            terminal.print(f"{part} in hex: {description[f'{part}_hex']}", markup=False, soft_wrap=True)
    rows = []
    for check in description["checks"]:
        why = (
            f"{check['code']}: {check['field']} is {check['seen']}, expected {check['expected']}"
            if "code" in check
            else ""
        )
        rows.append((check["check"], check["verdict"], why))
    terminal.print(table("checks", ("check", "verdict", ""), rows))


# --- submit -------------------------------------------------------------------------------------------------
@app.command("submit")
def submit(
    paths: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Envelopes.")],
    committee: CommitteePath = COMMITTEE_DEFAULT,
    key: KeyFile = None,
    nodes: Annotated[str | None, typer.Option(help="Members to send to, such as 0,2. Default: all.")] = None,
    wait: Annotated[
        str, typer.Option(help="Wait for: receipt, final, executed, or ended (where dark, with its batch).")
    ] = "executed",
    timeout: TimeoutS = 30.0,
    receipts: Annotated[
        Path | None, typer.Option(help="Append the members' receipts to this file (keep it).")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check envelopes, send them, verify the receipts, and wait for what becomes of the orders.

    Where neither the committee file nor a key file has the threshold key, the members are asked for it first.
    """
    import trio

    from mpc_sequencer.client.inspection import ENVELOPE_FILE_BYTES_MAX, parse_envelope
    from mpc_sequencer.core.envelopes import check_envelope
    from mpc_sequencer.core.errors import ConfigError
    from mpc_sequencer.node import files

    if wait not in WAIT_STATES:
        raise ConfigError(f"--wait is {wait!r}", f"use one of {', '.join(WAIT_STATES)}")
    file = read_committee(committee)
    use_key(file, key, committee)
    chosen = None if nodes is None else parse_nodes(nodes, file.committee.n)
    hint = "give envelopes that `mpcseq order seal` wrote"
    envelopes = [parse_envelope(files.read_bounded(path, ENVELOPE_FILE_BYTES_MAX, hint)) for path in paths]
    if file.committee.keys is not None:
        for envelope in envelopes:  # all of them before anybody is asked anything
            check_envelope(file.committee, envelope, _now_ms())

    from mpc_sequencer.cli.submitting import submit_and_wait

    records = trio.run(submit_and_wait, file, chosen, envelopes, wait, timeout, receipts)
    if as_json:
        print_json({"orders": [record_fields(record) for record in records]})
    else:
        _show_records(records)


def record_fields(record: OrderRecord) -> dict[str, Any]:
    """What the client knows of an order, as JSON values."""
    executed = record.executed
    return {
        "order_id": record.order_id.hex(),
        "state": record.state,
        "receipts": [
            {
                "node": receipt.node,
                "epoch": receipt.epoch,
                "list_number": receipt.list_number,
                "received_ms": receipt.received_ms,
            }
            for _, receipt in sorted(record.receipts.items())
        ],
        "refusals": [
            {"node": node, "code": row.code, "field": row.field, "seen": row.seen, "expected": row.expected}
            for node, row in sorted(record.refusals.items())
        ],
        "height": executed[0] if executed else record.final[0] if record.final else None,
        "outcome": executed[1] if executed else None,
        "end": record.end,
        "filled_lots": record.filled_lots if executed else None,
        "price_ticks": (executed[3] or record.history()[-1].price_ticks) if executed else None,
        "notional_tick_lots": record.notional_tick_lots if executed else None,
        "fee_units": record.fee_units if executed else None,
        "open_lots": record.open_lots,
    }


def _show_records(records: list[OrderRecord]) -> None:
    rows = []
    for record in records:
        row = record_fields(record)
        refusals = ", ".join(f"node {r['node']}: {r['code']}" for r in row["refusals"])
        rows.append(
            (
                row["order_id"],
                row["state"],
                f"{len(row['receipts'])} of {len(record.nodes)}",
                *[
                    "" if row[name] is None else row[name]
                    for name in ("height", "outcome", "end", "filled_lots", "price_ticks", "notional_tick_lots")
                ],
                refusals,
            )
        )
    columns = (
        *("order", "state", "receipts", "height", "outcome", "end"),
        *("filled lots", "price ticks", "notional tick lots", "refusals"),
    )
    console().print(table("", columns, rows))


# --- status -------------------------------------------------------------------------------------------------
@app.command("status")
def status(
    order_id: Annotated[str, typer.Argument(metavar="ORDER_ID", help="64 hex digits.")],
    committee: CommitteePath = COMMITTEE_DEFAULT,
    nodes: Annotated[str | None, typer.Option(help="Members to ask, such as 0,2. Default: all.")] = None,
    timeout: TimeoutS = 5.0,
    as_json: AsJson = False,
) -> None:
    """Ask members what became of an order; what f+1 of them say alike is true."""
    import trio

    from mpc_sequencer.client.errors import NotConnected
    from mpc_sequencer.client.queries import ask_order
    from mpc_sequencer.core.errors import ConfigError

    try:
        wanted = bytes.fromhex(order_id.removeprefix("0x"))
    except ValueError:
        wanted = b""
    if len(wanted) != 32:
        raise ConfigError(
            f"{order_id!r} is no order id", "give the 64 hex digits that `mpcseq order seal` printed"
        )
    file = read_committee(committee)
    if nodes is not None:
        parse_nodes(nodes, COMMITTEE_MEMBERS_MAX)  # before anything is asked
    present, replies = trio.run(ask_order, file, lambda n: parse_nodes(nodes, n), wanted, timeout)
    answers = [_answer_fields(node, reply) for node, reply in replies.items()]
    agreed = _agreed(present, [answer for answer in answers if "error" not in answer])
    if as_json:
        print_json({"order_id": wanted.hex(), "agreed": agreed, "nodes": answers})
    else:
        columns = ("node", "state", "height", "code", "filled_lots", "price_ticks", "notional_tick_lots")
        rows = [[answer.get(name, answer.get("error", "")) for name in columns] for answer in answers]
        console().print(table(f"order {wanted.hex()}", columns, rows))
        if agreed is not None and agreed["updates"]:
            later = ("height", "code", "filled_lots", "price_ticks", "fee_units", "remaining_lots")
            console().print(table("later", later, [[row[name] for name in later] for row in agreed["updates"]]))
        said = "no f+1 members say the same" if agreed is None else f"{agreed['state']} {agreed['code']}"
        console().print(f"agreed by f+1 members: {said}", markup=False)
    if all("error" in answer for answer in answers):
        raise NotConnected(
            f"no member answered: {answers[0]['error']}",
            "start the nodes, or check the committee file's endpoints",
        )


def _answer_fields(node: int, reply: OrderReply | str) -> dict[str, Any]:
    if isinstance(reply, str):
        return {"node": node, "error": reply}
    names = ("state", "height", "code", "filled_lots", "price_ticks")
    values = {name: getattr(reply, name) for name in names}
    return {
        "node": node,
        **values,
        "notional_tick_lots": int.from_bytes(reply.notional, "big"),
        "fee_units": int.from_bytes(reply.fee, "big"),
        "remaining_lots": reply.remaining_lots,
        "updates": [{"height": height, **_update_fields(row)} for height, row in reply.updates],
        "more_updates": reply.more,
    }


def _update_fields(row: ExecutedRow) -> dict[str, Any]:
    """What a later height did to the order."""
    return {
        "code": row.code,
        "filled_lots": row.filled_lots,
        "price_ticks": row.price_ticks,
        "notional_tick_lots": int.from_bytes(row.notional, "big"),
        "fee_units": int.from_bytes(row.fee, "big"),
        "remaining_lots": row.remaining_lots,
    }


def _agreed(present: Committee, answers: list[dict[str, Any]]) -> dict[str, Any] | None:
    says = [{name: value for name, value in answer.items() if name != "node"} for answer in answers]
    return next((row for row in says if says.count(row) > present.f), None)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
