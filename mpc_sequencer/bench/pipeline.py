"""The whole path under load, beside the cryptography it cannot do without.

One run of the demo (member processes, chain, clients on this machine) gives latencies, throughput and the members'
CPU time per order. The bare cost of one order's cryptography at this committee size is measured twice: right after
the run, warm and on a machine that is idle again (``floor_us_per_order``), and beside the run, with a different order
each time (``floor_beside_us_per_order``, see :mod:`mpc_sequencer.bench.beside`). A ratio to the first also counts what
sharing two cores with five other processes costs any code; a ratio to the second says how much of a member is not
cryptography.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from mpc_sequencer.bench.beside import FloorBeside
from mpc_sequencer.bench.crypto import measure
from mpc_sequencer.demo.run import DemoOptions, Outcome, run_demo
from mpc_sequencer.demo.screen import Screen

CRYPTO_ROUNDS: Final = 15
MEMBER_STEPS: Final = ("check", "share", "combine", "open", "signatures")
"""What each member does once per order; sealing is the client's."""


def run_pipeline(
    *,
    nodes: int,
    rate_per_s: float,
    duration_s: float,
    seed: int,
    folder: Path | None,
    screen: Screen,
    seal_ahead: bool = False,
) -> tuple[Outcome, dict[str, Any]]:
    """One loaded run and the floor; the outcome of the run and the object that ``bench pipeline --json`` prints."""
    options = DemoOptions(
        duration_s=duration_s,
        nodes=nodes,
        rate_per_s=rate_per_s,
        seed=seed,
        folder=folder,
        seal_ahead=seal_ahead,
    )
    with FloorBeside(nodes, nodes - (nodes - 1) // 3, MEMBER_STEPS) as beside:
        outcome = run_demo(options, screen, beside.measuring)
    committee = outcome.devnet.file.committee
    with screen.step("measuring the cryptography alone"):
        size = measure(((committee.n, committee.t),), CRYPTO_ROUNDS)["sizes"][0]
    summary = outcome.summary.as_json()
    return outcome, figures(summary, size, beside.us_per_order, rate_per_s=rate_per_s, duration_s=duration_s)


def figures(
    summary: dict[str, Any],
    size: dict[str, Any],
    beside_us: float | None,
    *,
    rate_per_s: float,
    duration_s: float,
) -> dict[str, Any]:
    """The printed object, from a demo's summary, one size of ``bench crypto`` and the floor measured beside the run."""
    floor_us = round(sum(size["floor_us"][step] for step in MEMBER_STEPS), 1)
    crypto_us = round(sum(size["us"][step] for step in MEMBER_STEPS), 1)
    cpu_us = summary["cpu_us_per_order_per_node"]
    return {
        "nodes": summary["nodes"],
        "rate_per_s": rate_per_s,
        "duration_s": duration_s,
        "orders_per_s": round(summary["orders_final"] / duration_s, 1),
        "orders_sealed": summary["orders_sealed"],
        "orders_final": summary["orders_final"],
        "latency_ms": summary["latency_ms"],
        "cpu_us_per_order_per_node": cpu_us,
        "crypto_us_per_order": crypto_us,
        "floor_us_per_order": floor_us,
        "floor_beside_us_per_order": None if beside_us is None else round(beside_us, 1),
        "ratio": None if cpu_us is None else round(cpu_us / floor_us, 2),
        "ratio_beside": None if cpu_us is None or not beside_us else round(cpu_us / beside_us, 2),
        "audit": summary["audit"],
        "key_ms": summary["key_ms"],
    }
