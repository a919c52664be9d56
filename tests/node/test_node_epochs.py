"""Members as real processes go over to another committee: in place, under load, killed amid it, late, and from nothing.

The chain is not part of this: what nodes would read from it before their first start is given to them.
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trio
from node_net import RUN, WAIT_S, Net

from mpc_sequencer.client.queries import ask_status
from mpc_sequencer.core.messages import StatusReply
from mpc_sequencer.devnet.layout import Devnet, add_joiners, propose_committee
from mpc_sequencer.devnet.processes import free_ports
from mpc_sequencer.node import config
from mpc_sequencer.node.vault import Vault


class Rotating(Net):
    """Four members and those who join, by folder number."""

    def __init__(self, folder: Path, joiners: int) -> None:
        super().__init__(folder, generated=True)
        self.devnet = Devnet(folder, self.file, folder / "passphrase")
        add_joiners(self.devnet, joiners, free_ports(joiners))
        self.people = range(4 + joiners)
        self.rng = random.Random(5)
        self.sent = 0

    def ask(self, number: int) -> StatusReply | None:
        """What the node of that folder says of itself, whatever its place in the committee is."""
        options = config.load_node_config(self.home(number))
        endpoint = ((options.listen_host, options.listen_port),)
        certificate = (self.certificate(number),)
        one = config.CommitteeFile(self.file.genesis, self.file.committee, endpoint, certificate)
        answer = trio.run(ask_status, one, [0], 3.0)[0]
        return answer if isinstance(answer, StatusReply) else None

    def certificate(self, number: int) -> bytes:
        if number < 4:
            return self.file.certificates[number]
        from mpc_sequencer.node.next_committee import load_member

        return load_member(self.home(number) / "member.json").tls_certificate

    def wait(self, what: str, holds: Callable[[], bool], seconds: float = WAIT_S) -> None:
        until = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < until, f"{what}: {[self.ask(number) for number in self.processes]}"
            time.sleep(0.1)

    def in_epoch(self, epoch: int, numbers: list[int]) -> bool:
        found = [self.ask(number) for number in numbers]
        return all(one is not None and one.epoch == epoch for one in found)

    def level(self, numbers: list[int], sequenced: int) -> bool:
        found = [self.ask(number) for number in numbers]
        return all(
            one is not None and one.orders_sequenced == sequenced and one.height_executed == found[0].height_executed  # type: ignore[union-attr]
            for one in found
        )
