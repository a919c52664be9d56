"""The committee and what its deployment fixes for ever: members, thresholds, keys, markets, the genesis checkpoint.

``n >= 3f+1`` with ``f`` as large as that allows (``n >= 4f+1`` where a market orders by receipt: fair orders need more
honest lists; or where one is dark: lies about shares are corrected then); the quorum is ``q = n - f``; ``t`` shares
decrypt, with ``f+1 <= t <= q`` (docs/protocol.md, "Roles"). The genesis block id is the tagged hash of the canonical
:class:`Genesis`, so members that disagree about any part of it never share a block.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Annotated, Literal

from msgspec import Meta
from msgspec.structs import replace

from mpc_sequencer.core import domains, eip712, limits, signing
from mpc_sequencer.core.codec import encode
from mpc_sequencer.core.darkterms import check_dark, dark_markets, size_buckets
from mpc_sequencer.core.errors import ConfigError, ProtocolError
from mpc_sequencer.core.types import (
    ZERO_HASH,
    Address,
    Bundle,
    Certificate,
    Checkpoint,
    EpochStart,
    Hash32,
    Head,
    KeyCertificate,
    KeyMessage,
    NextMember,
    OrderList,
    PointBytes,
    PointOrNone,
    Receipt,
    Uint,
    Value,
    Vote,
)
from mpc_sequencer.market import RECEIVE, Market
from threshold import SealingKey, ThresholdError
from threshold.group import parse_point


class Member(Value, frozen=True):
    """A member's public keys: consensus (secp256k1), log and TLS identity (Ed25519), threshold verification key (empty
    where the first blocks generate it)."""

    consensus_key: PointBytes
    log_key: Hash32
    verification_key: PointOrNone


class Genesis(Value, frozen=True):
    """Everything members must agree on before the first block. ``public_key`` is empty, and members' verification keys
    are, where the first blocks generate the threshold key; a deployment may also start from a sharing that exists."""

    version: Literal[1]
    chain_id: Uint
    settlement: Address
    epoch: Uint
    threshold: Uint
    public_key: PointOrNone
    members: Annotated[tuple[Member, ...], Meta(max_length=limits.COMMITTEE_MEMBERS_MAX)]
    assets: Annotated[tuple[Address, ...], Meta(max_length=64)]
    markets: Annotated[tuple[Market, ...], Meta(max_length=1_024)]
    checkpoint: Checkpoint
    time_ms: Uint
    key_refresh_ms: Uint = 0
    """How often the threshold key is shared anew, in block time: KEY_REFRESH_MS_MIN or more, or 0 for never (but where
    a member lacks its share)."""
    l1_step_blocks: Annotated[int, Meta(ge=1, le=limits.UINT_MAX)] = 1
    """Chain checkpoints are blocks of the chain whose number is a multiple of it."""
    forced_delay_blocks: Uint = 0
    forced_spacing_blocks: Uint = 0
    """When forced orders are due, in blocks of the chain: as the settlement contract's terms, or less."""
    fee_account: Address = bytes(20)
    """Where trading fees go; zero bytes only where every market trades free of fees."""

    def block_id(self) -> bytes:
        """The id of the block of height 0 and view 0. (Where no market is dark, markets stand in it without the terms
        of dark ones: a deployment from before there were any keeps its name.)"""
        if any(market.dark is not None for market in self.markets):
            return domains.GENESIS(encode(self))
        return domains.GENESIS(encode(replace(self, markets=tuple(market.plain() for market in self.markets))))


def faults_tolerated(members: int, markets: Iterable[Market]) -> int:
    """f of a committee of ``members``: n >= 3f+1, and n >= 4f+1 where a market needs more honest members."""
    return (members - 1) // fault_divisor(markets)


def fault_divisor(markets: Iterable[Market]) -> int:
    """How many members it takes to tolerate another fault: 3, and 4 where a market orders by receipt, or is dark and no
    demonstration."""
    stricter = any(
        market.policy == RECEIVE or (market.dark is not None and not market.dark.demonstration) for market in markets
    )
    return 4 if stricter else 3


