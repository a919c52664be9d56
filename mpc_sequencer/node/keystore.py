"""A member's lasting secrets at rest, in one file: consensus key, log key, and the key of its vault.

argon2id (RFC 9106) makes a key from the passphrase; XChaCha20-Poly1305 seals the secrets under it, bound to all
that the file says in the clear. That is JSON::

    version        2
    kind           "member" (a node's keystore) or "export" (portable: without a vault key)
    consensus_key  secp256k1 public key, 33 bytes compressed
    signer         "local", or "remote" where another process holds the consensus secret
    log_key        Ed25519 public key, 32 bytes
    kdf            name "argon2id13", opslimit (passes), memlimit_bytes, salt (16 bytes)
    sealed         nonce (24) || ciphertext and tag of: log seed || vault key (member) || consensus secret (local)

The costs come from the file, so they are bounded: a planted file must not cost the member more than OPSLIMIT_MAX
passes over MEMLIMIT_BYTES_MAX. The public keys can be shown without the passphrase; that they are the secrets' own is
checked whenever the file is opened. A wrong passphrase and a damaged file look alike to the cipher, and the error
says both. The threshold share is not here: it changes with each epoch and is kept in :mod:`mpc_sequencer.node.vault`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Literal, NoReturn, cast

import msgspec
from coincurve import PublicKey
from nacl import exceptions as nacl_exceptions
from nacl import pwhash, secret, signing, utils

from mpc_sequencer.core import domains
from mpc_sequencer.core.codec import encode
from mpc_sequencer.core.errors import ConfigError
from mpc_sequencer.core.signing import Signer, address_of
from mpc_sequencer.node import files, shred
from mpc_sequencer.node.passphrases import encode_passphrase

KEYSTORE_VERSION: Final = 2
KEYSTORE_BYTES_MAX: Final = 16 << 10
OPSLIMIT_MAX: Final = pwhash.argon2id.OPSLIMIT_SENSITIVE
MEMLIMIT_BYTES_MAX: Final = pwhash.argon2id.MEMLIMIT_SENSITIVE
SECRET_BYTES: Final = 32
CONSENSUS_KEY_BYTES: Final = 33

Profile = Literal["minimum", "interactive", "moderate", "sensitive"]
PROFILES: Final[dict[Profile, tuple[int, int]]] = {
    "minimum": (pwhash.argon2id.OPSLIMIT_MIN, pwhash.argon2id.MEMLIMIT_MIN),  # tests; no protection
    "interactive": (pwhash.argon2id.OPSLIMIT_INTERACTIVE, pwhash.argon2id.MEMLIMIT_INTERACTIVE),  # devnets
    "moderate": (pwhash.argon2id.OPSLIMIT_MODERATE, pwhash.argon2id.MEMLIMIT_MODERATE),
    "sensitive": (OPSLIMIT_MAX, MEMLIMIT_BYTES_MAX),
}
"""Costs of a passphrase guess: argon2id passes and bytes of memory."""

Kind = Literal["member", "export"]
_FIELDS: Final = ("version", "kind", "consensus_key", "signer", "log_key", "kdf", "sealed")
_KDF_FIELDS: Final = ("name", "opslimit", "memlimit_bytes", "salt")
_KDF: Final = "argon2id13"
_SEAL_BYTES: Final = secret.Aead.NONCE_SIZE + secret.Aead.MACBYTES
_HINT_FILE: Final = "name a member's keystore; one that is damaged comes back with `mpcseq key import` of its export"
_HINT_VERSION: Final = "write a new one with `mpcseq key new` or `mpcseq devnet init`"


class NodeSecrets:
    """A member's lasting secrets, 32 bytes each: consensus key (secp256k1; None where a remote signer holds it), log
    seed (Ed25519), vault key (None in an export).

    Nothing prints, formats, compares, pickles or copies them. (A dataclass would: msgspec encodes those.)
    """

    __slots__ = ("consensus_secret", "log_seed", "vault_key")

    def __init__(self, consensus_secret: bytes | None, log_seed: bytes, vault_key: bytes | None) -> None:
        self.consensus_secret = consensus_secret
        self.log_seed = log_seed
        self.vault_key = vault_key

    def __repr__(self) -> str:
        return "NodeSecrets(...)"

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError("secrets cannot be pickled or copied")


class KeystoreHeader(msgspec.Struct, frozen=True, array_like=True):
    """All that a keystore says in the clear, in the order it is bound to the secrets. Not checked against them."""

    version: int
    kind: str
    consensus_key: bytes
    signer: str
    log_key: bytes
    kdf: str
    opslimit: int
    memlimit_bytes: int
    salt: bytes

    def aad(self) -> bytes:
        """What the sealed secrets are bound to."""
        return domains.KEYSTORE_HEADER(encode(self))

    def address(self) -> bytes:
        """The consensus key's 20-byte account address."""
        return address_of(self.consensus_key)


