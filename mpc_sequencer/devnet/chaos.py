"""``mpcseq devnet chaos``: members killed under load, and proof that nothing was lost.

A devnet on an embedded chain trades at a steady rate through one client while members are killed and started again
(:mod:`mpc_sequencer.devnet.killing`). At the end every order has its outcome, everything is settled and every member
has caught up; then the nodes stop and what they left is compared (:mod:`mpc_sequencer.devnet.findings`): every
receipt the client holds against the lists in the logs, the logs with each other, each log with the auditor's rules,
the contract's balances with what the auditor's own execution says, and nobody may hold evidence against anybody.

Amid the load the committee may be replaced (:mod:`mpc_sequencer.devnet.rotating`). Then the same holds of all nodes,
old and new, and the contract gets the new committee's results too.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trio

from mpc_sequencer.client.errors import ClientError
from mpc_sequencer.client.link import connector_to
from mpc_sequencer.client.receipts import ReceiptStore
from mpc_sequencer.client.sequencer import SequencerClient, open_sequencer
from mpc_sequencer.client.units import MarketUnits
from mpc_sequencer.core.errors import ConfigError, ProtocolError
from mpc_sequencer.core.limits import HEARTBEAT_MS
from mpc_sequencer.core.signing import Signer
from mpc_sequencer.demo import settle
from mpc_sequencer.demo.key import wait_key
from mpc_sequencer.demo.load import Traders
from mpc_sequencer.demo.plan import ACCOUNTS, Plan, account_secret, make_plan
from mpc_sequencer.demo.run import funding_of
from mpc_sequencer.demo.screen import Screen, Step
from mpc_sequencer.demo.trace import read_trace
from mpc_sequencer.devnet import findings as checks
from mpc_sequencer.devnet.chaos_result import ChaosOptions, ChaosResult, Load
from mpc_sequencer.devnet.deployment import deploy
from mpc_sequencer.devnet.findings import Finding
from mpc_sequencer.devnet.killing import Killer, plan_turns
from mpc_sequencer.devnet.layout import ASSETS, BTCUSDT, Devnet, init_devnet, nodes_of, open_devnet
from mpc_sequencer.devnet.logfacts import AuditedLog, audit_logs, newest_log
from mpc_sequencer.devnet.processes import NodeProcesses, steady_ports
from mpc_sequencer.devnet.rotating import Rotator, check_rotation
from mpc_sequencer.devnet.running import dev_account, prepare_folder, terminate_like_interrupt, wait_ready
from mpc_sequencer.devnet.seats import Seats
from mpc_sequencer.settlement.chain import ChainClient
from mpc_sequencer.settlement.devchain import DEV_SECRET
from mpc_sequencer.settlement.embedded import start_embedded

CONNECT_S_MAX: Final = 30.0
EXECUTED_S_MAX: Final = 180.0
QUIET_S_MAX: Final = 60.0
QUIET_POLL_S: Final = 0.25
QUIET_HEIGHTS: Final = 2
"""Blocks of an idle committee after the last order: they include the last lists of all."""
STATUS_S_MAX: Final = 5.0
FAULTS_SHOWN_MAX: Final = 10
ROTATE_AT_SHARE: Final = 0.25
EVERY_S_MIN: Final = 0.5


@dataclass(frozen=True, slots=True)
class _Session:
    """What the loaded part works with."""

    options: ChaosOptions
    devnet: Devnet
    chain: ChainClient
    processes: NodeProcesses
    signers: tuple[Signer, ...]
    plan: Plan
    screen: Screen


def run_chaos(options: ChaosOptions, screen: Screen) -> ChaosResult:
    """The whole run. Raises :class:`ConfigError` and the chain's errors where it cannot even start."""
    check_options(options)
    trace = read_trace(MarketUnits(BTCUSDT, ASSETS[0], ASSETS[1]))
    plan = make_plan(trace, duration_s=options.duration_s, rate_per_s=options.rate_per_s, seed=options.seed)
    devnet = _folder(options)
    signers = tuple(Signer(account_secret(options.seed, number)) for number in range(ACCOUNTS))
    with ExitStack() as stack:
        stack.enter_context(terminate_like_interrupt())
        with screen.step("starting the embedded chain") as step:
            chain_process = stack.enter_context(start_embedded())
            chain = ChainClient(chain_process.url)
            stack.callback(chain.close)
            devnet = deploy(devnet, chain, DEV_SECRET, funding_of(signers))
            step.note = f"{ACCOUNTS} accounts funded, everything is kept in {devnet.folder}"
        processes = stack.enter_context(NodeProcesses(devnet))
        with screen.step("starting the committee"):
            processes.start()
            trio.run(wait_ready, devnet, processes)
        load = trio.run(_load, _Session(options, devnet, chain, processes, signers, plan, screen))
        with screen.step("stopping the nodes"):
            statuses = processes.stop()
        load.findings += [Finding("node.status", f"node {n} ended with status {s}") for n, s in statuses.items() if s]
        load.findings += _left_behind(devnet)
        logs = [(node, newest_log(devnet.node_folder(node) / "data")) for node in nodes_of(devnet)]
        with screen.step("auditing every log", len(logs)) as step:
            audited = audit_logs(logs, devnet.committee_path, chain_process.url, step.advance)
            step.note = ", ".join(str(one.report["verdict"]) for one in audited)
        return _judge(options, devnet, load, audited, chain, signers)


