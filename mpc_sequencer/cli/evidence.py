"""``mpcseq evidence``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mpc_sequencer.cli.errors import EXIT_FAULT_FOUND
from mpc_sequencer.cli.options import COMMITTEE_DEFAULT, AsJson, CommitteePath, read_committee
from mpc_sequencer.cli.output import console, print_fields, print_json

app = typer.Typer(no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Verify what members signed against the rules, and make evidence of a broken receipt."""


@app.command("verify")
def verify(
    file: Annotated[Path, typer.Argument(help="The evidence file.")],
    committee: CommitteePath = COMMITTEE_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Judge an evidence file. Exit status 0 when it convicts a member, 1 when it does not, 2 when it is unreadable."""
    from mpc_sequencer.core.errors import CODES, ProtocolError
    from mpc_sequencer.core.evidence import committee_of, verify_file
    from mpc_sequencer.core.offences import KIND_NAMES
    from mpc_sequencer.node.evidence_files import read_evidence

    members = read_committee(committee).committee
    evidence = read_evidence(file)
    kind = KIND_NAMES[type(evidence.offence)]
    try:
        verdict = verify_file(evidence, members)
    except ProtocolError as error:
        _show(
            {"verdict": "not convicted", "kind": kind, "code": error.code, "detail": str(error)},
            as_json,
            note=CODES.get(error.code, ""),
        )
        raise typer.Exit(EXIT_FAULT_FOUND) from None
    judged = committee_of(evidence, members)
    address = "0x" + judged.addresses[verdict.node].hex()
    _show(
        {
            "verdict": "convicted",
            "kind": verdict.kind,
            "node": verdict.node,
            "epoch": judged.epoch,
            "address": address,
            "detail": verdict.detail,
        },
        as_json,
    )


@app.command("receipt")
def receipt(
    receipts: Annotated[Path, typer.Option(help="The client's receipt file.")],
    log: Annotated[list[Path], typer.Option(help="A member's log folder; may be given several times.")],
    out: Annotated[Path, typer.Option(help="Folder for the evidence files.")] = Path(),
    committee: CommitteePath = COMMITTEE_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Find receipts that members broke and write the evidence. Exit status 0 when all that can be judged were kept,
    1 when some were broken."""
    from mpc_sequencer.client.evidence import broken_receipts
    from mpc_sequencer.node.evidence_files import write_evidence

    members = read_committee(committee).committee
    found = broken_receipts(receipts, log, members)
    written = [write_evidence(out, one, found.committees[one.receipt.epoch]) for one in found.broken]
    if as_json:
        counts = {"kept": found.kept, "open": found.open, "broken": len(found.broken)}
        print_json({**counts, "files": [str(path) for path in written]})
    else:
        rows: list[tuple[str, object]] = [
            ("kept", found.kept),
            ("not judged (their lists are not in the logs)", found.open),
            ("broken", len(found.broken)),
        ]
        print_fields(console(), [*rows, *(("evidence", path) for path in written)], "receipts")
    if written:
        raise typer.Exit(EXIT_FAULT_FOUND)


def _show(fields: dict[str, object], as_json: bool, note: str = "") -> None:
    if as_json:
        print_json(fields)
    else:
        print_fields(console(), [*fields.items(), *([("meaning", note)] if note else [])], "evidence")
