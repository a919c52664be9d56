"""The deployment whose logs are audited: four members (t = 3), five traders, two markets, with all their keys."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import msgspec
from nacl.signing import SigningKey

from mpc_sequencer.core import transcript
from mpc_sequencer.core.committee import Committee, Genesis, Member
from mpc_sequencer.core.signing import Signer
from mpc_sequencer.core.types import Checkpoint
from mpc_sequencer.market.types import AUCTION, Market
from threshold import SecretShare, deal

START_MS = 1_000_000
BASE, QUOTE = 0, 1
CHAIN_ID = 1337


def secret(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


def replace(value: Any, **changes: Any) -> Any:
    return msgspec.structs.replace(value, **changes)


def flip(data: bytes) -> bytes:
    """The same bytes with one bit changed."""
    return data[:-1] + bytes((data[-1] ^ 1,))


@dataclass(frozen=True)
class Deployment:
    committee: Committee
    signers: tuple[Signer, ...]
    log_keys: tuple[SigningKey, ...]
    shares: tuple[SecretShare, ...]
    inputs: tuple[transcript.ChainInput, ...]
    traders: dict[str, Signer]


def trader_inputs(traders: dict[str, Signer]) -> list[transcript.ChainInput]:
    inputs = [
        chain_input(1, traders[name].address, asset, amount)
        for name in ("alice", "bob", "carol")
        for asset, amount in ((BASE, 10**9), (QUOTE, 10**12))
    ]
    inputs.append(chain_input(2, traders["relay"].address, 0, 10**15))
    inputs.append(chain_input(2, traders["poor"].address, 0, 10**12))
    return inputs


def chained(inputs: Sequence[transcript.ChainInput]) -> bytes:
    """The input queue's hash."""
    queue_hash = bytes(32)
    for queued in inputs:
        row = bytes((queued.kind,)) + queued.account + queued.asset.to_bytes(2, "big") + queued.amount
        queue_hash = hashlib.sha256(queue_hash + row).digest()
    return queue_hash


def member_signers() -> list[Signer]:
    return sorted((Signer(secret(f"member {i}")) for i in range(4)), key=lambda signer: signer.address)


def trader_signers() -> dict[str, Signer]:
    return {name: Signer(secret(name)) for name in ("alice", "bob", "carol", "relay", "poor")}


@cache
def deployment() -> Deployment:
    """A deployment on a chain that does not exist."""
    inputs = trader_inputs(trader_signers())
    checkpoint = Checkpoint(5, b"\x33" * 32, len(inputs), chained(inputs))
    return make_deployment(CHAIN_ID, b"\x11" * 20, (b"\x21" * 20, b"\x22" * 20), checkpoint, inputs)


def make_deployment(
    chain_id: int,
    settlement: bytes,
    tokens: Sequence[bytes],
    checkpoint: Checkpoint,
    inputs: Sequence[transcript.ChainInput],
) -> Deployment:
    signers = member_signers()
    log_keys = tuple(SigningKey(secret(f"log {i}")) for i in range(4))
    dealing = deal(4, 3, secret=None, entropy=secret("dealing"))
    genesis = Genesis(
        version=1,
        chain_id=chain_id,
        settlement=settlement,
        epoch=0,
        threshold=3,
        public_key=dealing.public_key,
        members=tuple(
            Member(signers[i].public_key, bytes(log_keys[i].verify_key), dealing.verification_keys[i])
            for i in range(4)
        ),
        assets=tuple(tokens),
        markets=(
            Market(0, BASE, QUOTE, 1_000, 10, 100, "TEST", AUCTION),
            Market(7, QUOTE, BASE, 3, 5, 50, "BACK", AUCTION),
        ),
        checkpoint=checkpoint,
        time_ms=START_MS,
    )
    return Deployment(
        Committee(genesis), tuple(signers), log_keys, dealing.shares, tuple(inputs), trader_signers()
    )


def chain_input(kind: int, account: bytes, asset: int, amount: int) -> transcript.ChainInput:
    return transcript.ChainInput(kind=kind, account=account, asset=asset, amount=amount.to_bytes(32, "big"))
