"""``mpcseq node``."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mpc_sequencer.cli.options import (
    COMMITTEE_DEFAULT,
    AsJson,
    CommitteePath,
    PassphraseFile,
    TimeoutS,
    read_committee,
)
from mpc_sequencer.cli.output import console, print_json, table

if TYPE_CHECKING:
    from rich.table import Table

    from mpc_sequencer.core.messages import DarkMarketStatus, StatusReply

app = typer.Typer(no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Run a committee member, or ask members for their state."""


@app.command("run")
def run(
    folder: Annotated[Path, typer.Argument(help="The node's folder: node.json and what it names.")],
    passphrase_file: PassphraseFile = None,
    stream: Annotated[
        str | None,
        typer.Option(
            help="Serve an outside matching engine over a WebSocket at this port (of 127.0.0.1) or host:port."
        ),
    ] = None,
    until_stdin_closes: Annotated[
        bool, typer.Option("--until-stdin-closes", help="Also end when standard input closes.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Run a committee member until SIGTERM or Ctrl-C, which end it in order."""
    import gc
    import logging

    gc.disable()  # what is imported stays: to look for garbage in it costs a start a sixth of its time
    import trio

    from mpc_sequencer.core.errors import ConfigError
    from mpc_sequencer.node.passphrases import read_passphrase
    from mpc_sequencer.node.process import run_node

    gc.freeze()
    gc.enable()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs every request to the chain
    if not folder.is_dir():
        raise ConfigError(f"{folder} is not a folder", "give the node's folder, which holds node.json")
    passphrase = read_passphrase(file=passphrase_file, prompt=True)
    exit_status = 0
    at = None if stream is None else _stream_at(stream)

    async def node(task_status: trio.TaskStatus[int]) -> None:
        nonlocal exit_status
        exit_status = await run_node(folder, passphrase, stream=at, task_status=task_status)

    async def end_with_stdin() -> None:
        while await trio.to_thread.run_sync(os.read, 0, 4096, abandon_on_cancel=True):
            pass
        # The runner ends in order on SIGTERM, so that is what a closed input becomes.
        signal.raise_signal(signal.SIGTERM)

    async def serve() -> None:
        async with trio.open_nursery() as watchers:
            async with trio.open_nursery() as nursery:
                port: int = await nursery.start(node)
                if as_json:
                    print_json({"node": str(folder), "port": port})
                else:
                    console().print(f"node {folder} listens at port {port}", markup=False)
                if until_stdin_closes:
                    watchers.start_soon(end_with_stdin)
            watchers.cancel_scope.cancel()

    trio.run(serve)
    if exit_status:
        raise typer.Exit(exit_status)


def _stream_at(text: str) -> tuple[str, int]:
    """Where the stream listens: a port of this machine alone, or what is named."""
    from mpc_sequencer.node.config import parse_endpoint

    return parse_endpoint(f"127.0.0.1:{text}" if text.isdecimal() else text, "--stream")


@app.command("status")
def status(
    committee: CommitteePath = COMMITTEE_DEFAULT,
    nodes: Annotated[str | None, typer.Option(help="Members to ask, such as 0,2. Default: all.")] = None,
    timeout: TimeoutS = 5.0,
    as_json: AsJson = False,
) -> None:
    """Ask the present committee's members for their state over pinned TLS. Exit status 2 when none answers."""
    from mpc_sequencer.cli.committee import present_committee
    from mpc_sequencer.client.queries import states_of

    answers = states_of(present_committee(read_committee(committee), timeout, nodes))
    if as_json:
        print_json({"nodes": [status_fields(node, answer) for node, answer in answers.items()]})
    else:
        console().print(status_table(answers))
        if any(not isinstance(answer, str) and answer.dark_phase for answer in answers.values()):
            console().print(dark_table(answers))
        for answer in answers.values():
            if isinstance(answer, str):
                console().print(answer, markup=False, soft_wrap=True)
    if all(isinstance(answer, str) for answer in answers.values()):
        from mpc_sequencer.client.errors import NotConnected

        raise NotConnected(
            f"no member answered: {next(iter(answers.values()))}",
            "start the nodes, or check the committee file's endpoints",
        )


def status_fields(node: int, answer: StatusReply | str) -> dict[str, Any]:
    """A member's status as JSON values; ``error`` says why there is none."""
    if isinstance(answer, str):
        return {"node": node, "error": answer}
    import msgspec

    values = {name: value for name, value in msgspec.structs.asdict(answer).items() if name != "request"}
    names = ("height", "market", "price_ticks", "volume_lots")
    values["clearing"] = [dict(zip(names, row, strict=True)) for row in answer.clearing]
    values["dark"] = [_dark_fields(one) for one in answer.dark]
    return values


def _dark_fields(market: DarkMarketStatus) -> dict[str, Any]:
    import msgspec

    names = ("height", "code", "price_ticks", "volume_lots")
    last = None if market.last is None else dict(zip(names, market.last, strict=True))
    return {**msgspec.structs.asdict(market), "last": last}


def _state(answer: StatusReply) -> str:
    from mpc_sequencer.client.keysearch import KEY_IN_USE, describe_phase

    state = f"up, {len(answer.peers_connected)} peers"
    if answer.key_phase not in KEY_IN_USE:
        state += f", key: {describe_phase(answer)}"
    if answer.convicted:
        state += ", convicted: " + " ".join(str(member) for member in answer.convicted)
    return state


def dark_table(answers: dict[int, StatusReply | str]) -> Table:
    """All members' dark markets in one table."""
    rows: list[tuple[object, ...]] = []
    for node, answer in sorted(answers.items()):
        if isinstance(answer, str):
            continue
        keys = answer.dark_phase if not answer.dark_keys else " ".join(map(str, answer.dark_keys))
        for one in answer.dark:
            height, code, price_ticks, volume_lots = one.last or ("", "", "", "")
            last = (height, code, price_ticks, volume_lots)
            rows.append((node, keys, one.market, one.phase, one.batch, one.orders, one.collecting, *last))
    columns = ("node", "dark keys", "market", "phase", "batch", "orders", "collecting")
    return table("", (*columns, "last height", "outcome", "price", "volume"), rows)


def status_table(answers: dict[int, StatusReply | str]) -> Table:
    """All members' states in one table."""
    rows: list[tuple[object, ...]] = []
    for node, answer in sorted(answers.items()):
        if isinstance(answer, str):
            rows.append((node, "no answer", *[""] * 10))
            continue
        rows.append(
            (
                node,
                _state(answer),
                answer.view,
                answer.height_final,
                answer.height_executed,
                answer.height_certified,
                answer.height_settled,
                answer.orders_pending,
                answer.orders_sequenced,
                answer.fills,
                f"{answer.cpu_us / 1e6:.1f} s",
                f"{answer.memory_bytes / 1e6:.0f} MB",
            )
        )
    columns = (
        "node",
        "state",
        "view",
        "final",
        "executed",
        "certified",
        "settled",
        "pending",
        "sequenced",
        "fills",
    )
    return table("", (*columns, "cpu", "memory"), rows)
