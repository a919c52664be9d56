"""The whole path under load, beside the cryptography it cannot do without.

One run of the demo (member processes, chain, clients on this machine) gives latencies, throughput and the members'
CPU time per order. The floor is what the protocol's cryptography takes of a member for one order
(:mod:`mpc_sequencer.bench.member`), its batch's part shared by as many orders as the run's batches held, over orders
that differ. It is measured beside the run (``floor_us``, see :mod:`mpc_sequencer.bench.beside`) and by the same process
right after (``floor_idle_us``): ``ratio`` is to the first, so it says how much of a member is not cryptography;
``ratio_idle`` also counts what sharing two cores with five other processes costs any code. ``floor_warm_us`` is the sum
of the steps of one order alone, without receipt, proof and coin, in a loop over one input, as ``bench crypto`` has it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from mpc_sequencer.bench.beside import Floor, FloorBeside
from mpc_sequencer.bench.crypto import measure
from mpc_sequencer.bench.member import calls
from mpc_sequencer.demo.run import DemoOptions, Outcome, run_demo
from mpc_sequencer.demo.screen import Screen

CRYPTO_ROUNDS: Final = 15
WARM_STEPS: Final = ("check", "share", "combine", "open", "signatures")
"""Steps of ``bench crypto`` that each member does once per order; sealing is the client's."""


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
    with FloorBeside(nodes, nodes - (nodes - 1) // 3) as beside:
        outcome = run_demo(options, screen, beside.measuring)
        committee = outcome.devnet.file.committee
        with screen.step("measuring the cryptography alone"):
            after = beside.after()
            size = measure(((committee.n, committee.t),), CRYPTO_ROUNDS)["sizes"][0]
    summary = outcome.summary.as_json()
    result = figures(summary, size, beside.during, after, rate_per_s=rate_per_s, duration_s=duration_s)
    steps = None if beside.during is None else beside.during.as_json()
    return outcome, result | {"floor_steps_us": steps, "floor_calls": calls(committee.n, committee.t)}


def figures(
    summary: dict[str, Any],
    size: dict[str, Any],
    during: Floor | None,
    after: Floor | None,
    *,
    rate_per_s: float,
    duration_s: float,
) -> dict[str, Any]:
    """The printed object, from a demo's summary, one size of ``bench crypto`` and the floor measured during the run and
    after it."""
    cpu_us = summary["cpu_us_per_order_per_node"]
    orders_per_batch = summary["orders_final"] / max(1, summary["batches"])
    floor_us, idle_us = (_floor_us(floor, orders_per_batch) for floor in (during, after))
    warm_us = round(sum(size["floor_us"][step] for step in WARM_STEPS), 1)
    return {
        "nodes": summary["nodes"],
        "rate_per_s": rate_per_s,
        "duration_s": duration_s,
        "orders_per_s": round(summary["orders_final"] / duration_s, 1),
        "orders_sealed": summary["orders_sealed"],
        "orders_final": summary["orders_final"],
        "orders_per_batch": round(orders_per_batch, 1),
        "latency_ms": summary["latency_ms"],
        "cpu_us_per_order_per_node": cpu_us,
        "floor_us": floor_us,
        "floor_idle_us": idle_us,
        "floor_warm_us": warm_us,
        "crypto_warm_us": round(sum(size["us"][step] for step in WARM_STEPS), 1),
        "ratio": _ratio(cpu_us, floor_us),
        "ratio_idle": _ratio(cpu_us, idle_us),
        "ratio_warm": _ratio(cpu_us, warm_us),
        "audit": summary["audit"],
        "key_ms": summary["key_ms"],
    }


def _floor_us(floor: Floor | None, orders_per_batch: float) -> float | None:
    return None if floor is None else round(floor.per_order_us(max(1.0, orders_per_batch)), 1)


def _ratio(cpu_us: int | None, floor_us: float | None) -> float | None:
    return None if cpu_us is None or not floor_us else round(cpu_us / floor_us, 2)
