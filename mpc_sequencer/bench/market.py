"""How fast a market clears: orders per second by batch size, resting orders and policy, stage by stage, beside a peer.

Each policy and number of resting orders is a case in a process of its own (:mod:`~mpc_sequencer.bench.market_case`).
``cleared_per_s`` counts entry and clearing of orders laid out in columns: nonces, terms, locks, price, rationing,
fills, fees, balances. ``height_per_s`` counts the whole of :meth:`Engine.execute`, with the columns, the objects that
tell of fills and outcomes, and the hashing of fills and state. Signatures are not in it (``mpcseq bench crypto`` has
them).
"""

from __future__ import annotations

import importlib.util
import multiprocessing
from collections.abc import Callable, Sequence
from dataclasses import asdict
from multiprocessing.connection import Connection
from typing import Any, Final

from mpc_sequencer.bench.market_case import Case, run_case
from mpc_sequencer.bench.market_check import WrongResult
from mpc_sequencer.bench.market_flow import MAKER_FEE_PPM, TAKER_FEE_PPM, accounts_for
from mpc_sequencer.bench.market_peer import PACKAGE, peer_name
from mpc_sequencer.market.types import AUCTION, SHUFFLE

BATCHES_DEFAULT: Final = (1_000, 10_000, 100_000)
RESTING_DEFAULT: Final = (0, 100_000, 1_000_000)
ROUNDS_DEFAULT: Final = 3
POLICIES: Final = {"auction": AUCTION, "continuous": SHUFFLE}
SILENCE_S_MAX: Final = 600.0
"""No single step of a case is that long."""

Progress = Callable[[str, int, int], None]
"""What is being done, how many steps are, and how many there will be."""


def measure(
    batches: Sequence[int] = BATCHES_DEFAULT,
    resting: Sequence[int] = RESTING_DEFAULT,
    rounds: int = ROUNDS_DEFAULT,
    seed: int = 0,
    policies: Sequence[str] = tuple(POLICIES),
    progress: Progress = lambda *_: None,
) -> dict[str, Any]:
    """All cases. Raises :class:`WrongResult` where any height is wrong, ``RuntimeError`` where a case's process ends
    without figures."""
    has_peer = importlib.util.find_spec(PACKAGE) is not None
    accounts = accounts_for(max(resting) + max(batches))
    sizes = tuple(sorted(batches))
    cases = {
        (name, count): Case(POLICIES[name], count, sizes, rounds, seed, accounts, has_peer and name == "continuous")
        for name in policies
        for count in sorted(resting)
    }
    steps_all, steps_done = sum(case.steps for case in cases.values()), 0
    rows: list[dict[str, Any]] = []
    for (name, count), case in cases.items():

        def told(text: str, name: str = name, count: int = count) -> None:
            nonlocal steps_done
            steps_done += 1
            progress(f"{name}, {count:,} resting: {text}", steps_done, steps_all)

        rows += [{"policy": name, "before": count, **row} for row in _in_process(case, told)]
    return {
        "seed": seed,
        "rounds": rounds,
        "accounts": accounts,
        "maker_fee_ppm": MAKER_FEE_PPM,
        "taker_fee_ppm": TAKER_FEE_PPM,
        "peer": peer_name() if has_peer else None,
        "rows": rows,
        "ratios": ratios(rows),
    }


def ratios(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """By policy and batch size, how much longer a batch takes where most orders rest than where fewest do; how many
    resting orders it meets there (``met``), each of which is one more to be paid; and how much longer than where the
    same engine's book was emptied, which leaves out what an engine's age costs whether orders rest or not."""
    found = []
    for policy, size in dict.fromkeys((row["policy"], row["batch"]) for row in rows):
        group = sorted(
            (row for row in rows if (row["policy"], row["batch"]) == (policy, size)), key=lambda row: int(row["before"])
        )
        few, many = group[0], group[-1]
        if few is not many:
            ratio = {
                "policy": policy,
                "batch": size,
                "from": few["before"],
                "to": many["before"],
                "cleared": round(many["cleared_ms"] / few["cleared_ms"], 3),
                "height": round(many["ms"]["height"] / few["ms"]["height"], 3),
                "fills": round(many["fills"] / max(1, few["fills"]), 3),
                "met": many["met"],
            }
            if "emptied" in many:
                ratio["emptied"] = round(many["cleared_ms"] / many["emptied"]["cleared_ms"], 3)
            found.append(ratio)
    return found


def _in_process(case: Case, told: Callable[[str], None]) -> list[dict[str, Any]]:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_serve, args=(there, asdict(case)), daemon=True)
    process.start()
    there.close()
    try:
        while True:
            if not here.poll(SILENCE_S_MAX):
                raise RuntimeError(f"a case said nothing for {SILENCE_S_MAX:g} s")
            kind, value = here.recv()
            if kind == "step":
                told(value)
            elif kind == "wrong":
                raise WrongResult(value)
            else:
                rows: list[dict[str, Any]] = value
                return rows
    except EOFError:
        raise RuntimeError("a case's process ended without figures; is there memory enough?") from None
    finally:
        process.terminate()
        process.join()
        here.close()


def _serve(connection: Connection, fields: dict[str, Any]) -> None:
    """The process: run the case and tell."""
    try:
        rows = run_case(Case(**fields), lambda text: connection.send(("step", text)))
    except WrongResult as error:
        connection.send(("wrong", str(error)))
        return
    connection.send(("rows", rows))
