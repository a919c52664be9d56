"""What hosts and links of the simulator do: clocks, disks, breaks, duplicates; and verdicts shared among cores."""

from __future__ import annotations

import random
import re
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mpc_sequencer
from mpc_sequencer.cli.app import run as command
from mpc_sequencer.core import envelopes, limits, reveal, signing
from mpc_sequencer.core.effects import UNBINDING, Append, HeadRecord, Persist, VoteRecord
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.messages import FetchBlock, PeerMessage
from mpc_sequencer.core.transcript import GenesisEntry
from mpc_sequencer.core.types import FINALIZE, NO_SIGNATURE, NOTARIZE, Checkpoint, Head, Vote, with_signature
from mpc_sequencer.sim import Cluster, make_deployment
from mpc_sequencer.sim.host import CHECKPOINT_INTERVAL_MS, Clock, Disk
from mpc_sequencer.sim.network import (
    FAULTS_END_MS,
    RETRANSMISSION_MS,
    SKEW_WITHIN_MS,
    UNACKNOWLEDGED_MS,
    ClockJump,
    FaultPlan,
    LinkFault,
    Links,
    make_plan,
)
from mpc_sequencer.sim.plan import FAULT_KINDS, parse_faults
from mpc_sequencer.sim.run import Harness, simulate
from mpc_sequencer.sim.sharing import SHARED, SIGNATURES, shared_verdicts
from threshold import ThresholdError

ALL = parse_faults("all")
QUIET = FaultPlan.quiet(4)

# --- clocks -----------------------------------------------------------------------------------------------------


@given(st.integers(-500, 500), st.lists(st.tuples(st.integers(0, 400), st.integers(-3_000, 3_000)), max_size=20))
def test_a_clock_that_is_set_never_shows_an_earlier_time(skew_ms: int, steps: list[tuple[int, int]]) -> None:
    clock, now_ms, offset_ms, shown_ms = Clock(skew_ms), 10_000, skew_ms, 0
    for later_ms, by_ms in steps:
        now_ms += later_ms
        before_ms, shown_ms = shown_ms, clock.read_ms(now_ms)
        assert shown_ms == max(before_ms, now_ms + offset_ms)
        clock.step(by_ms)
        offset_ms += by_ms


def test_a_clock_set_back_stands_still_until_time_has_caught_up() -> None:
    clock = Clock()
    assert clock.read_ms(1_000) == 1_000
    clock.step(-300)
    assert [clock.read_ms(at_ms) for at_ms in (1_100, 1_300, 1_301, 1_400)] == [1_000, 1_000, 1_001, 1_100]


@pytest.mark.parametrize("nodes", [4, 13])
def test_clocks_of_correct_members_jump_and_serve_again_at_the_heal(nodes: int) -> None:
    widest_ms = 0
    for seed in range(60):
        plan = make_plan(seed, nodes, ALL)
        for jump in plan.jumps:
            clock = Clock(plan.skew_ms[jump.node])
            readings = {}
            for at_ms in sorted({jump.at_ms, jump.until_ms, FAULTS_END_MS}):
                if at_ms == jump.until_ms:
                    clock.read_ms(at_ms)
                    clock.step(-jump.by_ms)
                if at_ms == jump.at_ms:
                    clock.step(jump.by_ms)
                readings[at_ms] = clock.read_ms(at_ms) - at_ms
            if jump.node not in plan.beyond_skew:
                widest_ms = max(widest_ms, abs(readings[jump.at_ms]))
                assert abs(readings[FAULTS_END_MS]) <= SKEW_WITHIN_MS
    assert widest_ms > limits.BLOCK_TIME_SKEW_MS_MAX, "far enough to be refused"


def test_a_members_statements_show_its_jump() -> None:
    harness = Harness(3, 4, frozenset(), plan=replace(QUIET, jumps=(ClockJump(2, 500, 1_500, 1_800),)))
    assert harness.run().violations == ()
    assert harness.simulation is not None
    ahead = [
        [record.head.time_ms for record in host.disk.records if isinstance(record, HeadRecord)]
        for host in harness.simulation.hosts
    ]
    assert max(b - a for a, b in zip(ahead[2], ahead[2][1:], strict=False)) >= 1_700
    assert all(ahead[2][i] <= ahead[2][i + 1] for i in range(len(ahead[2]) - 1))


# --- disks ------------------------------------------------------------------------------------------------------


def test_heads_alone_are_not_synced_and_a_vote_syncs_all_before_it() -> None:
    head = Head(0, 0, 1, 1, 1, 0, bytes(32), (), Checkpoint(1, bytes(32), 0, bytes(32)), 0, NO_SIGNATURE)
    vote = Vote(NOTARIZE, 0, 1, b"\x01" * 32, 1, NO_SIGNATURE)
    disk = Disk()
    assert not disk.keep([Persist(HeadRecord(head))], 0)
    assert disk.keep([Persist(VoteRecord(vote)), Persist(HeadRecord(head))], 1)
    assert (len(disk.records), disk.synced) == (3, 0)
    disk.sync()
    assert disk.synced == 3


