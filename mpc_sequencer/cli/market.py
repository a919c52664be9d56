"""``mpcseq market``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from mpc_sequencer.cli.options import COMMITTEE_DEFAULT, AsJson, CommitteePath, TimeoutS, read_committee
from mpc_sequencer.cli.output import console, print_fields, print_json, table

if TYPE_CHECKING:
    from pathlib import Path

    from mpc_sequencer.client.queries import DarkView
    from mpc_sequencer.client.units import MarketUnits
    from mpc_sequencer.core.messages import MarketReply
    from mpc_sequencer.market import Market

app = typer.Typer(no_args_is_help=True)


@app.callback()
def _group() -> None:
    """A market's terms, prices and book, as members have them."""


@app.command("list")
def list_markets(committee: CommitteePath = COMMITTEE_DEFAULT, as_json: AsJson = False) -> None:
    """The deployment's markets and their terms, from the committee file alone."""
    file = read_committee(committee)
    rows = [{**_terms(one, units := _units(one, committee)), **_grid(one, units)} for one in file.genesis.markets]
    if as_json:
        print_json({"markets": rows})
        return
    for row in rows:
        print_fields(console(), _lines(row), str(row["symbol"]))


@app.command("show")
def show(
    market: Annotated[str, typer.Argument(help="The market's symbol or id.")] = "0",
    levels: Annotated[int, typer.Option(min=0, max=256, help="Price levels of either side.")] = 10,
    committee: CommitteePath = COMMITTEE_DEFAULT,
    timeout: TimeoutS = 5.0,
    as_json: AsJson = False,
) -> None:
    """Ask the members for a market, and show what most of them say alike. Exit status 1 where fewer than f+1 do: they
    execute at slightly different times, so ask again."""
    import trio

    from mpc_sequencer.cli.errors import EXIT_FAULT_FOUND
    from mpc_sequencer.cli.sealing import find_market
    from mpc_sequencer.client.errors import NotConnected
    from mpc_sequencer.client.queries import ask_dark, ask_market

    file = read_committee(committee)
    terms = find_market(file.committee, market)
    present, answers = trio.run(ask_market, file, terms.id, levels, timeout)
    replies = [one for one in answers.values() if not isinstance(one, str)]
    if not replies:
        raise NotConnected(
            f"no member answered: {next(iter(answers.values()))}",
            "start the nodes, or check the committee file's endpoints",
        )
    agreed, count = _most_said(replies)
    units = _units(terms, committee)
    shown = {**_terms(terms, units), **_grid(terms, units), **_prices(agreed, units)}
    shown |= {"members": count, "agreed": count > present.f}
    if terms.dark is not None:
        shown["dark"] |= _dark_state(trio.run(ask_dark, file, terms.id, timeout))
    if as_json:
        print_json(shown)
    else:
        _print(shown)
    if count <= present.f:
        raise typer.Exit(EXIT_FAULT_FOUND)


def _most_said(replies: list[MarketReply]) -> tuple[MarketReply, int]:
    """What most members say alike, of these the greatest height; and how many."""
    from msgspec.structs import replace

    said = [replace(reply, request=0, clearing=None) for reply in replies]
    best = max(range(len(said)), key=lambda place: (said.count(said[place]), said[place].height))
    return replies[best], said.count(said[best])


def _units(terms: Market, committee: Path) -> MarketUnits | None:
    from mpc_sequencer.client.keys import load_assets
    from mpc_sequencer.client.units import MarketUnits

    path = committee.parent / "assets.json"
    assets = load_assets(path) if path.exists() else {}
    base, quote = assets.get(terms.base_asset), assets.get(terms.quote_asset)
    return None if base is None or quote is None else MarketUnits(terms, base, quote)


def _terms(terms: Market, units: MarketUnits | None) -> dict[str, Any]:
    from mpc_sequencer.market import POLICY_NAMES

    fields: dict[str, Any] = {
        "market": terms.id,
        "symbol": terms.symbol,
        "policy": POLICY_NAMES[terms.policy],
        "quantity_min_lots": terms.quantity_min_lots,
        "quantity_max_lots": terms.quantity_max_lots,
        "maker_fee_ppm": terms.maker_fee_ppm,
        "taker_fee_ppm": terms.taker_fee_ppm,
    }
    if units is not None:
        fields |= {"tick": units.show_price(1), "lot": units.show_quantity(1)}
    return fields


