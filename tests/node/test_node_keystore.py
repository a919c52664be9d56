"""Keystore: opens with its passphrase only, never shows a secret, and is nobody else's to read."""

from __future__ import annotations

import copy
import json
import os
import pickle
import stat
from pathlib import Path
from typing import Any

import pytest

from mpc_sequencer.core.errors import ConfigError
from mpc_sequencer.node import keystore
from mpc_sequencer.node.keystore import NodeSecrets

SECRETS = NodeSecrets(b"\xa1" * 32, b"\xb2" * 32, 3, b"\xc3" * 32)
PASSPHRASE = "correct horse"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "keystore.json"
    keystore.create(path, SECRETS, PASSPHRASE, profile="minimum")
    return path


def test_it_opens_with_its_passphrase(path: Path) -> None:
    assert keystore.open_keystore(path, PASSPHRASE) == SECRETS


def test_the_file_is_private_whole_and_holds_no_secret_in_the_clear(path: Path) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["keystore.json"]
    text = path.read_text()
    for shown in ("a1a1", "b2b2", "c3c3"):
        assert shown not in text


def test_a_wrong_passphrase_is_refused(path: Path) -> None:
    for wrong in ("correct hors", "Correct horse", "correct horse "):
        with pytest.raises(ConfigError, match="does not open") as caught:
            keystore.open_keystore(path, wrong)
        assert "passphrase" in caught.value.hint
        assert wrong not in caught.value.cause


def test_two_keystores_of_the_same_secrets_share_nothing(path: Path, tmp_path: Path) -> None:
    keystore.create(tmp_path / "again.json", SECRETS, PASSPHRASE, profile="minimum")
    first, second = (json.loads(p.read_text()) for p in (path, tmp_path / "again.json"))
    assert first["salt"] != second["salt"]
    assert first["sealed"] != second["sealed"]


def test_an_existing_keystore_is_not_overwritten(path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="exists already"):
        keystore.create(path, SECRETS, "other", profile="minimum")
    assert path.read_bytes() == before


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_a_file_that_others_can_use_is_refused(path: Path, mode: int) -> None:
    path.chmod(mode)
    with pytest.raises(ConfigError, match="by others") as caught:
        keystore.open_keystore(path, PASSPHRASE)
    assert caught.value.hint.startswith("chmod 600")


def test_a_missing_keystore_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        keystore.open_keystore(tmp_path / "none.json", PASSPHRASE)


@pytest.mark.parametrize(
    ("field", "value", "cause"),
    [
        ("version", 2, "version is 2"),
        ("version", True, "version is True"),
        ("kdf", "scrypt", "kdf"),
        ("opslimit", 0, "opslimit"),
        ("opslimit", keystore.OPSLIMIT_MAX + 1, "opslimit"),
        ("opslimit", True, "opslimit"),
        ("memlimit", 8191, "memlimit"),
        ("memlimit", keystore.MEMLIMIT_BYTES_MAX + 1, "memlimit"),
        ("salt", "00" * 15, "salt"),
        ("salt", 7, "salt"),
        ("sealed", "00" * 39, "sealed"),
        ("sealed", "zz" * 60, "sealed"),
        ("extra", 1, "exactly the fields"),
        ("salt", None, "salt"),
    ],
)
def test_a_damaged_header_is_refused(path: Path, field: str, value: Any, cause: str) -> None:
    document = json.loads(path.read_text())
    document[field] = value
    path.write_text(json.dumps(document))
    with pytest.raises(ConfigError, match=cause):
        keystore.open_keystore(path, PASSPHRASE)


def test_every_damaged_byte_of_the_box_is_noticed(path: Path) -> None:
    document = json.loads(path.read_text())
    sealed = bytes.fromhex(document["sealed"])
    for at in range(0, len(sealed), 7):
        document["sealed"] = (sealed[:at] + bytes([sealed[at] ^ 0x40]) + sealed[at + 1 :]).hex()
        path.write_text(json.dumps(document))
        with pytest.raises(ConfigError, match="does not open"):
            keystore.open_keystore(path, PASSPHRASE)