def test_a_checkpoint_covers_what_was_written_before_it() -> None:
    disk = Disk()
    entry = Append(GenesisEntry(bytes(32), bytes(32)))
    for after_ms, concluded in ((0, True), (CHECKPOINT_INTERVAL_MS - 1, False)):
        disk.keep([entry], 1_000 + after_ms)
        if concluded:
            disk.conclude()
    assert (len(disk.log), disk.checkpointed) == (2, 0)
    disk.keep([entry], 1_000 + CHECKPOINT_INTERVAL_MS)
    assert (len(disk.log), disk.checkpointed) == (3, 1), "the second one's round is not over"


def test_hosts_keep_what_cores_write_and_everything_that_binds_is_durable() -> None:
    d = make_deployment(4)
    cluster = Cluster(d)
    cluster.run(7_000)
    for host in cluster.hosts:
        assert host.core.chain.final_height > 0
        assert all(isinstance(record, UNBINDING) for record in host.disk.records[host.disk.synced :])
        assert 0 < host.disk.checkpointed <= len(host.disk.log)


# --- links ------------------------------------------------------------------------------------------------------


def _links(plan: FaultPlan) -> Links:
    return Links(plan, 0, random.Random(1))


def _message(number: int) -> PeerMessage:
    return FetchBlock(number.to_bytes(32, "big"))


def test_a_new_link_brings_again_what_was_not_acknowledged() -> None:
    links = _links(replace(QUIET, duplicates=True))
    arrivals = [links.arrival_ms(0, 1, at_ms, _message(at_ms)) for at_ms in range(100, 300, 10)]
    assert links.break_link((0, 1), 300)
    again = links.unacknowledged(0, 1)
    sent = zip(range(100, 300, 10), arrivals, strict=True)
    assert again == [_message(at_ms) for at_ms, one in sent if one > 300 - UNACKNOWLEDGED_MS]
    assert 1 < len(again) < 20, "some had arrived, and those long acknowledged do not come again"
    assert links.unacknowledged(0, 1) == links.unacknowledged(1, 0) == []


def test_a_one_way_cut_cuts_one_way_and_ends() -> None:
    links = _links(replace(QUIET, one_ways=(LinkFault(100, 200, ((2, 1),)),)))
    assert [links.is_cut(2, 1, at_ms) for at_ms in (99, 100, 199, 200)] == [False, True, True, False]
    assert not links.is_cut(1, 2, 150)
    assert not links.is_cut(2, 3, 150)


def test_a_lost_packet_holds_up_all_behind_it_unless_the_link_reorders() -> None:
    lossy = _links(replace(QUIET, loss_percent=30))
    arrivals = [lossy.arrival_ms(0, 1, at_ms, _message(0)) for at_ms in range(0, 1_000, 5)]
    assert arrivals == sorted(arrivals)
    assert max(one - sent for one, sent in zip(arrivals, range(0, 1_000, 5), strict=True)) >= RETRANSMISSION_MS
    shuffled = _links(replace(QUIET, loss_percent=30, reorder=True))
    arrivals = [shuffled.arrival_ms(0, 1, at_ms, _message(0)) for at_ms in range(0, 1_000, 5)]
    assert arrivals != sorted(arrivals)
    healed_ms = shuffled.arrival_ms(0, 1, FAULTS_END_MS, _message(0))
    assert healed_ms <= FAULTS_END_MS + 5


KINDS_ALONE = ["loss", "reorder", "one_way", "duplicates", "jumps", "amnesiac", "replayer", "clock"]


@pytest.mark.parametrize("kind", KINDS_ALONE)
def test_a_kind_of_fault_alone_breaks_no_promise(kind: str) -> None:
    for seed in (1, 2):
        assert simulate(seed, 4, frozenset({kind})).violations == ()


def test_every_kind_of_network_fault_occurs_within_few_seeds() -> None:
    plans = [make_plan(seed, 4, ALL) for seed in range(40)]
    parts = "regions jitter_ms breaks stalls one_ways jumps loss_percent reorder duplicates"
    for part in parts.split():
        assert 5 < sum(bool(getattr(plan, part)) for plan in plans) < 41, part
    for plan in plans:
        assert all(cut.at_ms < cut.until_ms <= FAULTS_END_MS for cut in plan.one_ways)


def test_a_member_that_forgot_convicts_itself_and_nobody_else() -> None:
    kinds: set[str] = set()
    for seed in range(4):
        harness = Harness(seed, 4, frozenset({"amnesiac"}))
        assert harness.run().violations == ()
        assert harness.simulation is not None
        assert {one.node for _, one in harness.simulation.evidence} <= harness.plan.byzantine
        kinds |= {one.kind for _, one in harness.simulation.evidence}
    assert "list-equivocation" in kinds


