"""Attack: have somebody else's pending order decrypted early, inside a ciphertext of one's own.

Decryption is linear: x(au + bG) = a(xu) + bY. So an adversary who sees a victim's pending u submits u' = au +
bG under a label of its own, gets it decrypted, and computes xu from the answer. The first test shows that
this works whenever a share of u' is computed; the others, that no transformation passes check, because the
proof binds u', v', c' and the label to an exponent the adversary does not know.

Evidence: none: the envelope is refused (`tdh2.proof`) and signed by no member; an accomplice that lists it is within
the rules and alone.
"""

import pytest
import reference as ref
from core_kit import all_sequenced, answers, make_list, sequenced, submit
from evidence_kit import charged, evidence_left
from sealing_kit import Committee, refusal, seeded

import threshold
from mpc_sequencer.core.effects import FromPeer
from mpc_sequencer.core.messages import Bodies, FetchBodies, ListMessage
from mpc_sequencer.core.types import ZERO_HASH
from mpc_sequencer.sim import Cluster, make_deployment
from threshold import group

COMMITTEE = Committee.dealt()
VICTIM_LABEL = COMMITTEE.label(sponsor=b"\xaa" * 20)
VICTIM = COMMITTEE.seal(b"buy 1,000 at market", sigma=seeded("victim"), sponsor=b"\xaa" * 20)
ADVERSARY_LABEL = COMMITTEE.label(sponsor=b"\xbb" * 20).encode()
A, B = 12345, 67890
U, V, E, Z, C = ref.split(VICTIM)


def moved(point: bytes, base: ref.Affine) -> bytes:
    """a * point + b * base."""
    return ref.compress(ref.add(ref.multiply(A, ref.decompress(point)), ref.multiply(B, base)))


def ciphertext(u: bytes, v: bytes, e: int, z: int, c: bytes) -> bytes:
    return b"\1" + u + v + e.to_bytes(32, "big") + z.to_bytes(32, "big") + c


def test_without_the_check_a_transformed_copy_decrypts_the_victims_order() -> None:
    copy_u = group.parse_point(moved(U, ref.G), "u")
    shares = {secret.index: secret.multiply(copy_u) for secret in COMMITTEE.dealing.shares[:3]}
    answer = ref.decompress(threshold.combine(shares, 3))
    blinded = ref.add(answer, ref.negate(ref.multiply(B, ref.decompress(COMMITTEE.key.public_key))))
    stolen = ref.compress(ref.multiply(pow(A, -1, ref.N), blinded))
    checked = COMMITTEE.check(VICTIM, VICTIM_LABEL)
    assert threshold.open_ciphertext(COMMITTEE.key, checked, stolen).message == b"buy 1,000 at market"


@pytest.mark.parametrize(
    "label", [ADVERSARY_LABEL, VICTIM_LABEL.encode()], ids=["own label", "victim's label"]
)
def test_a_transformed_copy_is_refused(label: bytes) -> None:
    u, v = moved(U, ref.G), moved(V, ref.G2)
    # z + eb fits the shifted statement for the same e; a scales z; neither survives e being a hash of u' and
    # v'.
    fitted = ref.compress(ref.add(ref.decompress(U), ref.multiply(B, ref.G)))
    fitted_v = ref.compress(ref.add(ref.decompress(V), ref.multiply(B, ref.G2)))
    for tried in (
        ciphertext(fitted, fitted_v, E, (Z + E * B) % ref.N, C),
        ciphertext(u, v, E, (A * Z + E * B) % ref.N, C),
        ciphertext(u, v, E, Z, C),
        ciphertext(moved(U, ref.G), V, E, Z, C),
        ciphertext(U, moved(V, ref.G2), E, Z, C),
    ):
        with refusal("tdh2.proof"):
            COMMITTEE.check(tried, label)


