"""Orders that expired long ago: a block may still lift one, and a new epoch's members list none."""

from __future__ import annotations

from mpc_sequencer.core.pool import KEEP_AFTER_EXPIRY_MS
from mpc_sequencer.core.types import Envelope
from mpc_sequencer.sim import Cluster, Deployment, make_deployment

LIFE_MS = 100


def short_lived(d: Deployment, now_ms: int) -> Envelope:
    trader = d.traders[0]
    label = d.label(trader.address, now_ms, life_ms=LIFE_MS)
    return d.envelope(trader, label, d.plaintext(trader, d.limit_order(trader, label)))


def test_a_body_that_a_block_waits_for_stays_until_the_block_is_looked_at() -> None:
    d = make_deployment(4)
    core = Cluster(d).cores[0]
    envelope = short_lived(d, core.now_ms)
    late_ms = core.now_ms + LIFE_MS + 2 * KEEP_AFTER_EXPIRY_MS
    core.pool.fetched(envelope, late_ms, needed=True)
    core.pool.expire(late_ms, 0, 0)
    assert envelope.order_id() in core.pool
    core.pool.expire(late_ms + 2 * KEEP_AFTER_EXPIRY_MS, 0, 0)
    assert envelope.order_id() not in core.pool, "it is not kept for ever"


def test_a_new_epochs_member_lists_no_order_that_has_expired() -> None:
    d = make_deployment(4)
    core = Cluster(d).cores[0]
    expired, pending = short_lived(d, core.now_ms), d.order(d.traders[0], core.now_ms)
    for envelope in (expired, pending):
        core.pool.fetched(envelope, core.now_ms, needed=True)
    core.now_ms += LIFE_MS
    core.statements.relist([expired.order_id(), pending.order_id()])
    listed = [core.pool.get(one.order_id()).list_number for one in (expired, pending)]  # type: ignore[union-attr]
    assert listed == [0, core.own_lists.number + 1]
