"""``mpcseq devnet settle``: the committee, its chain and its traders' money, and proof that all three agree.

A devnet of processes trades while the settlement contract is used in every way that traders have. Three scenarios:

* ``live``: two newcomers deposit on the chain amid trading and trade; one trader whom no member is ever told of forces
  his order in through the chain; money is withdrawn and claimed;
* ``rotate``: the same, and one more member joins amid it: the contract takes the next results of the new signers;
* ``exit``: amid trading all members are killed for good. A forced order comes due and stays where it is; after the
  grace anybody freezes the contract, and every account gets what is its own.

Then the nodes are stopped, every log is audited against the chain, and what the members' engine makes of a log is
compared with what the contract was told and holds (:mod:`mpc_sequencer.devnet.agreement`).
"""

from __future__ import annotations

import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import trio

from mpc_sequencer.client.units import MarketUnits
from mpc_sequencer.core.errors import ConfigError
from mpc_sequencer.core.signing import Signer
from mpc_sequencer.demo.plan import ACCOUNTS, account_secret, make_plan
from mpc_sequencer.demo.run import TAKER_UNITS, funding_of
from mpc_sequencer.demo.screen import Screen
from mpc_sequencer.demo.trace import read_trace
from mpc_sequencer.devnet import agreement, settle_chain
from mpc_sequencer.devnet.agreement import ContractFacts, EngineFacts
from mpc_sequencer.devnet.agreement_facts import contract_facts, engine_facts
from mpc_sequencer.devnet.deployment import Funding, deploy
from mpc_sequencer.devnet.findings import Finding
from mpc_sequencer.devnet.layout import ASSETS, BTCUSDT, CHAIN_ID, Devnet, init_devnet, nodes_of
from mpc_sequencer.devnet.logfacts import AuditedLog, audit_logs, newest_log
from mpc_sequencer.devnet.processes import NodeProcesses, steady_ports
from mpc_sequencer.devnet.running import terminate_like_interrupt, wait_ready
from mpc_sequencer.devnet.settle_acts import BUYER, IGNORED, SELLER, TRADERS, Stage, play, trade_until_killed
from mpc_sequencer.devnet.settle_chain import Hands
from mpc_sequencer.devnet.settle_result import Acts, SettleOptions, SettleResult
from mpc_sequencer.settlement.contract import SettlementContract
from mpc_sequencer.settlement.devchain import DEV_SECRET
from mpc_sequencer.settlement.embedded import start_embedded


def run_settle(options: SettleOptions, screen: Screen) -> SettleResult:
    """The whole run. Raises :class:`ConfigError` and the chain's errors where it cannot even start."""
    began_s = time.monotonic()
    trace = read_trace(MarketUnits(BTCUSDT, ASSETS[0], ASSETS[1]))
    plan = make_plan(trace, duration_s=options.duration_s, rate_per_s=options.rate_per_s, seed=options.seed)
    secrets = tuple(account_secret(options.seed, number) for number in range(TRADERS))
    with ExitStack() as stack:
        stack.enter_context(terminate_like_interrupt())
        url, payer = options.chain_url, options.payer_secret
        if url is None:
            with screen.step("starting the embedded chain"):
                url, payer = stack.enter_context(start_embedded()).url, DEV_SECRET
        chain = SettlementContract(url)
        stack.callback(chain.close)
        hands = settle_chain.new_hands()
        with screen.step("deploying, funding and depositing") as step:
            devnet = _deploy(options, chain, payer, hands, secrets)
            step.note = f"contract 0x{devnet.file.genesis.settlement.hex()}, everything is kept in {devnet.folder}"
        processes = stack.enter_context(NodeProcesses(devnet))
        with screen.step("starting the committee"):
            processes.start()
            trio.run(wait_ready, devnet, processes)
        acts = Acts()
        signers = tuple(Signer(secret) for secret in secrets)
        to = options.nodes + 1 if options.scenario == "rotate" else None
        stage = Stage(devnet, chain, processes, signers, secrets, hands, plan, screen, acts, to)
        contract = _run(options, stage)
        return _judge(options, stage, contract, url, began_s)


