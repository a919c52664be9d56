"""Shares of the key across a rotation: what is erased, what does not combine, and what a thief cannot open."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import cache
from itertools import combinations

import pytest
from core_kit import refused
from rotation_kit import (
    approve,
    cluster_of,
    executed,
    in_epoch,
    resharing,
    rotate,
    same_everywhere,
    target_of,
    trade,
    wait,
)

from mpc_sequencer.core import limits
from mpc_sequencer.core.keys import SEED_PREFIX, decode_share
from mpc_sequencer.core.transcript import BlockEntry, BundleEntry, KeyEntry
from mpc_sequencer.core.types import KeyMessage
from mpc_sequencer.sim import Cluster
from threshold import (
    Label,
    SealingKey,
    SecretShare,
    ThresholdError,
    UsageError,
    check,
    combine,
    group,
    open_ciphertext,
    seal,
    share,
)
from threshold.dkg import Kind, Participant, Session, deals
from threshold.dkg.wire import Deal, MessageType, decode_deal


def durable(cluster: Cluster) -> None:
    """All logs are durable, and what waits for that is erased."""
    cluster.run(2 * limits.HEARTBEAT_MS)


def vaults(cluster: Cluster) -> list[list[str]]:
    return [sorted(host.disk.vault) for host in cluster.hosts]


@pytest.mark.parametrize("people", [range(7), range(4, 8)])
def test_who_goes_on_and_who_leaves_erase_the_old_epoch_s_share(people: range) -> None:
    cluster = cluster_of(generated=True, joiners=4)
    rotate(cluster, target_of(cluster, people))
    durable(cluster)
    assert vaults(cluster) == [["share-1"] if place in people else [] for place in range(8)]
    assert all(set(host.core.reveal.secrets) <= {1} for host in cluster.hosts)


@cache
def rotated() -> tuple[Cluster, list[SecretShare], list[SecretShare], list[KeyMessage]]:
    """A rotation 4 -> 7 with t = 3 -> 5: old shares and new ones by index less one, and the log's key messages."""
    cluster = cluster_of(generated=True)
    wait(cluster, lambda core: core.node > 3 or 0 in core.reveal.secrets)
    old = [SecretShare(host.core.node + 1, host.core.reveal.secrets[0].export()) for host in cluster.hosts[:4]]
    first = trade(cluster)
    wait(cluster, executed(first), places=range(4))
    rotate(cluster, target_of(cluster, range(7)))
    durable(cluster)
    new = sorted((decode_share(host.disk.vault["share-1"]) for host in cluster.hosts), key=lambda one: one.index)
    messages = [one.message for one in cluster.hosts[0].disk.log if isinstance(one, KeyEntry)]
    return cluster, old, new, messages


def opens(public_key: bytes, shares: Iterable[SecretShare], t: int) -> bool:
    """Whether these shares open an order that is sealed to the key."""
    key = SealingKey(public_key, 1, bytes(20))
    label = Label(1, bytes(20), key.key_id, bytes(20), 1, 2, 64)
    checked = check(key, label.encode(), seal(key, label, b"order", sigma=bytes(32)), buckets=(64,))
    try:
        point = combine({one.index: share(one, checked) for one in shares}, t)
        return open_ciphertext(key, checked, point).message == b"order"
    except (ThresholdError, UsageError):
        return False


def test_mixed_old_and_new_shares_never_combine() -> None:
    cluster, old, new, _ = rotated()
    public_key = cluster.cores[0].committee.sealing_key.public_key
    assert opens(public_key, old[:3], 3) and opens(public_key, new[2:], 5), "each sharing opens by itself"
    for chosen in combinations(range(4), 3):
        for renewed in range(1, 7):
            mixed = [(new if renewed >> k & 1 else old)[i] for k, i in enumerate(chosen)]
            assert not opens(public_key, mixed, 3)
    for kept in range(1, 5):
        assert not opens(public_key, [*new[:kept], *old[kept:4], new[4]][:5], 5) or kept == 4


