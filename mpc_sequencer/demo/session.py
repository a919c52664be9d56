"""The middle of the demo, on the network: key, trade, wait for finality and fills, settle, withdraw, claim."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Final

import trio

from mpc_sequencer.client.errors import ClientError
from mpc_sequencer.client.link import connector_to
from mpc_sequencer.client.sequencer import SequencerClient, open_sequencer
from mpc_sequencer.client.tracker import OrderRecord
from mpc_sequencer.core.errors import ConfigError, ProtocolError
from mpc_sequencer.core.signing import Signer
from mpc_sequencer.demo import settle
from mpc_sequencer.demo.key import wait_key
from mpc_sequencer.demo.load import Traders
from mpc_sequencer.demo.plan import ACCOUNTS, MAKERS, Plan
from mpc_sequencer.demo.screen import Screen
from mpc_sequencer.devnet.layout import Devnet
from mpc_sequencer.devnet.processes import NodeProcesses
from mpc_sequencer.settlement.chain import ChainClient
from mpc_sequencer.settlement.devchain import DEV_SECRET

CONNECT_S_MAX: Final = 30.0
EXECUTED_S_MAX: Final = 120.0
STATUS_S_MAX: Final = 5.0
WATCH_S: Final = 0.25
BALANCES_RETRIES: Final = 20
BALANCES_PAUSE_S: Final = 0.5
PROBLEMS_PER_KIND_MAX: Final = 10
WITHDRAWALS: Final = (
    settle.Withdrawn(0, 0, 12 * 10**8 + 5 * 10**7),  # 12.5 BTC of a maker
    settle.Withdrawn(MAKERS, 1, 1_000 * 10**6),  # 1,000 USDT of a taker
    settle.Withdrawn(ACCOUNTS - 1, 0, 5 * 10**7),  # 0.5 BTC of another
)

Beside = Callable[[], AbstractContextManager[None]]


@dataclass(frozen=True, slots=True)
class Session:
    """What the trading part works with."""

    devnet: Devnet
    chain: ChainClient
    processes: NodeProcesses
    signers: tuple[Signer, ...]
    plan: Plan
    deposits: settle.Balances
    screen: Screen
    started_s: float
    """When the committee was started, by ``time.monotonic``."""
    seal_ahead: bool = False
    """Whether all orders are sealed before the first is sent."""
    beside: Beside = nullcontext
    """Held from the first order until every order is executed."""


@dataclass(slots=True)
class Trading:
    """What came of it."""

    sealed: int = 0
    records: dict[bytes, OrderRecord] = field(default_factory=dict)
    cpu_us_per_order_per_node: int | None = None
    key_ms: int | None = None
    """From the committee's start until the client had verified its key; None where the committee file has it."""
    problems: list[str] = field(default_factory=list)


async def trade_and_settle(session: Session) -> Trading:
    """Run the load and everything after it that needs live nodes."""
    file = session.devnet.file
    trading = Trading()
    async with open_sequencer(file.committee, connector_to(file)) as client:
        await client.wait_connected(file.committee.n, CONNECT_S_MAX)
        key = await wait_key(client, session.devnet, session.screen)
        if key.certificate is not None:
            trading.key_ms = round((time.monotonic() - session.started_s) * 1_000)
        traders = Traders(client.committee, client, session.signers)
        before_us = await _cpu_us(session, client)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_watch_processes, session)
            with session.beside():
                await _trade(session, traders)
                await _wait_executed(session, client, list(traders.sent), trading)
            after_us = await _cpu_us(session, client)
            await _settle(session, client, trading)
            await _withdraw(session, traders, trading)
            nursery.cancel_scope.cancel()
        trading.sealed = traders.sealed
        trading.records = dict(client.tracker.orders)
        trading.cpu_us_per_order_per_node = _cpu_per_order(before_us, after_us, len(traders.sent))
        trading.problems += _member_faults(client)
        return trading


async def _trade(session: Session, traders: Traders) -> None:
    orders = session.plan.orders
    if session.seal_ahead:
        with session.screen.step("sealing all orders ahead"):
            await traders.seal_ahead(orders)
    with session.screen.step("trading", len(orders)) as step:
        await traders.trade(orders, step.advance)
        step.note = f"{traders.sealed} orders sealed and sent"
        if traders.late_s_max > 1.0:
            step.note += f"; this machine sealed up to {traders.late_s_max:.1f} s late"


