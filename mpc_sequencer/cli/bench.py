"""``mpcseq bench``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from mpc_sequencer.cli.errors import EXIT_FAULT_FOUND, Shown, report
from mpc_sequencer.cli.options import AsJson, output_exists, parse_counts, parse_sizes
from mpc_sequencer.cli.output import console, print_json, table

app = typer.Typer(no_args_is_help=True)
BURST_S = 0.25
ROUNDS_MAX = 1_000
MARKET_BATCH_MAX = 200_000
MARKET_RESTING_MAX = 3_000_000
DELAY_MS_MAX = 1_000


@app.callback()
def _group() -> None:
    """Measure what an order costs: its cryptography, its market, a loaded committee, one spread over regions, larger
    ones, and a batch that clears unseen."""


@app.command("crypto")
def crypto(
    rounds: Annotated[
        int, typer.Option(min=1, max=ROUNDS_MAX, help="Rounds; each figure is their median.")
    ] = 15,
    as_json: AsJson = False,
) -> None:
    """Microseconds per order of each step, beside the bare libsecp256k1 calls it needs (the floor)."""
    from mpc_sequencer.bench.crypto import SIZES_DEFAULT, STEPS, measure

    result = measure(SIZES_DEFAULT, rounds)
    if as_json:
        print_json(result)
        return
    terminal = console()
    for size in result["sizes"]:
        rows = [(step, f"{size['us'][step]:.1f}", f"{size['floor_us'][step]:.1f}") for step in STEPS]
        ratio = f"check + share + combine + open is {size['ratio']:.2f} x the floor"
        title = f"n = {size['n']}, t = {size['t']}: {ratio}"
        terminal.print(table(title, ("step", "us per order", "floor us"), rows))
    peer = result["peer"]
    if "us" in peer:
        steps = [(step, f"{us:.1f}") for step, us in peer["us"].items()]
        terminal.print(table(f"{peer['name']}, n = {peer['n']}, t = {peer['t']}", ("step", "us per order"), steps))
    else:
        terminal.print(f"{peer['name']}: not installed, nothing to compare with")


@app.command("dkg")
def dkg(
    rounds: Annotated[
        int, typer.Option(min=1, max=ROUNDS_MAX, help="Sessions of each size; each figure is their median.")
    ] = 5,
    regions: Annotated[bool, typer.Option(help="Generate keys over simulated regions too (a minute or more).")] = True,
    as_json: AsJson = False,
) -> None:
    """What key generation and resharing cost a member: wall and CPU time, bytes sent, in one process; and how long a
    generation takes among 13 regions, through lists, blocks and finality."""
    from mpc_sequencer.bench.dkg import SIZES_DEFAULT, measure
    from mpc_sequencer.bench.dkg_regions import measure_regions

    result = measure(SIZES_DEFAULT, rounds)
    result["regions"] = measure_regions(SIZES_DEFAULT) if regions else []
    if as_json:
        print_json(result)
        return
    terminal = console()
    for kind, title in (("generate", "key generation"), ("reshare", "refresh of the same committee")):
        rows = [
            (f"n = {size['n']}, t = {size['t']}", *(f"{size[kind][key]:,}" for key in ("cpu_ms", "wall_ms", "bytes")))
            for size in result["sizes"]
        ]
        terminal.print(table(f"{title}, per member", ("committee", "cpu ms", "wall ms", "bytes sent"), rows))
    if result["regions"]:
        rows = [
            (f"n = {one['n']}, t = {one['t']}", *(f"{one[key]:,}" for key in ("key_ms", "heights", "cpu_ms", "bytes")))
            for one in result["regions"]
        ]
        columns = ("committee", "ms to the key", "blocks", "cpu ms", "bytes sent")
        terminal.print(table("generation over regions, cpu and bytes per member with agreement", columns, rows))
    peer = result["peer"]
    found = "not installed, nothing to compare with"
    if "cpu_ms" in peer:
        found = f"key generation of {peer['n']} members, t = {peer['t']}: {peer['cpu_ms']} ms cpu, all members together"
    terminal.print(f"{peer['name']}: {found}")


@app.command("pipeline")
def pipeline(
    nodes: Annotated[int, typer.Option(help="Committee members, 4 or more.")] = 4,
    rate: Annotated[float, typer.Option(min=0.1, max=100_000.0, help="Orders per second.")] = 200.0,
    duration: Annotated[float, typer.Option(min=1.0, max=3600.0, help="Seconds of load.")] = 20.0,
    seed: Annotated[int, typer.Option(min=0, help="Chooses accounts, nonces and the part of the trace.")] = 0,
    folder: Annotated[Path | None, typer.Option(help="Where to keep the run.")] = None,
    burst: Annotated[
        int, typer.Option(min=0, max=50_000, help="Send so many orders in 250 ms, and nothing else. 0: --rate counts.")
    ] = 0,
    as_json: AsJson = False,
) -> None:
    """Throughput, latencies and CPU per order of a committee on this machine, beside the cryptography's floor.

    Members, chain and clients share the machine: what else runs on it counts too.
    """
    from mpc_sequencer.bench.pipeline import run_pipeline
    from mpc_sequencer.demo.screen import Screen

    screen = Screen(console(stderr=as_json))
    if burst:
        duration = BURST_S
        rate = burst / duration
    outcome, result = run_pipeline(
        nodes=nodes,
        rate_per_s=rate,
        duration_s=duration,
        seed=seed,
        folder=folder,
        screen=screen,
        seal_ahead=bool(burst),
    )
    if as_json:
        print_json(result)
    else:
        latency = result["latency_ms"]
        rows = [
            ("orders per second", result["orders_per_s"]),
            *((f"submission to {name}", f"p50 {v['p50']} ms, p99 {v['p99']} ms") for name, v in latency.items()),
            ("cpu per order and node", f"{result['cpu_us_per_order_per_node']} us"),
            ("orders per batch", result["orders_per_batch"]),
            ("its cryptography's floor", f"{result['floor_us']} us beside the run, {result['floor_idle_us']} us after"),
            ("cpu over it", f"{result['ratio']} beside the run, {result['ratio_idle']} after"),
            ("one order's steps, warm", f"{result['crypto_warm_us']} us, floor {result['floor_warm_us']} us"),
            ("audit", result["audit"]),
            *([("key generated after", f"{result['key_ms']} ms")] if result["key_ms"] is not None else []),
        ]
        console().print(table(f"{nodes} nodes at {rate:g} orders/s", ("", ""), [(a, str(b)) for a, b in rows]))
    if not outcome.summary.succeeded:
        raise typer.Exit(EXIT_FAULT_FOUND)


@app.command("regions")
def regions(
    nodes: Annotated[int, typer.Option(min=4, max=40, help="Members, one per region in turn.")] = 13,
    orders: Annotated[int, typer.Option(min=1, max=10_000, help="Orders of each load.")] = 39,
    rate: Annotated[float, typer.Option(min=0.1, max=1_000.0, help="Orders per second of the load.")] = 20.0,
    seed: Annotated[int, typer.Option(min=0, help="Chooses keys and times.")] = 0,
    targets: Annotated[
        int, typer.Option(min=0, max=40, help="Send an order to so many members, the nearest; 0: to all.")
    ] = 0,
    measured: Annotated[bool, typer.Option("--measured", help="Charge the time computing takes here.")] = False,
    explain: Annotated[bool, typer.Option("--explain", help="Run again without each timer.")] = False,
    as_json: AsJson = False,
) -> None:
    """Latency of a committee over named regions on virtual time, beside what the network alone takes.

    Computing is charged by a fixed table, so that a seed is a run, or with --measured by the time it takes here.
    """
    from mpc_sequencer.bench.regions import Options, run_regions
    from mpc_sequencer.bench.regions import explain as without
    from mpc_sequencer.core.errors import ConfigError

    options = Options(nodes, orders, rate, seed, targets, measured)
    try:
        result = run_regions(options)
    except ValueError as error:
        raise ConfigError(str(error), "see `mpcseq bench regions --help`") from None
    if explain:
        result["explained"] = without(options)
    if as_json:
        print_json(result)
    else:
        _show_regions(result)


def _show_regions(result: dict[str, Any]) -> None:
    terminal = console()
    names = {"order_floor": "order alone", "network_run": "network run"}
    rows = []
    for load in ("idle", "load"):
        for kind in ("final", "fill"):
            figures = result[load][kind]
            floors = [f"{figures[name]['p50']:.1f} / {figures[name]['p99']:.1f}" for name in names]
            measured = f"{figures['p50']:.1f} / {figures['p99']:.1f}"
            rows.append((load, kind, measured, *floors, f"{figures['ratio']:.3f}", names[result[load]["floor"]]))
    title = f"{result['nodes']} members in {len(set(result['regions']))} regions: ms from submission, p50 / p99"
    columns = ("load", "until", "measured", "order alone", "network run", "ratio", "over the median of")
    terminal.print(table(title, columns, rows))
    if "explained" in result:
        kinds = ("idle_final", "idle_fill", "load_final", "load_fill")
        shown = [(row["without"] or "nothing", *(f"{row[kind]:.3f}" for kind in kinds)) for row in result["explained"]]
        terminal.print(table("ratios with one thing taken out", ("without", *kinds), shown))
    if "costs_us" in result["load"]:
        costs = [(kind, f"{us:.1f}") for kind, us in result["load"]["costs_us"].items()]
        terminal.print(table("computing, measured under load", ("what", "us each"), costs))


@app.command("scale")
def scale(
    nodes: Annotated[str, typer.Option(help="Committee sizes, separated by commas.")] = "4,7,13,31",
    orders: Annotated[int, typer.Option(min=1, max=512, help="Orders in a batch.")] = 192,
    rounds: Annotated[int, typer.Option(min=1, max=100, help="Batches; the cheapest counts.")] = 3,
    plot: Annotated[Path | None, typer.Option(help="Draw the figures to this SVG file.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the plot.")] = False,
    as_json: AsJson = False,
) -> None:
    """Processor time, messages and bytes per order by committee size, and how they grow."""
    from mpc_sequencer.bench.plot import draw_scale
    from mpc_sequencer.bench.scale import measure
    from mpc_sequencer.core.errors import ConfigError

    sizes = sorted(parse_sizes(nodes))
    if plot is not None:
        if len(sizes) < 2:
            raise ConfigError("a plot needs two or more committee sizes", "for example --nodes 4,7,13")
        output_exists(plot, force)
    progress = console(stderr=True)
    with progress.status("measuring") as status:
        result = measure(sizes, orders, rounds, lambda text: status.update(f"measuring {text}"))
    if plot is not None:
        plot.write_text(draw_scale(result), encoding="utf-8")
    if as_json:
        print_json(result)
    else:
        _show_scale(result)


def _show_scale(result: dict[str, Any]) -> None:
    terminal = console()
    sizes, growth = result["sizes"], result["growth"]

    def row(name: str, key: str, values: list[Any]) -> tuple[str, ...]:
        found = growth.get(key)
        grows = "" if found is None else f"n^{found['exponent']:.2f}, {found['name']}"
        return (name, *(value if isinstance(value, str) else f"{value:,}" for value in values), grows)

    rows = [row("us per order and member", "us", [size["us"] for size in sizes])]
    rows += [row(f"  {part}", part, [size["parts_us"][part] for size in sizes]) for part in sizes[0]["parts_us"]]
    rows.append(row("  of it cryptography", "", [f"{size['crypto_share']:.0%}" for size in sizes]))
    rows.append(row("us per order, all members", "us_all", [size["us_all"] for size in sizes]))
    rows += [row(f"{key} per order and member", key, [size[key] for size in sizes]) for key in ("messages", "bytes")]
    rows.append(row("blocks per batch", "", [size["blocks"] for size in sizes]))
    title = f"batches of {result['orders']} orders, the cheapest of {result['rounds']}"
    terminal.print(table(title, ("", *(f"n = {size['n']}" for size in sizes), "growth"), rows))


@app.command("market")
def market(
    batches: Annotated[str, typer.Option(help="New orders of a batch, separated by commas.")] = "1000,10000,100000",
    resting: Annotated[str, typer.Option(help="Orders that rest before, separated by commas.")] = "0,100000,1000000",
    policy: Annotated[str, typer.Option(help="auction, continuous, or all.")] = "all",
    rounds: Annotated[int, typer.Option(min=1, max=100, help="Batches of each size; the figure is their median.")] = 3,
    seed: Annotated[int, typer.Option(min=0, help="Chooses the orders.")] = 0,
    plot: Annotated[Path | None, typer.Option(help="Draw the figures to this SVG file.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the plot.")] = False,
    as_json: AsJson = False,
) -> None:
    """Orders cleared per second by batch size and orders that rest, stage by stage, beside lightmatchingengine.

    Every height is checked for price, fills and conservation, and the peer must trade the same; a wrong one fails.
    """
    from mpc_sequencer.bench.market import POLICIES, measure
    from mpc_sequencer.bench.market_check import WrongResult
    from mpc_sequencer.bench.market_plot import draw_market
    from mpc_sequencer.core.errors import ConfigError

    sizes = parse_counts("--batches", batches, 1, MARKET_BATCH_MAX)
    counts = parse_counts("--resting", resting, 0, MARKET_RESTING_MAX)
    if policy not in (*POLICIES, "all"):
        raise ConfigError(f"--policy is {policy!r}, expected auction, continuous or all", "leave it out for all")
    if plot is not None:
        if len(sizes) < 2:
            raise ConfigError("a plot needs two or more batch sizes", "for example --batches 1000,10000")
        output_exists(plot, force)
    policies = tuple(POLICIES) if policy == "all" else (policy,)
    try:
        with _bar() as told:
            result = measure(sizes, counts, rounds, seed, policies, told)
    except WrongResult as error:
        report(Shown(f"the market is wrong: {error}", "this is a bug; report it with the command's options"), as_json)
        raise typer.Exit(EXIT_FAULT_FOUND) from None
    if plot is not None:
        plot.write_text(draw_market(result), encoding="utf-8")
    if as_json:
        print_json(result)
    else:
        _show_market(result)


@contextmanager
def _bar() -> Iterator[Callable[[str, int, int], None]]:
    """A bar on standard error: gets what is being done, how many steps are, and how many there will be."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    terminal = console(stderr=True)
    with Progress(*columns, console=terminal, transient=True, disable=not terminal.is_terminal) as progress:
        task = progress.add_task("starting", total=None)
        yield lambda text, done, total: progress.update(task, description=text, completed=done, total=total)


