"""The recorded market the demo replays: trades and best quotes of the BTCUSDT perpetual
(examples/data/README.md).

Every trade stands for a taker; every change of the best bid or ask price for a maker who now quotes there.
Updates of a quote's size alone are left out: without cancelling they would only pile up in the book.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from mpc_sequencer.client.units import MarketUnits
from mpc_sequencer.core.actions import BUY, SELL
from mpc_sequencer.core.errors import ConfigError

TRADES_FILE: Final = "btcusdt-perp-2024-08-08-trades-120s.csv.gz"
QUOTES_FILE: Final = "btcusdt-perp-2024-08-08-quotes-120s.csv.gz"
ROWS_MAX: Final = 1_000_000
MAKER_LOTS_MAX: Final = 5_000  # 5 BTC: what a single quote of the demo offers at most


@dataclass(frozen=True, slots=True)
class MarketEvent:
    """One order's worth of the trace: when (ns from the start), by a maker or a taker, and its terms."""

    at_ns: int
    maker: bool
    side: int
    price_ticks: int
    quantity_lots: int


@cache
def data_folder() -> Path:
    """Where the excerpt is: in the installed package, or in examples/data of a checkout."""
    package = Path(__file__).resolve().parent
    for folder in (package / "data", package.parents[1] / "examples" / "data"):
        if (folder / TRADES_FILE).is_file() and (folder / QUOTES_FILE).is_file():
            return folder
    raise ConfigError("the demo's market data is missing", "run from a checkout, or install the package anew")


def read_trace(units: MarketUnits) -> list[MarketEvent]:
    """The excerpt as events in time order. Raises :class:`ConfigError` where it does not fit the market."""
    folder = data_folder()
    try:
        events = [*_trades(folder / TRADES_FILE, units), *_quotes(folder / QUOTES_FILE, units)]
    except (ValueError, KeyError, OSError, csv.Error) as error:
        raise ConfigError(
            f"the demo's market data cannot be used: {error}", "restore examples/data"
        ) from None
    start_ns = min(event.at_ns for event in events)
    shifted = [
        MarketEvent(event.at_ns - start_ns, event.maker, event.side, event.price_ticks, event.quantity_lots)
        for event in events
    ]
    return sorted(shifted, key=lambda event: event.at_ns)


def _rows(path: Path) -> Iterator[dict[str, str]]:
    with gzip.open(path, "rt", encoding="ascii", newline="") as file:
        for number, row in enumerate(csv.DictReader(file)):
            if number >= ROWS_MAX:
                raise ValueError(f"{path.name} has more than {ROWS_MAX} rows")
            yield row


def _trades(path: Path, units: MarketUnits) -> Iterator[MarketEvent]:
    for row in _rows(path):
        yield MarketEvent(
            at_ns=int(row["local_time_ns"]),
            maker=False,
            side=SELL if row["buyer_is_maker"] == "1" else BUY,
            price_ticks=units.price_ticks(row["price"]),
            quantity_lots=units.quantity_lots(row["quantity"]),
        )


def _quotes(path: Path, units: MarketUnits) -> Iterator[MarketEvent]:
    last = {BUY: "", SELL: ""}
    for row in _rows(path):
        for side, name in ((BUY, "bid"), (SELL, "ask")):
            price = row[f"{name}_price"]
            if price == last[side]:
                continue
            last[side] = price
            lots = units.quantity_lots(row[f"{name}_quantity"])
            ticks = units.price_ticks(price)
            yield MarketEvent(int(row["local_time_ns"]), True, side, ticks, min(lots, MAKER_LOTS_MAX))
