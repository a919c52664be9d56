"""Arithmetic on shared values whose every opening is checked: products, random bits, zero tests, comparisons, searches.

All follow one pattern. A product of two sharings of degree t has degree 2t and is never used as it is: it is opened
with a random value and a fresh sharing of zero added (``[xy]_2t + [r]_t + [0]_2t``), over all parties, and the opening
is checked or corrected before anything is done with it; ``[xy]_t`` is what was opened less ``[r]_t``. Without
``[0]_2t`` the opened polynomial of degree 2t would show relations between x and y; checking outputs alone would miss a
lie here.

* *Random bits* (Damgard, Fitzi, Kiltz, Nielsen, Toft, TCC 2006, section 3, by PRSS): open r^2; r over its one root that
  is a square is 1 or -1 with equal chance. A square of 0 is drawn again under the next attempt's name.
* *Zero test*: the value, reduced to degree t, times a random one is opened, again re-randomised.
* *Comparison* x >= 0 for ``-2^K < x < 2^K``: y = x + 2^K is opened under the mask ``r = r_low + 2^K r_high`` with
  K shared bits below and :data:`MASK_HIGH_BITS` statistically hiding bits above. The bit wanted is that of 2^K in y,
  and follows linearly from y, the opened value's low part c, r_low and ``c < r_low``. The last is found from pairs of
  bits of r_low: with the product of both bits known (made beforehand, it depends on no input) "c's digit is less" and
  "is equal" are linear, and digits are joined pairwise, the higher one deciding unless equal. S pairs of bits need
  ``1 + (ceil(log2 S) - 1)`` rounds, after which the bit stands as a sharing of degree 2t, re-randomised, for the caller
  to open in one more: **5 rounds for 18 to 32 bits**, whatever the number of comparisons.
* *Search* for the last position at which a falling predicate holds: per level, all its probes in one comparison. What
  is opened follows from the position that is found and so tells nothing beside it.

Names make each use of the shared randomness its own (:class:`mpc_sequencer.dark.prss.Prss` refuses a name used twice).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, cast

import numpy as np

from mpc_sequencer.dark.field import inverse_sqrt_blum
from mpc_sequencer.dark.params import PRIME, STATISTICAL_BITS
from mpc_sequencer.dark.program import Program, ProgramFault, gather, reveal

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mpc_sequencer.dark.field import Elements
    from mpc_sequencer.dark.prss import Prss

MASK_HIGH_BITS: Final = STATISTICAL_BITS + 1
"""What an honest party's part of a mask adds above the compared bits. At most 2 is hidden there (the bit and a carry),
so that the opened value's distribution is within 2^-40 of one that does not depend on the input."""
_DIGIT_BITS: Final = 2
_HALF: Final = (PRIME + 1) // 2


@dataclass(frozen=True, slots=True)
class Shared:
    """What a program needs beside its inputs: the shared randomness of this party and attempt, and the degree t."""

    prss: Prss = field(repr=False)
    faults_t: int

    def product(self, left: Elements, right: Elements, name: str) -> Elements:
        """The product, elementwise, as a re-randomised sharing of degree 2t: ready to be opened, nothing else."""
        return cast("Elements", (left * right + self.prss.zero(len(left), name + "/zero")) % PRIME)


def reduce_degree(shared: Shared, doubled: Elements, name: str) -> Program[Elements]:
    """From sharings of degree 2t (sums of products) to sharings of degree t. 1 round."""
    masks = shared.prss.random(len(doubled), name + "/mask")
    zeros = shared.prss.zero(len(doubled), name + "/zero")
    opened = yield from reveal((doubled + masks + zeros) % PRIME, 2 * shared.faults_t, name)
    return cast("Elements", (opened - masks) % PRIME)


def multiply(shared: Shared, left: Elements, right: Elements, name: str) -> Program[Elements]:
    """Elementwise product of sharings of degree t, again of degree t. 1 round."""
    return (yield from reduce_degree(shared, left * right, name))


def random_bits(shared: Shared, count: int, name: str) -> Program[Elements]:
    """``count`` shared uniform bits that nobody knows. 1 round; one more where a square is 0 (chance 2^-94 each)."""
    bits = np.zeros(count, dtype=np.object_)
    missing, attempt = np.arange(count), 0
    while len(missing):
        label = f"{name}/{attempt}"
        randoms = shared.prss.random(len(missing), label + "/root")
        squares = yield from reveal(shared.product(randoms, randoms, label), 2 * shared.faults_t, label)
        found = squares != 0
        try:
            inverses = inverse_sqrt_blum(squares[found])
        except ValueError as error:
            raise ProgramFault(label, "a square that was opened has no root") from error
        bits[missing[found]] = (randoms[found] * inverses + 1) * _HALF % PRIME
        missing, attempt = missing[~found], attempt + 1
    return bits