def check_options(options: ChaosOptions) -> None:
    """Refuse what cannot be. Raises :class:`ConfigError`; nothing was written."""
    check_rotation(options.nodes, options.rotate_to, options.rotate_at_s, options.duration_s)
    if 0 < options.every_s < EVERY_S_MIN:
        cause = f"a kill every {options.every_s:g} s comes too soon"
        raise ConfigError(cause, f"use {EVERY_S_MIN:g} or more for --every, or 0 for none")


def _folder(options: ChaosOptions) -> Devnet:
    folder = options.folder or Path(tempfile.mkdtemp(prefix="mpcseq-chaos-"))
    if (folder / "committee.json").is_file():
        devnet = open_devnet(folder)
        if devnet.file.committee.n != options.nodes:
            raise ConfigError(
                f"the devnet in {folder} has {devnet.file.committee.n} nodes", "choose --nodes or another --folder"
            )
        if len(nodes_of(devnet)) > devnet.file.committee.n:
            raise ConfigError(f"{folder} holds nodes that joined in an earlier run", "use a new folder")
        prepare_folder(devnet, fresh=False)
        return devnet
    return init_devnet(
        folder,
        nodes=options.nodes,
        threshold=None,
        accounts=[account_secret(options.seed, number) for number in range(ACCOUNTS)],
        deployer=dev_account().address,
        ports=steady_ports(max(0, options.nodes)),
        chain_url=None,
        key_refresh_ms=round(options.key_refresh_s * 1_000),
    )


# --- the loaded part ----------------------------------------------------------------------------------------------
async def _load(session: _Session) -> Load:
    options, file = session.options, session.devnet.file
    load = Load()
    async with open_sequencer(file.committee, connector_to(file)) as client:
        await client.wait_connected(file.committee.n, CONNECT_S_MAX)
        await wait_key(client, session.devnet, session.screen)
        traders = Traders(client.committee, client, session.signers)
        seats = Seats(session.devnet, client)
        rotator = Rotator(session.devnet, session.processes, client, seats, session.screen)
        killer = Killer(
            session.devnet,
            session.processes,
            client,
            seats,
            down_s=options.down_s,
            seed=options.seed,
            say=session.screen.say,
        )
        turns = plan_turns(options.duration_s, options.every_s, options.wipe_every, options.power_cuts)
        orders = session.plan.orders
        try:
            with session.screen.step(_doing(options), len(orders)) as step:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(killer.run, turns, options.duration_s)
                    if options.rotate_to is not None:
                        nursery.start_soon(rotator.run, options.rotate_to, rotate_at_s(options))
                    await traders.trade(orders, step.advance)
                    killer.trading = False
            load.rotated = rotator.done
            await _wait_executed(session, client, load)
            await _wait_quiet(session, client, load)
        except* ClientError as group:
            load.findings += [Finding("load.client", str(error)) for error in group.exceptions]
        load.records = dict(client.tracker.orders)
        load.killed, load.turns, load.wiped = killer.done, len(turns), seats.ever(killer.wiped)
        load.late_s_max = traders.late_s_max
        load.findings += killer.findings + rotator.findings + _blamed(client)
        _keep_receipts(session.devnet, client, load)
    return load


