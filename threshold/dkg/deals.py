"""The cryptography of deals: commitments, sealed shares, and the proofs that let everybody judge them.

Commitments. A generation commits to coefficients a_k, b_k by C_k = a_k G + b_k H (Pedersen, CRYPTO '91), H being hashed
to the curve; a resharing by A_k = a_k G (Feldman, FOCS '87). Receiver j's values s_j = sum j^k a_k, s'_j = sum j^k b_k
match iff s_j G + s'_j H = sum j^k C_k; without H and s' for Feldman's. Values are in [1, N-1]: a zero, which an honest
dealer meets once in 2^256, is refused like a wrong value, by everybody alike.

Sealed share of dealer i for receiver j, whose session key is B = bG:

    E = kG fresh       body = ChaCha20-Poly1305(key, nonce 0^12, no associated data, s_j || s'_j)
    key = H_"MPCSEQ/v1/deal"(compressed(kB) || E || session 32 || i u16 || j u16)
    proof = Schnorr's (BIP-340) of knowledge of k, bound to H_"MPCSEQ/v1/dkg/deal-proof"(session || i || j || B || E
            || SHA256(body) || H_"MPCSEQ/v1/dkg/commitments"(session || i || commitments))

The proof makes the sealing plaintext-aware: nobody can deal under another's E, and so cannot have kB published by an
honest receiver who complains about the copy.

Opened point. D = b E opens one sealed share to everybody, with a proof that it is the right point (`ecies`):

    statement = H_"MPCSEQ/v1/dkg/opened/statement"(session || i || j || B || E || proof of E || D)
    c = H_"MPCSEQ/v1/dkg/opened/challenge"(statement || A || A')

The proof of E is in it because it covers all of the deal for j: what j signs about one deal says nothing about another
deal of the same E, so a complaint can be judged by itself (else a dealer with two deals could make an honest
complaint about the bad one look false beside the good one).

Feldman after Pedersen. That A_0..A_t-1 commit to the a_k of C_0..C_t-1 means that every C_k - A_k is a multiple of
H. One proof covers all (batch verification of Schnorr's proofs: Gennaro, Leigh, Sundaram, Yerazunis, ASIACRYPT
2004; here with small exponents as in Bellare, Garay, Rabin, EUROCRYPT '98): with weights w_k of 128 bits from a
hash of everything, X = sum w_k (C_k - A_k) must be a multiple of H, which Schnorr's proof (c, z), R = zH - cX,
shows.

    statement = H_"MPCSEQ/v1/dkg/feldman/statement"(session || i || C_0 .. || A_0 ..)
    w_k = the first 16 bytes of H_"MPCSEQ/v1/dkg/feldman/weight"(statement || k u16)
    c = H_"MPCSEQ/v1/dkg/feldman/challenge"(statement || X || R)

Everything on secret scalars runs in libsecp256k1's constant-time functions (`group.*_secret`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from typing import Final

from threshold import ecies, group, tags
from threshold.dkg.wire import Deal, Feldman, Opened, SealedShare
from threshold.errors import UsageError
from threshold.group import SCALAR_BYTES, Point
from threshold.hash_to_curve import pedersen_generator
from threshold.shamir import evaluate_in_exponent

_WEIGHT_BYTES: Final = 16
_PAD: Final = bytes(SCALAR_BYTES - _WEIGHT_BYTES)


def u16(index: int) -> bytes:
    """An index as it is hashed."""
    return index.to_bytes(2, "big")


@cache
def pedersen_point() -> Point:
    """H, parsed."""
    return group.parse_point(pedersen_generator(), "pedersen generator")


def key_statement(session: bytes, receiver: int, key: bytes) -> bytes:
    """What a session key's proof of possession is bound to."""
    return tags.DKG_KEY_PROOF(session, u16(receiver), key)


def commitments_hash(session: bytes, dealer: int, commitments: Sequence[bytes]) -> bytes:
    """What the proofs of a deal hash its commitments to."""
    return tags.DKG_COMMITMENTS(session, u16(dealer), *commitments)


def deal_statement(
    session: bytes, dealer: int, receiver: int, key: bytes, ephemeral: bytes, body: bytes, committed: bytes
) -> bytes:
    """What the proof of knowledge of an ephemeral key is bound to; `committed` is the `commitments_hash`."""
    body_hash = hashlib.sha256(body).digest()
    return tags.DKG_DEAL_PROOF(session, u16(dealer), u16(receiver), key, ephemeral, body_hash, committed)


# -- values -----------------------------------------------------------------------------------------------


def commit_secret(value: bytes, blinding: bytes | None) -> Point | None:
    """value G, or value G + blinding H; None at infinity. Constant time in both; `UsageError` out of [1, N-1]."""
    commitment = group.generator_point_secret(value)
    if blinding is None:
        return commitment
    blinded = group.parse_point(group.multiply_secret(pedersen_point(), blinding), "blinding")
    return group.add([commitment, blinded])


def values_match(deal: Deal, receiver: int, values: Sequence[bytes]) -> bool:
    """Whether (s,) or (s, s') are what the deal's commitments fix for this receiver. Constant time in the values."""
    try:
        found = commit_secret(values[0], values[1] if len(values) == 2 else None)
    except UsageError:
        return False
    expected = evaluate_in_exponent(deal.points, receiver)
    return found is not None and expected is not None and group.encode_point(found) == group.encode_point(expected)


def _body_key(point: bytes, ephemeral: bytes, session: bytes, dealer: int, receiver: int) -> bytes:
    return tags.DKG_DEAL_KEY(point, ephemeral, session, u16(dealer), u16(receiver))


