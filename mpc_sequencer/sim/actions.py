"""What a simulated trader signs: plain limit orders, and one in two of every other kind that the market knows.

Prices lie close together, stops near the price and expiries within the run, so that orders meet, trigger, lapse and
are cancelled while members crash and lie. Who checks is the auditor's own market, run by run.
"""

from __future__ import annotations

import random
from typing import Final

import msgspec
from msgspec.structs import astuple

from mpc_sequencer.core.actions import (
    BUY,
    EVERY_MARKET,
    FOK,
    GTC,
    GTD,
    IOC,
    LIMIT,
    MARKET,
    STOP,
    STOP_LIMIT,
    Action,
    Cancel,
    CancelAll,
    Order,
    Replace,
)

PRICE_TICKS: Final = 618_000
SPREAD_TICKS: Final = 9
SLIPPAGE_TICKS: Final = 30
EXPIRY_MS: Final = (50, 4_000)
TARGETS_BACK: Final = 12
KINDS: Final = (
    ("plain",) * 10
    + ("market", "stop", "stop_limit", "fok", "gtd", "gtd", "post_only", "iceberg", "self_trade")
    + ("cancel", "cancel_all", "replace", "replace")
)


def draw_action(rng: random.Random, plain: Order, now_ms: int) -> Action:
    """An action in the place of ``plain``, a limit order with its account's next nonce."""
    kind = rng.choice(KINDS)
    if kind == "cancel":
        return Cancel(plain.account, plain.nonce, plain.label_hash, _target(rng, plain))
    if kind == "cancel_all":
        market = rng.choice((plain.market, EVERY_MARKET))
        return CancelAll(plain.account, plain.nonce, plain.label_hash, market)
    if kind == "replace":
        account, nonce, bound, *terms = astuple(plain)
        return Replace(account, nonce, bound, _target(rng, plain), *terms)
    return msgspec.structs.replace(plain, **_terms(rng, kind, plain, now_ms))


def _target(rng: random.Random, plain: Order) -> int:
    """A nonce of the account: of an order sent lately, or of the next one."""
    return max(0, plain.nonce + rng.randint(-TARGETS_BACK, 1))


def _terms(rng: random.Random, kind: str, plain: Order, now_ms: int) -> dict[str, int]:
    through = SLIPPAGE_TICKS if plain.side == BUY else -SLIPPAGE_TICKS
    near = PRICE_TICKS + rng.randint(-SPREAD_TICKS, SPREAD_TICKS)
    match kind:
        case "market":
            return {"kind": MARKET, "time_in_force": rng.choice((IOC, FOK)), "price_ticks": PRICE_TICKS + through}
        case "stop":
            return {"kind": STOP, "time_in_force": IOC, "stop_ticks": near, "price_ticks": PRICE_TICKS + through}
        case "stop_limit":
            return {"kind": STOP_LIMIT, "time_in_force": rng.choice((GTC, IOC)), "stop_ticks": near}
        case "fok":
            return {"kind": LIMIT, "time_in_force": FOK}
        case "gtd":
            return {"time_in_force": GTD, "expires_ms": now_ms + rng.randint(*EXPIRY_MS)}
        case "post_only":
            return {"time_in_force": GTC, "post_only": 1}
        case "iceberg":
            return {"time_in_force": GTC, "display_lots": max(1, plain.quantity_lots // rng.randint(2, 8))}
        case "self_trade":
            return {"self_trade": rng.randint(1, 3), "client_id": rng.randint(0, 5)}
    return {}
