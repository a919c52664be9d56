"""Attack: a valid proof around contents that do not decrypt, or decrypt to what was never honestly sealed.

The proof shows knowledge of r, not that c is meaningful. Such an order passes check and is batched. What must
hold is that nobody can make nodes disagree about it: under every subset of valid shares opening fails alike,
so it is malformed for everybody; and that nobody can pass off an opening for it.

Evidence: none: a trader seals it and no member is to blame; the log holds the t proven bundles that do not open it.
"""

import pytest
import reference as ref
from core_kit import check_safety, results, submit
from evidence_kit import evidence_left, outcomes
from sealing_kit import Committee, seeded

import threshold
from mpc_sequencer.core.transcript import OpenedEntry, UnopenableEntry
from mpc_sequencer.sim import Cluster, make_deployment
from mpc_sequencer.sim.deployment import SIZE_BUCKET

COMMITTEE = Committee.dealt()
LABEL = COMMITTEE.label()
ENCODED = LABEL.encode()
R, S = ref.tagged_scalar("attack", b"r"), ref.tagged_scalar("attack", b"s")
U, V = ref.compress(ref.multiply(R, ref.G)), ref.compress(ref.multiply(R, ref.G2))
POINT = ref.compress(ref.multiply(R, ref.decompress(COMMITTEE.key.public_key)))
K = ref.tagged("MPCSEQ/v1/kem", POINT + U)
SIGMA, PADDED = seeded("sigma"), ref.pad(b"sell 5", 64)
HONEST_R, HONEST_S = ref.exponents(SIGMA, ENCODED, PADDED)
HONEST = ref.split(COMMITTEE.seal(b"sell 5", sigma=SIGMA))

GARBAGE = {
    "random bytes": ref.proven(ENCODED, U, V, R, S, ((seeded("a") + seeded("b")) * 2)[:112]),
    "zeros": ref.proven(ENCODED, U, V, R, S, bytes(112)),
    "encrypted under another key": ref.proven(
        ENCODED, U, V, R, S, ref.aead_encrypt(bytes(32), ENCODED + U + V, bytes(96))
    ),
    "authenticated without the label": ref.proven(
        ENCODED, U, V, R, S, ref.aead_encrypt(K, U + V, SIGMA + PADDED)
    ),
    "r chosen freely": ref.proven(ENCODED, U, V, R, S, ref.aead_encrypt(K, ENCODED + U + V, SIGMA + PADDED)),
    "s chosen freely": ref.proven(ENCODED, HONEST[0], HONEST[1], HONEST_R, S, HONEST[4]),
    "another order's c": ref.proven(ENCODED, U, V, R, S, HONEST[4]),
}


@pytest.mark.parametrize("name", GARBAGE)
def test_it_passes_check_and_fails_to_open_alike_under_every_subset(name: str) -> None:
    checked = COMMITTEE.check(GARBAGE[name], LABEL)
    assert COMMITTEE.verdicts(checked, COMMITTEE.shares(checked)) == {"opening.failed"}


@pytest.mark.parametrize(
    ("name", "field"),
    [("random bytes", "point"), ("r chosen freely", "ciphertext.u"), ("s chosen freely", "ciphertext.z")],
)
def test_the_step_that_fails_is_named(name: str, field: str) -> None:
    checked = COMMITTEE.check(GARBAGE[name], LABEL)
    with pytest.raises(threshold.ThresholdError) as caught:
        COMMITTEE.opened_by(checked, COMMITTEE.shares(checked), (1, 2, 3))
    assert (caught.value.code, caught.value.field) == ("opening.failed", field)


@pytest.mark.parametrize("name", GARBAGE)
def test_no_opening_can_be_passed_off_for_it(name: str) -> None:
    assert not threshold.verify_opening(COMMITTEE.key, ENCODED, GARBAGE[name], SIGMA, PADDED)
    assert not threshold.verify_opening(COMMITTEE.key, ENCODED, GARBAGE[name], bytes(32), bytes(64))


def test_a_malformed_inside_opens_alike_and_proves_itself() -> None:
    """Honest sealing of a bad length prefix or padding: opened by every subset, malformed, verifiable by
    anybody."""
    for padded in (b"\xff" * 64, ref.pad(b"sell 5", 64)[:-1] + b"\1", (61).to_bytes(4, "big") + bytes(60)):
        sealed = ref.seal_padded(COMMITTEE.key.public_key, ENCODED, padded, SIGMA)
        checked = COMMITTEE.check(sealed, LABEL)
        openings = [
            COMMITTEE.opened_by(checked, COMMITTEE.shares(checked), subset) for subset in COMMITTEE.subsets()
        ]
        assert openings == [openings[0]] * 4
        assert openings[0].message is None and openings[0].malformed_reason
        assert threshold.verify_opening(COMMITTEE.key, ENCODED, sealed, openings[0].sigma, openings[0].padded)


def test_in_a_committee_it_is_malformed_for_all_and_the_batch_goes_on() -> None:
    d = make_deployment(4)
    cluster = Cluster(d)
    label = d.label(d.traders[0].address, cluster.now_ms).encode()
    garbage = ref.proven(label, U, V, R, S, bytes(SIZE_BUCKET + 48))
    bad, good = d.sponsored(d.traders[0], label, garbage), d.order(d.traders[1], cluster.now_ms)
    submit(cluster, 2, bad, good)
    cluster.run(4_000)
    check_safety(cluster)
    for log in cluster.logs:
        shown = [one.unopenable for one in log if isinstance(one, UnopenableEntry)]
        assert [one.order_id for one in shown] == [bad.order_id()] and len(shown[0].nodes) == d.committee.t
        assert [one.opened.order_id for one in log if isinstance(one, OpenedEntry)] == [good.order_id()]
    assert outcomes(cluster) == {bad.order_id(): {"malformed"}, good.order_id(): {"resting"}}
    assert len({frozenset(results(cluster, node).items()) for node in range(4)}) == 1
    assert cluster.faults == []
    assert evidence_left(cluster) == set()
