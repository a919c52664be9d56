"""Dark batches in a committee of cores: from sealed orders to fills, through words in the log and rounds beside it."""

from __future__ import annotations

from collections import Counter

import pytest
from core_kit import check_safety
from dark_cluster_kit import (
    MARKET_ID,
    Wire,
    computing,
    dark_wire,
    end_of,
    ended,
    other_shares,
    results,
    send,
    transcripts,
    words,
)

from mpc_sequencer.core.actions import BUY, SELL
from mpc_sequencer.core.darkside import DarkAttemptRecord
from mpc_sequencer.core.effects import PeerUp
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.evidence import verify
from mpc_sequencer.core.messages import DarkKeysQuery, DarkKeysReply, DarkShares, StatusQuery, StatusReply
from mpc_sequencer.dark.keys import AgreedKeys
from mpc_sequencer.dark.messages import place
from mpc_sequencer.dark.run import replay_batch
from mpc_sequencer.dark.signed import joined
from mpc_sequencer.market.types import DARK_BAD, FILLED, UNFILLED
from mpc_sequencer.sim.darktrade import DarkSent


@pytest.fixture
def cluster() -> Wire:
    return dark_wire()


def four_orders(cluster: Wire) -> list[DarkSent]:
    """They clear at tick 4: the buy of seven against sells of four and, in part, five."""
    return [
        send(cluster, 0, BUY, 5, 7),
        send(cluster, 1, SELL, 3, 4),
        send(cluster, 2, SELL, 4, 5),
        send(cluster, 3, BUY, 2, 9),
    ]


def check_four(cluster: Wire, orders: list[DarkSent], nodes: list[int]) -> None:
    for node in nodes:
        expected = [(FILLED, 7, 618_000), (FILLED, 4, 618_000), (FILLED, 3, 618_000), (UNFILLED, 0, 0)]
        assert [end_of(cluster, node, one) for one in orders] == expected
    check_safety(cluster, honest=set(nodes))


def test_a_batch_settles_end_to_end(cluster: Wire) -> None:
    orders = four_orders(cluster)
    facts = []
    cluster.run(20_000, lambda c: computing(c, 0))
    facts = [cluster.cores[0].dark.desk.facts(MARKET_ID)]
    assert ended(cluster, orders, range(5))
    check_four(cluster, orders, list(range(5)))
    assert not cluster.faults
    cluster.run(2_000)
    d = cluster.deployment
    for node in range(5):
        log = cluster.logs[node]
        said = results(log, d)
        assert len(set(said.values())) == 1 and len(said) > d.committee.f
        transcript = joined(transcripts(log))
        transcript.check(d.committee.check_signature)
        outcome, liars = replay_batch(facts[0], transcript.plain())
        assert outcome == next(iter(said.values())) and not liars
        assert {one.party for one in transcript.said} == set(range(5))


def test_a_transcript_with_a_share_put_in_is_not_signed(cluster: Wire) -> None:
    orders = four_orders(cluster)
    assert ended(cluster, orders, range(5))
    cluster.run(2_000)
    transcript = joined(transcripts(cluster.logs[0]))
    first, *others = transcript.said
    forged = type(transcript)(transcript.session_id, (type(first)(0, 0, others[0].payload, first.signature), *others))
    with pytest.raises(ProtocolError, match=r"signature\.signer"):
        forged.check(cluster.deployment.committee.check_signature)


def test_the_seed_is_in_the_vault_before_the_first_word_and_words_are_said_once(cluster: Wire) -> None:
    orders = four_orders(cluster)
    assert ended(cluster, orders, range(5))
    d = cluster.deployment
    for node in range(5):
        assert len(cluster.hosts[node].disk.vault["dark-0"]) == 32
        spoken = Counter((author, place(word)) for author, word in words(cluster.logs[node], d))
        assert set(spoken.values()) == {1}
    assert len({host.disk.vault["dark-0"] for host in cluster.hosts}) == 5


def test_a_liar_is_corrected_named_and_heard_no_more(cluster: Wire) -> None:
    d = cluster.deployment
    cluster.bend = lambda sender, _, m: (other_shares(d, m),) if sender == 4 and m.round == 3 else (m,)
    orders = four_orders(cluster)
    assert ended(cluster, orders, range(4))
    check_four(cluster, orders, [0, 1, 2, 3])
    charged = {(fault.node, fault.code) for _, fault in cluster.faults}
    assert charged == {(4, "dark.lie")} and len(cluster.faults) == 4


def test_a_silent_member_costs_one_time_out(cluster: Wire) -> None:
    cluster.bend = lambda sender, _, m: () if sender == 4 else (m,)
    orders = four_orders(cluster)
    assert ended(cluster, orders, range(5), 10_000)
    check_four(cluster, orders, [0, 1, 2, 3])
    assert {(fault.node, fault.code) for _, fault in cluster.faults} == {(4, "dark.silent")}


def test_two_messages_of_one_round_convict_their_author(cluster: Wire) -> None:
    d = cluster.deployment
    cluster.bend = lambda sender, _, m: (m, other_shares(d, m)) if sender == 2 and m.round == 1 else (m,)
    orders = four_orders(cluster)
    assert ended(cluster, orders, [0, 1, 3, 4])
    check_four(cluster, orders, [0, 1, 3, 4])
    assert {one.node for _, one in cluster.evidence} == {2} and len(cluster.evidence) == 4
    for _, one in cluster.evidence:
        assert verify(one.offence, d.committee).kind == "dark-equivocation"