def new_secrets() -> NodeSecrets:
    """Fresh random secrets of a member."""
    return NodeSecrets(_new_consensus_secret(), utils.random(SECRET_BYTES), utils.random(SECRET_BYTES))


def create(
    path: Path,
    secrets: NodeSecrets,
    passphrase: str,
    *,
    profile: Profile | tuple[int, int] = "moderate",
    kind: Kind = "member",
    consensus_key: bytes | None = None,
    replace: bool = False,
) -> KeystoreHeader:
    """Write a keystore, mode 0600, in one durable step.

    ``profile`` names the costs of a guess or gives them (passes, bytes of memory). ``consensus_key`` is the remote
    signer's where ``secrets`` has no consensus secret. An existing file is refused unless ``replace`` is set: then
    what it held is shredded. Raises :class:`ConfigError`.
    """
    if path.exists() and not replace:
        raise ConfigError(f"{path} exists already", "move it away first; it may hold a member's only keys")
    consensus_key, log_key = _public_keys(secrets, kind, consensus_key)
    opslimit, memlimit = PROFILES[profile] if isinstance(profile, str) else profile
    salt = utils.random(pwhash.argon2id.SALTBYTES)
    signer = "remote" if secrets.consensus_secret is None else "local"
    header = KeystoreHeader(
        KEYSTORE_VERSION, kind, consensus_key, signer, log_key, _KDF, opslimit, memlimit, salt
    )
    plaintext = secrets.log_seed + (secrets.vault_key or b"") + (secrets.consensus_secret or b"")
    sealed = secret.Aead(_derive(header, passphrase)).encrypt(plaintext, header.aad())
    try:
        shred.replace_and_shred(path, _to_json(header, bytes(sealed)))
    except OSError as error:
        raise ConfigError(
            f"cannot write {path}: {error.strerror}", "check the folder, its owner and free space"
        ) from error
    return header


def read_header(path: Path) -> KeystoreHeader:
    """What a keystore says of itself; no passphrase is needed, and nothing proves it. Raises :class:`ConfigError`."""
    return _read(path)[0]


def open_keystore(path: Path, passphrase: str, *, kind: Kind = "member") -> NodeSecrets:
    """Read a keystore. Raises :class:`ConfigError`: missing, open to others, of the other kind, damaged, or opened
    with a wrong passphrase."""
    header, sealed = _read(path)
    if header.kind != kind:
        wanted = "`mpcseq key export` writes one" if kind == "export" else "`mpcseq key import` makes one of an export"
        raise ConfigError(f"{path} is of the kind {header.kind}, expected {kind}", wanted)
    plaintext = _decrypt(_derive(header, passphrase), sealed, header.aad())
    if plaintext is None:
        raise ConfigError(
            f"the passphrase does not open {path}",
            "check the passphrase; if it is right, the file is damaged: `mpcseq key import` its export",
        )
    has_vault_key = kind == "member"
    parts = [plaintext[at : at + SECRET_BYTES] for at in range(0, len(plaintext), SECRET_BYTES)]
    if len(plaintext) != SECRET_BYTES * (1 + has_vault_key + (header.signer == "local")):
        raise ConfigError(f"{path} opens but does not hold the secrets it names", _HINT_FILE)
    secrets = NodeSecrets(
        parts[-1] if header.signer == "local" else None, parts[0], parts[1] if has_vault_key else None
    )
    remote_key = None if header.signer == "local" else header.consensus_key
    if _public_keys(secrets, kind, remote_key) != (header.consensus_key, header.log_key):
        raise ConfigError(f"{path} opens but its public keys are not those of its secrets", _HINT_FILE)
    return secrets


# --- keys ---------------------------------------------------------------------------------------------------
def _new_consensus_secret() -> bytes:
    while True:
        candidate = utils.random(SECRET_BYTES)
        if _consensus_key(candidate) is not None:  # all but about one in 2^128 are in range
            return candidate


def _consensus_key(consensus_secret: bytes) -> bytes | None:
    """The public key; None for a secret outside the curve's order."""
    try:
        return Signer(consensus_secret).public_key
    except ValueError:
        return None


def _public_keys(secrets: NodeSecrets, kind: Kind, remote_key: bytes | None) -> tuple[bytes, bytes]:
    """Consensus key and log key of ``secrets``. Raises :class:`ConfigError` where they are none of this kind."""
    hint = "give secrets of 32 bytes each, and a remote signer's public key only where it holds the secret"
    held = [secrets.log_seed]
    held += [] if secrets.vault_key is None else [secrets.vault_key]
    held += [] if secrets.consensus_secret is None else [secrets.consensus_secret]
    if any(len(one) != SECRET_BYTES for one in held) or (secrets.vault_key is None) != (kind == "export"):
        raise ConfigError(f"the secrets are not those of a keystore of the kind {kind}", hint)
    if (secrets.consensus_secret is None) != (remote_key is not None):
        raise ConfigError("either the consensus secret or its public key is needed, not both", hint)
    key = remote_key if secrets.consensus_secret is None else _consensus_key(secrets.consensus_secret)
    if key is None or not _is_consensus_key(key):
        raise ConfigError("the consensus key is not a valid secp256k1 key", hint)
    return key, bytes(signing.SigningKey(secrets.log_seed).verify_key)


