"""``mpcseq devnet up``: chain, deployment, nodes and their key of a written folder, until interrupted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from mpc_sequencer.cli.node import status_table
from mpc_sequencer.cli.output import console, print_json
from mpc_sequencer.cli.rehearsing import start_wanted
from mpc_sequencer.client.keys import read_account_key
from mpc_sequencer.client.link import connector_to
from mpc_sequencer.client.queries import ask_committee, states_of
from mpc_sequencer.client.sequencer import open_sequencer
from mpc_sequencer.demo.key import wait_key
from mpc_sequencer.demo.screen import Screen
from mpc_sequencer.devnet.layout import Devnet
from mpc_sequencer.devnet.processes import NodeProcesses, check_ports_free
from mpc_sequencer.devnet.running import ACCOUNT_UNITS, prepare_folder, terminate_like_interrupt, wait_ready
from mpc_sequencer.node.config import format_endpoint

if TYPE_CHECKING:
    from rich.console import Console

REFRESH_S: Final = 1.0


def run_devnet(devnet: Devnet, *, fresh: bool, as_json: bool) -> None:
    """Run until SIGINT or SIGTERM; ends and reaps everything it started."""
    from mpc_sequencer.devnet.deployment import Funding, deploy
    from mpc_sequencer.settlement.chain import ChainClient
    from mpc_sequencer.settlement.devchain import DEV_SECRET
    from mpc_sequencer.settlement.embedded import start_embedded

    check_ports_free(devnet.file.endpoints)  # before anything is discarded: a node may be running in there
    prepare_folder(devnet, fresh)
    terminal = console(stderr=as_json)
    with terminate_like_interrupt(), start_embedded() as chain_process:
        chain = ChainClient(chain_process.url)
        terminal.print(f"chain at {chain_process.url}; deploying and funding ...", markup=False)
        funding = [
            Funding(read_account_key(path, str).address, ACCOUNT_UNITS) for path in devnet.account_keys()
        ]
        try:
            devnet = deploy(devnet, chain, DEV_SECRET, funding)
        finally:
            chain.close()
        with NodeProcesses(devnet) as processes:
            processes.start()
            trio.run(wait_ready, devnet, processes)
            trio.run(_learn_key, devnet, terminal)
            _announce(devnet, processes, chain_process.url, as_json)
            try:
                trio.run(_watch, devnet, processes, as_json)
            except* KeyboardInterrupt:
                terminal.print("stopping ...")


async def _learn_key(devnet: Devnet, terminal: Console) -> None:
    """Wait for the key, and leave it beside the committee file."""
    file = devnet.file
    async with open_sequencer(file.committee, connector_to(file)) as client:
        await wait_key(client, devnet, Screen(terminal))


def _announce(devnet: Devnet, processes: NodeProcesses, chain_url: str, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "chain": chain_url,
                "settlement": "0x" + devnet.file.genesis.settlement.hex(),
                "committee": str(devnet.committee_path),
                "nodes": [
                    {"node": p.node, "pid": p.pid, "endpoint": format_endpoint(devnet.file.endpoints[p.node])}
                    for p in processes.nodes
                ],
            }
        )
        return
    key = devnet.account_keys()[0]
    log = devnet.node_folder(0) / "data" / "log"
    console().print(
        f"""running; try in another terminal:
  mpcseq order seal --committee {devnet.committee_path} --key-file {key} --side buy --price 61800 \\
    --quantity 0.01 --nonce 1 --out order.bin
  mpcseq order inspect order.bin --committee {devnet.committee_path}
  mpcseq order submit order.bin --committee {devnet.committee_path}
  mpcseq committee status --committee {devnet.committee_path}
  mpcseq audit verify {log} --committee {devnet.committee_path} --chain {chain_url}
Ctrl-C ends it""",
        markup=False,
        soft_wrap=True,
    )


async def _watch(devnet: Devnet, processes: NodeProcesses, as_json: bool) -> None:
    from rich.live import Live

    with Live(console=console(stderr=as_json), auto_refresh=False) as live:
        while True:
            start_wanted(devnet, processes)
            if not as_json:
                view = await ask_committee(devnet.file, range, 2.0)
                live.update(status_table(states_of(view)), refresh=True)
            await trio.sleep(REFRESH_S)
