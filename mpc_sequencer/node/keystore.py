"""A member's secrets at rest: argon2id (RFC 9106) makes a key from the passphrase, XSalsa20-Poly1305 seals
the rest.

The file is JSON: version, the argon2id costs and salt, and one sealed box (nonce first) over the canonical
MessagePack of the secrets. The costs are read from the file, so they are bounded: a damaged or planted file
must not make the member spend gigabytes. A sealed box authenticates its content, hence a wrong passphrase and
a damaged file look alike, and the error says both.
"""

from __future__ import annotations

import getpass
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NoReturn

import msgspec
from msgspec import Meta
from nacl import exceptions as nacl_exceptions
from nacl import pwhash, secret, utils

from mpc_sequencer.core import codec
from mpc_sequencer.core.errors import ConfigError, ProtocolError
from mpc_sequencer.core.limits import COMMITTEE_MEMBERS_MAX
from mpc_sequencer.node import files

KEYSTORE_VERSION: Final = 1
KEYSTORE_BYTES_MAX: Final = 16 << 10
PASSPHRASE_BYTES_MAX: Final = 1_024
PASSPHRASE_ENVIRONMENT: Final = "MPCSEQ_PASSPHRASE"
OPSLIMIT_MAX: Final = pwhash.argon2id.OPSLIMIT_SENSITIVE
MEMLIMIT_BYTES_MAX: Final = pwhash.argon2id.MEMLIMIT_SENSITIVE
SECRET_BYTES: Final = 32

Profile = Literal["minimum", "interactive", "moderate", "sensitive"]
PROFILES: Final[dict[Profile, tuple[int, int]]] = {
    "minimum": (pwhash.argon2id.OPSLIMIT_MIN, pwhash.argon2id.MEMLIMIT_MIN),  # tests; no protection
    "interactive": (pwhash.argon2id.OPSLIMIT_INTERACTIVE, pwhash.argon2id.MEMLIMIT_INTERACTIVE),  # devnets
    "moderate": (pwhash.argon2id.OPSLIMIT_MODERATE, pwhash.argon2id.MEMLIMIT_MODERATE),
    "sensitive": (OPSLIMIT_MAX, MEMLIMIT_BYTES_MAX),
}
"""Costs of a passphrase guess: argon2id passes and bytes of memory."""

_FIELDS: Final = ("version", "kdf", "opslimit", "memlimit", "salt", "sealed")
_KDF: Final = "argon2id13"
_HINT_FILE: Final = "restore the keystore from a backup; without it this member's keys are lost"

SecretBytes = Annotated[bytes, Meta(min_length=SECRET_BYTES, max_length=SECRET_BYTES)]


class _Sealed(
    msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, repr_omit_defaults=True
):
    """What the sealed box holds."""

    consensus_secret: SecretBytes
    log_seed: SecretBytes
    share_index: Annotated[int, Meta(ge=1, le=COMMITTEE_MEMBERS_MAX)]
    share_secret: SecretBytes


@dataclass(frozen=True, slots=True, repr=False)
class NodeSecrets:
    """A member's secrets: consensus key (secp256k1), log seed (Ed25519), threshold share ``x_index``, 32
    bytes each.

    Nothing prints, formats, pickles or copies them.
    """

    consensus_secret: bytes = field(repr=False)
    log_seed: bytes = field(repr=False)
    share_index: int
    share_secret: bytes = field(repr=False)

    def __repr__(self) -> str:
        return f"NodeSecrets(share_index={self.share_index}, ...)"

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError("secrets cannot be pickled or copied")


def create(
    path: Path, secrets: NodeSecrets, passphrase: str, *, profile: Profile = "moderate", replace: bool = False
) -> None:
    """Write a new keystore, mode 0600, atomically. Raises :class:`ConfigError`; refuses an existing file."""
    if path.exists() and not replace:
        raise ConfigError(f"{path} exists already", "move it away first; it may hold a member's only keys")
    sealed = _Sealed(secrets.consensus_secret, secrets.log_seed, secrets.share_index, secrets.share_secret)
    plaintext = codec.encode(sealed)
    try:
        codec.decode(_Sealed, plaintext)
    except ProtocolError as error:
        raise ConfigError(
            f"{error.field} is not a valid secret", "give 32 bytes each and an index from 1"
        ) from None
    opslimit, memlimit = PROFILES[profile]
    salt = utils.random(pwhash.argon2id.SALTBYTES)
    box = secret.SecretBox(_derive(passphrase, salt, opslimit, memlimit))
    document = {
        "version": KEYSTORE_VERSION,
        "kdf": _KDF,
        "opslimit": opslimit,
        "memlimit": memlimit,
        "salt": salt.hex(),
        "sealed": bytes(box.encrypt(plaintext)).hex(),
    }
    files.write_atomically(path, files.to_json_text(document), mode=0o600)


