"""Account keys: hex files, wallets' encrypted files, the environment; and the assets file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account

from mpc_sequencer.client.keys import (
    ACCOUNT_KEY_ENV,
    load_assets,
    read_account_key,
    save_assets,
    write_account_key,
)
from mpc_sequencer.core.errors import ConfigError
from mpc_sequencer.core.signing import Signer
from mpc_sequencer.devnet.layout import ASSETS

SECRET = b"\x21" * 32


def no_passphrase() -> str:
    raise AssertionError("a plain key needs no passphrase")


def test_a_hex_key_is_read_back(tmp_path: Path) -> None:
    write_account_key(tmp_path / "key", SECRET)
    assert read_account_key(tmp_path / "key", no_passphrase).address == Signer(SECRET).address


def test_a_key_others_can_read_is_refused(tmp_path: Path) -> None:
    write_account_key(tmp_path / "key", SECRET)
    (tmp_path / "key").chmod(0o640)
    with pytest.raises(ConfigError, match="others"):
        read_account_key(tmp_path / "key", no_passphrase)


def test_a_wallets_file_opens_with_its_passphrase_only(tmp_path: Path) -> None:
    document = Account.encrypt(SECRET, "right", kdf="pbkdf2", iterations=2)
    path = tmp_path / "key"
    path.write_text(json.dumps(document))
    path.chmod(0o600)
    assert read_account_key(path, lambda: "right").address == Signer(SECRET).address
    with pytest.raises(ConfigError, match="wrong passphrase"):
        read_account_key(path, lambda: "wrong")


@pytest.mark.parametrize(
    "text", ["", "12", "0x" + "g" * 64, "00" * 32, "ff" * 32, "{}", '{"version":3}', "{"]
)
def test_what_is_no_key_is_refused_without_showing_it(tmp_path: Path, text: str) -> None:
    path = tmp_path / "key"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(ConfigError) as error:
        read_account_key(path, lambda: "x")
    assert not text or text not in error.value.cause.replace(str(path), "")


def _encrypted(**changes: Any) -> dict[str, Any]:
    """A wallet's file of SECRET with other values at ``crypto`` or ``crypto.kdfparams``, None for none at all."""
    document: dict[str, Any] = Account.encrypt(SECRET, "right", kdf="pbkdf2", iterations=2)
    for name, value in changes.items():
        places = (document, document["crypto"], document["crypto"]["kdfparams"])
        place = next(place for place in places if name in place)
        if value is None:
            del place[name]
        else:
            place[name] = value
    return document


def _saved(tmp_path: Path, document: object) -> Path:
    path = tmp_path / "key"
    path.write_text(json.dumps(document))
    path.chmod(0o600)
    return path


@pytest.mark.parametrize("kdf", ["pbkdf2", "scrypt"])
def test_a_wallets_file_of_either_key_derivation_and_spelling_opens(tmp_path: Path, kdf: Any) -> None:
    document = Account.encrypt(SECRET, "right", kdf=kdf, iterations=2)
    for spelled in (document, {name.capitalize(): value for name, value in document.items()}):
        path = _saved(tmp_path, spelled)
        assert read_account_key(path, lambda: "right").address == Signer(SECRET).address


@pytest.mark.parametrize(
    "changes",
    [
        {"version": 1},
        {"version": 4},
        {"version": "3"},
        {"version": 3.0},
        {"version": True},
        {"version": None},
        {"kdf": "argon2id"},
        {"kdf": "PBKDF2"},
        {"kdf": ["pbkdf2"]},
        {"kdf": "scrypt"},  # its numbers are missing
        {"kdf": None},
        {"kdfparams": {}},
        {"kdfparams": [2, 32]},
        {"prf": "hmac-sha512"},
        {"prf": "sha256"},
        {"prf": 256},
        {"prf": None},
        {"c": 0},
        {"c": -1},
        {"c": 2.0},
        {"c": 1 << 31},
        {"c": 1 << 70},
        {"dklen": 0},
        {"dklen": 1 << 62},
        {"salt": 7},
        {"crypto": "pbkdf2"},
        {"crypto": None},
    ],
    ids=str,
)
def test_a_near_miss_of_a_wallets_file_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    path = _saved(tmp_path, _encrypted(**changes))
    with pytest.raises(ConfigError, match="no version 3 key file"):
        read_account_key(path, lambda: "right")


@pytest.mark.parametrize(("name", "value"), [("n", 1 << 23), ("n", 3), ("r", 65), ("p", 1 << 11), ("p", 0), ("r", "8")])
def test_a_near_miss_of_scrypt_s_numbers_is_refused(tmp_path: Path, name: str, value: object) -> None:
    document: dict[str, Any] = Account.encrypt(SECRET, "right", kdf="scrypt", iterations=2)
    document["crypto"]["kdfparams"][name] = value
    with pytest.raises(ConfigError, match="no version 3 key file"):
        read_account_key(_saved(tmp_path, document), lambda: "right")


def test_the_version_that_is_judged_is_the_one_that_is_read(tmp_path: Path) -> None:
    document = {"version": 3, **_encrypted(version=None), "VERSION": 4}
    with pytest.raises(ConfigError, match="no version 3 key file"):
        read_account_key(_saved(tmp_path, document), lambda: "right")


def test_the_environment_may_hold_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ACCOUNT_KEY_ENV, "0x" + SECRET.hex())
    assert read_account_key(None, no_passphrase).address == Signer(SECRET).address
    monkeypatch.delenv(ACCOUNT_KEY_ENV)
    with pytest.raises(ConfigError, match="no account key"):
        read_account_key(None, no_passphrase)


def test_assets_are_read_back(tmp_path: Path) -> None:
    assets = {asset.asset: asset for asset in ASSETS}
    save_assets(tmp_path / "assets", assets)
    assert load_assets(tmp_path / "assets") == assets


@pytest.mark.parametrize(
    "row",
    [
        {"id": 0, "symbol": "A"},
        {"id": -1, "symbol": "A", "decimals": 1},
        {"id": 0, "symbol": "", "decimals": 1},
        {"id": 0, "symbol": "A", "decimals": 37},
        {"id": 0, "symbol": "A", "decimals": True},
        {"id": 0, "symbol": "A", "decimals": 1, "more": 1},
    ],
)
def test_assets_that_make_no_sense_are_refused(tmp_path: Path, row: dict[str, object]) -> None:
    (tmp_path / "assets").write_text(json.dumps({"version": 1, "assets": [row]}))
    with pytest.raises(ConfigError):
        load_assets(tmp_path / "assets")


def test_one_asset_twice_is_refused(tmp_path: Path) -> None:
    row = {"id": 0, "symbol": "A", "decimals": 1}
    (tmp_path / "assets").write_text(json.dumps({"version": 1, "assets": [row, row]}))
    with pytest.raises(ConfigError, match="id"):
        load_assets(tmp_path / "assets")
