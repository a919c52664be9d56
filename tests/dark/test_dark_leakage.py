"""What t parties see of a dark batch, and that it says nothing about the book beside the public outcome.

The view of a coalition of t parties is their own rows and keys and, of every opening, the polynomial that all n shares
lie on. The argument that it is independent of the secrets, given the public outcome, has three parts; docs/dark.md
says it in words, and each part is tested here.

1. *An opening of degree t* is the one polynomial through the opened value and the coalition's t shares of it, which
   they compute themselves. So it adds the value and nothing else, whatever rows it was summed from: the fills, and the
   veiled values of comparisons, need no sharing of zero.
2. *An opening of degree 2t* has t degrees of freedom beside value and coalition's shares. The sharing of zero that the
   one key outside the coalition makes is uniform over just these, in every opening anew.
3. *The values*: masked by a uniform element (products, random squares, what is tested for zero), statistically masked
   (veiled), or a function of the public outcome (validity, the searches' bits, the fills).

The statistical tests take two inputs with the same public outcome and compare what an attacker computes from many
openings: coordinates of the polynomials *less what follows from the coalition's own shares and keys under the
hypothesis that the input is the first*, residues and leading digits of these, pairs of them, and the results of the
attacks that a missing mask makes possible. Each is a two-sample chi-square test that fails beyond ``k + 2 sqrt(16 k) +
32``, k degrees of freedom: by chance less than once in e^16 = 8.9 million (B. Laurent, P. Massart, Annals of Statistics
28, 2000, lemma 1), below one in 30,000 for the 281 statistics of all components together. Seeds are fixed. With
any one re-randomisation taken away the same statistics must see it.
"""

from __future__ import annotations

import random
from itertools import combinations
from math import sqrt
from typing import Any

import numpy as np
import pytest
from dark_runs import COIN, book_batches, lockstep, shared_of, shares_of, with_coin
from dark_views import (
    BITS,
    BOOK,
    DEPOSIT,
    FAULTS_T,
    FIRST,
    IDLE,
    PARAMS,
    PARTIES,
    PLAN,
    SAMPLES,
    SECOND,
    View,
    encoded,
    known,
    observe,
    own,
    sharing,
    supposed_shares,
)

from mpc_sequencer.dark import primitives
from mpc_sequencer.dark.clearing import Batch, validity
from mpc_sequencer.dark.field import Elements, SharedRows, inverse_sqrt_blum, to_bytes
from mpc_sequencer.dark.layout import Layout
from mpc_sequencer.dark.params import PRIME
from mpc_sequencer.dark.primitives import Shared, are_zero, nonnegative, prepare_masks
from mpc_sequencer.dark.program import Program, reveal
from mpc_sequencer.dark.prss import Prss

# --- the components, each on many samples of one input ----------------------------------------------------------------

Features = dict[str, Elements]
NONE = 1 << 20
"""An attack that came to nothing."""


def validity_features(which: str) -> Features:
    """Two orders beside which others trade at the tick between; their deposits are the same."""
    rows = {FIRST: encoded(PARAMS, IDLE[0]), SECOND: encoded(PARAMS, IDLE[1])}
    columns = Layout.of(PARAMS).columns
    whole = np.concatenate([rows[which]] * SAMPLES)
    guess = np.concatenate([rows[FIRST]] * SAMPLES)
    shares = shares_of(whole, PARTIES, FAULTS_T, 17)

    def batch(part: Elements) -> Batch:
        part = SharedRows.from_bytes(to_bytes(part), SAMPLES, columns)
        return Batch(part, (DEPOSIT,) * SAMPLES, COIN, tuple(range(SAMPLES)))

    view = observe(
        lambda shared, party: validity(PARAMS, shared, batch(shares[party])),
        lambda shared, party: validity(PARAMS, shared, batch(supposed_shares(shares[0], guess, party))),
    )
    return {"value": view.value["validity"], "lead": view.unexplained["validity"]}


def zero_test_features(which: str) -> Features:
    """The crossing test of two books that are both crossed: the sum of products is 6 in one and 15 in the other."""
    pair = {FIRST: (2, 3), SECOND: (5, 3)}
    shares = [sharing(value, 23 + at) for at, value in enumerate(pair[which])]
    name = "crossed"

    def tested(shared: Shared, left: Elements, right: Elements) -> Program[Any]:
        return (yield from are_zero(shared, left * right, name))

    view = observe(
        lambda shared, party: tested(shared, shares[0][party], shares[1][party]),
        lambda shared, party: tested(
            shared, *(supposed_shares(shares[at][0], pair[FIRST][at], party) for at in (0, 1))
        ),
    )
    product = pair[FIRST][0] * pair[FIRST][1]
    values_own = view.value[name + "/reduced"] - own("random", SAMPLES, name + "/reduced/mask")
    factors = view.value[name] * pow(product, -1, PRIME)
    factors_own = own("random", SAMPLES, name + "/factor")
    explained = (values_own - product) * (factors_own - factors) + known("zero", SAMPLES, name + "/zero")[1]
    return {
        "reduced": view.value[name + "/reduced"],
        "reduced lead": view.unexplained[name + "/reduced"],
        "value": view.value[name],
        "lead": (view.lead[name] - explained) % PRIME,
    }


