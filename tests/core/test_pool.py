"""Intake: bounds, credit, duplicates, expiry, and what agreement needs being held whatever the bounds say."""

from collections.abc import Callable

import pytest
from core_kit import picture, refused, variant

from mpc_sequencer.core import limits
from mpc_sequencer.core.limits import ORDER_CHARGE_WEI
from mpc_sequencer.core.pool import KEEP_AFTER_EXPIRY_MS, VARIANTS_MAX, Pool
from mpc_sequencer.core.types import Envelope
from mpc_sequencer.sim import make_deployment
from mpc_sequencer.sim.deployment import START_MS

D = make_deployment(4)
NOW = START_MS


def pool(orders: int = 100) -> Pool:
    return Pool(D.committee, {trader.address: orders * ORDER_CHARGE_WEI for trader in D.traders})


def order(trader: int = 0, life_ms: int = 60_000, now_ms: int = NOW) -> Envelope:
    label = D.label(D.traders[trader].address, now_ms, life_ms=life_ms)
    return D.envelope(D.traders[trader], label, b"anything")


def refuses(held: Pool, act: Callable[[], object], code: str) -> None:
    before = picture(held)  # type: ignore[arg-type]
    with refused(code):
        act()
    assert picture(held) == before, "a refusal changes nothing"  # type: ignore[arg-type]


def test_an_admitted_order_is_found_by_id_and_by_variant() -> None:
    held, envelope = pool(), order()
    held.admit(envelope, NOW)
    assert held.find(envelope.order_id()) == held.find(envelope.envelope_hash()) == envelope
    assert (held.pending, len(held)) == (1, 1)


def test_bounds_of_the_door(monkeypatch: pytest.MonkeyPatch) -> None:
    held = pool()
    held.admit(order(0), NOW)
    monkeypatch.setattr(limits, "PENDING_ORDERS_PER_SPONSOR_MAX", 1)
    refuses(held, lambda: held.admit(order(0), NOW), "intake.sponsor_full")
    held.admit(order(1), NOW)
    monkeypatch.setattr(limits, "PENDING_ORDERS_MAX", 2)
    refuses(held, lambda: held.admit(order(2), NOW), "intake.full")


def test_credit_counts_what_is_pending_and_what_was_charged() -> None:
    held, first, second = pool(2), order(), order()
    held.admit(first, NOW)
    held.admit(second, NOW)
    refuses(held, lambda: held.admit(order(), NOW), "credit.exhausted")
    held.sequence(first.order_id(), 1)
    held.sequence(second.order_id(), 1)
    held.sequence(second.order_id(), 1)
    assert held.pending == 0
    assert held.charged_wei == {D.traders[0].address: 2 * ORDER_CHARGE_WEI}
    refuses(held, lambda: held.admit(order(), NOW), "credit.exhausted")
    held.admit(order(1), NOW)


def test_a_sponsor_without_a_bond_has_no_credit() -> None:
    refuses(pool(0), lambda: pool(0).admit(order(), NOW), "credit.exhausted")


@pytest.mark.parametrize("needed", [False, True])
def test_a_listed_body_passes_the_door_and_a_needed_one_need_not(needed: bool) -> None:
    late, far = order(life_ms=10), order(now_ms=NOW + 10**9)
    unpaid = pool(0)
    if needed:
        assert unpaid.fetched(late, NOW + 50, needed=True)
        assert unpaid.fetched(far, NOW, needed=True)
        return
    refuses(unpaid, lambda: unpaid.fetched(order(), NOW), "credit.exhausted")
    refuses(unpaid, lambda: unpaid.fetched(late, NOW + 50), "label.expired")
    refuses(unpaid, lambda: unpaid.fetched(far, NOW), "label.not_yet_valid")


def test_what_other_doors_may_have_let_in_is_held_and_no_more() -> None:
    held = pool(1)
    for _ in range(D.committee.n):
        held.fetched(order(), NOW)
    refuses(held, lambda: held.fetched(order(), NOW), "credit.exhausted")


def test_variants_are_bounded_but_for_a_needed_one() -> None:
    held, envelope = pool(), order()
    pooled = held.admit(envelope, NOW)
    for nonce in range(2, 10):
        held.fetched(variant(D, 0, envelope, nonce), NOW)
    assert len(pooled.variants) == VARIANTS_MAX
    named = variant(D, 0, envelope, 99)
    held.fetched(named, NOW, needed=True)
    assert held.variant(envelope.order_id(), named.envelope_hash()) == named
    assert pooled.first_variant() == envelope.envelope_hash()
    stolen = D.sponsored(D.traders[1], envelope.label, envelope.ciphertext)
    refuses(held, lambda: held.fetched(stolen, NOW, needed=True), "sponsor.signature")


def test_an_expired_order_is_pending_no_more_and_later_forgotten() -> None:
    held, envelope = pool(), order(life_ms=100)
    held.admit(envelope, NOW)
    held.expire(NOW + 99, 0, 0)
    assert held.pending == 1
    held.expire(NOW + 100, 0, 0)
    assert (held.pending, len(held)) == (0, 1)
    held.expire(NOW + 100 + KEEP_AFTER_EXPIRY_MS, 0, 0)
    assert len(held) == 0
    assert held.find(envelope.envelope_hash()) is None


def test_a_sequenced_order_stays_until_it_is_executed() -> None:
    held, envelope = pool(), order(life_ms=100)
    held.admit(envelope, NOW)
    held.sequence(envelope.order_id(), 7)
    for turn in range(1, 5):
        held.expire(NOW + turn * 10 * KEEP_AFTER_EXPIRY_MS, 6, 0)
        assert envelope.order_id() in held
    held.expire(NOW + 60 * KEEP_AFTER_EXPIRY_MS, 7, 0)
    assert envelope.order_id() not in held


def test_an_order_of_an_unfinished_block_outlives_its_expiry() -> None:
    """Else a block that becomes final late finds its batch gone."""
    held, envelope = pool(), order(life_ms=100)
    held.admit(envelope, NOW)
    held.pin([envelope.order_id(), b"\x00" * 32])
    for turn in range(1, 5):
        held.expire(NOW + turn * 10 * KEEP_AFTER_EXPIRY_MS, 0, 0)
        assert envelope.order_id() in held
    held.unpin([envelope.order_id()])
    held.expire(NOW + 60 * KEEP_AFTER_EXPIRY_MS, 0, 0)
    assert envelope.order_id() not in held
