"""Attack: a member gives a receipt and leaves the order out of the list it named.

Receipt and list are both signed by it: together they convict it, and an audit of its own log finds it. The order is
lost only at that member; sent to one honest member more, it is final.

Evidence: `broken-receipt`: the receipt and the list.
"""

import msgspec
from core_kit import all_sequenced, answers, make_list, refused, sign, submit
from evidence_kit import evidence_left, from_member

from mpc_sequencer.audit.epochs import Epochs
from mpc_sequencer.audit.receipts import Receipts
from mpc_sequencer.audit.report import Recorder
from mpc_sequencer.core.evidence import verify
from mpc_sequencer.core.messages import Bodies, HeadMessage, ListMessage, PeerMessage, Proposal, VoteMessage
from mpc_sequencer.core.offences import BrokenReceipt
from mpc_sequencer.core.transcript import ListEntry
from mpc_sequencer.core.types import ZERO_HASH, OrderList
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
        audited = Receipts(Epochs(d.committee), recorder, d.committee.genesis.members[LIAR].log_key)
        audited.add_list(one)
        audited.add(receipt)
        audited.end_epoch(0, receipt.list_number)
        assert audited.finish() == 0
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
    assert evidence_left(cluster) == set(), "to keep a list back may be the network's doing"


def test_the_trader_finds_the_list_in_any_members_log_and_holds_the_evidence() -> None:
    d = make_deployment(4)
    cluster = Cluster(d)
    shown: dict[int, OrderList] = {}

    def without_the_order(_receiver: int, message: PeerMessage) -> PeerMessage | None:
        if isinstance(message, ListMessage) and message.order_list.node == LIAR:
            one = message.order_list
            prev_hash = shown[one.number - 1].struct_hash() if one.number > 1 else ZERO_HASH
            shown.setdefault(one.number, make_list(d, LIAR, one.number, prev_hash, (one.entries[0][::-1],)))
            return ListMessage(shown[one.number])
        if isinstance(message, HeadMessage) and message.head.node == LIAR and message.head.list_number:
            list_hash = shown[message.head.list_number].struct_hash()
            return HeadMessage(sign(d, LIAR, msgspec.structs.replace(message.head, list_hash=list_hash)))
        return None if isinstance(message, Proposal | VoteMessage) else message

    cluster.network.tamper = from_member(LIAR, without_the_order)
    dropped = d.order(d.traders[0], cluster.now_ms)
    submit(cluster, LIAR, dropped)
    cluster.run(100)
    receipt = answers(cluster)[0].receipt
    assert receipt is not None
    other = d.order(d.traders[1], cluster.now_ms)
    submit(cluster, 0, other)
    assert cluster.run(10_000, until=all_sequenced({other.order_id()}, {0, 1, 2}))
    cluster.run(8_000)
    held = [one.order_list for one in cluster.logs[0] if isinstance(one, ListEntry) and one.order_list.node == LIAR]
    named = next(one for one in held if one.number == receipt.list_number)
    verdict = verify(BrokenReceipt(receipt, named), d.committee)
    assert (verdict.node, verdict.kind) == (LIAR, "broken-receipt")
    assert evidence_left(cluster) == set(), "members do not see each other's receipts"