def comparison_features(which: str) -> Features:
    """Comparisons of an excess of 1 with one of 62: the bit is 1 in both."""
    excess = {FIRST: 1, SECOND: 62}
    shares = sharing(excess[which], 29)

    def compared(shared: Shared, values: Elements) -> Program[Any]:
        stock = yield from prepare_masks(shared, SAMPLES, BITS, "masks")
        doubled = yield from nonnegative(shared, values, stock.take(SAMPLES), "c")
        return (yield from reveal(doubled, 2 * FAULTS_T, "c"))

    view = observe(
        lambda shared, party: compared(shared, shares[party]),
        lambda shared, party: compared(shared, supposed_shares(shares[0], excess[FIRST], party)),
    )
    veiled = view.value["c/veiled"]
    low = veiled & ((1 << BITS) - 1)
    high_known = known("bounded", SAMPLES, primitives.MASK_HIGH_BITS, "masks/high")[0]
    high = (veiled - (high_known << BITS)) % PRIME >> BITS
    features: Features = {
        "veiled low": low,
        "veiled high": high,
        "veiled high digits": high >> (primitives.STATISTICAL_BITS - 2),
        "bit": view.value["c"],
        "squares": view.value["masks/bits/0"],
        "squares lead": view.unexplained["masks/bits/0"],
        "pairs": view.value["masks/pairs"],
        "join": view.value["c/join0"],
        "pairs lead": view.unexplained["masks/pairs"],
        "join lead": view.unexplained["c/join0"],
        "bit lead": view.unexplained["c"],
    }
    return {**features, **mask_attacks(view, low), **join_attacks(view)}