@dataclass(frozen=True, slots=True)
class Sharing:
    """A sharing of the threshold key, as everybody knows it. Batches from ``from_height`` on are opened with it."""

    number: int
    from_height: int
    verification_keys: tuple[bytes, ...]
    """By member, 33 bytes each."""
    name: bytes
    """What bundles call it: the hash of its result, 32 bytes; zero where the committee file gives it."""
    certificate: KeyCertificate | None
    """What proves it; None where the committee file gives it."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an epoch after the first comes from (:mod:`mpc_sequencer.core.rotation`)."""

    genesis_id: bytes
    anchor_id: bytes
    """The last block of the epoch before: the first one of this epoch follows it."""
    anchor_height: int
    public_key: bytes
    sharing: Sharing
    starts: tuple[EpochStart, ...]
    """Of all epochs up to this one, from the second on."""


@lru_cache(maxsize=64)
def _sealing_key(public_key: bytes, chain_id: int, settlement: bytes) -> SealingKey:
    """One object a key: its tables cost more than many decryptions."""
    return SealingKey(public_key, chain_id, settlement)


def _check_given_keys(genesis: Genesis) -> None:
    """Refuse a given threshold key or verification key that is no point: the codec lets any up to 33 bytes pass."""
    try:
        parse_point(genesis.public_key, "public_key")
        for index, member in enumerate(genesis.members):
            parse_point(member.verification_key, f"members[{index}].verification_key")
    except ThresholdError as error:
        cause = f"a threshold key is not a point of secp256k1: {error}"
        raise ConfigError(cause, "give each as 33 bytes of compressed SEC1, or give none of them") from None


