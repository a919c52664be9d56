"""Account keys from files and the environment, and the names and decimals of assets: a trader's own
small files.

An account key file is either what Ethereum wallets export (version 3 JSON, encrypted with a passphrase) or
one line of 64 hex digits, which devnets use; both must be readable by their owner alone. The environment
variable ``MPCSEQ_ACCOUNT_KEY`` may hold the hex digits instead.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from mpc_sequencer.client.units import DECIMALS_MAX, AssetUnits
from mpc_sequencer.core.errors import ConfigError
from mpc_sequencer.core.nesting import hold_nesting
from mpc_sequencer.core.signing import Signer
from mpc_sequencer.node import files

ACCOUNT_KEY_ENV: Final = "MPCSEQ_ACCOUNT_KEY"
KEY_FILE_BYTES_MAX: Final = 16_384
ASSETS_FILE_BYTES_MAX: Final = 1 << 16
ASSETS_VERSION: Final = 1
SYMBOL_CHARACTERS_MAX: Final = 16
WALLET_FILE_VERSION: Final = 3
_KDF_PARAMETERS_MAX: Final = {
    "pbkdf2": {"dklen": 64, "c": (1 << 31) - 1},
    "scrypt": {"dklen": 64, "n": 1 << 22, "r": 64, "p": 1 << 10},
}
"""The key derivations of version 3, with what is the most of each number; wallets write n = 2^18, r = 8, p = 1, or
2^18 rounds."""
_HEX_KEY: Final = re.compile(r"(?:0x)?([0-9a-fA-F]{64})\n?")
_HINT_KEY: Final = "give --key-file (64 hex digits or a wallet's version 3 JSON) or set MPCSEQ_ACCOUNT_KEY"
_HINT_ASSETS: Final = "write the assets file with `mpcseq devnet init`, or give prices in ticks and lots"


def read_account_key(path: Path | None, passphrase: Callable[[], str]) -> Signer:
    """The account key of ``path``, or of the environment where ``path`` is None. Raises :class:`ConfigError`.

    ``passphrase`` is called only for an encrypted file.
    """
    if path is None:
        text = os.environ.get(ACCOUNT_KEY_ENV)
        if text is None:
            raise ConfigError("no account key is given", _HINT_KEY)
        return _signer(text, f"the environment variable {ACCOUNT_KEY_ENV}")
    data = files.read_bounded(path, KEY_FILE_BYTES_MAX, _HINT_KEY, private=True)
    if data.lstrip().startswith(b"{"):
        return _decrypt(path, data, passphrase())
    return _signer(data.decode("ascii", "replace"), str(path))


def write_account_key(path: Path, secret: bytes) -> None:
    """Write a 32-byte secret as hex, readable by its owner alone."""
    files.write_atomically(path, secret.hex().encode() + b"\n", mode=0o600)


def _signer(text: str, where: str) -> Signer:
    match = _HEX_KEY.fullmatch(text)
    if match is None:
        raise ConfigError(f"{where} holds no account key of 64 hex digits", _HINT_KEY)
    try:
        return Signer(bytes.fromhex(match.group(1)))
    except ValueError:
        raise ConfigError(f"{where} holds a key outside the curve's order", _HINT_KEY) from None


def _decrypt(path: Path, data: bytes, passphrase: str) -> Signer:
    from eth_keyfile.keyfile import decode_keyfile_json, normalize_keys  # slow to import, for encrypted files alone

    hold_nesting()  # that import lifts the limit
    try:
        document = normalize_keys(json.loads(data))  # as it is read below: wallets write "Crypto" too
        _check_form(document)
        secret = bytes(decode_keyfile_json(document, passphrase.encode()))
    except ValueError as error:
        if "MAC" in str(error):
            raise ConfigError(
                f"wrong passphrase for {path}", "give the passphrase the key file was made with"
            ) from None
        raise ConfigError(f"{path} is no version 3 key file", _HINT_KEY) from None
    except (KeyError, TypeError, RecursionError):
        raise ConfigError(f"{path} is no version 3 key file", _HINT_KEY) from None
    return _signer(secret.hex(), str(path))


def _check_form(document: Mapping[str, Any]) -> None:
    """Whether a wallet's file is of the version and of a key derivation that can be read, at a cost that a machine
    bears. Raises ``ValueError``, ``KeyError`` or ``TypeError``."""
    crypto = document["crypto"]
    if type(document["version"]) is not int or document["version"] != WALLET_FILE_VERSION:
        raise ValueError("another version")
    kdf, parameters = crypto["kdf"], crypto["kdfparams"]
    for name, most in _KDF_PARAMETERS_MAX[kdf].items():
        if type(parameters[name]) is not int or not 1 <= parameters[name] <= most:
            raise ValueError(f"{name} is no number of 1 .. {most}")
    if kdf == "pbkdf2" and parameters["prf"] != "hmac-sha256":
        raise ValueError("another pseudo-random function")


def load_assets(path: Path) -> dict[int, AssetUnits]:
    """The assets file: names and decimals by asset id. Raises :class:`ConfigError` naming the field."""
    document = files.read_json(path, ASSETS_FILE_BYTES_MAX, _HINT_ASSETS)

    def wrong(field: str, expected: str) -> ConfigError:
        return ConfigError(f"{path}: {field} is not {expected}", _HINT_ASSETS)

    if not isinstance(document, dict) or set(document) != {"version", "assets"}:
        raise wrong("the file", "an object of exactly version and assets")
    if document["version"] != ASSETS_VERSION or not isinstance(document["assets"], list):
        raise wrong("version or assets", f"{ASSETS_VERSION} and a list")
    assets: dict[int, AssetUnits] = {}
    for number, row in enumerate(document["assets"]):
        where = f"assets[{number}]"
        if not isinstance(row, dict) or set(row) != {"id", "symbol", "decimals"}:
            raise wrong(where, "an object of exactly id, symbol and decimals")
        asset, symbol, decimals = row["id"], row["symbol"], row["decimals"]
        if type(asset) is not int or not 0 <= asset < 1 << 16 or asset in assets:
            raise wrong(f"{where}.id", "a new asset id, 0 .. 65535")
        if (
            not isinstance(symbol, str)
            or not 0 < len(symbol) <= SYMBOL_CHARACTERS_MAX
            or not symbol.isprintable()
        ):
            raise wrong(f"{where}.symbol", f"a name of at most {SYMBOL_CHARACTERS_MAX} characters")
        if type(decimals) is not int or not 0 <= decimals <= DECIMALS_MAX:
            raise wrong(f"{where}.decimals", f"0 .. {DECIMALS_MAX}")
        assets[asset] = AssetUnits(asset, symbol, decimals)
    return assets


def save_assets(path: Path, assets: Mapping[int, AssetUnits]) -> None:
    """Write an assets file; :func:`load_assets` gives ``assets`` back."""
    rows: list[dict[str, Any]] = [
        {"id": asset.asset, "symbol": asset.symbol, "decimals": asset.decimals} for asset in assets.values()
    ]
    files.write_atomically(path, files.to_json_text({"version": ASSETS_VERSION, "assets": rows}), mode=0o644)
