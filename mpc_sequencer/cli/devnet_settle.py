"""``mpcseq devnet settle``: a committee, its settlement contract and its traders' money, compared to the last unit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from mpc_sequencer.cli.errors import EXIT_FAULT_FOUND
from mpc_sequencer.cli.options import AsJson
from mpc_sequencer.cli.output import console, print_json, table

if TYPE_CHECKING:
    from mpc_sequencer.devnet.settle_result import Scenario, SettleResult

SCENARIOS: Final[tuple[Scenario, ...]] = ("live", "rotate", "exit")


def settle(
    scenario: Annotated[str, typer.Argument(help="live, rotate or exit.")] = "live",
    folder: Annotated[
        Path | None, typer.Option(help="Where to keep everything: a new folder. Default: mpcseq-settle-*.")
    ] = None,
    nodes: Annotated[int, typer.Option(help="Committee members, 4 or more.")] = 4,
    rate: Annotated[float, typer.Option(min=1.0, max=1_000.0, help="Orders per second.")] = 10.0,
    duration: Annotated[float, typer.Option(min=2.0, max=3600.0, help="Seconds of trading.")] = 10.0,
    seed: Annotated[int, typer.Option(min=0, help="Chooses accounts, nonces and orders.")] = 1,
    chain_url: Annotated[
        str | None, typer.Option(help="A test chain's JSON-RPC endpoint. Default: an embedded chain of its own.")
    ] = None,
    key_file: Annotated[
        Path | None, typer.Option(help="With --chain-url: the key (hex) of an account with 2,100 test ether.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Use the settlement contract in every way that traders have, and compare all of it with the engine and the log.

    live: amid trading, newcomers deposit on the chain and trade, a trader whom no member hears forces his order in,
    money is withdrawn and claimed. rotate: the same, and a member joins amid it. exit: all members are killed for
    good, a forced order stays uncovered, anyone freezes the contract, everybody gets what is his.

    Exit status 0 only if every posted result is the sum of the engine's heights row by row, all balances agree, and
    every log passes its audit against the chain.
    """
    from mpc_sequencer.demo.screen import Screen
    from mpc_sequencer.devnet.settle_result import SettleOptions
    from mpc_sequencer.devnet.settling import run_settle
    from mpc_sequencer.node.passphrases import read_key_file

    options = SettleOptions(
        scenario=_scenario(scenario),
        folder=folder,
        nodes=nodes,
        seed=seed,
        rate_per_s=rate,
        duration_s=duration,
        chain_url=chain_url,
        payer_secret=b"" if key_file is None else read_key_file(key_file),
    )
    result = run_settle(options, Screen(console(stderr=as_json)))
    if as_json:
        print_json(result.as_json())
    else:
        _show(result)
    if result.findings:
        raise typer.Exit(EXIT_FAULT_FOUND)


def _scenario(given: str) -> Scenario:
    from mpc_sequencer.core.errors import ConfigError

    for name in SCENARIOS:
        if name == given:
            return name
    raise ConfigError(f"there is no scenario {given}", f"choose one of {', '.join(SCENARIOS)}")


def _show(result: SettleResult) -> None:
    figures = result.as_json()
    by_epoch = ", ".join(f"epoch {epoch}: {count}" for epoch, count in figures["results_by_epoch"].items())
    rows = [
        ("orders sent, executed", f"{figures['orders_sent']} / {figures['orders_executed']}"),
        ("posted results compared", f"{figures['results_compared']} ({by_epoch})"),
        ("heights, changes compared", f"{figures['heights_compared']} / {figures['changes_compared']}"),
        ("balances compared", figures["balances_compared"]),
        *_act_rows(figures),
        ("audits", ", ".join(figures["audits"])),
        ("seconds", figures["seconds"]),
        ("findings", figures["findings_in_all"]),
    ]
    terminal = console()
    title = f"{figures['scenario']}, {figures['nodes']} nodes"
    terminal.print(table(title, ("", ""), [(name, str(value)) for name, value in rows]))
    for one in figures["findings"]:
        terminal.print(f"{one['code']}: {one['detail']}", markup=False, soft_wrap=True)
    terminal.print(f"everything is in {result.folder}", markup=False, soft_wrap=True)


def _act_rows(figures: dict[str, Any]) -> list[tuple[str, Any]]:
    if (left := figures["exit"]) is not None:
        paid = ", ".join(f"{units} of asset {asset}" for asset, units in left["paid_units"].items())
        return [
            ("forced order due, frozen", f"block {left['due_block']}, block {left['frozen_block']}"),
            ("balances paid out", f"{left['exits']}: {paid}"),
            ("bonds paid out", left["bonds_paid"]),
            ("left in the contract", f"no token, {left['wei_left']} wei of forced orders' fees"),
        ]
    rows = [("newcomers that traded", figures["newcomers_traded"]), ("claims paid", figures["claims"])]
    if (forced := figures["forced"]) is not None:
        said = f"due at block {forced['due_block']}, batched at height {forced['batched_heights']}"
        rows.append(("forced order", f"{said}, bought {forced['bought_units']} units"))
    if (rotated := figures["rotation"]) is not None:
        said = f"{rotated['to']} members after height {rotated['last_block_of_the_epoch_before']}"
        rows.append(("rotation", f"{said}, {rotated['orders_executed_since']} orders executed since"))
    return rows
