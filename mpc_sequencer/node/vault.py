"""A member's short-lived secrets on disk: shares of epochs, seeds of sessions. Made to be erased.

::

    <keystore>.vault/
      keys                   one small file: which secrets there are, and the key of each
      <name>.<16 hex>        a secret under its own key
      lock                   keeps a second process out

Each secret is sealed (XChaCha20-Poly1305) under a random key of its own, bound to its name and file, so that files
cannot be swapped. These keys are in ``keys`` alone, sealed under a key that is hashed from the vault key (which the
keystore holds) and a *veil*: 64 KiB of fresh random bytes in front of the sealed part. To erase a secret is to
rewrite ``keys`` without its key, with a new veil, and to shred (:mod:`mpc_sequencer.node.shred`) the old ``keys``
and the secret's file.

What that promises, and what it does not. Who takes the disk as its file system shows it, with the keystore and its
passphrase, finds nothing of an erased secret. Who reads the raw medium may find more: flash drives and
copy-on-write file systems keep overwritten blocks until they reuse them. There the construction only makes such
remains hard to use. An erased secret needs its own file *and* an old ``keys`` of its time, and of that old file
every byte of the veil, spread over many blocks: one block reused, and the key is gone. (LUKS splits its key material
for this reason; C. Fruhwirth, TKS1, 2004. Hashing the veil whole does the same here, where it is drawn anew with
each write.) Nothing guards against a copy made *before* the erasure: a snapshot of the file system or a backup of
this folder opens all that was in it, for whoever has the vault key. So this folder is not backed up; a share that is
lost with it comes back with the next refresh.

A vault whose files are put back as they were earlier is not noticed here, and shows what it held then.

Crash safety. A secret exists from the moment ``keys`` names it, and no longer once it does not: replacing ``keys`` is
one rename. A secret's file is written and synced before that, and shredded after; opening shreds every file that
``keys`` does not name. Hence ``put`` is atomic, and ``erase`` may be repeated.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn

import msgspec
from msgspec import Meta
from nacl import exceptions as nacl_exceptions
from nacl import secret, utils

from mpc_sequencer.core import domains
from mpc_sequencer.core.errors import ConfigError
from mpc_sequencer.node import files, shred
from mpc_sequencer.node.journal import FolderLock

NAME_CHARACTERS_MAX: Final = 64
SECRET_BYTES_MAX: Final = 64 << 10
SECRETS_MAX: Final = 256
VEIL_BYTES: Final = 64 << 10
VAULT_KEY_BYTES: Final = 32
KEYS_BYTES_MAX: Final = VEIL_BYTES + 64 + SECRETS_MAX * 160
KEYS_FILE: Final = "keys"
_LOCK_FILE: Final = "lock"
_ID_BYTES: Final = 8
_NAME: Final = re.compile(rf"[a-z0-9-]{{1,{NAME_CHARACTERS_MAX}}}")
_DATA_FILE: Final = re.compile(rf"\.?([a-z0-9-]{{1,{NAME_CHARACTERS_MAX}}})\.([0-9a-f]{{{2 * _ID_BYTES}}})(\..*)?")
_SEAL_BYTES: Final = secret.Aead.NONCE_SIZE + secret.Aead.MACBYTES
_HINT: Final = "the folder and the keystore must belong together; a share that is lost comes back with a refresh"


class _Entry(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Where a secret is and what opens it."""

    name: Annotated[str, Meta(pattern=rf"^[a-z0-9-]{{1,{NAME_CHARACTERS_MAX}}}$")]
    file_id: Annotated[bytes, Meta(min_length=_ID_BYTES, max_length=_ID_BYTES)]
    key: Annotated[bytes, Meta(min_length=secret.Aead.KEY_SIZE, max_length=secret.Aead.KEY_SIZE)]

    def __repr__(self) -> str:
        return f"_Entry({self.name})"

    def aad(self) -> bytes:
        return domains.VAULT_ENTRY(self.name.encode(), b"\0", self.file_id)

    def file_name(self) -> str:
        return f"{self.name}.{self.file_id.hex()}"


