"""What tests of the vault share: its key, what a closed vault holds, and its files."""

from __future__ import annotations

from pathlib import Path

from mpc_sequencer.node.vault import Vault

KEY = b"\x5a" * 32


def contents(folder: Path) -> dict[str, bytes]:
    """All secrets of a vault that is closed."""
    vault = Vault(folder, KEY)
    try:
        return {name: bytes(vault.get(name) or b"") for name in vault.names()}
    finally:
        vault.close()


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "lock"}