def are_zero(shared: Shared, doubled: Elements, name: str) -> Program[NDArray[np.bool_]]:
    """Which values of a sharing of degree 2t are 0; says nothing else of them. A value that is not 0 passes for it with
    chance 2^-94. 2 rounds."""
    values = yield from reduce_degree(shared, doubled, name + "/reduced")
    masks = shared.prss.random(len(values), name + "/factor")
    opened = yield from reveal(shared.product(values, masks, name), 2 * shared.faults_t, name)
    return cast("NDArray[np.bool_]", opened == 0)


@dataclass(frozen=True, slots=True, repr=False)
class Masks:
    """Masks of as many comparisons as ``high`` is long. ``one``, ``two`` and ``both`` have a column per pair of bits,
    the highest first: its low bit, its high bit and their product."""

    bits: int
    one: Elements
    two: Elements
    both: Elements
    high: Elements

    def __len__(self) -> int:
        return len(self.high)

    def low(self) -> Elements:
        """The value of the K low bits."""
        shifts = range(self.bits - _DIGIT_BITS, -1, -_DIGIT_BITS)
        weights = np.array([1 << shift for shift in shifts], dtype=np.object_)
        return cast("Elements", (self.one + 2 * self.two) @ weights % PRIME)

    def slice(self, start: int, stop: int) -> Masks:
        """The masks from ``start`` to before ``stop``."""
        cut = slice(start, stop)
        return Masks(self.bits, self.one[cut], self.two[cut], self.both[cut], self.high[cut])


class MaskStock:
    """Masks made beforehand; each is given out once, so that no two values are opened under one."""

    __slots__ = ("_masks", "_used")

    def __init__(self, masks: Masks) -> None:
        self._masks = masks
        self._used = 0

    @property
    def bits(self) -> int:
        """K: what is compared lies between -2^K and 2^K."""
        return self._masks.bits

    def take(self, count: int) -> Masks:
        """The next ``count`` masks. Raises ``ValueError`` where the stock does not hold them."""
        if self._used + count > len(self._masks):
            raise ValueError(f"{count} masks wanted, {len(self._masks) - self._used} of {len(self._masks)} are left")
        self._used += count
        return self._masks.slice(self._used - count, self._used)


def prepare_masks(shared: Shared, comparisons: int, bits: int, name: str) -> Program[MaskStock]:
    """Masks for ``comparisons`` comparisons of ``bits`` (even) bits; depends on no input. 2 rounds."""
    if bits % _DIGIT_BITS or bits < _DIGIT_BITS:
        raise ValueError(f"bits is {bits}, expected a positive even number")
    digits = bits // _DIGIT_BITS
    drawn = yield from random_bits(shared, comparisons * bits, name + "/bits")
    one, two = drawn[: comparisons * digits], drawn[comparisons * digits :]
    both = yield from multiply(shared, one, two, name + "/pairs")
    high = shared.prss.bounded(comparisons, MASK_HIGH_BITS, name + "/high")
    shape = (comparisons, digits)
    return MaskStock(Masks(bits, one.reshape(shape), two.reshape(shape), both.reshape(shape), high))


def nonnegative(shared: Shared, values: Elements, masks: Masks, name: str) -> Program[Elements]:
    """For each value between -2^K and 2^K the bit "it is at least 0", as a re-randomised sharing of degree 2t: open it,
    it is fit for nothing else. ``max(1, ceil(log2(K / 2)))`` rounds."""
    if len(masks) != len(values):
        raise ValueError(f"{len(masks)} masks for {len(values)} comparisons")
    bound = 1 << masks.bits
    low_mask, shifted = masks.low(), values + bound
    veiled = (shifted + low_mask + bound * masks.high) % PRIME
    opened = yield from reveal(veiled, shared.faults_t, name + "/veiled")
    low = opened & (bound - 1)
    less, equal = _digits_below(masks, low)
    level = 0
    while less.shape[1] > 2:
        less, equal = yield from _join(shared, less, equal, f"{name}/join{level}")
        level += 1
    below = less[:, 0] + (equal[:, 0] * less[:, 1] if less.shape[1] == 2 else 0)
    bit = (shifted - low + low_mask) * pow(bound, -1, PRIME) - below
    return cast("Elements", (bit + shared.prss.zero(len(values), name + "/zero")) % PRIME)


