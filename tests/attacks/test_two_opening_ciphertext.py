"""Attack: a ciphertext that opens for some subsets of shares and not for others, so that honest nodes fork.

A sponsor and one accomplice among the members agree on a point D. The accomplice adds D to its share, so a
subset A that holds it combines to P + lambda D, with its lambda in A. The sponsor encrypts under exactly that
point: u, v, the proof and everything inside are honest, and r is the hash it should be. A node that combined
A would open the order; one that combined another subset would not. Requiring rY = P refuses it everywhere;
then verified shares give every node the same verdict.

Evidence: `bad-shares`: the accomplice's own signed bundle; none against the sponsor, who is no member.
"""

import msgspec
import pytest
import reference as ref
from core_kit import check_safety, results, sign, submit
from evidence_kit import charged, evidence_left
from sealing_kit import Committee, refusal, seeded

import threshold
from mpc_sequencer.core.messages import BundleMessage, PeerMessage
from mpc_sequencer.core.transcript import OpenedEntry, UnopenableEntry
from mpc_sequencer.sim import Cluster, make_deployment
from mpc_sequencer.sim.deployment import SIZE_BUCKET
from threshold import BundleContext

COMMITTEE = Committee.dealt()
ACCOMPLICE = 1
TARGET = (1, 2, 3)  # the subset the sponsor makes it open for
D = ref.multiply(424242, ref.G)
LABEL = COMMITTEE.label()
SIGMA, PADDED = seeded("sponsor"), ref.pad(b"fork the nodes", 64)
CONTEXT = BundleContext(COMMITTEE.key.key_id, 0, seeded("block"), ACCOMPLICE)


def bent_point() -> bytes:
    """rY + lambda D for the target subset."""
    r, _ = ref.exponents(SIGMA, LABEL.encode(), PADDED)
    bend = ref.multiply(ref.lagrange(ACCOMPLICE, list(TARGET)), D)
    return ref.compress(ref.add(ref.multiply(r, ref.decompress(COMMITTEE.key.public_key)), bend))


def two_opening_ciphertext() -> bytes:
    label = LABEL.encode()
    r, s = ref.exponents(SIGMA, label, PADDED)
    u, v = ref.compress(ref.multiply(r, ref.G)), ref.compress(ref.multiply(r, ref.G2))
    c = ref.aead_encrypt(ref.tagged("MPCSEQ/v1/kem", bent_point() + u), label + u + v, SIGMA + PADDED)
    return ref.proven(label, u, v, r, s, c)


@pytest.fixture
def checked() -> threshold.CheckedCiphertext:
    return COMMITTEE.check(two_opening_ciphertext(), LABEL)


def bent_shares(checked: threshold.CheckedCiphertext) -> dict[int, bytes]:
    shares = COMMITTEE.shares(checked)
    shares[ACCOMPLICE] = ref.compress(ref.add(ref.decompress(shares[ACCOMPLICE]), D))
    return shares


def test_the_attack_is_real_the_cipher_authenticates_for_the_target_subset_only(
    checked: threshold.CheckedCiphertext,
) -> None:
    shares = bent_shares(checked)
    opened_by = []
    for subset in COMMITTEE.subsets():
        point = threshold.combine({i: shares[i] for i in subset}, 3)
        u, v, _, _, c = ref.split(checked.encoded)
        if ref.aead_decrypt(ref.tagged("MPCSEQ/v1/kem", point + u), LABEL.encode() + u + v, c) is not None:
            opened_by.append(subset)
    assert opened_by == [TARGET]


def test_no_subset_opens_it_with_the_bent_share_or_without(checked: threshold.CheckedCiphertext) -> None:
    assert COMMITTEE.verdicts(checked, bent_shares(checked)) == {"opening.failed"}
    assert COMMITTEE.verdicts(checked, COMMITTEE.shares(checked)) == {"opening.failed"}


