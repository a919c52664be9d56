"""A chain node for tests that need what no embedded chain has: reorganisations, a mempool, a base fee that rises.

It is the locked npm package of tests/anvil (``make`` installs it). A run without it fails: nothing is skipped.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mpc_sequencer.settlement.errors import ChainError
from mpc_sequencer.settlement.ethrpc import EthClient

BINARY = Path(__file__).parent / "anvil" / "node_modules" / ".bin" / "anvil"
START_S_MAX = 20.0
CHAIN_ID = 31337


class Anvil(EthClient):
    """A running node, and what only it can do."""

    def mine(self, blocks: int = 1) -> None:
        """Make blocks of what waits."""
        self.request("anvil_mine", hex(blocks))

    def automine(self, on: bool) -> None:
        """Whether a transaction makes a block at once."""
        self.request("evm_setAutomine", on)

    def reorganise(self, depth: int) -> None:
        """Replace the newest ``depth`` blocks by empty ones. What was in them is gone."""
        self.request("anvil_reorg", depth, [])

    def base_fee(self, wei: int) -> None:
        """The base fee of the next block."""
        self.request("anvil_setNextBlockBaseFeePerGas", hex(wei))

    def drop_all(self) -> None:
        """Empty the mempool."""
        self.request("anvil_dropAllTransactions")

    def give(self, address: bytes, wei: int) -> None:
        """Set an account's balance."""
        self.request("anvil_setBalance", "0x" + address.hex(), hex(wei))

    def waiting(self) -> list[Any]:
        """Transactions in the mempool that could be mined."""
        found = self.request("txpool_content")["pending"]
        return [one for account in found.values() for one in account.values()]


@contextlib.contextmanager
def anvil(*options: str) -> Iterator[Anvil]:
    """A node on a free port of loopback, ended by its process id."""
    if not BINARY.exists():
        raise FileNotFoundError(f"{BINARY} is missing: run `make setup`")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(BINARY), "--host", "127.0.0.1", "--port", str(port), "--chain-id", str(CHAIN_ID), "--silent"]
    command += ["--accounts", "1", "--hardfork", "prague", *options]
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("proxy")}
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=environment)
    client = Anvil(f"http://127.0.0.1:{port}")
    try:
        deadline = time.monotonic() + START_S_MAX
        while True:
            try:
                client.block_number()
                break
            except ChainError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        yield client
    finally:
        client.close()
        process.terminate()
        process.wait(10)
