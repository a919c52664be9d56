"""Members as real processes: balances and fills are proven to a trader, and an outside engine is fed."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
from node_net import NODES, WAIT_S, Net

from mpc_sequencer.cli.app import run
from mpc_sequencer.client.link import connector_to
from mpc_sequencer.client.proofs import verify
from mpc_sequencer.client.sequencer import open_sequencer
from mpc_sequencer.core.actions import BUY, SELL
from mpc_sequencer.core.messages import MarketReply
from mpc_sequencer.core.resultproof import ACCOUNT, FILL
from mpc_sequencer.devnet.processes import free_ports
from mpc_sequencer.market import Fill
from mpc_sequencer.market.types import AccountValue

sys.path.insert(0, str(Path(__file__).parent.parent / "matching"))
from matching_kit import example

from mpc_sequencer.matching.consumer import open_matching, run_engine

STREAM = 1


@pytest.fixture(scope="module")
def traded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Net, int, Any]]:
    """Four members, one with a stream, and two orders that met in one height or in two."""
    net = Net(tmp_path_factory.mktemp("net"))
    (port,) = free_ports(1)
    try:
        net.start_signer()
        for node in NODES:
            net.start(node, *(("--stream", str(port)) if node == STREAM else ()))
        net.settled()
        d = net.deployment
        now_ms = time.time_ns() // 1_000_000
        sell = d.order(d.traders[0], now_ms, side=SELL, price_ticks=618_000, quantity_lots=5)
        buy = d.order(d.traders[1], now_ms, side=BUY, price_ticks=618_000, quantity_lots=3)
        net.submit(list(NODES), [sell, buy])
        net.settled()
        yield net, port, buy
    finally:
        for node in list(net.processes):
            net.end(node, signal.SIGKILL)
        net.end_signer()


def test_an_account_and_a_fill_are_proven_by_a_running_member(traded: tuple[Net, int, Any]) -> None:
    net, _, buy = traded
    trader = net.deployment.traders[1].address

    async def ask() -> tuple[Any, Any, MarketReply]:
        async with open_sequencer(net.committee, connector_to(net.file)) as client:
            await client.wait_connected(4, WAIT_S)
            account = await client.prove(2, ACCOUNT, trader, timeout_s=WAIT_S)
            height = (await client.order(2, buy.order_id())).height
            fill = await client.prove(3, FILL, buy.order_id(), height, WAIT_S)
            return account, fill, await client.market(0, 0, 5)

    account, fill, market = trio.run(ask)
    (value,) = verify(account, net.committee.genesis_id, {0: net.committee}.get).values
    assert isinstance(value, AccountValue) and value.highest_nonce == 1
    (row,) = verify(fill, net.committee.genesis_id, {0: net.committee}.get).values
    assert isinstance(row, Fill) and (row.quantity_lots, row.account) == (3, trader)
    assert market.asks == ((618_000, 2, 1),) and market.bids == () and market.reference_price_ticks == 618_000
    assert market.terms is not None and market.clearing is not None and market.clearing[1:] == (618_000, 3)


def test_the_commands_show_prove_and_verify_without_trust_in_a_member(
    traded: tuple[Net, int, Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    net, _, buy = traded
    trader, committee = net.deployment.traders[1].address.hex(), str(net.folder / "committee.json")

    def call(*words: str) -> Any:
        capfd.readouterr()
        assert run([*words, "--committee", committee, "--json"]) == 0, capfd.readouterr().err
        return json.loads(capfd.readouterr().out.splitlines()[-1])

    shown = call("account", "show", trader)
    assert shown["proven"] == "account" and shown["values"][0]["highest_nonce"] == 1
    out = str(tmp_path / "proof")
    written = call("account", "prove", "0x" + trader, "--out", out)
    assert written["values"] == shown["values"] and Path(out).stat().st_size == written["bytes"]
    assert call("account", "verify", out)["values"] == shown["values"]
    market = call("market", "show", "0", "--levels", "3")
    assert market["agreed"] and market["asks"][0]["lots"] == 2
    Path(out).write_bytes(Path(out).read_bytes()[:-1] + b"\x00")
    capfd.readouterr()
    assert run(["account", "verify", out, "--committee", committee]) == 2
    assert run(["account", "prove", buy.order_id().hex(), "--out", out + "2", "--committee", committee]) == 2
    assert "hint: nothing is kept under that name" in capfd.readouterr().err


def test_an_outside_engine_is_fed_the_member_s_batches(traded: tuple[Net, int, Any]) -> None:
    _, port, buy = traded
    engine = example().ProRata()

    async def feed() -> None:
        async with open_matching(f"ws://127.0.0.1:{port}") as link:
            with trio.move_on_after(2):
                await run_engine(link, engine, link.hello.first_height)
        async with open_matching(f"ws://127.0.0.1:{port}") as link:
            assert link.hello.open_height == 0, "every batch has its answer"

    trio.run(feed)
    assert [one.lots for one in engine.held.values()] == [2], "what the member's own engine left of the sale"
    assert buy.order_id().hex() not in engine.held
