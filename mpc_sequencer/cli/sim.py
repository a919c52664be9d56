"""``mpcseq sim``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mpc_sequencer.cli.errors import EXIT_FAULT_FOUND
from mpc_sequencer.cli.options import AsJson, output_exists, parse_sizes
from mpc_sequencer.cli.output import console, print_fields, print_json, table

if TYPE_CHECKING:
    from mpc_sequencer.sim.ledger import Finished, Ledger
    from mpc_sequencer.sim.run import RunReport

app = typer.Typer(no_args_is_help=True)
SEEDS_MAX = 1_000_000
SEED_MAX = (1 << 63) - 1
WORKERS_MAX = 1_024
DARK_SIZES = frozenset({5, 6, 9})

FAULTS_HELP = """
Faults by name, for --faults; "all", "none", "network", "restarts" and "byzantine" stand for
groups.

Network, befalls any members: regions (latencies between cloud regions), jitter, loss (lost packets, sent again late),
reorder (messages of a link overtake each other), links (connections break and come back), partitions (standing, or
moving from group to group), one_way (one direction of links is lost), stalls (one direction waits), duplicates (what
was not acknowledged is sent again over a new link), skew (clocks off within tolerance), jumps (clocks set forwards or
back for a while), chain_late (settlement chain nodes are late), chain_blind (up to f of them are dead).

Hosts, any honest members (at most f are down or faulty at a time, but for power cuts): restart (goes down and comes
back), powercut (some or all go down at once), torn (losses of power beside killed processes, also amid a round: what
was not durable is lost, of what was to be sent a part has left), slow_disk (syncs take up to 400 ms), full_disk (stops,
as nothing can be written, and comes back). "restarts" stands for these and wipe. All take snapshots at drawn times.

Hosts, at most f members: crash (for good), clock (off by more than tolerated, and set by seconds), wipe (comes back
with its journal lost, or its whole disk).

Byzantine, at most f members: equivocating_leader, equivocating_lists, equivocating_votes, drops_one_sender,
drops_earliest_lists, stale_heads, invents_ids, withholds_shares, bent_shares, early_revealer, wrong_result, nullifier,
replayer, silent, slow, garbage_sender, false_logs (shows others a log without certificates), amnesiac (restarts with an
empty disk and signs on), lies_about_chain (names false checkpoints), ignores_chain (names
none).