def test_a_proof_made_without_the_exponent_is_refused() -> None:
    """Simulated proof: choose e and z first, compute the commitments they fit, and find that e is not their
    hash."""
    u, v = moved(U, ref.G), moved(V, ref.G2)
    e, z = 1 + ref.tagged_scalar("guess", b"e"), ref.tagged_scalar("guess", b"z")
    with refusal("tdh2.proof"):
        COMMITTEE.check(ciphertext(u, v, e, z, C), ADVERSARY_LABEL)
    w = ref.add(ref.multiply(z, ref.G), ref.negate(ref.multiply(e, ref.decompress(u))))
    w2 = ref.add(ref.multiply(z, ref.G2), ref.negate(ref.multiply(e, ref.decompress(v))))
    assert w is not None and w2 is not None
    hashed = ref.challenge(ADVERSARY_LABEL, u, v, ref.compress(w), ref.compress(w2), C)
    with refusal("tdh2.proof"):
        COMMITTEE.check(ciphertext(u, v, hashed, z, C), ADVERSARY_LABEL)


def test_a_copy_with_the_adversarys_own_v_is_refused() -> None:
    """u' = u + bG with v' = r'G2 for an r' of its own: the two exponents differ."""
    r, s = 1111, 2222
    u = moved(U, ref.G)
    v = ref.compress(ref.multiply(r, ref.G2))
    e = ref.challenge(
        ADVERSARY_LABEL, u, v, ref.compress(ref.multiply(s, ref.G)), ref.compress(ref.multiply(s, ref.G2)), C
    )
    with refusal("tdh2.proof"):
        COMMITTEE.check(ciphertext(u, v, e, (s + r * e) % ref.N, C), ADVERSARY_LABEL)


def test_the_victims_u_around_other_contents_is_refused() -> None:
    for c in (C[::-1], seeded("other") * 3 + bytes(16), COMMITTEE.seal()[131:]):
        for label in (ADVERSARY_LABEL, VICTIM_LABEL.encode()):
            with refusal("tdh2.proof"):
                COMMITTEE.check(ciphertext(U, V, E, Z, c), label)


def test_no_share_is_computed_of_anything_unchecked() -> None:
    for unchecked in (
        VICTIM,
        threshold.Ciphertext.decode(VICTIM, 64),
        group.parse_point(moved(U, ref.G), "u"),
    ):
        with pytest.raises(TypeError, match="checked"):
            threshold.share(COMMITTEE.dealing.shares[0], unchecked)  # type: ignore[arg-type]


def test_neither_a_door_nor_an_accomplices_list_gets_it_decrypted() -> None:
    d = make_deployment(4)
    cluster = Cluster(d)
    accomplice, honest = 3, {0, 1, 2}
    victim = d.order(d.traders[0], cluster.now_ms)
    u, v, e, z, c = ref.split(victim.ciphertext)
    label = d.label(d.traders[1].address, cluster.now_ms).encode()
    moved_both = ciphertext(moved(u, ref.G), moved(v, ref.G2), e, (A * z + e * B) % ref.N, c)
    copy = d.sponsored(d.traders[1], label, moved_both)

    def serve(sender: int, receiver: int, message: object) -> object:
        if receiver == accomplice and isinstance(message, FetchBodies) and copy.order_id() in message.ids:
            cluster.at(cluster.now_ms + 1, sender, FromPeer(accomplice, Bodies((copy,))))
        return None if sender == accomplice else message

    cluster.network.tamper = serve  # type: ignore[assignment]
    submit(cluster, 0, victim)
    for node in honest:
        submit(cluster, node, copy, client=7)
        listed = make_list(d, accomplice, 1, ZERO_HASH, (copy.order_id(),))
        cluster.at(cluster.now_ms + 50, node, FromPeer(accomplice, ListMessage(listed)))
    assert cluster.run(5_000, until=all_sequenced({victim.order_id()}, honest))
    cluster.run(2_000)
    assert [one.code for one in answers(cluster, 7)] == ["tdh2.proof"] * 3
    assert charged(cluster, honest) == {(accomplice, "tdh2.proof")}
    assert all(sequenced(cluster, node) == [victim.order_id()] for node in honest)
    assert evidence_left(cluster) == set()
