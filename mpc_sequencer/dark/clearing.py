"""The dark batch as a program: from shared rows to the fills, by the dark rule (:mod:`mpc_sequencer.dark.rule`).

Steps, with n parties, N orders, P ticks; rounds in brackets, for searches of a and b levels:

1. *Masks* [2]: all random bits that the comparisons will need. They depend on no input: :func:`prepare` may run before
   the batch is known, under the same attempt's shared randomness. *Coin* [1, beside the masks]: a few values that
   nobody knows before are opened. Inputs are fixed and answered for by then, so they depend on it no more.
2. *Validity* [1, beside the masks]: one opening of degree 2t per order, 0 where the order's row is well-formed. With r,
   the weights of the linear checks and g drawn from the coin, and e the 2P entries of the row::

       <r,e>^2 - <r^2,e><1,e>  =  - sum over i < j of e_i e_j (r_i - r_j)^2      at most one entry is not 0
       sum over the bit columns of g_j (b_j^2 - b_j)                             every bit is one
       sum over the linear checks of w_k (row . check_k - target_k)              quantity, quote, base

   The sum of all three is a polynomial of degree 2 in independent uniform elements, so that a malformed row passes with
   chance at most 2/p. A malformed order is dropped alone. What its opening shows is one public combination of its
   own secrets, which may tell them to whoever guesses: only an order that its trader malformed can be hit.
3. *Curves* [0]: sums of columns over the orders that are left.
4. *Crossed?* [2, beside the first level of 5]: zero test of ``sum D(k) S(k)``, over the integers by the bound of
   :class:`mpc_sequencer.dark.params.DarkParams`.
5. *Crossing position* [5a]: search over the staircase's 2P positions. It is tick and marginal side in one.
6. *Cut* [5b]: search over the prefix sums of the marginal column, in priority order, for the first that reaches the
   rest.
7. *Fills* [1]: linear in the rows now; buys count in lots, sells in lots times 2^Q, so that one value per order shows
   side and lots, of filled orders alone.

What becomes public is exactly: which orders are malformed (and the value of 2), whether the batch is crossed, the
crossing position, the cut, the fills. :class:`mpc_sequencer.dark.program.ProgramFault` where an opened value is none
that an honest run gives. Rounds in all: ``2 + 5a + 5b`` behind :func:`prepare`, one more with it and the coin
(:func:`run`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import comb
from typing import TYPE_CHECKING, Final, cast

import numpy as np

from mpc_sequencer.core.actions import BUY, SELL
from mpc_sequencer.dark.field import ELEMENT_BYTES, UNIFORM_BYTES, SharedRows, uniform
from mpc_sequencer.dark.layout import LINEAR_CHECKS, Deposit, Layout, linear_checks, linear_targets
from mpc_sequencer.dark.params import PRIME, DarkParams
from mpc_sequencer.dark.primitives import (
    MASK_HIGH_BITS,
    MaskStock,
    Shared,
    are_zero,
    prepare_masks,
    search,
    search_arities,
    search_comparisons,
)
from mpc_sequencer.dark.program import Program, ProgramFault, gather, reveal
from mpc_sequencer.dark.rule import DarkFill, DarkOutcome, marginal
from mpc_sequencer.dark.tags import VALIDITY
from mpc_sequencer.dark.transcript import PAYLOAD_BYTES_MAX

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mpc_sequencer.dark.field import Elements

COIN_BYTES: Final = 32
COIN_ELEMENTS: Final = 3
"""What is opened to draw a batch's coin from: 282 bits."""
LEVELS_MAX: Final = 6
"""Of a search, where the plan chooses."""
COMPARISONS_WANTED: Final = 100
"""Of a batch, where the plan chooses: all of them together then take less time than one round of a distant network."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How a market's batches are computed, the same for all parties: ``bits`` K of a comparison (even), and into how
    many parts each level of the two searches splits. More levels cost rounds, fewer cost comparisons."""

    bits: int
    tick_arities: tuple[int, ...]
    cut_arities: tuple[int, ...]

    @classmethod
    def of(cls, params: DarkParams, tick_levels: int | None = None, cut_levels: int | None = None) -> Plan:
        """The plan for batches of up to ``orders_max``: with the levels given, or else the fewest in all that take at
        most
        :data:`COMPARISONS_WANTED`. Raises ``ValueError`` where masks do not fit the field or a message its bound."""
        bits = params.comparison_bits - 1
        bits += bits % 2
        addends = comb(params.parties, params.faults_t)
        veiled_max = (2 << bits) + ((1 + (addends << MASK_HIGH_BITS)) << bits)
        if veiled_max >= PRIME:
            raise ValueError(f"a masked value of {veiled_max.bit_length()} bits is not below the prime")
        plans = [
            cls(bits, search_arities(2 * params.ticks, ticks), search_arities(params.orders_max + 1, cuts))
            for ticks in (range(1, LEVELS_MAX + 1) if tick_levels is None else (tick_levels,))
            for cuts in (range(1, LEVELS_MAX + 1) if cut_levels is None else (cut_levels,))
        ]
        wanted = [plan for plan in plans if plan.comparisons <= COMPARISONS_WANTED] or plans
        best = min(wanted, key=lambda plan: (len(plan.tick_arities) + len(plan.cut_arities), plan.comparisons))
        if best.comparisons * bits * ELEMENT_BYTES > PAYLOAD_BYTES_MAX:
            raise ValueError(f"{best.comparisons} masks of {bits} bits are more than one message holds: more levels")
        return best

    @property
    def comparisons(self) -> int:
        """How many comparisons a batch takes at most."""
        return search_comparisons(self.tick_arities) + search_comparisons(self.cut_arities)


