"""What ``mpcseq order submit`` and ``status`` do on the network."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import trio

from mpc_sequencer.client.link import connector_to
from mpc_sequencer.client.queries import follow_epochs
from mpc_sequencer.client.receipts import ReceiptStore
from mpc_sequencer.client.sequencer import SequencerClient, open_sequencer
from mpc_sequencer.client.tracker import KEY_PENDING, OrderRecord, Submission
from mpc_sequencer.core.types import Envelope
from mpc_sequencer.node.config import CommitteeFile

EPOCHS_S_MAX: Final = 2.0
"""A moment to hear of later epochs from everybody; the client goes on listening after it."""


async def submit_and_wait(
    file: CommitteeFile,
    nodes: Sequence[int] | None,
    envelopes: Sequence[Envelope],
    wait: str,
    timeout_s: float,
    receipts: Path | None,
) -> list[OrderRecord]:
    """Follow the epochs, learn the key where it is not known, submit to the present members (or to ``nodes`` of the
    committee file), and wait for ``receipt``, ``final``, ``executed`` or ``ended``; raises the refusal of a refused
    order."""
    with ExitStack() as stack:
        store = None if receipts is None else stack.enter_context(ReceiptStore(receipts, file.committee))
        async with open_sequencer(file.committee, connector_to(file), nodes, receipts=store) as client:
            # f+1 equal reports are needed to believe an outcome; a receipt is believed by its signature.
            await follow_epochs(client, EPOCHS_S_MAX)
            needed = 1 if wait == "receipt" else min(client.committee.f + 1, len(client.nodes))
            await client.wait_connected(needed, timeout_s)
            await _wait_others(client)
            await client.key(timeout_s)
            submissions = await client.submit(envelopes, timeout_s)
            for submission in submissions:
                if not submission.receipts and not _may_come(submission, wait):
                    raise next(iter(submission.refusals.values()))
            order_ids = [submission.order_id for submission in submissions]
            if wait == "final":
                await client.wait_final(order_ids, timeout_s)
            elif wait == "executed":
                await client.wait_executed(order_ids, timeout_s)
            elif wait == "ended":
                await client.wait_ended(order_ids, timeout_s)
            return [client.tracker.orders[order_id] for order_id in order_ids]


async def _wait_others(client: SequencerClient) -> None:
    """Give the other members a moment to connect, so that a healthy committee gets the order all at once."""
    with trio.move_on_after(0.5):
        while len(client.connected()) < len(client.nodes):
            await trio.sleep(0.02)


def _may_come(submission: Submission, wait: str) -> bool:
    """Whether an order that nobody gave a receipt for may still become what ``wait`` waits for: it is sequenced
    already, or refused by members that are about to learn the threshold key."""
    codes = {refusal.code for refusal in submission.refusals.values()}
    return "intake.sequenced" in codes or (wait != "receipt" and KEY_PENDING in codes)
