"""Attack: a sponsor seals a plaintext in a victim's name to use up the nonce of the victim's real order.

A nonce is touched only by a plaintext the account signed for the very label it was sealed under; any other
leaves the victim's nonces, balances and root as they were, and the real order in the same batch trades.

Evidence: none: a sponsor seals it and no member signs it; the log opens it for everybody, with its outcome
(`signature`, `label`, `plaintext`, `malformed`).
"""

from __future__ import annotations

import pytest
from core_kit import all_sequenced, submit
from evidence_kit import evidence_left, outcomes
from msgspec.structs import replace

from mpc_sequencer.core import domains
from mpc_sequencer.core.actions import Order, label_hash
from mpc_sequencer.core.codec import encode
from mpc_sequencer.market import BatchOrder
from mpc_sequencer.sim import Cluster, make_deployment
from tests.market import desk

ATTACKERS_LABEL = b"\x02" + bytes(100)
REAL = desk.buy(0, 1, 10, 2)
SIGNED = desk.plaintext(0, REAL)


def coins_that_draw(first: bytes, then: bytes) -> list[bytes]:
    """Two coins: one draws ``first`` earlier, one later, so that the outcome cannot rest on luck."""
    found: dict[bool, bytes] = {}
    for i in range(256):
        coin = desk.order_id(("coin", i))
        found.setdefault(domains.DRAW(coin, first) < domains.DRAW(coin, then), coin)
        if len(found) == 2:
            return list(found.values())
    raise AssertionError("no such coins")


def under_the_victims_signature(action: Order) -> bytes:
    """A plaintext of ``action`` with the signature the victim made for the real one."""
    return SIGNED[:2] + encode(action) + SIGNED[-67:]


FORGERIES = {
    "signed by the attacker": (desk.LABEL, desk.plaintext(1, REAL), "signature"),
    "other terms": (desk.LABEL, under_the_victims_signature(replace(REAL, price_ticks=11)), "signature"),
    "the attacker's label": (ATTACKERS_LABEL, SIGNED, "label"),
    "relabelled by the attacker": (
        ATTACKERS_LABEL,
        under_the_victims_signature(replace(REAL, label_hash=label_hash(ATTACKERS_LABEL))),
        "signature",
    ),
    "signed for another deployment": (desk.LABEL, desk.plaintext(0, REAL, separator=bytes(32)), "signature"),
    "cut short": (desk.LABEL, SIGNED[:-1], "plaintext"),
    "not opened at all": (desk.LABEL, None, "malformed"),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_plaintext_cannot_burn_a_victims_nonce(name):
    label, forged, code = FORGERIES[name]
    forgery = BatchOrder(desk.order_id("forgery"), label, forged)
    real = desk.sealed("real", 0, REAL)
    for coin in coins_that_draw(forgery.order_id, real.order_id):
        made = desk.engine()
        result = made.execute(1, desk.TIME_MS, coin, [made.prepare(forgery), made.prepare(real)])
        codes = desk.codes(result)
        assert codes == {forgery.order_id: code, real.order_id: "resting"}
        alone = desk.engine()
        assert alone.execute(1, desk.TIME_MS, coin, [alone.prepare(real)]).state_root == result.state_root
        assert made.nonce_state(desk.ACCOUNTS[0]) == (1, 1)


def test_in_a_committee_the_forgery_is_batched_and_the_victims_order_trades():
    d = make_deployment(4)
    cluster = Cluster(d)
    victim, attacker = d.traders[:2]
    label = d.label(attacker.address, cluster.now_ms)
    nonce = victim.nonce
    action = d.limit_order(victim, label)
    forgery = d.envelope(attacker, label, d.plaintext(attacker, action))
    victim.nonce = nonce
    real = d.order(victim, cluster.now_ms)
    submit(cluster, 0, forgery)
    assert cluster.run(5_000, until=all_sequenced({forgery.order_id()}, set(range(4))))
    submit(cluster, 1, real)
    assert cluster.run(5_000, until=all_sequenced({real.order_id()}, set(range(4))))
    cluster.run(2_000)
    assert outcomes(cluster) == {forgery.order_id(): {"signature"}, real.order_id(): {"resting"}}
    assert cluster.faults == []
    assert evidence_left(cluster) == set()
