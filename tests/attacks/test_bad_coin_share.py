"""Attack: a member sends a valid bundle of decryption shares with a bad share of the block's coin.

The coin says who is filled at the margin and in which order conflicts resolve; a member that could bend it, or have
different members combine different coins, would pick winners or fork the results. Nothing after the coin would show
it, so every coin share is verified on arrival: a bad one names its sender, and no coin ever holds it.

Evidence: `bad-coin-share`: the sender's own signed bundle.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import msgspec
import pytest
import reference as ref
from core_kit import check_safety, faults_against, refused, results, sign, submit
from evidence_kit import evidence_left
from key_kit import generate, trade

from mpc_sequencer.core.actions import BUY, SELL
from mpc_sequencer.core.evidence import verify
from mpc_sequencer.core.messages import BundleMessage, CertificateMessage, PeerMessage, VoteMessage
from mpc_sequencer.core.offences import BadCoinShare
from mpc_sequencer.core.transcript import BlockEntry, BundleEntry, OpenedEntry
from mpc_sequencer.core.types import FINALIZE, Bundle
from mpc_sequencer.sim import Cluster, Deployment, make_deployment
from threshold import BundleContext, VerifiedCoinShare, coin_share, combine_coin, verify_coin_share

LIAR = 0
Forge = Callable[[Deployment, Bundle], bytes]


def context(d: Deployment, block_id: bytes, node: int) -> BundleContext:
    return BundleContext(d.committee.sealing_key.key_id, d.committee.epoch, block_id, node + 1)


def of_another_block(d: Deployment, bundle: Bundle) -> bytes:
    """Honestly made, for a block whose coin the member would like better."""
    return coin_share(d.shares[bundle.node], context(d, bytes(32), bundle.node), entropy=bytes(32))


def of_another_member(d: Deployment, bundle: Bundle) -> bytes:
    return coin_share(d.shares[1], context(d, bundle.block_id, 1), entropy=bytes(32))


def bent_under_a_proof_of_its_own(d: Deployment, bundle: Bundle) -> bytes:
    """x H + G with a proof made as an honest one is."""
    of = context(d, bundle.block_id, bundle.node)
    packed = of.key_id + of.epoch.to_bytes(8, "big") + of.block_id + of.index.to_bytes(2, "big")
    bent = ref.compress(ref.add(ref.decompress(bundle.coin_share[:33]), ref.G))
    x = int.from_bytes(d.shares[bundle.node].nonce_material(), "big")
    return ref.proven_coin_share(x, packed, bent, bytes(32))


def point_negated(_: Deployment, bundle: Bundle) -> bytes:
    return bytes([bundle.coin_share[0] ^ 1]) + bundle.coin_share[1:]


FORGERIES: dict[str, tuple[Forge, str]] = {
    "of another block": (of_another_block, "coin.proof"),
    "of another member": (of_another_member, "coin.proof"),
    "bent, under a proof of its own": (bent_under_a_proof_of_its_own, "coin.proof"),
    "negated, under the honest proof": (point_negated, "coin.proof"),
    "no point": (lambda _, bundle: bytes(33) + bundle.coin_share[33:], "share.encoding"),
    "scalar out of range": (lambda _, bundle: bundle.coin_share[:65] + b"\xff" * 32, "scalar.range"),
}


def lie(d: Deployment, bundle: Bundle, forge: Forge) -> BundleMessage:
    """The bundle with another coin share, all else valid and signed by the liar itself."""
    return BundleMessage(sign(d, bundle.node, msgspec.structs.replace(bundle, coin_share=forge(d, bundle))))


def attack(cluster: Cluster, forge: Forge, liars: Collection[int] = (LIAR,)) -> None:
    """From now on the liars' coin shares are forged. Honest bundles are lost once per link and come when asked for,
    so that the liars' come first, while every receiver waits for more."""
    lost: set[tuple[int, int, bytes]] = set()

    def tamper(sender: int, receiver: int, message: PeerMessage) -> PeerMessage | None:
        if not isinstance(message, BundleMessage):
            return message
        if sender in liars:
            return lie(cluster.deployment, message.bundle, forge)
        link = (sender, receiver, message.bundle.block_id)
        if link in lost:
            return message
        lost.add(link)
        return None

    cluster.network.tamper = tamper