@dataclass(frozen=True, slots=True)
class Batch:
    """What a party computes a batch from. ``rows`` are its shares; the rest is public and the same for all:
    ``deposits`` of the orders in the order of the rows, the ``coin`` (32 bytes, drawn after the rows were fixed) and
    ``priority``, all indices of the orders, first served first."""

    rows: SharedRows
    deposits: tuple[Deposit, ...]
    coin: bytes
    priority: tuple[int, ...]

    def check(self, params: DarkParams) -> None:
        """Raises ``ValueError`` where the parts do not fit each other or the market."""
        orders, columns = self.rows.rows, Layout.of(params).columns
        if self.rows.columns != columns:
            raise ValueError(f"rows of {self.rows.columns} columns, expected {columns}")
        if orders > params.orders_max or len(self.deposits) != orders:
            raise ValueError(f"{orders} rows and {len(self.deposits)} deposits, expected at most {params.orders_max}")
        if sorted(self.priority) != list(range(orders)):
            raise ValueError("the priority is no permutation of the orders")
        if len(self.coin) != COIN_BYTES:
            raise ValueError(f"a coin of {len(self.coin)} bytes, expected {COIN_BYTES}")


def prepare(params: DarkParams, plan: Plan, shared: Shared) -> Program[MaskStock]:
    """All masks of a batch. Independent of the inputs; one attempt's, and used for no other. 2 rounds."""
    del params  # the plan holds what counts
    return (yield from prepare_masks(shared, plan.comparisons, plan.bits, "masks"))


def clear(params: DarkParams, plan: Plan, shared: Shared, batch: Batch, stock: MaskStock) -> Program[DarkOutcome]:
    """Clear a batch with the masks of :func:`prepare`."""
    batch.check(params)
    valid = yield from validity(params, shared, batch)
    return (yield from _match(params, plan, shared, batch, stock, valid))


def run(
    params: DarkParams, plan: Plan, shared: Shared, draw: Callable[[Elements], Batch]
) -> Program[tuple[bytes, DarkOutcome]]:
    """A whole batch: the coin is opened and the orders' validity tested beside the masks' making, and ``draw`` makes
    the batch of what was opened. The coin and the outcome."""
    stock, (batch, valid) = yield from gather(prepare(params, plan, shared), _drawn(params, shared, draw))
    return batch.coin, (yield from _match(params, plan, shared, batch, stock, valid))


