"""``mpcseq demo``: the whole path here, from sealed orders to settled balances and a verified log."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from mpc_sequencer.cli.errors import EXIT_FAULT_FOUND
from mpc_sequencer.cli.options import AsJson, Demonstration, Policy, parse_policy
from mpc_sequencer.cli.output import console, print_json, table
from mpc_sequencer.core.errors import ConfigError

if TYPE_CHECKING:
    from mpc_sequencer.demo.run import Outcome

NODES_DEFAULT: Final = 4
DARK_NODES_DEFAULT: Final = 5


def demo(
    duration: Annotated[float, typer.Option(min=1.0, max=3600.0, help="Seconds of trading.")] = 30.0,
    nodes: Annotated[
        int | None, typer.Option(help="Committee members, 4 or more. Default: 4, and 5 with --dark.")
    ] = None,
    dark: Annotated[
        bool, typer.Option("--dark", help="A dark market: batches computed over secret shares; then who saw what.")
    ] = False,
    demonstration: Demonstration = False,
    policy: Policy = "auction",
    rate: Annotated[
        float | None,
        typer.Option(min=0.1, max=100_000.0, help="Orders per second. Default: the trace's own pace."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Chooses accounts, nonces and the part of the trace.")] = 0,
    folder: Annotated[
        Path | None, typer.Option(help="Where to keep everything. Default: a new folder mpcseq-demo-*.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run a committee on real BTCUSDT orders, settle on an embedded chain, and audit the log.

    Orders of a recorded trace are signed (EIP-712), sealed, sent to node processes, batched, opened
    together only when their batch is final, cleared (at one price, or as --policy says), settled and
    audited. Exit status 0 only if every order became final, the contract's balances are what the fills
    say, and the audit passes.

    With --dark made-up orders trade in a dark market, as many batches as --duration holds; at the end it shows for each
    batch what all see, what each member saw, and what nobody saw but the traders.
    """
    from mpc_sequencer.demo.run import DemoOptions, run_demo
    from mpc_sequencer.demo.screen import Screen
    from mpc_sequencer.market.types import DARK

    screen = Screen(console(stderr=as_json))
    if dark or parse_policy(policy) == DARK:
        if rate is not None:
            raise ConfigError("--rate is not for a dark market: every trader has one order a batch", "leave it out")
        if dark and policy.lower() not in ("auction", "dark"):
            raise ConfigError(f"--dark and --policy {policy} contradict each other", "leave one of them out")
        from mpc_sequencer.cli.demo_dark import show_dark_demo
        from mpc_sequencer.demo.dark_run import DarkDemoOptions

        count = DARK_NODES_DEFAULT if nodes is None else nodes
        show_dark_demo(DarkDemoOptions(duration, count, seed, folder, demonstration), screen, as_json)
        return
    if demonstration:
        raise ConfigError("--demonstration is for dark markets", "leave it out, or use --dark")
    options = DemoOptions(
        duration_s=duration,
        nodes=NODES_DEFAULT if nodes is None else nodes,
        rate_per_s=rate,
        seed=seed,
        folder=folder,
        policy=parse_policy(policy),
    )
    outcome = run_demo(options, screen)
    if as_json:
        for problem in outcome.summary.problems:
            screen.say(f"problem: {problem}")
        print_json(outcome.summary.as_json())
    else:
        _show(outcome)
    if not outcome.summary.succeeded:
        raise typer.Exit(EXIT_FAULT_FOUND)


def _show(outcome: Outcome) -> None:
    from mpc_sequencer.client.units import MarketUnits
    from mpc_sequencer.demo.run import log_folder
    from mpc_sequencer.demo.summary import pair
    from mpc_sequencer.devnet.layout import ASSETS, BTCUSDT
    from mpc_sequencer.market import POLICY_NAMES

    summary, devnet = outcome.summary, outcome.devnet
    counts = summary.counts
    units = MarketUnits(BTCUSDT, ASSETS[0], ASSETS[1])
    prices = [price_ticks for _, price_ticks in counts.prices]
    span = f"{units.show_price(min(prices))} .. {units.show_price(max(prices))} USDT" if prices else "none"
    policy = POLICY_NAMES[devnet.file.genesis.markets[0].policy]
    rows: list[tuple[object, ...]] = [
        ("orders sealed", counts.sealed),
        ("orders final", counts.final),
        ("orders filled", counts.filled),
        ("orders malformed", counts.malformed),
        ("outcomes", ", ".join(f"{code} {number}" for code, number in counts.outcomes.items())),
        ("batches", counts.batches),
        ("fills", counts.fills),
        ("order policy", policy),
        ("prices", span),
        ("settlement transactions", summary.settlements),
        ("settlement gas", f"{summary.settlement_gas:,}"),
        ("node cpu per order", f"{summary.cpu_us_per_order_per_node} us"),
        ("audit", summary.audit),
        ("key generated after", "in the committee file" if summary.key_ms is None else f"{summary.key_ms:,} ms"),
    ]
    for name, values in (
        ("receipts of f+1 members", summary.latencies.receipt),
        ("finality", summary.latencies.final),
        ("fill", summary.latencies.fill),
    ):
        both = pair(values)
        rows.append((f"submission to {name}", f"p50 {both['p50']} ms, p99 {both['p99']} ms"))
    terminal = console()
    terminal.print(table(f"{summary.nodes} nodes", ("", ""), [(name, str(value)) for name, value in rows]))
    for problem in summary.problems:
        terminal.print(f"problem: {problem}", markup=False, soft_wrap=True)
    committee = f"--committee {devnet.committee_path}"
    terminal.print(
        f"""everything is in {devnet.folder}; try next:
  mpcseq audit verify {log_folder(devnet, outcome.audited_node)} {committee}
  mpcseq order inspect {devnet.folder / "order.bin"} {committee}
  mpcseq devnet up {devnet.folder} --fresh""",
        markup=False,
        soft_wrap=True,
    )
