"""A committee file of four members, with the secrets of its log keys."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from coincurve import PrivateKey

from mpc_sequencer.core.committee import Genesis, Member
from mpc_sequencer.core.signing import address_of
from mpc_sequencer.core.types import Checkpoint
from mpc_sequencer.market import AUCTION, Market
from mpc_sequencer.node import config, tls

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
