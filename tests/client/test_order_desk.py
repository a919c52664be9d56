"""One wish, one nonce: an order is sent again without ever executing twice, and its end is known by its own name."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from mpc_sequencer.client import OrderTracker, build, limit_terms
from mpc_sequencer.client.build import SealedOrder
from mpc_sequencer.client.desk import OrderDesk
from mpc_sequencer.core.actions import BUY, Action, label_hash
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.messages import ExecutedRow
from mpc_sequencer.core.signing import Signer

NOW_MS = 1_700_000_000_000
LIFE_MS = 60_000
TERMS = limit_terms(0, BUY, 618_000, 5)


def row(sealed: SealedOrder, code: str, lots: int, remaining: int, fee_units: int) -> ExecutedRow:
    notional, fee = (7 * lots).to_bytes(16, "big"), fee_units.to_bytes(16, "big")
    return ExecutedRow(sealed.order_id, code, lots, 7 if lots else 0, notional, fee, remaining)


class Trader:
    """Seals for one account, and hears what three members report alike."""

    def __init__(self, committee: Committee, signer: Signer) -> None:
        self.committee = committee
        self.signer = signer
        self.tracker = OrderTracker(1)
        self.desk = OrderDesk(signer.address, self.tracker)
        self._sigma = 0

    def seal(self, action: Action, now_ms: int) -> SealedOrder:
        self._sigma += 1
        label = build.make_label(self.committee, self.signer.address, (now_ms, now_ms + LIFE_MS))
        bound = replace(action, label_hash=label_hash(label.encode()))
        signed = build.sign_action(self.committee, bound, self.signer)
        return build.seal_order(self.committee, label, signed, self.signer, sigma=self._sigma.to_bytes(32, "big"))

    def order(self, nonce: int, client_id: int = 0, now_ms: int = NOW_MS) -> SealedOrder:
        return self.seal(TERMS.naming(client_id).order(self.signer.address, nonce, bytes(32)), now_ms)

    def place(self, sealed: SealedOrder) -> SealedOrder:
        self.desk.place(sealed)
        self.tracker.add(sealed.order_id, sealed.envelope, range(4), 0)
        return sealed

    def resealer(self, now_ms: int) -> Callable[[Action], SealedOrder]:
        return lambda action: self.seal(action, now_ms)

    def told(self, sealed: SealedOrder, code: str, lots: int = 0, remaining: int = 0, height: int = 4) -> None:
        for node in range(3):
            self.tracker.executed(node, height, [row(sealed, code, lots, remaining, 2)], 1)

    def updated(self, sealed: SealedOrder, code: str, lots: int, remaining: int, height: int) -> None:
        for node in range(3):
            self.tracker.filled(node, height, [row(sealed, code, lots, remaining, 1)])


@pytest.fixture
def desk_of(committee: Committee, trader: Signer) -> Trader:
    return Trader(committee, trader)


def refused(code: str, call: Callable[[], object]) -> None:
    with pytest.raises(ProtocolError) as caught:
        call()
    assert caught.value.code == code


def test_an_order_is_sent_again_in_its_own_envelope_while_that_is_valid(desk_of: Trader) -> None:
    sealed = desk_of.place(desk_of.order(1, 9))
    resealed = desk_of.resealer(NOW_MS)
    assert desk_of.desk.again(1, NOW_MS + LIFE_MS - 1, resealed) is sealed


def test_a_new_envelope_has_the_same_nonce_and_client_id_and_the_one_that_executed_counts(desk_of: Trader) -> None:
    first = desk_of.place(desk_of.order(1, 9))
    later_ms = NOW_MS + LIFE_MS
    second = desk_of.desk.again(1, later_ms, desk_of.resealer(later_ms))
    desk_of.tracker.add(second.order_id, second.envelope, range(4), 0)
    assert second.order_id != first.order_id
    assert (second.signed.action.nonce, second.signed.action.client_id) == (1, 9)  # type: ignore[union-attr]
    desk_of.told(second, "nonce_consumed")
    assert desk_of.desk.view(1).code is None, "it says that the other one came"
    desk_of.told(first, "resting", remaining=5)
    view = desk_of.desk.named(9)
    assert (view.order_id, view.code, view.open_lots, view.end) == (first.order_id, "resting", 5, None)
    refused("order.ended", lambda: desk_of.desk.again(1, later_ms, desk_of.resealer(later_ms)))


def test_another_nonce_or_other_terms_are_no_resending(desk_of: Trader) -> None:
    desk_of.place(desk_of.order(1, 9))
    later_ms = NOW_MS + LIFE_MS
    for change in ({"nonce": 2}, {"quantity_lots": 6}, {"client_id": 8}):
        refused(
            "order.resealed",
            lambda change=change: desk_of.desk.again(
                1, later_ms, lambda action: desk_of.seal(replace(action, **change), later_ms)
            ),
        )
    assert len(desk_of.desk._by_nonce[1].sealed) == 1


def test_names_are_used_once(desk_of: Trader) -> None:
    first = desk_of.place(desk_of.order(1, 9))
    assert desk_of.desk.place(first).nonce == 1
    refused("order.nonce", lambda: desk_of.desk.place(desk_of.order(1, 10, NOW_MS + 1)))
    refused("order.client_id", lambda: desk_of.desk.place(desk_of.order(2, 9)))
    refused("order.unknown", lambda: desk_of.desk.view(2))
    refused("order.unknown", lambda: desk_of.desk.named(10))
    assert desk_of.desk.next_nonce() == 2 and desk_of.desk.next_nonce(40) == 41
    stranger = OrderDesk(bytes(20), desk_of.tracker)
    refused("order.account", lambda: stranger.place(first))


def test_fills_of_later_heights_and_the_end_are_followed(desk_of: Trader) -> None:
    sealed = desk_of.place(desk_of.order(3, 5))
    assert [view.nonce for view in desk_of.desk.unsettled()] == [3]
    desk_of.told(sealed, "partly_filled", 1, 4)
    desk_of.updated(sealed, "partly_filled", 2, 2, 6)
    (view,) = desk_of.desk.open()
    assert (view.filled_lots, view.open_lots, view.fee_units, view.notional_tick_lots) == (3, 2, 3, 21)
    refused("order.unended", lambda: desk_of.desk.forget(3))
    desk_of.updated(sealed, "expired", 0, 0, 9)
    view = desk_of.desk.view(3)
    assert (view.end, view.open, view.filled_lots) == ("expired", False, 3)
    assert desk_of.desk.open() == [] and sealed.order_id not in desk_of.tracker.open
    desk_of.desk.forget(3)
    assert list(desk_of.desk) == [] and sealed.order_id not in desk_of.tracker.orders


def test_updates_that_come_before_the_outcome_are_in_their_place(desk_of: Trader) -> None:
    sealed = desk_of.place(desk_of.order(3))
    desk_of.updated(sealed, "filled", 3, 0, 9)
    desk_of.updated(sealed, "partly_filled", 2, 3, 6)
    desk_of.told(sealed, "resting", remaining=5)
    view = desk_of.desk.view(3)
    assert (view.code, view.filled_lots, view.end) == ("resting", 5, "filled")
    assert sealed.order_id not in desk_of.tracker.open


def test_an_envelope_that_did_not_open_is_made_anew(desk_of: Trader) -> None:
    sealed = desk_of.place(desk_of.order(1))
    desk_of.told(sealed, "malformed")
    assert desk_of.desk.view(1).code is None
    made = desk_of.desk.again(1, NOW_MS + 1, desk_of.resealer(NOW_MS + 1))
    assert made.order_id != sealed.order_id


@pytest.mark.parametrize("first_code", ["nonce_consumed", "malformed"])
def test_a_nonce_that_another_program_used_ends_the_wish_and_nothing_more_is_paid_for_it(
    desk_of: Trader, first_code: str
) -> None:
    first = desk_of.place(desk_of.order(1, 9))
    later_ms = NOW_MS + LIFE_MS
    second = desk_of.desk.again(1, later_ms, desk_of.resealer(later_ms))
    desk_of.tracker.add(second.order_id, second.envelope, range(4), 0)
    desk_of.told(second, "nonce_consumed")
    assert [one.nonce for one in desk_of.desk.unsettled()] == [1]
    refused("order.ended", lambda: desk_of.desk.again(1, later_ms, desk_of.resealer(later_ms)))
    desk_of.told(first, first_code)
    view = desk_of.desk.view(1)
    assert (view.order_id, view.code, view.end) == (second.order_id, "nonce_consumed", "nonce_consumed")
    assert desk_of.desk.unsettled() == []


def test_a_forgotten_wish_leaves_its_nonce_used(desk_of: Trader) -> None:
    desk_of.told(desk_of.place(desk_of.order(7)), "filled", lots=5)
    desk_of.desk.forget(7)
    assert desk_of.desk.next_nonce() == 8