def contested_orders(cluster: Cluster, through: int) -> set[bytes]:
    """One lot for sale, three bids for it at one price: who gets it is the coin's to say."""
    d = cluster.deployment
    orders = [d.order(d.traders[0], cluster.now_ms, side=SELL, quantity_lots=1)]
    orders += [d.order(trader, cluster.now_ms, side=BUY, quantity_lots=1) for trader in d.traders[1:]]
    submit(cluster, through, *orders)
    return {order.order_id() for order in orders}


def recomputed_coins(cluster: Cluster, node: int) -> dict[bytes, set[bytes]]:
    """Per block, the coins that t-subsets of the bundles in a member's log give, each share verified."""
    d, t = cluster.deployment, cluster.deployment.committee.t
    shares: dict[bytes, list[VerifiedCoinShare]] = {}
    for one in cluster.logs[node]:
        if isinstance(one, BundleEntry):
            key = d.committee.genesis.members[one.bundle.node].verification_key
            of = context(d, one.bundle.block_id, one.bundle.node)
            shares.setdefault(of.block_id, []).append(verify_coin_share(key, of, one.bundle.coin_share))
    return {
        block_id: {combine_coin(made[:t], t), combine_coin(made[-t:], t)} for block_id, made in shares.items()
    }


@pytest.mark.parametrize("name", FORGERIES)
def test_it_is_caught_its_sender_named_and_the_result_is_the_same_everywhere(name: str) -> None:
    d = make_deployment(4)
    cluster = Cluster(d)
    forge, code = FORGERIES[name]
    attack(cluster, forge)
    ids = contested_orders(cluster, 1)
    cluster.run(6_000)
    check_safety(cluster)
    for node in (1, 2, 3):
        opened = {one.opened.order_id for one in cluster.logs[node] if isinstance(one, OpenedEntry)}
        assert opened == ids, "the others' t shares open every order"
        charged = {(fault.node, fault.code) for seer, fault in cluster.faults if seer == node}
        assert charged == {(LIAR, code)}
        logged = [one.bundle.node for one in cluster.logs[node] if isinstance(one, BundleEntry)]
        assert LIAR not in logged and len(logged) == 3, "the bundle does not count and is not logged"
        assert results(cluster, node) == results(cluster, 1) != {}
        assert all(len(coins) == 1 for coins in recomputed_coins(cluster, node).values())
    assert evidence_left(cluster) == {(LIAR, "bad-coin-share")}


def test_a_good_share_to_some_and_a_bad_one_to_others_forks_nothing() -> None:
    """The two-faced liar: member 1 gets its true share, 2 and 3 a bad one; all combine the same coin."""
    d = make_deployment(4)
    cluster = Cluster(d)

    def two_faced(sender: int, receiver: int, message: PeerMessage) -> PeerMessage | None:
        if sender == LIAR and receiver != 1 and isinstance(message, BundleMessage):
            return lie(d, message.bundle, of_another_block)
        return message

    cluster.network.tamper = two_faced
    for through in (1, 2, 3):
        contested_orders(cluster, through)
        cluster.run(1_500)
    cluster.run(3_000)
    check_safety(cluster)
    assert {seer for seer, fault in cluster.faults if fault.node == LIAR} == {2, 3}
    assert {one.bundle.node for one in cluster.logs[1] if isinstance(one, BundleEntry)} >= {LIAR}
    assert len({frozenset(results(cluster, node).items()) for node in range(4)}) == 1 and results(cluster, 1)


