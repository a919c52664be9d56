"""The field's prime and the sizes of a dark market, with every bound that correctness or privacy rests on.

Rule: a :class:`DarkParams` that exists satisfies all bounds below, so no computation over the shares can wrap around
the prime by accident. With M orders, P ticks, quantities below ``2^Q`` and n parties of which t may be corrupt:

- the zero test of the curves' product sum: ``P (M 2^Q)^2 < p``;
- solvency, an equation over the integers: ``price_max 2^Q + 2^slack < p``;
- masked comparison: a value of ``comparison_bits`` bits is hidden by a mask that is ``STATISTICAL_BITS`` bits longer.
  A pseudorandom bounded mask is the sum of C(n,t) summands, one of which no t parties know; the sum must not wrap
  either: ``2^comparison_bits + C(n,t) 2^(comparison_bits + 40) < p``. This is a little stricter than "comparison bits +
  40 below log2 p", which counts one summand only.

Committees: ``n >= 4t + 1`` corrects lies and always ends. With ``3t + 1 <= n < 4t + 1`` lies are only detected and a
liar may abort any batch after having seen the clearing tick; such sizes need ``demonstration=True``.

The prime is ``2^94 - 105``, the largest 94-bit prime that is 3 modulo 4 (a Blum prime: a square root is one power). Its
form lets what exceeds 94 bits be folded back by a product with a small constant.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import comb
from typing import Final

PRIME_BITS: Final = 94
PRIME: Final = (1 << PRIME_BITS) - 105
STATISTICAL_BITS: Final = 40
SUBSETS_MAX: Final = 1_024  # keys of pseudorandom sharing in a committee; (13,3) has 286
ORDERS_MAX: Final = 4_096
TICKS_MAX: Final = 1_024


@dataclass(frozen=True)
class DarkParams:
    """Sizes of one dark market on one committee; raises :class:`ValueError` naming the bound that fails.

    ``price_first_ticks`` is the price of column 0 and ``price_step_ticks`` the distance of neighbouring columns, both
    in the market's ticks.
    """

    parties: int
    faults_t: int
    ticks: int
    quantity_bits: int
    slack_bits: int
    orders_max: int
    price_first_ticks: int
    price_step_ticks: int = 1
    demonstration: bool = False

    def __post_init__(self) -> None:
        n, t = self.parties, self.faults_t
        _require(t >= 1, f"faults_t is {t}, expected at least 1: with 0 every party knows every order")
        _require(n >= 3 * t + 1, f"parties is {n}, expected at least 3t + 1 = {3 * t + 1}")
        _require(
            n >= 4 * t + 1 or self.demonstration,
            f"parties is {n}, expected at least 4t + 1 = {4 * t + 1}, or demonstration=True",
        )
        _require(comb(n, t) <= SUBSETS_MAX, f"C({n},{t}) keys, expected at most {SUBSETS_MAX}")
        _require(1 <= self.ticks <= TICKS_MAX, f"ticks is {self.ticks}, expected 1..{TICKS_MAX}")
        _require(1 <= self.orders_max <= ORDERS_MAX, f"orders_max is {self.orders_max}, expected 1..{ORDERS_MAX}")
        _require(self.quantity_bits >= 1, f"quantity_bits is {self.quantity_bits}, expected at least 1")
        _require(self.slack_bits >= 1, f"slack_bits is {self.slack_bits}, expected at least 1")
        _require(self.price_first_ticks >= 1, f"price_first_ticks is {self.price_first_ticks}, expected at least 1")
        _require(self.price_step_ticks >= 1, f"price_step_ticks is {self.price_step_ticks}, expected at least 1")
        depth_lots = self.orders_max << self.quantity_bits
        _require(
            self.ticks * depth_lots**2 < PRIME,
            f"ticks (orders_max 2^quantity_bits)^2 is {self.ticks * depth_lots**2}, expected below the prime",
        )
        _require(
            (self.price_last_ticks << self.quantity_bits) + (1 << self.slack_bits) < PRIME,
            "price_max 2^quantity_bits + 2^slack_bits is not below the prime",
        )
        _require(
            (1 << self.comparison_bits) + (comb(n, t) << (self.comparison_bits + STATISTICAL_BITS)) < PRIME,
            f"comparison_bits is {self.comparison_bits}: a mask of {STATISTICAL_BITS} more bits wraps around the prime",
        )

    @property
    def price_last_ticks(self) -> int:
        """The price of the last column, in the market's ticks."""
        return self.price_first_ticks + self.price_step_ticks * (self.ticks - 1)

    @property
    def comparison_bits(self) -> int:
        """Bits of a difference of two sums of quantities, its sign included: it is in [-2^(bits-1), 2^(bits-1))."""
        return (self.orders_max << self.quantity_bits).bit_length() + 1

    @property
    def corrects(self) -> bool:
        """Whether lies are corrected (``n >= 4t + 1``) rather than only detected."""
        return self.parties >= 4 * self.faults_t + 1


def _require(holds: bool, text: str) -> None:
    if not holds:
        raise ValueError(text)
