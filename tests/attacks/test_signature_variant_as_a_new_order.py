"""Attack: one order under many valid signatures of its sponsor.

ECDSA has a valid signature for every nonce. Were they different orders, one payment would buy many places in a batch;
and were a block's variant out of a voter's reach, a sponsor who fills each member's store with others could stop every
block that names its order.

Evidence: none: a variant is a duplicate (`intake.duplicate`), one with high s is refused (`signature.encoding`), and no
member signs either.
"""

from core_kit import all_sequenced, answers, check_safety, refused, sequenced, submit, variant
from evidence_kit import evidence_left

from mpc_sequencer.core.pool import VARIANTS_MAX, Pool
from mpc_sequencer.sim import Cluster, make_deployment
from mpc_sequencer.sim.deployment import BOND_WEI, START_MS


def test_variants_of_a_signature_are_one_order_and_one_receipt() -> None:
    d = make_deployment(4)
    cluster = Cluster(d)
    order = d.order(d.traders[0], cluster.now_ms)
    other = variant(d, 0, order, 7)
    assert other.envelope_hash() != order.envelope_hash()
    submit(cluster, 0, order)
    submit(cluster, 0, other)
    cluster.run(5_000)
    first, second = answers(cluster)
    assert (first.code, second.code) == ("", "intake.duplicate")
    assert first.receipt == second.receipt
    assert [sequenced(cluster, node) for node in range(4)] == [[order.order_id()]] * 4
    assert cluster.cores[0].pool.charged_wei[d.traders[0].address] == 10**12
    assert evidence_left(cluster) == set()


def test_a_high_s_variant_is_refused() -> None:
    d = make_deployment(4)
    pool = Pool(d.committee, {d.traders[0].address: BOND_WEI}, 0)
    order = d.order(d.traders[0], START_MS)
    pool.admit(order, START_MS)
    with refused("signature.encoding"):
        pool.fetched(variant(d, 0, order, 7, high_s=True), START_MS, needed=True)


def test_every_member_filled_with_other_variants_still_votes_for_the_leaders() -> None:
    d = make_deployment(4, seed=3)
    cluster = Cluster(d, seed=3)
    cluster.run(50)
    order = d.order(d.traders[0], cluster.now_ms)
    for node in range(4):
        for turn in range(VARIANTS_MAX):
            submit(cluster, node, variant(d, 0, order, 100 * node + turn + 2))
    assert cluster.run(5_000, until=all_sequenced({order.order_id()}, set(range(4))))
    assert not cluster.cores[1].simplex._nullified_in_a_row
    cluster.run(2_000)
    check_safety(cluster)
    assert evidence_left(cluster) == set()