def _drawn(
    params: DarkParams, shared: Shared, draw: Callable[[Elements], Batch]
) -> Program[tuple[Batch, NDArray[np.bool_]]]:
    """Open :data:`COIN_ELEMENTS` values that nobody knows, and test the orders by them. 2 rounds."""
    opened = yield from reveal(shared.prss.random(COIN_ELEMENTS, "coin"), shared.faults_t, "coin")
    batch = draw(opened)
    batch.check(params)
    return batch, (yield from validity(params, shared, batch))


def _match(
    params: DarkParams, plan: Plan, shared: Shared, batch: Batch, stock: MaskStock, valid: NDArray[np.bool_]
) -> Program[DarkOutcome]:
    """The steps behind validity."""
    rejected = tuple(int(index) for index in np.flatnonzero(~valid))
    if not valid.any():
        return DarkOutcome.uncrossed(rejected)
    demand, supply = curves(params, batch.rows, valid)
    position = yield from _crossing(params, plan, shared, demand, supply, stock)
    if position is None:
        return DarkOutcome.uncrossed(rejected)
    served = np.array([index for index in batch.priority if valid[index]], dtype=np.int64)
    outcome = yield from _ration(
        params, plan, shared, batch.rows, _Crossing(position, demand, supply), served, stock
    )
    return replace(outcome, rejected=rejected)


# --- validity -------------------------------------------------------------------------------------------------------


def validity(params: DarkParams, shared: Shared, batch: Batch) -> Program[NDArray[np.bool_]]:
    """Which orders' rows are well-formed. 1 round, where there is any order."""
    layout, rows = Layout.of(params), batch.rows
    if rows.rows == 0:
        return np.zeros(0, dtype=np.bool_)
    entries, bits = 2 * layout.ticks, layout.bits.stop - layout.bits.start
    drawn = uniform(
        hashlib.shake_256(VALIDITY(batch.coin)).digest((entries + bits + LINEAR_CHECKS) * UNIFORM_BYTES),
        entries + bits + LINEAR_CHECKS,
    )
    points, bit_weights, check_weights = drawn[:entries], drawn[entries : entries + bits], drawn[entries + bits :]
    weights = np.zeros((layout.columns, 4), dtype=np.object_)
    weights[layout.entries, 0] = points
    weights[layout.entries, 1] = points * points % PRIME
    weights[layout.entries, 2] = 1
    weights[:, 3] = linear_checks(params) @ check_weights % PRIME
    weights[layout.bits, 3] = (weights[layout.bits, 3] - bit_weights) % PRIME
    first, second, total, linear = rows.weigh(weights).T
    squares = rows.squares(layout.bits).weigh(bit_weights.reshape(-1, 1))[:, 0]
    target = linear_targets(batch.deposits) @ check_weights
    tested = first * first - second * total + linear + squares - target
    tested = (tested + shared.prss.zero(rows.rows, "validity/zero")) % PRIME
    opened = yield from reveal(tested, 2 * shared.faults_t, "validity")
    return cast("NDArray[np.bool_]", opened == 0)


# --- curves, crossing -----------------------------------------------------------------------------------------------


def curves(params: DarkParams, rows: SharedRows, valid: NDArray[np.bool_]) -> tuple[Elements, Elements]:
    """Shares of D(0) .. D(P) and of S(-1) .. S(P-1), P + 1 each, over the valid orders."""
    layout = Layout.of(params)
    sums = rows.column_sums(valid, layout.entries)
    nothing = np.zeros(1, dtype=np.object_)
    demand = np.concatenate((np.cumsum(sums[layout.buy][::-1])[::-1], nothing)) % PRIME
    supply = np.concatenate((nothing, np.cumsum(sums[layout.sell]))) % PRIME
    return demand, supply


