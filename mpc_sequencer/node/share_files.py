"""Threshold shares in a member's vault: ``share-<epoch>``, each the index (u16, big-endian) before 32 secret bytes."""

from __future__ import annotations

from typing import Final

from mpc_sequencer.core.errors import ConfigError
from mpc_sequencer.node.vault import Vault
from threshold import SecretShare, UsageError

_INDEX_BYTES: Final = 2
_HINT: Final = "the vault must be this member's own; a share that is lost comes back with a refresh"


def share_name(epoch: int) -> str:
    """The name under which the share of ``epoch`` is kept."""
    return f"share-{epoch}"


def put_share(vault: Vault, epoch: int, share: SecretShare) -> None:
    """Keep the share of ``epoch``. Raises as :meth:`Vault.put` does."""
    vault.put(share_name(epoch), share.index.to_bytes(_INDEX_BYTES, "big") + share.export())


def get_share(vault: Vault, epoch: int) -> SecretShare | None:
    """The share of ``epoch``; None where the vault has none. Raises :class:`ConfigError` where it is damaged."""
    content = vault.get(share_name(epoch))
    if content is None:
        return None
    try:
        return SecretShare(int.from_bytes(content[:_INDEX_BYTES], "big"), content[_INDEX_BYTES:])
    except (UsageError, ValueError):
        raise ConfigError(f"the vault's {share_name(epoch)} is not a threshold share", _HINT) from None
    finally:
        content[:] = bytes(len(content))