def rotate_at_s(options: ChaosOptions) -> float:
    """When the committee is replaced, in seconds after the load's start."""
    return ROTATE_AT_SHARE * options.duration_s if options.rotate_at_s is None else options.rotate_at_s


def _doing(options: ChaosOptions) -> str:
    done = ["members are killed"] if options.every_s else []
    done += [] if options.rotate_to is None else ["the committee is replaced"]
    return "trading" + (f" while {' and '.join(done)}" if done else "")


async def _wait_executed(session: _Session, client: SequencerClient, load: Load) -> None:
    order_ids = list(client.tracker.orders)
    with session.screen.step("waiting until every order is executed", len(order_ids)) as step:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_show_executed, client, step, len(order_ids))
            try:
                await client.wait_executed(order_ids, EXECUTED_S_MAX)
            except (ClientError, ProtocolError) as error:
                load.findings.append(Finding("load.unexecuted", str(error)))
            nursery.cancel_scope.cancel()
        step.note = f"{len(order_ids) - len(client.tracker.unexecuted)} of {len(order_ids)}"


async def _show_executed(client: SequencerClient, step: Step, total: int) -> None:
    while True:
        step.advance(total - len(client.tracker.unexecuted))
        await trio.sleep(QUIET_POLL_S)


async def _wait_quiet(session: _Session, client: SequencerClient, load: Load) -> None:
    """Wait until every member has executed everything, blocks of an idle committee have taken in the last lists, and
    all of it is settled."""
    executed = [one.executed[0] for one in client.tracker.orders.values() if one.executed is not None]
    last = max(executed, default=0)
    committee = client.committee
    with session.screen.step("waiting until every member has everything and all is settled") as step:
        await client.wait_connected(committee.n, CONNECT_S_MAX)
        quiet_height = 0
        with trio.move_on_after(QUIET_S_MAX + QUIET_HEIGHTS * HEARTBEAT_MS / 1_000) as scope:
            while True:
                states = [await client.status(node, STATUS_S_MAX) for node in client.roster.places]
                if all(one.height_executed >= last for one in states):
                    quiet_height = quiet_height or max(one.height_final for one in states) + QUIET_HEIGHTS
                    if all(one.height_final >= quiet_height for one in states):
                        break
                await trio.sleep(QUIET_POLL_S)
        if scope.cancelled_caught:
            load.findings.append(Finding("load.behind", f"not every member got to height {quiet_height or last}"))
        load.through_height = min(one.height_final for one in states)
        load.findings += [
            Finding("node.convicts", f"node {one.node} holds evidence against {list(one.convicted)}")
            for one in states
            if one.convicted
        ]
        due = last_settled(executed)
        if not await trio.to_thread.run_sync(settle.wait_settled, session.chain, due):
            load.findings.append(Finding("load.unsettled", f"height {due} was not settled"))
        load.settled_through = (await trio.to_thread.run_sync(session.chain.last_posted)).last_height
        step.note = f"{load.through_height} blocks"


def last_settled(executed: Sequence[int]) -> int:
    """The last height that executed orders, which the contract is to get."""
    return max(executed, default=0)


