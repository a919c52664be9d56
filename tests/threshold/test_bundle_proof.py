"""Batch proofs: what they prove, what they are bound to, and that both implementations agree."""

from dataclasses import replace

import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st
from sealing_kit import Committee, other_contexts, refusal, seeded

import threshold
from threshold import BatchProof, BundleContext, group
from threshold.errors import UsageError

FOUR = Committee.dealt()
ENTROPY = seeded("entropy")
CHECKED = [FOUR.check(FOUR.seal(sigma=seeded(f"order {i}"))) for i in range(4)]
US: list[bytes] = [checked.ciphertext.u for checked in CHECKED]
CONTEXT = BundleContext(FOUR.key.key_id, 3, seeded("block"), 2)
SECRET = FOUR.dealing.shares[1]
SHARES = [threshold.share(SECRET, checked) for checked in CHECKED]
PROOF = threshold.prove_bundle(SECRET, CONTEXT, US, SHARES, entropy=ENTROPY)
VERIFICATION_KEY = FOUR.dealing.verification_keys[1]


def plus(point: bytes, times: int) -> bytes:
    return reference.compress(
        reference.add(reference.decompress(point), reference.multiply(times, reference.G))
    )


def test_a_bundle_of_honest_shares_verifies() -> None:
    threshold.verify_bundle(VERIFICATION_KEY, CONTEXT, US, SHARES, PROOF)
    assert BatchProof.decode(PROOF.encode()) == PROOF and len(PROOF.encode()) == threshold.PROOF_BYTES == 98


def test_parsed_points_serve_as_well_as_encoded_ones() -> None:
    points = [checked.u_point for checked in CHECKED]
    assert threshold.prove_bundle(SECRET, CONTEXT, points, SHARES, entropy=ENTROPY) == PROOF
    threshold.verify_bundle(VERIFICATION_KEY, CONTEXT, points, SHARES, PROOF)


@settings(max_examples=6, deadline=None)
@given(st.integers(1, 4), st.integers(0, 2**64 - 1), st.integers(1, 4), st.binary(min_size=32, max_size=32))
def test_both_implementations_prove_the_same_bytes_and_accept_each_other(
    count: int, epoch: int, index: int, entropy: bytes
) -> None:
    secret = FOUR.dealing.shares[index - 1]
    context = BundleContext(FOUR.key.key_id, epoch, seeded("block"), index)
    shares = [threshold.share(secret, checked) for checked in CHECKED[:count]]
    proof = threshold.prove_bundle(secret, context, US[:count], shares, entropy=entropy).encode()
    packed = FOUR.key.key_id + epoch.to_bytes(8, "big") + seeded("block") + index.to_bytes(2, "big")
    x = int.from_bytes(secret.nonce_material(), "big")
    assert proof == reference.prove_bundle(x, packed, US[:count], shares, entropy)
    assert reference.verify_bundle(secret.verification_key(), packed, US[:count], shares, proof)
    threshold.verify_bundle(secret.verification_key(), context, US[:count], shares, BatchProof.decode(proof))


@other_contexts(CONTEXT)
def test_a_proof_is_not_transferable(context: BundleContext) -> None:
    with refusal("bundle.proof"):
        threshold.verify_bundle(VERIFICATION_KEY, context, US, SHARES, PROOF)


def test_a_proof_is_not_transferable_to_another_members_key() -> None:
    for other in (FOUR.dealing.verification_keys[0], FOUR.key.public_key):
        with refusal("bundle.proof"):
            threshold.verify_bundle(other, CONTEXT, US, SHARES, PROOF)


def test_a_proof_is_not_transferable_to_fewer_more_or_reordered_shares() -> None:
    for us, shares in (
        (US[:3], SHARES[:3]),
        ([*US, US[0]], [*SHARES, SHARES[0]]),
        (US[::-1], SHARES[::-1]),
        ([US[1], US[0], *US[2:]], SHARES),
    ):
        with refusal("bundle.proof"):
            threshold.verify_bundle(VERIFICATION_KEY, CONTEXT, us, shares, PROOF)


def test_k_is_exact_and_an_empty_batch_has_no_proof() -> None:
    for us, shares in ((US, SHARES[:3]), (US[:3], SHARES), ([], []), (US, []), ([], SHARES)):
        with refusal("bundle.count"):
            threshold.verify_bundle(VERIFICATION_KEY, CONTEXT, us, shares, PROOF)
        with refusal("bundle.count"):
            threshold.prove_bundle(SECRET, CONTEXT, us, shares, entropy=ENTROPY)


@pytest.mark.parametrize("at", range(4))
def test_one_bad_share_fails_the_bundle(at: int) -> None:
    for bad in (plus(SHARES[at], 1), plus(SHARES[at], -1), SHARES[at - 1], US[at]):
        with refusal("bundle.proof"):
            shares = [*SHARES[:at], bad, *SHARES[at + 1 :]]
            threshold.verify_bundle(VERIFICATION_KEY, CONTEXT, US, shares, PROOF)


