"""Attack: a sponsor spends one bond many times, by sending other orders to each member, or through an accomplice that
lists orders no door would take.

Credit is ordering state: a batch charges what ancestors and the batch itself have not used up. Nor may orders without
credit fill pools and queues: no honest member holds or lists them, so they never get f+1 listings.

Evidence: none: the sponsor's surplus is refused (`credit.exhausted`) or stays unbatched, and to list an unpaid order is
within the rules.
"""

from core_kit import answers, make_head, make_list, sequenced, submit
from evidence_kit import evidence_left

from mpc_sequencer.core.effects import FromPeer
from mpc_sequencer.core.limits import ORDER_CHARGE_WEI
from mpc_sequencer.core.messages import Bodies, FetchBodies, HeadMessage, ListMessage
from mpc_sequencer.core.types import ZERO_HASH
from mpc_sequencer.sim import Cluster, make_deployment

CREDIT_ORDERS = 3


def test_other_orders_to_each_member_are_batched_up_to_the_bond() -> None:
    d = make_deployment(4, bond_wei=CREDIT_ORDERS * ORDER_CHARGE_WEI)
    cluster = Cluster(d)
    for node in range(4):
        for _ in range(CREDIT_ORDERS + 1):
            submit(cluster, node, d.order(d.traders[0], cluster.now_ms))
    cluster.run(10_000)
    codes = [one.code for one in answers(cluster)]
    assert codes.count("credit.exhausted") >= 4
    for node in range(4):
        assert len(sequenced(cluster, node)) == CREDIT_ORDERS
        assert cluster.cores[node].pool.charged_wei == {d.traders[0].address: CREDIT_ORDERS * ORDER_CHARGE_WEI}
    assert evidence_left(cluster) == set()


def test_an_accomplice_cannot_fill_pools_with_orders_nobody_pays_for() -> None:
    d = make_deployment(4, bond_wei=0)
    cluster = Cluster(d)
    liar = 3
    orders = {e.order_id(): e for e in (d.order(d.traders[i % 4], cluster.now_ms) for i in range(40))}

    def serve(sender: int, receiver: int, message: object) -> object:
        if receiver == liar and isinstance(message, FetchBodies):
            held = tuple(orders[i] for i in message.ids if i in orders)
            if held:
                cluster.at(cluster.now_ms + 1, sender, FromPeer(liar, Bodies(held)))
        return None if sender == liar else message

    cluster.network.tamper = serve
    one = make_list(d, liar, 1, ZERO_HASH, tuple(orders))
    for node in range(3):
        cluster.at(cluster.now_ms, node, FromPeer(liar, ListMessage(one)))
        cluster.at(cluster.now_ms, node, FromPeer(liar, HeadMessage(make_head(d, liar, 1, cluster.now_ms, one))))
    cluster.run(15_000)
    for node in range(3):
        core = cluster.cores[node]
        assert len(core.pool) == core.pool.pending == 0
        assert not core.chain.final_state.queue
        assert core.own_lists.number == 0, "an honest member's word is not given for an unpaid order"
        assert not core.fetcher.wants_body(*orders), "and it stops asking"
    assert evidence_left(cluster) == set()