def test_the_help_names_every_fault(capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["sim", "run", "--help"]) == 0
    named = set(re.findall(r"[a-z_]+", capsys.readouterr().out))
    assert named >= FAULT_KINDS


# --- shared verdicts --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("seed", "nodes"), [(9, 4), (10, 4), (3, 7)])
def test_a_run_is_the_same_with_and_without_shared_verdicts(seed: int, nodes: int) -> None:
    shared, alone = (Harness(seed, nodes, ALL, shared=how).run() for how in (True, False))
    assert shared == alone
    assert shared.messages > 1_000


def test_shared_verdicts_end_with_the_run_whatever_ends_it() -> None:
    places = [*SIGNATURES, *((place, name) for place, name, _ in SHARED)]
    before = [getattr(place, name) for place, name in places]
    with pytest.raises(KeyError), shared_verdicts():
        assert all(getattr(*one) is not honest for one, honest in zip(places, before, strict=True))
        raise KeyError
    assert [getattr(place, name) for place, name in places] == before
    with shared_verdicts(False):
        assert [getattr(place, name) for place, name in places] == before


def test_a_shared_verdict_is_of_all_its_arguments_and_a_refusal_is_none() -> None:
    d = make_deployment(4)
    digest, other = b"\x01" * 32, b"\x02" * 32
    signature = d.signers[0].sign_digest(digest)
    order = d.order(d.traders[0], 1_700_000_000_000)
    bent = bytearray(order.ciphertext)
    bent[-1] ^= 1
    with shared_verdicts():
        for _ in range(2):
            assert signing.recover_address(digest, signature, "a") == d.signers[0].address
            assert signing.recover_address(other, signature, "a") != d.signers[0].address
            with pytest.raises(ProtocolError, match="b"):
                signing.recover_address(digest, signature[:64] + b"\x02", "b")
            checked = envelopes.check(
                d.committee.sealing_key, order.label, order.ciphertext, buckets=limits.SIZE_BUCKETS_BYTES
            )
            assert checked.encoded == order.ciphertext
            with pytest.raises(ThresholdError):
                envelopes.check(
                    d.committee.sealing_key, order.label, bytes(bent), buckets=limits.SIZE_BUCKETS_BYTES
                )
            for t_shares in ({1: b"\x02" * 33}, {}):
                with pytest.raises(ThresholdError):
                    reveal.combine(t_shares, 3)


def test_what_a_key_signs_here_is_known_to_be_its_own_and_nothing_else_is() -> None:
    d, digest = make_deployment(4), b"\x01" * 32
    recovered = []
    with pytest.MonkeyPatch.context() as patch:
        honest = signing.recover_key
        patch.setattr(signing, "recover_key", lambda *asked: recovered.append(asked[:2]) or honest(*asked))
        with shared_verdicts():
            signature = d.signers[0].sign_digest(digest)
            signing.check_signer(digest, signature, d.signers[0].address, "own")
            assert recovered == [], "known without recovery"
            flipped = signature[:64] + bytes((signature[64] ^ 7,))  # 27 to 28 and back: another key's
            for forged in ((digest, flipped), (b"\x02" * 32, signature)):
                for _ in range(2):
                    with pytest.raises(ProtocolError, match="a member"):
                        signing.check_signer(*forged, d.signers[0].address, "a member")
                assert recovered[-1] == forged
            for _ in range(2):
                with pytest.raises(ProtocolError, match="another"):
                    signing.check_signer(digest, signature, d.signers[1].address, "another")
    assert signature == d.signers[0].sign_digest(digest)
    assert signing.recover_address(digest, signature, "alone") == d.signers[0].address


def test_a_value_that_was_checked_is_checked_for_its_committee_only() -> None:
    d, other = make_deployment(4), make_deployment(4, seed=1)
    unsigned = Vote(FINALIZE, 0, 3, b"\x07" * 32, 1, NO_SIGNATURE)
    digest = d.committee.digest(unsigned.struct_hash())
    vote = with_signature(unsigned, d.signers[1].sign_digest(digest))
    with shared_verdicts():
        for _ in range(2):
            assert d.committee.check_value(vote) == unsigned.struct_hash()
            assert d.committee.own().check_value(vote) == unsigned.struct_hash()
            for forged in (msgspec.structs.replace(vote, node=2), msgspec.structs.replace(vote, view=4), unsigned):
                with pytest.raises(ProtocolError):
                    d.committee.check_value(forged)
            with pytest.raises(ProtocolError):
                other.committee.check_value(vote)
        later = d.committee.own()
        later.epoch = 1
        with pytest.raises(ProtocolError, match=r"epoch\.unknown"):
            later.check_value(vote)


def test_only_the_simulator_shares_verdicts() -> None:
    root = Path(mpc_sequencer.__file__).parent
    users = {
        path.relative_to(root).as_posix()
        for path in root.rglob("*.py")
        if "shared_verdicts" in path.read_text(encoding="utf-8")
    }
    assert users == {"sim/run.py", "sim/sharing.py"}
