"""Attack: one bad share hidden among good ones, under a proof that should cover all of them.

A member wants one order not to open, or to open late, without being caught. The proof combines all shares
with weights that hash them, so the member cannot choose a bad share after the weights, nor two whose errors
cancel.

Evidence: `bad-shares`: the sender's own signed bundle, with the orders it should be of.
"""

import msgspec
import pytest
import reference as ref
from core_kit import all_sequenced, check_safety, faults_against, sign, submit
from evidence_kit import evidence_left, from_member
from sealing_kit import Committee, refusal, seeded

import threshold
from mpc_sequencer.core.messages import BundleMessage, PeerMessage
from mpc_sequencer.core.transcript import OpenedEntry
from mpc_sequencer.sim import Cluster, make_deployment
from threshold import BundleContext

COMMITTEE = Committee.dealt()
ORDERS = [COMMITTEE.check(COMMITTEE.seal(sigma=seeded(f"order {i}"))) for i in range(5)]
US = [checked.ciphertext.u for checked in ORDERS]
MEMBER = COMMITTEE.dealing.shares[2]
KEY = COMMITTEE.dealing.verification_keys[2]
CONTEXT = BundleContext(COMMITTEE.key.key_id, 0, seeded("block"), MEMBER.index)
GOOD = [threshold.share(MEMBER, checked) for checked in ORDERS]
D = ref.multiply(31337, ref.G)


def bent(at: int, times: int = 1) -> bytes:
    return ref.compress(ref.add(ref.decompress(GOOD[at]), ref.multiply(times, D)))


def proven(shares: list[bytes]) -> threshold.BatchProof:
    return threshold.prove_bundle(MEMBER, CONTEXT, US, shares, entropy=seeded("entropy"))


@pytest.mark.parametrize("at", range(5))
def test_a_bad_share_under_the_proof_of_the_good_ones(at: int) -> None:
    shares = [*GOOD[:at], bent(at), *GOOD[at + 1 :]]
    with refusal("bundle.proof"):
        threshold.verify_bundle(KEY, CONTEXT, US, shares, proven(GOOD))


@pytest.mark.parametrize("at", range(5))
def test_a_bad_share_under_a_proof_made_over_it(at: int) -> None:
    shares = [*GOOD[:at], bent(at), *GOOD[at + 1 :]]
    with refusal("bundle.proof"):
        threshold.verify_bundle(KEY, CONTEXT, US, shares, proven(shares))


def test_two_bad_shares_whose_errors_cancel_in_a_plain_sum() -> None:
    shares = [bent(0), bent(1, -1), *GOOD[2:]]
    plain = [None, None]
    for j in range(5):
        plain = [ref.add(plain[0], ref.decompress(GOOD[j])), ref.add(plain[1], ref.decompress(shares[j]))]
    assert plain[0] == plain[1], "without weights nobody would notice"
    with refusal("bundle.proof"):
        threshold.verify_bundle(KEY, CONTEXT, US, shares, proven(shares))


def test_two_bad_shares_whose_errors_cancel_under_the_weights_of_another_bundle() -> None:
    """rho_1 D' + rho_2 D'' = 0 for the weights of the good bundle: changing the shares changes the
    weights."""
    packed = CONTEXT.key_id + bytes(8) + CONTEXT.block_id + CONTEXT.index.to_bytes(2, "big")
    seed, _, _ = ref.bundle_parts(packed, KEY, US, GOOD)
    rho = [
        int.from_bytes(ref.tagged("MPCSEQ/v1/bundle/rho", seed + j.to_bytes(4, "big"))[:16], "big")
        for j in (1, 2)
    ]
    shares = [bent(0, rho[1]), bent(1, -rho[0]), *GOOD[2:]]
    for proof in (proven(GOOD), proven(shares)):
        with refusal("bundle.proof"):
            threshold.verify_bundle(KEY, CONTEXT, US, shares, proof)


def test_two_good_shares_swapped() -> None:
    shares = [GOOD[1], GOOD[0], *GOOD[2:]]
    with refusal("bundle.proof"):
        threshold.verify_bundle(KEY, CONTEXT, US, shares, proven(shares))


def test_a_share_made_with_another_key_for_all_orders() -> None:
    other = COMMITTEE.dealing.shares[0]
    shares = [threshold.share(other, checked) for checked in ORDERS]
    with refusal("bundle.proof"):
        threshold.verify_bundle(KEY, CONTEXT, US, shares, proven(shares))


def test_what_the_bad_share_does_and_that_the_orders_beside_it_open_regardless() -> None:
    shares = COMMITTEE.shares(ORDERS[0])
    shares[MEMBER.index] = bent(0)
    with refusal("opening.failed"):
        COMMITTEE.opened_by(ORDERS[0], shares, (1, 2, 3))
    assert COMMITTEE.opened_by(ORDERS[0], shares, (1, 2, 4)).message == b"buy 3"
    assert COMMITTEE.opened_by(ORDERS[1], COMMITTEE.shares(ORDERS[1]), (1, 2, 3)).message == b"buy 3"


@pytest.mark.parametrize("liar", [0, 1])
def test_in_a_committee_every_order_opens_and_the_bundle_convicts_its_sender(liar: int) -> None:
    """Of four members one sends a bent share for the first order of each batch, under the proof of the good ones."""
    d = make_deployment(4)
    cluster = Cluster(d)

    def bend(_receiver: int, message: PeerMessage) -> PeerMessage:
        if not isinstance(message, BundleMessage) or message.bundle.node != liar:
            return message
        first, *rest = message.bundle.shares
        shares = (ref.compress(ref.add(ref.decompress(first), D)), *rest)
        return BundleMessage(sign(d, liar, msgspec.structs.replace(message.bundle, shares=shares)))

    cluster.network.tamper = from_member(liar, bend)
    honest = {0, 1, 2, 3} - {liar}
    ids = set()
    for turn in range(4):
        orders = [d.order(trader, cluster.now_ms) for trader in d.traders]
        ids |= {order.order_id() for order in orders}
        submit(cluster, min(honest), *orders)
        cluster.run(300 + turn)
    assert cluster.run(5_000, until=all_sequenced(ids, honest))
    cluster.run(2_000)
    check_safety(cluster)
    for node in honest:
        assert {one.opened.order_id for one in cluster.logs[node] if isinstance(one, OpenedEntry)} == ids
    assert set(faults_against(cluster, set(range(4)))) == {(liar, "bundle.proof")}
    assert evidence_left(cluster) == {(liar, "bad-shares")}
