"""Markets, orders and the worked example's engine, for the tests of the seam."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

from mpc_sequencer.core.actions import BUY, GTC, LIMIT
from mpc_sequencer.market import AUCTION, Market
from mpc_sequencer.matching import Answer, FairBatch, FillRow, OrderRow

MARKET = Market(
    id=0,
    base_asset=0,
    quote_asset=1,
    base_units_per_lot=100,
    quote_units_per_tick_lot=7,
    reference_price_ticks=50,
    symbol="X",
    policy=AUCTION,
    maker_fee_ppm=1_000,
    taker_fee_ppm=2_500,
)
EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "04_an_outside_matching_engine.py"


def example() -> Any:
    """The module of the worked example."""
    name = "example_of_an_outside_engine"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, EXAMPLE)
        assert spec is not None and spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


def name(number: int) -> str:
    return number.to_bytes(32, "big").hex()


def order(number: int, side: int = BUY, price_ticks: int = 50, lots: int = 10, **terms: Any) -> OrderRow:
    plain: dict[str, Any] = {
        "order_id": name(number),
        "account": (b"\x0a" * 19 + bytes((side,))).hex(),
        "market": 0,
        "side": side,
        "kind": LIMIT,
        "time_in_force": GTC,
        "post_only": 0,
        "self_trade": 0,
        "price_ticks": price_ticks,
        "stop_ticks": 0,
        "quantity_lots": lots,
        "display_lots": 0,
        "expires_ms": 0,
    }
    return OrderRow(**plain | terms)


def batch(height: int, *orders: OrderRow, ended: tuple[int, ...] = ()) -> FairBatch:
    return FairBatch(height, 1_000 * height, bytes(32).hex(), orders, tuple(name(one) for one in ended))


def fill(number: int, price_ticks: int = 50, lots: int = 10, maker: int = 0) -> FillRow:
    return FillRow(name(number), price_ticks, lots, maker)


def answer(height: int, *fills: FillRow, ended: tuple[Any, ...] = ()) -> Answer:
    return Answer(height, fills, ended)
