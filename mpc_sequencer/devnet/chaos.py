"""``mpcseq devnet chaos``: members killed under load, and proof that nothing was lost.

A devnet on an embedded chain trades at a steady rate through one client while members are killed and started again
(:mod:`mpc_sequencer.devnet.killing`). At the end every order has its outcome, everything is settled and every member
has caught up; then the nodes stop and what they left is compared (:mod:`mpc_sequencer.devnet.findings`): every
receipt the client holds against the lists in the logs, the logs with each other, each log with the auditor's rules,
the contract's balances with what the auditor's own execution says, and nobody may hold evidence against anybody.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import trio

from mpc_sequencer.client.errors import ClientError
from mpc_sequencer.client.link import connector_to
from mpc_sequencer.client.receipts import ReceiptStore
from mpc_sequencer.client.sequencer import SequencerClient, open_sequencer
from mpc_sequencer.client.tracker import OrderRecord
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
from mpc_sequencer.demo.summary import percentile
from mpc_sequencer.demo.trace import read_trace
from mpc_sequencer.devnet import findings as checks
from mpc_sequencer.devnet.deployment import deploy
from mpc_sequencer.devnet.findings import Finding, JudgedReceipts
from mpc_sequencer.devnet.killing import Killed, Killer, plan_turns
from mpc_sequencer.devnet.layout import ASSETS, BTCUSDT, Devnet, init_devnet, open_devnet
from mpc_sequencer.devnet.logfacts import AuditedLog, audit_logs, newest_log
from mpc_sequencer.devnet.processes import NodeProcesses, steady_ports
from mpc_sequencer.devnet.running import dev_account, prepare_folder, terminate_like_interrupt, wait_ready
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


@dataclass(frozen=True, slots=True)
class ChaosOptions:
    """What ``mpcseq devnet chaos`` was asked for; ``folder`` None means a new temporary one."""

    folder: Path | None
    nodes: int
    rate_per_s: float
    duration_s: float
    every_s: float
    down_s: float
    seed: int
    wipe_every: int = 0
    power_cuts: int = 0
    key_refresh_s: float = 0.0
    """How often the threshold key is shared anew; 0: never."""


@dataclass(slots=True)
class Load:
    """What the loaded part leaves behind."""

    records: dict[bytes, OrderRecord] = field(default_factory=dict)
    killed: list[Killed] = field(default_factory=list)
    turns: int = 0
    wiped: frozenset[int] = frozenset()
    through_height: int = 0
    """Every member had executed everything up to this height."""
    late_s_max: float = 0.0
    findings: list[Finding] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class ChaosResult:
    """The figures and findings of a run."""

    folder: Path
    nodes: int
    every_s: float
    load: Load
    receipts: JudgedReceipts
    logs: tuple[AuditedLog, ...]
    findings: tuple[Finding, ...]

    def as_json(self) -> dict[str, Any]:
        """The object that `--json` prints."""
        records = self.load.records.values()
        back_s = sorted(one.back_s for one in self.load.killed if one.back_s is not None)
        kinds = [one.kind for one in self.load.killed]
        return {
            "folder": str(self.folder),
            "nodes": self.nodes,
            "turns_planned": self.load.turns,
            "kills": sum(len(one.nodes) for one in self.load.killed),
            "wipes": kinds.count("wipe"),
            "power_cuts": kinds.count("power cut"),
            "recovery_s": {
                "p50": _rounded(percentile(back_s, 0.5)),
                "max": _rounded(percentile(back_s, 1.0)),
                "longer_than_every": sum(one > self.every_s for one in back_s),
            },
            "orders_sent": len(records),
            "orders_final": sum(one.final is not None or one.executed is not None for one in records),
            "orders_executed": sum(one.executed is not None for one in records),
            "load_late_s_max": round(self.load.late_s_max, 2),
            "receipts_held": len(checks.receipts_of(records)),
            "receipts": {name: getattr(self.receipts, name) for name in ("kept", "open", "defaulted")},
            "logs": {
                "compared": len(self.logs),
                "heights": self.load.through_height,
                "entries": [one.report.get("entries", 0) for one in self.logs],
            },
            "key_refreshes": max(((one.report.get("key") or {}).get("refreshes", 0) for one in self.logs), default=0),
            "audits": [one.report.get("verdict") for one in self.logs],
            "findings": [{"code": one.code, "detail": one.detail} for one in checks.shown(self.findings)],
            "findings_in_all": len(self.findings),
        }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)


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
        logs = [(node, newest_log(devnet.node_folder(node) / "data")) for node in range(devnet.file.committee.n)]
        with screen.step("auditing every log", len(logs)) as step:
            audited = audit_logs(logs, devnet.committee_path, chain_process.url, step.advance)
            step.note = ", ".join(str(one.report["verdict"]) for one in audited)
        return _judge(options, devnet, load, audited, chain, signers)


def _folder(options: ChaosOptions) -> Devnet:
    folder = options.folder or Path(tempfile.mkdtemp(prefix="mpcseq-chaos-"))
    if (folder / "committee.json").is_file():
        devnet = open_devnet(folder)
        if devnet.file.committee.n != options.nodes:
            raise ConfigError(
                f"the devnet in {folder} has {devnet.file.committee.n} nodes", "choose --nodes or another --folder"
            )
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
        killer = Killer(
            session.devnet,
            session.processes,
            client,
            down_s=options.down_s,
            seed=options.seed,
            say=session.screen.say,
        )
        turns = plan_turns(options.duration_s, options.every_s, options.wipe_every, options.power_cuts)
        orders = session.plan.orders
        try:
            with session.screen.step("trading while members are killed", len(orders)) as step:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(killer.run, turns, options.duration_s)
                    await traders.trade(orders, step.advance)
                    killer.trading = False
            await _wait_executed(session, client, load)
            await _wait_quiet(session, client, load)
        except* ClientError as group:
            load.findings += [Finding("load.client", str(error)) for error in group.exceptions]
        load.records = dict(client.tracker.orders)
        load.killed, load.turns, load.wiped = killer.done, len(turns), frozenset(killer.wiped)
        load.late_s_max = traders.late_s_max
        load.findings += killer.findings + _blamed(client)
    _keep_receipts(session.devnet, load)
    return load


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
    reports = [one.executed for one in client.tracker.orders.values() if one.executed is not None]
    last = max((report[0] for report in reports), default=0)
    committee = session.devnet.file.committee
    with session.screen.step("waiting until every member has everything and all is settled") as step:
        await client.wait_connected(committee.n, CONNECT_S_MAX)
        quiet_height = 0
        with trio.move_on_after(QUIET_S_MAX + QUIET_HEIGHTS * HEARTBEAT_MS / 1_000) as scope:
            while True:
                states = [await client.status(node, STATUS_S_MAX) for node in range(committee.n)]
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
        if not await trio.to_thread.run_sync(settle.wait_settled, session.chain, last):
            load.findings.append(Finding("load.unsettled", f"height {last} was not settled"))
        step.note = f"{load.through_height} blocks"


def _blamed(client: SequencerClient) -> list[Finding]:
    """Members that the client caught in a lie."""
    found = [Finding("client.fault", fault.cause) for fault in client.faults]
    found += [
        Finding("client.contradiction", f"member {one.node} reported {one.seen}, f+1 members {one.agreed}")
        for one in client.tracker.contradictions
    ]
    return found[:FAULTS_SHOWN_MAX]


def _keep_receipts(devnet: Devnet, load: Load) -> None:
    with ReceiptStore(devnet.folder / "receipts.jsonl", devnet.file.committee) as store:
        store.append(
            (one.envelope, receipt) for one in load.records.values() for receipt in checks.receipts_of([one])
        )


# --- what is left -------------------------------------------------------------------------------------------------
def _left_behind(devnet: Devnet) -> list[Finding]:
    """Evidence against members, and nodes that failed in a way nobody foresaw."""
    found = []
    for node in range(devnet.file.committee.n):
        folder = devnet.node_folder(node)
        found += [Finding("node.evidence", str(path)) for path in sorted(folder.glob("data/evidence/*"))]
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
    found += checks.compare_logs(facts, load.through_height)
    found += checks.judge_orders(load.records, facts, devnet.file.committee.f + 1)
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
