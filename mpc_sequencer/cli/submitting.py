"""What ``mpcseq order submit`` and ``status`` do on the network."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import trio

from mpc_sequencer.client.link import connector_to
from mpc_sequencer.client.receipts import ReceiptStore
from mpc_sequencer.client.sequencer import SequencerClient, open_sequencer
from mpc_sequencer.client.tracker import OrderRecord
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.types import Envelope
from mpc_sequencer.node.config import CommitteeFile


async def submit_and_wait(
    file: CommitteeFile,
    nodes: Sequence[int],
    envelopes: Sequence[Envelope],
    wait: str,
    timeout_s: float,
    receipts: Path | None,
) -> list[OrderRecord]:
    """Submit, and wait for ``receipt``, ``final`` or ``executed``; raises the refusal of a refused order."""
    with ExitStack() as stack:
        store = None if receipts is None else stack.enter_context(ReceiptStore(receipts, file.committee))
        async with open_sequencer(file.committee, connector_to(file), nodes, receipts=store) as client:
            # f+1 equal reports are needed to believe an outcome; a receipt is believed by its signature.
            needed = 1 if wait == "receipt" else min(file.committee.f + 1, len(nodes))
            await client.wait_connected(needed, timeout_s)
            await _wait_others(client, len(nodes))
            submissions = await client.submit(envelopes, timeout_s)
            for submission in submissions:
                if not submission.receipts and not _sequenced(submission.refusals.values()):
                    raise next(iter(submission.refusals.values()))
            order_ids = [submission.order_id for submission in submissions]
            if wait == "final":
                await client.wait_final(order_ids, timeout_s)
            elif wait == "executed":
                await client.wait_executed(order_ids, timeout_s)
            return [client.tracker.orders[order_id] for order_id in order_ids]


async def _wait_others(client: SequencerClient, count: int) -> None:
    """Give the other members a moment to connect, so that a healthy committee gets the order all at once."""
    with trio.move_on_after(0.5):
        while len(client.connected()) < count:
            await trio.sleep(0.02)


def _sequenced(refusals: Any) -> bool:
    return any(isinstance(r, ProtocolError) and r.code == "intake.sequenced" for r in refusals)
