"""Refreshes: when they begin, which sharing opens a height, what is erased and when, and what a failed one leaves."""

from __future__ import annotations

import pytest
from refresh_kit import NODES, REFRESH_MS, checkpointed, committee_of_four, refreshed, trade

from mpc_sequencer.core import domains, keys, limits
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.effects import FromClient, KeyRecord, Reply
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.messages import (
    BundleMessage,
    LogSlice,
    PeerMessage,
    StatusQuery,
    StatusReply,
    Submit,
    VoteMessage,
)
from mpc_sequencer.core.transcript import BundleEntry
from mpc_sequencer.core.types import FINALIZE, ZERO_HASH
from mpc_sequencer.sim import Cluster, make_deployment
from threshold import SecretShare, combine, group
from threshold.dkg.wire import MessageType


@pytest.mark.parametrize("generated", [True, False])
def test_a_refresh_keeps_the_key_and_changes_every_share(generated: bool) -> None:
    cluster = committee_of_four(generated=generated)
    trade(cluster)
    before = cluster.cores[0].committee.sealing_key.public_key
    refreshed(cluster, 1)
    for core in cluster.cores:
        old, new = core.committee.sharing(0), core.committee.sharing(1)
        assert core.committee.sealing_key.public_key == before
        assert not set(old.verification_keys) & set(new.verification_keys)
        assert core.reveal.secrets[1].verification_key() == new.verification_keys[core.node]
    trade(cluster)


def test_a_refresh_begins_at_its_time_and_not_before() -> None:
    cluster = committee_of_four()
    due_ms = cluster.cores[0].keygen.due_ms
    assert due_ms is not None
    cluster.run(due_ms - cluster.now_ms - limits.HEARTBEAT_MS)
    assert all(core.keygen.running is None for core in cluster.cores)
    refreshed(cluster, 1)
    began = cluster.cores[0].committee.sharing(1).from_height
    assert began > cluster.cores[0].committee.sharing(0).from_height


def test_the_status_says_when_the_next_refresh_is_due_unless_one_runs() -> None:
    d = make_deployment(4, seed=3, generated=True, key_refresh_ms=REFRESH_MS)
    assert told_due_ms(Cluster(d, seed=4)) is None, "the generation is under way"
    cluster = committee_of_four()
    due_ms = told_due_ms(cluster)
    assert due_ms is not None and cluster.now_ms < due_ms <= cluster.now_ms + REFRESH_MS
    assert cluster.run(2 * REFRESH_MS, until=lambda c: c.cores[0].keygen.running is not None)
    assert cluster.now_ms >= due_ms and told_due_ms(cluster) is None
    refreshed(cluster, 1)
    again = told_due_ms(cluster)
    assert again is not None and again > due_ms + REFRESH_MS


def told_due_ms(cluster: Cluster) -> int | None:
    """What member 0 tells a client."""
    effects = cluster.cores[0].step(FromClient(7, StatusQuery(1)), cluster.now_ms)
    [reply] = [one for one in effects if isinstance(one, Reply)]
    assert isinstance(reply.message, StatusReply)
    return reply.message.key_due_ms


def test_without_an_interval_the_key_is_never_shared_anew() -> None:
    cluster = committee_of_four(refresh_ms=0)
    cluster.run(10 * REFRESH_MS)
    assert all(core.keygen.due_ms is None and set(core.committee.sharings) == {0} for core in cluster.cores)


def test_heights_are_opened_by_the_sharing_of_their_time() -> None:
    cluster = committee_of_four()
    first = trade(cluster)
    refreshed(cluster, 1)
    second = trade(cluster)
    sharings = {
        one.bundle.height: one.bundle.sharing
        for one in cluster.logs[1]
        if isinstance(one, BundleEntry) and one.bundle.shares
    }
    committee = cluster.cores[1].committee
    assert sharings[first] == committee.sharing(0).name and sharings[second] == committee.sharing(1).name
    assert committee.sharing_at(first).number == 0 and committee.sharing_at(second).number == 1


