"""Pseudorandom sharings: they fit over all parties, equal mpyc's construction, hide from t, and come once."""

import hashlib
import pickle
from itertools import combinations

import numpy as np
import pytest
from mpyc import thresha
from mpyc.finfields import GF

from mpc_sequencer.dark import prss
from mpc_sequencer.dark.decoding import Decoder
from mpc_sequencer.dark.errors import LabelReused, Undecodable
from mpc_sequencer.dark.field import Elements
from mpc_sequencer.dark.params import PRIME
from mpc_sequencer.dark.prss import Prss, PrssKeys, Subset, prss_context
from mpc_sequencer.dark.tags import PRSS_STREAM

SESSION = bytes(range(32))
CONTEXT = prss_context(SESSION, 3, 2, 14, 1)
ORACLE = GF(PRIME)
SIZES = [(4, 1), (5, 1), (7, 2), (9, 2)]


def subset_key(subset: Subset) -> bytes:
    return hashlib.sha256(repr(subset).encode()).digest()


def keys_of(parties: int, t: int, party: int) -> PrssKeys:
    return PrssKeys(parties, t, party, {one: subset_key(one) for one in prss.subsets_of(parties, t, party)})


def committee(parties: int, t: int, context: bytes = CONTEXT) -> list[Prss]:
    return [Prss(keys_of(parties, t, party), parties, t, party, context) for party in range(parties)]


def opened(shares: list[Elements], degree: int, t: int) -> Elements:
    decoded = Decoder(len(shares), degree, t).decode(dict(enumerate(shares)))
    assert not decoded.liars
    return decoded.values


def stream(subset: Subset, context: bytes, kind: int, count: int, each: int, label: str) -> list[int]:
    """The values of a subset, made by the letter of the docstring."""
    sizes = bytes([kind, 0]) + count.to_bytes(4, "big")
    data = hashlib.shake_256(PRSS_STREAM(subset_key(subset), context, sizes, label.encode())).digest(20 * count * each)
    return [int.from_bytes(data[at : at + 20], "little") % PRIME for at in range(0, len(data), 20)]


@pytest.mark.parametrize(("parties", "t"), SIZES)
def test_the_shares_are_those_of_mpyc_for_the_same_streams(parties: int, t: int) -> None:
    for party, source in enumerate(committee(parties, t)):
        own = prss.subsets_of(parties, t, party)

        def values(subset: Subset) -> list[int]:
            return stream(subset, CONTEXT, 1, 6, 1, "r")

        prfs = {subset: lambda _, n, subset=subset: values(subset)[:n] for subset in own}
        expected = thresha.pseudorandom_share(ORACLE, parties, party, prfs, b"", 6)
        assert source.random(6, "r").tolist() == [int(one) % PRIME for one in expected]

        def powers(subset: Subset) -> list[int]:
            # mpyc puts the highest power first, this package the lowest.
            drawn = np.array(stream(subset, CONTEXT, 2, 6, t, "z"), dtype=object).reshape(6, t)
            return drawn[:, ::-1].ravel().tolist()

        prfs = {subset: lambda _, n, subset=subset: powers(subset)[:n] for subset in own}
        expected = thresha.pseudorandom_share_zero(ORACLE, parties, party, prfs, b"", 6)
        assert source.zero(6, "z").tolist() == [int(one) % PRIME for one in expected]


@pytest.mark.parametrize(("parties", "t"), SIZES)
def test_sharings_have_their_degree_and_value(parties: int, t: int) -> None:
    sources = committee(parties, t)
    random = [source.random(50, "r") for source in sources]
    zero = [source.zero(50, "z") for source in sources]
    values = opened(random, t, t)
    assert len(set(values)) == 50
    summands = [stream(subset, CONTEXT, 1, 50, 1, "r") for subset in prss.subsets(parties, t)]
    assert values.tolist() == [sum(column) % PRIME for column in zip(*summands, strict=True)]
    assert not opened(zero, 2 * t, t).any()
    with pytest.raises(Undecodable):
        Decoder(parties, 2 * t - 1, 0).decode(dict(enumerate(zero)))
    products = [(one * one + nought) % PRIME for one, nought in zip(random, zero, strict=True)]
    assert (opened(products, 2 * t, t) == values * values % PRIME).all()


@pytest.mark.parametrize(("parties", "t"), [(5, 1), (9, 2)])
@pytest.mark.parametrize("bits", [1, 15, 16, 17, 60, 84])
def test_bounded_values_are_sums_of_short_ones(parties: int, t: int, bits: int) -> None:
    values = opened([source.bounded(200, bits, "b") for source in committee(parties, t)], t, t)
    count = len(prss.subsets(parties, t))
    assert max(values) <= count * ((1 << bits) - 1)
    mean = sum(values) / len(values) / count / (((1 << bits) - 1) / 2)
    assert 0.9 < mean < 1.1


