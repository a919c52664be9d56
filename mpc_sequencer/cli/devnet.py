"""``mpcseq devnet``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mpc_sequencer.cli.options import AsJson, Policy, market_names, parse_policy
from mpc_sequencer.cli.output import console, print_fields, print_json

app = typer.Typer(no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Write and run a development network on this machine. Never for value: one process sees every key."""


@app.command("init")
def init(
    folder: Annotated[Path, typer.Argument(help="A new folder.")],
    nodes: Annotated[int, typer.Option(help="Committee members, 4 or more.")] = 4,
    threshold: Annotated[
        int | None, typer.Option(help="Shares that decrypt: f+1 .. n-f. Default: n-f.")
    ] = None,
    policy: Policy = "auction",
    accounts: Annotated[int, typer.Option(help="Traders' accounts to make keys for.")] = 8,
    base_port: Annotated[
        int, typer.Option(min=1, max=65_535, help="Node i listens on this port + i.")
    ] = 7700,
    as_json: AsJson = False,
) -> None:
    """Deal keys and write keystores, the committee file, node and asset files, traders' keys."""
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
    )
    committee = devnet.file.committee
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
            "--fresh", help="Discard what the nodes stored in an earlier run (their chain is gone)."
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
