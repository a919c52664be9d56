"""``mpcseq devnet``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mpc_sequencer.cli.devnet_settle import settle
from mpc_sequencer.cli.errors import EXIT_FAULT_FOUND
from mpc_sequencer.cli.options import (
    AsJson,
    Demonstration,
    Kdf,
    Policy,
    market_names,
    parse_kdf,
    parse_policy,
    warn_demonstration,
)
from mpc_sequencer.cli.output import console, print_fields, print_json, table

if TYPE_CHECKING:
    from mpc_sequencer.devnet.chaos_result import ChaosResult

app = typer.Typer(no_args_is_help=True)
app.command("settle")(settle)
ORDER_STATES = ("sent", "final", "executed")


@app.callback()
def _group() -> None:
    """Write and run a development network on this machine. Never for value: one process sees all identity keys."""


@app.command("init")
def init(
    folder: Annotated[Path, typer.Argument(help="A new folder.")],
    nodes: Annotated[int, typer.Option(help="Committee members, 4 or more.")] = 4,
    threshold: Annotated[
        int | None, typer.Option(help="Shares that decrypt: f+1 .. n-f. Default: n-f.")
    ] = None,
    policy: Policy = "auction",
    demonstration: Demonstration = False,
    accounts: Annotated[int, typer.Option(help="Traders' accounts to make keys for.")] = 8,
    base_port: Annotated[
        int, typer.Option(min=1, max=65_535, help="Node i listens on this port + i.")
    ] = 7700,
    key_refresh: Annotated[
        float, typer.Option(min=0.0, max=31_536_000.0, help="Seconds until the key is shared anew, from 5. 0: never.")
    ] = 86_400.0,
    kdf: Kdf = "interactive",
    as_json: AsJson = False,
) -> None:
    """Write keystores, the committee file, node and asset files, traders' keys. The nodes themselves generate the
    threshold key when they are up."""
    from mpc_sequencer.devnet.layout import init_devnet
    from mpc_sequencer.devnet.running import dev_account

    ports = [base_port + node for node in range(max(0, nodes))]
    devnet = init_devnet(
        folder,
        nodes=nodes,
        threshold=threshold,
        accounts=accounts,
        deployer=dev_account().address,
        ports=ports,
        chain_url=None,
        policy=parse_policy(policy),
        demonstration=demonstration,
        kdf=parse_kdf(kdf),
        key_refresh_ms=round(key_refresh * 1_000),
    )
    committee = devnet.file.committee
    warn_demonstration(committee)
    written = {
        "folder": str(folder),
        "nodes": committee.n,
        "faults_tolerated": committee.f,
        "quorum": committee.q,
        "threshold": committee.t,
        "markets": market_names(committee),
        "committee": str(devnet.committee_path),
        "assets": str(devnet.assets_path),
        "accounts": [str(path) for path in devnet.account_keys()],
        "passphrase_file": str(devnet.passphrase_file),
    }
    if as_json:
        print_json(written)
        return
    print_fields(
        console(), [(k, f"{len(v)} keys" if isinstance(v, list) else v) for k, v in written.items()]
    )
    console().print(f"next: mpcseq devnet up {folder}", markup=False)


@app.command("up")
def up(
    folder: Annotated[Path, typer.Argument(help="A folder that `mpcseq devnet init` wrote.")],
    fresh: Annotated[
        bool,
        typer.Option(
            "--fresh", help="Discard what the nodes stored in an earlier run, shares too (their chain is gone)."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Start an embedded chain, deploy and fund, start the nodes, and show them until Ctrl-C.

    With --json: one object when everything runs, and nothing more.
    """
    from mpc_sequencer.cli.devnet_up import run_devnet
    from mpc_sequencer.devnet.layout import open_devnet

    run_devnet(open_devnet(folder), fresh=fresh, as_json=as_json)