def _show_market(result: dict[str, Any]) -> None:
    from mpc_sequencer.bench.market_stages import STAGES

    terminal = console()
    columns = ("batch", "resting", "cleared/s", "whole/s", *(f"{name} ms" for name in STAGES), "fills", "peak MB")
    for policy in dict.fromkeys(row["policy"] for row in result["rows"]):
        of_policy = [row for row in result["rows"] if row["policy"] == policy]
        peered = any("peer" in row for row in of_policy)
        rows = [
            (
                *(f"{row[name]:,}" for name in ("batch", "resting", "cleared_per_s", "height_per_s")),
                *(f"{row['ms'][name]:,.1f}" for name in STAGES),
                *(f"{row[name]:,}" for name in ("fills", "peak_mb")),
                *([f"{row['peer']['per_s']:,}"] if peered else []),
            )
            for row in of_policy
        ]
        title = f"{policy}: {result['accounts']:,} accounts, median of {result['rounds']}"
        terminal.print(table(title, (*columns, *(["peer/s"] if peered else [])), rows))
    if result["ratios"]:
        shown = [
            (
                one["policy"],
                f"{one['batch']:,}",
                *(f"{one[name]:.2f}" for name in ("cleared", "height", "fills")),
                f"{one['met']:,}",
                f"{one['emptied']:.2f}" if "emptied" in one else "",
            )
            for one in result["ratios"]
        ]
        first = result["ratios"][0]
        title = f"{first['to']:,} resting over {first['from']:,}"
        names = ("policy", "batch", "entry + clear", "whole height", "fills", "resting met", "over the emptied book")
        terminal.print(table(title, names, shown))
    if result["peer"] is None:
        terminal.print("lightmatchingengine: not installed, nothing to compare with")
    compared = any("peer" in row for row in result["rows"])
    also = f"; {result['peer']} trades the same, fill by fill" if compared else ""
    terminal.print(f"every height checked: price, limits, fees, conservation{also}")


