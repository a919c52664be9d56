"""A committee of four with its certificates, and members' ports on loopback."""

from __future__ import annotations

import hashlib
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from coincurve import PrivateKey

from mpc_sequencer.core.committee import Genesis, Member
from mpc_sequencer.core.signing import address_of
from mpc_sequencer.core.types import Checkpoint
from mpc_sequencer.market import AUCTION, Market
from mpc_sequencer.node import config, tls

sys.path.insert(0, str(Path(__file__).parent.parent / "core"))  # `core_kit`, for the tests of the disk
sys.path.insert(0, str(Path(__file__).parent))  # `node_net`

MEMBERS = 4


@dataclass(frozen=True)
class House:
    """A committee file and the log seeds that go with it."""

    file: config.CommitteeFile
    seeds: tuple[bytes, ...]


def secret(name: str, index: int) -> bytes:
    return hashlib.sha256(f"{name}/{index}".encode()).digest()


def make_genesis(members: int = MEMBERS, threshold: int = 3) -> Genesis:
    def public(name: str, index: int) -> bytes:
        return PrivateKey(secret(name, index)).public_key.format()

    indices = sorted(range(members), key=lambda i: address_of(public("consensus", i)))
    rows = tuple(
        Member(public("consensus", i), tls.log_key(secret("log", node)), public("share", node))
        for node, i in enumerate(indices)
    )
    market = Market(0, 0, 1, 100_000, 100, 600_000, "BTCUSDT", AUCTION)
    checkpoint = Checkpoint(7, b"\x11" * 32, 3, b"\x22" * 32)
    settlement, asset = b"\x33" * 20, b"\x44" * 20
    return Genesis(
        1,
        1337,
        settlement,
        0,
        threshold,
        public("sealing", 0),
        rows,
        (asset, b"\x55" * 20),
        (market,),
        checkpoint,
        99,
    )


def make_house(ports: list[int], host: str = "127.0.0.1") -> House:
    seeds = tuple(secret("log", node) for node in range(MEMBERS))
    certificates = [tls.member_certificate(seed) for seed in seeds]
    return House(config.committee_file(make_genesis(), [(host, port) for port in ports], certificates), seeds)


@pytest.fixture
def house() -> Iterator[House]:
    """Four members at free ports. The ports stay bound, without SO_REUSEPORT, only while they are picked."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(MEMBERS)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        ports = [one.getsockname()[1] for one in sockets]
    yield make_house(ports)


@pytest.fixture
def genesis() -> Genesis:
    return make_genesis()
