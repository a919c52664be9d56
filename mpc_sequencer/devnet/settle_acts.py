"""What happens while a settlement scenario's members run: trading, and everything that the chain is for.

Beside the demo's 40 traders there are three more. Two newcomers have nothing when trading begins; they deposit on the
chain and trade with each other and whoever else once a member proves their accounts. One is ignored: no member is ever
sent his order, so only the chain can bring it in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import trio

from mpc_sequencer.client.errors import ClientError
from mpc_sequencer.client.link import connector_to
from mpc_sequencer.client.sequencer import SequencerClient, open_sequencer
from mpc_sequencer.core.actions import BUY, GTC, SELL
from mpc_sequencer.core.codec import encode
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.resultproof import ACCOUNT
from mpc_sequencer.core.signing import Signer
from mpc_sequencer.demo.key import wait_key
from mpc_sequencer.demo.load import Traders
from mpc_sequencer.demo.plan import ACCOUNTS, MAKERS, Plan, PlannedOrder
from mpc_sequencer.demo.screen import Screen
from mpc_sequencer.demo.settle import Withdrawn, claim_all, wait_settled
from mpc_sequencer.devnet import settle_chain
from mpc_sequencer.devnet.findings import Finding
from mpc_sequencer.devnet.layout import Devnet
from mpc_sequencer.devnet.processes import NodeProcesses
from mpc_sequencer.devnet.rotating import Rotator
from mpc_sequencer.devnet.seats import Seats
from mpc_sequencer.devnet.settle_chain import Hands
from mpc_sequencer.devnet.settle_result import Acts, Forced
from mpc_sequencer.settlement.contract import SettlementContract

SELLER, BUYER, IGNORED = ACCOUNTS, ACCOUNTS + 1, ACCOUNTS + 2
TRADERS: Final = ACCOUNTS + 3
NEWCOMER_UNITS: Final = {SELLER: (0, 3 * 10**8), BUYER: (1, 200_000 * 10**6)}
"""3 BTC and 200,000 USDT, by account number: (asset, base units)."""
NEWCOMER_LOTS: Final = 1_000
FORCED_LOTS: Final = 200
WITHDRAWN: Final = (
    Withdrawn(0, 0, 12 * 10**8 + 5 * 10**7),  # 12.5 BTC of a maker
    Withdrawn(MAKERS, 1, 1_000 * 10**6),  # 1,000 USDT of a taker
)
NEWCOMER_WITHDRAWN: Final = Withdrawn(SELLER, 0, 5 * 10**7)
CONNECT_S_MAX: Final = 30.0
CREDITED_S_MAX: Final = 60.0
EXECUTED_S_MAX: Final = 120.0
SETTLED_S_MAX: Final = 90.0
STATUS_S_MAX: Final = 5.0
PROOF_S_MAX: Final = 5.0
POLL_S: Final = 0.25
ROTATE_AT_S: Final = 2.0
KILL_AFTER_S: Final = 2.0


@dataclass(slots=True)
class Stage:
    """What the acts work with."""

    devnet: Devnet
    chain: SettlementContract
    processes: NodeProcesses
    signers: tuple[Signer, ...]
    secrets: tuple[bytes, ...]
    hands: Hands
    plan: Plan
    screen: Screen
    acts: Acts
    rotate_to: int | None = None


async def play(stage: Stage) -> None:
    """Trade with live deposits, withdrawals and a forced order, amid a rotation where ``stage`` has one, until
    everything is executed, settled and claimed."""
    file, acts = stage.devnet.file, stage.acts
    async with open_sequencer(file.committee, connector_to(file)) as client:
        await client.wait_connected(file.committee.n, CONNECT_S_MAX)
        await wait_key(client, stage.devnet, stage.screen)
        traders = Traders(client.committee, client, stage.signers)
        async with trio.open_nursery() as clock:
            clock.start_soon(settle_chain.keep_ticking, stage.chain, stage.hands.clock)
            with stage.screen.step("trading, depositing, withdrawing, forcing") as step:
                async with trio.open_nursery() as acting:
                    acting.start_soon(_trade, stage, traders, client)
                    acting.start_soon(_newcomers, stage, traders, client)
                    acting.start_soon(_force, stage, traders)
                await _executed(stage, client, list(traders.sent))
                step.note = f"{len(traders.sent)} orders"
            await _withdraw_and_claim(stage, traders, client)
            await _wait_all_settled(stage, client)
            clock.cancel_scope.cancel()
        acts.records = dict(client.tracker.orders)
        _blame(acts, client)


async def _trade(stage: Stage, traders: Traders, client: SequencerClient) -> None:
    """The planned orders; half of them after the rotation where there is one."""
    orders = stage.plan.orders
    if stage.rotate_to is None:
        return await traders.trade(orders, _nobody)
    seats = Seats(stage.devnet, client)
    rotator = Rotator(stage.devnet, stage.processes, client, seats, stage.screen)
    half = len(orders) // 2
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rotator.run, stage.rotate_to, ROTATE_AT_S)
        await traders.trade(orders[:half], _nobody)
    stage.acts.rotated = rotator.done
    stage.acts.findings += rotator.findings
    later = orders[half:]
    await traders.trade([replace(one, at_s=one.at_s - later[0].at_s) for one in later], _nobody)


def _nobody(sent: int) -> None:
    """Nobody follows how many orders are sent."""


async def _newcomers(stage: Stage, traders: Traders, client: SequencerClient) -> None:
    """Deposit, wait until the accounts are proven, trade, withdraw."""
    chain, acts = stage.chain, stage.acts
    for number, (asset, units) in NEWCOMER_UNITS.items():
        await trio.to_thread.run_sync(
            settle_chain.deposit_as_newcomer, chain, stage.signers[number], stage.secrets[number], asset, units
        )
    for number in NEWCOMER_UNITS:
        if not await _credited(client, stage.signers[number].address):
            acts.findings.append(Finding("settle.newcomer", f"trader {number} is not credited in {CREDITED_S_MAX:g} s"))
            return
    low, high = _span(stage.plan)
    before = set(traders.sent)
    await traders.trade(
        [
            PlannedOrder(0.0, SELLER, 1, SELL, GTC, low, NEWCOMER_LOTS),
            PlannedOrder(0.0, BUYER, 1, BUY, GTC, high, NEWCOMER_LOTS),
        ],
        _nobody,
    )
    sent = [order_id for order_id in traders.sent if traders.sent[order_id].account in NEWCOMER_UNITS]
    await _executed(stage, client, [order_id for order_id in sent if order_id not in before])
    for order_id in sent:
        if any(lots for _, lots, _, _ in client.tracker.orders[order_id].fills()):
            acts.newcomers += 1
        else:
            acts.findings.append(Finding("settle.newcomer", f"trader {traders.sent[order_id].account} traded nothing"))
    one = NEWCOMER_WITHDRAWN
    await _withdrawn(stage, client, [traders.withdraw(one.account, 2, one.asset, one.units)])


async def _credited(client: SequencerClient, account: bytes) -> bool:
    """Whether a member proves that the account exists, in time."""
    with trio.move_on_after(CREDITED_S_MAX):
        while True:
            for node in client.connected():
                try:
                    await client.prove(node, ACCOUNT, account, timeout_s=PROOF_S_MAX)
                except ClientError:
                    continue
                return True
            await trio.sleep(POLL_S)
    return False


async def _force(stage: Stage, traders: Traders) -> None:
    """The ignored trader's order: sealed, sent to nobody, queued on the chain by himself, and waited for there."""
    chain, trader = stage.chain, stage.signers[IGNORED]
    order = PlannedOrder(0.0, IGNORED, 1, BUY, GTC, _span(stage.plan)[1], FORCED_LOTS)
    order_id, envelope = traders.seal(order)
    secret, had = stage.secrets[IGNORED], await trio.to_thread.run_sync(chain.balance, trader.address, 0)
    due_block = await trio.to_thread.run_sync(settle_chain.force, chain, secret, encode(envelope))
    forced = stage.acts.forced = Forced(order_id, due_block)
    with trio.move_on_after(SETTLED_S_MAX):
        while not forced.bought_units:
            await trio.sleep(POLL_S)
            free, _ = await trio.to_thread.run_sync(chain.balance, trader.address, 0)
            forced.bought_units = free - had[0]
        return
    stage.acts.findings.append(Finding("settle.forced", f"no trade of it was settled in {SETTLED_S_MAX:g} s"))