class Committee:
    """A checked :class:`Genesis` with what follows from it. Raises :class:`ConfigError` when it is unsafe."""

    def __init__(self, genesis: Genesis, origin: Origin | None = None) -> None:
        n = len(genesis.members)
        if not limits.COMMITTEE_MEMBERS_MIN <= n <= limits.COMMITTEE_MEMBERS_MAX:
            raise ConfigError(
                f"a committee of {n} members is unsafe",
                f"use between {limits.COMMITTEE_MEMBERS_MIN} and {limits.COMMITTEE_MEMBERS_MAX} members",
            )
        self.genesis = genesis
        self.n = n
        self.f = faults_tolerated(n, genesis.markets)
        if not self.f:
            cause = f"{n} members tolerate no fault where a market orders by receipt or is dark"
            raise ConfigError(cause, "use 5 or more")
        try:
            check_dark(n, self.f, genesis.markets)
        except ValueError as error:
            advice = "take another grid, or another number of members"
            raise ConfigError(f"{n} members cannot run a market: {error}", advice) from None
        self.q = n - self.f
        by_receipt = any(market.policy == RECEIVE for market in genesis.markets)
        self.solid = n - 2 * self.f if by_receipt else None
        """Listings that settle an order's place; None where no market orders by receipt."""
        self.t = genesis.threshold
        if not self.f + 1 <= self.t <= self.q:
            raise ConfigError(
                f"a decryption threshold of {self.t} is unsafe with {n} members",
                f"use t between f+1 = {self.f + 1} and n-f = {self.q}",
            )
        if 0 < genesis.key_refresh_ms < limits.KEY_REFRESH_MS_MIN:
            raise ConfigError(
                f"key_refresh_ms is {genesis.key_refresh_ms}: a sharing would follow the one before too soon",
                f"share the key anew every {limits.KEY_REFRESH_MS_MIN} ms or more seldom, or never: 0",
            )
        if not any(genesis.fee_account) and any(m.maker_fee_ppm or m.taker_fee_ppm for m in genesis.markets):
            raise ConfigError("a market takes fees and no account gets them", "name a fee_account")
        self.epoch = genesis.epoch
        self.origin = origin
        self.genesis_id = genesis.block_id() if origin is None else origin.genesis_id
        """The deployment's name, in all epochs."""
        dark = bool(dark_markets(genesis.markets))
        self.dark_topic = domains.DARK_TOPIC(self.genesis_id, self.epoch.to_bytes(8, "big")) if dark else None
        """The session under which members speak of dark markets in this epoch; None where no market is dark."""
        self.size_buckets = size_buckets(genesis.markets)
        """The sizes that labels may name, ascending, in bytes."""
        self.anchor_id = self.genesis_id if origin is None else origin.anchor_id
        """The block that the epoch's first one follows."""
        self.anchor_height = 0 if origin is None else origin.anchor_height
        self.joiners: list[NextMember] = []
        """Who is to join in the next epoch and signs key messages in this one: number k as n+k."""
        self.separator = eip712.domain_separator(genesis.chain_id, genesis.settlement)
        self.keys: SealingKey | None = None
        """None until the key generation is over."""
        self.sharings: dict[int, Sharing] = {}
        """The newest SHARINGS_KEPT by number."""
        given = [bool(member.verification_key) for member in genesis.members]
        if any(given) != all(given) or all(given) != bool(genesis.public_key):
            cause = "some threshold keys are given and others are not"
            raise ConfigError(cause, "give the public key and every member's verification key, or none of them")
        if genesis.public_key:
            _check_given_keys(genesis)
            self.establish(genesis.public_key, [member.verification_key for member in genesis.members])
        if origin is not None:
            self._begin_with(origin)
        try:
            self.addresses = tuple(signing.address_of(member.consensus_key) for member in genesis.members)
        except ValueError as error:
            raise ConfigError("a member's consensus key is not a point of secp256k1", str(error)) from None
        if len(set(self.addresses)) != n or len({m.log_key for m in genesis.members}) != n:
            raise ConfigError("two members share a key", "give every member keys of its own")
        if tuple(sorted(self.addresses)) != self.addresses:
            raise ConfigError(
                "members are not in ascending order of their consensus addresses",
                "write the committee file with `mpcseq devnet init`",
            )

    def own(self) -> Committee:
        """This committee for one member's use, with a place of its own for the key's sharings."""
        return Committee(self.genesis, self.origin)

    def _begin_with(self, origin: Origin) -> None:
        one = origin.sharing
        self.establish(
            origin.public_key, one.verification_keys, number=one.number, from_height=one.from_height, name=one.name
        )

    @property
    def starts(self) -> tuple[EpochStart, ...]:
        """What proves this epoch's committee, and those between the first and it."""
        return self.origin.starts if self.origin is not None else ()

    def establish(
        self,
        public_key: bytes,
        verification_keys: Sequence[bytes],
        *,
        number: int = 0,
        from_height: int = 0,
        name: bytes = ZERO_HASH,
        certificate: KeyCertificate | None = None,
    ) -> None:
        """A sharing of the threshold key is known from now on; one that is known already stays. Raises ThresholdError
        where the key is no point, ProtocolError (``key.result``) where it is another one than before."""
        genesis = self.genesis
        if self.keys is not None and self.keys.public_key != public_key:
            raise ProtocolError("key.result", "public_key", public_key, self.keys.public_key.hex())
        self.keys = _sealing_key(public_key, genesis.chain_id, genesis.settlement)
        self.sharings.setdefault(number, Sharing(number, from_height, tuple(verification_keys), name, certificate))
        for old in [one for one in self.sharings if one <= max(self.sharings) - limits.SHARINGS_KEPT]:
            del self.sharings[old]

    @property
    def sealing_key(self) -> SealingKey:
        """What orders are sealed to; refused (``key.pending``) before the key generation is over."""
        if self.keys is None:
            raise ProtocolError("key.pending", "threshold key", "none yet", "a key: its generation goes on")
        return self.keys

    def sharing(self, number: int) -> Sharing:
        """A sharing by its number; refused (``key.pending``) where it is not known."""
        found = self.sharings.get(number)
        if found is None:
            raise ProtocolError("key.pending", "sharing", number, f"one of {sorted(self.sharings)}")
        return found

    def sharing_at(self, height: int) -> Sharing:
        """The sharing that opens the batch of ``height``; refused like :meth:`sharing`."""
        started = [one for one in self.sharings.values() if one.from_height <= height]
        if not started:
            raise ProtocolError("key.pending", "height", height, "one that a known sharing is for")
        return max(started, key=lambda one: one.number)

    def known_sharing_at(self, height: int) -> Sharing | None:
        """The sharing that opens the batch of ``height``; None where it is not known, or forgotten."""
        try:
            return self.sharing_at(height)
        except ProtocolError:
            return None

    def sharing_named(self, name: bytes) -> Sharing:
        """A sharing by its name; refused like :meth:`sharing`."""
        for one in self.sharings.values():
            if one.name == name:
                return one
        raise ProtocolError("key.pending", "sharing", name, "the name of one that is known")

    def verification_key(self, node: int, sharing: bytes = ZERO_HASH) -> bytes:
        """A member's verification key of the sharing of that name, 33 bytes; refused like :meth:`sharing`."""
        return self.sharing_named(sharing).verification_keys[node]

    def leader(self, view: int) -> int:
        """The member whose turn ``view`` is."""
        return view % self.n

    def digest(self, struct_hash: bytes) -> bytes:
        """What is signed for ``struct_hash`` in this deployment."""
        return eip712.digest(self.separator, struct_hash)

    def check_member(self, node: int, field: str) -> None:
        """Refuse an index outside the committee (``member.unknown``)."""
        if not 0 <= node < self.n:
            raise ProtocolError("member.unknown", field, node, f"0 .. {self.n - 1}")

    def check_signature(self, node: int, struct_hash: bytes, signature: bytes, field: str) -> None:
        """Refuse a signature that is not member ``node``'s over ``struct_hash``."""
        self.check_member(node, f"{field}.node")
        signing.check_signer(self.digest(struct_hash), signature, self.addresses[node], f"{field}.signature")

    def _check_author(self, message: KeyMessage, struct_hash: bytes) -> None:
        """Refuse a key message that neither the member nor the joiner of that number has signed."""
        if message.node < self.n:
            self.check_signature(message.node, struct_hash, message.signature, "KeyMessage")
            return
        number = message.node - self.n
        if number >= len(self.joiners):
            known = f"0 .. {self.n + len(self.joiners) - 1}"
            raise ProtocolError("member.unknown", "KeyMessage.node", message.node, known)
        address = signing.address_of(self.joiners[number].consensus_key)
        signing.check_signer(self.digest(struct_hash), message.signature, address, "KeyMessage.signature")

    def check_value(self, value: KeyMessage | Receipt | OrderList | Head | Vote | Bundle) -> bytes:
        """Refuse a signed value of another epoch or of no possible incarnation, or that its member did not sign; its
        struct hash."""
        field = type(value).__name__
        if value.epoch != self.epoch:
            raise ProtocolError("epoch.unknown", field, value.epoch, self.epoch)
        if getattr(value, "incarnation", 0) > limits.INCARNATIONS_MAX:
            expected = f"at most {limits.INCARNATIONS_MAX}"
            raise ProtocolError("incarnation.unknown", field, getattr(value, "incarnation", 0), expected)
        struct_hash = value.struct_hash()
        if isinstance(value, KeyMessage):
            self._check_author(value, struct_hash)
        else:
            self.check_signature(value.node, struct_hash, value.signature, field)
        return struct_hash

    def check_certificate(
        self, certificate: Certificate, verified: Container[tuple[int, bytes]] = frozenset()
    ) -> None:
        """Refuse a certificate without q valid votes of distinct members in ascending order. ``verified`` are
        (member, signature) pairs over this very statement that were verified before."""
        if certificate.epoch != self.epoch:
            raise ProtocolError("epoch.unknown", "Certificate.epoch", certificate.epoch, self.epoch)
        nodes = [vote.node for vote in certificate.votes]
        if any(a >= b for a, b in pairwise(nodes)):
            raise ProtocolError("certificate.order", "Certificate.votes", nodes, "strictly ascending members")
        if len(nodes) < self.q:
            raise ProtocolError("certificate.quorum", "Certificate.votes", len(nodes), f"at least {self.q}")
        struct_hash = certificate.struct_hash()
        for vote in certificate.votes:
            if (vote.node, vote.signature) not in verified:
                self.check_signature(vote.node, struct_hash, vote.signature, "Certificate.votes")