def test_fewer_shares_than_the_new_threshold_open_nothing_with_one_less_than_the_old_one_beside() -> None:
    cluster, old, new, _ = rotated()
    public_key = cluster.cores[0].committee.sealing_key.public_key
    four = new[:4]
    assert not opens(public_key, four, 4) and not opens(public_key, four, 5)
    for spare in combinations(old, 2):
        others = [one for one in spare if one.index > 4]
        assert not opens(public_key, [*four, *others], len(four) + len(others))
        for subset in combinations(four, 3):  # old shares in the place of new ones of their index, or beside them
            taken = {one.index: one for one in (*subset, *spare)}
            for t in (3, 5):
                assert not opens(public_key, taken.values(), t)


def test_who_steals_all_long_term_keys_after_a_cutover_opens_no_deal_of_the_log() -> None:
    """With every consensus key, log key and vault of both committees: the keys that the deals are sealed to came of
    seeds that are erased."""
    cluster, old, new, messages = rotated()
    d = cluster.deployment
    people = range(7)
    stolen = [hashlib.sha256(repr((d.seed, "consensus", i)).encode()).digest() for i in people]
    stolen += [hashlib.sha256(repr((d.seed, "log", i)).encode()).digest() for i in people]
    for host in cluster.hosts:
        stolen += [content[-32:] for content in host.disk.vault.values()]
    assert len(stolen) == 21 and not {one.export() for one in old} & set(stolen)
    assert {one.export() for one in new} <= set(stolen)
    sealed = [one for one in messages if one.payload[0] == MessageType.DEAL]
    sessions = {one.session for one in sealed}
    assert len(sessions) == 2, "the key's generation, and the resharing"
    for message in sealed:
        deal = read_deal(message)
        for receiver, part in deal.sealed.items():
            for secret in stolen:
                point = group.multiply_secret(part.point, secret)
                assert deals.open_values(deal, message.session, message.node + 1, receiver, point) is None


def read_deal(message: KeyMessage) -> Deal:
    """A deal of the key's generation among 4, or of the resharing to 7."""
    for kind, receivers, t in ((Kind.GENERATE, 4, 3), (Kind.RESHARE, 7, 5)):
        try:
            return decode_deal(message.payload, kind, range(1, receivers + 1), t)
        except ThresholdError:
            continue
    raise AssertionError("no deal of either session")


def test_a_thief_that_comes_before_the_cutover_opens_deals_with_the_seeds_and_only_then() -> None:
    """The check above finds what there is to find: with a seed the deals to its member open."""
    cluster = cluster_of(generated=True)
    approve(cluster, target_of(cluster, range(7)), range(4))
    joiner = cluster.hosts[4]
    assert not joiner.disk.vault, "who has no part in a session draws no seed for it"
    assert cluster.run(20_000, until=lambda _: any(name.startswith(SEED_PREFIX) for name in joiner.disk.vault))
    (seed,) = [content for name, content in joiner.disk.vault.items() if name.startswith(SEED_PREFIX)]
    session = joiner.core.keygen.session
    index = joiner.core.succession.own_index(target_of(cluster, range(7)))
    assert session is not None and index is not None
    secret = Participant(session.plan, seed, None, index, None)._session_key(index)
    wait(cluster, in_epoch(1))
    said = [one.message for one in cluster.hosts[0].disk.log if isinstance(one, KeyEntry)]
    sealed = [one for one in said if one.session == session.plan.session and one.payload[0] == MessageType.DEAL]
    assert len(sealed) == 4
    for message in sealed:
        deal = read_deal(message)
        point = group.multiply_secret(deal.sealed[index].point, secret)
        assert deals.open_values(deal, message.session, message.node + 1, index, point) is not None
    assert not [name for host in cluster.hosts for name in host.disk.vault if name.startswith(SEED_PREFIX)]