async def _executed(stage: Stage, client: SequencerClient, order_ids: Sequence[bytes]) -> None:
    try:
        await client.wait_executed(order_ids, EXECUTED_S_MAX)
    except (ClientError, ProtocolError) as error:
        stage.acts.findings.append(Finding("settle.unexecuted", str(error)))


async def _withdrawn(stage: Stage, client: SequencerClient, order_ids: Sequence[bytes]) -> None:
    await _executed(stage, client, order_ids)
    for order_id in order_ids:
        executed = client.tracker.orders[order_id].executed
        if executed is None or executed[1] != "withdrawn":
            ended = "not executed" if executed is None else executed[1]
            stage.acts.findings.append(Finding("settle.withdrawal", f"order {order_id.hex()} ended as {ended}"))


async def _withdraw_and_claim(stage: Stage, traders: Traders, client: SequencerClient) -> None:
    """Two more withdrawals, and every claim on the chain, paid for by somebody else."""
    chain, plan = stage.chain, stage.plan
    with stage.screen.step("withdrawing and claiming") as step:
        order_ids = [
            traders.withdraw(one.account, plan.next_nonces[one.account], one.asset, one.units) for one in WITHDRAWN
        ]
        await _withdrawn(stage, client, order_ids)
        ends = [one.executed[0] for one in client.tracker.orders.values() if one.executed is not None]
        if not await trio.to_thread.run_sync(wait_settled, chain, max(ends, default=0), SETTLED_S_MAX):
            stage.acts.findings.append(Finding("settle.unsettled", f"height {max(ends)} was not settled"))
        all_withdrawn = (*WITHDRAWN, NEWCOMER_WITHDRAWN)
        problems = await trio.to_thread.run_sync(
            claim_all, chain, stage.hands.anyone, client.committee, stage.signers, all_withdrawn
        )
        stage.acts.findings += [Finding("settle.claim", words) for words in problems]
        stage.acts.claims = len(all_withdrawn) - len(problems)
        step.note = f"{stage.acts.claims} claims paid"