def seal_values(
    values: Sequence[bytes], point: bytes, ephemeral: bytes, session: bytes, dealer: int, receiver: int
) -> bytes:
    """The body of a sealed share; `point` is kB, 33 bytes."""
    key = _body_key(point, ephemeral, session, dealer, receiver)
    return ecies.encrypt_body(key, b"".join(values))


def open_values(deal: Deal, session: bytes, dealer: int, receiver: int, point: bytes) -> tuple[bytes, ...] | None:
    """(s,) or (s, s') that D (33 bytes) opens the deal to; None when it opens to nothing or to wrong values.

    Judges and receivers use this one function, so a receiver complains exactly when everybody would agree.
    """
    sealed = deal.sealed[receiver]
    key = _body_key(point, sealed.ephemeral, session, dealer, receiver)
    opened = ecies.decrypt_body(key, sealed.body)
    if opened is None:
        return None
    values = tuple(opened[at : at + SCALAR_BYTES] for at in range(0, len(opened), SCALAR_BYTES))
    return values if values_match(deal, receiver, values) else None


# -- opened points ----------------------------------------------------------------------------------------


def _opened_statement(
    session: bytes, dealer: int, receiver: int, key: bytes, sealed: SealedShare, point: bytes
) -> bytes:
    parts = sealed.ephemeral, sealed.proof, point
    return tags.DKG_OPENED_STATEMENT(session, u16(dealer), u16(receiver), key, *parts)


def prove_opened(
    session: bytes, dealer: int, receiver: int, secret: bytes, deal: Deal, nonce_seed: bytes
) -> Opened:
    """D = b E and its proof, for the receiver's session key b. Constant time in b and in the nonce.

    The nonce hashes `nonce_seed` (secret, 32 bytes) and the statement.
    """
    sealed = deal.sealed[receiver]
    key = group.generator_multiply_secret(secret)
    point = group.multiply_secret(sealed.point, secret)
    statement = _opened_statement(session, dealer, receiver, key, sealed, point)
    nonce = group.reduce_scalar(tags.DKG_OPENED_NONCE(nonce_seed, statement))
    c, z = ecies.prove_opened(secret, sealed.point, statement, nonce, tags.DKG_OPENED_CHALLENGE)
    return Opened(dealer, point, c, z, group.parse_point(point, "opened.point"))


def verify_opened(session: bytes, receiver: int, key: bytes, key_point: Point, deal: Deal, opened: Opened) -> bool:
    """Whether the proof shows that the opened point is b E for the receiver's key B. Public values only."""
    sealed = deal.sealed[receiver]
    statement = _opened_statement(session, opened.dealer, receiver, key, sealed, opened.encoded)
    points = key_point, sealed.point, opened.point
    return ecies.verify_opened(*points, statement, opened.c, opened.z, tags.DKG_OPENED_CHALLENGE)


# -- Feldman after Pedersen -------------------------------------------------------------------------------


def _feldman_statement(session: bytes, dealer: int, deal: Deal, commitments: Sequence[bytes]) -> bytes:
    return tags.DKG_FELDMAN_STATEMENT(session, u16(dealer), *deal.commitments, *commitments)


def _weights(statement: bytes, count: int) -> list[bytes]:
    return [_PAD + tags.DKG_FELDMAN_WEIGHT(statement, u16(k))[:_WEIGHT_BYTES] for k in range(count)]


def _feldman_challenge(statement: bytes, base: bytes, commitment: bytes) -> bytes:
    return group.reduce_scalar(tags.DKG_FELDMAN_CHALLENGE(statement, base, commitment))


def prove_feldman(
    session: bytes, dealer: int, deal: Deal, polynomial: Sequence[bytes], blinding: Sequence[bytes], nonce_seed: bytes
) -> Feldman:
    """A_k = a_k G with the batch proof. Constant time in the coefficients a_k, b_k and in the nonce."""
    commitments = tuple(group.generator_multiply_secret(a) for a in polynomial)
    statement = _feldman_statement(session, dealer, deal, commitments)
    weights = _weights(statement, len(commitments))
    secret = group.scalar_multiply_secret(blinding[0], weights[0])
    for b, weight in zip(blinding[1:], weights[1:], strict=True):
        secret = group.scalar_multiply_add_secret(b, weight, secret)
    nonce = group.reduce_scalar(tags.DKG_FELDMAN_NONCE(nonce_seed, statement))
    base = group.multiply_secret(pedersen_point(), secret)
    c = _feldman_challenge(statement, base, group.multiply_secret(pedersen_point(), nonce))
    z = group.scalar_multiply_add_secret(secret, c, nonce)
    return Feldman(commitments, c, z, tuple(group.parse_point(data, "commitment") for data in commitments))


def verify_feldman(session: bytes, dealer: int, deal: Deal, feldman: Feldman) -> bool:
    """Whether the message commits to the polynomial that the deal committed to. Public values only."""
    statement = _feldman_statement(session, dealer, deal, feldman.commitments)
    try:
        weights = _weights(statement, len(feldman.points))
        summands: list[Point] = []
        for before, after, weight in zip(deal.points, feldman.points, weights, strict=True):
            difference = group.add([before, group.negate(after)])
            if difference is not None:
                summands.append(group.multiply(difference, weight))
    except UsageError:  # a weight of zero, once in 2^128
        return False
    base = group.add(summands) if summands else None
    if base is None:
        return False
    products = group.multiply(pedersen_point(), feldman.z), group.multiply(base, group.negate_scalar(feldman.c))
    commitment = group.add(products)
    if commitment is None:
        return False
    found = _feldman_challenge(statement, group.encode_point(base), group.encode_point(commitment))
    return found == feldman.c