def _blamed(client: SequencerClient) -> list[Finding]:
    """Members that the client caught in a lie."""
    found = [Finding("client.fault", fault.cause) for fault in client.faults]
    found += [
        Finding("client.contradiction", f"member {one.node} reported {one.seen}, f+1 members {one.agreed}")
        for one in client.tracker.contradictions
    ]
    return found[:FAULTS_SHOWN_MAX]


def _keep_receipts(devnet: Devnet, client: SequencerClient, load: Load) -> None:
    with ReceiptStore(devnet.folder / "receipts.jsonl", devnet.file.committee) as store:
        store.follow(client.committee)
        store.append(
            (one.envelope, receipt) for one in load.records.values() for receipt in checks.receipts_of([one])
        )


# --- what is left -------------------------------------------------------------------------------------------------
def _left_behind(devnet: Devnet) -> list[Finding]:
    """Evidence against members, and nodes that failed in a way nobody foresaw."""
    found = []
    for node in nodes_of(devnet):
        folder = devnet.node_folder(node)
        kept = (path for path in sorted(folder.glob("data/evidence/**/*")) if path.is_file())  # a folder per epoch
        found += [Finding("node.evidence", str(path)) for path in kept]
        with (folder / "node.log").open(encoding="utf-8", errors="replace") as log:
            if any(line.startswith("Traceback") or " CRITICAL " in line for line in log):
                found.append(Finding("node.failed", f"see {folder / 'node.log'}"))
    return found


def _judge(
    options: ChaosOptions,
    devnet: Devnet,
    load: Load,
    audited: list[AuditedLog],
    chain: ChainClient,
    signers: tuple[Signer, ...],
) -> ChaosResult:
    facts = [one.facts for one in audited if not one.error]
    receipts = checks.judge_receipts(checks.receipts_of(load.records.values()), facts, load.wiped)
    found = [*load.findings, *receipts.findings]
    rotated = load.rotated
    left = {} if rotated is None else dict.fromkeys(rotated.leavers, rotated.anchor_height)
    found += checks.compare_logs(facts, load.through_height, left)
    found += checks.judge_orders(load.records, facts, devnet.file.committee.f + 1)
    found += judge_rotation(options, load)
    reports = {node: one.report for node, one in enumerate(audited)}
    found += checks.judge_audits(reports, {node: one.error for node, one in enumerate(audited)})
    found += [Finding("balance", words) for words in _balances(devnet, audited, chain, signers)]
    return ChaosResult(
        folder=devnet.folder,
        nodes=options.nodes,
        every_s=options.every_s,
        load=load,
        receipts=receipts,
        logs=tuple(audited),
        findings=tuple(found),
    )


def judge_rotation(options: ChaosOptions, load: Load) -> list[Finding]:
    """A rotation under load that nobody traded after shows nothing, and the contract gets the new committee's results
    too."""
    if options.rotate_to is None or load.rotated is None:
        return []  # one that did not come to its end is a finding already
    anchor = load.rotated.anchor_height
    found = []
    if not any(one.executed is not None and one.executed[0] > anchor for one in load.records.values()):
        found.append(Finding("rotation.idle", f"no order was executed after height {anchor}"))
    elif load.settled_through <= anchor:
        words = f"the contract has results up to height {load.settled_through}, the first committee ended with {anchor}"
        found.append(Finding("rotation.settled", words))
    return found


def _balances(
    devnet: Devnet, audited: list[AuditedLog], chain: ChainClient, signers: tuple[Signer, ...]
) -> list[str]:
    """Where the contract holds other balances than the auditor's own execution of any log gives."""
    differences: list[str] = []
    for one in audited:
        if not one.error and not differences:
            expected = {
                (account, asset): one.totals.get((signer.address, asset), 0)
                for account, signer in enumerate(signers)
                for asset in range(len(devnet.file.genesis.assets))
            }
            differences = settle.balance_differences(chain, signers, expected, ())
    return differences