def test_too_many_silent_members_leave_the_batch_void_and_deposits_free(cluster: Wire) -> None:
    cluster.bend = lambda sender, _, m: () if sender >= 3 else (m,)
    orders = four_orders(cluster)
    free = [cluster.cores[0].execution.engine.balance(t.address, 1) for t in cluster.deployment.traders[:4]]
    assert ended(cluster, orders, range(5))
    assert {end_of(cluster, node, one) for node in range(5) for one in orders} == {("dark_aborted", 0, 0)}
    after = [cluster.cores[0].execution.engine.balance(t.address, 1) for t in cluster.deployment.traders[:4]]
    assert after == free
    assert all(not host.core.dark_voice.runs._runs for host in cluster.hosts), "every run has ended"


def test_what_a_broken_link_lost_is_said_again_on_a_new_one(cluster: Wire) -> None:
    lost = {0, 1}
    cluster.bend = lambda sender, _, m: () if sender in lost and m.round == 0 else (m,)
    orders = four_orders(cluster)
    assert cluster.run(20_000, lambda c: computing(c, 0) and computing(c, 4))
    cluster.run(3_000)
    assert not any(end_of(cluster, 2, one) for one in orders), "three of five shares open nothing"
    cluster.bend = None
    for node in range(5):
        for peer in lost - {node}:
            cluster.at(cluster.now_ms, peer, PeerUp(node))
    assert ended(cluster, orders, range(5), 10_000)
    check_four(cluster, orders, list(range(5)))
    assert {(fault.node, fault.code) for _, fault in cluster.faults} <= {(node, "dark.silent") for node in lost}


@pytest.mark.parametrize("round_number", [0, 4])
def test_a_member_that_restarts_amid_a_computation_says_it_has_no_outcome_and_computes_no_more(
    cluster: Wire, round_number: int
) -> None:
    orders = four_orders(cluster)
    assert cluster.run(
        20_000, lambda c: any(one.party == 1 and one.round >= round_number for one in getattr(c, "said", []))
    )
    began = [one for one in cluster.hosts[1].disk.records if isinstance(one, DarkAttemptRecord)]
    assert began == [DarkAttemptRecord(0, MARKET_ID, 1)], "on disk before anything of it has left"
    cluster.stop(1)
    before = {(one.session, one.round, one.message) for one in cluster.said if one.party == 1}
    cluster.run(100)
    cluster.restart(1)
    assert ended(cluster, orders, range(5))
    check_four(cluster, orders, list(range(5)))
    cluster.run(3_000)
    assert {(one.session, one.round, one.message) for one in cluster.said if one.party == 1} == before
    said = results(cluster.logs[0], cluster.deployment)
    assert said.get(1, None) is None and sum(outcome is not None for outcome in said.values()) >= 2
    assert {fault.code for _, fault in cluster.faults} <= {"dark.silent"}


def test_a_member_that_lost_its_journal_begins_no_computation_that_it_may_have_begun(cluster: Wire) -> None:
    orders = four_orders(cluster)
    assert cluster.run(20_000, lambda c: computing(c, 1))
    cluster.stop(1)
    before = [one for one in cluster.said if one.party == 1]
    cluster.hosts[1].disk.wipe(keep_log=False)
    cluster.restart(1, damaged=True)
    assert ended(cluster, orders, [0, 2, 3, 4])
    cluster.run(3_000)
    assert [one for one in cluster.said if one.party == 1] == before


def test_a_box_that_is_bad_drops_its_order_alone(cluster: Wire) -> None:
    bad = send(cluster, 3, SELL, 0, 9, kind="box", party=2)
    off = send(cluster, 2, SELL, 0, 9, kind="share", party=1)
    orders = [send(cluster, 0, BUY, 5, 7), send(cluster, 1, SELL, 3, 4)]
    assert ended(cluster, [bad, off, *orders], range(5))
    assert [end_of(cluster, 0, one)[0] for one in (bad, off)] == [DARK_BAD, DARK_BAD]
    assert [end_of(cluster, 0, one)[:2] for one in orders] == [(FILLED, 4), (FILLED, 4)]
    assert not cluster.faults


def test_a_client_is_told_the_keys_and_an_operator_how_the_market_stands(cluster: Wire) -> None:
    orders = four_orders(cluster)
    assert ended(cluster, orders, range(5))
    cluster.request(2, DarkKeysQuery(7), client=9)
    cluster.request(2, StatusQuery(8), client=9)
    cluster.run(100)
    keys, status = (reply for _, reply in cluster.replies[9])
    assert isinstance(keys, DarkKeysReply) and isinstance(status, StatusReply)
    agreed = cluster.cores[2].dark.desk.keys
    topic = cluster.deployment.committee.dark_topic
    assert AgreedKeys(topic, keys.attempt, keys.box_keys, keys.rest_hash).id == agreed.id
    assert (keys.request, keys.epoch, keys.phase) == (7, 0, "done")
    assert (status.dark_phase, status.dark_keys) == ("done", (0, 1, 2, 3, 4))
    (market,) = status.dark
    assert (market.market, market.phase, market.batch, market.orders, market.collecting) == (1, "collecting", 1, 0, 0)
    assert market.last is not None and market.last[1:] == (FILLED, 618_000, 7)


def test_a_member_without_a_dark_market_refuses_shares() -> None:
    from core_kit import picture, refused

    from mpc_sequencer.sim import Cluster, make_deployment

    plain = Cluster(make_deployment(4, seed=3), seed=3)
    before = picture(plain.cores[0])
    with refused("dark.none"):
        plain.cores[0].peers.handle(1, DarkShares(bytes(32), 1, 0, b"x", bytes(65)), plain.now_ms)
    assert picture(plain.cores[0]) == before and plain.cores[0].dark_voice is None
