"""Reads a member's Merkle log: the checkpoint, the hash tiles, the entries (docs/protocol-log.md).

Formats: C2SP signed-note, tlog-checkpoint and tlog-tiles, with tiles of height 8 (256 hashes or entries).
First the level-0 tiles are hashed up and compared with every tile above them and with the checkpoint's
root; then :meth:`LogReader.entries` yields the entries, each compared with its leaf hash. So no entry is
looked at that the signed checkpoint does not commit to. Files past the checkpoint's size are the tail of a
running log and are ignored; where a partial tile is named, a wider one of the same place will do.

A log is named by the first digits of the key that signs it. That key is one of the committee file, or, for who joined
later, the one in the log's first entry, which the name binds. Whether an epoch has such a member the log must show
(:mod:`mpc_sequencer.audit.verify`).

Everything read is hostile: sizes are bounded, and every fault becomes a finding and ends the audit.
"""

from __future__ import annotations

import hashlib
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nacl.exceptions import CryptoError
from nacl.signing import VerifyKey

from mpc_sequencer.audit.report import Recorder
from mpc_sequencer.core.codec import decode
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.limits import LOG_ENTRY_BYTES_MAX
from mpc_sequencer.core.transcript import GenesisEntry, LogEntry

TILE_WIDTH: Final = 256
HASH_BYTES: Final = 32
LENGTH_BYTES: Final = 2
CHECKPOINT_BYTES_MAX: Final = 16_384
NOTE_SIGNATURES_MAX: Final = 64
LOG_ENTRIES_MAX: Final = 1 << 40
ENTRY_BUNDLE_BYTES_MAX: Final = TILE_WIDTH * (LENGTH_BYTES + LOG_ENTRY_BYTES_MAX)
ED25519_NOTE_KIND: Final = b"\x01"
KEY_HASH_BYTES: Final = 4
KEY_DIGITS: Final = 16
"""So much of a log key, in hex, names its logs."""
NOTE_SIGNATURE_BYTES: Final = KEY_HASH_BYTES + 64


class NoteError(ValueError):
    """A checkpoint that is refused: ``code`` of the finding and the detail."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


@dataclass(frozen=True, slots=True)
class SignedCheckpoint:
    """A verified checkpoint: the key that signs the log (32 bytes), the log's origin, the number of entries, the root
    (32 bytes)."""

    log_key: bytes
    origin: str
    size: int
    root: bytes


def leaf_hash(entry: bytes) -> bytes:
    """RFC 6962's leaf hash."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """RFC 6962's node hash."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def tree_root(hashes: Sequence[bytes]) -> bytes:
    """RFC 6962's tree hash over leaf hashes (or over the roots of complete subtrees of equal size)."""
    if not hashes:
        return hashlib.sha256().digest()
    if len(hashes) == 1:
        return hashes[0]
    split = 1 << ((len(hashes) - 1).bit_length() - 1)
    return node_hash(tree_root(hashes[:split]), tree_root(hashes[split:]))


def tile_path(level: int | str, number: int, width: int) -> str:
    """The path of a tile (or of an entry bundle, level ``entries``) in C2SP tlog-tiles."""
    digits = [f"{number % 1_000:03d}"]
    while number >= 1_000:
        number //= 1_000
        digits.append(f"x{number % 1_000:03d}")
    name = "/".join(reversed(digits))
    return f"tile/{level}/{name}" + (f".p/{width}" if width < TILE_WIDTH else "")


def origin_of(committee: Committee, log_key: bytes) -> str:
    """The origin line of checkpoints that a log key signs."""
    return f"mpc_sequencer/{committee.genesis_id.hex()}/{log_key.hex()[:KEY_DIGITS]}"


def _is_log_of(origin: str, first: str) -> bool:
    """Whether an origin is a key's ``first`` log or, with the time it began, one after a loss of it."""
    base, _, began = origin.rpartition("/")
    return origin == first or (base == first and began.isascii() and began.isdigit() and not began.startswith("0"))


def key_hash(origin: str, public_key: bytes) -> bytes:
    """The four bytes by which a note's signature line names its Ed25519 key."""
    return hashlib.sha256(origin.encode() + b"\n" + ED25519_NOTE_KIND + public_key).digest()[:KEY_HASH_BYTES]