def _crossing(
    params: DarkParams, plan: Plan, shared: Shared, demand: Elements, supply: Elements, stock: MaskStock
) -> Program[int | None]:
    """The crossing position, or None where the batch is not crossed."""

    def crossed() -> Program[bool]:
        doubled = np.array([(demand[:-1] * supply[1:]).sum()], dtype=np.object_)
        zero = yield from are_zero(shared, doubled, "crossed")
        return not zero[0]

    def excess(positions: Sequence[int]) -> Elements:
        above, below = [at // 2 for at in positions], [(at + 1) // 2 for at in positions]
        return cast("Elements", demand[above] - supply[below])

    guard = crossed()
    return (yield from search(shared, 2 * params.ticks, plan.tick_arities, excess, stock, "crossing", guard))


# --- rationing, fills -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, repr=False)
class _Crossing:
    position: int
    demand: Elements
    supply: Elements

    @property
    def rest(self) -> int:
        """This party's share of what the marginal side still trades at the tick, beside its better orders."""
        tick, side = marginal(self.position)
        if side == BUY:
            return int(self.supply[tick + 1] - self.demand[tick + 1])
        return int(self.demand[tick] - self.supply[tick])


def _ration(
    params: DarkParams,
    plan: Plan,
    shared: Shared,
    rows: SharedRows,
    crossing: _Crossing,
    served: NDArray[np.int64],
    stock: MaskStock,
) -> Program[DarkOutcome]:
    """The cut among the marginal orders, then all fills. ``served`` are the valid orders in priority order."""
    layout = Layout.of(params)
    (tick, side), rest = marginal(crossing.position), crossing.rest
    asked = rows.take(tick if side == BUY else layout.ticks + tick)[served]
    before = np.concatenate((np.zeros(1, dtype=np.object_), np.cumsum(asked)))

    def unreached(positions: Sequence[int]) -> Elements:
        # the cut lies at or behind a position where what comes before the order there leaves at least one lot
        return cast("Elements", (rest - 1 - before[[at - 1 for at in positions]]) % PRIME)

    cut = yield from search(shared, len(served) + 1, plan.cut_arities, unreached, stock, "cut")
    assert cut is not None  # there is no guard that could say no
    scale = 1 << params.quantity_bits
    buys_from, sells_before = (tick + 1, tick + 1) if side == BUY else (tick, tick)
    packed = rows.sum_columns(buys_from, layout.ticks)
    packed = packed + scale * rows.sum_columns(layout.ticks, layout.ticks + sells_before)
    packed = packed[served]
    unit = 1 if side == BUY else scale
    if cut:
        packed[: cut - 1] += unit * asked[: cut - 1]
        packed[cut - 1] += unit * (rest - before[cut - 1])
    opened = yield from reveal(packed % PRIME, shared.faults_t, "fills")
    fills = _unpack(opened, served, params.quantity_bits)
    bought = sum(fill.lots for fill in fills if fill.side == BUY)
    sold = sum(fill.lots for fill in fills if fill.side == SELL)
    if bought != sold or not bought:
        raise ProgramFault("fills", f"{bought} lots bought, {sold} sold")
    last = int(served[cut - 1]) if cut else None
    return DarkOutcome(True, tick, side, sold, fills, (), last)


def _unpack(opened: Elements, served: NDArray[np.int64], quantity_bits: int) -> tuple[DarkFill, ...]:
    """The fills above 0, by ascending order."""
    fills, scale = [], 1 << quantity_bits
    for index, value in zip(served.tolist(), opened.tolist(), strict=True):
        sold, bought = divmod(value, scale)
        if sold >= scale or (sold and bought):
            raise ProgramFault("fills", f"order {index} is filled by {value}")
        if value:
            fills.append(DarkFill(index, SELL if sold else BUY, sold or bought))
    return tuple(sorted(fills, key=lambda fill: fill.order))
