"""One final batch on its way from shares to plaintexts, and what comes out of it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from mpc_sequencer.core.chain import Finality
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.envelopes import SealedOrder
from mpc_sequencer.core.offences import BadCoinShare, BadShares, KeyPin, SealedBytes
from mpc_sequencer.core.types import Bundle
from threshold import VerifiedCoinShare


@dataclass(frozen=True, slots=True)
class OpenedOrder:
    """One order's verdict; ``plaintext`` is None where it is malformed."""

    order: SealedOrder
    plaintext: bytes | None


@dataclass(frozen=True, slots=True)
class OpenedBatch:
    """A batch whose every order has its verdict, in batch order, and its block's coin (32 bytes)."""

    final: Finality
    coin: bytes
    orders: tuple[OpenedOrder, ...]


@dataclass(slots=True)
class RevealTask:
    """One final block on its way from shares to plaintexts."""

    final: Finality
    orders: Sequence[SealedOrder]
    shares: list[bytes] = field(default_factory=list)
    own: Bundle | None = None
    bundles: dict[int, Bundle] = field(default_factory=dict)
    coin_shares: dict[int, VerifiedCoinShare] = field(default_factory=dict)
    coin: bytes | None = None
    verified: set[int] = field(default_factory=set)
    bad: set[int] = field(default_factory=set)
    opened: list[OpenedOrder] = field(default_factory=list)
    since_ms: int = 0

    @property
    def height(self) -> int:
        return self.final.height

    @property
    def block_id(self) -> bytes:
        return self.final.block_id

    @property
    def bare(self) -> bool:
        """Whether there is nothing to open: the height counts without a batch."""
        return not self.orders

    @property
    def done(self) -> bool:
        return len(self.opened) == len(self.orders)


def bad_shares(task: RevealTask, bundle: Bundle) -> BadShares:
    """A bundle with what pins the points its shares must be of."""
    block = task.final.block
    orders = tuple(SealedBytes(order.checked.label_encoded, order.checked.encoded) for order in task.orders)
    return BadShares(bundle, block.header, block.batch, orders)


def bad_coin_share(task: RevealTask, bundle: Bundle, committee: Committee) -> BadCoinShare:
    """A bundle with what pins the key its coin share must be of, where the committee file does not say it."""
    if committee.genesis.public_key:
        return BadCoinShare(bundle)
    block, first = task.final.block, task.orders[0].checked
    ciphertext_hash = hashlib.sha256(first.encoded).digest()
    return BadCoinShare(bundle, KeyPin(block.header, block.batch, first.label_encoded, ciphertext_hash))