def read_checkpoint(note: bytes, committee: Committee, first_keeper: Callable[[], bytes | None]) -> SignedCheckpoint:
    """Parse and verify a member's checkpoint; raises :class:`NoteError`. ``first_keeper`` reads the key in the log's
    first entry, which is asked for where the origin names none of the committee file.

    Signatures under other key names (cosignatures) are passed over, as signed-note says.
    """
    try:
        text, separator, tail = note.decode("utf-8").partition("\n\n")
    except UnicodeDecodeError:
        raise NoteError("log.checkpoint", "the checkpoint is not UTF-8") from None
    lines = text.split("\n")
    if not separator or len(lines) != 3 or not tail.endswith("\n"):
        raise NoteError("log.checkpoint", "expected origin, size and root, an empty line and signatures")
    origin, size_text, root_text = lines
    if not (size_text.isascii() and size_text.isdigit()) or str(int(size_text[:20])) != size_text:
        raise NoteError("log.checkpoint", f"tree size {size_text[:40]!r} is no canonical decimal")
    root = _strict_base64(root_text)
    if root is None or len(root) != HASH_BYTES or int(size_text) > LOG_ENTRIES_MAX:
        raise NoteError("log.checkpoint", "the root is not 32 bytes in base64, or the size is out of range")
    log_key = _key_of(origin, committee, first_keeper)
    if log_key is None:
        expected = f"mpc_sequencer/{committee.genesis_id.hex()}/<digits of a log key>"
        raise NoteError("log.origin", f"origin {origin[:120]!r}, expected {expected}")
    _check_note_signature((text + "\n").encode(), tail, origin, log_key)
    return SignedCheckpoint(log_key, origin, int(size_text), root)


def _key_of(origin: str, committee: Committee, first_keeper: Callable[[], bytes | None]) -> bytes | None:
    """The whole log key that an origin names; None where nobody knows it."""
    for member in committee.genesis.members:
        if _is_log_of(origin, origin_of(committee, member.log_key)):
            return member.log_key
    keeper = first_keeper()
    return keeper if keeper is not None and _is_log_of(origin, origin_of(committee, keeper)) else None


def _check_note_signature(text: bytes, tail: str, origin: str, public_key: bytes) -> None:
    lines = tail[:-1].split("\n")
    if len(lines) > NOTE_SIGNATURES_MAX:
        raise NoteError("log.checkpoint", f"{len(lines)} signature lines, at most {NOTE_SIGNATURES_MAX}")
    expected = key_hash(origin, public_key)
    for line in lines:
        dash, _, rest = line.partition(" ")
        name, _, encoded = rest.partition(" ")
        data = _strict_base64(encoded)
        if dash != "\u2014" or not name or data is None or len(data) <= KEY_HASH_BYTES:
            raise NoteError("log.checkpoint", f"{line[:80]!r} is no signature line")
        if name != origin or data[:KEY_HASH_BYTES] != expected:
            continue
        try:
            if len(data) != NOTE_SIGNATURE_BYTES:
                raise CryptoError
            VerifyKey(public_key).verify(text, data[KEY_HASH_BYTES:])
        except CryptoError:
            raise NoteError("log.signature", f"the signature of {origin} does not verify") from None
        return
    raise NoteError("log.signature", f"no signature of {origin} with key hash {expected.hex()}")


def _strict_base64(text: str) -> bytes | None:
    try:
        data = b64decode(text, validate=True)
    except (Base64Error, ValueError):
        return None
    return data if b64encode(data).decode() == text else None


