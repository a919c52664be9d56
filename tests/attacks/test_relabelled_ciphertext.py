"""Attack: somebody else's ciphertext under another label: another sponsor, validity, chain, contract, key or
bucket.

A copy under the adversary's own sponsorship would be decrypted on its own schedule, or executed twice. The
label is inside the proof's hash and the cipher's associated data, so no label but the sealed one goes with a
ciphertext.

Evidence: none: the envelope is refused (`tdh2.proof`, `label.chain`, `label.settlement`, `label.key`,
`ciphertext.length`) and signed by no member.
"""

import pytest
import reference as ref
from core_kit import all_sequenced, answers, sequenced, submit
from evidence_kit import evidence_left
from sealing_kit import CHAIN_ID, SETTLEMENT, Committee, refusal, seeded

import threshold
from mpc_sequencer.sim import Cluster, make_deployment
from threshold import SealingKey

COMMITTEE = Committee.dealt()
LABEL = COMMITTEE.label()
SEALED = COMMITTEE.seal()
OTHER_KEY_ID = Committee.dealt(name="other").key.key_id

CHANGES = {
    "sponsor": ({"sponsor": b"\x52" * 20}, "tdh2.proof"),
    "earlier start": ({"valid_from_ms": 0}, "tdh2.proof"),
    "later start": ({"valid_from_ms": 1_001}, "tdh2.proof"),
    "later end": ({"valid_until_ms": 61_001}, "tdh2.proof"),
    "chain": ({"chain_id": CHAIN_ID + 1}, "label.chain"),
    "contract": ({"settlement": SETTLEMENT[::-1]}, "label.settlement"),
    "key": ({"key_id": OTHER_KEY_ID}, "label.key"),
    "bucket": ({"size_bucket": 128}, "ciphertext.length"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_relabelled_ciphertext_is_refused(name: str) -> None:
    changes, code = CHANGES[name]
    with refusal(code):
        COMMITTEE.check(SEALED, COMMITTEE.label(**changes))


@pytest.mark.parametrize(
    ("chain_id", "settlement"),
    [(CHAIN_ID + 1, SETTLEMENT), (CHAIN_ID, SETTLEMENT[::-1])],
    ids=["chain", "contract"],
)
def test_one_key_on_two_deployments_does_not_carry_a_ciphertext_over(
    chain_id: int, settlement: bytes
) -> None:
    """The same threshold key elsewhere, with the label rewritten to satisfy the node there."""
    elsewhere = SealingKey(COMMITTEE.key.public_key, chain_id, settlement)
    label = COMMITTEE.label(chain_id=chain_id, settlement=settlement, key_id=elsewhere.key_id)
    with refusal("tdh2.proof"):
        threshold.check(elsewhere, label.encode(), SEALED, buckets=(64,))


def test_a_relabelled_copy_with_its_proof_renewed_needs_the_exponent() -> None:
    """With the right r the proof can be renewed, but only the encryptor has r; and the cipher still
    refuses."""
    other = COMMITTEE.label(sponsor=b"\x52" * 20)
    u, v, _, _, c = ref.split(SEALED)
    guess = ref.tagged_scalar("guess", b"r")
    with refusal("tdh2.proof"):
        COMMITTEE.check(ref.proven(other.encode(), u, v, guess, 77, c), other)
    r, s = ref.exponents(b"\x07" * 32, LABEL.encode(), ref.pad(b"buy 3", 64))
    checked = COMMITTEE.check(ref.proven(other.encode(), u, v, r, s, c), other)
    assert COMMITTEE.verdicts(checked, COMMITTEE.shares(checked)) == {"opening.failed"}


def test_an_opening_is_not_valid_under_another_label() -> None:
    padded = ref.pad(b"buy 3", 64)
    assert threshold.verify_opening(COMMITTEE.key, LABEL.encode(), SEALED, b"\x07" * 32, padded)
    for changes, _ in CHANGES.values():
        label = COMMITTEE.label(**changes).encode()
        assert not threshold.verify_opening(COMMITTEE.key, label, SEALED, b"\x07" * 32, padded)
        assert not threshold.verify_opening(COMMITTEE.key, label, SEALED, seeded("x"), padded)


def test_at_every_door_the_copy_is_refused_and_the_victims_order_is_final() -> None:
    d = make_deployment(4)
    cluster = Cluster(d)
    victim = d.order(d.traders[0], cluster.now_ms)
    own_label = d.label(d.traders[1].address, cluster.now_ms).encode()
    copy = d.sponsored(d.traders[1], own_label, victim.ciphertext)
    submit(cluster, 0, victim)
    for node in range(4):
        submit(cluster, node, copy, client=7)
    assert cluster.run(5_000, until=all_sequenced({victim.order_id()}, set(range(4))))
    cluster.run(1_000)
    assert [one.code for one in answers(cluster, 7)] == ["tdh2.proof"] * 4
    assert sequenced(cluster, 2) == [victim.order_id()]
    assert cluster.faults == []
    assert evidence_left(cluster) == set()
