"""The market engine: a deterministic function of final batches (docs/protocol-execution.md).

``prepare`` is the expensive half, about one signature recovery per order, and needs no state: a node may do it in small
steps while shares still arrive. ``execute`` is the rest. Neither raises on anything a trader sent. The work of a height
grows with its batch and with the open orders it fills, ends or triggers (at the one price level an auction rations a
side at, with that level's orders), and with the logarithm of accounts and open orders through the state tree; never
with the book.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from mpc_sequencer.core import domains, eip712, signing
from mpc_sequencer.core.actions import DarkOrder, SignedAction, label_hash
from mpc_sequencer.core.codec import decode, encode
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.limits import UINT_MAX
from mpc_sequencer.core.merkle import merkle_path, merkle_root
from mpc_sequencer.core.proofs import FillProof, StateProof
from mpc_sequencer.market import types
from mpc_sequencer.market.dark import DarkWord, boxes_are_sealed, new_desk
from mpc_sequencer.market.height import run_height
from mpc_sequencer.market.snapshot import dump_state, load_state
from mpc_sequencer.market.state import ACCOUNT_BYTES, State, checked_terms
from mpc_sequencer.market.tree import ACCOUNT_KIND, MARKET_KIND, ORDER_KIND
from mpc_sequencer.market.types import (
    BatchOrder,
    Fill,
    HeightResult,
    Market,
    OrderValue,
    Precedence,
    PreparedOrder,
)

if TYPE_CHECKING:
    from mpc_sequencer.dark.desk import Desk, Parties

COIN_BYTES: Final = 32
DOMAIN_SEPARATOR_BYTES: Final = 32


class Engine:
    """Accounts and books of one deployment. Every method but ``credit`` and ``execute`` leaves the state alone."""

    __slots__ = ("_domain_separator", "_last_fills", "_last_leaves", "_state")

    def __init__(
        self,
        markets: Sequence[Market],
        assets: Sequence[int],
        domain_separator: bytes,
        fee_account: bytes = bytes(ACCOUNT_BYTES),
        parties: Parties | None = None,
    ) -> None:
        """``fee_account`` (20 bytes) gets the trading fees; zero bytes only where there are none. ``parties`` are the
        first committee, where a market is dark. Raises ``ValueError`` where the terms are out of bounds (see
        :func:`checked_terms`) or the parties cannot compute a dark market's batches."""
        if len(domain_separator) != DOMAIN_SEPARATOR_BYTES:
            raise ValueError(f"domain separator of {len(domain_separator)} bytes, expected {DOMAIN_SEPARATOR_BYTES}")
        self._domain_separator = domain_separator
        by_id, listed = checked_terms(markets, assets, fee_account)
        self._state = State(by_id, listed, fee_account, new_desk(by_id, parties))
        self._last_fills: Sequence[Fill] = ()
        self._last_leaves: Sequence[bytes] = ()

    def credit(self, account: bytes, asset: int, amount: int) -> None:
        """A deposit of ``amount`` base units enters free. Raises ``ValueError``, changing nothing, for an unknown
        asset, an account that is not 20 bytes, or a supply outside 0 .. 2^127-1."""
        if asset not in self._state.assets or len(account) != ACCOUNT_BYTES:
            raise ValueError(f"no credit of asset {asset} to account {account.hex()}")
        self._state.ledger.credit(account, asset, amount)

    def prepare(self, order: BatchOrder) -> PreparedOrder:
        """Step 1: decode the plaintext, check that it is for this label and signed by its account, and a dark order's
        boxes. Pure."""
        if order.plaintext is None:
            return PreparedOrder(order.order_id, None, types.MALFORMED)
        try:
            signed: SignedAction = decode(SignedAction, order.plaintext)
        except ProtocolError:
            return PreparedOrder(order.order_id, None, types.PLAINTEXT)
        action = signed.action
        if action.label_hash != label_hash(order.label):
            return PreparedOrder(order.order_id, None, types.LABEL)
        digest = eip712.digest(self._domain_separator, action.struct_hash())
        try:
            signing.check_signer(digest, signed.signature, action.account, "account_signature")
        except ProtocolError:
            return PreparedOrder(order.order_id, None, types.SIGNATURE)
        if isinstance(action, DarkOrder) and action.market in self._state.dark and not boxes_are_sealed(action):
            return PreparedOrder(order.order_id, None, types.DARK_BOXES)
        return PreparedOrder(order.order_id, action, None)

    def due(self, time_ms: int) -> bool:
        """Whether a block of time ``time_ms`` has something to execute though its batch be empty: a triggered stop
        waits to join, an open order expires, or a dark market's batch goes on."""
        state = self._state
        times_ms = (state.orders.first_expiry_ms(), None if state.desk is None else state.desk.due_ms())
        return bool(state.orders.stops.triggered) or any(due is not None and due <= time_ms for due in times_ms)

    def execute(
        self,
        height: int,
        time_ms: int,
        coin: bytes,
        prepared: Sequence[PreparedOrder],
        precedence: Precedence | None = None,
        words: Sequence[DarkWord] = (),
        parties: Parties | None = None,
    ) -> HeightResult:
        """Execute a final batch, prepared by :meth:`prepare`, of a block of time ``time_ms``; its sequence does not
        matter.

        ``precedence`` is called once for each RECEIVE market that got new orders, ascending by market, with their ids
        in draw order, and answers in which order they meet the book; it must not call the engine.
        ``words`` are what members said of dark markets, in the log's order; ``parties`` the committee whose height this
        is, where it is not the last one's still.

        Raises ``ValueError``, changing nothing, where the caller errs: a coin that is not 32 bytes, a height or a time
        out of range, an order id that is not 32 bytes or appears twice, parties that cannot compute a dark market's
        batches, a precedence that is missing or answers with no permutation. What ``precedence`` itself raises changes
        nothing either.
        """
        if len(coin) != COIN_BYTES or not 0 <= height <= UINT_MAX or not 0 <= time_ms <= UINT_MAX:
            raise ValueError(f"height {height} at {time_ms} ms with a coin of {len(coin)} bytes, expected {COIN_BYTES}")
        if len({order.order_id for order in prepared}) != len(prepared):
            raise ValueError("an order id appears twice in the batch")
        if any(len(order.order_id) != COIN_BYTES for order in prepared):
            raise ValueError("an order id is not 32 bytes")
        if parties is not None and self._state.desk is not None and parties != self._state.desk.parties:
            new_desk(self._state.markets, parties)
        made = run_height(self._state, height, time_ms, coin, prepared, precedence, words, parties)
        self._last_fills = made.all_fills()
        self._last_leaves = [domains.FILL_LEAF(encode(fill)) for fill in self._last_fills]
        return HeightResult(
            height=height,
            state_root=self._state.root(),
            fills_root=merkle_root(self._last_leaves, domains.FILL_NODE),
            fills=self._last_fills,
            outcomes=made.all_outcomes(),
            updates=tuple(update for _, update in sorted(made.updates.items())),
            deltas=self._state.ledger.take_deltas(),
            clearing=tuple(made.clearing),
        )

    def state_root(self) -> bytes:
        """The root over accounts, open orders and reference prices, 32 bytes."""
        return self._state.root()

    def prove_account(self, account: bytes) -> StateProof | None:
        """The account's value and its path to :meth:`state_root`; None for an account nothing ever happened to."""
        found = self._state.prove(ACCOUNT_KIND, account)
        return None if found is None else StateProof(*found)

    def prove_order(self, order_id: bytes) -> StateProof | None:
        """The open order's value and its path to :meth:`state_root`; None where it is not open."""
        found = self._state.prove(ORDER_KIND, order_id)
        return None if found is None else StateProof(*found)

    def prove_market(self, market: int) -> StateProof | None:
        """The market's value and its path to :meth:`state_root`; None where there is no such market."""
        found = self._state.prove(MARKET_KIND, market.to_bytes(4, "big"))
        return None if found is None else StateProof(*found)

    def prove_fill(self, order_id: bytes) -> tuple[FillProof, ...]:
        """All fills of an order in the height executed last, each with its path to that height's fills root."""
        return tuple(
            FillProof(
                encode(fill),
                place,
                len(self._last_leaves),
                merkle_path(self._last_leaves, place, domains.FILL_NODE),
            )
            for place, fill in enumerate(self._last_fills)
            if fill.order_id == order_id
        )

    def balance(self, account: bytes, asset: int) -> tuple[int, int]:
        """``(free, locked)`` in base units; zeros for what is unknown."""
        return self._state.ledger.balance(account, asset)

    def nonce_state(self, account: bytes) -> tuple[int, int]:
        """``(highest nonce, window)``; bit i of the window is set where nonce ``highest - i`` is used."""
        held = self._state.ledger.get(account)
        return (0, 0) if held is None else (held.nonces.highest, held.nonces.window)

    def nonce_refusal(self, account: bytes, nonce: int) -> str | None:
        """The outcome code an action of ``account`` with ``nonce`` would meet now, or None where it is usable."""
        return self._state.ledger.nonce_refusal(account, nonce)

    def open_order(self, order_id: bytes) -> OrderValue | None:
        """The order as it rests in the book or waits for its trigger, or None."""
        order = self._state.orders.by_id.get(order_id)
        return None if order is None else order.value()

    def open_orders(self, account: bytes) -> dict[bytes, OrderValue]:
        """All open orders of an account, by order id."""
        return {order.order_id: order.value() for order in self._state.orders.of_account(account).values()}

    def book(self, market: int, depth: int) -> Mapping[str, tuple[tuple[int, int, int], ...]]:
        """``bids`` and ``asks``, best ``depth`` levels each as rows ``(price_ticks, shown lots, orders)``. Raises
        ``KeyError`` for an unknown market."""
        return self._state.orders.books[market].depth(depth)

    def reference_price_ticks(self, market: int) -> int:
        """The last clearing or trade price, at first the configured one. Raises ``KeyError`` for an unknown market."""
        return self._state.reference_prices_ticks[market]

    @property
    def desk(self) -> Desk | None:
        """The dark markets' orders and batches, to be read; None where there are no such markets. Another one after
        each :meth:`load`."""
        return self._state.desk

    def dump(self) -> bytes:
        """The whole state and its terms, canonical: equal states give equal bytes."""
        return dump_state(self._state, self._domain_separator)

    @classmethod
    def load(cls, data: bytes) -> Engine:
        """The engine whose :meth:`dump` is ``data``. Raises ``ValueError`` (a ``ProtocolError`` where the bytes do not
        decode) for anything that is no engine's dump."""
        state, domain_separator = load_state(data)
        engine = cls((), (), domain_separator)
        engine._state = state
        return engine