_Entries = Annotated[tuple[_Entry, ...], Meta(max_length=SECRETS_MAX)]
_DECODER: Final = msgspec.msgpack.Decoder(_Entries)


class Vault:
    """An open vault, one process's. Blocking: a change syncs a few times.

    Opening raises :class:`ConfigError`: another process's, damaged, open to others, or of another keystore.
    """

    __slots__ = ("_entries", "_folder", "_key", "_lock")

    def __init__(self, folder: Path, vault_key: bytes | bytearray) -> None:
        if len(vault_key) != VAULT_KEY_BYTES:
            raise ConfigError(f"a vault key of {len(vault_key)} bytes", f"expected {VAULT_KEY_BYTES}")
        self._folder = folder
        self._key = bytearray(vault_key)
        self._entries: dict[str, _Entry] = {}
        self._lock = FolderLock(folder, "vault")
        try:
            self._open()
        except OSError as error:
            self.close()
            raise ConfigError(f"cannot open the vault {folder}: {error.strerror}", "check its owner") from error
        except BaseException:
            self.close()
            raise

    def put(self, name: str, content: bytes | bytearray) -> None:
        """Keep ``content`` (1 .. SECRET_BYTES_MAX bytes) under ``name``, durably; what was there is erased.

        Raises ``ValueError`` for a name, size or number of secrets out of bounds, ``OSError`` where the disk fails:
        then the old content is still there (or, if the failure came after the rename, the new one).
        """
        _check_name(name)
        if not 1 <= len(content) <= SECRET_BYTES_MAX:
            raise ValueError(f"a secret of {len(content)} bytes, expected 1 .. {SECRET_BYTES_MAX}")
        before = self._entries.get(name)
        if before is None and len(self._entries) >= SECRETS_MAX:
            raise ValueError(f"the vault holds {SECRETS_MAX} secrets already")
        entry = _Entry(name, utils.random(_ID_BYTES), utils.random(secret.Aead.KEY_SIZE))
        sealed = secret.Aead(entry.key).encrypt(bytes(content), entry.aad())
        files.replace_file(self._folder / entry.file_name(), bytes(sealed), mode=0o600, sync=True)
        try:
            self._commit({**self._entries, name: entry})
        except OSError:
            if self._entries.get(name) != entry:
                with contextlib.suppress(OSError):
                    shred.shred(self._folder / entry.file_name())
            raise
        if before is not None:
            shred.shred(self._folder / before.file_name())

    def get(self, name: str) -> bytearray | None:
        """The secret under ``name``, the caller's to overwrite after use; None where there is none.

        Raises :class:`ConfigError` where its file is missing or damaged. (The library hands the secret over as
        immutable bytes first; that copy lives until Python reuses its memory.)
        """
        _check_name(name)
        entry = self._entries.get(name)
        if entry is None:
            return None
        path = self._folder / entry.file_name()
        sealed = files.read_bounded(path, SECRET_BYTES_MAX + _SEAL_BYTES, _HINT, private=True)
        content = _open_box(entry.key, sealed, entry.aad())
        if content is None:
            raise ConfigError(f"{path} is damaged", _HINT)
        return bytearray(content)

    def names(self) -> tuple[str, ...]:
        """The names of all secrets, sorted."""
        return tuple(sorted(self._entries))

    def erase(self, name: str) -> None:
        """Make the secret under ``name`` unreadable for ever, as far as the module says; none is no error.

        Raises ``OSError`` where the disk fails; then it may be called again, and opening the vault ends it too.
        """
        _check_name(name)
        entry = self._entries.get(name)
        if entry is not None:
            self._commit({other: kept for other, kept in self._entries.items() if other != name})
            shred.shred(self._folder / entry.file_name())

    def close(self) -> None:
        """Forget the keys and let another process open the folder. Closing twice does nothing."""
        self._entries = {}
        self._key[:] = bytes(len(self._key))
        self._lock.release()

    # --- the key file -------------------------------------------------------------------------------------------
    def _open(self) -> None:
        status = os.stat(self._folder)
        if status.st_mode & 0o077:
            raise ConfigError(f"the vault {self._folder} is open to others", f"chmod 700 {self._folder}")
        path = self._folder / KEYS_FILE
        if path.exists():
            shred.settle(path)
            self._entries = self._read_keys(path)
            self._sweep()
        elif any(_DATA_FILE.fullmatch(found) for found in os.listdir(self._folder)):
            # without this file every other would look like an orphan
            raise ConfigError(f"{path} is missing, but secrets are there", _HINT)
        else:
            self._commit({})
            shred.settle(path)  # an earlier first opening may have been cut short

    def _read_keys(self, path: Path) -> dict[str, _Entry]:
        data = files.read_bounded(path, KEYS_BYTES_MAX, _HINT, private=True)
        if len(data) < VEIL_BYTES + _SEAL_BYTES:
            raise ConfigError(f"{path} is cut short", _HINT)
        veil, sealed = data[:VEIL_BYTES], data[VEIL_BYTES:]
        content = _open_box(self._veiled_key(veil), sealed, hashlib.sha256(veil).digest())
        if content is None:
            raise ConfigError(f"{path} is damaged, or of another keystore", _HINT)
        entries = _decode_entries(content)
        if entries is None:
            raise ConfigError(f"{path} opens but is not in the format of this version", _HINT)
        return entries

    def _commit(self, entries: Mapping[str, _Entry]) -> None:
        """Replace the key file; from its rename on, ``entries`` are what the vault holds."""
        veil = utils.random(VEIL_BYTES)
        content = msgspec.msgpack.encode([entries[name] for name in sorted(entries)])
        sealed = secret.Aead(self._veiled_key(veil)).encrypt(content, hashlib.sha256(veil).digest())
        try:
            shred.replace_and_shred(self._folder / KEYS_FILE, veil + bytes(sealed))
        except OSError:
            # on which side of the rename it failed only the file can tell
            with contextlib.suppress(ConfigError):
                self._entries = self._read_keys(self._folder / KEYS_FILE)
            raise
        self._entries = dict(entries)

    def _veiled_key(self, veil: bytes) -> bytes:
        return domains.VAULT_KEY(bytes(self._key), veil)

    def _sweep(self) -> None:
        """Shred what a stop has left: half-written files, and files of secrets that are erased or replaced."""
        named = {entry.file_name() for entry in self._entries.values()}
        for found in sorted(os.listdir(self._folder)):
            if found not in named and _DATA_FILE.fullmatch(found):
                shred.shred(self._folder / found)

    # --- nothing shows or copies it -----------------------------------------------------------------------------
    def __repr__(self) -> str:
        return f"Vault({self._folder}, {len(self._entries)} secrets)"

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError("a vault is neither copied nor pickled")


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ValueError(f"a secret's name is 1 .. {NAME_CHARACTERS_MAX} of a-z, 0-9 and -, not {name[:80]!r}")


def _open_box(key: bytes, sealed: bytes, aad: bytes) -> bytes | None:
    if len(sealed) < _SEAL_BYTES:
        return None
    try:
        content: bytes = secret.Aead(key).decrypt(sealed, aad)
    except nacl_exceptions.CryptoError:
        return None
    return content


def _decode_entries(content: bytes) -> dict[str, _Entry] | None:
    # no error object of the decoder leaves this function: it could quote keys
    try:
        rows = _DECODER.decode(content)
    except msgspec.DecodeError:
        return None
    entries = {row.name: row for row in rows}
    return entries if [row.name for row in rows] == sorted(entries) else None