@pytest.mark.parametrize(("parties", "t"), SIZES)
def test_to_t_parties_zero_sharings_are_uniform_among_those_of_their_degree(parties: int, t: int) -> None:
    """Whatever t parties know, the one key they lack spans all sharings of zero that fit their own shares: rank t."""
    for corrupt in combinations(range(parties), t):
        hidden = tuple(party for party in range(parties) if party not in corrupt)
        assert hidden in prss.subsets(parties, t)
        rows = []
        for power in range(1, t + 1):
            row = []
            for party in hidden:
                value = (party + 1) ** power
                for other in corrupt:
                    value = value * (other - party) * pow(other + 1, -1, PRIME) % PRIME
                row.append(value)
            rows.append(row)
        square = [[ORACLE(value) for value in row[:t]] for row in rows]
        determinant = square[0][0] if t == 1 else square[0][0] * square[1][1] - square[0][1] * square[1][0]
        assert determinant != 0
        # The map of the code is that very one: a key that only `hidden` hold moves exactly these shares.
        changed = {subset: subset_key(subset) for subset in prss.subsets(parties, t)} | {hidden: bytes(32)}
        for party in corrupt:
            assert set(prss.subsets_of(parties, t, party)).isdisjoint({hidden})
        first = hidden[0]
        keys = PrssKeys(parties, t, first, {s: changed[s] for s in prss.subsets_of(parties, t, first)})
        moved = Prss(keys, parties, t, first, CONTEXT).zero(3, "z")
        assert (moved != committee(parties, t)[first].zero(3, "z")).all()


def test_a_label_is_consumed_once_whatever_the_kind() -> None:
    source = committee(5, 1)[0]
    source.random(3, "once")
    for again in (
        lambda: source.random(3, "once"),
        lambda: source.random(4, "once"),
        lambda: source.zero(3, "once"),
        lambda: source.bounded(3, 8, "once"),
    ):
        with pytest.raises(LabelReused) as error:
            again()
        assert error.value.label == "once"
    source.random(3, "twice")


def test_nothing_of_one_context_kind_size_or_label_comes_back_in_another() -> None:
    contexts = [CONTEXT] + [
        prss_context(*arguments)
        for arguments in (
            (SESSION, 4, 2, 14, 1),
            (SESSION, 3, 3, 14, 1),
            (SESSION, 3, 2, 15, 1),
            (SESSION, 3, 2, 14, 2),
            (bytes(32), 3, 2, 14, 1),
        )
    ]
    assert len(set(contexts)) == 6
    seen: set[int] = set()
    draws = 0
    for context in contexts:
        for label in ("a", "b", "ab"):
            for draw in (
                lambda source, label=label: source.random(4, label),
                lambda source, label=label: source.random(3, label),
                lambda source, label=label: source.zero(3, label),
                lambda source, label=label: source.bounded(3, 90, label),
                lambda source, label=label: source.bounded(3, 89, label),
            ):
                values = draw(committee(5, 1, context)[0])
                seen.update(values.tolist())
                draws += len(values)
    assert len(seen) == draws


def test_wrong_use_is_refused() -> None:
    keys = keys_of(5, 1, 0)
    whole = {subset: subset_key(subset) for subset in prss.subsets_of(5, 1, 0)}
    first = next(iter(whole))
    same = dict.fromkeys(whole, bytes(32))
    for wrong in (
        lambda: PrssKeys(5, 1, 0, {one: whole[one] for one in whole if one != first}),
        lambda: PrssKeys(5, 1, 1, whole),
        lambda: PrssKeys(5, 1, 0, {**whole, first: bytes(31)}),
        lambda: PrssKeys(5, 1, 0, same),
        lambda: Prss(keys, 5, 1, 1, CONTEXT),
        lambda: Prss(keys, 9, 2, 0, CONTEXT),
        lambda: Prss(keys, 5, 1, 0, CONTEXT[:31]),
        lambda: Prss(keys, 5, 1, 0, CONTEXT).bounded(1, 0, "b"),
        lambda: Prss(keys, 5, 1, 0, CONTEXT).bounded(1, 94, "b"),
        lambda: Prss(keys, 5, 1, 0, CONTEXT).random(1, ""),
        lambda: Prss(keys, 5, 1, 0, CONTEXT).random(-1, "b"),
        lambda: Prss(keys, 5, 1, 0, CONTEXT).random(1, "b" * 129),
        lambda: Prss(keys, 5, 1, 0, CONTEXT).random(prss.COUNT_MAX + 1, "b"),
        lambda: prss_context(bytes(31), 0, 0, 0, 0),
    ):
        with pytest.raises(ValueError, match=r"keys|bytes|bits|PrssKeys"):
            wrong()


def test_keys_and_sources_are_neither_shown_nor_pickled() -> None:
    keys = keys_of(5, 1, 0)
    source = Prss(keys, 5, 1, 0, CONTEXT)
    source.random(1, "r")
    assert repr(keys) == "PrssKeys(parties=5, faults_t=1, party=0)"
    assert repr(source) == "Prss(party=0, consumed=1)"
    for secret in (keys, source):
        with pytest.raises(TypeError, match="not pickled"):
            pickle.dumps(secret)
    assert source.random(0, "none").shape == (0,)
