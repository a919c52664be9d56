"""Passphrases and plain key files: read from private files, the environment or a terminal that shows nothing."""

from __future__ import annotations

import getpass
import os
import warnings
from pathlib import Path
from typing import Any

import pytest

from mpc_sequencer.core.errors import ConfigError
from mpc_sequencer.node import passphrases


def test_passphrase_from_file_then_environment(tmp_path: Path, monkeypatch: Any) -> None:
    file = tmp_path / "pass"
    file.write_text("from file\n")
    file.chmod(0o600)
    monkeypatch.setenv("MPCSEQ_PASSPHRASE", "from environment")
    assert passphrases.read_passphrase(file=file) == "from file"
    assert passphrases.read_passphrase() == "from environment"
    file.chmod(0o644)
    with pytest.raises(ConfigError, match="by others"):
        passphrases.read_passphrase(file=file)


def test_no_passphrase_is_a_config_error(monkeypatch: Any) -> None:
    monkeypatch.delenv("MPCSEQ_PASSPHRASE", raising=False)
    with pytest.raises(ConfigError, match="no passphrase") as caught:
        passphrases.read_passphrase()
    assert "MPCSEQ_PASSPHRASE" in caught.value.hint
    monkeypatch.setenv("MPCSEQ_PASSPHRASE", "")
    with pytest.raises(ConfigError, match="is empty"):
        passphrases.read_passphrase()
    monkeypatch.delenv("MPCSEQ_PASSPHRASE")
    monkeypatch.setattr(getpass, "getpass", lambda label: "typed")
    assert passphrases.read_passphrase(prompt=True) == "typed"


def test_a_new_passphrase_is_typed_twice_alike(monkeypatch: Any) -> None:
    monkeypatch.delenv("MPCSEQ_PASSPHRASE", raising=False)
    typed = iter(["one", "one", "one", "two"])
    monkeypatch.setattr(getpass, "getpass", lambda label: next(typed))
    assert passphrases.read_passphrase(prompt=True, twice=True) == "one"
    with pytest.raises(ConfigError, match="differ"):
        passphrases.read_passphrase(prompt=True, twice=True)


def test_a_terminal_that_would_show_the_passphrase_is_refused(monkeypatch: Any) -> None:
    def shows(label: str) -> str:
        warnings.warn("Can not control echo on the terminal.", getpass.GetPassWarning, stacklevel=1)
        return "shown"

    monkeypatch.delenv("MPCSEQ_PASSPHRASE", raising=False)
    monkeypatch.setattr(getpass, "getpass", shows)
    with pytest.raises(ConfigError, match="no passphrase"):
        passphrases.read_passphrase(prompt=True)


def test_a_key_file_is_private_and_32_bytes(tmp_path: Path) -> None:
    file = tmp_path / "key"
    for text in ("0x" + "ab" * 32 + "\n", "ab" * 32):
        file.write_text(text)
        os.chmod(file, 0o600)
        assert passphrases.read_key_file(file) == b"\xab" * 32
    for text in ("ab" * 31, "zz" * 32, "", "ab" * 100):
        file.write_text(text)
        with pytest.raises(ConfigError) as caught:
            passphrases.read_key_file(file)
        assert "abab" not in caught.value.cause
    file.chmod(0o644)
    with pytest.raises(ConfigError, match="by others"):
        passphrases.read_key_file(file)
