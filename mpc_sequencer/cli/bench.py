"""``mpcseq bench``."""

from __future__ import annotations

from typing import Annotated

import typer

from mpc_sequencer.cli.options import AsJson
from mpc_sequencer.cli.output import console, print_json, table

app = typer.Typer(no_args_is_help=True)
ROUNDS_MAX = 1_000


@app.callback()
def _group() -> None:
    """Measure what the cryptography costs."""


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
