"""Threshold shares in a member's vault, as :mod:`mpc_sequencer.core.keys` names them there."""

from __future__ import annotations

from typing import Final

from mpc_sequencer.core.errors import ConfigError
from mpc_sequencer.core.keys import decode_share, encode_share, share_name
from mpc_sequencer.node.vault import Vault
from threshold import SecretShare, UsageError

_HINT: Final = "the vault must be this member's own; a share that is lost comes back with a refresh"


def put_share(vault: Vault, number: int, share: SecretShare) -> None:
    """Keep the share of sharing ``number``. Raises as :meth:`Vault.put` does."""
    vault.put(share_name(number), encode_share(share))


def get_share(vault: Vault, number: int) -> SecretShare | None:
    """The share of sharing ``number``, or None. Raises :class:`ConfigError` where it is damaged."""
    content = vault.get(share_name(number))
    if content is None:
        return None
    try:
        return decode_share(content)
    except (UsageError, ValueError):
        raise ConfigError(f"the vault's {share_name(number)} is not a threshold share", _HINT) from None
    finally:
        content[:] = bytes(len(content))