def test_a_deal_of_one_rotation_is_no_deal_of_the_next() -> None:
    """*Old deal replayed at the next rotation*: it is of another epoch and session, and is not even held."""
    cluster, _, _, messages = rotated()
    core = cluster.cores[0]
    old = [one for one in messages if one.payload[0] == MessageType.DEAL]
    for message in old:
        with refused("epoch.unknown"):
            core.keybook.add(message, needed=True)
    again = cluster_of(generated=True)
    approve(again, target_of(again, range(7)), range(4))
    wait(again, resharing)
    session, number = again.cores[0].keygen.running, len(again.cores[0].keybook)
    assert session is not None
    for message in old:  # re-signed by its dealer as one of this session: its proofs name the other one
        if message.node == 3:
            again.hosts[3].core.keygen.voice.say(session, message.payload)
    assert len(again.cores[3].keybook) > number
    wait(again, in_epoch(1))
    named = {(fault.node, fault.code) for _, fault in again.faults}
    assert named and {node for node, _ in named} == {3}
    trade_and_agree(again)


def trade_and_agree(cluster: Cluster) -> None:
    order = trade(cluster)
    wait(cluster, executed(order), 10_000)
    same_everywhere(cluster)


def test_a_copied_deal_header_in_a_resharing_costs_its_copier_its_deal_and_nobody_a_secret() -> None:
    cluster = cluster_of()
    thief = cluster.cores[3]

    class Copier(Participant):
        def _make_deal(self, session: Session, dealer: int) -> bytes:
            own = bytearray(super()._make_deal(session, dealer))
            held = [one.message for one in thief.keybook.kept() if one.message.payload[0] == MessageType.DEAL]
            others = [one for one in held if one.node != 3 and one.session == session.plan.session]
            if not others:
                return b""
            t = session.plan.threshold
            at, header = 1 + t * 33, 33
            own[at : at + header] = others[0].payload[at : at + header]
            return bytes(own)

        def messages(self, session: Session) -> tuple[bytes, ...]:
            return tuple(payload for payload in super().messages(session) if payload)

    thief.keygen.voice.participant_of = Copier
    rotate(cluster, target_of(cluster, range(7)))
    named = {(fault.node, fault.code) for _, fault in cluster.faults if fault.code.startswith("dkg.")}
    assert named <= {(3, "dkg.deal_proof"), (3, "dkg.deal_reused"), (3, "dkg.silent")}, named
    trade_and_agree(cluster)


def test_no_share_leaves_for_what_is_not_batched_at_an_epoch_s_end() -> None:
    """*Order skipped at an epoch's end yet decrypted*: bundles are for orders of final batches of their own epoch, and
    an order that waits over the cutover is opened once, by the new members."""
    cluster = cluster_of()
    approve(cluster, target_of(cluster, range(7)), range(4))
    orders = []
    for _ in range(60):
        orders.append(trade(cluster))
        cluster.run(40)
        if all(host.epoch for host in cluster.hosts):
            break
    wait(cluster, in_epoch(1))
    wait(cluster, executed(orders[-1]), 10_000)
    log = cluster.hosts[0].disk.log
    blocks = {one.block.header.height: one.block for one in log if isinstance(one, BlockEntry)}
    bundles = [one.bundle for one in log if isinstance(one, BundleEntry)]
    anchor = cluster.cores[0].committee.anchor_height
    first_empty = next(h for h in range(anchor, 0, -1) if blocks[h].batch) + 1
    assert first_empty <= anchor, "the last block has no batch"
    for bundle in bundles:
        assert len(bundle.shares) == len(blocks[bundle.height].batch) > 0
        assert bundle.epoch == (0 if bundle.height <= anchor else 1)
        assert bundle.block_id == blocks[bundle.height].header.block_id()
    by_order = [(one.order_id, height) for height, block in blocks.items() for one in block.batch]
    assert len(dict(by_order)) == len(by_order)
    waited = [height for order_id, height in by_order if height > anchor]
    assert waited, "orders came in while batches were empty"