def _deploy(
    options: SettleOptions, chain: SettlementContract, payer: bytes, hands: Hands, secrets: tuple[bytes, ...]
) -> Devnet:
    """A new folder, a new deployer, and everything that is on the chain before the first order."""
    deployer = Signer(hands.deployer).address
    if not payer:
        raise ConfigError("nobody pays on that chain", "give --key-file, an account with 2,100 ether for test")
    settle_chain.give(chain, payer, {deployer: settle_chain.DEPLOYER_WEI})
    signers = tuple(Signer(secret) for secret in secrets)
    devnet = init_devnet(
        options.folder or Path(tempfile.mkdtemp(prefix="mpcseq-settle-")),
        nodes=options.nodes,
        threshold=None,
        accounts=list(secrets),
        deployer=deployer,
        ports=steady_ports(max(0, options.nodes)),
        chain_url=None,
        chain_id=CHAIN_ID if options.chain_url is None else chain.chain_id(),
    )
    funding = [*funding_of(signers[:ACCOUNTS]), Funding(signers[IGNORED].address, TAKER_UNITS)]
    devnet = deploy(devnet, chain, hands.deployer, funding, settle_chain.short_terms(deployer))
    acting = [signers[number].address for number in (SELLER, BUYER, IGNORED)]
    acting += [Signer(hands.clock).address, Signer(hands.anyone).address]
    settle_chain.give(chain, hands.deployer, dict.fromkeys(acting, settle_chain.HAND_WEI))
    return devnet


def _run(options: SettleOptions, stage: Stage) -> ContractFacts:
    """The scenario, to the point where all nodes are stopped; what the contract says then, or said before the exits."""
    acts, screen, processes = stage.acts, stage.screen, stage.processes
    if options.scenario == "exit":
        envelope = trio.run(trade_until_killed, stage)
        with screen.step("forcing, waiting, freezing, exiting") as step:
            due_block = settle_chain.force(stage.chain, stage.secrets[IGNORED], envelope)
            acts.exited, found, contract = settle_chain.freeze_and_exit(stage.chain, stage.hands, due_block)
            acts.findings += found
            step.note = f"{acts.exited.exits} balances and {acts.exited.bonds} bonds out"
        return contract
    trio.run(play, stage)
    with screen.step("stopping the nodes"):
        statuses = processes.stop()
    acts.findings += [Finding("node.status", f"node {n} ended with status {s}") for n, s in statuses.items() if s]
    return contract_facts(stage.chain)


def _judge(
    options: SettleOptions, stage: Stage, contract: ContractFacts, url: str, began_s: float
) -> SettleResult:
    acts, devnet = stage.acts, stage.devnet
    logs = [(node, newest_log(devnet.node_folder(node) / "data")) for node in nodes_of(devnet)]
    with stage.screen.step("auditing every log against the chain", len(logs)) as step:
        audited = audit_logs(logs, devnet.committee_path, url, step.advance)
        step.note = ", ".join(str(one.report["verdict"]) for one in audited)
    longest = max(audited, key=lambda one: len(one.facts.results))  # members that are killed do not end alike
    with stage.screen.step("comparing every change of the engine and the contract") as step:
        engine, codes = engine_facts(dict(logs)[longest.facts.node], devnet.file.committee)
        step.note = f"{len(engine.heights)} heights, {len(contract.posted)} results, {contract.rows} changes"
    found = [*acts.findings, *(Finding("settle.audit", code) for code in codes)]
    found += agreement.compare(engine, contract, settled=options.scenario != "exit")
    found += _judge_audits(audited)
    found += _judge_scenario(options, acts, contract, engine, audited)
    return SettleResult(
        options=options,
        folder=devnet.folder,
        seconds=time.monotonic() - began_s,
        acts=acts,
        engine=engine,
        contract=contract,
        audits=tuple(str(one.report.get("verdict")) for one in audited),
        findings=tuple(found),
    )


def _judge_audits(audited: list[AuditedLog]) -> list[Finding]:
    found = []
    for one in audited:
        if one.report.get("verdict") != "pass":
            said = one.error or ", ".join(str(row["code"]) for row in one.report.get("findings", ()))
            found.append(Finding("audit.verdict", f"log of node {one.facts.node}: {said}"))
    return found


def _judge_scenario(
    options: SettleOptions, acts: Acts, contract: ContractFacts, engine: EngineFacts, audited: list[AuditedLog]
) -> list[Finding]:
    """What a scenario is there to show has happened."""
    found = []
    if not contract.rows or not any(engine.heights.values()):
        found.append(Finding("settle.idle", "nothing was traded and settled, so nothing was compared"))
    if options.scenario == "exit":
        return found
    if acts.forced is not None:
        acts.forced.batched_heights = audited[0].facts.batched.get(acts.forced.order_id, [])
        places = [place for one in audited for place in one.facts.lists.values()]
        acts.forced.listed = any(acts.forced.order_id in ids for place in places for ids in place.values())
    if acts.forced is None or len(acts.forced.batched_heights) != 1 or acts.forced.listed:
        found.append(Finding("settle.forced", f"expected once in a batch and in no list: {acts.forced}"))
    if options.scenario == "rotate":
        epochs = [one.epoch for one in contract.posted]
        if acts.rotated is None or max(epochs, default=0) != acts.rotated.epoch:
            found.append(Finding("settle.rotation", f"results are of epochs {sorted(set(epochs))}"))
    return found