def open_keystore(path: Path, passphrase: str) -> NodeSecrets:
    """Read a keystore. Raises :class:`ConfigError`: missing, open to others, damaged, wrong passphrase."""
    document = files.read_json(path, KEYSTORE_BYTES_MAX, _HINT_FILE, private=True)
    opslimit, memlimit, salt, sealed = _checked(path, document)
    box = secret.SecretBox(_derive(passphrase, salt, opslimit, memlimit))
    try:
        plaintext = box.decrypt(sealed)
    except nacl_exceptions.CryptoError:
        raise ConfigError(
            f"the passphrase does not open {path}",
            "check the passphrase; if it is right, the file is damaged and a backup is needed",
        ) from None
    try:
        opened: _Sealed = codec.decode(_Sealed, plaintext)
    except ProtocolError as error:
        raise ConfigError(f"{path} opens but holds no valid {error.field}", _HINT_FILE) from None
    return NodeSecrets(opened.consensus_secret, opened.log_seed, opened.share_index, opened.share_secret)


def read_passphrase(
    env: str = PASSPHRASE_ENVIRONMENT,
    file: Path | None = None,
    prompt: bool = False,
    *,
    label: str = "Passphrase: ",
) -> str:
    """The passphrase from ``file``, else the environment variable ``env``, else asked for at the terminal.

    A final newline of the file does not count. Raises :class:`ConfigError` where there is none.
    """
    hint = f"set {env}, name a passphrase file (mode 0600), or run at a terminal"
    if file is not None:
        data = files.read_bounded(file, PASSPHRASE_BYTES_MAX + 2, hint, private=True)
        try:
            text = data.decode()
        except UnicodeDecodeError:
            raise ConfigError(f"{file} is not UTF-8 text", hint) from None
        text = text.removesuffix("\n").removesuffix("\r")
    elif env in os.environ:
        text = os.environ[env]
    elif prompt:
        try:
            text = getpass.getpass(label)
        except (EOFError, OSError):
            raise ConfigError("no passphrase was given", hint) from None
    else:
        raise ConfigError("no passphrase was given", hint)
    if not text:
        raise ConfigError("the passphrase is empty", hint)
    return text


def read_key_file(path: Path) -> bytes:
    """A 32-byte secret key in hex from a file of mode 0600. Raises :class:`ConfigError`; never shows the
    content.
    """
    hint = "write 64 hex digits to the file and make it readable by its owner only"
    text = files.read_bounded(path, 128, hint, private=True)
    try:
        key = bytes.fromhex(text.decode("ascii").strip().removeprefix("0x"))
    except ValueError:
        raise ConfigError(f"{path} does not hold a key in hex", hint) from None
    if len(key) != SECRET_BYTES:
        raise ConfigError(f"{path} holds {len(key)} bytes, expected {SECRET_BYTES}", hint)
    return key


def _checked(path: Path, document: Any) -> tuple[int, int, bytes, bytes]:
    def damaged(what: str) -> ConfigError:
        return ConfigError(f"{path} is not a keystore of version {KEYSTORE_VERSION}: {what}", _HINT_FILE)

    if not isinstance(document, dict) or set(document) != set(_FIELDS):
        raise damaged(f"expected exactly the fields {', '.join(_FIELDS)}")
    if type(document["version"]) is not int or document["version"] != KEYSTORE_VERSION:
        raise damaged(f"version is {str(document['version'])[:32]}")
    if document["kdf"] != _KDF:
        raise damaged(f"kdf is not {_KDF}")
    opslimit, memlimit = document["opslimit"], document["memlimit"]
    if type(opslimit) is not int or not pwhash.argon2id.OPSLIMIT_MIN <= opslimit <= OPSLIMIT_MAX:
        raise damaged(f"opslimit is outside {pwhash.argon2id.OPSLIMIT_MIN} .. {OPSLIMIT_MAX}")
    if type(memlimit) is not int or not pwhash.argon2id.MEMLIMIT_MIN <= memlimit <= MEMLIMIT_BYTES_MAX:
        raise damaged(f"memlimit is outside {pwhash.argon2id.MEMLIMIT_MIN} .. {MEMLIMIT_BYTES_MAX} bytes")
    salt, sealed = _hex(document["salt"]), _hex(document["sealed"])
    if salt is None or len(salt) != pwhash.argon2id.SALTBYTES:
        raise damaged(f"salt is not {pwhash.argon2id.SALTBYTES} bytes in hex")
    if sealed is None or len(sealed) < secret.SecretBox.NONCE_SIZE + secret.SecretBox.MACBYTES:
        raise damaged("sealed is no sealed box in hex")
    return opslimit, memlimit, salt, sealed


def _hex(text: Any) -> bytes | None:
    if not isinstance(text, str):
        return None
    try:
        return bytes.fromhex(text)
    except ValueError:
        return None


def _derive(passphrase: str, salt: bytes, opslimit: int, memlimit: int) -> bytes:
    data = passphrase.encode(errors="surrogateescape")
    if not 0 < len(data) <= PASSPHRASE_BYTES_MAX:
        raise ConfigError(
            f"a passphrase of {len(data)} bytes", f"use between 1 and {PASSPHRASE_BYTES_MAX} bytes"
        )
    try:
        key: bytes = pwhash.argon2id.kdf(
            secret.SecretBox.KEY_SIZE, data, salt, opslimit=opslimit, memlimit=memlimit
        )
    except nacl_exceptions.RuntimeError:
        raise ConfigError(
            f"not enough memory to open the keystore ({memlimit >> 20} MiB)", "free memory and try again"
        ) from None
    return key