def test_old_shares_and_seeds_are_erased_and_new_ones_kept() -> None:
    cluster = committee_of_four()
    trade(cluster)
    old = [host.disk.vault["share-0"] for host in cluster.hosts]
    shares = [core.reveal.secrets[0] for core in cluster.cores]
    refreshed(cluster, 1)
    checkpointed(cluster)
    assert [set(host.disk.vault) for host in cluster.hosts] == [{"share-1"}] * 4
    assert all(host.disk.vault["share-1"] != before for host, before in zip(cluster.hosts, old, strict=True))
    for share in shares:
        with pytest.raises(Exception, match="erased"):
            share.verification_key()


def test_what_a_member_still_knows_does_not_give_an_erased_seed_again() -> None:
    """A thief of the process's memory after the session, who has the entropy of its start as well as it is kept."""
    d = make_deployment(4, seed=3, generated=True)
    cluster = Cluster(d, seed=4)
    assert cluster.run(2_000, until=lambda c: all(core.keygen.phase == "deals" for core in c.cores))
    sessions = [core.keygen.running for core in cluster.cores]
    seeds = [
        host.disk.vault[keys.seed_name(session or b"")] for host, session in zip(cluster.hosts, sessions, strict=True)
    ]
    assert cluster.run(2_000, until=lambda c: all(core.committee.sharings for core in c.cores))
    for core, session, seed in zip(cluster.cores, sessions, seeds, strict=True):
        known = [core.keygen.voice._entropy, core.reveal._entropy]
        known += [domains.KEY_ENTROPY(one) for one in known] + [domains.ENTROPY(one) for one in known]
        assert seed not in {domains.KEY_SEED(one, session or b"") for one in known}
        assert seed not in core.keygen.voice._seeds.values()


def test_an_old_share_stays_until_the_last_height_it_is_for_is_open() -> None:
    cluster = committee_of_four()
    trade(cluster)
    core = cluster.cores[2]
    opening = core.committee.sharing(0).from_height
    core.reveal.first_height = lambda: opening  # type: ignore[method-assign]
    refreshed(cluster, 1)
    assert set(core.reveal.secrets) == {0, 1} and set(cluster.hosts[2].disk.vault) == {"share-0", "share-1"}
    del core.reveal.first_height  # type: ignore[method-assign]
    checkpointed(cluster)
    assert set(core.reveal.secrets) == {1} and set(cluster.hosts[2].disk.vault) == {"share-1"}


def test_old_and_new_shares_do_not_combine() -> None:
    cluster = committee_of_four()
    old = {node: SecretShare(node + 1, core.reveal.secrets[0].export()) for node, core in enumerate(cluster.cores)}
    refreshed(cluster, 1)
    new = {node: core.reveal.secrets[1] for node, core in enumerate(cluster.cores)}
    point = b"\x02" + bytes.fromhex("79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798")
    generator = group.parse_point(point, "generator")

    def key_of(shares: list[SecretShare]) -> bytes:
        return combine({one.index: one.multiply(generator) for one in shares}, 3)

    public = cluster.cores[0].committee.sealing_key.public_key
    assert key_of([old[0], old[1], old[2]]) == key_of([new[1], new[2], new[3]]) == public
    assert key_of([old[0], old[1], new[2]]) != public
    assert key_of([old[0], new[1], new[2]]) != public


def test_a_member_that_lost_its_share_gets_one_of_the_next_refresh() -> None:
    cluster = committee_of_four()
    trade(cluster)
    cluster.stop(2)
    cluster.hosts[2].disk.vault.clear()
    cluster.run(200)
    cluster.restart(2)
    assert 0 not in cluster.cores[2].reveal.secrets
    assert ("key.no_share", 2) in {(fault.code, node) for node, fault in cluster.faults}
    trade(cluster)  # three of four open
    refreshed(cluster, 1)
    assert set(cluster.hosts[2].disk.vault) == {"share-1"}
    cluster.stop(0)
    trade(cluster)  # and now its share is one of the three


def test_a_share_out_of_the_vault_that_the_others_do_not_know_of_is_not_used() -> None:
    """Such as another member's, or one of another sharing, after a vault was put together from copies."""
    cluster = committee_of_four()
    trade(cluster)
    vaults = [host.disk.vault for host in cluster.hosts]
    cluster.stop(2)
    vaults[2]["share-0"] = vaults[1]["share-0"]
    cluster.restart(2)
    assert 0 not in cluster.cores[2].reveal.secrets
    assert ("key.no_share", 2) in {(fault.code, node) for node, fault in cluster.faults}
    trade(cluster)  # three of four open, and nobody is convicted
    assert not cluster.evidence


