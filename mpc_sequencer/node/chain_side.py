"""The member's link to the chain: results out, inputs and settlements in, beside the protocol and never in its way.

The chain library is imported late (:mod:`mpc_sequencer.node.warming`): other members post meanwhile what this one would
(:mod:`mpc_sequencer.settlement.submitter`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trio

from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.effects import ChainSeen
from mpc_sequencer.core.signing import Signer, address_of
from mpc_sequencer.core.types import Checkpoint, EpochStart
from mpc_sequencer.node.chain_watch import ChainReader, watch_chain
from mpc_sequencer.node.config import ChainConfig, CommitteeFile, NodeConfig
from mpc_sequencer.node.passphrases import read_key_file
from mpc_sequencer.node.warming import giving_way
from mpc_sequencer.settlement.kept import KeptRanges, KeptTransactions
from mpc_sequencer.settlement.sender import Sender
from mpc_sequencer.settlement.steps import Rotation
from mpc_sequencer.settlement.submitter import SubmitterState
from mpc_sequencer.settlement.submitter_events import Place, RotationKnown, Settled, SubmitterTerms
from mpc_sequencer.settlement.submitter_run import News, run_submitter
from threshold.dkg import Result

if TYPE_CHECKING:
    from mpc_sequencer.settlement.contract import SettlementContract

FOLDER: Final = "settlement"
GWEI: Final = 10**9

logger = logging.getLogger("mpc_sequencer.node")


def _client(url: str, settlement: bytes) -> SettlementContract:
    """A chain client. Blocking, for seconds the first time."""
    with giving_way():
        from mpc_sequencer.settlement.contract import SettlementContract

        return SettlementContract(url, settlement)


def rotation_of(start: EpochStart) -> Rotation:
    """An epoch's start as the contract takes it."""
    target = start.committee
    return Rotation(
        epoch=start.epoch,
        signers=tuple(address_of(member.consensus_key) for member in target.members),
        threshold=target.threshold,
        committee=target.committee_hash(),
        sharing=Result.decode(start.result).hash(),
        signatures=tuple((word.node, word.signature) for word in start.handover),
    )


def standing(committee: Committee, node: int) -> list[News]:
    """What a submitter is to know of the epoch that a member is in."""
    place = Place(committee.n, node if node < committee.n else None)
    return [place, *(RotationKnown(rotation_of(start)) for start in committee.starts)]


def submitter_terms(chain: ChainConfig) -> SubmitterTerms:
    """The submitter's terms out of node.json."""
    return SubmitterTerms(chain.turn_ms, chain.poll_ms, chain.stuck_ms, chain.fee_max_gwei * GWEI)


async def serve_chain(
    config: NodeConfig,
    file: CommitteeFile,
    news: trio.MemoryReceiveChannel[News],
    settled: trio.MemorySendChannel[Settled],
    told: Callable[[], Checkpoint],
    tell: Callable[[ChainSeen], None],
    *,
    delay_s: float,
) -> None:
    """Watch the chain, and post what ``news`` brings where node.json has a submitter, after ``delay_s``, until
    cancelled. ``told`` gives what the core knows of the chain, ``tell`` takes what is new. Raises :class:`ConfigError`
    where the key file cannot be used, OSError where the disk fails."""
    submits = config.submitter.enabled and config.submitter.key_file is not None
    secret = read_key_file(config.submitter.key_file or Path()) if submits else b""
    await trio.sleep(delay_s)
    genesis, chain = file.genesis, config.chain
    client = await trio.to_thread.run_sync(_client, config.chain_url or "", genesis.settlement)
    reader = ChainReader(client, genesis.chain_id, genesis.l1_step_blocks, chain.confirmations, told())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch_chain, reader, chain.poll_ms / 1_000, tell)
        if submits:
            folder = config.data / FOLDER
            kept = KeptTransactions(folder, Signer(secret).address, genesis.chain_id)
            slots, problem = await trio.to_thread.run_sync(kept.load)
            if problem:
                logger.warning("%s", problem)
            state = SubmitterState(file.committee.n, None, submitter_terms(chain), slots)
            sender = Sender(client, secret, kept, chain.confirmations)
            run = partial(run_submitter, warn=logger.warning)
            nursery.start_soon(run, state, sender, KeptRanges(folder), news, settled)
