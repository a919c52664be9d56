"""The simulator earns its trust: a seed is a run, sound rules break no promise, and broken rules are caught.

Each mutation breaks one rule of the core for all honest members; a checker must notice within a few seeds.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
from core_kit import make_list, picture

from mpc_sequencer.cli.app import run as command
from mpc_sequencer.core import execution, reveal
from mpc_sequencer.core.agreement.rounds import Round
from mpc_sequencer.core.agreement.simplex import Simplex
from mpc_sequencer.core.blocks import BlockRule
from mpc_sequencer.core.chain import Chain
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.effects import Broadcast, Fault, FromPeer
from mpc_sequencer.core.lists import OwnLists
from mpc_sequencer.core.messages import ListMessage, VoteMessage
from mpc_sequencer.core.offences import NotarizeEquivocation
from mpc_sequencer.core.pool import Pool
from mpc_sequencer.core.types import NOTARIZE, NULLIFY, ZERO_HASH, OrderList
from mpc_sequencer.sim import Cluster, make_deployment
from mpc_sequencer.sim import run as sim_run
from mpc_sequencer.sim.byzantine import BEHAVIOURS
from mpc_sequencer.sim.diagram import draw_run
from mpc_sequencer.sim.network import FAULTS_END_MS, make_plan
from mpc_sequencer.sim.plan import FAULT_KINDS, parse_faults
from mpc_sequencer.sim.run import Harness, simulate, simulate_many
from threshold import group
from threshold.coin import VerifiedCoinShare

ALL = parse_faults("all")
ordering = importlib.import_module("mpc_sequencer.core.ordering.derive")  # the package has a function of that name

# --- runs -------------------------------------------------------------------------------------------------------


def _digest_elsewhere(hash_seed: str) -> str:
    program = (
        "from mpc_sequencer.sim.run import simulate; from mpc_sequencer.sim.plan import parse_faults;"
        "print(simulate(8, 4, parse_faults('all')).digest)"
    )
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.getcwd()}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_a_seed_is_a_run_byte_for_byte_in_every_process() -> None:
    here = simulate(8, 4, ALL)
    assert here.messages > 1_000
    assert _digest_elsewhere("1") == _digest_elsewhere("2") == here.digest
    assert simulate(9, 4, ALL).digest != here.digest


@pytest.mark.parametrize(("nodes", "seeds"), [(4, range(20)), (7, range(5))])
def test_all_faults_break_no_promise(nodes: int, seeds: range) -> None:
    for seed in seeds:
        report = simulate(seed, nodes, ALL)
        assert report.violations == ()
        assert report.heights >= 3
        assert report.orders >= 10


def test_without_faults_a_probe_is_certified_at_once() -> None:
    report = simulate(1, 4, frozenset())
    assert report.violations == ()
    assert report.progress_ms <= 600


def test_many_seeds_on_several_processes_give_the_same_reports() -> None:
    tasks = [(seed, 4, parse_faults("network")) for seed in (31, 32)]
    alone = {report.seed: report for report in simulate_many(tasks, workers=1)}
    together = {report.seed: report for report in simulate_many(tasks, workers=2)}
    assert alone == together


# --- plans ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("nodes", [4, 7, 13])
def test_a_plan_has_at_most_f_faulty_members_and_ends_in_time(nodes: int) -> None:
    behaviours: set[str] = set()
    for seed in range(42):
        plan = make_plan(seed, nodes, ALL)
        assert plan == make_plan(seed, nodes, ALL)
        faults = (nodes - 1) // 3
        assert len(plan.faulty) == faults or (seed % 4 == 0 and len(plan.faulty) < faults)
        assert all(fault.at_ms < fault.until_ms <= FAULTS_END_MS for fault in (*plan.breaks, *plan.stalls))
        behaviours |= {name for _, name in plan.behaviours}
    assert behaviours == set(BEHAVIOURS), "every behaviour has its turn"


def test_faults_are_named_and_an_unknown_name_is_refused() -> None:
    assert parse_faults("all") == FAULT_KINDS
    assert parse_faults("none") == frozenset()
    assert parse_faults("silent, jitter") == {"silent", "jitter"}
    with pytest.raises(ValueError, match="unknown fault 'quiet'"):
        parse_faults("silent,quiet")


EVIDENCE = {
    "equivocating_leader": {"notarize-equivocation"},
    "equivocating_lists": {"list-equivocation"},
    "equivocating_votes": {"notarize-equivocation", "finalize-equivocation"},
    "bent_shares": {"bad-shares", "bad-coin-share"},
    "early_revealer": {"false-finality"},
}
"""Behaviours that must leave evidence. (A refused message or none at all is what the others leave.)"""


@pytest.mark.parametrize("name", EVIDENCE)
def test_a_liar_convicts_itself(name: str) -> None:
    found: set[str] = set()
    for seed in range(12):
        if seed >= 3 and found >= EVIDENCE[name]:
            break
        harness = Harness(seed, 4, frozenset({name}))
        assert harness.run().violations == ()
        assert harness.simulation is not None
        found |= {one.kind for node, one in harness.simulation.evidence if node in harness.watched.honest}
        assert {one.node for node, one in harness.simulation.evidence if node in harness.watched.honest} <= set(
            harness.plan.byzantine
        )
    assert found >= EVIDENCE[name]


def test_who_passes_on_a_list_of_an_equivocator_is_not_charged_and_who_forges_one_is() -> None:
    d = make_deployment(4)
    cluster = Cluster(d)
    core = cluster.cores[0]
    core.step(FromPeer(3, ListMessage(make_list(d, 3, 1, ZERO_HASH, (b"\x01" * 32,)))), cluster.now_ms)
    other_chain = make_list(d, 3, 2, b"\x02" * 32, (b"\x03" * 32,))
    forged = msgspec.structs.replace(other_chain, signature=d.signers[1].sign_digest(b"\x04" * 32))

    def charged(order_list: OrderList) -> list[tuple[int, str]]:
        before = picture(core)
        effects = core.step(FromPeer(1, ListMessage(order_list)), cluster.now_ms)
        assert picture(core) == before
        return [(one.node, one.code) for one in effects if isinstance(one, Fault)]

    assert charged(other_chain) == [(3, "list.chain")]
    assert charged(forged) == [(1, "signature.signer")]


# --- mutations --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Mutation:
    """A broken rule, the faults it needs, and the checkers of which one must notice."""

    name: str
    apply: Callable[[pytest.MonkeyPatch], None]
    checkers: frozenset[str]
    faults: str = "all"
    seeds: int = 6


def _votes_twice(patch: pytest.MonkeyPatch) -> None:
    honest = Simplex._vote

    def vote(self: Simplex, kind: int, view: int, block_id: bytes) -> Any:
        if kind == NOTARIZE:
            second = honest(self, kind, view, bytes(reversed(block_id)))
            self.effects.append(Broadcast(VoteMessage(second)))
        return honest(self, kind, view, block_id)

    patch.setattr(Simplex, "_vote", vote)


def _finalizes_after_nullify(patch: pytest.MonkeyPatch) -> None:
    honest = Simplex._vote_finalize

    def vote_finalize(self: Simplex, here: Round, block_id: bytes, now_ms: int) -> None:
        nullified, here.voted_nullify = here.voted_nullify, False
        honest(self, here, block_id, now_ms)
        here.voted_nullify = nullified

    patch.setattr(Simplex, "_vote_finalize", vote_finalize)


def _shares_before_finality(patch: pytest.MonkeyPatch) -> None:
    honest = Simplex._vote_finalize

    def vote_finalize(self: Simplex, here: Round, block_id: bytes, now_ms: int) -> None:
        honest(self, here, block_id, now_ms)
        if NOTARIZE in here.certificates:
            self._app.finalized(block_id, here.certificates[NOTARIZE], now_ms)

    patch.setattr(Simplex, "_vote_finalize", vote_finalize)


def _skips_credit(patch: pytest.MonkeyPatch) -> None:
    honest = ordering._fill_batch

    class Boundless(dict[bytes, int]):
        def get(self, key: bytes, default: Any = None) -> Any:
            return 1 << 80

    def fill(parent: Any, queue: Any, time_ms: int, bonds_wei: Mapping[bytes, int], lagging: bool, room: int) -> Any:
        return honest(parent, queue, time_ms, Boundless(), lagging, room)

    patch.setattr(ordering, "_fill_batch", fill)
    patch.setattr(Pool, "_check_credit", lambda self, sponsor, doors: None)


def _drops_a_listed_order(patch: pytest.MonkeyPatch) -> None:
    honest = ordering._fill_batch

    def fill(*arguments: Any) -> Any:
        batch, rest, charged = honest(*arguments)
        return batch[1:], rest, charged

    patch.setattr(ordering, "_fill_batch", fill)


def _lets_orders_wait(patch: pytest.MonkeyPatch) -> None:
    honest = ordering._fill_batch

    def fill(parent: Any, queue: Any, time_ms: int, bonds_wei: Any, lagging: bool, room: int) -> Any:
        old = [one for one in queue if one.lifted_height <= parent.height]
        new = tuple(one for one in queue if one.lifted_height > parent.height)
        batch, rest, charged = honest(parent, old, time_ms, bonds_wei, lagging, room)
        return batch, (*rest, *new), charged

    patch.setattr(ordering, "_fill_batch", fill)


def _takes_coin_shares_unchecked(patch: pytest.MonkeyPatch) -> None:
    def unchecked(key: bytes, context: Any, encoded: bytes) -> VerifiedCoinShare:
        share = object.__new__(VerifiedCoinShare)
        point = group.parse_point(encoded[:33], "coin_share")
        for name, value in (("context", context), ("encoded", encoded), ("point", point)):
            object.__setattr__(share, name, value)
        return share

    patch.setattr(reveal, "verify_coin_share", unchecked)


def _takes_any_certificate(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Committee, "check_certificate", lambda self, certificate, verified=(): None)


def _takes_any_heads(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(BlockRule, "_check_heads", lambda self, block, parent: None)


def _breaks_receipts(patch: pytest.MonkeyPatch) -> None:
    honest = OwnLists.cut

    def cut(self: OwnLists, now_ms: int) -> tuple[OrderList, bytes] | None:
        if len(self._open) > 1:
            self._open.pop(0)
        return honest(self, now_ms)

    patch.setattr(OwnLists, "cut", cut)


def _charges_nullify_after_notarize(patch: pytest.MonkeyPatch) -> None:
    honest = Round.offence

    def offence(self: Round, vote: Any) -> Any:
        held = self.held_vote(NOTARIZE, vote.node)
        return NotarizeEquivocation(held, vote) if held and vote.kind == NULLIFY else honest(self, vote)

    patch.setattr(Round, "offence", offence)


def _hashes_results_otherwise(patch: pytest.MonkeyPatch) -> None:
    honest = execution.result_hash
    patch.setattr(execution, "result_hash", lambda *arguments: bytes(reversed(honest(*arguments))))


def _never_times_out(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Simplex, "_vote_nullify", lambda self, view, now_ms: None)


def _forgets_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Chain, "_prune", lambda self: None)


def _trips_over_a_vote(patch: pytest.MonkeyPatch) -> None:
    honest = Simplex.on_vote

    def on_vote(self: Simplex, vote: Any, now_ms: int) -> None:
        honest(self, vote, now_ms)
        assert vote.view <= self.view + 60

    patch.setattr(Simplex, "on_vote", on_vote)


def _keeps_votes_to_itself(patch: pytest.MonkeyPatch) -> None:
    honest = Simplex._vote

    def vote(self: Simplex, kind: int, view: int, block_id: bytes) -> Any:
        cast = honest(self, kind, view, block_id)
        self.effects.pop()  # the record that keeps it
        return cast

    patch.setattr(Simplex, "_vote", vote)


MUTATIONS = [
    Mutation("votes twice", _votes_twice, frozenset({"signed-once"})),
    Mutation("finalizes after nullify", _finalizes_after_nullify, frozenset({"signed-once"}), seeds=18),
    Mutation("sends a vote before keeping it", _keeps_votes_to_itself, frozenset({"durable"})),
    Mutation("shares before finality", _shares_before_finality, frozenset({"early-share"})),
    Mutation("takes any certificate", _takes_any_certificate, frozenset({"certificate"}), "early_revealer"),
    Mutation("skips credit", _skips_credit, frozenset({"audit"})),
    Mutation("drops a listed order", _drops_a_listed_order, frozenset({"inclusion"})),
    Mutation("lets lifted orders wait a block", _lets_orders_wait, frozenset({"inclusion"})),
    Mutation(
        "takes coin shares unchecked", _takes_coin_shares_unchecked, frozenset({"results"}), "bent_shares", seeds=12
    ),
    Mutation("takes any heads", _takes_any_heads, frozenset({"audit", "inclusion"}), "stale_heads"),
    Mutation("leaves a promised order out of its list", _breaks_receipts, frozenset({"receipts"})),
    Mutation("charges nullify after notarize", _charges_nullify_after_notarize, frozenset({"accusation"})),
    Mutation("hashes results otherwise", _hashes_results_otherwise, frozenset({"audit"})),
    Mutation("never times out", _never_times_out, frozenset({"progress"}), "silent"),
    Mutation("forgets nothing", _forgets_nothing, frozenset({"memory"})),
    Mutation("trips over a far vote", _trips_over_a_vote, frozenset({"core"}), "garbage_sender"),
]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_broken_rule_is_caught(mutation: Mutation, monkeypatch: pytest.MonkeyPatch) -> None:
    mutation.apply(monkeypatch)
    noticed: set[str] = set()
    for seed in range(mutation.seeds):
        noticed |= {one.checker for one in simulate(seed, 4, parse_faults(mutation.faults)).violations}
        if noticed & mutation.checkers:
            return
    pytest.fail(f"{mutation.seeds} seeds, noticed only by {sorted(noticed)}")


# --- the command line -------------------------------------------------------------------------------------------


def test_sim_run_prints_what_it_found_and_its_status_says_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["sim", "run", "--seeds", "1", "--nodes", "4", "--faults", "none", "--workers", "1", "--json"]
    assert command(words) == 0
    clean = json.loads(capsys.readouterr().out)
    assert clean["runs"] == 1
    assert clean["heights"] > 3
    assert clean["violations"] == []
    monkeypatch.setattr(sim_run, "PROGRESS_MS_MAX", 0)
    assert command(words) == 1
    (violation,) = json.loads(capsys.readouterr().out)["violations"]
    assert violation.keys() == {"seed", "nodes", "checker", "height", "detail"}
    assert (violation["seed"], violation["nodes"], violation["checker"]) == (0, 4, "progress")


@pytest.mark.parametrize(
    "words", [["--nodes", "3"], ["--nodes", "4,4"], ["--nodes", "x"], ["--faults", "quiet"]], ids=" ".join
)
def test_sim_run_refuses_what_it_cannot_read(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["sim", "run", "--seeds", "1", *words]) == 2
    assert capsys.readouterr().err.startswith("error: --")


def test_a_diagram_shows_members_votes_and_final_blocks() -> None:
    svg, report = draw_run(27, 4, ALL, until_ms=1_200)
    assert report.violations == ()
    assert all(f">member {node}<" in svg for node in range(4))
    for colour in ("#1d4ed8", "#15803d", "#7c3aed"):
        assert svg.count(f'stroke="{colour}"') > 5, "proposals, notarize and finalize votes"
    assert "drops_earliest_lists" in svg
    with pytest.raises(ValueError, match="a span of 0 ms"):
        draw_run(4, 4, ALL, from_ms=5, until_ms=5)


def test_reports_are_plain_values() -> None:
    report = simulate(2, 4, frozenset())
    assert msgspec.json.decode(msgspec.json.encode(report.as_dict()))["digest"] == report.digest
