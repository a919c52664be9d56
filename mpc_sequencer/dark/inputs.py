"""The values that dark orders come in, as they travel and as the log holds them, and what a batch's inputs are about.

All are canonical arrays (:mod:`mpc_sequencer.core.codec`) with bounded fields; what is signed offers ``struct_hash()``.
Who makes and checks them: :mod:`mpc_sequencer.dark.bundles` and :mod:`mpc_sequencer.dark.intake`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final, Literal

from msgspec import Meta
from msgspec.structs import astuple
from nacl.exceptions import CryptoError
from nacl.public import Box, PrivateKey, PublicKey

from mpc_sequencer.core import domains, eip712, limits
from mpc_sequencer.core.actions import MarketNumber
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.types import Address, Hash32, NodeIndex, SignatureBytes, Uint, Value
from mpc_sequencer.dark import tags
from mpc_sequencer.dark.field import ELEMENT_BYTES
from mpc_sequencer.dark.layout import Deposit
from mpc_sequencer.dark.params import DarkParams

COLUMNS_MAX: Final = 4_096
BUNDLE_BYTES_MAX: Final = COLUMNS_MAX * ELEMENT_BYTES + 256
SEAL_BYTES: Final = PublicKey.SIZE + 16  # what sealing adds: the ephemeral key and Poly1305's tag
SEALED_BYTES_MAX: Final = BUNDLE_BYTES_MAX + SEAL_BYTES
_ANY_KEY: Final = PrivateKey(bytes(31) + b"\x01")  # only to see whether an exchange with another comes to zero
PATH_HASHES_MAX: Final = 6  # of COMMITTEE_MEMBERS_MAX leaves

MISSING: Final = 1
BAD: Final = 2
COMPLAINT_NAMES: Final = {MISSING: "missing", BAD: "bad"}

Path = Annotated[tuple[Hash32, ...], Meta(max_length=PATH_HASHES_MAX)]
SealedBytes = Annotated[bytes, Meta(min_length=1, max_length=SEALED_BYTES_MAX)]


def check_sealing_key(key: bytes, field: str) -> None:
    """Refuse what is no X25519 key or one of low order (``dark.sealing_key``): the secret that it shares with anybody
    is zero, and the library refuses to seal to it. Who takes a party's key for registration calls this as well, so
    that the party is turned away and not the batch."""
    expected = f"{PublicKey.SIZE} bytes, a point of large order"
    if len(key) != PublicKey.SIZE:
        raise ProtocolError("dark.sealing_key", field, f"{len(key)} bytes", expected)
    try:
        Box(_ANY_KEY, PublicKey(key))
    except CryptoError:
        raise ProtocolError("dark.sealing_key", field, key, expected) from None


@dataclass(frozen=True, slots=True)
class BatchContext:
    """What every check of a batch's inputs needs: the deployment's EIP-712 separator, which batch it is, the market's
    parameters, and the parties' X25519 keys and consensus addresses in party order.

    Raises ProtocolError ``dark.sealing_key`` for a party's key to which nothing can be sealed (see
    :func:`check_sealing_key`), ``ValueError`` where the members are not ``params.parties`` different ones."""

    separator: bytes
    epoch: int
    batch: int
    market: int
    params: DarkParams
    sealing_keys: tuple[bytes, ...]
    members: tuple[bytes, ...]

    def __post_init__(self) -> None:
        if not len(self.sealing_keys) == len(self.members) == self.params.parties:
            raise ValueError(f"keys of {len(self.sealing_keys)} and {len(self.members)} of {self.params.parties}")
        if len(set(self.members)) != len(self.members):
            raise ValueError("a member stands for two parties: what it signs would count twice")
        for party, key in enumerate(self.sealing_keys):
            check_sealing_key(key, f"sealing_keys[{party}]")

    def digest(self, struct_hash: bytes) -> bytes:
        """What is signed for ``struct_hash`` in this deployment."""
        return eip712.digest(self.separator, struct_hash)


class DarkTerms(Value, frozen=True):
    """What is public of a dark order. Its deposit is locked whatever its side: ``quote_tick_lots`` lots times ticks of
    the quote asset, ``base_lots`` lots of the base asset."""

    epoch: Uint
    batch: Uint
    market: MarketNumber
    trader: Address
    nonce: Uint
    valid_from_ms: Uint
    valid_until_ms: Uint
    quote_tick_lots: Uint
    base_lots: Uint
    bundles_root: Hash32

    def struct_hash(self) -> bytes:
        return domains.DARK_ORDER_TYPE(*astuple(self))

    @property
    def deposit(self) -> Deposit:
        return Deposit(self.quote_tick_lots, self.base_lots)


class DarkOrder(Value, frozen=True):
    """A dark order as it goes into the log: its terms, signed by the trader."""

    version: Literal[1]
    terms: DarkTerms
    signature: SignatureBytes

    def order_id(self) -> bytes:
        """32 bytes over the terms: variants of the signature are the same order."""
        return self.terms.struct_hash()


class ShareBundle(Value, frozen=True):
    """What is sealed to party ``party``: its shares of the row, 12 bytes little-endian each."""

    version: Literal[1]
    epoch: Uint
    batch: Uint
    market: MarketNumber
    trader: Address
    nonce: Uint
    party: NodeIndex
    salt: Hash32
    shares: Annotated[bytes, Meta(max_length=COLUMNS_MAX * ELEMENT_BYTES)]

    def __repr__(self) -> str:
        return f"ShareBundle(trader=0x{self.trader.hex()}, nonce={self.nonce}, party={self.party})"


class Delivery(Value, frozen=True):
    """A sealed bundle on its way to ``party``, and the path that shows the trader signed for these bytes."""

    order: DarkOrder
    party: NodeIndex
    sealed: SealedBytes
    plaintext_hash: Hash32
    path: Path


class OpenedBundle(Value, frozen=True):
    """A bundle in the open, against a complaint, and the path that shows the trader signed for it."""

    order_id: Hash32
    party: NodeIndex
    plaintext: Annotated[bytes, Meta(max_length=BUNDLE_BYTES_MAX)]
    sealed_hash: Hash32
    path: Path


class Acknowledgement(Value, frozen=True):
    """Party ``party`` holds good shares of these orders."""

    epoch: Uint
    batch: Uint
    market: MarketNumber
    party: NodeIndex
    order_ids: Annotated[tuple[Hash32, ...], Meta(min_length=1, max_length=limits.LIST_ENTRIES_MAX)]
    signature: SignatureBytes

    def struct_hash(self) -> bytes:
        ids_hash = tags.ACKNOWLEDGED(*self.order_ids)
        return domains.DARK_ACKNOWLEDGEMENT_TYPE(self.epoch, self.batch, self.market, self.party, ids_hash)


class Complaint(Value, frozen=True):
    """Party ``party`` got nothing that the trader signed for (MISSING), or that and it is no good bundle (BAD)."""

    epoch: Uint
    batch: Uint
    market: MarketNumber
    party: NodeIndex
    order_id: Hash32
    kind: Literal[1, 2]
    signature: SignatureBytes

    def struct_hash(self) -> bytes:
        return domains.DARK_COMPLAINT_TYPE(
            self.epoch, self.batch, self.market, self.party, self.order_id, self.kind
        )
