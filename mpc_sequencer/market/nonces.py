"""Which nonces of an account are used: the highest one and a window of the 1,024 up to it.

A nonce is used once, in any order within the window, so that a trader may have many orders under way and
none blocks another. Below the window everything counts as used; more than 2^20 above the highest is
refused, so that one signed slip cannot burn the whole range. The window is IPsec's anti-replay window (RFC
4303, section 3.4.3), held as one integer: bit i stands for nonce ``highest - i``. A fresh account has
highest 0 and an empty window; once touched, bit 0 is set for good, so "touched" needs no bit of its own.
"""

from __future__ import annotations

from typing import Final

from mpc_sequencer.core.limits import NONCE_AHEAD_MAX, NONCE_WINDOW
from mpc_sequencer.market.types import NONCE_CONSUMED, NONCE_TOO_HIGH

_WINDOW_MASK: Final = (1 << NONCE_WINDOW) - 1


def advanced(window: int, ahead: int) -> int:
    """The window once the nonce ``ahead`` (1 .. NONCE_WINDOW - 1) above the highest is used."""
    return (window << ahead) & _WINDOW_MASK | 1


class NonceState:
    """The used nonces of one account."""

    __slots__ = ("highest", "window")

    def __init__(self, highest: int = 0, window: int = 0) -> None:
        self.highest = highest
        self.window = window

    @property
    def touched(self) -> bool:
        """Whether any nonce has been used."""
        return self.window != 0

    def refusal(self, nonce: int) -> str | None:
        """``nonce_too_high`` or ``nonce_consumed`` where ``nonce`` cannot be used now, else None."""
        behind = self.highest - nonce
        if behind < -NONCE_AHEAD_MAX:
            return NONCE_TOO_HIGH
        if behind >= NONCE_WINDOW or (behind >= 0 and self.window >> behind & 1):
            return NONCE_CONSUMED
        return None

    def consume(self, nonce: int) -> str | None:
        """Use ``nonce`` up; the refusal, with nothing changed, where it cannot be used."""
        refused = self.refusal(nonce)
        if refused is not None:
            return refused
        ahead = nonce - self.highest
        if ahead > 0:
            self.window = advanced(self.window, ahead) if ahead < NONCE_WINDOW else 1
            self.highest = nonce
        else:
            self.window |= 1 << -ahead
        return None
