"""An account's orders by the names that a trader knows them by: client order id and nonce.

The rule that makes sending again safe: **one wish, one nonce**. An account's nonce is used once, whatever arrives how
often and in which envelope; so an order that may or may not have arrived is sent again under the *same* nonce and
client id, in its first envelope while that is valid and in a new one after. One of them executes, the others end as
``nonce_consumed``. Sent under another nonce by mistake (another program, a lost file), the client id still stops it:
execution refuses an id that is open or among the account's last CLIENT_IDS_KEPT (``duplicate_client_id``).

The desk is pure. It reads what becomes of orders from an :class:`~mpc_sequencer.client.tracker.OrderTracker`, so it
believes what f+1 members report, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from msgspec.structs import replace

from mpc_sequencer.client.build import SealedOrder
from mpc_sequencer.client.tracker import OrderRecord, OrderTracker
from mpc_sequencer.core.actions import Action, Order, Replace
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.limits import NONCE_AHEAD_MAX

NONCE_CONSUMED: Final = "nonce_consumed"
NEVER_CAME: Final = frozenset({"malformed", "plaintext", "label", "signature"})
"""Outcomes of an envelope that touched no nonce."""

Reseal = Callable[[Action], SealedOrder]
"""Seals the same action again under a label that is valid now (its label hash is the new label's)."""


@dataclass(slots=True)
class Wish:
    """One action of the account, in all envelopes it was sent in."""

    nonce: int
    client_id: int
    action: Action
    sealed: list[SealedOrder] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class WishView:
    """What is known of a wish. ``state`` is that of :class:`~.tracker.OrderRecord`, of the envelope that counts;
    ``open_lots`` is None before there is an outcome; ``end`` is the code it ended with, None while it is open."""

    nonce: int
    client_id: int
    order_id: bytes
    state: str
    code: str | None
    filled_lots: int
    notional_tick_lots: int
    fee_units: int
    open_lots: int | None
    end: str | None

    @property
    def open(self) -> bool:
        """Whether it rests in the book, or waits for its trigger or its dark batch."""
        return self.code is not None and self.end is None


class OrderDesk:
    """The wishes of one account; ``tracker`` is the client's."""

    def __init__(self, account: bytes, tracker: OrderTracker) -> None:
        self._account = account
        self._tracker = tracker
        self._by_nonce: dict[int, Wish] = {}
        self._by_client_id: dict[int, Wish] = {}
        self._highest = 0
        """The highest nonce of all wishes, forgotten ones included."""

    def next_nonce(self, highest_used: int = 0) -> int:
        """A nonce that no wish here has or had, above ``highest_used`` (what the account's proof says)."""
        return max(highest_used, self._highest) + 1

    def place(self, sealed: SealedOrder) -> WishView:
        """Take a new wish, sealed, that is about to be submitted; one that is known already in this envelope stays.

        Refuses with ``order.nonce`` a nonce and with ``order.client_id`` a client id of another wish, with
        ``order.account`` another account's, ``nonce.too_high`` a nonce so far ahead that execution would refuse it.
        """
        action = sealed.signed.action
        if action.account != self._account:
            raise ProtocolError("order.account", "action.account", action.account, self._account.hex())
        known = self._by_nonce.get(action.nonce)
        if known is not None:
            if all(one.order_id != sealed.order_id for one in known.sealed):
                raise ProtocolError("order.nonce", "action.nonce", action.nonce, "a nonce of its own, or `again`")
            return self.view(action.nonce)
        lowest = min(self._by_nonce, default=action.nonce)
        if action.nonce > lowest + NONCE_AHEAD_MAX:
            raise ProtocolError("nonce.too_high", "action.nonce", action.nonce, f"at most {lowest + NONCE_AHEAD_MAX}")
        client_id = _client_id(action)
        if client_id and client_id in self._by_client_id:
            raise ProtocolError("order.client_id", "action.client_id", client_id, "an id of its own, or `again`")
        wish = self._by_nonce[action.nonce] = Wish(action.nonce, client_id, action, [sealed])
        self._highest = max(self._highest, action.nonce)
        if client_id:
            self._by_client_id[client_id] = wish
        return self.view(action.nonce)

    def again(self, nonce: int, now_ms: int, reseal: Reseal) -> SealedOrder:
        """What to submit to make sure that a wish arrives: its newest envelope while that is valid, or a new one with
        the same nonce and terms. Refuses with ``order.ended`` a wish whose outcome is known, or whose nonce is used: it
        needs no sending, and with ``order.resealed`` what ``reseal`` makes of it with another nonce or other terms."""
        wish = self._wish(nonce)
        view = self.view(nonce)
        if view.code is not None:
            raise ProtocolError("order.ended", "code", view.code, "an order without an outcome")
        if NONCE_CONSUMED in self._outcomes(wish):  # whatever is sent under it would end like that, and be charged
            raise ProtocolError("order.ended", "nonce", nonce, "a nonce that is not used yet: wait for the outcome")
        newest = wish.sealed[-1]
        record = self._tracker.orders.get(newest.order_id)
        dead = record is not None and record.executed is not None  # it was no valid envelope
        if not dead and newest.envelope.decoded_label().valid_until_ms > now_ms:
            return newest
        made = reseal(wish.action)
        if _same(made.signed.action) != _same(wish.action):
            raise ProtocolError("order.resealed", "action", "another action", f"the same as nonce {nonce}")
        wish.sealed.append(made)
        return made

    def view(self, nonce: int) -> WishView:
        """What is known of the wish of that nonce; refuses with ``order.unknown``."""
        wish = self._wish(nonce)
        records = [(one, self._tracker.orders.get(one.order_id)) for one in wish.sealed]
        told = [(one, record) for one, record in records if record is not None]
        order_id, record = wish.sealed[-1].order_id, None
        for one, found in sorted(told, key=lambda pair: _weight(pair[1])):  # of equal weight the newest
            order_id, record = one.order_id, found
        code = None if record is None else _code(record, another_may=len(self._outcomes(wish)) < len(wish.sealed))
        return WishView(
            nonce=nonce,
            client_id=wish.client_id,
            order_id=order_id,
            state="new" if record is None else record.state,
            code=code,
            filled_lots=0 if record is None else record.filled_lots,
            notional_tick_lots=0 if record is None else record.notional_tick_lots,
            fee_units=0 if record is None else record.fee_units,
            open_lots=None if record is None or code is None else record.open_lots,
            end=None if record is None or code is None else record.end,
        )

    def named(self, client_id: int) -> WishView:
        """As :meth:`view`, by client order id."""
        wish = self._by_client_id.get(client_id)
        if wish is None:
            raise ProtocolError("order.unknown", "client_id", client_id, "the id of an order placed here")
        return self.view(wish.nonce)

    def __iter__(self) -> Iterator[WishView]:
        return (self.view(nonce) for nonce in sorted(self._by_nonce))

    def open(self) -> list[WishView]:
        """Those that rest or wait, by nonce."""
        return [view for view in self if view.open]

    def unsettled(self) -> list[WishView]:
        """Those without an outcome, by nonce: candidates for :meth:`again`."""
        return [view for view in self if view.code is None]

    def forget(self, nonce: int) -> None:
        """Drop a wish that has ended, and its records; refuses with ``order.unended`` one that is open or unsettled."""
        view = self.view(nonce)
        if view.end is None:
            raise ProtocolError("order.unended", "nonce", nonce, "an order that has ended")
        wish = self._by_nonce.pop(nonce)
        self._by_client_id.pop(wish.client_id, None)
        for one in wish.sealed:
            self._tracker.forget(one.order_id)

    def _outcomes(self, wish: Wish) -> list[str]:
        """The codes that its envelopes ended with so far."""
        records = [self._tracker.orders.get(one.order_id) for one in wish.sealed]
        return [one.executed.code for one in records if one is not None and one.executed is not None]

    def _wish(self, nonce: int) -> Wish:
        wish = self._by_nonce.get(nonce)
        if wish is None:
            raise ProtocolError("order.unknown", "nonce", nonce, "the nonce of an order placed here")
        return wish


def _client_id(action: Action) -> int:
    return action.client_id if isinstance(action, Order | Replace) else 0


def _same(action: Action) -> Action:
    """The action but for the label it is bound to."""
    return replace(action, label_hash=bytes(32))


def _weight(record: OrderRecord) -> int:
    """How much an envelope's record says of its wish."""
    if record.executed is None:
        return 2
    code = record.executed.code
    return 0 if code in NEVER_CAME else 1 if code == NONCE_CONSUMED else 3


def _code(record: OrderRecord, *, another_may: bool) -> str | None:
    """The outcome of a wish, by the record that counts; None while it may still come: of an envelope that touched no
    nonce nothing has come, and where several were sent, one that met a used nonce says that another executed. Where
    the outcomes of all are known, and none is that, another wish had the nonce: it is no use to send it again."""
    if record.executed is None:
        return None
    code = record.executed.code
    if code in NEVER_CAME or (another_may and code == NONCE_CONSUMED):
        return None
    return code
