"""Where passphrases and plain key files are read: a file, the environment, the terminal. None is ever shown."""

from __future__ import annotations

import getpass
import hmac
import os
import warnings
from pathlib import Path
from typing import Final

from mpc_sequencer.core.errors import ConfigError
from mpc_sequencer.node import files

PASSPHRASE_BYTES_MAX: Final = 1_024
PASSPHRASE_ENVIRONMENT: Final = "MPCSEQ_PASSPHRASE"
NEW_PASSPHRASE_ENVIRONMENT: Final = "MPCSEQ_NEW_PASSPHRASE"
KEY_BYTES: Final = 32


def read_passphrase(
    env: str = PASSPHRASE_ENVIRONMENT,
    file: Path | None = None,
    prompt: bool = False,
    *,
    label: str = "Passphrase: ",
    twice: bool = False,
) -> str:
    """The passphrase from ``file``, else the environment variable ``env``, else asked for at the terminal.

    A final newline of the file does not count. ``twice`` asks a person two times, for what will protect a new file.
    Raises :class:`ConfigError` where there is none, or where the terminal would show it.
    """
    hint = f"set {env}, name a passphrase file (mode 0600), or run at a terminal"
    if file is not None:
        text = _read_text(file, hint)
    elif env in os.environ:
        text = os.environ[env]
    elif prompt:
        text = _ask(label, hint)
        if twice and not hmac.compare_digest(_bytes(text), _bytes(_ask(f"{label.rstrip(': ')} again: ", hint))):
            raise ConfigError("the two passphrases differ", "run the command again and type the same one twice")
    else:
        raise ConfigError("no passphrase was given", hint)
    if not text:
        raise ConfigError("the passphrase is empty", hint)
    return text


def encode_passphrase(passphrase: str) -> bytes:
    """The bytes a key is derived from. Raises :class:`ConfigError` for none, or more than PASSPHRASE_BYTES_MAX."""
    data = _bytes(passphrase)
    if not 0 < len(data) <= PASSPHRASE_BYTES_MAX:
        raise ConfigError(f"a passphrase of {len(data)} bytes", f"use between 1 and {PASSPHRASE_BYTES_MAX} bytes")
    return data


def read_key_file(path: Path) -> bytes:
    """A 32-byte secret key in hex from a file of mode 0600. Raises :class:`ConfigError`; never shows the
    content.
    """
    hint = "write 64 hex digits to the file and make it readable by its owner only"
    data = files.read_bounded(path, 128, hint, private=True)
    key = _from_hex(data)
    if key is None:
        raise ConfigError(f"{path} does not hold a key in hex", hint)
    if len(key) != KEY_BYTES:
        raise ConfigError(f"{path} holds {len(key)} bytes, expected {KEY_BYTES}", hint)
    return key


# The two below give None instead of raising: an error of the decoder carries what it could not decode.
def _from_hex(data: bytes) -> bytes | None:
    try:
        return bytes.fromhex(data.decode("ascii").strip().removeprefix("0x"))
    except ValueError:
        return None


def _utf8(data: bytes) -> str | None:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None


def _bytes(passphrase: str) -> bytes:
    return passphrase.encode(errors="surrogateescape")


def _read_text(file: Path, hint: str) -> str:
    text = _utf8(files.read_bounded(file, PASSPHRASE_BYTES_MAX + 2, hint, private=True))
    if text is None:
        raise ConfigError(f"{file} is not UTF-8 text", hint)
    return text.removesuffix("\n").removesuffix("\r")


def _ask(label: str, hint: str) -> str:
    try:
        with warnings.catch_warnings():
            # getpass falls back to a visible prompt with a warning
            warnings.simplefilter("error", getpass.GetPassWarning)
            return getpass.getpass(label)
    except (EOFError, OSError, getpass.GetPassWarning):
        raise ConfigError("no passphrase was given", hint) from None