def test_truncated_files_are_refused(path: Path) -> None:
    text = path.read_text()
    for size in (0, 1, len(text) // 2, len(text) - 3):
        path.write_text(text[:size])
        with pytest.raises(ConfigError):
            keystore.open_keystore(path, PASSPHRASE)


def test_secrets_are_never_shown(path: Path) -> None:
    secrets = keystore.open_keystore(path, PASSPHRASE)
    for text in (repr(secrets), str(secrets), f"{secrets}", f"{[secrets]!r}"):
        for shown in ("a1", "b2", "c3", "\\xa1", "¡"):
            assert shown not in text
    for action in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="secrets cannot be"):
            action(secrets)


@pytest.mark.parametrize(
    "secrets",
    [
        NodeSecrets(b"\1" * 31, b"\2" * 32, 1, b"\3" * 32),
        NodeSecrets(b"\1" * 32, b"\2" * 33, 1, b"\3" * 32),
        NodeSecrets(b"\1" * 32, b"\2" * 32, 0, b"\3" * 32),
        NodeSecrets(b"\1" * 32, b"\2" * 32, 65, b"\3" * 32),
        NodeSecrets(b"\1" * 32, b"\2" * 32, 1, b""),
    ],
)
def test_secrets_of_a_wrong_size_are_not_stored(tmp_path: Path, secrets: NodeSecrets) -> None:
    with pytest.raises(ConfigError, match="not a valid secret"):
        keystore.create(tmp_path / "k.json", secrets, PASSPHRASE, profile="minimum")
    assert not (tmp_path / "k.json").exists()


def test_an_empty_or_endless_passphrase_is_refused(tmp_path: Path) -> None:
    for passphrase in ("", "x" * (keystore.PASSPHRASE_BYTES_MAX + 1)):
        with pytest.raises(ConfigError, match="passphrase of"):
            keystore.create(tmp_path / "k.json", SECRETS, passphrase, profile="minimum")


def test_the_default_profile_costs_more_than_the_devnets(tmp_path: Path) -> None:
    assert keystore.PROFILES["moderate"][1] > keystore.PROFILES["interactive"][1]
    assert keystore.PROFILES["interactive"][1] >= 64 << 20
    assert keystore.create.__kwdefaults__["profile"] == "moderate"


def test_passphrase_from_file_then_environment(tmp_path: Path, monkeypatch: Any) -> None:
    file = tmp_path / "pass"
    file.write_text("from file\n")
    file.chmod(0o600)
    monkeypatch.setenv("MPCSEQ_PASSPHRASE", "from environment")
    assert keystore.read_passphrase(file=file) == "from file"
    assert keystore.read_passphrase() == "from environment"
    file.chmod(0o644)
    with pytest.raises(ConfigError, match="by others"):
        keystore.read_passphrase(file=file)


def test_no_passphrase_is_a_config_error(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.delenv("MPCSEQ_PASSPHRASE", raising=False)
    with pytest.raises(ConfigError, match="no passphrase") as caught:
        keystore.read_passphrase()
    assert "MPCSEQ_PASSPHRASE" in caught.value.hint
    monkeypatch.setenv("MPCSEQ_PASSPHRASE", "")
    with pytest.raises(ConfigError, match="is empty"):
        keystore.read_passphrase()
    monkeypatch.delenv("MPCSEQ_PASSPHRASE")
    monkeypatch.setattr(keystore.getpass, "getpass", lambda label: "typed")
    assert keystore.read_passphrase(prompt=True) == "typed"


def test_a_key_file_is_private_and_32_bytes(tmp_path: Path) -> None:
    file = tmp_path / "key"
    for text in ("0x" + "ab" * 32 + "\n", "ab" * 32):
        file.write_text(text)
        os.chmod(file, 0o600)
        assert keystore.read_key_file(file) == b"\xab" * 32
    for text in ("ab" * 31, "zz" * 32, "", "ab" * 100):
        file.write_text(text)
        with pytest.raises(ConfigError) as caught:
            keystore.read_key_file(file)
        assert "abab" not in caught.value.cause
    file.chmod(0o644)
    with pytest.raises(ConfigError, match="by others"):
        keystore.read_key_file(file)
