"""How a dark order ends, and why it is not taken: outcome codes that :mod:`mpc_sequencer.market.types` explains. They
stand here too because that package imports this one."""

from __future__ import annotations

from typing import Final

FILLED: Final = "filled"
UNFILLED: Final = "unfilled"
DARK_KEYS: Final = "dark_keys"
DARK_TERMS: Final = "dark_terms"
DARK_FULL: Final = "dark_full"
DARK_ACCOUNT_FULL: Final = "dark_account_full"
DARK_BAD: Final = "dark_bad"
DARK_REJECTED: Final = "dark_rejected"
DARK_ABORTED: Final = "dark_aborted"
DARK_EPOCH: Final = "dark_epoch"
