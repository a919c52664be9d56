"""How long a dark batch takes: seconds, rounds and bytes of a committee of processes, beside `mpyc` doing the same.

Every party is a process of its own (:mod:`~mpc_sequencer.bench.dark_party`), linked to the others by the members' own
TLS over loopback; a delay, where one is asked for, is put on each message by its sender. Time runs from the moment at
which all parties have their rows and know the coin to the moment at which the last of them is done; the masks, which
depend on no input, are made before and measured apart. Every party's outcome is compared with the rule in the plain
(:mod:`mpc_sequencer.dark.rule`): a difference, a blame or an abort raises
:class:`~mpc_sequencer.bench.market_check.WrongResult`.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from multiprocessing.connection import Connection
from statistics import median
from time import monotonic_ns
from typing import Any, Final

from mpc_sequencer.bench import dark_peer
from mpc_sequencer.bench.dark_book import Book, Books, deal_keys, deal_rows, params_of
from mpc_sequencer.bench.dark_party import CLEAR, PREPARE, Attempt, Load, Ran, Setup, Start, serve
from mpc_sequencer.bench.market_check import require
from mpc_sequencer.dark.clearing import Plan
from mpc_sequencer.dark.layout import Layout
from mpc_sequencer.dark.params import DarkParams
from mpc_sequencer.node import tls

SILENCE_S_MAX: Final = 120.0
"""No single step of a party is that long."""

Progress = Callable[[str, int, int], None]
"""What is being done, how many steps are, and how many there will be."""


def faults_of(parties: int) -> int:
    """The t that is measured with so many parties: the most that are corrected; 1 for those of a demonstration."""
    return max(1, (parties - 1) // 4)


@dataclass(frozen=True, slots=True)
class Options:
    """What is measured: ``committees`` as (n, t), numbers of ``orders`` and of ``ticks``, ``delays_ms`` one way, how
    many ``rounds`` (each on another book), and how long the peer may take for one size; 0: it is left out."""

    committees: tuple[tuple[int, int], ...]
    orders: tuple[int, ...]
    ticks: tuple[int, ...]
    delays_ms: tuple[int, ...]
    rounds: int = 3
    seed: int = 0
    peer_s: float = 0.0
    levels: tuple[int, int] | None = None
    """Of the searches for the tick and for the cut; None: as the engine chooses."""

    def check(self) -> None:
        """Raises ``ValueError`` naming the bound of the engine that a size does not keep."""
        for parties, faults_t in self.committees:
            for orders in self.orders:
                for ticks in self.ticks:
                    self.plan(params_of(parties, faults_t, ticks, orders))

    def plan(self, params: DarkParams) -> Plan:
        """How batches of a market are computed here."""
        return Plan.of(params, *(self.levels or (None, None)))

    @property
    def beside(self) -> bool:
        """Whether the peer runs: it only does on loopback as it is."""
        return self.peer_s > 0 and 0 in self.delays_ms

    @property
    def steps(self) -> int:
        """How many steps are told to a progress bar."""
        each = self.rounds * len(self.delays_ms) + (1 if self.beside else 0)
        return len(self.committees) * len(self.orders) * len(self.ticks) * each


class Committee:
    """The processes of a committee, linked. Leave the ``with`` block to end them."""

    def __init__(self, parties: int, faults_t: int) -> None:
        self.parties = parties
        self.faults_t = faults_t
        self._attempts = 0
        self._pipes: list[Connection] = []
        self._processes: list[Any] = []

    def __enter__(self) -> Committee:
        seed = secrets.token_bytes(32)
        log_seeds = [hashlib.sha256(seed + b"log %d" % party).digest() for party in range(self.parties)]
        certificates = tuple(tls.member_certificate(one) for one in log_seeds)
        context = multiprocessing.get_context("spawn")
        try:
            for party, keys in enumerate(deal_keys(self.parties, self.faults_t, seed)):
                here, there = context.Pipe()
                setup = Setup(self.parties, self.faults_t, party, keys, log_seeds[party], certificates)
                process = context.Process(target=serve, args=(there, setup), daemon=True)
                process.start()
                there.close()
                self._pipes.append(here)
                self._processes.append(process)
            self._ask(self._answers())
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the processes."""
        for pipe in self._pipes:
            pipe.close()
        for process in self._processes:
            process.terminate()
            process.join()

    def load(self, book: Book, plan: Plan) -> None:
        """Give every party its shares of a book."""
        columns = Layout.of(book.params).columns
        for pipe, rows in zip(self._pipes, deal_rows(book, secrets.token_bytes(32)), strict=True):
            pipe.send(Load(book.params, plan, rows, columns, book.deposit, book.coin, book.priority))
        self._answers()

    def run(self, delay_s: float) -> dict[str, tuple[float, list[Ran]]]:
        """A new attempt at the loaded batch: of each part the seconds until the last party was done, and what each
        party says. Raises :class:`WrongResult` where any blames another or does not end."""
        self._attempts += 1
        self._ask(Attempt(self._attempts, delay_s))
        parts = {}
        for part in (PREPARE, CLEAR):
            began_ns = monotonic_ns()
            answers = self._ask(Start(part))
            for answer in answers:
                require(isinstance(answer, Ran), str(answer))
            parts[part] = (max(answer.ended_ns for answer in answers) - began_ns) / 1e9, answers
        return parts

    def _ask(self, what: Any) -> list[Any]:
        for pipe in self._pipes:
            pipe.send(what)
        return self._answers()

    def _answers(self) -> list[Any]:
        answers = []
        for party, pipe in enumerate(self._pipes):
            if not pipe.poll(SILENCE_S_MAX):
                raise RuntimeError(f"party {party} said nothing for {SILENCE_S_MAX:g} s")
            try:
                answers.append(pipe.recv())
            except EOFError:
                raise RuntimeError(f"the process of party {party} ended; is there memory enough?") from None
        return answers