@app.command("chaos")
def chaos(
    folder: Annotated[
        Path | None, typer.Option(help="A new folder, or one of `mpcseq devnet init`. Default: mpcseq-chaos-*.")
    ] = None,
    nodes: Annotated[int, typer.Option(help="Committee members, 4 or more.")] = 4,
    rate: Annotated[float, typer.Option(min=0.1, max=10_000.0, help="Orders per second.")] = 60.0,
    duration: Annotated[float, typer.Option(min=1.0, max=3600.0, help="Seconds of trading.")] = 180.0,
    every: Annotated[
        float, typer.Option(min=0.0, max=3600.0, help="Seconds from one kill to the next, from 0.5. 0: no kills.")
    ] = 5.0,
    down: Annotated[float, typer.Option(min=0.0, max=60.0, help="Seconds until a killed node is started again.")] = 0.5,
    seed: Annotated[int, typer.Option(min=0, help="Chooses orders and victims.")] = 1,
    wipe_every: Annotated[
        int, typer.Option(min=0, help="Remove the data of each K-th victim too, once per node. 0: of none.")
    ] = 0,
    power_cut: Annotated[int, typer.Option(min=0, help="How often all nodes are killed at once.")] = 0,
    key_refresh: Annotated[
        float, typer.Option(min=0.0, max=3600.0, help="Seconds until the key is shared anew, from 5. 0: never.")
    ] = 30.0,
    rotate_to: Annotated[
        int | None, typer.Option(help="Replace the committee amid the load by one of so many: nodes join or leave.")
    ] = None,
    rotate_at: Annotated[
        float | None, typer.Option(help="Seconds of trading until then. Default: a quarter of --duration.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Kill members (kill -9) of a trading committee, start them again, and check that nothing was lost.

    Exit status 0 only if every order became final once, every receipt the client holds was kept (or was given up in
    public by a member whose data was removed), all logs agree and pass their audits, the contract's balances are
    right, after a rotation too, and no member was convicted of anything.
    """
    from mpc_sequencer.demo.screen import Screen
    from mpc_sequencer.devnet.chaos import run_chaos
    from mpc_sequencer.devnet.chaos_result import ChaosOptions

    options = ChaosOptions(
        folder=folder,
        nodes=nodes,
        rate_per_s=rate,
        duration_s=duration,
        every_s=every,
        down_s=down,
        seed=seed,
        wipe_every=wipe_every,
        power_cuts=power_cut,
        key_refresh_s=key_refresh,
        rotate_to=rotate_to,
        rotate_at_s=rotate_at,
    )
    result = run_chaos(options, Screen(console(stderr=as_json)))
    if as_json:
        print_json(result.as_json())
    else:
        _show_chaos(result)
    if result.findings:
        raise typer.Exit(EXIT_FAULT_FOUND)


def _show_chaos(result: ChaosResult) -> None:
    figures = result.as_json()
    back, receipts, logs = figures["recovery_s"], figures["receipts"], figures["logs"]
    kills = f"{figures['kills']} in {len(result.load.killed)} turns of {figures['turns_planned']} planned"
    rows = [
        ("nodes killed", kills),
        ("data removed, power cuts", f"{figures['wipes']}, {figures['power_cuts']}"),
        ("back after a restart", f"p50 {back['p50']} s, max {back['max']} s"),
        (f"back later than {result.every_s:g} s", f"{back['longer_than_every']} times"),
        ("orders sent, final, executed", " / ".join(str(figures[f"orders_{name}"]) for name in ORDER_STATES)),
        ("receipts held", figures["receipts_held"]),
        ("receipts kept, open, defaulted", " / ".join(str(receipts[n]) for n in ("kept", "open", "defaulted"))),
        ("logs compared", f"{logs['compared']}, {logs['heights']} blocks, {sum(logs['entries'])} entries"),
        ("key shared anew", f"{figures['key_refreshes']} times"),
        ("audits", ", ".join(str(one) for one in figures["audits"])),
        *_rotation_rows(figures),
        ("findings", figures["findings_in_all"]),
    ]
    terminal = console()
    terminal.print(table(f"{result.nodes} nodes", ("", ""), [(name, str(value)) for name, value in rows]))
    for one in figures["findings"]:
        terminal.print(f"{one['code']}: {one['detail']}", markup=False, soft_wrap=True)
    terminal.print(f"everything is in {result.folder}", markup=False, soft_wrap=True)


def _rotation_rows(figures: dict[str, Any]) -> list[tuple[str, str]]:
    if (rotation := figures["rotation"]) is None:
        return []
    before = rotation["last_block_of_the_epoch_before"]
    said = f"to {rotation['to']} members {rotation['at_s']} s after the start, over {rotation['seconds']} s later"
    return [
        ("committee replaced", said),
        ("last block of the epoch before", str(before)),
        ("orders executed since", str(rotation["orders_executed_since"])),
        ("settled through", f"height {figures['settled_through']}"),
    ]
