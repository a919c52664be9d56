"""``mpcseq audit``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from mpc_sequencer.cli.errors import EXIT_FAULT_FOUND
from mpc_sequencer.cli.options import COMMITTEE_DEFAULT, AsJson, CommitteePath, read_committee
from mpc_sequencer.cli.output import console, print_fields, print_json, table

if TYPE_CHECKING:
    from rich.console import Console

    from mpc_sequencer.audit.dark_report import DarkReport
    from mpc_sequencer.audit.report import EpochReport, KeyReport, Report
    from mpc_sequencer.node.config import CommitteeFile

app = typer.Typer(no_args_is_help=True)
EPOCH_COLUMNS: Final = ("epoch", "heights", "members", "threshold", "proven by")
DARK_COLUMNS: Final = (
    "market", "settled", "void", "ended with epoch", "orders", "words ignored", "replayed", "without outcome here",
    "without transcript",
)  # fmt: skip
LOG_PARTS: Final = ("checkpoint", "tile")


@app.callback()
def _group() -> None:
    """Verify a member's log, independently of the code that wrote it."""


@app.command("verify")
def verify(
    log: Annotated[Path, typer.Argument(help="A member's log folder (it holds the file `checkpoint`).")],
    committee: CommitteePath = COMMITTEE_DEFAULT,
    chain: Annotated[str | None, typer.Option(help="The chain's URL: also check what was settled.")] = None,
    as_json: AsJson = False,
) -> None:
    """Re-derive everything in a member's log. Exit status 0 when it passes, 1 when it fails."""
    from mpc_sequencer.audit.verify import verify_log

    file = read_committee(committee)
    _refuse_no_log(log)
    if as_json:
        report = verify_log(log, file.committee, chain_url=chain, progress=None)
        print_json(report.as_dict())
    else:
        report = _verify_with_progress(log, file, chain)
    if report.verdict != "pass":
        raise typer.Exit(EXIT_FAULT_FOUND)


def _refuse_no_log(folder: Path) -> None:
    """A wrong path is no failed audit. Raises :class:`ConfigError`."""
    from mpc_sequencer.core.errors import ConfigError

    if not any((folder / name).exists() for name in LOG_PARTS):
        raise ConfigError(f"{folder} holds no log", "give a member's log folder, such as node-0/data/log")


def _verify_with_progress(log: Path, file: CommitteeFile, chain: str | None) -> Report:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from mpc_sequencer.audit.verify import verify_log

    columns = (
        TextColumn("auditing"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("entries"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=None)

        def advanced(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        report = verify_log(log, file.committee, chain_url=chain, progress=advanced)
    show_report(report)
    return report


def show_report(report: Report) -> None:
    """The report for people: verdict, counts, findings, what no log can prove."""
    terminal = console()
    rows: list[tuple[str, object]] = [
        ("verdict", report.verdict),
        ("entries", report.entries),
        ("final blocks", report.heights),
        ("orders", report.orders),
        ("fills", report.fills),
        ("malformed orders", report.malformed),
        ("settlements", report.settlements),
        ("settlement chain", report.chain),
    ]
    if report.heights:
        rows.append(("threshold key", _key(report.key)))
    print_fields(terminal, rows, f"audit of the log of {_whose(report)}")
    if len(report.epochs) > 1:
        terminal.print(table("epochs", EPOCH_COLUMNS, [_epoch(epoch) for epoch in report.epochs]))
    if report.checks:
        terminal.print(table("checks made", ("check", "times"), sorted(report.checks.items())))
    if report.key is not None and report.key.culprits:
        named = [
            (f"{one.epoch}/{one.node}", one.role, one.code, str(one.times), f"{one.attempt}/{one.height}", one.detail)
            for one in report.key.culprits
        ]
        columns = ("epoch/member", "as", "code", "times", "attempt/height", "what")
        terminal.print(table("named by the key generation", columns, named))
    if report.dark is not None:
        _show_dark(terminal, report.dark)
    if report.findings:
        found = [
            (finding.code, _number(finding.height), _number(finding.entry_index), finding.detail)
            for finding in report.findings
        ]
        terminal.print(table("findings", ("code", "height", "entry", "what"), found))
    terminal.print("no log can prove:")
    for sentence in report.not_provable:
        terminal.print(f"  {sentence}", markup=False)


def _show_dark(terminal: Console, dark: DarkReport) -> None:
    """Dark markets: what became of their batches, and which members are named for what they said."""
    markets = []
    for one in dark.markets:
        orders = "\n".join(f"{code}: {count}" for code, count in one.orders.items())
        ended = one.market, one.settled, one.void, one.ended_with_epoch
        counts = one.words_ignored, one.replayed, one.without_outcome, one.without_transcript
        markets.append((*map(str, ended), orders, *map(str, counts)))
    terminal.print(table("dark markets", DARK_COLUMNS, markets))
    agreed = [
        (str(one.epoch), str(one.attempts), one.phase, "" if one.keys is None else one.keys.hex()) for one in dark.keys
    ]
    terminal.print(table("keys of dark markets", ("epoch", "attempts", "phase", "keys"), agreed))
    if dark.culprits:
        named = [
            (f"{one.epoch}/{one.node}", _number(one.market), _number(one.batch), one.fault, str(one.times))
            for one in dark.culprits
        ]
        columns = ("epoch/member", "market", "batch", "code", "times")
        terminal.print(table("named by dark markets", columns, named))


def _whose(report: Report) -> str:
    """Whose log it is: a member of the committee file, or who joined later, by the log key."""
    if report.node is not None:
        return f"node {report.node}"
    return "an unknown node" if report.keeper is None else f"log key {report.keeper.hex()}"


def _epoch(epoch: EpochReport) -> tuple[str, ...]:
    """A row of the table of epochs."""
    last = "" if epoch.last_height is None else str(epoch.last_height)
    members = "\n".join(f"{index}: 0x{address.hex()}" for index, address in enumerate(epoch.members))
    threshold = f"{epoch.threshold} of {len(epoch.members)}"
    if epoch.proven_by is None:
        return str(epoch.epoch), f"{epoch.first_height}..{last}", members, threshold, "the committee file"
    before = ", ".join(str(node) for node in epoch.proven_by)
    proof = f"handovers of members {before} of epoch {epoch.epoch - 1}"
    return str(epoch.epoch), f"{epoch.first_height}..{last}", members, threshold, proof


def _key(key: KeyReport | None) -> str:
    """How the threshold key came about, in a line."""
    if key is None:
        return "in the committee file"
    if key.public_key is None:
        return f"not generated yet: attempt {key.attempts}, phase {key.phase}"
    dealers = ", ".join(str(node) for node in key.qualified)
    generated = f"generated at height {key.height} in attempt {key.attempts} by members {dealers}"
    return f"{key.public_key.hex()}, {generated}, {_again(key.refreshes)}"


def _again(refreshes: int) -> str:
    return "not shared anew yet" if not refreshes else f"shared anew {refreshes} time{'s' if refreshes > 1 else ''}"


def _number(value: int | None) -> str:
    return "" if value is None else str(value)
