"""Attack: points that are no elements of the group, to learn a secret share or to force a sum.

A share computed of a point on another curve leaks x_i modulo that curve's small orders; infinity makes proofs
and sums trivial. Every place where a peer supplies a point refuses both, before a secret meets them.

Evidence: `bad-shares` or `bad-coin-share` where a member's bundle holds the point; none where an envelope does, which
is refused (`point.off_curve`, `point.infinity`, `point.encoding`) and signed by no member.
"""

from dataclasses import replace

import msgspec
import pytest
import reference as ref
from core_kit import all_sequenced, answers, check_safety, sign, submit
from evidence_kit import evidence_left, from_member
from sealing_kit import Committee, refusal, seeded

import threshold
from mpc_sequencer.core.messages import BundleMessage, PeerMessage
from mpc_sequencer.sim import Cluster, make_deployment
from threshold import BatchProof, BundleContext, SealingKey, SecretShare
from threshold.group import FIELD_PRIME

COMMITTEE = Committee.dealt()
SEALED = COMMITTEE.seal()
CHECKED = COMMITTEE.check(SEALED)
CONTEXT = BundleContext(COMMITTEE.key.key_id, 0, seeded("block"), 1)
SECRET, KEY_1 = COMMITTEE.dealing.shares[0], COMMITTEE.dealing.verification_keys[0]
US, SHARES = [CHECKED.ciphertext.u], [threshold.share(SECRET, CHECKED)]
PROOF = threshold.prove_bundle(SECRET, CONTEXT, US, SHARES, entropy=seeded("entropy"))

BAD_POINTS = {
    "off the curve": (b"\x02" + (5).to_bytes(32, "big"), "point.off_curve"),
    "off the curve, odd": (b"\x03" + (5).to_bytes(32, "big"), "point.off_curve"),
    "infinity as zeros": (bytes(33), "point.infinity"),
    "x not reduced": (b"\x02" + (FIELD_PRIME + 1).to_bytes(32, "big"), "point.encoding"),
    "prefix of an uncompressed point": (b"\x04" + US[0][1:], "point.encoding"),
    "prefix zero": (b"\x00" + US[0][1:], "point.encoding"),
}


@pytest.fixture(params=BAD_POINTS)
def bad(request: pytest.FixtureRequest) -> tuple[bytes, str]:
    return BAD_POINTS[request.param]


@pytest.mark.parametrize("at", [1, 34], ids=["u", "v"])
def test_in_a_ciphertext(bad: tuple[bytes, str], at: int) -> None:
    point, code = bad
    with refusal(code):
        COMMITTEE.check(SEALED[:at] + point + SEALED[at + 33 :])


def test_as_a_public_key(bad: tuple[bytes, str]) -> None:
    with refusal(bad[1]):
        SealingKey(bad[0], 1, bytes(20))


def test_as_a_decryption_share(bad: tuple[bytes, str]) -> None:
    shares = {**{i: COMMITTEE.shares(CHECKED)[i] for i in (1, 2)}, 3: bad[0]}
    with refusal("share.encoding"):
        threshold.combine(shares, 3)
    with refusal("share.encoding"):
        threshold.verify_bundle(KEY_1, CONTEXT, US, [bad[0]], PROOF)


def test_as_a_verification_key_or_in_a_proof(bad: tuple[bytes, str]) -> None:
    point, code = bad
    with refusal(code):
        threshold.verify_bundle(point, CONTEXT, US, SHARES, PROOF)
    with refusal(code):
        threshold.verify_bundle(KEY_1, CONTEXT, [point], SHARES, PROOF)
    for proof in (replace(PROOF, a_point=point), replace(PROOF, b_point=point)):
        with refusal(code):
            threshold.verify_bundle(KEY_1, CONTEXT, US, SHARES, proof)
        with refusal(code):
            BatchProof.decode(proof.encode())


def test_as_the_combined_point(bad: tuple[bytes, str]) -> None:
    with refusal("opening.failed"):
        threshold.open_ciphertext(COMMITTEE.key, CHECKED, bad[0])


def test_shares_that_sum_to_infinity() -> None:
    share = SHARES[0]
    negated = bytes([share[0] ^ 1]) + share[1:]
    # lambda_1 = 3/2 and lambda_3 = -1/2: u and 3u cancel.
    tripled = SecretShare(1, (3).to_bytes(32, "big")).multiply(CHECKED.u_point)
    with refusal("share.sum"):
        threshold.combine({1: CHECKED.ciphertext.u, 3: tripled}, 2)
    assert len(threshold.combine({1: share, 3: negated}, 2)) == 33


def test_commitments_at_infinity() -> None:
    """z = re makes both commitments infinity for an encryptor who knows r; no hash covers that."""
    label = COMMITTEE.label().encode()
    r, _ = ref.exponents(b"\x07" * 32, label, ref.pad(b"buy 3", 64))
    for e in (1, 2, int.from_bytes(CHECKED.ciphertext.e, "big")):
        z = (r * e % ref.N).to_bytes(32, "big")
        with refusal("tdh2.proof"):
            COMMITTEE.check(SEALED[:67] + e.to_bytes(32, "big") + z + SEALED[131:])


@pytest.mark.parametrize("name", ["off the curve", "infinity as zeros"])
def test_at_a_members_door_it_is_refused_and_nobody_is_accused(name: str) -> None:
    point, code = BAD_POINTS[name]
    d = make_deployment(4)
    cluster = Cluster(d)
    order = d.order(d.traders[0], cluster.now_ms)
    bent = order.ciphertext[:1] + point + order.ciphertext[34:]
    submit(cluster, 0, d.sponsored(d.traders[0], order.label, bent))
    cluster.run(1_000)
    assert [one.code for one in answers(cluster)] == [code]
    assert len(cluster.cores[0].pool) == 0
    assert evidence_left(cluster) == set()


@pytest.mark.parametrize(
    ("field", "kind"), [("shares", "bad-shares"), ("coin_share", "bad-coin-share")], ids=["share", "coin share"]
)
@pytest.mark.parametrize("name", ["off the curve", "infinity as zeros"])
def test_in_a_members_bundle_it_convicts_the_member(name: str, field: str, kind: str) -> None:
    point, _ = BAD_POINTS[name]
    d = make_deployment(4)
    cluster = Cluster(d)

    def bend(_receiver: int, message: PeerMessage) -> PeerMessage:
        if not isinstance(message, BundleMessage):
            return message
        bundle = message.bundle
        bad = (point, *bundle.shares[1:]) if field == "shares" else point + bundle.coin_share[33:]
        return BundleMessage(sign(d, 0, msgspec.structs.replace(bundle, **{field: bad})))

    cluster.network.tamper = from_member(0, bend)
    ids = set()
    for _ in range(3):
        order = d.order(d.traders[1], cluster.now_ms)
        ids.add(order.order_id())
        submit(cluster, 1, order)
        cluster.run(400)
    assert cluster.run(5_000, until=all_sequenced(ids, {1, 2, 3}))
    cluster.run(1_000)
    check_safety(cluster)
    assert evidence_left(cluster) == {(0, kind)}
    assert all(cluster.cores[node].execution.executed_height for node in (1, 2, 3))
