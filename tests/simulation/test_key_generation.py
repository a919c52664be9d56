"""Key generations in the simulator: what each liar comes to, who is named for it, and who holds a share in the end."""

from __future__ import annotations

import json
from typing import Any

import pytest
from keys_kit import Generation, outage, quiet, with_outages

from mpc_sequencer.cli.app import run as command
from mpc_sequencer.core.effects import Fault
from mpc_sequencer.sim.byzantine import BEHAVIOURS, KEY_BEHAVIOURS
from mpc_sequencer.sim.generation import TIMELY_MS, generated_plan, untimely
from mpc_sequencer.sim.network import FAULTS_END_MS, LinkFault, make_plan
from mpc_sequencer.sim.plan import FAULT_KINDS, KEY_FAULT_KINDS, parse_faults
from mpc_sequencer.sim.run import Harness, simulate

ALL = parse_faults("all", generated=True)


def honest(run: Generation) -> list[int]:
    """Their indexes in the session."""
    return [node + 1 for node in sorted(run.watched.honest)]


# --- runs -----------------------------------------------------------------------------------------------------------
def test_a_generation_among_honest_members_takes_ten_blocks_and_names_nobody() -> None:
    run = Generation(4)
    report = run.run()
    assert report.violations == ()
    assert report.key_ms <= 450
    assert run.simulation is not None
    assert 8 <= run.simulation.cores[0].committee.sharings[0].from_height <= 12
    assert run.named() == set()
    assert run.result.qualified == (1, 2, 3, 4)
    assert not run.result.refresh_advised


@pytest.mark.parametrize(("nodes", "seeds"), [(4, (3, 35, 41)), (7, (2,))])
def test_orders_follow_a_generation_under_all_faults(nodes: int, seeds: tuple[int, ...]) -> None:
    for seed in seeds:
        report = simulate(seed, nodes, ALL, generated=True)
        assert report.violations == ()
        assert report.key_ms and report.orders >= 10


def test_a_seed_is_a_run_whether_verdicts_are_shared_or_not() -> None:
    shared, alone = (Harness(25, 4, ALL, shared=how, generated=True).run() for how in (True, False))
    assert shared == alone


# --- liars ----------------------------------------------------------------------------------------------------------
LIARS: dict[str, tuple[set[str], bool | None]] = {
    "bad_dealer": ({"dkg.deal_wrong"}, False),
    "inconsistent_dealer": ({"dkg.deal_wrong", "dkg.length", "point.encoding"}, False),
    "mute_dealer": ({"dkg.silent"}, False),
    "late_dealer": ({"dkg.silent"}, None),
    "double_dealer": ({"key.repeated"}, True),
    "copied_header": ({"dkg.deal_reused", "dkg.deal_proof"}, False),
    "old_deal": ({"dkg.deal_proof"}, False),
    "lying_complainer": ({"dkg.complaint_false", "dkg.complaint_proof"}, True),
    "feldman_withholder": ({"dkg.silent"}, True),
    "bad_feldman": ({"dkg.feldman_proof"}, True),
    "bad_extractor": ({"dkg.silent", "dkg.extract_proof", "dkg.extract_dealers"}, True),
    "false_ready": ({"dkg.ready_hash"}, True),
}
"""Of which codes one at least names the liar, and whether its deal makes part of the key (None: either)."""
UNNAMED = {"late_dealer", "false_ready"}
"""What is a little late, or said before it could count, harms nobody and names nobody."""


