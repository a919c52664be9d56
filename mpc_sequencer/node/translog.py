"""The member's audit log, written in the C2SP formats tlog-tiles, tlog-checkpoint and signed-note.

Files under the log's folder (docs/protocol-log.md): ``tile/entries/<N>`` bundles of 256 entries, u16
big-endian length before each; ``tile/<L>/<N>`` tiles of 256 hashes, where level 0 holds the RFC 6962 leaf
hashes and a hash of level l+1 is the root over a full tile of level l; ``.p/<W>`` after the name of a partial
one of width W; ``checkpoint``, the signed tree head. Full files are written once, when they are complete;
partial ones only at a checkpoint, before it. As tlog-tiles demands, partial files stay until the full one is
there, here until two checkpoints cover it, so that a reader finds every file its checkpoint names.

An append hashes one leaf; the rest of the tree is worked out when a tile fills and at a checkpoint. Memory is
one unfinished bundle and one unfinished tile per level, whatever the size of the log. After a restart the log
goes on from its checkpoint: full files beyond it, which nothing signed names, are written again.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import shutil
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

from mpc_sequencer.core.errors import ConfigError
from mpc_sequencer.core.limits import LOG_ENTRY_BYTES_MAX
from mpc_sequencer.node import files

TILE_WIDTH: Final = 256
HASH_BYTES: Final = 32
LEVELS_MAX: Final = 8  # 2^64 entries
CHECKPOINT_BYTES_MAX: Final = 4_096
ED25519_TYPE: Final = b"\x01"
KEY_HASH_BYTES: Final = 4
EMPTY_ROOT: Final = hashlib.sha256(b"").digest()
_LENGTH: Final = struct.Struct(">H")
_HINT: Final = (
    "the log is damaged: keep a copy, and start with an empty log folder only if its evidence is not needed"
)


def leaf_hash(entry: bytes) -> bytes:
    """RFC 6962: SHA-256 over 0x00 and the entry."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """RFC 6962: SHA-256 over 0x01 and the two children."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def tile_path(level: int | str, number: int, width: int = TILE_WIDTH) -> str:
    """``tile/<level>/<number>``, the number in groups of three digits; ``.p/<width>`` where partial."""
    groups = [f"{number % 1000:03d}"]
    while number := number // 1000:
        groups.insert(0, f"x{number % 1000:03d}")
    suffix = "" if width == TILE_WIDTH else f".p/{width}"
    return f"tile/{level}/{'/'.join(groups)}{suffix}"


def key_hash(name: str, public_key: bytes) -> bytes:
    """The 4 bytes that name an Ed25519 key (32 bytes) of ``name`` in a signed note."""
    return hashlib.sha256(name.encode() + b"\n" + ED25519_TYPE + public_key).digest()[:KEY_HASH_BYTES]


@dataclass(frozen=True, slots=True)
class TreeHead:
    """The number of entries and the root (32 bytes) over them."""

    size: int
    root: bytes


def sign_checkpoint(head: TreeHead, origin: str, key: SigningKey) -> bytes:
    """The signed note of ``head``."""
    text = f"{origin}\n{head.size}\n{base64.b64encode(head.root).decode()}\n"
    blob = key_hash(origin, bytes(key.verify_key)) + key.sign(text.encode()).signature
    return f"{text}\n— {origin} {base64.b64encode(blob).decode()}\n".encode()


def open_checkpoint(note: bytes, origin: str, public_key: bytes) -> TreeHead:
    """Parse and verify a checkpoint with exactly one signature. Raises ``ValueError``."""
    try:
        lines = note.decode().split("\n")
        name, size_text, root_text, empty, signature_line, end = lines
        prefix = f"— {origin} "
        if name != origin or empty or end or not signature_line.startswith(prefix):
            raise ValueError("a checkpoint of another origin or shape")
        root = base64.b64decode(root_text, validate=True)
        blob = base64.b64decode(signature_line[len(prefix) :], validate=True)
        size = int(size_text)
        if str(size) != size_text or size < 0 or len(root) != HASH_BYTES:
            raise ValueError("a checkpoint without a plain size and a root of 32 bytes")
        if blob[:KEY_HASH_BYTES] != key_hash(origin, public_key):
            raise ValueError("a checkpoint signed by another key")
        VerifyKey(public_key).verify("\n".join(lines[:3]).encode() + b"\n", blob[KEY_HASH_BYTES:])
    except (BadSignatureError, binascii.Error, ValueError) as error:
        raise ValueError(f"not a valid checkpoint of {origin}: {error}") from error
    return TreeHead(size, root)


