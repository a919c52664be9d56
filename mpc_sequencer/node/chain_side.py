"""The member's link to the chain: results out, settlements in, beside the protocol and never in its way.

The chain library takes seconds of CPU to import. A member that comes back votes first: it is imported
CHAIN_DELAY_S after such a start, in a worker thread, and until it is there the thread gives way to the event loop
every SWITCH_INTERVAL_S. Other members post meanwhile what this one would (:mod:`mpc_sequencer.settlement.submitter`).
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trio

from mpc_sequencer.node.config import CommitteeFile, NodeConfig
from mpc_sequencer.node.passphrases import read_key_file
from mpc_sequencer.settlement.submitter import ResultReady, Settled, SubmitterState
from mpc_sequencer.settlement.submitter_run import run_submitter

if TYPE_CHECKING:
    from mpc_sequencer.settlement.chain import ChainClient

CHAIN_DELAY_S: Final = 3.0
SWITCH_INTERVAL_S: Final = 0.000_5

logger = logging.getLogger("mpc_sequencer.node")


def _client(url: str, settlement: bytes) -> ChainClient:
    """A chain client. Blocking, for seconds the first time."""
    before_s = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    try:
        from mpc_sequencer.settlement.chain import ChainClient

        return ChainClient(url, settlement)
    finally:
        sys.setswitchinterval(before_s)


async def serve_chain(
    config: NodeConfig,
    file: CommitteeFile,
    results: trio.MemoryReceiveChannel[ResultReady],
    settled: trio.MemorySendChannel[Settled],
    *,
    delay_s: float,
) -> None:
    """Post the results that come, after ``delay_s``, until cancelled. Raises :class:`ConfigError` where the key file
    cannot be used."""
    secret = read_key_file(config.submitter.key_file or Path())
    await trio.sleep(delay_s)
    chain = await trio.to_thread.run_sync(_client, config.chain_url or "", file.genesis.settlement)
    assert config.index is not None, "only a member of the committee file takes turns at posting"
    state = SubmitterState(file.committee.n, config.index)
    await run_submitter(state, chain, secret, results, settled, warn=logger.warning)
