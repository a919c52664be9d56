"""The dark demo, step by step: chain, committee and its keys, batches that nobody sees, settlement, audit, the views.

The same processes and the same way of trading as anywhere: traders seal orders through the SDK
(:class:`~mpc_sequencer.client.account.TradingAccount`), members compute. As many batches are traded as the duration
holds, one after the other. What is shown of members' views at the end comes out of their folders
(:mod:`mpc_sequencer.demo.dark_view`); what nobody saw comes from the traders.
"""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import trio

from mpc_sequencer.client.account import TradingAccount
from mpc_sequencer.client.dark_keys import DarkKeys
from mpc_sequencer.client.errors import ClientError
from mpc_sequencer.client.link import connector_to
from mpc_sequencer.client.sequencer import SequencerClient, open_sequencer
from mpc_sequencer.client.terms import limit_terms
from mpc_sequencer.client.units import MarketUnits
from mpc_sequencer.core.actions import DarkOrder
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.signing import Signer
from mpc_sequencer.demo import settle
from mpc_sequencer.demo.dark_plan import TRADERS, DarkWish, make_wave
from mpc_sequencer.demo.dark_summary import DarkSummary
from mpc_sequencer.demo.dark_view import SentOrder, view_batches
from mpc_sequencer.demo.key import wait_key
from mpc_sequencer.demo.plan import account_secret
from mpc_sequencer.demo.run import Running, log_folder, start_committee, stop_and_audit
from mpc_sequencer.demo.screen import Screen
from mpc_sequencer.demo.settle import settlement_gas
from mpc_sequencer.devnet.deployment import Funding
from mpc_sequencer.devnet.layout import ASSETS, Devnet, init_devnet
from mpc_sequencer.devnet.processes import free_ports
from mpc_sequencer.devnet.running import dev_account
from mpc_sequencer.market.types import DARK, Market
from mpc_sequencer.node import files

CONNECT_S_MAX: Final = 60.0
KEYS_S_MAX: Final = 120.0
BATCH_S_MAX: Final = 120.0
BALANCES_RETRIES: Final = 20
BALANCES_PAUSE_S: Final = 0.5
DEPOSIT_UNITS: Final = {0: 100 * 10**8, 1: 10_000_000 * 10**6}
"""What each trader starts with, in base units by asset: enough to hide the side of every order."""
NANOSECONDS_PER_MS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class DarkDemoOptions:
    """What ``mpcseq demo --dark`` was asked for; ``folder`` None means a new temporary one."""

    duration_s: float
    nodes: int
    seed: int
    folder: Path | None
    demonstration: bool = False


@dataclass(frozen=True, slots=True)
class DarkDemo:
    """What a dark demo leaves behind."""

    summary: DarkSummary
    devnet: Devnet
    audited_node: int
    audit_report: dict[str, Any]


@dataclass(slots=True)
class _Trading:
    """What the traders sent, and what came of it."""

    wishes: dict[bytes, DarkWish] = field(default_factory=dict)
    sent: dict[bytes, SentOrder] = field(default_factory=dict)
    keys: DarkKeys | None = None
    key_ms: int | None = None
    problems: list[str] = field(default_factory=list)


def run_dark_demo(options: DarkDemoOptions, screen: Screen) -> DarkDemo:
    """Run the whole. Raises :class:`ConfigError` and the chain's errors where it cannot even start."""
    signers = tuple(Signer(account_secret(options.seed, number)) for number in range(TRADERS))
    devnet = init_devnet(
        options.folder or Path(tempfile.mkdtemp(prefix="mpcseq-demo-")),
        nodes=options.nodes,
        threshold=None,
        accounts=[account_secret(options.seed, number) for number in range(TRADERS)],
        deployer=dev_account().address,
        ports=free_ports(max(0, options.nodes)),
        chain_url=None,
        policy=DARK,
        demonstration=options.demonstration,
    )
    committee = devnet.file.committee
    screen.say(f"{devnet.folder}: {TRADERS} traders, {committee.n} nodes, of which {committee.f} may be corrupt")
    with ExitStack() as stack:
        running = start_committee(stack, devnet, [Funding(one.address, DEPOSIT_UNITS) for one in signers], screen)
        trading = trio.run(_trade_and_settle, running, options, signers, screen)
        audited, report = stop_and_audit(running, screen, trading.problems)
        settlements, _ = settlement_gas(running.chain)
    summary = _summarize(running.devnet, audited, trading, settlements, str(report.get("verdict")), screen)
    document = files.to_json_text(summary.as_json())
    files.write_atomically(devnet.folder / "summary.json", document, mode=0o644)
    files.write_atomically(devnet.folder / "audit.json", files.to_json_text(report), mode=0o644)
    return DarkDemo(summary, running.devnet, audited, report)


async def _trade_and_settle(
    running: Running, options: DarkDemoOptions, signers: tuple[Signer, ...], screen: Screen
) -> _Trading:
    trading, file = _Trading(), running.devnet.file
    async with open_sequencer(file.committee, connector_to(file)) as client:
        await client.wait_connected(file.committee.n, CONNECT_S_MAX)
        key = await wait_key(client, running.devnet, screen)
        if key.certificate is not None:
            trading.key_ms = round((time.monotonic() - running.started_s) * 1_000)
        with screen.step("agreeing on the keys of the dark market") as step:
            trading.keys = await client.dark_keys(KEYS_S_MAX)
            name, parties = trading.keys.id.hex()[:16], len(trading.keys.parties)
            step.note = f"keys {name} of {parties} members, proven at height {trading.keys.height}"
        traders = [TradingAccount(client, signer) for signer in signers]
        until_s, wave = time.monotonic() + options.duration_s, 0
        while not trading.problems and (wave == 0 or time.monotonic() < until_s):
            wave += 1
            await _trade_batch(client, traders, running.devnet, options.seed, wave, trading, screen)
        await _settle(running, client, signers, trading, screen)
        trading.problems += [fault.cause for fault in client.faults]
    return trading