def _digits_below(masks: Masks, low: Elements) -> tuple[Elements, Elements]:
    """Per digit of the public ``low``, highest first: is it below the mask's, and (but for the lowest) is it equal."""
    one, two, both = masks.one, masks.two, masks.both
    digits = one.shape[1]
    shifts = np.arange(masks.bits - _DIGIT_BITS, -1, -_DIGIT_BITS)
    public = low.astype(np.int64)[:, None] >> shifts & 3
    none = np.zeros_like(both)
    less = np.stack((one + two - both, two, both, none))
    equal = np.stack((1 - one - two + both, one - both, two - both, both))
    rows, columns = np.arange(len(low))[:, None], np.arange(digits)
    chosen = less[public, rows, columns] % PRIME, equal[public, rows, columns] % PRIME
    return chosen[0], chosen[1][:, : digits - 1]


def _join(shared: Shared, less: Elements, equal: Elements, name: str) -> Program[tuple[Elements, Elements]]:
    """Join neighbouring digits: less where the higher is, or is equal and the lower is less. An odd lowest one stays.
    ``equal`` has one column less than ``less``: whether the lowest digit is equal matters to nobody. 1 round."""
    rows, width = less.shape
    pairs, equals = width // 2, (width - 1) // 2
    higher = equal[:, 0 : 2 * pairs : 2]
    left = np.concatenate((higher, higher[:, :equals]), axis=1)
    right = np.concatenate((less[:, 1 : 2 * pairs : 2], equal[:, 1 : 2 * equals : 2]), axis=1)
    joined = (yield from multiply(shared, left.ravel(), right.ravel(), name)).reshape(rows, pairs + equals)
    wins = (less[:, 0 : 2 * pairs : 2] + joined[:, :pairs]) % PRIME
    return np.concatenate((wins, less[:, 2 * pairs :]), axis=1), joined[:, pairs:]


def search_arities(outcomes: int, levels: int) -> tuple[int, ...]:
    """Into how many parts each level splits what is left of ``outcomes`` positions, so that one remains."""
    if levels < 1:
        raise ValueError(f"levels is {levels}, expected at least 1")
    arities, left = [], outcomes
    for remaining in range(levels, 0, -1):
        arity = 1
        while arity**remaining < left:
            arity += 1
        arities.append(arity)
        left = -(-left // arity)
    return tuple(arities)


def search_comparisons(arities: Sequence[int]) -> int:
    """How many comparisons a search with these arities takes at most."""
    return sum(arity - 1 for arity in arities)


def search(
    shared: Shared,
    outcomes: int,
    arities: Sequence[int],
    probe: Callable[[Sequence[int]], Elements],
    stock: MaskStock,
    name: str,
    guard: Program[bool] | None = None,
) -> Program[int | None]:
    """The last position below ``outcomes`` whose value is at least 0. ``probe`` gives the shared values (below 2^K in
    amount) at positions above 0; they never rise, and position 0 counts as at least 0 unasked.

    ``guard`` runs beside the first level and is done before any bit is opened; where it says no, none is and the result
    is None. The rounds are those of :func:`nonnegative` and one, per level with more than one position left.
    """
    first, end = 0, outcomes
    for level, arity in enumerate(arities):
        step = -(-(end - first) // arity)
        positions = range(first + step, end, step)
        if not positions and guard is None:
            continue
        label = f"{name}/{level}"
        compare = nonnegative(shared, probe(positions), stock.take(len(positions)), label)
        if guard is not None:
            doubled, allowed = yield from gather(compare, guard)
            guard = None
            if not allowed:
                return None
        else:
            doubled = yield from compare
        bits = yield from reveal(doubled, 2 * shared.faults_t, label)
        hits = _falling(bits, label)
        first += hits * step
        end = min(end, first + step)
    if end - first != 1:
        raise ValueError(f"arities {tuple(arities)} leave {end - first} of {outcomes} positions")
    return first


def _falling(bits: Elements, name: str) -> int:
    """How many ones stand before the zeros; a fault where it is anything but ones, then zeros."""
    seen = bits.tolist()
    hits = sum(1 for bit in seen if bit == 1)
    if seen != [1] * hits + [0] * (len(seen) - hits):
        raise ProgramFault(name, "what was opened are not ones followed by zeros")
    return hits
