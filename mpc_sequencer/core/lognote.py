"""The signed checkpoint of a member's audit log, as far as evidence needs it: parse and verify one signature. Pure.

Formats: C2SP signed-note and tlog-checkpoint, exactly as a member writes them (origin, size, root, an empty line, one
Ed25519 signature line). The origin names deployment and member, so a checkpoint of another log is none of this one.
"""

from __future__ import annotations

import binascii
import hashlib
from base64 import b64decode
from dataclasses import dataclass
from typing import Final

from nacl.exceptions import CryptoError
from nacl.signing import VerifyKey

ROOT_BYTES: Final = 32
SIZE_DIGITS_MAX: Final = 19
KEY_HASH_BYTES: Final = 4
KEY_DIGITS: Final = 16
"""So much of a log key, in hex, names its logs."""
ED25519_KIND: Final = b"\x01"


@dataclass(frozen=True, slots=True)
class LogNote:
    """A verified checkpoint: the number of entries and the root (32 bytes) over them."""

    origin: str
    size: int
    root: bytes


def log_origin(genesis_id: bytes, log_key: bytes, began_ms: int = 0) -> str:
    """The origin line of the log that ``log_key`` signs, in all epochs. A log that replaces a lost one carries the time
    it began at: it is another log, and forks no checkpoint of the first."""
    return f"mpc_sequencer/{genesis_id.hex()}/{log_key.hex()[:KEY_DIGITS]}" + (f"/{began_ms}" if began_ms else "")


def is_origin(text: str, genesis_id: bytes, log_key: bytes) -> bool:
    """Whether ``text`` is the origin line of a log that ``log_key`` signs."""
    first = log_origin(genesis_id, log_key)
    later = text.removeprefix(f"{first}/")
    return text == first or (later != text and later.isascii() and later.isdigit() and later[0] != "0")


def open_note(note: bytes, genesis_id: bytes, log_key: bytes) -> LogNote:
    """Parse and verify a checkpoint of the log that the Ed25519 key ``log_key`` signs. Raises ``ValueError``."""
    lines = note.decode().split("\n")
    if len(lines) != 6 or lines[3] or lines[5]:
        raise ValueError("expected origin, size, root, an empty line and one signature line")
    origin, size_text, root_text, _, signature_line, _ = lines
    prefix = f"— {origin} "
    if not is_origin(origin, genesis_id, log_key) or not signature_line.startswith(prefix):
        raise ValueError(f"a checkpoint of origin {origin[:120]!r}, expected {log_origin(genesis_id, log_key)!r}")
    if not (size_text.isascii() and size_text.isdigit() and len(size_text) <= SIZE_DIGITS_MAX):
        raise ValueError("the size is no decimal number")
    size = int(size_text)
    if str(size) != size_text:
        raise ValueError("the size is not in its shortest form")
    try:
        root = b64decode(root_text, validate=True)
        blob = b64decode(signature_line[len(prefix) :], validate=True)
    except binascii.Error as error:
        raise ValueError(f"no base64: {error}") from None
    if len(root) != ROOT_BYTES:
        raise ValueError(f"a root of {len(root)} bytes, expected {ROOT_BYTES}")
    key_hash = hashlib.sha256(origin.encode() + b"\n" + ED25519_KIND + log_key).digest()[:KEY_HASH_BYTES]
    if blob[:KEY_HASH_BYTES] != key_hash:
        raise ValueError("the signature names another key")
    text = f"{origin}\n{size}\n{root_text}\n"
    try:
        VerifyKey(log_key).verify(text.encode(), blob[KEY_HASH_BYTES:])
    except (CryptoError, ValueError, TypeError) as error:
        raise ValueError(f"the signature does not verify: {error}") from None
    return LogNote(origin, size, root)