class LogReader:
    """One member's log under ``log_dir`` (the folder that holds ``checkpoint`` and ``tile``)."""

    def __init__(self, log_dir: Path, committee: Committee, recorder: Recorder) -> None:
        self._log_dir = log_dir
        self._committee = committee
        self._recorder = recorder
        self.checkpoint = self._read_checkpoint()

    def _read_checkpoint(self) -> SignedCheckpoint:
        try:
            with (self._log_dir / "checkpoint").open("rb") as file:
                note = file.read(CHECKPOINT_BYTES_MAX + 1)
        except OSError as error:
            self._recorder.halt("log.checkpoint", f"cannot read the checkpoint: {error.strerror}")
        if len(note) > CHECKPOINT_BYTES_MAX:
            self._recorder.halt("log.checkpoint", f"more than {CHECKPOINT_BYTES_MAX} bytes")
        try:
            checkpoint = read_checkpoint(note, self._committee, self._first_keeper)
        except NoteError as error:
            self._recorder.halt(error.code, str(error))
        self._recorder.done("checkpoint_signature")
        return checkpoint

    def _first_keeper(self) -> bytes | None:
        """The key in the log's first entry, which no checkpoint has been verified for yet; None where there is none."""
        found = self._find("entries", 0, 1, LENGTH_BYTES + LOG_ENTRY_BYTES_MAX)
        if found is None:
            return None
        data, _ = found
        end = LENGTH_BYTES + int.from_bytes(data[:LENGTH_BYTES], "big")
        try:
            entry: LogEntry = decode(LogEntry, data[LENGTH_BYTES:end], bytes_max=LOG_ENTRY_BYTES_MAX)
        except ProtocolError:
            return None
        return entry.keeper if isinstance(entry, GenesisEntry) else None

    # --- hashes ----------
    def verify_tiles(self, earlier: Sequence[bytes] = ()) -> None:
        """Check all hash tiles against each other and the checkpoint; check that the log extends ``earlier``.

        ``earlier`` are checkpoints (whole notes) of the same member that somebody kept.
        """
        kept = self._earlier_checkpoints(earlier)
        level = 0
        hashes = self._level(0, self.checkpoint.size)
        for checkpoint in kept:
            if checkpoint.size > len(hashes) or tree_root(hashes[: checkpoint.size]) != checkpoint.root:
                self._recorder.fail(
                    "log.forked", f"the checkpoint of size {checkpoint.size} is not a prefix of the log"
                )
        # The 256 hashes of a complete tile hash to one hash of the level above.
        leaves = hashes
        while len(hashes) >= TILE_WIDTH:
            level += 1
            above = [
                tree_root(hashes[start : start + TILE_WIDTH])
                for start in range(0, len(hashes) - TILE_WIDTH + 1, TILE_WIDTH)
            ]
            if above != self._level(level, len(above)):
                self._recorder.halt("log.tile", f"a tile of level {level} does not hash the tiles below it")
            hashes = above
        if tree_root(leaves) != self.checkpoint.root:
            self._recorder.halt(
                "log.root",
                f"the tiles' root is {tree_root(leaves).hex()}, signed {self.checkpoint.root.hex()}",
            )
        self._recorder.done("log_root")

    def _earlier_checkpoints(self, notes: Sequence[bytes]) -> list[SignedCheckpoint]:
        kept = []
        for note in notes:
            try:
                checkpoint = read_checkpoint(note, self._committee, lambda: self.checkpoint.log_key)
            except NoteError as error:
                self._recorder.halt(error.code, f"a checkpoint given for comparison: {error}")
            if checkpoint.origin != self.checkpoint.origin:
                self._recorder.halt("log.origin", f"a checkpoint given for comparison is of {checkpoint.origin}")
            self._recorder.done("earlier_checkpoints")
            kept.append(checkpoint)
        return kept

    def _level(self, level: int, count: int) -> list[bytes]:
        hashes: list[bytes] = []
        for number in range(-(-count // TILE_WIDTH)):
            hashes += self._hash_tile(level, number, min(TILE_WIDTH, count - number * TILE_WIDTH))
        return hashes

    def _hash_tile(self, level: int, number: int, width: int) -> list[bytes]:
        found = self._find(level, number, width, TILE_WIDTH * HASH_BYTES)
        if found is None:
            self._recorder.halt("log.tile", f"{tile_path(level, number, width)} is missing")
        data, file_width = found
        if len(data) != file_width * HASH_BYTES:
            self._recorder.halt("log.tile", f"{tile_path(level, number, file_width)} has {len(data)} bytes")
        self._recorder.done("tiles")
        return [data[i * HASH_BYTES : (i + 1) * HASH_BYTES] for i in range(width)]

    def _find(self, level: int | str, number: int, width: int, bytes_max: int) -> tuple[bytes, int] | None:
        """The tile's bytes and width: the full one, the one of ``width``, or the next wider partial one."""
        partial_dir = (self._log_dir / tile_path(level, number, TILE_WIDTH)).with_suffix(".p")
        widths = [TILE_WIDTH, width]
        try:
            names = [path.name for path in partial_dir.iterdir()]
        except OSError:
            names = []
        widths += sorted(int(name) for name in names if name.isascii() and name.isdigit() and len(name) <= 3)
        for candidate in widths:
            if not width <= candidate <= TILE_WIDTH:
                continue
            try:
                with (self._log_dir / tile_path(level, number, candidate)).open("rb") as file:
                    data = file.read(bytes_max + 1)
            except OSError:
                continue
            return data, candidate
        return None

    # --- entries ----------
    def entries(self) -> Iterator[tuple[int, bytes]]:
        """(index, entry) for every entry up to the checkpoint, each compared with its leaf hash."""
        for number in range(-(-self.checkpoint.size // TILE_WIDTH)):
            first = number * TILE_WIDTH
            width = min(TILE_WIDTH, self.checkpoint.size - first)
            hashes = self._hash_tile(0, number, width)
            for offset, entry in enumerate(self._entry_bundle(number, width)):
                self._recorder.entry_index = first + offset
                if leaf_hash(entry) != hashes[offset]:
                    self._recorder.halt(
                        "log.leaf", f"entry {first + offset} has another leaf hash than its tile says"
                    )
                self._recorder.done("entries")
                yield first + offset, entry

    def _entry_bundle(self, number: int, width: int) -> list[bytes]:
        found = self._find("entries", number, width, ENTRY_BUNDLE_BYTES_MAX)
        if found is None:
            self._recorder.halt("log.entries", f"{tile_path('entries', number, width)} is missing")
        data, file_width = found
        entries: list[bytes] = []
        at = 0
        while at < len(data):
            length = int.from_bytes(data[at : at + LENGTH_BYTES], "big")
            end = at + LENGTH_BYTES + length
            if end > len(data):
                break
            entries.append(data[at + LENGTH_BYTES : end])
            at = end
        if at != len(data) or len(entries) != file_width:
            path = tile_path("entries", number, file_width)
            self._recorder.halt("log.entries", f"{path} does not hold exactly {file_width} entries")
        return entries[:width]
