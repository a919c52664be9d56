"""What running a written devnet takes beside its processes: readiness, a clean folder, an orderly end."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

from mpc_sequencer.client.queries import ask_status
from mpc_sequencer.core.errors import ConfigError
from mpc_sequencer.core.signing import Signer
from mpc_sequencer.devnet.layout import Devnet
from mpc_sequencer.devnet.processes import NodeProcesses
from mpc_sequencer.node.config import vault_of
from mpc_sequencer.node.storage import NEVER_STARTED, mark_never_started

READY_S_MAX: Final = 60.0
ACCOUNT_UNITS: Final = {0: 1_000 * 10**8, 1: 50_000_000 * 10**6}
"""What each trader starts with: 1,000 BTC and 50,000,000 USDT of test tokens."""


def dev_account() -> Signer:
    """The account the embedded chain's genesis funds; its key is public."""
    from mpc_sequencer.settlement.devchain import DEV_SECRET

    return Signer(DEV_SECRET)


@contextmanager
def terminate_like_interrupt() -> Iterator[None]:
    """Raise ``KeyboardInterrupt`` on SIGTERM as on Ctrl-C inside the block, so that child processes end on
    both.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGTERM, interrupt)
    # A shell starts background jobs with SIGINT ignored, and Python leaves it so.
    before_interrupt = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        signal.signal(signal.SIGINT, before_interrupt)


def prepare_folder(devnet: Devnet, fresh: bool) -> None:
    """Refuse nodes' data of an earlier run, or with ``fresh`` remove it, and the vaults with the shares of its key."""
    for node in range(devnet.file.committee.n):
        folder = devnet.node_folder(node)
        data, vault = folder / "data", vault_of(folder / "keystore.json")
        # without the mark a member takes itself for one that has lost its disk, and waits for the others
        used = not (data / NEVER_STARTED).exists() or any((data / name).exists() for name in ("journal", "log"))
        if used and not fresh:
            raise ConfigError(
                f"{data} is from an earlier run, whose chain is gone",
                "discard it with --fresh, or use a new folder",
            )
        if fresh:
            for gone in (data, vault):
                if gone.exists():
                    shutil.rmtree(gone)
            mark_never_started(data)


async def wait_ready(devnet: Devnet, processes: NodeProcesses) -> None:
    """Wait until every node answers; raises :class:`ConfigError` where one ends or READY_S_MAX passes."""
    deadline = time.monotonic() + READY_S_MAX
    missing = list(range(devnet.file.committee.n))
    while missing:
        processes.check_started()
        answers = await ask_status(devnet.file, missing, 2.0)
        missing = [node for node, answer in answers.items() if isinstance(answer, str)]
        if missing and time.monotonic() > deadline:
            raise ConfigError(
                f"nodes {missing} do not answer: {answers[missing[0]]}",
                f"read {processes.nodes[missing[0]].log_path}",
            )
