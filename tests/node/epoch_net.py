"""A committee of real processes that is to be replaced: four members, and nodes that have no place yet."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import trio
from node_net import RUN, WAIT_S, Net

from mpc_sequencer.core.messages import ClientReply, ClientRequest, StatusQuery, StatusReply, Submit, SubmitReply
from mpc_sequencer.devnet.layout import Devnet, add_joiners
from mpc_sequencer.devnet.processes import free_ports
from mpc_sequencer.node import config
from mpc_sequencer.node.next_committee import load_member
from mpc_sequencer.node.transport import LinkError, open_client

ANSWER_S = 3.0
WINDOW_MS = 2_000
"""How long a phase of a key session waits for who is down."""
RUN_SOON = f"from mpc_sequencer.core import limits\nlimits.KEY_WINDOW_MS = {WINDOW_MS}\n{RUN}"


class Rotating(Net):
    """Nodes are named by their folders' numbers: members of the first epoch by their index, joiners from 4 on."""

    def __init__(self, folder: Path, joiners: int) -> None:
        super().__init__(folder)
        self.devnet = Devnet(folder, self.file, folder / "passphrase")
        add_joiners(self.devnet, joiners, free_ports(joiners))
        self.rng = random.Random(5)
        self.given: dict[bytes, int] = {}
        """Orders, and how many receipts were given for them."""

    def start(self, node: int, *, file_bytes_max: int = 0) -> None:
        arguments = [self.home(node), self.folder / "inputs", self.folder / "passphrase", str(file_bytes_max)]
        with (self.home(node) / "node.log").open("ab") as log:
            self.processes[node] = subprocess.Popen(
                [sys.executable, "-c", RUN_SOON, *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def ask(self, number: int, request: ClientRequest) -> ClientReply | None:
        """A node's answer, whatever its place in the committee; None where there is none."""
        options = config.load_node_config(self.home(number))
        path = self.home(number) / "member.json"
        certificate = load_member(path).tls_certificate if path.exists() else self.file.certificates[number]

        async def ask() -> ClientReply | None:
            with trio.move_on_after(ANSWER_S):
                try:
                    async with open_client(options.listen_host, options.listen_port, certificate) as link:
                        await link.send(request)
                        async for reply in link:
                            return reply
                except LinkError:
                    pass
            return None

        return trio.run(ask)

    def states(self, numbers: list[int]) -> list[StatusReply]:
        """Of those that answer."""
        answers = [self.ask(number, StatusQuery(1)) for number in numbers]
        return [one for one in answers if isinstance(one, StatusReply)]

    def wait(self, what: str, holds: Callable[[], bool], seconds: float = WAIT_S) -> None:
        until = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > until:
                raise AssertionError(f"{what}: {self.states(list(self.processes))}")
            time.sleep(0.1)

    def in_epoch(self, epoch: int, numbers: list[int]) -> bool:
        return [one.epoch for one in self.states(numbers)] == [epoch] * len(numbers)

    def level(self, numbers: list[int]) -> bool:
        """Whether these nodes have executed every order that got a receipt of two members, at one height."""
        found = self.states(numbers)
        heights = {one.height_executed for one in found}
        promised = sum(1 for receipts in self.given.values() if receipts)
        return len(found) == len(numbers) and len(heights) == 1 and all(
            one.orders_sequenced >= promised and not one.orders_pending for one in found
        )

    def trade(self, numbers: list[int]) -> int:
        """Send an order to each of these nodes; how many receipts came back."""
        (order,) = self.orders(self.rng, 1)
        answers = [self.ask(number, Submit(1, (order,), False)) for number in numbers]
        given = sum(
            1 for one in answers if isinstance(one, SubmitReply) and one.results[0].receipt is not None
        )
        self.given[order.order_id()] = given
        return given

    @contextmanager
    def trickle(self, numbers: list[int]) -> Iterator[None]:
        """Orders, one after another, while the block runs."""
        ended = threading.Event()

        def run() -> None:
            while not ended.wait(0.1):
                self.trade(numbers)

        trader = threading.Thread(target=run)
        trader.start()
        try:
            yield
        finally:
            ended.set()
            trader.join()