def test_each_part_of_a_proof_is_checked() -> None:
    z = int.from_bytes(PROOF.z, "big")
    for bad in (
        replace(PROOF, a_point=plus(PROOF.a_point, 1)),
        replace(PROOF, b_point=plus(PROOF.b_point, 1)),
        replace(PROOF, a_point=PROOF.b_point, b_point=PROOF.a_point),
        replace(PROOF, z=(z ^ 1).to_bytes(32, "big")),
    ):
        with refusal("bundle.proof"):
            threshold.verify_bundle(VERIFICATION_KEY, CONTEXT, US, SHARES, bad)


def forged(x: int, shares: list[bytes]) -> BatchProof:
    """A proof for x over whatever shares, with everything hashed as the verifier will."""
    packed = CONTEXT.key_id + (3).to_bytes(8, "big") + CONTEXT.block_id + (2).to_bytes(2, "big")
    seed, base, image = reference.bundle_parts(packed, VERIFICATION_KEY, US, shares)
    a_point, b_point = (reference.compress(reference.multiply(99, point)) for point in (reference.G, base))
    sums = reference.compress(base) + reference.compress(image)
    c = reference.tagged_scalar("MPCSEQ/v1/bundle/challenge", seed + sums + a_point + b_point)
    return BatchProof(a_point, b_point, ((99 + c * x) % group.N).to_bytes(32, "big"))


def test_a_proof_that_satisfies_one_equation_only_is_refused() -> None:
    """Shares of another key: their own key satisfies the second equation, the member's key the first."""
    other = FOUR.dealing.shares[2]
    wrong = [threshold.share(other, checked) for checked in CHECKED]
    for secret, fails in ((other, "proof.a_point"), (SECRET, "proof.b_point")):
        with pytest.raises(threshold.ThresholdError) as caught:
            x = int.from_bytes(secret.nonce_material(), "big")
            threshold.verify_bundle(VERIFICATION_KEY, CONTEXT, US, wrong, forged(x, wrong))
        assert (caught.value.code, caught.value.field) == ("bundle.proof", fails)
    honest = forged(int.from_bytes(SECRET.nonce_material(), "big"), SHARES)
    threshold.verify_bundle(VERIFICATION_KEY, CONTEXT, US, SHARES, honest)


@pytest.mark.parametrize(
    ("at", "replacement", "code"),
    [
        (slice(0, 33), bytes(33), "point.infinity"),
        (slice(33, 66), bytes(33), "point.infinity"),
        (slice(0, 33), b"\x02" + (5).to_bytes(32, "big"), "point.off_curve"),
        (slice(33, 66), b"\x04" + bytes(32), "point.encoding"),
        (slice(66, 98), bytes(32), "scalar.range"),
        (slice(66, 98), group.N.to_bytes(32, "big"), "scalar.range"),
        (slice(97, 98), b"", "proof.length"),
        (slice(98, 98), b"\0", "proof.length"),
        (slice(0, 98), b"", "proof.length"),
    ],
)
def test_proof_decoding_is_strict(at: slice, replacement: bytes, code: str) -> None:
    data = bytearray(PROOF.encode())
    data[at] = replacement
    with refusal(code):
        BatchProof.decode(bytes(data))


def test_malformed_shares_keys_and_us_have_their_own_codes() -> None:
    for bad in (b"", bytes(33), SHARES[0] + b"\0", b"\x02" + (5).to_bytes(32, "big")):
        with refusal("share.encoding"):
            threshold.verify_bundle(VERIFICATION_KEY, CONTEXT, US, [bad, *SHARES[1:]], PROOF)
    with refusal("point.infinity"):
        threshold.verify_bundle(bytes(33), CONTEXT, US, SHARES, PROOF)
    with refusal("point.encoding"):
        threshold.verify_bundle(VERIFICATION_KEY, CONTEXT, [b"", *US[1:]], SHARES, PROOF)
    with refusal("scalar.range"):
        threshold.verify_bundle(VERIFICATION_KEY, CONTEXT, US, SHARES, replace(PROOF, z=bytes(32)))


def test_the_nonce_depends_on_entropy_and_on_what_is_proven() -> None:
    proofs = [
        threshold.prove_bundle(SECRET, CONTEXT, US, SHARES, entropy=seeded("other")),
        threshold.prove_bundle(SECRET, replace(CONTEXT, epoch=9), US, SHARES, entropy=ENTROPY),
        threshold.prove_bundle(SECRET, CONTEXT, US[:2], SHARES[:2], entropy=ENTROPY),
        PROOF,
    ]
    assert len({proof.a_point for proof in proofs}) == 4


def test_misuse_by_the_prover_is_refused() -> None:
    with pytest.raises(UsageError):
        threshold.prove_bundle(SECRET, replace(CONTEXT, index=1), US, SHARES, entropy=ENTROPY)
    with pytest.raises(UsageError):
        threshold.prove_bundle(SECRET, CONTEXT, US, SHARES, entropy=ENTROPY[:-1])
    for changes in (
        {"index": 0},
        {"index": 65_536},
        {"epoch": 2**64},
        {"epoch": -1},
        {"key_id": b""},
        {"block_id": b""},
    ):
        with pytest.raises(UsageError):
            replace(CONTEXT, **changes)