def measure(options: Options, progress: Progress = lambda *_: None) -> dict[str, Any]:
    """The object ``bench dark --json`` prints. Raises :class:`WrongResult` where any outcome is not the rule's,
    ``RuntimeError`` where a party's process ends, ``ValueError`` for sizes that are none."""
    books, done = Books(options.seed), 0
    rows: list[dict[str, Any]] = []

    def told(text: str) -> None:
        nonlocal done
        done += 1
        progress(text, done, options.steps)

    for parties, faults_t in options.committees:
        late = False
        with Committee(parties, faults_t) as committee:
            for orders, ticks in product(options.orders, options.ticks):
                size = f"n = {parties}, {orders:,} x {ticks}"
                found, book = _size(committee, options, books, orders, ticks, told)
                rows += found
                if options.beside:
                    peer = {"left_out": "a smaller size took too long"} if late else _peer(book, options.peer_s)
                    late = "left_out" in peer
                    next(row for row in found if not row["delay_ms"])["peer"] = peer
                    told(f"{size}: {dark_peer.PACKAGE}")
    return {
        "seed": options.seed,
        "rounds": options.rounds,
        "peer": dark_peer.peer_name() if options.beside else None,
        "rows": rows,
    }


def _size(
    committee: Committee, options: Options, books: Books, orders: int, ticks: int, told: Callable[[str], None]
) -> tuple[list[dict[str, Any]], Book]:
    """One row per delay, and a book of the size."""
    params = params_of(committee.parties, committee.faults_t, ticks, orders)
    plan = options.plan(params)
    runs: dict[int, list[dict[str, tuple[float, list[Ran]]]]] = {delay_ms: [] for delay_ms in options.delays_ms}
    fills = []
    for _ in range(options.rounds):
        book = books.draw(params, orders)
        expected = book.expected()
        fills.append(len(expected.fills))
        committee.load(book, plan)
        for delay_ms in options.delays_ms:
            told(f"n = {committee.parties}, {orders:,} x {ticks}: {delay_ms} ms one way")
            run = committee.run(delay_ms / 1_000)
            for party, ran in enumerate(run[CLEAR][1]):
                require(ran.outcome == expected, f"party {party} found {ran.outcome}, the rule says {expected}")
            runs[delay_ms].append(run)
    fixed = {
        "n": committee.parties,
        "t": committee.faults_t,
        "orders": orders,
        "ticks": ticks,
        "levels": [len(plan.tick_arities), len(plan.cut_arities)],
        "comparisons": plan.comparisons,
        "fills": round(median(fills)),
    }
    return [{**fixed, "delay_ms": delay_ms, **_figures(found)} for delay_ms, found in runs.items()], book


def _figures(runs: Sequence[dict[str, tuple[float, list[Ran]]]]) -> dict[str, Any]:
    """Medians over the runs: milliseconds of both parts and their sum, and per party rounds, bytes sent and processor
    time: of the busiest, and of all together, which a machine's processors share."""

    def of(part: str, what: Callable[[float, list[Ran]], float]) -> float:
        return median(what(*run[part]) for run in runs)

    figures: dict[str, Any] = {}
    for part in (PREPARE, CLEAR):
        figures[part] = {
            "ms": round(of(part, lambda seconds, _: 1_000 * seconds), 1),
            "cpu_ms": round(of(part, lambda _, all_: max(one.cpu_ns for one in all_) / 1e6), 1),
            "cpu_all_ms": round(of(part, lambda _, all_: sum(one.cpu_ns for one in all_) / 1e6), 1),
            "rounds": round(of(part, lambda _, all_: all_[0].rounds)),
            "bytes": round(of(part, lambda _, all_: max(one.bytes_sent for one in all_))),
        }
    figures["ms"] = round(median(1_000 * (run[PREPARE][0] + run[CLEAR][0]) for run in runs), 1)
    for name in ("rounds", "bytes"):
        figures[name] = figures[PREPARE][name] + figures[CLEAR][name]
    return figures


def _peer(book: Book, seconds_max: float) -> dict[str, Any]:
    """The peer's figures for the book, or why there are none. Raises :class:`WrongResult`."""
    found = dark_peer.run_peer(book, seconds_max)
    if found is None:
        return {"left_out": f"not done within {seconds_max:g} s"}
    expected = book.expected()
    require(found.agrees(expected), f"{dark_peer.PACKAGE} found {found}, the rule says {expected}")
    return {"ms": round(found.ms, 1), "bytes": found.bytes_sent}
