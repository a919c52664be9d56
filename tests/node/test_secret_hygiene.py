"""No secret is in what a key object shows, in any error it raises, or in any log: searched for in every spelling."""

from __future__ import annotations

import base64
import copy
import json
import logging
import pickle
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mpc_sequencer.cli.errors import explain
from mpc_sequencer.core.signing import Signer
from mpc_sequencer.node import keystore, passphrases, startup
from mpc_sequencer.node import vault as vaults
from mpc_sequencer.node.config import NodeConfig, SubmitterConfig
from mpc_sequencer.node.keystore import NodeSecrets
from mpc_sequencer.node.remote_signer import RemoteSigner
from mpc_sequencer.node.share_files import get_share, put_share
from mpc_sequencer.node.vault import Vault
from threshold import SecretShare

SECRETS = {
    name: (0x11223344556677 + number).to_bytes(8, "big") * 4
    for number, name in enumerate(("consensus", "log", "vault", "share", "entry"))
}
PASSPHRASE = "the Words that open it"
SECRET_BYTES_SHOWN = 8


def spellings() -> list[str]:
    found = [PASSPHRASE, PASSPHRASE.encode().hex()]
    for secret in SECRETS.values():
        part = secret[:SECRET_BYTES_SHOWN]
        found += [part.hex(), repr(part)[2:-1], base64.b64encode(secret)[:10].decode(), str(int.from_bytes(secret))]
        found += [part.decode("latin-1"), ", ".join(str(byte) for byte in part), str(int.from_bytes(secret))]
    return found


def check_shows_nothing(text: str) -> None:
    lowered = text.lower()
    for secret in spellings():
        assert secret.lower() not in lowered, text


def chain(error: BaseException | None, seen: set[int]) -> Iterator[BaseException]:
    """An error with all that it carries: causes, members of groups, and contexts, which ``from None`` only hides."""
    if error is None or id(error) in seen:
        return
    seen.add(id(error))
    yield error
    yield from chain(error.__cause__, seen)
    yield from chain(error.__context__, seen)
    for one in getattr(error, "exceptions", ()):
        yield from chain(one, seen)


def check_error(error: BaseException) -> None:
    check_shows_nothing("".join(traceback.format_exception(error)))
    check_shows_nothing("\n".join(map(str, (explain(error, ["key"]).cause, explain(error, ["key"]).hint))))
    for one in chain(error, set()):
        attributes = {name: value for name, value in vars(one).items() if not name.startswith("__")}
        fields = [getattr(one, name, "") for name in ("object", "doc", "msg", "filename", "reason")]
        check_shows_nothing(f"{one!s} {one!r} {one.args!r} {attributes!r} {fields!r} {getattr(one, '__notes__', '')}")


def kept() -> NodeSecrets:
    return NodeSecrets(SECRETS["consensus"], SECRETS["log"], SECRETS["vault"])


@pytest.fixture
def house(tmp_path: Path) -> Iterator[dict[str, Any]]:
    """One of every object that holds a key, and the files they came from."""
    path = tmp_path / "keystore.json"
    header = keystore.create(path, kept(), PASSPHRASE, profile="minimum")
    vault = Vault(tmp_path / "keystore.vault", SECRETS["vault"])
    put_share(vault, 0, SecretShare(1, SECRETS["share"]))
    signer = Signer(SECRETS["consensus"])
    yield {
        "path": path,
        "header": header,
        "secrets": keystore.open_keystore(path, PASSPHRASE),
        "vault": vault,
        "signer": signer,
        "remote": RemoteSigner(tmp_path / "s", signer.public_key),
        "share": get_share(vault, 0),
        "entry": vaults._Entry("share-0", b"\1" * 8, SECRETS["entry"]),
    }
    vault.close()


OBJECTS = ("header", "secrets", "vault", "signer", "remote", "share", "entry")


@pytest.mark.parametrize("name", OBJECTS)
def test_no_object_shows_a_secret(house: dict[str, Any], name: str) -> None:
    one = house[name]
    nested = {"key": [one, (one,)]}
    for text in (repr(one), str(one), f"{one}", f"{one!r}", f"{one!s:>3}", repr(nested), "%s %r" % (one, one)):  # noqa: UP031
        check_shows_nothing(text)


@pytest.mark.parametrize("name", ["secrets", "vault", "signer", "remote", "share"])
def test_no_object_can_be_copied_serialized_or_compared(house: dict[str, Any], name: str) -> None:
    one = house[name]
    for action in (pickle.dumps, copy.copy, copy.deepcopy, json.dumps):
        with pytest.raises(TypeError) as caught:
            action(one)
        check_error(caught.value)
    assert type(one).__eq__ is object.__eq__ and type(one).__hash__ is object.__hash__


@pytest.mark.parametrize("name", ["secrets", "vault", "signer", "remote", "share"])
def test_msgspec_and_format_refuse_them_too(house: dict[str, Any], name: str) -> None:
    for action in (msgspec.json.encode, msgspec.msgpack.encode, lambda one: format(one, "x")):
        with pytest.raises(TypeError) as caught:
            action(house[name])
        check_error(caught.value)


def damaged(path: Path, **changes: Any) -> Path:
    document = json.loads(path.read_text()) | changes
    other = path.with_name("damaged.json")
    other.write_text(json.dumps(document))
    other.chmod(0o600)
    return other