async def _wait_all_settled(stage: Stage, client: SequencerClient) -> None:
    """Until the contract has the result of everything that members have executed: a forced order's height too."""
    with stage.screen.step("settling everything") as step, trio.move_on_after(SETTLED_S_MAX) as scope:
        while True:
            states = [await client.status(place, STATUS_S_MAX) for place in client.roster.places]
            last = await trio.to_thread.run_sync(stage.chain.last_posted)
            step.note = f"up to height {last.last_height}, epoch {last.epoch}"
            if all(one.height_executed <= last.last_height for one in states):
                break
            await trio.sleep(POLL_S)
    if scope.cancelled_caught:
        stage.acts.findings.append(Finding("settle.unsettled", f"not everything within {SETTLED_S_MAX:g} s"))


async def trade_until_killed(stage: Stage) -> bytes:
    """Trade until something is settled, then kill every member for good amid it; the ignored trader's sealed order,
    which nobody has seen."""
    file, acts = stage.devnet.file, stage.acts
    async with open_sequencer(file.committee, connector_to(file)) as client:
        await client.wait_connected(file.committee.n, CONNECT_S_MAX)
        await wait_key(client, stage.devnet, stage.screen)
        traders = Traders(client.committee, client, stage.signers)
        order = PlannedOrder(0.0, IGNORED, 1, BUY, GTC, _span(stage.plan)[1], FORCED_LOTS)
        _, envelope = traders.seal(order)
        with stage.screen.step("trading until every member is killed") as step:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(traders.trade, stage.plan.orders, _nobody)
                settled = await trio.to_thread.run_sync(wait_settled, stage.chain, 1, SETTLED_S_MAX)
                if not settled:
                    acts.findings.append(Finding("settle.unsettled", f"nothing in {SETTLED_S_MAX:g} s"))
                await trio.sleep(KILL_AFTER_S)
                ended = stage.processes.kill(stage.processes.alive())
                acts.findings += [Finding("node.ended", f"node {node} had ended by itself") for node in ended]
                nursery.cancel_scope.cancel()
            step.note = f"{len(traders.sent)} orders"
        acts.records = dict(client.tracker.orders)
        return encode(envelope)


def _span(plan: Plan) -> tuple[int, int]:
    """The lowest and the highest price of the plan, in ticks."""
    prices = [order.price_ticks for order in plan.orders]
    return min(prices), max(prices)


def _blame(acts: Acts, client: SequencerClient) -> None:
    acts.findings += [Finding("client.fault", fault.cause) for fault in client.faults]
    acts.findings += [
        Finding("client.contradiction", f"member {one.node} reported {one.seen}, f+1 members {one.agreed}")
        for one in client.tracker.contradictions
    ]
