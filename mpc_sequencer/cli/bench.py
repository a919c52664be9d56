"""``mpcseq bench``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mpc_sequencer.cli.errors import EXIT_FAULT_FOUND
from mpc_sequencer.cli.options import AsJson
from mpc_sequencer.cli.output import console, print_json, table

app = typer.Typer(no_args_is_help=True)
ROUNDS_MAX = 1_000


@app.callback()
def _group() -> None:
    """Measure what the cryptography costs, alone and inside a loaded committee."""


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


@app.command("pipeline")
def pipeline(
    nodes: Annotated[int, typer.Option(help="Committee members, 4 or more.")] = 4,
    rate: Annotated[float, typer.Option(min=0.1, max=100_000.0, help="Orders per second.")] = 200.0,
    duration: Annotated[float, typer.Option(min=1.0, max=3600.0, help="Seconds of load.")] = 20.0,
    seed: Annotated[int, typer.Option(min=0, help="Chooses accounts, nonces and the part of the trace.")] = 0,
    folder: Annotated[Path | None, typer.Option(help="Where to keep the run.")] = None,
    as_json: AsJson = False,
) -> None:
    """Throughput, latencies and CPU per order of a committee on this machine, beside the cryptography's floor.

    Members, chain and clients share the machine: what else runs on it counts too.
    """
    from mpc_sequencer.bench.pipeline import run_pipeline
    from mpc_sequencer.demo.screen import Screen

    screen = Screen(console(stderr=as_json))
    outcome, result = run_pipeline(
        nodes=nodes, rate_per_s=rate, duration_s=duration, seed=seed, folder=folder, screen=screen
    )
    if as_json:
        print_json(result)
    else:
        latency = result["latency_ms"]
        rows = [
            ("orders per second", result["orders_per_s"]),
            *((f"submission to {name}", f"p50 {v['p50']} ms, p99 {v['p99']} ms") for name, v in latency.items()),
            ("cpu per order and node", f"{result['cpu_us_per_order_per_node']} us"),
            ("cryptography alone", f"{result['crypto_us_per_order']} us, floor {result['floor_us_per_order']} us"),
            ("cpu over floor", result["ratio"]),
            ("audit", result["audit"]),
        ]
        console().print(table(f"{nodes} nodes at {rate:g} orders/s", ("", ""), [(a, str(b)) for a, b in rows]))
    if not outcome.summary.succeeded:
        raise typer.Exit(EXIT_FAULT_FOUND)
