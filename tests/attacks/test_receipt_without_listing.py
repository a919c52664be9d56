"""Attack: a member gives a receipt and leaves the order out of the list it named.

Receipt and list are both signed by it: together they convict it, and an audit of its own log finds it. The order is
lost only at that member; sent to one honest member more, it is final.

Evidence: `broken-receipt`: the receipt and the list.
"""

from core_kit import all_sequenced, answers, make_list, refused, submit

from mpc_sequencer.audit.receipts import Receipts
from mpc_sequencer.audit.report import Recorder
from mpc_sequencer.audit.signatures import Signatures
from mpc_sequencer.core.evidence import verify
from mpc_sequencer.core.messages import Bodies, ListMessage, PeerMessage
from mpc_sequencer.core.offences import BrokenReceipt
from mpc_sequencer.core.types import ZERO_HASH
from mpc_sequencer.sim import Cluster, make_deployment

LIAR = 3


def test_receipt_and_list_together_convict() -> None:
    d = make_deployment(4)
    cluster = Cluster(d)
    cluster.network.tamper = lambda sender, _, message: None if sender == LIAR else message
    submit(cluster, LIAR, d.order(d.traders[0], cluster.now_ms))
    cluster.run(10)
    receipt = answers(cluster)[0].receipt
    assert receipt is not None
    d.committee.check_value(receipt)
    for entries, broken in (((receipt.order_id,), False), ((b"\x01" * 32,), True)):
        one = make_list(d, LIAR, receipt.list_number, ZERO_HASH, entries)
        d.committee.check_value(one)
        recorder = Recorder()
        audited = Receipts(d.committee, Signatures(d.committee), recorder, LIAR)
        audited.add_list(one)
        audited.add(receipt)
        assert audited.finish(0, receipt.list_number) == 0
        codes = [finding.code for finding in recorder.findings]
        assert codes == (["receipt.broken"] if broken else [])
        if broken:
            verdict = verify(BrokenReceipt(receipt, one), d.committee)
            assert (verdict.node, verdict.kind) == (LIAR, "broken-receipt")
        else:
            with refused("evidence.legal"):
                verify(BrokenReceipt(receipt, one), d.committee)


def test_the_order_is_final_through_one_honest_member() -> None:
    d = make_deployment(4)
    cluster = Cluster(d)

    def hide(sender: int, _receiver: int, message: PeerMessage) -> PeerMessage | None:
        return None if sender == LIAR and isinstance(message, ListMessage | Bodies) else message

    cluster.network.tamper = hide
    order = d.order(d.traders[0], cluster.now_ms)
    submit(cluster, LIAR, order)
    cluster.run(3_000)
    assert not any(order.order_id() in cluster.cores[node].pool for node in range(3))
    submit(cluster, 1, order)
    assert cluster.run(5_000, until=all_sequenced({order.order_id()}, {0, 1, 2}))
