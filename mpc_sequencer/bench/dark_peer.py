"""A peer to measure beside: the same clearing in `mpyc`, as its users write it, in processes of its own.

What it computes: curves as sums of secret rows, the crossing position as a sum of comparisons at all positions at
once, and each marginal order's lots as a minimum and a maximum against its prefix sum, vectorised over secure arrays of
32-bit integers with the same statistical security. What it does not: test rows for being well-formed and funded, check
any opening, name a liar, encrypt its links; it is secure against members that follow the protocol alone. Its inputs are
shared by party 0 before the clock starts; it is timed from there to the last party's end, with its masks, which it
makes as it goes.

It is an oracle on loopback and nothing more: its runtime parses the command line when it is imported and unpickles what
peers send. So it only runs as ``python -m``, and listens on loopback alone until all parties are connected.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from time import monotonic, monotonic_ns
from typing import Any, Final

import numpy as np

from mpc_sequencer.bench.dark_book import Book
from mpc_sequencer.core.actions import BUY, SELL
from mpc_sequencer.dark.params import STATISTICAL_BITS
from mpc_sequencer.dark.rule import DarkOutcome, marginal

PACKAGE: Final = "mpyc"
HOST: Final = "127.0.0.1"
INTEGER_BITS: Final = 32


def peer_name() -> str:
    """The package and its version."""
    return f"{PACKAGE} {importlib.metadata.version(PACKAGE)}"


@dataclass(frozen=True, slots=True)
class PeerRun:
    """What the peer found: position -1 where the batch is not crossed; lots bought and sold by each order. ``ms`` is
    the time to the last party's end, ``bytes_sent`` what a party sent, the most of them, inputs excluded."""

    ms: float
    bytes_sent: int
    position: int
    bought: tuple[int, ...]
    sold: tuple[int, ...]

    def agrees(self, outcome: DarkOutcome) -> bool:
        """Whether this is the outcome."""
        fills = {(fill.order, fill.side): fill.lots for fill in outcome.fills}
        found = {(at, BUY): lots for at, lots in enumerate(self.bought) if lots}
        found |= {(at, SELL): lots for at, lots in enumerate(self.sold) if lots}
        if self.position < 0:
            return not outcome.crossed and not found
        return found == fills and marginal(self.position) == (outcome.tick, outcome.marginal_side)


def run_peer(book: Book, seconds_max: float) -> PeerRun | None:
    """Clear the book; None where that takes more than ``seconds_max``, starting and inputs included. Raises
    ``RuntimeError`` where a process fails."""
    params, until = book.params, monotonic() + seconds_max
    addresses = [f"{HOST}:{port}" for port in _free_ports(params.parties)]
    orders = [(one.side, one.tick, one.quantity_lots) for one in book.orders]
    case = {"ticks": params.ticks, "orders": orders, "priority": book.priority}
    processes = []
    try:
        for party in range(params.parties):
            flags = ["-I", str(party), "-T", str(params.faults_t), "-K", str(STATISTICAL_BITS), "--no-log"]
            for address in addresses:
                flags += ["-P", address]
            command = [sys.executable, "-m", __name__, *flags]
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
            processes.append(subprocess.Popen(command, text=True, env=_environment(), **pipes))  # type: ignore[call-overload]
        # Orders go to party 0 alone, which inputs them; the others know their number.
        told = json.dumps(case), json.dumps({**case, "orders": len(book.orders)})
        for party, process in enumerate(processes):
            process.stdin.write(told[min(party, 1)])
            process.stdin.close()
            process.stdin = None
        found = []
        for process in processes:
            said, complained = process.communicate(timeout=max(0.0, until - monotonic()))
            if process.returncode:
                raise RuntimeError(f"{PACKAGE} ended with status {process.returncode}: {complained[-400:]}")
            found.append(json.loads(said))
    except subprocess.TimeoutExpired:
        return None
    finally:
        for process in processes:
            process.kill()
            process.wait()
            for pipe in (process.stdout, process.stderr):
                pipe.close()
    return _together(found)


