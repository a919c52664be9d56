"""One account's trading through one client: terms in, and everything between them and an order's end done by the book.

:meth:`TradingAccount.place` is the same call for every market. For one in the open it seals the terms as they are. For
a dark one it fetches the committee's keys first (once in an epoch, proven; again once an order was refused with
``dark_keys``), picks what the order locks (:mod:`mpc_sequencer.client.dark_terms`) and, where that is to hide the side,
asks for the account's proven free balance before: deposits that the balance does not bear are refused here, not after
their size has told what they were to hide.

Every order is a wish of the account's :class:`~mpc_sequencer.client.desk.OrderDesk`: it has one nonce, and
:meth:`TradingAccount.again` sends it again in an envelope that is valid, a dark one in the same boxes.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from mpc_sequencer.client import build
from mpc_sequencer.client.build import LIFETIME_MS_DEFAULT, SealedOrder
from mpc_sequencer.client.dark_terms import DepositRule, Deposits, check_dark_terms, check_free, pick_deposits
from mpc_sequencer.client.desk import OrderDesk, WishView
from mpc_sequencer.client.errors import NotConnected, NothingThere
from mpc_sequencer.client.proofs import verify
from mpc_sequencer.client.questions import REPLY_S_MAX
from mpc_sequencer.client.terms import OrderTerms, market_of
from mpc_sequencer.core.actions import Action, DarkOrder, label_hash
from mpc_sequencer.core.resultproof import ACCOUNT
from mpc_sequencer.core.signing import Signer
from mpc_sequencer.market.types import DARK_KEYS, AccountValue

if TYPE_CHECKING:
    from mpc_sequencer.client.sequencer import SequencerClient
    from mpc_sequencer.core.committee import Committee
    from mpc_sequencer.market import Market
    from threshold import Label

SECRET_BYTES: Final = 32
KEYS_S_MAX: Final = 60.0


class TradingAccount:
    """``signer``'s orders through ``client``, paid for by ``sponsor`` (by default the account itself). ``keys_s`` is
    how long dark markets' keys are waited for, ``random`` gives so many secret random bytes, ``now_ms`` the time in
    Unix milliseconds."""

    def __init__(
        self,
        client: SequencerClient,
        signer: Signer,
        *,
        sponsor: Signer | None = None,
        lifetime_ms: int = LIFETIME_MS_DEFAULT,
        keys_s: float = KEYS_S_MAX,
        random: Callable[[int], bytes] = secrets.token_bytes,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self.client = client
        self.desk = OrderDesk(signer.address, client.tracker)
        self._signer = signer
        self._sponsor = signer if sponsor is None else sponsor
        self._lifetime_ms = lifetime_ms
        self._keys_s = keys_s
        self._random = random
        self._now_ms = now_ms
        self._refused_keys: set[bytes] = set()
        """Ids of keys that an order was refused for."""

    async def place(
        self,
        terms: OrderTerms,
        nonce: int | None = None,
        *,
        deposits: DepositRule | Deposits = DepositRule.HIDE,
        free_units: dict[int, int] | None = None,
        timeout_s: float = REPLY_S_MAX,
    ) -> WishView:
        """Seal an order, place it at the desk and submit it, and wait until the connected members answered.

        ``nonce`` is by default the next one that no wish here had: name the first one of an account that traded before
        (:meth:`OrderDesk.next_nonce`). ``deposits`` and ``free_units`` are for dark markets; the latter are the
        account's free balances in base units by asset, asked for where the caller does not know them. Raises what
        :meth:`seal`, :meth:`OrderDesk.place` and :meth:`SequencerClient.submit` do."""
        chosen = self.desk.next_nonce() if nonce is None else nonce
        sealed = await self.seal(terms, chosen, deposits=deposits, free_units=free_units)
        view = self.desk.place(sealed)
        await self.client.submit([sealed.envelope], timeout_s)
        return view

    async def seal(
        self,
        terms: OrderTerms,
        nonce: int,
        *,
        deposits: DepositRule | Deposits = DepositRule.HIDE,
        free_units: dict[int, int] | None = None,
    ) -> SealedOrder:
        """The order, signed and sealed, and sent to nobody. Raises the refusal that execution would have, each cause
        with its code; for a dark market also ``dark.balance``, :class:`~.errors.DarkKeysPending`, and of deposits that
        are to hide the side what :meth:`free_units` raises."""
        market = market_of(self.client.committee, terms.market)
        sealing = None
        if market.dark is not None:
            picked = await self._deposits(market, terms, deposits, free_units)
            from mpc_sequencer.client.dark_orders import DarkSealing  # computes with numpy

            keys = await self.client.dark_keys(self._keys_s, again=self._keys_were_refused())
            sealing = DarkSealing(keys, self._random(SECRET_BYTES), picked)
        committee = self.client.committee
        label = self._label(committee, market.id)
        address = self._signer.address
        action = build.place_order(committee, label, terms, account=address, nonce=nonce, dark=sealing)
        return self._sealed(committee, label, action)

    async def again(self, nonce: int, timeout_s: float = REPLY_S_MAX) -> WishView:
        """Make sure that a wish arrives: send its envelope again, or a new one of the same action where that is over.
        Refuses as :meth:`OrderDesk.again`."""
        sealed = self.desk.again(nonce, self._now_ms(), self._reseal)
        await self.client.submit([sealed.envelope], timeout_s)
        return self.desk.view(nonce)

    async def ended(self, nonce: int, timeout_s: float) -> WishView:
        """Wait for an order's end: in a dark market an update, ``filled`` with lots and price, ``unfilled``, or another
        end code. Raises as :meth:`SequencerClient.wait_ended`."""
        await self.client.wait_ended([self.desk.view(nonce).order_id], timeout_s)
        return self.desk.view(nonce)

    async def free_units(self) -> dict[int, int]:
        """The account's free balances by asset, in base units, as a certified result has them. Raises the last member's
        :class:`~.errors.ClientError` where none proves them."""
        failure: NotConnected | NothingThere = NotConnected("no member is connected", "wait for a connection first")
        for node in self.client.connected():
            try:
                proof = await self.client.prove(node, ACCOUNT, self._signer.address)
            except (NotConnected, NothingThere) as error:
                failure = error
                continue
            shown = verify(proof, self.client.committee.genesis_id, self.client.roster.committee).values[0]
            assert isinstance(shown, AccountValue), "a proof of this kind shows an account"
            return {asset: int.from_bytes(free, "big") for asset, free, _ in shown.balances}
        raise failure

    async def _deposits(
        self, market: Market, terms: OrderTerms, rule: DepositRule | Deposits, free_units: dict[int, int] | None
    ) -> Deposits:
        """What the order locks, borne by the free balance where that is known or the side is to be hidden."""
        check_dark_terms(market, terms)
        picked = pick_deposits(market, terms, rule)
        if free_units is None and rule is DepositRule.HIDE:
            free_units = await self.free_units()
        if free_units is not None:
            check_free(market, picked, free_units)
        return picked

    def _keys_were_refused(self) -> bool:
        """Whether the outcome of an order since the last look was that its keys are not those agreed on."""
        refused = {view.order_id for view in self.desk if view.end == DARK_KEYS}
        new = not refused <= self._refused_keys
        self._refused_keys |= refused
        return new

    def _reseal(self, action: Action) -> SealedOrder:
        committee = self.client.committee
        market = action.market if isinstance(action, DarkOrder) else None
        return self._sealed(committee, self._label(committee, market), action)

    def _label(self, committee: Committee, market: int | None) -> Label:
        window_ms = build.validity_window(self._now_ms(), self._lifetime_ms)
        return build.make_label(committee, self._sponsor.address, window_ms, market=market)

    def _sealed(self, committee: Committee, label: Label, action: Action) -> SealedOrder:
        bound = replace(action, label_hash=label_hash(label.encode()))
        signed = build.sign_action(committee, bound, self._signer)
        return build.seal_order(committee, label, signed, self._sponsor, sigma=self._random(SECRET_BYTES))