async def _trade_batch(
    client: SequencerClient,
    traders: list[TradingAccount],
    devnet: Devnet,
    seed: int,
    wave: int,
    trading: _Trading,
    screen: Screen,
) -> None:
    """One order of each trader, sent together, until all have ended."""
    market = devnet.file.genesis.markets[0]
    assert market.dark is not None, "the folder was written with a dark market"
    wishes = make_wave(market.dark, seed, wave)
    mine: list[bytes] = []
    with screen.step(f"batch {wave}", 2 * len(wishes)) as step:
        try:
            sealed = []
            for done, wish in enumerate(wishes, 1):
                terms = limit_terms(market.id, wish.side, wish.price_ticks, wish.quantity_lots)
                # Traders know that their balances bear it: they started with many times what one order locks.
                sealed.append(await traders[wish.account].seal(terms, wish.nonce, free_units=DEPOSIT_UNITS))
                step.advance(done)
                await trio.lowlevel.checkpoint()
            mine = client.send([one.envelope for one in sealed], checked=True)
            for order_id, wish, one in zip(mine, wishes, sealed, strict=True):
                assert isinstance(one.signed.action, DarkOrder), "the market is dark"
                trading.wishes[order_id] = wish
                trading.sent[order_id] = SentOrder(one.signed.action, client.tracker.orders[order_id])
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_show_ends, client, mine, step.advance)
                await client.wait_ended(mine, BATCH_S_MAX)
                nursery.cancel_scope.cancel()
        except* (ClientError, ProtocolError) as errors:
            trading.problems += [str(error) for error in errors.exceptions]
        step.note = _came_to(trading, mine, _units(market))


async def _show_ends(client: SequencerClient, order_ids: list[bytes], advance: Any) -> None:
    while True:
        advance(len(order_ids) + sum(client.tracker.orders[one].end is not None for one in order_ids))
        await trio.sleep(0.1)


def _came_to(trading: _Trading, order_ids: list[bytes], units: MarketUnits) -> str:
    last = [history[-1] for one in order_ids if (history := trading.sent[one].record.history())]
    traded = [one for one in last if one.filled_lots]
    if not traded:
        return f"{len(order_ids)} sealed orders, none traded"
    volume = units.show_quantity(sum(one.filled_lots for one in traded) // 2)
    price = units.show_price(traded[0].price_ticks)
    return f"{len(order_ids)} sealed orders, {len(traded)} traded {volume} BTC at {price} USDT"


def _units(market: Market) -> MarketUnits:
    return MarketUnits(market, ASSETS[market.base_asset], ASSETS[market.quote_asset])


async def _settle(
    running: Running, client: SequencerClient, signers: tuple[Signer, ...], trading: _Trading, screen: Screen
) -> None:
    """Wait for the contract, and compare every balance with what the fills say."""
    with screen.step("settling on the chain and comparing balances") as step:
        height = max((one.height for sent in trading.sent.values() for one in sent.record.history()), default=0)
        if not await trio.to_thread.run_sync(settle.wait_settled, running.chain, height):
            trading.problems.append(f"height {height} was not settled in {settle.SETTLED_S_MAX:g} s")
        deposits = {(number, asset): units for number in range(TRADERS) for asset, units in DEPOSIT_UNITS.items()}
        expected = settle.expected_balances(
            client.committee, deposits, trading.wishes, client.tracker.orders, withdrawn=()
        )
        differences: list[str] = []
        for _ in range(BALANCES_RETRIES):
            differences = await trio.to_thread.run_sync(
                settle.balance_differences, running.chain, signers, expected, ()
            )
            if not differences:
                break
            await trio.sleep(BALANCES_PAUSE_S)
        trading.problems += differences
        step.note = f"{len(expected) - len(differences)} of {len(expected)} balances match"


def _summarize(
    devnet: Devnet, audited: int, trading: _Trading, settlements: int, verdict: str, screen: Screen
) -> DarkSummary:
    committee, market = devnet.file.committee, devnet.file.genesis.markets[0]
    assert trading.keys is not None and market.dark is not None, "nothing was traded without keys"
    with screen.step("replaying the computations, opening each member's own boxes") as step:
        views, problems = view_batches(devnet, log_folder(devnet, audited), trading.keys, trading.sent)
        step.note = f"{len(views)} batches"
    records = [one.record for one in trading.sent.values()]
    return DarkSummary(
        nodes=committee.n,
        faults=committee.f,
        demonstration=bool(market.dark.demonstration),
        orders=len(records),
        ends=_ends(trading.sent),
        end_ms=tuple(sorted((one.ended_ns - one.submitted_ns) / NANOSECONDS_PER_MS for one in records if one.ended_ns)),
        batches=tuple(views),
        wishes=trading.wishes,
        units=_units(market),
        settlements=settlements,
        audit=verdict,
        key_ms=trading.key_ms,
        problems=(*trading.problems, *problems),
    )


def _ends(sent: Mapping[bytes, SentOrder]) -> dict[str, int]:
    return dict(sorted(Counter(one.record.end or "open" for one in sent.values()).items()))