def secret_file(folder: Path, content: bytes) -> Path:
    path = folder / "private"
    path.write_bytes(content)
    path.chmod(0o600)
    return path


def node_config(folder: Path, **changes: Any) -> NodeConfig:
    fixed = (folder / "committee.json", folder / "keystore.json", folder / "data", None, SubmitterConfig(False, None))
    return NodeConfig(0, "127.0.0.1", 7000, *fixed, **changes)


def _not_a_share(house: dict[str, Any], folder: Path) -> None:
    house["vault"].put("share-1", b"\0\0" + SECRETS["share"])
    get_share(house["vault"], 1)


def _undecodable_keys(house: dict[str, Any], folder: Path) -> None:
    content = msgspec.msgpack.encode([["share-0", b"\1" * 7, SECRETS["entry"]]])
    assert vaults._decode_entries(content) is None
    assert vaults._decode_entries(msgspec.msgpack.encode([SECRETS["entry"]])) is None
    raise ValueError("nothing of it was raised")


Failure = Callable[[dict[str, Any], Path], object]
FAILURES: dict[str, Failure] = {
    "wrong passphrase": lambda h, f: keystore.open_keystore(h["path"], PASSPHRASE + "!"),
    "damaged box": lambda h, f: keystore.open_keystore(damaged(h["path"], sealed="00" * 136), PASSPHRASE),
    "passphrase too long": lambda h, f: keystore.open_keystore(h["path"], PASSPHRASE * 100),
    "keystore exists": lambda h, f: keystore.create(h["path"], kept(), PASSPHRASE),
    "keystore in no folder": lambda h, f: keystore.create(f / "a" / "b", kept(), PASSPHRASE, profile="minimum"),
    "log seed too long": lambda h, f: keystore.create(
        f / "x", NodeSecrets(SECRETS["consensus"], SECRETS["log"] + b"1", SECRETS["vault"]), PASSPHRASE
    ),
    "secret out of range": lambda h, f: Signer(b"\xff" * 16 + SECRETS["consensus"][:16]),
    "secret of another size": lambda h, f: Signer(SECRETS["consensus"] + b"1"),
    "secret given as a public key": lambda h, f: keystore.create(
        f / "x", NodeSecrets(None, SECRETS["log"], SECRETS["vault"]), PASSPHRASE, consensus_key=SECRETS["consensus"]
    ),
    "share out of range": lambda h, f: SecretShare(1, b"\xff" * 16 + SECRETS["share"][:16]),
    "share of another size": lambda h, f: SecretShare(1, SECRETS["share"] + b"1"),
    "index out of range": lambda h, f: SecretShare(0, SECRETS["share"]),
    "vault key of another size": lambda h, f: Vault(f / "v", SECRETS["vault"] + b"1"),
    "vault held already": lambda h, f: Vault(f / "keystore.vault", SECRETS["vault"]),
    "secret as a vault name": lambda h, f: h["vault"].put("Name", SECRETS["share"]),
    "secret too large": lambda h, f: h["vault"].put("name", SECRETS["share"] * 4096),
    "not a share": _not_a_share,
    "keys that do not decode": _undecodable_keys,
    "digest of another size": lambda h, f: h["remote"].sign_digest(bytes(31)),
    "no remote signer": lambda h, f: h["remote"].check(),
    "key file of another size": lambda h, f: passphrases.read_key_file(
        secret_file(f, SECRETS["share"].hex().encode()[:-2])
    ),
    "key file with a byte that is none": lambda h, f: passphrases.read_key_file(
        secret_file(f, SECRETS["share"].hex().encode()[:-1] + b"\xff")
    ),
    "key file with a digit that is none": lambda h, f: passphrases.read_key_file(
        secret_file(f, SECRETS["share"].hex().encode()[:-1] + b"g")
    ),
    "passphrase file that is not text": lambda h, f: passphrases.read_passphrase(
        file=secret_file(f, PASSPHRASE.encode() + b"\xff")
    ),
    "passphrase file that others read": lambda h, f: (
        secret_file(f, PASSPHRASE.encode()).chmod(0o644),
        passphrases.read_passphrase(file=f / "private"),
    ),
    "vault key missing": lambda h, f: startup.open_vault(
        node_config(f), NodeSecrets(SECRETS["consensus"], SECRETS["log"], None)
    ),
}


@pytest.mark.parametrize("name", FAILURES)
def test_no_error_carries_a_secret(
    house: dict[str, Any],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    name: str,
) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(Exception) as caught:
        FAILURES[name](house, tmp_path)
    check_error(caught.value)
    check_shows_nothing(caplog.text)
    captured = capfd.readouterr()
    check_shows_nothing(captured.out + captured.err)


def test_the_search_finds_secrets_in_every_spelling() -> None:
    secret = SECRETS["share"]
    for text in (secret.hex(), repr(secret), repr(bytearray(secret)), str(list(secret)), str(int.from_bytes(secret))):
        with pytest.raises(AssertionError):
            check_shows_nothing(f"before {text} after")
    hidden = ValueError("shown")
    hidden.__context__ = ValueError(secret)
    hidden.__suppress_context__ = True
    with pytest.raises(AssertionError):
        check_error(hidden)