async def _wait_executed(
    session: Session, client: SequencerClient, order_ids: list[bytes], trading: Trading
) -> None:
    total = len(order_ids)
    with session.screen.step("waiting until every order is final and executed", total) as step:

        async def show() -> None:
            while True:
                step.advance(total - len(client.tracker.unexecuted))
                await trio.sleep(0.1)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(show)
            try:
                await client.wait_executed(order_ids, EXECUTED_S_MAX)
            except ClientError as error:
                trading.problems.append(error.cause)
            except ProtocolError as refusal:
                trading.problems.append(f"the members refused an order: {refusal}")
            nursery.cancel_scope.cancel()


async def _settle(session: Session, client: SequencerClient, trading: Trading) -> None:
    with session.screen.step("settling on the chain") as step:
        height = _last_height(client.tracker.orders.values())
        settled = await trio.to_thread.run_sync(settle.wait_settled, session.chain, height)
        if not settled:
            trading.problems.append(f"height {height} was not settled in {settle.SETTLED_S_MAX:g} s")
        step.note = f"up to height {height}"


async def _withdraw(session: Session, traders: Traders, trading: Trading) -> None:
    """Withdraw through the sequencer, compare every balance with the contract, then claim on the chain."""
    client, chain = traders.client, session.chain
    with session.screen.step("withdrawing and comparing balances") as step:
        withdrawals = {
            traders.withdraw(one.account, session.plan.next_nonces[one.account], one.asset, one.units): one
            for one in WITHDRAWALS
        }
        try:
            records = await client.wait_executed(withdrawals, EXECUTED_S_MAX)
        except (ClientError, ProtocolError) as error:
            trading.problems.append(f"a withdrawal was not executed: {error}")
            return
        trading.problems += [
            f"a withdrawal ended as {record.executed[1]}"
            for record in records
            if record.executed is not None and record.executed[1] != "withdrawn"
        ]
        height = _last_height(client.tracker.orders.values())
        if not await trio.to_thread.run_sync(settle.wait_settled, chain, height):
            trading.problems.append(f"the withdrawals at height {height} were not settled")
        differences = await _differences(session, traders)
        trading.problems += differences[:PROBLEMS_PER_KIND_MAX]
        trading.problems += await trio.to_thread.run_sync(
            settle.claim_all, chain, DEV_SECRET, traders.committee, traders.signers, WITHDRAWALS
        )
        count = len(session.deposits)
        step.note = f"{count - len(differences)} of {count} balances match, {len(WITHDRAWALS)} claims paid"


async def _differences(session: Session, traders: Traders) -> list[str]:
    """Balances that are not as the fills say; reports of later fills may still be on their way, so it looks
    again.
    """
    differences: list[str] = []
    for _ in range(BALANCES_RETRIES):
        expected = settle.expected_balances(
            traders.committee, session.deposits, traders.sent, traders.client.tracker.orders, WITHDRAWALS
        )
        differences = await trio.to_thread.run_sync(
            settle.balance_differences, session.chain, traders.signers, expected, WITHDRAWALS
        )
        if not differences:
            break
        await trio.sleep(BALANCES_PAUSE_S)
    return differences


async def _watch_processes(session: Session) -> None:
    """Say when a node process ends; give up when fewer than a quorum run."""
    committee = session.devnet.file.committee
    alive = set(session.processes.alive())
    while True:
        now = set(session.processes.alive())
        for node in sorted(alive - now):
            session.screen.say(f"node {node} has ended; the others go on")
        alive = now
        if len(alive) < committee.q:
            raise ConfigError(
                f"only {len(alive)} of {committee.n} nodes run, {committee.q} are needed",
                f"read the node.log files in {session.devnet.folder}",
            )
        await trio.sleep(WATCH_S)


async def _cpu_us(session: Session, client: SequencerClient) -> dict[int, int]:
    used: dict[int, int] = {}
    for node in session.processes.alive():
        try:
            used[node] = (await client.status(node, STATUS_S_MAX)).cpu_us
        except ClientError:
            continue  # it ended just now; the figure is over those that live
    return used


def _cpu_per_order(before_us: dict[int, int], after_us: dict[int, int], orders: int) -> int | None:
    both = before_us.keys() & after_us.keys()
    if not both or not orders:
        return None
    return round(sum(after_us[node] - before_us[node] for node in both) / len(both) / orders)


def _last_height(records: Iterable[OrderRecord]) -> int:
    heights = [record.executed[0] for record in records if record.executed is not None]
    return max(heights, default=0)


def _member_faults(client: SequencerClient) -> list[str]:
    faults = [fault.cause for fault in client.faults]
    faults += [
        f"member {one.node} reported {one.seen} of an order where f+1 members reported {one.agreed}"
        for one in client.tracker.contradictions
    ]
    return faults[:PROBLEMS_PER_KIND_MAX]
