"""The screen of ``mpcseq demo --dark``: per batch what all see, what each member saw, and what nobody saw."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import typer

from mpc_sequencer.cli.errors import EXIT_FAULT_FOUND
from mpc_sequencer.cli.options import warn_demonstration
from mpc_sequencer.cli.output import console, print_json, table
from mpc_sequencer.demo.dark_run import DarkDemo, DarkDemoOptions, run_dark_demo
from mpc_sequencer.demo.run import log_folder
from mpc_sequencer.demo.summary import pair

if TYPE_CHECKING:
    from rich.console import Console

    from mpc_sequencer.demo.dark_summary import DarkSummary
    from mpc_sequencer.demo.dark_view import BatchView
    from mpc_sequencer.demo.screen import Screen

BATCHES_SHOWN_MAX: Final = 3


def show_dark_demo(options: DarkDemoOptions, screen: Screen, as_json: bool) -> None:
    """Run the demo and show it. Exit status 1 where something did not come out as it should."""
    made = run_dark_demo(options, screen)
    warn_demonstration(made.devnet.file.committee)
    if as_json:
        print_json(made.summary.as_json())
    else:
        _show(console(), made)
    if not made.summary.succeeded:
        raise typer.Exit(EXIT_FAULT_FOUND)


def _show(terminal: Console, made: DarkDemo) -> None:
    summary, devnet = made.summary, made.devnet
    shown = summary.batches[:BATCHES_SHOWN_MAX]
    for view in shown:
        _show_batch(terminal, summary, view)
    if len(summary.batches) > len(shown):
        more = len(summary.batches) - len(shown)
        terminal.print(f"{more} more batches are in {devnet.folder / 'summary.json'}\n", markup=False)
    both = pair(summary.end_ms)
    rows = [
        ("orders", f"{summary.orders}: " + ", ".join(f"{count} {code}" for code, count in summary.ends.items())),
        ("batches", f"{len(summary.batches)}, every one replayed from the log without any share"),
        ("submission to the batch's end", f"p50 {both['p50']} ms, p99 {both['p99']} ms"),
        ("settlement transactions", str(summary.settlements)),
        ("audit", summary.audit),
    ]
    terminal.print(table(f"{summary.nodes} nodes, {summary.faults} of them may be corrupt", ("", ""), rows))
    for problem in summary.problems:
        terminal.print(f"problem: {problem}", markup=False, soft_wrap=True)
    terminal.print(
        f"any {summary.faults + 1} members that put their shares together see every order; whoever runs this demo holds"
        f" all keystores, and could\neverything is in {devnet.folder}; try next:\n"
        f"  mpcseq audit verify {log_folder(devnet, made.audited_node)} --committee {devnet.committee_path}\n"
        f"  mpcseq devnet up {devnet.folder} --fresh",
        markup=False,
        soft_wrap=True,
    )


def _show_batch(terminal: Console, summary: DarkSummary, view: BatchView) -> None:
    units, unseen = summary.units, summary.unseen(view)
    unit = units.market.quote_units_per_tick_lot
    came = (
        "nobody traded, and no price is told"
        if view.price_ticks is None
        else f"{units.show_quantity(view.outcome.volume_lots)} BTC at {units.show_price(view.price_ticks)} USDT"
    )
    terminal.print(f"batch {view.batch}: {len(view.order_ids)} orders, {came}", style="bold", markup=False)
    rows: list[tuple[Any, ...]] = [
        (
            *(_short(one["order_id"]), one["trader"]),
            units.show_quantity(one["base_lots_locked"]),
            units.quote.show(one["quote_tick_lots_locked"] * unit),
            f"{one['side']} {units.show_quantity(one['lots'])}" if one["lots"] else "did not trade",
        )
        for one in summary.public(view)
    ]
    columns = ("order", "trader", "locks BTC", "and USDT", "outcome")
    terminal.print(table("what everybody sees", columns, rows))
    about = _short(view.parties[0].order_id.hex()) if view.parties else ""
    parties = [
        (one.party, " ".join(one.shares) + " ..", one.elements, f"{100 * one.ones:.2f} %") for one in view.parties
    ]
    heads = ("member", f"its shares of order {about}", "of", "ones among the bits of all its shares")
    terminal.print(table("what each member saw", heads, parties))
    terminal.print(
        f"opened to all members: {view.opened} values in {view.rounds} rounds, masked or part of the outcome\n",
        markup=False,
    )
    nobody = [
        (
            *(_short(one["order_id"]), one["trader"], one["side"]),
            *(units.show_price(one["price_ticks"]), units.show_quantity(one["quantity_lots"])),
        )
        for one in unseen
    ]
    title = "what nobody saw, as the traders tell"
    terminal.print(table(title, ("order", "trader", "side", "limit", "BTC"), nobody))


def _short(order_id: str) -> str:
    return order_id[:8]