@app.command("dark")
def dark(
    nodes: Annotated[str, typer.Option(help="Committee sizes, separated by commas.")] = "4,5,9",
    orders: Annotated[str, typer.Option(help="Orders of a batch, separated by commas.")] = "64,256,1024",
    ticks: Annotated[str, typer.Option(help="Price ticks of the market, separated by commas.")] = "32,128",
    delays: Annotated[str, typer.Option(help="Milliseconds one way, separated by commas.")] = "0,10,50",
    rounds: Annotated[int, typer.Option(min=1, max=100, help="Batches of each size; the figure is their median.")] = 3,
    seed: Annotated[int, typer.Option(min=0, help="Chooses the orders.")] = 0,
    peer_seconds: Annotated[
        float, typer.Option(min=0.0, max=3_600.0, help="How long mpyc may take for one size; 0: it is left out.")
    ] = 60.0,
    levels: Annotated[
        str | None,
        typer.Option(help="Levels of the searches for tick and cut, as 1,2; fewer cost comparisons and save rounds."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Seconds, rounds and bytes of a dark batch among processes on loopback, with delays put on it, beside mpyc.

    Every party's outcome must be what the dark rule gives in the plain, and mpyc's too; a wrong one fails.
    """
    from mpc_sequencer.bench.dark import Options, faults_of, measure
    from mpc_sequencer.bench.market_check import WrongResult
    from mpc_sequencer.cli.bench_dark import parse_levels, show_dark
    from mpc_sequencer.core.errors import ConfigError
    from mpc_sequencer.dark.params import ORDERS_MAX, TICKS_MAX

    options = Options(
        committees=tuple((size, faults_of(size)) for size in sorted(parse_sizes(nodes))),
        orders=tuple(parse_counts("--orders", orders, 1, ORDERS_MAX)),
        ticks=tuple(parse_counts("--ticks", ticks, 1, TICKS_MAX)),
        delays_ms=tuple(parse_counts("--delays", delays, 0, DELAY_MS_MAX)),
        rounds=rounds,
        seed=seed,
        peer_s=peer_seconds,
        levels=None if levels is None else parse_levels(levels),
    )
    try:
        options.check()
    except ValueError as error:
        raise ConfigError(str(error), "see `mpcseq bench dark --help`") from None
    try:
        with _bar() as told:
            result = measure(options, told)
    except WrongResult as error:
        shown = Shown(f"the dark batch is wrong: {error}", "this is a bug; report it with the command's options")
        report(shown, as_json)
        raise typer.Exit(EXIT_FAULT_FOUND) from None
    if as_json:
        print_json(result)
    else:
        show_dark(result)
