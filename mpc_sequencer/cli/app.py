"""The command tree and its single door: parsing, running, and errors of all commands pass through
:func:`run`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import typer

from mpc_sequencer import __version__
from mpc_sequencer.cli import (
    account,
    audit,
    bench,
    chain,
    committee,
    demo,
    devnet,
    evidence,
    key,
    market,
    node,
    order,
    sim,
)
from mpc_sequencer.cli.errors import EXIT_PIPE, explain, report

app = typer.Typer(
    name="mpcseq",
    help="A decentralized sequencer for trading: orders stay sealed until their place is final.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(devnet.app, name="devnet", help="Write and run a development network on this machine.")
app.add_typer(node.app, name="node", help="Run a committee member, or ask members for their state.")
app.add_typer(key.app, name="key", help="Make, show, move and serve a member's keys.")
app.add_typer(committee.app, name="committee", help="Who the members are, their key, and who is to follow.")
app.add_typer(order.app, name="order", help="Seal, inspect, submit and follow orders.")
app.add_typer(account.app, name="account", help="Show and prove accounts, orders and fills; verify such a proof.")
app.add_typer(market.app, name="market", help="Show a market's terms, prices and book.")
app.add_typer(audit.app, name="audit", help="Verify a member's log, independently of the code that wrote it.")
app.add_typer(chain.app, name="chain", help="Look at the settlement contract, deposit, claim, force, exit.")
app.add_typer(evidence.app, name="evidence", help="Judge evidence against members; find broken receipts.")
app.add_typer(sim.app, name="sim", help="Simulate committees under faults, check what must hold, draw a run.")
app.add_typer(bench.app, name="bench", help="Measure what an order costs.")
app.command("demo")(demo.demo)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mpcseq {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", callback=_show_version, is_eager=True, help="Show the version."
    ),
) -> None:
    """A decentralized sequencer for trading: orders stay sealed until their place is final."""


def run(arguments: Sequence[str]) -> int:
    """Run one command line; returns the exit status. Never raises, never prints a traceback."""
    words = [argument for argument in arguments[:2] if not argument.startswith("-")]
    command = words[:1] if words[:1] == ["demo"] else words
    try:
        status = app(args=list(arguments), prog_name="mpcseq", standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:
        return _reader_gone()
    except BaseException as error:
        if isinstance(error, SystemExit) and isinstance(error.__context__, BrokenPipeError):
            return _reader_gone()  # rich makes this of it
        if type(error).__name__ == "NoArgsIsHelpError":
            print(str(error.format_message()))  # type: ignore[attr-defined]
            return 2
        shown = explain(error, command)
        report(shown, "--json" in arguments)
        return shown.status
    return status if isinstance(status, int) else 0


def _reader_gone() -> int:
    """Whoever read our output has enough; what is left in the buffer must not raise at exit. No success: what was not
    read may have been a failed audit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return EXIT_PIPE


def main() -> None:
    """The console script."""
    sys.exit(run(sys.argv[1:]))