def test_a_member_down_for_the_refresh_goes_on_with_the_rest_and_gets_its_share_soon_after() -> None:
    cluster = committee_of_four()
    cluster.stop(3)
    refreshed(cluster, 1, [0, 1, 2])
    first = cluster.cores[0].keygen.due_ms
    assert first is not None and first <= cluster.now_ms + limits.KEY_RETRY_MS
    cluster.restart(3)
    assert cluster.run(5_000, until=lambda c: 1 in c.cores[3].committee.sharings)
    assert 1 not in cluster.cores[3].reveal.secrets
    refreshed(cluster, 2)
    assert set(cluster.hosts[3].disk.vault) == {"share-2"}


def test_a_refresh_without_t_dealers_is_void_and_the_old_sharing_goes_on() -> None:
    cluster = committee_of_four()
    for node in (1, 2):
        cluster.stop(node)
        cluster.hosts[node].disk.vault.clear()
        cluster.restart(node)
    assert cluster.run(
        4 * REFRESH_MS + 8 * limits.KEY_WINDOW_MS,
        until=lambda c: any(fault.code == "key.aborted" for _, fault in c.faults),
    )
    cluster.run(1_000)
    assert all(set(core.committee.sharings) == {0} and core.keygen.number == 1 for core in cluster.cores)
    assert "share-0" in cluster.hosts[0].disk.vault and "share-0" in cluster.hosts[3].disk.vault
    again = cluster.cores[0].keygen.due_ms
    assert again is not None and again <= cluster.now_ms + limits.KEY_RETRY_MS


def test_a_member_restarted_amid_a_refresh_ends_it_like_the_others() -> None:
    cluster = committee_of_four()
    assert cluster.run(2 * REFRESH_MS, until=lambda c: c.cores[1].keygen.phase == "deals")
    cluster.stop(1)
    cluster.run(100)
    cluster.restart(1)
    refreshed(cluster, 1)
    checkpointed(cluster)
    certificates = {core.committee.sharing(1).certificate for core in cluster.cores}
    assert len(certificates) == 1
    assert all(set(host.disk.vault) == {"share-1"} for host in cluster.hosts)


def test_who_steals_all_long_term_keys_after_a_refresh_opens_nothing_of_the_log() -> None:
    """The log's deals are sealed to keys that came of erased seeds; what is left in vaults is of the new sharing."""
    cluster = committee_of_four()
    trade(cluster)
    secrets = [host.disk.vault["share-0"][2:] for host in cluster.hosts]
    refreshed(cluster, 1)
    checkpointed(cluster)
    left = [content for host in cluster.hosts for content in host.disk.vault.values()]
    assert len(left) == 4 and not any(secret in content for secret in secrets for content in left)
    deals = [
        held.message
        for held in cluster.cores[0].keybook.kept()
        if held.message.payload[0] == MessageType.DEAL
    ]
    assert len(deals) == 8
    assert not any(secret in deal.payload for secret in secrets for deal in deals)


def test_a_given_key_is_sharing_zero_without_a_name() -> None:
    committee: Committee = make_deployment(4).committee
    assert committee.sharing_at(1).name == ZERO_HASH and committee.sharing(0).certificate is None
    with pytest.raises(ProtocolError) as refusal:
        committee.sharing_named(b"\x01" * 32)
    assert refusal.value.code == "key.pending"


def test_under_load_every_batch_is_opened_by_its_height_s_sharing() -> None:
    """Several blocks become final at once while sessions are under way (two of three views lose their finalize votes):
    no share leaves before it is clear which sharing its height has."""
    cluster = committee_of_four(refresh_ms=limits.KEY_REFRESH_MS_MIN)
    d = cluster.deployment

    def lossy(_sender: int, _receiver: int, message: PeerMessage) -> PeerMessage | None:
        lost = isinstance(message, VoteMessage) and message.vote.kind == FINALIZE and message.vote.view % 3
        return None if lost else message

    cluster.network.tamper = lossy
    ids = []
    for turn in range(450):
        order = d.order(d.traders[turn % 4], cluster.now_ms)
        ids.append(order.order_id())
        for node in NODES:
            cluster.request(node, Submit(turn, (order,), True), client=1 + node)
        cluster.run(40)
    cluster.network.tamper = lambda _sender, _receiver, message: message
    cluster.run(3_000)
    assert max(cluster.cores[0].committee.sharings) >= 3
    for core in cluster.cores:
        assert all(core.pool.sequenced_height(order_id) for order_id in ids)
        assert core.reveal.pending() == 0
    assert not {fault.code for _, fault in cluster.faults}


