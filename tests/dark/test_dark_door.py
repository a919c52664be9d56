"""A party's door for its bundles: what it takes, how much it holds, and what it shows."""

from __future__ import annotations

import pickle

import pytest
from dark_kit import BATCH, NOW_MS, committee, order, refused, secret, small_params, terms, trader
from dark_log import (
    COLUMNS,
    COMPLAINTS,
    CONTEXT,
    OPENINGS,
    ORDERS,
    C,
    Log,
    ids,
    missealed_for,
)
from msgspec.structs import replace

from mpc_sequencer.core.codec import decode
from mpc_sequencer.dark.bundles import seal_bundles, unseal
from mpc_sequencer.dark.field import from_bytes
from mpc_sequencer.dark.inputs import BAD, MISSING, Delivery, OpenedBundle, ShareBundle
from mpc_sequencer.dark.intake import (
    DELIVERIES_AHEAD_FACTOR,
    DELIVERIES_AHEAD_PER_TRADER_MAX,
    Fixed,
    Intake,
    LogItem,
    Phase,
    fixed_orders,
)


# --- the door -------------------------------------------------------------------------------------------------------
def test_what_the_trader_did_not_sign_for_has_not_come() -> None:
    """Whoever passes bundles on can garble them: that is a bundle missing, never a bad one, and the true one serves."""
    one, door = order(CONTEXT), Log().doors[2]
    sealed, foreign = one.deliveries[2].sealed, order(CONTEXT, number=1).order.signature
    for code, bad in (
        ("dark.leaf", replace(one.deliveries[2], sealed=sealed[:-1] + b"\x00")),
        ("dark.party", one.deliveries[1]),
        ("dark.leaf", replace(one.deliveries[1], party=2)),
        ("signature.signer", replace(one.deliveries[2], order=replace(one.order, signature=foreign))),
    ):
        with refused(code):
            door.deliver(bad)
    assert door.bad == {}
    door.logged(ORDERS, one.order)
    assert [said.kind for said in door.complaints()] == [MISSING]
    door.deliver(one.deliveries[2])
    assert door.complaints() == ()
    with refused("dark.delivered"):
        door.deliver(one.deliveries[2])


def test_a_copied_bundle_leads_to_a_complaint_against_the_copier() -> None:
    victim, log = order(CONTEXT), Log()
    plaintexts = tuple(unseal(C.secrets[party], victim.deliveries[party].sealed) for party in range(5))
    copied = seal_bundles(CONTEXT, trader(1), terms(CONTEXT, 1), plaintexts, secret("thief"))
    log.put(ORDERS, victim.order, copied.order)
    log.deliver(victim)
    for party in range(5):
        with refused("dark.trader"):
            log.doors[party].deliver(copied.deliveries[party])
    log.acknowledge()
    said = log.complain(COMPLAINTS)
    assert {(one.order_id, one.kind) for one in said} == {(ids(copied)[0], BAD)} and len(said) == 5
    fixed = log.fixed()
    assert fixed.order_ids == ids(victim) and fixed.refused == ((ids(copied)[0], "dark.complaints"),)


def test_a_bundle_for_another_batch_is_refused_at_the_door() -> None:
    other = committee(batch=BATCH + 1)
    with refused("dark.batch"):
        Log().doors[0].deliver(order(other.context).deliveries[0])


def test_the_door_holds_so_much_ahead_of_the_log_and_no_more() -> None:
    of = committee(orders_max=8)
    door = Log(of).doors[0]
    of_one = [order(of.context, nonce=nonce) for nonce in range(DELIVERIES_AHEAD_PER_TRADER_MAX + 1)]
    for one in of_one[:-1]:
        door.deliver(one.deliveries[0])
    with refused("dark.trader_full"):
        door.deliver(of_one[-1].deliveries[0])
    most = DELIVERIES_AHEAD_FACTOR * 8
    others = [order(of.context, number=number) for number in range(1, most - len(of_one) + 3)]
    for one in others[:-1]:
        door.deliver(one.deliveries[0])
    with refused("dark.full"):
        door.deliver(others[-1].deliveries[0])
    door.logged(ORDERS, of_one[0].order)
    door.deliver(of_one[-1].deliveries[0])
    assert others[-1].order.order_id() not in door.log.standings
    door.logged(ORDERS, others[-1].order)  # what the log has is taken however full the door is
    door.deliver(others[-1].deliveries[0])


def test_a_party_takes_its_own_opened_bundle_from_the_log() -> None:
    log, one = Log(), missealed_for(order(CONTEXT), 0)
    log.put(ORDERS, one.order)
    with refused("dark.sealing"):
        log.doors[0].deliver(one.deliveries[0])
    said = log.complain(COMPLAINTS, [0])
    with refused("dark.absent"):
        log.doors[0].rows(ids(one))
    log.put(OPENINGS, *(one.answer(each) for each in said))
    taken = log.doors[0].rows(ids(one))
    opened = log.items[-1][1]
    assert isinstance(opened, OpenedBundle)
    shares = decode(ShareBundle, opened.plaintext).shares
    assert taken.take(2)[0] == from_bytes(shares, COLUMNS)[2]


def test_a_door_shows_and_pickles_nothing_and_is_its_own_party_s() -> None:
    door = Log().doors[0]
    door.deliver(order(CONTEXT).deliveries[0])
    assert repr(door) == "Intake(batch=17, party=0, orders=1)"
    with pytest.raises(TypeError):
        pickle.dumps(door)
    with pytest.raises(ValueError, match="not party 1"):
        Intake(CONTEXT, 1, C.secrets[1], C.signers[0])


def test_a_demonstration_committee_has_the_same_door() -> None:
    of = committee(small_params(parties=4))
    one = order(of.context)
    doors = [Intake(of.context, party, of.secrets[party], of.signers[party]) for party in range(4)]
    items: list[tuple[Phase, LogItem]] = [(ORDERS, one.order)]
    for party, door in enumerate(doors):
        door.logged(ORDERS, one.order)
        door.deliver(one.deliveries[party])
        said = door.acknowledge()
        assert said is not None
        items.append((ORDERS, said))
    assert fixed_orders(of.context, items, NOW_MS) == Fixed(ids(one), frozenset(), (), ())
    assert isinstance(one.deliveries[0], Delivery)
