"""What members of an epoch agree on (:mod:`mpc_sequencer.dark.agreement`): keys of boxes and of pseudorandom sharing.

Box keys. Orders are sealed to them, a box for every party (:mod:`threshold.boxes`); a party that has none gets boxes
all the same, which nobody reads.

Keys of subsets. Of subset number s, in lexicographic order, with members A the *dealers* are A[(s + k) mod |A|] for
k = 0..t. A dealer contributes 32 bytes, commits to them by a hash and seals them to the subset's other members. The key
is the hash of the qualified dealers' contributions. Of t + 1 dealers one is honest, so there is a key unless honest
parties stay silent too; and of the subset that avoids all corrupt parties every dealer is honest, so they know nothing
of its key. (The keys of all others they hold anyway.)
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Annotated, Final

from msgspec import Meta

from mpc_sequencer.core.limits import COMMITTEE_MEMBERS_MAX
from mpc_sequencer.core.types import Hash32, PointOrNone, Uint, Value
from mpc_sequencer.dark import tags
from mpc_sequencer.dark.messages import DealSaid, encode_word
from mpc_sequencer.dark.prss import KEY_BYTES, Subset, subsets
from threshold.boxes import BOX_OVERHEAD_BYTES

CONTRIBUTION_BYTES: Final = KEY_BYTES


class AgreedKeys(Value, frozen=True):
    """What an epoch's parties agreed on. ``id`` names all of it; orders and computations are bound to it.

    ``box_keys``: of each party 33 bytes, or none of a party without a key. ``rest_hash`` covers the qualified dealers
    and what they committed to.
    """

    topic: Hash32
    attempt: Uint
    box_keys: Annotated[tuple[PointOrNone, ...], Meta(max_length=COMMITTEE_MEMBERS_MAX)]
    rest_hash: Hash32

    @property
    def id(self) -> bytes:
        """32 bytes; hashed anew at each use."""
        boxes = tags.KEYS_BOXES(*(bytes((len(key),)) + key for key in self.box_keys))
        return tags.KEYS_ID(self.topic, u64(self.attempt), boxes, self.rest_hash)


def u16(index: int) -> bytes:
    """A party's index as it is hashed."""
    return index.to_bytes(2, "big")


def u64(number: int) -> bytes:
    """A number as it is hashed."""
    return number.to_bytes(8, "big")


def named(subset: Subset) -> bytes:
    """A subset as it is hashed."""
    return b"".join(u16(member) for member in subset)


# --- contexts of boxes ------------------------------------------------------------------------------------------------


def order_context(keys_id: bytes, market: int, account: bytes, nonce: int, party: int) -> bytes:
    """The context of an order's box for one party: 32 bytes that name the order and the keys it is sealed under."""
    return tags.DARK_BOX(keys_id, market.to_bytes(4, "big"), account, u64(nonce), u16(party))


def deal_context(topic: bytes, attempt: int, dealer: int, receiver: int) -> bytes:
    """The context of the box of a dealer's contributions for one receiver."""
    return tags.DARK_DEAL(topic, u64(attempt), u16(dealer), u16(receiver))


# --- who deals what ---------------------------------------------------------------------------------------------------


@lru_cache(maxsize=2048)
def dealers_of(subset: Subset, number: int, faults_t: int) -> tuple[int, ...]:
    """The parties that contribute to the key of the subset with this number, ascending."""
    return tuple(sorted(subset[(number + k) % len(subset)] for k in range(faults_t + 1)))


@lru_cache(maxsize=256)
def dealt_by(parties: int, faults_t: int, dealer: int) -> tuple[Subset, ...]:
    """The subsets that a party contributes to, in lexicographic order."""
    every = enumerate(subsets(parties, faults_t))
    return tuple(subset for number, subset in every if dealer in dealers_of(subset, number, faults_t))


@lru_cache(maxsize=2048)
def dealt_to(parties: int, faults_t: int, dealer: int, receiver: int) -> tuple[Subset, ...]:
    """The subsets of which a dealer's box for this receiver holds contributions, in lexicographic order."""
    return tuple(subset for subset in dealt_by(parties, faults_t, dealer) if receiver in subset)


def deal_box_bytes(parties: int, faults_t: int, dealer: int, receiver: int) -> int:
    """The length of a dealer's box for a receiver, 0 where it has nothing for it."""
    count = len(dealt_to(parties, faults_t, dealer, receiver))
    return BOX_OVERHEAD_BYTES + count * CONTRIBUTION_BYTES if count else 0


@lru_cache(maxsize=64)
def deal_payload_bytes_max(parties: int, faults_t: int) -> int:
    """The longest deal's payload, which a key message must hold: (13,3) fits, (14,3) does not."""

    def payload_bytes(dealer: int) -> int:
        others = (party for party in range(parties) if party != dealer)
        boxes = tuple(bytes(deal_box_bytes(parties, faults_t, dealer, receiver)) for receiver in others)
        commitments = (bytes(32),) * len(dealt_by(parties, faults_t, dealer))
        return len(encode_word(DealSaid((1 << 63) - 1, commitments, boxes)))

    return max(payload_bytes(dealer) for dealer in range(parties))


# --- contributions ----------------------------------------------------------------------------------------------------


def commitment(topic: bytes, attempt: int, dealer: int, subset: Subset, contribution: bytes) -> bytes:
    """What a dealer says of a contribution in the open."""
    return tags.COMMITMENT(topic, u64(attempt), u16(dealer), named(subset), contribution)


def subset_key(keys_id: bytes, subset: Subset, contributions: Sequence[bytes]) -> bytes:
    """The key of a subset, from the contributions of its qualified dealers, ascending."""
    if not contributions or any(len(one) != CONTRIBUTION_BYTES for one in contributions):
        raise ValueError(f"{len(contributions)} contributions, expected some of {CONTRIBUTION_BYTES} bytes each")
    return tags.PRSS_KEY(keys_id, named(subset), *contributions)