# --- erasing, neither too early nor too late --------------------------------------------------------------------------
def test_a_crash_of_all_members_right_after_a_refresh_leaves_every_batch_to_be_opened() -> None:
    """What opened a batch is in audit logs, whose newest entries a crash may take: until these are durable, the shares
    that the batch was opened with are all that can open it again."""
    cluster = committee_of_four()
    assert cluster.run(2 * REFRESH_MS, until=lambda c: all(core.keygen.running for core in c.cores))
    for host in cluster.hosts:
        host.disk.sign_log(host.disk.concluded)
        host.disk._checkpoint_ms = 1 << 60  # the next checkpoint is still to come
    height = trade(cluster)
    refreshed(cluster, 1)
    assert cluster.cores[0].committee.sharing_at(height).number == 0
    for node in NODES:
        cluster.hosts[node].disk.concluded = cluster.hosts[node].disk.checkpointed
        cluster.stop(node)
    for node in NODES:
        cluster.hosts[node].disk._checkpoint_ms = None
        cluster.restart(node)
    assert cluster.run(10_000, until=lambda c: all(core.execution.executed_height >= height for core in c.cores))
    trade(cluster)
    checkpointed(cluster)
    assert [set(host.disk.vault) for host in cluster.hosts] == [{"share-1"}] * 4


def test_a_member_that_missed_a_refresh_erases_its_old_share_all_the_same() -> None:
    cluster = committee_of_four()
    trade(cluster)
    cluster.stop(3)
    refreshed(cluster, 1, [0, 1, 2])
    cluster.restart(3)
    assert cluster.run(5_000, until=lambda c: 1 in c.cores[3].committee.sharings)
    checkpointed(cluster)
    assert cluster.cores[3].keygen.number == 2 and not cluster.cores[3].reveal.secrets
    assert not cluster.hosts[3].disk.vault


@pytest.mark.parametrize("generated", [True, False])
def test_every_member_s_journal_says_which_sharings_there_are(generated: bool) -> None:
    cluster = committee_of_four(generated=generated)
    refreshed(cluster, 1)
    for core, records in zip(cluster.cores, cluster.records, strict=True):
        known = [one for one in records if isinstance(one, KeyRecord) and one.certificate.sharing == 1]
        assert [one.from_height for one in known] == [core.committee.sharing(1).from_height]


def test_a_batch_that_stays_closed_through_many_refreshes_stops_no_member() -> None:
    """Who withholds shares of one sharing may well deal in every later refresh: what its sharing was is forgotten."""
    cluster = committee_of_four()
    d = cluster.deployment
    withheld = (BundleMessage, LogSlice)
    cluster.network.tamper = lambda _sender, _receiver, sent: None if isinstance(sent, withheld) else sent
    order = d.order(d.traders[0], cluster.now_ms)
    for node in NODES:
        cluster.request(node, Submit(1, (order,), True), client=1 + node)
    assert cluster.run(5_000, until=lambda c: all(core.reveal.pending() for core in c.cores))
    cluster.run(300)
    for core in cluster.cores:
        first, key = core.committee.sharing(0), core.committee.sealing_key.public_key
        for number in range(1, limits.SHARINGS_KEPT + 1):
            start, name = core.chain.final_height + 2, bytes([number] * 32)
            core.committee.establish(key, first.verification_keys, number=number, from_height=start, name=name)
        assert 0 not in core.committee.sharings
    before = cluster.cores[0].chain.final_height
    cluster.network.tamper = lambda _sender, _receiver, sent: sent  # what comes now comes too late
    cluster.run(limits.HEARTBEAT_MS + 1_000)
    assert all(core.chain.final_height > before and core.reveal.pending() == 1 for core in cluster.cores)
    assert not any(0 in core.reveal.secrets for core in cluster.cores)
    assert "key.pending" not in {fault.code for _, fault in cluster.faults}