@dataclass(frozen=True, slots=True)
class CheckpointWrite:
    """A prepared checkpoint: files to write before it, files to sync, folders of outdated partial files."""

    head: TreeHead
    folder: Path
    note: bytes
    partials: tuple[tuple[Path, bytes], ...]
    full: tuple[Path, ...]
    outdated: tuple[Path, ...]
    finish: Callable[[CheckpointWrite], None]

    def run(self, *, sync: bool) -> None:
        """Write everything, the checkpoint last; with ``sync`` durably. Raises ``OSError``."""
        if not self.note:
            return
        for path, data in self.partials:
            path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            files.replace_file(path, data, mode=0o644, sync=False)
        if sync:
            self._sync_tiles()
        files.replace_file(self.folder / "checkpoint", self.note, mode=0o644, sync=sync)
        self.finish(self)
        for path in self.outdated:
            shutil.rmtree(path, ignore_errors=True)

    def _sync_tiles(self) -> None:
        folders: set[Path] = set()
        for path in (*self.full, *(path for path, _ in self.partials)):
            files.sync_file(path)
            folder = path.parent
            while folder not in folders and folder != self.folder.parent:
                folders.add(folder)
                folder = folder.parent
        for folder in folders:
            files.sync_folder(folder)


class TransparencyLog:
    """An append-only Merkle log in ``folder``. One writer; readers need no lock."""

    def __init__(self, folder: Path, origin: str, log_seed: bytes) -> None:
        if not origin or "+" in origin or any(c.isspace() or ord(c) < 0x20 for c in origin):
            raise ConfigError(f"{origin!r} cannot be a log's origin", "use no spaces and no plus sign")
        self._folder = folder
        self._origin = origin
        self._key = SigningKey(log_seed)
        self._entries: list[bytes] = []
        self._tiles: list[list[bytes]] = [[]]
        self._full_new: list[Path] = []
        """Full files since the last checkpoint."""
        self._full_signed: list[Path] = []
        """Full files of the last checkpoint that were new to it."""
        self._size = 0
        self._failed = False
        self.signed = TreeHead(0, EMPTY_ROOT)
        """The last checkpoint's tree head."""
        try:
            folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"cannot use the log folder {folder}: {error.strerror}", "check its owner"
            ) from error
        if (folder / "checkpoint").exists():
            self._restore()

    @property
    def size(self) -> int:
        """Entries appended, signed or not."""
        return self._size

    def append(self, entry: bytes) -> int:
        """Append an entry (at most 65,535 bytes); returns its index. Raises ``OSError`` where a file cannot
        be written; it is signed by the next :meth:`checkpoint`.
        """
        if len(entry) > LOG_ENTRY_BYTES_MAX:
            raise ValueError(f"an entry of {len(entry)} bytes, expected at most {LOG_ENTRY_BYTES_MAX}")
        self._check_usable()
        self._entries.append(_LENGTH.pack(len(entry)) + entry)
        self._tiles[0].append(leaf_hash(entry))
        index = self._size
        self._size += 1
        if len(self._entries) == TILE_WIDTH:
            self._failed = True  # until all that this entry completes is written
            self._write("entries", index // TILE_WIDTH, self._entries)
            self._entries.clear()
            self._carry(index)
            self._failed = False
        return index

    def _check_usable(self) -> None:
        if self._failed:
            raise ValueError("the log failed to write a file before; restart it from its checkpoint")

    def read(self, start: int, stop: int) -> list[bytes]:
        """Entries ``start .. stop-1``, fewer where the log or its bundle of 256 ends before. Raises
        :class:`ConfigError`, also where a bundle is not what was hashed when it was written.
        """
        stop = min(stop, self._size)
        if start >= stop:
            return []
        bundle = start // TILE_WIDTH
        rows = self._entries if bundle == self._size // TILE_WIDTH else self._bundle(bundle)
        first = bundle * TILE_WIDTH
        return [row[_LENGTH.size :] for row in rows[start - first : stop - first]]

    def _bundle(self, number: int) -> list[bytes]:
        bytes_max = TILE_WIDTH * (LOG_ENTRY_BYTES_MAX + _LENGTH.size)
        rows = _split(self._read(tile_path("entries", number), bytes_max))
        hashes = self._read(tile_path(0, number), TILE_WIDTH * HASH_BYTES)
        if b"".join(leaf_hash(row[_LENGTH.size :]) for row in rows) != hashes:
            raise ConfigError(f"{self._folder}: bundle {number} is not what its tile says", _HINT)
        return rows

    def root(self) -> bytes:
        """The RFC 6962 root over all entries appended."""
        right: bytes | None = None
        for tile in self._tiles:
            # what is left of this level's tile, with the smaller levels' remainder as its last, odd node
            row = [*tile, right] if right is not None else list(tile)
            right = fold(row) if row else None
        return right if right is not None else EMPTY_ROOT

    def checkpoint(self, *, sync: bool = False) -> TreeHead:
        """Write partial files, then the signed checkpoint; with ``sync`` durably. Raises ``OSError``."""
        write = self.prepare_checkpoint()
        write.run(sync=sync)
        return write.head

    def prepare_checkpoint(self) -> CheckpointWrite:
        """What the next checkpoint has to write, so that it can run in a worker thread while the log grows.

        Run each one to its end before the next is prepared.
        """
        self._check_usable()
        head = TreeHead(self._size, self.root())
        if head.size == self.signed.size and (self._folder / "checkpoint").exists():
            return CheckpointWrite(head, self._folder, b"", (), (), (), self._finish)
        partials: list[tuple[Path, bytes]] = []
        rows: list[tuple[int | str, int, list[bytes]]] = [("entries", 0, self._entries)]
        rows += [(level, level, tile) for level, tile in enumerate(self._tiles)]
        for name, level, row in rows:
            if row:
                path = tile_path(name, self._size // TILE_WIDTH ** (level + 1), len(row))
                partials.append((self._folder / path, b"".join(row)))
        note = sign_checkpoint(head, self._origin, self._key)
        outdated = tuple(path.with_name(path.name + ".p") for path in self._full_signed)
        full = tuple(self._full_new)
        return CheckpointWrite(head, self._folder, note, tuple(partials), full, outdated, self._finish)

    def _finish(self, write: CheckpointWrite) -> None:
        """Take note of a checkpoint that is written. May run in a worker thread."""
        self.signed = write.head
        self._full_signed = list(write.full)
        del self._full_new[: len(write.full)]

    def _carry(self, index: int) -> None:
        """Write the tiles that entry ``index`` completes, each one's root into the level above."""
        level = 0
        while len(self._tiles[level]) == TILE_WIDTH:
            number = index // TILE_WIDTH ** (level + 1)
            self._write(level, number, self._tiles[level])
            if level + 1 == len(self._tiles):
                self._tiles.append([])
            self._tiles[level + 1].append(fold(self._tiles[level]))
            self._tiles[level].clear()
            level += 1

    def _write(self, level: int | str, number: int, row: list[bytes]) -> None:
        path = self._folder / tile_path(level, number)
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        files.replace_file(path, b"".join(row), mode=0o644, sync=False)
        self._full_new.append(path)

    def _restore(self) -> None:
        """Take up the log at its checkpoint; the right edge must hash to the signed root."""
        public_key = bytes(self._key.verify_key)
        note = files.read_bounded(self._folder / "checkpoint", CHECKPOINT_BYTES_MAX, _HINT)
        try:
            head = open_checkpoint(note, self._origin, public_key)
        except ValueError as error:
            raise ConfigError(f"{self._folder}: {error}", "point this member at its own log folder") from None
        size, level = head.size, 0
        self._tiles = []
        while level == 0 or size >= TILE_WIDTH**level:
            width = size // TILE_WIDTH**level % TILE_WIDTH
            number = size // TILE_WIDTH ** (level + 1)
            data = self._read(tile_path(level, number, width), HASH_BYTES * width) if width else b""
            self._tiles.append([data[i : i + HASH_BYTES] for i in range(0, len(data), HASH_BYTES)])
            level += 1
        self._entries = self._restore_entries(size)
        self._size = size
        if (
            self.root() != head.root
            or [leaf_hash(e[_LENGTH.size :]) for e in self._entries] != self._tiles[0]
        ):
            raise ConfigError(f"{self._folder}: its files are not those of its checkpoint", _HINT)
        self.signed = head

    def _restore_entries(self, size: int) -> list[bytes]:
        width = size % TILE_WIDTH
        if not width:
            return []
        bytes_max = width * (LOG_ENTRY_BYTES_MAX + _LENGTH.size)
        return _split(self._read(tile_path("entries", size // TILE_WIDTH, width), bytes_max))

    def _read(self, name: str, bytes_max: int) -> bytes:
        return files.read_bounded(self._folder / name, bytes_max, _HINT)


def _split(data: bytes) -> list[bytes]:
    """An entry bundle's rows, each with its length before it."""
    rows: list[bytes] = []
    start = 0
    while start < len(data):
        end = start + _LENGTH.size + int.from_bytes(data[start : start + _LENGTH.size], "big")
        rows.append(data[start:end])
        start = end
    return rows


def fold(row: list[bytes]) -> bytes:
    """The RFC 6962 root over node hashes: neighbours paired level by level, an odd last one carried up."""
    while len(row) > 1:
        paired = [node_hash(row[i], row[i + 1]) for i in range(0, len(row) - 1, 2)]
        if len(row) % 2:
            paired.append(row[-1])
        row = paired
    return row[0]