Byzantine in a key generation (--keys generated), at most f members: bad_dealer (wrong shares to some),
inconsistent_dealer (commitments that do not fit), mute_dealer, late_dealer, double_dealer, copied_header (deals under
another dealer's headers), old_deal (one of another session), lying_complainer, feldman_withholder, bad_feldman,
bad_extractor, false_ready. There "wipe" may take a member's secrets instead of its disk.

Byzantine with a dark market (--dark), at most f members: dark_liar (wrong shares in some rounds), dark_equivocator
(others to each half), dark_mute, dark_false_words (keys, deals, reports, results that are false).

Byzantine where the committee is replaced (--keys rotated), at most f of every committee, joiners too: all of these, and
two_committees (approves another committee as well), other_handover (hands over a sharing that is none), stays_behind
(votes on in an epoch that is over).
"""
STATE_HELP = (
    "Keep finished runs in this file; where it holds some, go on after them. Totals are over all. Seeds may be added,"
    " anything else that differs from the file's is refused, the sources included."
)
Faults = Annotated[
    str,
    typer.Option(help="all, none, or names separated by commas; byzantine, network and restarts stand for groups."),
]
Workers = Annotated[int, typer.Option(min=0, max=WORKERS_MAX, help="Processes; 0 means one per core.")]


@app.callback()
def _group() -> None:
    """Run whole committees on virtual time under faults drawn from a seed, and check what must hold."""


class Keys(StrEnum):
    """Where the threshold key comes from."""

    GIVEN = "given"
    GENERATED = "generated"
    ROTATED = "rotated"


def _parse_faults(text: str, keys: Keys = Keys.GIVEN, *, dark: bool = False) -> frozenset[str]:
    from mpc_sequencer.core.errors import ConfigError
    from mpc_sequencer.sim.plan import parse_faults

    try:
        return parse_faults(text, generated=keys is Keys.GENERATED, rotated=keys is Keys.ROTATED, dark=dark)
    except ValueError as error:
        raise ConfigError(f"--faults: {error}", "for example --faults network,silent") from None


@app.command("run", epilog=FAULTS_HELP)
def run(
    first_seed: Annotated[int, typer.Option(min=0, max=SEED_MAX - SEEDS_MAX, help="The first seed.")] = 0,
    seeds: Annotated[int, typer.Option(min=1, max=SEEDS_MAX, help="How many seeds, for each size.")] = 100,
    nodes: Annotated[
        str | None, typer.Option(help="Committee sizes, separated by commas. Default: 4,7,13; with --dark 5.")
    ] = None,
    faults: Faults = "all",
    keys: Annotated[
        Keys, typer.Option(help="The threshold key: from the start, of the first blocks, or going to other committees.")
    ] = Keys.GIVEN,
    dark: Annotated[bool, typer.Option("--dark", help="A dark market beside the plain one; sizes 5, 6 or 9.")] = False,
    workers: Workers = 0,
    state: Annotated[Path | None, typer.Option(help=STATE_HELP)] = None,
    as_json: AsJson = False,
) -> None:
    """Run seeds and report every violation. Exit status 1 where there is one."""
    from mpc_sequencer.sim.ledger import Ledger, make_soak

    chosen = _parse_faults(faults, keys, dark=dark)
    sizes = _sizes(nodes, keys, dark)
    tasks = [(seed, size, chosen) for seed in range(first_seed, first_seed + seeds) for size in sizes]
    if state is None:
        _conclude(_collect(_simulate(tasks, keys, dark, workers or None), len(tasks)), as_json)
        return
    with Ledger(state, make_soak(first_seed, sizes, chosen, "dark" if dark else keys)) as ledger:
        asked = [(seed, size) for seed, size, _ in tasks]
        earlier = [ledger.finished[one] for one in asked if one in ledger.finished]
        left = [task for task in tasks if task[:2] not in ledger.finished]
        reports = _simulate(left, keys, dark, workers or None)
        summary = _collect(_noted(reports, ledger), len(tasks), earlier)
    _conclude(summary, as_json)


def _sizes(text: str | None, keys: Keys, dark: bool) -> list[int]:
    """The committee sizes of the runs; with a dark market those where as many may be faulty as without one."""
    from mpc_sequencer.core.errors import ConfigError

    if dark and keys is not Keys.GIVEN:
        raise ConfigError(f"--dark with --keys {keys}", "a run with a dark market has its key from the start")
    sizes = parse_sizes(text or ("5" if dark else "4,7,13"))
    if dark and not set(sizes) <= DARK_SIZES:
        raise ConfigError(f"--dark with {max(set(sizes) - DARK_SIZES)} members", "use 5, 6 or 9")
    return list(sizes)


def _simulate(
    tasks: Sequence[tuple[int, int, frozenset[str]]], keys: Keys, dark: bool, workers: int | None
) -> Iterator[RunReport]:
    if dark:
        from mpc_sequencer.sim.darkrun import simulate_many_dark

        return simulate_many_dark(tasks, workers=workers)
    from mpc_sequencer.sim.rotated import simulate_many_rotated
    from mpc_sequencer.sim.run import simulate_many

    if keys is Keys.ROTATED:
        return simulate_many_rotated(tasks, workers=workers)
    return simulate_many(tasks, workers=workers, generated=keys is Keys.GENERATED)


@app.command("twins")
def twins(
    first: Annotated[int, typer.Option(min=0, help="The first scenario's number.")] = 0,
    scenarios: Annotated[int, typer.Option(min=1, max=SEEDS_MAX, help="How many scenarios.")] = 100,
    nodes: Annotated[int, typer.Option(min=4, max=16, help="Committee size; f members are twinned.")] = 4,
    workers: Workers = 0,
    as_json: AsJson = False,
) -> None:
    """Run members twice under one identity, under every split of the network in turn. Exit status 1 for a violation.

    A scenario's number says which members are twinned and how the network is split in each round of views; numbers
    enumerate all scenarios. In what is printed "seed" is that number.
    """
    from mpc_sequencer.core.errors import ConfigError
    from mpc_sequencer.sim.twins import run_scenarios, scenario_count

    count = scenario_count(nodes)
    if first + scenarios > count:
        raise ConfigError(f"--first and --scenarios ask for {first + scenarios} scenarios", f"there are {count}")
    tasks = [(number, nodes) for number in range(first, first + scenarios)]
    _conclude(_collect(run_scenarios(tasks, workers=workers or None), len(tasks)), as_json)


def _conclude(summary: dict[str, Any], as_json: bool) -> None:
    """Print what was found; the exit status says whether anything was."""
    if as_json:
        print_json(summary)
    else:
        _show(summary)
    if summary["violations"]:
        raise typer.Exit(EXIT_FAULT_FOUND)


def _noted(reports: Iterable[RunReport], ledger: Ledger) -> Iterator[RunReport]:
    """The reports, each kept before it is passed on."""
    for report in reports:
        ledger.note(report)
        yield report


def _collect(reports: Iterable[RunReport], total: int, earlier: Sequence[Finished] = ()) -> dict[str, Any]:
    """Runs, heights and violations of all reports and of what was finished ``earlier``, in order of size and seed, with
    a bar on standard error."""
    from dataclasses import asdict

    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    violations = [asdict(one) for run in earlier for one in run.violations]
    runs, heights = len(earlier), sum(run.heights for run in earlier)
    columns = (TextColumn("simulating"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    terminal = console(stderr=True)
    with Progress(*columns, console=terminal, disable=not terminal.is_terminal) as progress:
        task = progress.add_task("runs", total=total, completed=runs)
        for report in reports:
            runs += 1
            heights += report.heights
            violations += [asdict(one) for one in report.violations]
            progress.advance(task)
    violations.sort(key=lambda one: (one["nodes"], one["seed"]))
    return {"runs": runs, "heights": heights, "violations": violations}


def _show(summary: dict[str, Any]) -> None:
    terminal = console()
    violations = summary["violations"]
    by_checker = Counter(one["checker"] for one in violations)
    print_fields(
        terminal,
        [("runs", summary["runs"]), ("heights", summary["heights"]), ("violations", len(violations))],
    )
    if violations:
        columns = ("seed", "nodes", "checker", "height", "detail")
        rows = [[one[name] for name in columns] for one in violations]
        terminal.print(table("", columns, rows))
        terminal.print(table("", ("checker", "violations"), sorted(by_checker.items())))


@app.command("show")
def show(
    seed: Annotated[int, typer.Argument(min=0, max=SEED_MAX, help="The run's seed.")],
    nodes: Annotated[int, typer.Option(min=4, max=16, help="Committee size.")] = 4,
    faults: Faults = "all",
    keys: Annotated[Keys, typer.Option(help="As of `sim run`.")] = Keys.GIVEN,
    from_ms: Annotated[int, typer.Option(min=0, help="Start of the drawing, ms after the run's.")] = 0,
    until_ms: Annotated[int, typer.Option(min=1, help="End of the drawing.")] = 600,
    out: Annotated[Path, typer.Option(help="The SVG file.")] = Path("run.svg"),
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
    as_json: AsJson = False,
) -> None:
    """Draw the space-time diagram of a run. Exit status 1 where the run has violations."""
    from mpc_sequencer.core.errors import ConfigError
    from mpc_sequencer.sim.diagram import SPAN_MS_MAX, draw_run

    if not 0 < until_ms - from_ms <= SPAN_MS_MAX:
        raise ConfigError(
            f"the drawing is from {from_ms} to {until_ms} ms", f"choose a span of 1 to {SPAN_MS_MAX} ms"
        )
    output_exists(out, force)
    chosen = _parse_faults(faults, keys)
    svg, report = draw_run(
        seed,
        nodes,
        chosen,
        from_ms=from_ms,
        until_ms=until_ms,
        generated=keys is Keys.GENERATED,
        rotated=keys is Keys.ROTATED,
    )
    out.write_text(svg, encoding="utf-8")
    if as_json:
        print_json({**report.as_dict(), "out": str(out)})
    else:
        names = ("faults", "heights", "orders", "messages", "virtual_ms", "progress_ms", "digest")
        values = report.as_dict()
        print_fields(console(), [*((name, values[name]) for name in names), ("drawn", out)])
        for one in report.violations:
            console().print(f"  {one.checker} at height {one.height}: {one.detail}", markup=False, style="red")
    if report.violations:
        raise typer.Exit(EXIT_FAULT_FOUND)
