"""The demo, step by step: chain, committee and its key, orders, settlement, withdrawals, audit.

Everything it starts it ends: the chain and the nodes are child processes held by ``with`` blocks, which
reap them on success, on errors and on Ctrl-C. Every wait has a bound. What does not come out as it should
(an order that never became final, a balance that is off, a node that ended badly) is collected as a problem
and shown, so that one fault does not hide the next.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import trio

from mpc_sequencer.client.units import MarketUnits
from mpc_sequencer.core.signing import Signer
from mpc_sequencer.demo.plan import ACCOUNTS, MAKERS, Plan, account_secret, make_plan
from mpc_sequencer.demo.screen import Screen
from mpc_sequencer.demo.session import Beside, Session, Trading, trade_and_settle
from mpc_sequencer.demo.settle import settlement_gas
from mpc_sequencer.demo.summary import Summary, count_orders, latencies
from mpc_sequencer.demo.trace import read_trace
from mpc_sequencer.devnet.deployment import Funding, deploy
from mpc_sequencer.devnet.layout import ASSETS, BTCUSDT, Devnet, init_devnet
from mpc_sequencer.devnet.processes import NodeProcesses, free_ports
from mpc_sequencer.devnet.running import dev_account, terminate_like_interrupt, wait_ready
from mpc_sequencer.market import AUCTION
from mpc_sequencer.settlement.chain import ChainClient
from mpc_sequencer.settlement.devchain import DEV_SECRET
from mpc_sequencer.settlement.embedded import start_embedded

AUDIT_S_MAX: Final = 1_800.0
FINDINGS_SHOWN_MAX: Final = 5
MAKER_UNITS: Final = {0: 10_000 * 10**8, 1: 1_000_000_000 * 10**6}
TAKER_UNITS: Final = {0: 1_000 * 10**8, 1: 100_000_000 * 10**6}
"""Deposits in base units by asset: nothing is cancelled in the demo, so makers' quotes stay locked."""


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What ``mpcseq demo`` was asked for; ``folder`` None means a new temporary one."""

    duration_s: float
    nodes: int
    rate_per_s: float | None
    seed: int
    folder: Path | None
    policy: int = AUCTION
    seal_ahead: bool = False
    """Seal all orders before the first is sent: a burst is then as fast as the network."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a demo leaves behind."""

    summary: Summary
    devnet: Devnet
    audited_node: int
    audit_report: dict[str, Any]


def run_demo(options: DemoOptions, screen: Screen, beside: Beside = nullcontext) -> Outcome:
    """Run the whole demo; ``beside`` is held while orders are traded. Raises :class:`ConfigError` and the chain's
    errors where it cannot even start."""
    trace = read_trace(MarketUnits(BTCUSDT, ASSETS[0], ASSETS[1]))
    plan = make_plan(trace, duration_s=options.duration_s, rate_per_s=options.rate_per_s, seed=options.seed)
    devnet = _write_folder(options)
    signers = tuple(Signer(account_secret(options.seed, number)) for number in range(ACCOUNTS))
    orders = len(plan.orders)
    screen.say(f"{devnet.folder}: {orders} orders in {options.duration_s:g} s, {options.nodes} nodes")
    with ExitStack() as stack:
        running = start_committee(stack, devnet, funding_of(signers), screen)
        devnet, chain = running.devnet, running.chain
        session = Session(
            devnet,
            chain,
            running.processes,
            signers,
            plan,
            deposits_of(plan),
            screen,
            running.started_s,
            seal_ahead=options.seal_ahead,
            beside=beside,
        )
        trading = trio.run(trade_and_settle, session)
        problems = list(trading.problems)
        audited, report = stop_and_audit(running, screen, problems)
        settlements, gas = settlement_gas(chain)
        summary = _summarize(options, trading, problems, (settlements, gas), str(report.get("verdict")))
    _leave_results(devnet, trading, summary, report)
    return Outcome(summary, devnet, audited, report)


@dataclass(frozen=True, slots=True)
class Running:
    """A committee that runs, and its chain; ``started_s`` by ``time.monotonic``."""

    devnet: Devnet
    chain: ChainClient
    processes: NodeProcesses
    started_s: float


def start_committee(stack: ExitStack, devnet: Devnet, funding: list[Funding], screen: Screen) -> Running:
    """A chain with everything deployed and funded, and all nodes ready; ``stack`` ends what is started here. Raises
    :class:`ConfigError` and the chain's errors."""
    stack.enter_context(terminate_like_interrupt())
    with screen.step("starting the embedded chain") as step:
        chain_process = stack.enter_context(start_embedded())
        chain = ChainClient(chain_process.url)
        stack.callback(chain.close)
        step.note = chain_process.url
    with screen.step("deploying, funding and depositing") as step:
        devnet = deploy(devnet, chain, DEV_SECRET, funding)
        step.note = f"{len(funding)} accounts, settlement contract 0x{devnet.file.genesis.settlement.hex()}"
    processes = stack.enter_context(NodeProcesses(devnet))
    with screen.step("starting the committee") as step:
        started_s = time.monotonic()
        processes.start()
        trio.run(wait_ready, devnet, processes)
        count = devnet.file.committee.n
        step.note = f"{count} processes, ids " + ", ".join(str(node.pid) for node in processes.nodes)
    return Running(devnet, chain, processes, started_s)