def mask_attacks(view: View, low: Elements) -> Features:
    """What is compared, out of the mask's bits: from the squares' polynomials, from those of the pairs' products, and
    from products that are opened as they are."""
    name, count = "masks/bits/0", SAMPLES * BITS
    squares, root_own = view.value[name], own("random", count, name + "/root")
    lead = view.lead[name] - known("zero", count, name + "/zero")[1]
    inverses = inverse_sqrt_blum(squares)
    root = inverses * squares % PRIME
    positive, negative = ((root_own - sign * root) ** 2 % PRIME == lead % PRIME for sign in (1, -1))
    bits = np.where(positive, 1, np.where(negative, 0, NONE))
    bits_own = (root_own * inverses + 1) * ((PRIME + 1) // 2) % PRIME
    count //= 2
    lead = view.lead["masks/pairs"] - known("zero", count, "masks/pairs/zero")[1]
    found = attacked(bits_own[:count], bits_own[count:], lead)
    one, two = np.where(found == NONE, NONE, found & 1), np.where(found == NONE, NONE, found >> 1)
    product = view.value["masks/pairs"].reshape(SAMPLES, -1)[:, -1]
    return {
        "attack on squares": unveiled(bits[:count], bits[count:], low),
        "attack on pairs": unveiled(one, two, low),
        "attack on products": (low - 3 * product) % 4,
    }


def unveiled(one: Elements, two: Elements, low: Elements) -> Elements:
    """The low part of what is compared, from the bits of the mask."""
    digits = (one + 2 * two).reshape(SAMPLES, -1)
    guessed = (low - digits @ np.array([16, 4, 1], dtype=object)) % (1 << BITS)
    return np.where((digits >= NONE).any(axis=1), NONE, guessed)


def attacked(left_own: Elements, right_own: Elements, lead: Elements) -> Elements:
    """Two bits out of the leading coefficient of their sharings' product: left + 2 right, or NONE."""
    found = np.full(len(lead), NONE, dtype=object)
    for bits in range(4):
        found = np.where((left_own - (bits & 1)) * (right_own - (bits >> 1)) % PRIME == lead % PRIME, bits, found)
    return found


def join_attacks(view: View) -> Features:
    (less, equal), (less_after, equal_after) = view.joined
    lead = view.lead["c/join0"] - known("zero", 2 * SAMPLES, "c/join0/zero")[1]
    last = view.lead["c"] - known("zero", SAMPLES, "c/zero")[1]
    return {
        "attack on joins": attacked(equal[:, 0], less[:, 1], lead.reshape(SAMPLES, 2)[:, 0]),
        "attack on the bit": attacked(equal_after[:, 0], less_after[:, 1], -last),
    }


COMPONENTS = {"validity": validity_features, "zero test": zero_test_features, "comparison": comparison_features}

# --- the statistic ----------------------------------------------------------------------------------------------------


def projections(features: Features) -> dict[str, Elements]:
    """Small categories out of features, one of each sample."""
    out: dict[str, Elements] = {}
    for name, values in features.items():
        for modulus in (2, 3, 5, 7):
            out[f"{name} mod {modulus}"] = values % modulus
        out[f"{name} leading digit"] = values * 8 // PRIME
        out[f"{name} small"] = np.where(values < 1 << 16, values % 64, 64)
    for left, right in combinations(features, 2):
        size = min(len(features[left]), len(features[right]))
        out[f"{left} with {right}"] = features[left][:size] % 2 + 2 * (features[right][:size] % 2)
    for name, values in features.items():
        half = len(values) // 2
        out[f"{name} with the next"] = values[: 2 * half : 2] % 2 + 2 * (values[1 : 2 * half : 2] % 2)
    return out


def differs(first: Elements, second: Elements) -> bool:
    """Two-sample chi-square."""
    one, two = np.asarray(first, dtype=np.int64), np.asarray(second, dtype=np.int64)
    categories = np.union1d(one, two)
    counts = np.array([[(part == category).sum() for category in categories] for part in (one, two)], dtype=float)
    scale = np.sqrt(counts[1].sum() / counts[0].sum())
    statistic = float(((counts[0] * scale - counts[1] / scale) ** 2 / counts.sum(axis=0)).sum())
    free = len(categories) - 1
    return statistic > free + 2 * sqrt(16 * free) + 32


def told_apart(component: str) -> list[str]:
    """By which projections the two inputs differ."""
    features = COMPONENTS[component]
    first, second = projections(features(FIRST)), projections(features(SECOND))
    return [name for name, values in first.items() if differs(values, second[name])]


@pytest.mark.parametrize("component", COMPONENTS)
def test_inputs_with_the_same_public_outcome_look_the_same_to_a_party(component: str) -> None:
    assert told_apart(component) == []


def test_the_statistic_tells_a_shift_of_a_quarter_and_nothing_between_equals() -> None:
    draw = random.Random(5)
    samples = [np.array([draw.randrange(2) for _ in range(SAMPLES)]) for _ in range(20)]
    assert not any(differs(one, two) for one, two in combinations(samples, 2))
    shifted = np.array([int(draw.random() < 0.75) for _ in range(SAMPLES)])
    assert differs(samples[0], shifted)


REMOVALS = [
    ("validity", "zero", "validity/zero"),
    ("zero test", "zero", "crossed/reduced/zero"),
    ("zero test", "zero", "crossed/zero"),
    ("zero test", "random", "crossed/reduced/mask"),
    ("zero test", "random", "crossed/factor"),
    ("comparison", "zero", "masks/bits/0/zero"),
    ("comparison", "zero", "masks/pairs/zero"),
    ("comparison", "random", "masks/pairs/mask"),
    ("comparison", "zero", "c/join0/zero"),
    ("comparison", "random", "c/join0/mask"),
    ("comparison", "zero", "c/zero"),
    ("comparison", "bounded", "masks/high"),
]


@pytest.mark.parametrize(("component", "kind", "label"), REMOVALS, ids=[label for _, _, label in REMOVALS])
def test_without_one_re_randomisation_the_inputs_are_told_apart(
    component: str, kind: str, label: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = getattr(Prss, kind)
    constant = 1 if label.endswith("factor") else 0  # a factor that masks nothing

    def removed(self: Prss, count: int, *rest: Any) -> Elements:
        shares = original(self, count, *rest)
        return shares * 0 + constant if rest[-1] == label else shares

    monkeypatch.setattr(Prss, kind, removed)
    assert told_apart(component)


def test_a_mask_that_is_too_short_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(primitives, "MASK_HIGH_BITS", 1)
    assert any("veiled high" in name for name in told_apart("comparison"))


def test_a_mask_without_its_low_bits_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(primitives.Masks, "low", lambda masks: masks.high * 0)
    assert any("veiled low" in name for name in told_apart("comparison"))


def test_every_kind_of_doubled_opening_of_a_batch_is_one_of_those_above() -> None:
    """An opening of a new kind has no removal above: this fails until it has one."""
    batches = book_batches(PARAMS, *BOOK)
    seen = lockstep([with_coin(PARAMS, PLAN, one, batches[at]) for at, one in enumerate(shared_of(5, 1))], 1)
    doubled = {name for name, (degree, _) in seen.shares.items() if degree == 2}
    searches = {f"{one}{part}" for one in ("crossing/0", "cut/0") for part in ("", "/join0")}
    assert doubled == searches | {"masks/bits/0", "masks/pairs", "validity", "crossed/reduced", "crossed"}
    plain = {name for name, (degree, _) in seen.shares.items() if degree == 1}
    assert plain == {"coin", "crossing/0/veiled", "cut/0/veiled", "fills"}  # the coin: of randomness alone