def _grid(terms: Market, units: MarketUnits | None) -> dict[str, Any]:
    """What a dark market's orders may say and how its batches are taken; nothing of another market."""
    grid = terms.dark
    if grid is None:
        return {}
    from mpc_sequencer.client.dark_terms import price_last_ticks, quantity_lots_max

    fields: dict[str, Any] = {
        "price_first_ticks": grid.price_first_ticks,
        "price_last_ticks": price_last_ticks(grid),
        "price_step_ticks": grid.price_step_ticks,
        "quantity_max_lots": quantity_lots_max(grid),
        "orders_max": grid.orders_max,
        "interval_ms": grid.interval_ms,
        "demonstration": bool(grid.demonstration),
    }
    if units is not None:
        fields |= {
            "price_first": units.show_price(grid.price_first_ticks),
            "price_last": units.show_price(price_last_ticks(grid)),
            "price_step": units.show_price(grid.price_step_ticks),
            "quantity_max": units.show_quantity(quantity_lots_max(grid)),
        }
    return {"dark": fields}


def _dark_state(view: DarkView) -> dict[str, Any]:
    """The keys, proven, and what most members say of the batch."""
    keys, status = view.keys, view.status
    return {
        "keys": None if keys is None else keys.id.hex(),
        "keys_pending": view.pending or None,
        "keys_of_members": [] if keys is None else list(keys.parties),
        "epoch": None if keys is None else keys.epoch,
        "phase": None if status is None else status.phase,
        "batch": None if status is None else status.batch,
        "orders": None if status is None else status.orders,
        "collecting": None if status is None else status.collecting,
    }


def _lines(shown: dict[str, Any]) -> list[tuple[str, object]]:
    """The fields of a market, those of a dark one in words."""
    lines = [(name, value) for name, value in shown.items() if name not in ("bids", "asks", "last_clearing", "dark")]
    dark = shown.get("dark")
    if dark is None:
        return lines
    span = [dark.get(name, dark[f"{name}_ticks"]) for name in ("price_first", "price_last", "price_step")]
    lines += [
        ("price grid", f"{span[0]} .. {span[1]} in steps of {span[2]}"),
        ("largest order", dark.get("quantity_max", dark["quantity_max_lots"])),
        ("batches", f"{dark['interval_ms'] / 1000:g} s after their first order, of up to {dark['orders_max']}"),
    ]
    if dark["demonstration"]:
        lines.append(("demonstration", "one liar can abort any batch after it has seen the price"))
    if "keys" in dark:
        lines.append(("keys", dark["keys_pending"] if dark["keys"] is None else dark["keys"]))
        lines.append(("members with a key", " ".join(map(str, dark["keys_of_members"]))))
        lines.append(("batch", f"{dark['batch']} ({dark['phase']}): {dark['orders']} orders"))
        lines.append(("orders for the next", dark["collecting"]))
    return lines


def _prices(reply: MarketReply, units: MarketUnits | None) -> dict[str, Any]:
    def price(ticks: int) -> str | int:
        return ticks if units is None else units.show_price(ticks)

    def rows(side: tuple[tuple[int, int, int], ...]) -> list[dict[str, Any]]:
        return [
            {
                "price": price(ticks),
                "quantity": lots if units is None else units.show_quantity(lots),
                "orders": orders,
                "price_ticks": ticks,
                "lots": lots,
            }
            for ticks, lots, orders in side
        ]

    clearing = reply.clearing
    return {
        "height": reply.height,
        "reference_price": price(reply.reference_price_ticks),
        "reference_price_ticks": reply.reference_price_ticks,
        "last_clearing": None
        if clearing is None
        else {"height": clearing[0], "price_ticks": clearing[1], "volume_lots": clearing[2]},
        "bids": rows(reply.bids),
        "asks": rows(reply.asks),
    }


def _print(shown: dict[str, Any]) -> None:
    print_fields(console(), _lines(shown), str(shown["symbol"]))
    if "dark" in shown:
        return  # it has no book
    columns = ("price", "quantity", "orders")
    for side in ("asks", "bids"):
        levels = reversed(shown[side]) if side == "asks" else shown[side]
        console().print(table(side, columns, [[row[name] for name in columns] for row in levels]))