def _is_consensus_key(key: bytes) -> bool:
    try:
        return len(key) == CONSENSUS_KEY_BYTES and PublicKey(key).format() == key
    except ValueError:
        return False


# --- the file -----------------------------------------------------------------------------------------------
def _to_json(header: KeystoreHeader, sealed: bytes) -> bytes:
    kdf = (header.kdf, header.opslimit, header.memlimit_bytes, header.salt.hex())
    values = (
        header.version,
        header.kind,
        "0x" + header.consensus_key.hex(),
        header.signer,
        "0x" + header.log_key.hex(),
        dict(zip(_KDF_FIELDS, kdf, strict=True)),
        sealed.hex(),
    )
    return files.to_json_text(dict(zip(_FIELDS, values, strict=True)))


def _read(path: Path) -> tuple[KeystoreHeader, bytes]:
    document = files.read_json(path, KEYSTORE_BYTES_MAX, _HINT_FILE, private=True)

    def check(fits: bool, what: str, hint: str = _HINT_FILE) -> None:
        if not fits:
            raise ConfigError(f"{path} is not a keystore of version {KEYSTORE_VERSION}: {what}", hint)

    check(isinstance(document, dict), "expected a JSON object")
    version = document.get("version")
    check(type(version) is int and version == KEYSTORE_VERSION, f"version is {str(version)[:32]}", _HINT_VERSION)
    check(set(document) == set(_FIELDS), f"expected exactly the fields {', '.join(_FIELDS)}")
    kdf = document["kdf"]
    check(isinstance(kdf, dict) and set(kdf) == set(_KDF_FIELDS), f"kdf is not {', '.join(_KDF_FIELDS)}")
    check(document["kind"] in ("member", "export"), "kind is neither member nor export")
    check(document["signer"] in ("local", "remote"), "signer is neither local nor remote")
    check(kdf["name"] == _KDF, f"kdf.name is not {_KDF}")
    least = pwhash.argon2id.OPSLIMIT_MIN, pwhash.argon2id.MEMLIMIT_MIN
    opslimit, memlimit = kdf["opslimit"], kdf["memlimit_bytes"]
    check(
        type(opslimit) is int and least[0] <= opslimit <= OPSLIMIT_MAX,
        f"kdf.opslimit is outside {least[0]} .. {OPSLIMIT_MAX}",
    )
    check(
        type(memlimit) is int and least[1] <= memlimit <= MEMLIMIT_BYTES_MAX,
        f"kdf.memlimit_bytes is outside {least[1]} .. {MEMLIMIT_BYTES_MAX}",
    )
    salt = _hex(kdf["salt"], "")
    check(len(salt) == pwhash.argon2id.SALTBYTES, f"kdf.salt is not {pwhash.argon2id.SALTBYTES} bytes in hex")
    consensus_key, log_key = _hex(document["consensus_key"], "0x"), _hex(document["log_key"], "0x")
    check(_is_consensus_key(consensus_key), "consensus_key is not a compressed secp256k1 key in hex")
    check(len(log_key) == SECRET_BYTES, f"log_key is not {SECRET_BYTES} bytes in hex")
    sealed = _hex(document["sealed"], "")
    check(len(sealed) > _SEAL_BYTES, "sealed is no sealed box in hex")
    signer, kind = cast(str, document["signer"]), cast(str, document["kind"])
    header = KeystoreHeader(
        KEYSTORE_VERSION, kind, consensus_key, signer, log_key, _KDF, opslimit, memlimit, salt
    )
    return header, sealed


def _hex(text: Any, prefix: str) -> bytes:
    """Bytes of lower-case hex after ``prefix``; empty for anything else, since no field is."""
    if not isinstance(text, str) or not text.startswith(prefix):
        return b""
    try:
        data = bytes.fromhex(text[len(prefix) :])
    except ValueError:
        return b""
    return data if prefix + data.hex() == text else b""


# --- sealing ------------------------------------------------------------------------------------------------
def _decrypt(key: bytes, sealed: bytes, aad: bytes) -> bytes | None:
    try:
        plaintext: bytes = secret.Aead(key).decrypt(sealed, aad)
    except nacl_exceptions.CryptoError:
        return None
    return plaintext


def _derive(header: KeystoreHeader, passphrase: str) -> bytes:
    data = encode_passphrase(passphrase)
    try:
        key: bytes = pwhash.argon2id.kdf(
            secret.Aead.KEY_SIZE, data, header.salt, opslimit=header.opslimit, memlimit=header.memlimit_bytes
        )
    except nacl_exceptions.RuntimeError:
        raise ConfigError(
            f"not enough memory to open the keystore ({header.memlimit_bytes >> 20} MiB)",
            "free memory and try again",
        ) from None
    return key
