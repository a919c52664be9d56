"""Attack: seal honestly what is no order: a length prefix beyond the plaintext, padding that is not zero, or bytes that
are no action, so that members disagree about what they opened, or one holds up the batch.

The opening passes, and an opening that passes is final whatever the shares were: every member, and everybody with the
log, sees the same bytes and gives the same verdict. The order touches nothing, those beside it trade.

Evidence: none: to seal nonsense is a trader's loss, not a member's offence; the log holds the opening that proves it.
"""

from __future__ import annotations

import pytest
import reference as ref
from core_kit import all_sequenced, check_safety, results, submit
from evidence_kit import evidence_left, outcomes

from mpc_sequencer.audit.verify import Audit
from mpc_sequencer.core.actions import BUY, SELL
from mpc_sequencer.core.codec import decode, encode
from mpc_sequencer.core.messages import BundleMessage
from mpc_sequencer.core.transcript import LogEntry, OpenedEntry, UnopenableEntry
from mpc_sequencer.core.types import Envelope
from mpc_sequencer.sim import Cluster, Deployment, make_deployment
from mpc_sequencer.sim.deployment import SIZE_BUCKET
from threshold import verify_opening

PADDED = {
    "length beyond the plaintext": ((SIZE_BUCKET - 3).to_bytes(4, "big") + bytes(SIZE_BUCKET - 4), "malformed"),
    "length of all ones": (b"\xff" * SIZE_BUCKET, "malformed"),
    "last byte of the padding": (ref.pad(b"sell 5", SIZE_BUCKET)[:-1] + b"\x01", "malformed"),
    "first byte of the padding": ((1).to_bytes(4, "big") + b"x\x01" + bytes(SIZE_BUCKET - 6), "malformed"),
    "no action": (ref.pad(b"sell 5", SIZE_BUCKET), "plaintext"),
    "nothing at all": (bytes(SIZE_BUCKET), "plaintext"),
}


def sealed(d: Deployment, now_ms: int, padded: bytes) -> Envelope:
    """``padded`` sealed as the protocol says, without a look at what it is."""
    label = d.label(d.traders[3].address, now_ms).encode()
    ciphertext = ref.seal_padded(d.committee.genesis.public_key, label, padded, b"\x17" * 32)
    return d.sponsored(d.traders[3], label, ciphertext)


@pytest.mark.parametrize("name", PADDED)
def test_every_member_and_the_auditor_give_one_verdict_and_the_rest_trades(name: str) -> None:
    padded, code = PADDED[name]
    d = make_deployment(4)
    cluster = Cluster(d)
    bad = sealed(d, cluster.now_ms, padded)
    sell, buy = (d.order(d.traders[i], cluster.now_ms, side=(SELL, BUY)[i]) for i in (0, 1))
    submit(cluster, 0, sell, bad, buy)
    ids = {one.order_id() for one in (bad, sell, buy)}
    assert cluster.run(5_000, until=all_sequenced(ids, set(range(4))))
    cluster.run(2_000)
    check_safety(cluster)
    for node, log in enumerate(cluster.logs):
        opened = [one.opened for one in log if isinstance(one, OpenedEntry)]
        shown = next(one for one in opened if one.order_id == bad.order_id())
        assert shown.padded == padded, "what was sealed, bit for bit"
        key = d.committee.sealing_key
        assert verify_opening(key, bad.label, bad.ciphertext, shown.sigma, shown.padded), "anybody can tell"
        assert not [one for one in log if isinstance(one, UnopenableEntry)]
        assert cluster.cores[node].reveal.malformed == (1 if code == "malformed" else 0)
        assert results(cluster, node) == results(cluster, 0) != {}
        audit = Audit(d.committee)
        for entry in log:
            audit.add(decode(LogEntry, encode(entry)))
        audit.finish()
        assert audit.recorder.findings == [] and audit.results.results == results(cluster, node)
    told = outcomes(cluster)
    assert told[bad.order_id()] == {code}
    assert told[sell.order_id()] == told[buy.order_id()] == {"filled"}
    assert cluster.faults == []
    assert evidence_left(cluster) == set()


def test_a_verdict_does_not_hang_on_whose_shares_opened_it() -> None:
    """One member withholds its bundles from each of the others in turn: all open with other shares, and say the
    same."""
    d = make_deployment(4)
    cluster = Cluster(d)
    cluster.network.tamper = lambda sender, receiver, message: (
        None if isinstance(message, BundleMessage) and (sender + 1) % 4 == receiver else message
    )
    bad = sealed(d, cluster.now_ms, b"\xff" * SIZE_BUCKET)
    submit(cluster, 0, bad)
    cluster.run(3_000)
    shown = [[one.opened for one in log if isinstance(one, OpenedEntry)] for log in cluster.logs]
    assert shown[0] and all(one == shown[0] for one in shown)
    assert outcomes(cluster) == {bad.order_id(): {"malformed"}}
    assert len({frozenset(results(cluster, node).items()) for node in range(4)}) == 1 and results(cluster, 0)
    assert evidence_left(cluster) == set()