def _together(found: list[dict[str, Any]]) -> PeerRun:
    """One run, of what its parties say."""
    ms = (max(one["ended_ns"] for one in found) - min(one["began_ns"] for one in found)) / 1e6
    results = {(one["position"], tuple(one["bought"]), tuple(one["sold"])) for one in found}
    if len(results) != 1:
        raise RuntimeError(f"{PACKAGE}: parties found different results")
    position, bought, sold = results.pop()
    return PeerRun(ms, max(one["bytes"] for one in found), position, bought, sold)


def _environment() -> dict[str, str]:
    """The caller's, and its import path: ``python -m`` in another folder finds this module too."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def _free_ports(count: int) -> list[int]:
    """Ports nobody listens on now; the peer takes numbers only."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind((HOST, 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


# --- a party's process --------------------------------------------------------------------------------------------


async def _clear(mpc: Any, entries: Any, ticks: int, priority: list[int]) -> tuple[int, list[int], list[int]]:
    """Position, lots bought and lots sold, of rows (N, 2 ticks) that are secret."""
    zero = mpc.SecInt(INTEGER_BITS).array(np.zeros(1, dtype=object))
    sums = np.sum(entries, axis=0)
    demand = np.flip(np.cumsum(np.flip(sums[:ticks])))
    supply = np.cumsum(sums[ticks:])
    if await mpc.is_zero_public(np.sum(demand * supply)):
        nothing = [0] * len(priority)
        return -1, nothing, nothing
    # positions 2k: D(k) - S(k-1), and 2k+1: D(k) - S(k); position 0 is never below 0
    below = np.concatenate((zero, supply[:-1]))
    excess = np.concatenate((demand - below, demand - supply))
    position = int(await mpc.output(np.sum(excess >= 0))) - 1
    tick, side = marginal(position)
    after = np.concatenate((demand[1:], zero))
    rest = supply[tick] - after[tick] if side == BUY else demand[tick] - below[tick]
    better_buys = np.sum(entries[:, tick + (side == BUY) : ticks], axis=1)
    better_sells = np.sum(entries[:, ticks : ticks + tick + (side == BUY)], axis=1)
    asked = entries[:, tick if side == BUY else ticks + tick][priority]
    left = rest - (np.cumsum(asked) - asked)
    left = np.maximum(left, 0)
    filled = np.minimum(left, asked)
    back = np.argsort(priority)
    marginal_lots = filled[back.tolist()]
    bought = better_buys + marginal_lots if side == BUY else better_buys
    sold = better_sells if side == BUY else better_sells + marginal_lots
    shown = [[int(one) for one in await mpc.output(lots)] for lots in (bought, sold)]
    return position, shown[0], shown[1]


async def _party(mpc: Any, case: dict[str, Any]) -> dict[str, Any]:
    ticks, priority = case["ticks"], case["priority"]
    rows = np.zeros((len(priority), 2 * ticks), dtype=object)
    if mpc.pid == 0:
        for at, (side, tick, lots) in enumerate(case["orders"]):
            rows[at, tick if side == BUY else ticks + tick] = lots
    secint = mpc.SecInt(INTEGER_BITS)
    # its runtime names no host to listen on, which would be all of the machine's
    mpc._loop.create_server = partial(mpc._loop.create_server, host=HOST)
    async with mpc:
        entries = mpc.input(secint.array(rows), senders=0)
        await mpc.gather(entries)
        await mpc.output(secint(0))
        sent, began_ns = _sent(mpc), monotonic_ns()
        position, bought, sold = await _clear(mpc, entries, ticks, priority)
        ended_ns, sent = monotonic_ns(), _sent(mpc) - sent
    return {
        "began_ns": began_ns,
        "ended_ns": ended_ns,
        "bytes": sent,
        "position": position,
        "bought": bought,
        "sold": sold,
    }


def _sent(mpc: Any) -> int:
    return sum(peer.protocol.nbytes_sent for peer in mpc.parties if peer.pid != mpc.pid)


def main() -> None:
    """A party; its case arrives on standard input, its figures leave on standard output."""
    case = json.load(sys.stdin)
    from mpyc.runtime import mpc  # here alone: it parses the command line

    found = mpc.run(_party(mpc, case))
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