def test_as_many_liars_as_may_be_faulty() -> None:
    d = make_deployment(7)
    cluster = Cluster(d)
    liars = {0, 4}
    attack(cluster, of_another_block, liars)
    ids = contested_orders(cluster, 1)
    cluster.run(6_000)
    check_safety(cluster)
    assert {(node, "coin.proof") for node in liars} == set(faults_against(cluster, liars))
    for node in set(range(7)) - liars:
        assert {one.opened.order_id for one in cluster.logs[node] if isinstance(one, OpenedEntry)} == ids
        assert results(cluster, node) == results(cluster, 1) != {}


def test_a_bundle_that_comes_before_its_block_is_final_here_is_judged_once_it_is() -> None:
    """Nobody is charged, and nothing verified, for a block this member does not know to be final."""
    d = make_deployment(4)
    cluster = Cluster(d)
    behind, deaf = 3, [True]

    def tamper(sender: int, receiver: int, message: PeerMessage) -> PeerMessage | None:
        finality = isinstance(message, CertificateMessage) and message.certificate.kind == FINALIZE
        finality = finality or (isinstance(message, VoteMessage) and message.vote.kind == FINALIZE)
        if receiver == behind and finality and deaf[0]:
            return None
        if sender == LIAR and isinstance(message, BundleMessage):
            return lie(d, message.bundle, of_another_block)
        return message

    cluster.network.tamper = tamper
    contested_orders(cluster, 1)
    early = cluster.cores[behind].reveal._early
    assert cluster.run(4_000, until=lambda _: bool(early.get(LIAR)))
    assert not [fault for seer, fault in cluster.faults if seer == behind]
    deaf[0] = False
    cluster.run(6_000)
    check_safety(cluster)
    assert {(fault.node, fault.code) for seer, fault in cluster.faults if seer == behind} == {(LIAR, "coin.proof")}
    assert results(cluster, behind) == results(cluster, 1) != {}


def test_without_t_good_coin_shares_a_batch_stays_closed() -> None:
    """More liars than the model allows: members rather stand still than take a coin they cannot prove."""
    d = make_deployment(4)
    cluster = Cluster(d)
    attack(cluster, of_another_block, {0, 2})
    contested_orders(cluster, 1)
    cluster.run(4_000)
    for node in (1, 3):
        assert [one for one in cluster.logs[node] if isinstance(one, BlockEntry) and one.block.batch]
        assert not [one for one in cluster.logs[node] if isinstance(one, OpenedEntry)]
        assert results(cluster, node) == {}


def test_the_evidence_is_the_bundle_itself_and_a_true_share_is_none() -> None:
    d = make_deployment(4)
    cluster = Cluster(d)
    attack(cluster, of_another_block)
    contested_orders(cluster, 1)
    cluster.run(4_000)
    kept = cluster.evidence
    assert sorted((seer, one.node, one.kind) for seer, one in kept) == [
        (seer, LIAR, "bad-coin-share") for seer in (1, 2, 3)
    ]
    for _, one in kept:
        assert isinstance(one.offence, BadCoinShare)
        assert verify(one.offence, d.committee).node == LIAR
    for log in cluster.logs:
        for entry in log:
            if isinstance(entry, BundleEntry):
                with refused("evidence.legal"):
                    verify(BadCoinShare(entry.bundle), d.committee)


def test_it_convicts_under_a_generated_key_too() -> None:
    """The committee file has no key then: the evidence carries it, and shows that the orders are sealed to it."""
    cluster = Cluster(make_deployment(4, generated=True))
    generate(cluster, (0, 1, 2, 3))
    attack(cluster, point_negated)
    trade(cluster, (0, 1, 2, 3))
    assert evidence_left(cluster) == {(LIAR, "bad-coin-share")}
    [offence] = {one.offence for _, one in cluster.evidence if isinstance(one.offence, BadCoinShare)}
    assert offence.pin is not None