def test_the_target_subset_is_refused_for_the_bent_point_and_nothing_else(
    checked: threshold.CheckedCiphertext,
) -> None:
    with pytest.raises(threshold.ThresholdError, match="rY") as caught:
        COMMITTEE.opened_by(checked, bent_shares(checked), TARGET)
    assert (caught.value.code, caught.value.field) == ("opening.failed", "point")


def test_the_accomplices_bundle_does_not_verify_and_the_others_do(
    checked: threshold.CheckedCiphertext,
) -> None:
    shares, us = bent_shares(checked), [checked.ciphertext.u]
    for secret, key in zip(COMMITTEE.dealing.shares, COMMITTEE.dealing.verification_keys, strict=True):
        context = BundleContext(COMMITTEE.key.key_id, 0, CONTEXT.block_id, secret.index)
        bundle = [shares[secret.index]]
        proof = threshold.prove_bundle(secret, context, us, bundle, entropy=seeded("entropy"))
        if secret.index == ACCOMPLICE:
            with refusal("bundle.proof"):
                threshold.verify_bundle(key, context, us, bundle, proof)
        else:
            threshold.verify_bundle(key, context, us, bundle, proof)


def test_it_is_not_a_valid_opening_for_the_public_either(checked: threshold.CheckedCiphertext) -> None:
    assert not threshold.verify_opening(COMMITTEE.key, LABEL.encode(), checked.encoded, SIGMA, PADDED)


def test_in_a_committee_all_members_give_one_verdict_and_the_bent_share_convicts_the_accomplice() -> None:
    d = make_deployment(4)
    cluster = Cluster(d)
    accomplice = ACCOMPLICE - 1
    label = d.label(d.traders[0].address, cluster.now_ms).encode()
    padded = ref.pad(b"fork the nodes", SIZE_BUCKET)
    r, s = ref.exponents(SIGMA, label, padded)
    u, v = ref.compress(ref.multiply(r, ref.G)), ref.compress(ref.multiply(r, ref.G2))
    bend = ref.multiply(ref.lagrange(ACCOMPLICE, list(TARGET)), D)
    target = ref.compress(ref.add(ref.multiply(r, ref.decompress(d.committee.genesis.public_key)), bend))
    c = ref.aead_encrypt(ref.tagged("MPCSEQ/v1/kem", target + u), label + u + v, SIGMA + padded)
    trap = d.sponsored(d.traders[0], label, ref.proven(label, u, v, r, s, c))
    told: list[bytes] = []

    late: set[int] = set()

    def wire(sender: int, receiver: int, message: PeerMessage) -> PeerMessage | None:
        if isinstance(message, BundleMessage) and sender == 3 and receiver not in late:
            late.add(receiver)
            return None  # and comes when asked for: members 1 and 2 try the target subset first
        return bent(receiver, message) if sender == accomplice else message

    def bent(receiver: int, message: PeerMessage) -> PeerMessage:
        if not isinstance(message, BundleMessage) or receiver % 2 == 0:
            return message  # the others get its true share
        shares = list(message.bundle.shares)
        batch = next(e.block.batch for e in cluster.cores[1].chain._entries.values() if e.block.batch)
        at = [entry.order_id for entry in batch].index(trap.order_id())
        shares[at] = ref.compress(ref.add(ref.decompress(shares[at]), D))
        told.append(shares[at])
        return BundleMessage(sign(d, accomplice, msgspec.structs.replace(message.bundle, shares=tuple(shares))))

    cluster.network.tamper = wire
    honest = d.order(d.traders[1], cluster.now_ms)
    submit(cluster, 1, trap, honest)
    cluster.run(4_000)
    check_safety(cluster)
    assert told
    for node in range(4):
        log = cluster.logs[node]
        assert [one.unopenable.order_id for one in log if isinstance(one, UnopenableEntry)] == [trap.order_id()]
        assert [one.opened.order_id for one in log if isinstance(one, OpenedEntry)] == [honest.order_id()]
        assert results(cluster, node) == results(cluster, 0) != {}
    assert charged(cluster, set(range(4))) == {(accomplice, "bundle.proof")}
    assert evidence_left(cluster) == {(accomplice, "bad-shares")}
