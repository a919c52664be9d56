"""What can be wrong with bytes that came from somebody else, one code per cause.

Rule: a decoder or check that refuses raises `ThresholdError` and has changed nothing. The error carries
a code from `CODES`, the field, the value seen (public bytes only, shortened) and what was expected, so that a
log line or a reply to the sender needs no further context.

A caller who breaks this library's own contract (a secret share used after `erase`, an index outside the
committee) gets `UsageError` instead: that is a bug on our side and never evidence against a peer.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

SEEN_HEX_DIGITS_MAX: Final = 80

CODES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "label.length": "A label is exactly 101 bytes.",
        "label.version": "The label's first byte names a version this library does not know.",
        "label.field": "A label's field does not fit its width on the wire.",
        "label.validity": "valid_from_ms is not before valid_until_ms.",
        "label.chain": "The label was made for another chain id.",
        "label.settlement": "The label was made for another settlement contract.",
        "label.key": "The label was made for another threshold key.",
        "label.bucket": "The label's size bucket is not one of those the deployment lists.",
        "message.length": "The message and its length prefix do not fit the size bucket.",
        "sigma.length": "The encryptor's randomness is exactly 32 bytes.",
        "ciphertext.length": "The ciphertext's length is not the one its size bucket fixes.",
        "ciphertext.version": "The ciphertext's first byte names a version this library does not know.",
        "point.encoding": "A point is 33 bytes: 02 or 03, then x below the field's prime.",
        "point.off_curve": "No point of secp256k1 has this x coordinate.",
        "point.infinity": "The point at infinity is refused wherever a point is expected.",
        "scalar.range": "A scalar is 32 bytes, big-endian, from 1 to N - 1.",
        "tdh2.proof": "The proof that the ciphertext is well formed under this label does not hold.",
        "share.encoding": "A decryption or coin share is not a point.",
        "share.count": "The number of shares is not the threshold.",
        "share.index": "A share's index is outside 1..65535.",
        "share.sum": "The shares interpolate to the point at infinity.",
        "bundle.count": "A bundle holds as many shares as the block has ciphertexts, at least one.",
        "bundle.proof": "The batch proof does not show that the shares were made with the member's key.",
        "proof.length": "A batch proof is exactly 98 bytes.",
        "coin.length": "A coin share is exactly 97 bytes.",
        "coin.proof": "The proof does not show that the coin share was made with the member's key for the block.",
        "opening.failed": "The ciphertext does not open under this point to what was honestly sealed.",
        "box.length": "A box is an ephemeral point, a proof and an authenticated body.",
        "box.proof": "The proof of knowledge of a box's ephemeral key does not hold for this body and context.",
        "dkg.type": "The first byte names no message of key generation or resharing.",
        "dkg.length": "The message's length is not the one its type and the session fix.",
        "dkg.order": "Dealers named in a message ascend strictly.",
        "dkg.threshold": "A result's threshold is from 1 to the number of its receivers.",
        "dkg.key_proof": "The proof of possession of a session key does not hold.",
        "dkg.deal_constant": "A resharing deal's first commitment is not the dealer's verification key.",
        "dkg.deal_reused": "A deal uses an ephemeral point twice, or one that an earlier deal of the session used.",
        "dkg.deal_proof": "The proof of knowledge of an ephemeral key does not hold for this deal.",
        "dkg.deal_wrong": "A complaint showed that the deal's share does not match its commitments.",
        "dkg.complaint_dealer": "A complaint is about a dealer without a valid deal.",
        "dkg.complaint_proof": "A complaint's proof does not show that its point opens the deal.",
        "dkg.complaint_false": "A complaint's own point shows that the deal's share was right.",
        "dkg.feldman_proof": "The proof that both commitments hide the same polynomial does not hold.",
        "dkg.extract_dealers": "An extraction names other dealers than those to be extracted.",
        "dkg.extract_proof": "An extraction's proof does not show that its point opens the deal.",
        "dkg.ready_hash": "The result that a receiver is ready for is not the one the log gives.",
        "dkg.silent": "Nothing came within the window; not evidence of bad intent.",
        "dkg.abort_keys": "Fewer than a quorum of receivers have session keys.",
        "dkg.abort_dealers": "Too few dealers qualified.",
        "dkg.abort_extraction": "More dealers than faults are tolerated need extraction, or one cannot be extracted.",
        "dkg.abort_ready": "Fewer than a quorum of receivers are ready.",
        "dkg.abort_result": "The deals give no key, or another public key than the old one.",
    }
)


class ThresholdError(ValueError):
    """A peer's fault. `code` is a key of `CODES`; `seen` never holds a secret."""

    def __init__(self, code: str, field: str, seen: str, expected: str) -> None:
        if code not in CODES:
            raise KeyError(code)
        super().__init__(code, field, seen, expected)
        self.code = code
        self.field = field
        self.seen = seen
        self.expected = expected

    def __str__(self) -> str:
        return f"{self.code}: {self.field}: seen {self.seen}, expected {self.expected}"


class UsageError(ValueError):
    """The caller broke this library's contract; never caused by a peer's bytes alone."""


def show(data: bytes) -> str:
    """Public bytes for an error message: their length and at most `SEEN_HEX_DIGITS_MAX` hex digits."""
    digits = data[: SEEN_HEX_DIGITS_MAX // 2].hex()
    dots = "..." if len(data) * 2 > SEEN_HEX_DIGITS_MAX else ""
    return f"{len(data)} bytes 0x{digits}{dots}"