def stop_and_audit(running: Running, screen: Screen, problems: list[str]) -> tuple[int, dict[str, Any]]:
    """Stop the nodes and audit the log of one that lived to the end: its number and the report. What is wrong is added
    to ``problems``."""
    survivors = running.processes.alive()
    with screen.step("stopping the nodes"):
        statuses = running.processes.stop()
    problems += [f"node {node} ended with status {statuses[node]}" for node in survivors if statuses[node]]
    audited = survivors[0] if survivors else 0
    report = _audit(running.devnet, audited, running.chain.url, screen)
    problems += _audit_problems(report)
    return audited, report


def _write_folder(options: DemoOptions) -> Devnet:
    folder = options.folder or Path(tempfile.mkdtemp(prefix="mpcseq-demo-"))
    return init_devnet(
        folder,
        nodes=options.nodes,
        threshold=None,
        accounts=[account_secret(options.seed, number) for number in range(ACCOUNTS)],
        deployer=dev_account().address,
        ports=free_ports(max(0, options.nodes)),
        chain_url=None,
        policy=options.policy,
    )


def funding_of(signers: tuple[Signer, ...]) -> list[Funding]:
    """What the traders' accounts start with."""
    return [
        Funding(signer.address, MAKER_UNITS if number < MAKERS else TAKER_UNITS)
        for number, signer in enumerate(signers)
    ]


def deposits_of(plan: Plan) -> dict[tuple[int, int], int]:
    """Base units each account starts with, by (account number, asset id)."""
    return {
        (number, asset): units
        for number in range(len(plan.next_nonces))
        for asset, units in (MAKER_UNITS if number < MAKERS else TAKER_UNITS).items()
    }


def log_folder(devnet: Devnet, node: int) -> Path:
    """A node's audit log."""
    return devnet.node_folder(node) / "data" / "log"


def _audit(devnet: Devnet, node: int, chain_url: str, screen: Screen) -> dict[str, Any]:
    """Run ``mpcseq audit verify`` as anybody would, in a process of its own."""
    command = [sys.executable, "-m", "mpc_sequencer.cli", "audit", "verify", str(log_folder(devnet, node))]
    command += ["--committee", str(devnet.committee_path), "--chain", chain_url, "--json"]
    with screen.step(f"auditing the log of node {node}") as step:
        try:
            done = subprocess.run(command, capture_output=True, timeout=AUDIT_S_MAX, check=False)
            report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1]) if done.stdout else {}
        except (subprocess.TimeoutExpired, ValueError) as error:
            report, done = {"verdict": "error", "detail": str(error)}, None
        if "verdict" not in report:
            said = "" if done is None else done.stderr.decode("utf-8", "replace").strip()
            report = {"verdict": "error", "detail": said[-2_000:]}
        step.note = f"{report['verdict']}, {report.get('entries', 0)} entries"
    return report


def _audit_problems(report: dict[str, Any]) -> list[str]:
    if report["verdict"] == "error":
        return [f"the audit did not run: {report['detail']}"]
    findings = report.get("findings", [])[:FINDINGS_SHOWN_MAX]
    return [f"audit finding {one['code']} at height {one['height']}: {one['detail']}" for one in findings]


def _summarize(
    options: DemoOptions, trading: Trading, problems: list[str], settled: tuple[int, int], verdict: str
) -> Summary:
    records = list(trading.records.values())
    return Summary(
        nodes=options.nodes,
        counts=count_orders(trading.sealed, records),
        latencies=latencies(records),
        settlements=settled[0],
        settlement_gas=settled[1],
        cpu_us_per_order_per_node=trading.cpu_us_per_order_per_node,
        audit=verdict,
        key_ms=trading.key_ms,
        problems=tuple(problems),
    )


def _leave_results(devnet: Devnet, trading: Trading, summary: Summary, report: dict[str, Any]) -> None:
    """Keep the figures and one order's envelope, to look at after the demo."""
    from mpc_sequencer.client.receipts import ReceiptStore
    from mpc_sequencer.core.codec import encode
    from mpc_sequencer.node import files

    document = summary.as_json() | {"problems": list(summary.problems)}
    files.write_atomically(devnet.folder / "summary.json", files.to_json_text(document), mode=0o644)
    files.write_atomically(devnet.folder / "audit.json", files.to_json_text(report), mode=0o644)
    example = next(iter(trading.records.values()), None)
    if example is None:
        return
    files.write_atomically(devnet.folder / "order.bin", encode(example.envelope), mode=0o644)
    with ReceiptStore(devnet.folder / "receipts.jsonl", devnet.file.committee) as store:
        store.append((example.envelope, receipt) for _, receipt in sorted(example.receipts.items()))
