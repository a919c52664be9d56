"""A market floor for the auditor's execution: named traders, named orders, signed actions of every kind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from mpc_sequencer.audit.execution import Executed, Execution, OpenedOrder
from mpc_sequencer.core import domains, eip712
from mpc_sequencer.core.actions import (
    EVERY_MARKET,
    GTC,
    LIMIT,
    Action,
    Cancel,
    CancelAll,
    Order,
    Replace,
    Withdrawal,
    label_hash,
    with_account_signature,
)
from mpc_sequencer.core.codec import encode
from mpc_sequencer.core.signing import Signer
from mpc_sequencer.market.types import AUCTION, RECEIVE, SHUFFLE, Market
from tests.audit.audited_deployment import secret

BASE, QUOTE = 0, 1
SEPARATOR = eip712.domain_separator(31337, bytes(range(20)))
LABEL = bytes((1,)) + bytes(100)
TIME_MS = 1_700_000_000_000
NAMES = ("alice", "bob", "carol", "dave", "erin")
SIGNERS = {name: Signer(secret(f"floor {name}")) for name in NAMES}
ADDRESSES = {name: signer.address for name, signer in SIGNERS.items()}
HOUSE = secret("house")[:20]
"""Where fees go."""
FUNDS = 10**12
POLICIES = (AUCTION, SHUFFLE, RECEIVE)

SPOT = Market(1, BASE, QUOTE, 10, 100, 100, "SPOT", AUCTION)
FEES = {"maker_fee_ppm": 1_000, "taker_fee_ppm": 2_500}


def market(policy: int = AUCTION, **terms: Any) -> Market:
    """SPOT under another policy or other terms: 10 base units a lot, 100 quote units a tick and lot, last at 100."""
    return replace(SPOT, policy=policy, **terms)


def order(who: str, nonce: int, side: int, price_ticks: int, quantity_lots: int, **terms: Any) -> Order:
    """A GTC limit order in SPOT, but for ``terms``."""
    fields: dict[str, Any] = {
        "market": SPOT.id, "client_id": 0, "kind": LIMIT, "time_in_force": GTC, "post_only": 0, "self_trade": 0,
        "stop_ticks": 0, "display_lots": 0, "expires_ms": 0,
    }  # fmt: skip
    return Order(
        ADDRESSES[who], nonce, label_hash(LABEL), side=side, price_ticks=price_ticks, quantity_lots=quantity_lots,
        **(fields | terms),
    )  # fmt: skip


def replacing(
    who: str, nonce: int, target_nonce: int, side: int, price_ticks: int, quantity_lots: int, **terms: Any
) -> Replace:
    made = order(who, nonce, side, price_ticks, quantity_lots, **terms)
    fields = {name: getattr(made, name) for name in made.__struct_fields__}
    return Replace(target_nonce=target_nonce, **fields)


def cancel(who: str, nonce: int, target_nonce: int) -> Cancel:
    return Cancel(ADDRESSES[who], nonce, label_hash(LABEL), target_nonce)


def cancel_all(who: str, nonce: int, market_id: int = EVERY_MARKET) -> CancelAll:
    return CancelAll(ADDRESSES[who], nonce, label_hash(LABEL), market_id)


def withdrawal(who: str, nonce: int, asset: int, amount: int) -> Withdrawal:
    return Withdrawal(ADDRESSES[who], nonce, label_hash(LABEL), asset, amount.to_bytes(16, "big"))


def opened(order_id: bytes, action: Action) -> OpenedOrder:
    """The action signed by its account, as a batch has it."""
    signer = next(signer for signer in SIGNERS.values() if signer.address == action.account)
    signature = signer.sign_digest(eip712.digest(SEPARATOR, action.struct_hash()))
    return OpenedOrder(order_id, LABEL, encode(with_account_signature(action, signature)))


def received(order_ids: Sequence[bytes]) -> list[bytes]:
    """A precedence that has nothing to do with any draw."""
    return sorted(order_ids, key=lambda order_id: secret(f"received {order_id.hex()}"))


class Floor:
    """The auditor's execution with funded traders; every height's batch is given by name."""

    def __init__(self, *markets: Market, funds: int = FUNDS, fee_account: bytes = HOUSE) -> None:
        self.execution = Execution(markets or (SPOT,), 2, SEPARATOR, fee_account)
        self.funds = funds
        self.height = 0
        self.last = Executed(0)
        for address in ADDRESSES.values():
            for asset in (BASE, QUOTE):
                self.execution.credit(address, asset, funds)

    def run(self, *sequence: str, time_ms: int = TIME_MS, **batch: Action) -> Executed:
        """Execute the batch, each order's id made of its name. Where ``sequence`` is given, RECEIVE markets take the
        orders as it names them."""
        self.height += 1
        orders = [opened(secret(name), action) for name, action in batch.items()]

        def in_sequence(order_ids: Sequence[bytes]) -> list[bytes]:
            return [secret(name) for name in sequence if secret(name) in order_ids]

        coin = secret(f"coin {self.height}")
        self.last = self.execution.execute(self.height, time_ms, coin, orders, in_sequence)
        return self.last

    def draw(self, *names: str) -> list[str]:
        """The names by the draw of the height to come."""
        coin = secret(f"coin {self.height + 1}")
        return sorted(names, key=lambda name: domains.DRAW(coin, secret(name)))

    # --- what the last height said ----------
    def code(self, name: str) -> str:
        """An order's outcome in the last height."""
        return self.last.outcomes[secret(name)]

    def update(self, name: str) -> tuple[str, int] | None:
        """Code and open lots of an order of an earlier height, where the last height changed it."""
        return self.last.updates.get(secret(name))

    def fills(self, name: str) -> list[tuple[int, int, int, int]]:
        """(price, lots, fee, whether as maker) per row of the order in the last height."""
        return [
            (fill.price_ticks, fill.quantity_lots, fill.fee_units, fill.maker)
            for fill in self.last.fills
            if fill.order_id == secret(name)
        ]

    def lots(self, name: str) -> int:
        return sum(lots for _, lots, _, _ in self.fills(name))

    # --- the state ----------
    def held(self, who: str | bytes, asset: int) -> tuple[int, int]:
        """(free, locked) against what the account began with."""
        address = who if isinstance(who, bytes) else ADDRESSES[who]
        began = self.funds if address in ADDRESSES.values() else 0
        account = self.execution.state.account(address)
        return account.free.get(asset, 0) - began, account.locked.get(asset, 0)

    def is_open(self, name: str) -> bool:
        return secret(name) in self.execution.state.open

    def open_lots(self, name: str) -> int:
        return self.execution.state.open[secret(name)].remaining_lots

    def reference(self) -> int:
        return self.execution.state.reference_ticks[SPOT.id]