@pytest.mark.parametrize("nodes", [4, 7])
@pytest.mark.parametrize("name", LIARS)
def test_a_liar_is_named_and_the_honest_have_their_key(name: str, nodes: int) -> None:
    codes, qualifies = LIARS[name]
    liars = range(1, 1 + (nodes - 1) // 3)
    run = Generation(nodes, seed=3, behaviours=tuple((node, name) for node in liars))
    assert run.run().violations == ()
    named = run.named()
    assert {node for node, _ in named} <= set(liars)
    if name not in UNNAMED:
        assert all(codes & {code for node, code in named if node == liar} for liar in liars)
    dealers = set(run.result.qualified)
    assert dealers >= set(honest(run))
    if qualifies is not None:
        assert dealers == ({*range(1, nodes + 1)} if qualifies else set(honest(run)))


def test_every_liar_is_tried_and_runs_with_a_given_key_have_none() -> None:
    assert set(LIARS) == set(KEY_BEHAVIOURS)
    assert not set(KEY_BEHAVIOURS) & set(BEHAVIOURS)
    assert parse_faults("all") == FAULT_KINDS and ALL == KEY_FAULT_KINDS
    with pytest.raises(ValueError, match="unknown fault 'bad_dealer'"):
        parse_faults("bad_dealer")
    kinds = {name for seed in range(90) for _, name in generated_plan(seed, 7, ALL).behaviours}
    assert kinds == {*BEHAVIOURS, *KEY_BEHAVIOURS}


def test_a_false_word_before_its_time_does_not_cost_the_true_one() -> None:
    # Seed 1 draws an early liar: its later, true word must stand in the certificate beside the others'.
    run = Generation(4, seed=1, behaviours=((0, "false_ready"),))
    assert run.run().violations == ()
    assert run.keys.certificate is not None
    assert [ready.node for ready in run.keys.certificate.ready] == [0, 1, 2, 3]


def test_a_deal_of_a_void_attempt_is_no_deal_of_the_next() -> None:
    """Two of four deal nothing valid in the first window: it is void. The second attempt has all but the liar."""
    away = outage(2, 75, 12_000)
    run = Generation(4, seed=2, behaviours=((3, "old_deal"),), settle_ms=3_000, **with_outages(away))
    assert run.run().violations == ()
    assert run.keys.void, "with two of four missing there is no key"
    assert (3, "dkg.deal_proof") in run.named()
    assert run.result.qualified == (1, 2, 3)


# --- members that are late, slow or gone ----------------------------------------------------------------------------
def test_a_member_that_is_away_for_less_than_a_window_is_no_culprit_and_has_its_share() -> None:
    run = Generation(4, **with_outages(outage(2, 90, 4_500)))
    assert run.run().violations == ()
    assert 4_500 <= run._key_ms < 7_000
    assert run.named() == set() and run.result.qualified == (1, 2, 3, 4)


def test_a_member_that_is_away_for_a_window_is_named_silent_and_says_that_it_has_no_share() -> None:
    run = Generation(4, settle_ms=40_000, **with_outages(outage(2, 6, 45_000)))
    assert run.run().violations == ()
    assert run.named() == {(2, "dkg.silent")}
    assert run.result.qualified == (1, 2, 4)
    assert run.keys.shareless <= {2}
    assert run.simulation is not None
    assert run.simulation.cores[2].keygen.certificate == run.keys.certificate


def test_a_partition_without_a_quorum_makes_no_key_and_no_second_view() -> None:
    cut = LinkFault(60, 25_000, ((0, 2), (0, 3), (1, 2), (1, 3)))
    run = Generation(4, settle_ms=3_000, breaks=(cut,), end_ms=25_000)
    assert run.run().violations == ()
    assert run._key_ms > 25_000
    assert {code for _, code in run.named()} <= {"dkg.silent"}


@pytest.mark.parametrize("at_ms", [40, 120, 200, 280])
def test_a_lost_vault_silences_its_member_and_never_makes_it_contradict_itself(at_ms: int) -> None:
    run = Generation(4, settle_ms=2_000, **with_outages(outage(1, at_ms, at_ms + 60, lost="vault")))
    assert run.run().violations == ()
    assert {code for _, code in run.named()} <= {"dkg.silent"}
    assert {node for node, _ in run.named()} <= {1}
    assert run.keys.shareless <= {1}


@pytest.mark.parametrize("lost", ["journal", "disk"])
def test_a_wiped_disk_with_its_vault_intact_contradicts_nothing(lost: str) -> None:
    for at_ms in (60, 160, 260):
        run = Generation(4, settle_ms=3_000, **with_outages(outage(1, at_ms, at_ms + 80, lost=lost)))
        assert run.run().violations == ()
        assert {code for _, code in run.named()} <= {"dkg.silent"}


def test_a_struck_round_that_keeps_a_secret_loses_nothing() -> None:
    for awaits in ("secret", "key-message", "key"):
        for moment, percent in (("writing", 40), ("sending", 0), ("sending", 60)):
            struck = outage(1, 1, 200, awaits=awaits, moment=moment, part_percent=percent)
            run = Generation(4, **with_outages(struck))
            assert run.run().violations == ()
            assert run.named() == set() and run.result.qualified == (1, 2, 3, 4)


# --- plans ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("nodes", [4, 7, 13])
def test_a_plan_leaves_all_but_f_members_timely(nodes: int) -> None:
    robbed = awaited = 0
    for seed in range(99):
        plan = generated_plan(seed, nodes, ALL)
        assert plan == generated_plan(seed, nodes, ALL)
        assert len(untimely(plan)) <= (nodes - 1) // 3
        for one in (*plan.breaks, *plan.stalls, *plan.hosts.outages):
            assert 0 < one.at_ms < one.until_ms <= plan.end_ms
            assert one.until_ms - one.at_ms < TIMELY_MS
        robbed += bool(plan.robbed)
        awaited += any(one.awaits in ("key-message", "key", "secret") for one in plan.hosts.outages)
        assert make_plan(seed, nodes, FAULT_KINDS).end_ms == FAULTS_END_MS
    assert (robbed or nodes == 4) and awaited >= 5
    assert not untimely(quiet(nodes))


# --- the command line -----------------------------------------------------------------------------------------------
def test_sim_run_generates_keys_on_request(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["sim", "run", "--first-seed", "1", "--seeds", "1", "--nodes", "4", "--workers", "1", "--json"]
    words += ["--faults", "bad_dealer"]
    assert command(words) == 2, "with a given key nobody deals"
    assert "unknown fault 'bad_dealer'" in capsys.readouterr().err
    assert command([*words, "--keys", "generated"]) == 0
    clean: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert clean["runs"] == 1 and clean["violations"] == []


def test_faults_of_a_session_name_members_by_number_and_code() -> None:
    run = Generation(4, seed=3, behaviours=((1, "mute_dealer"),))
    assert run.run().violations == ()
    assert run.simulation is not None
    said = {one for _, one in run.simulation.faults}
    assert Fault(1, "dkg.silent", "key session 0.0, dealer: deal") in said
