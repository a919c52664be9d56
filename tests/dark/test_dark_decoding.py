"""Opening: within t lies the truth or a refusal, whoever is missing; liars are named and honest parties never."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpc_sequencer.dark.decoding import Decoder
from mpc_sequencer.dark.errors import Undecodable
from mpc_sequencer.dark.field import Elements, elements
from mpc_sequencer.dark.params import PRIME
from mpc_sequencer.dark.sharing import interpolate, lagrange, seeded, share

SIZES = [(4, 1), (5, 1), (7, 2), (9, 2), (13, 3)]


def sharing(values: list[int], degree: int, parties: int, seed: int = 0) -> dict[int, Elements]:
    source = seeded(seed.to_bytes(32, "big"), b"test")
    return dict(enumerate(share(elements(values), degree, parties, source)))


def colluding(shares: dict[int, Elements], parties: tuple[int, ...], degree: int, delta: int) -> dict[int, Elements]:
    """What liars add who move the value by a polynomial that vanishes at as many other parties as its degree allows."""
    honest = [index for index in shares if index not in parties][:degree]
    points = (0, *(index + 1 for index in honest))
    lies = dict(shares)
    for liar in parties:
        lies[liar] = (shares[liar] + lagrange(points, liar + 1)[0] * delta) % PRIME
    return lies


@pytest.mark.parametrize(("parties", "t"), SIZES)
@pytest.mark.parametrize("doubled", [False, True])
def test_honest_shares_open_and_nobody_is_named(parties: int, t: int, doubled: bool) -> None:
    degree = 2 * t if doubled else t
    values = [0, 1, 5, PRIME - 1]
    shares = sharing(values, degree, parties)
    decoder = Decoder(parties, degree, t)
    for missing in range(parties - decoder.shares_min + 1):
        part = {index: shares[index] for index in list(shares)[missing:]}
        decoded = decoder.decode(part)
        assert decoded.values.tolist() == values and decoded.liars == frozenset()
        assert decoder.decode(part, at=1).values.tolist() == shares[0].tolist()


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(SIZES), st.booleans(), st.data())
def test_up_to_t_liars_are_corrected_or_refused_and_never_believed(
    size: tuple[int, int], doubled: bool, data: st.DataObject
) -> None:
    parties, t = size
    degree = 2 * t if doubled else t
    decoder = Decoder(parties, degree, t)
    values = data.draw(st.lists(st.integers(0, PRIME - 1), min_size=1, max_size=6))
    shares = sharing(values, degree, parties, seed=1)
    liars = tuple(sorted(data.draw(st.sets(st.integers(0, parties - 1), max_size=t))))
    lies = dict(shares)
    if data.draw(st.booleans()):
        lies = colluding(shares, liars, degree, data.draw(st.integers(1, PRIME - 1)))
    else:
        for liar in liars:
            places = data.draw(st.sets(st.integers(0, len(values) - 1), min_size=1))
            wrong = shares[liar].copy()
            for place in places:
                wrong[place] = (wrong[place] + data.draw(st.integers(1, PRIME - 1))) % PRIME
            lies[liar] = wrong
    gone = data.draw(st.sets(st.integers(0, parties - 1), max_size=parties))
    received = {index: vector for index, vector in lies.items() if index not in gone}
    seen = {liar for liar in liars if liar not in gone}
    try:
        decoded = decoder.decode(received)
    except Undecodable as refused:
        assert refused.suspects <= seen
        assert len(received) < degree + 1 + t or len(seen) > decoder.radius(len(received))
    else:
        assert decoded.values.tolist() == values
        assert decoded.liars == seen
        assert len(received) >= degree + 1 + t


@pytest.mark.parametrize(("parties", "t"), [(5, 1), (9, 2), (13, 3)])
def test_a_committee_of_4t_plus_1_corrects_t_liars_wherever_they_sit(parties: int, t: int) -> None:
    values = [3, 1, 4, 1, 5]
    for degree in (t, 2 * t):
        shares = sharing(values, degree, parties)
        for liars in list(combinations(range(parties), t))[:40]:
            decoded = Decoder(parties, degree, t).decode(colluding(shares, liars, degree, 1))
            assert decoded.values.tolist() == values and decoded.liars == set(liars)


@pytest.mark.parametrize("silent", [0, 1, 2])
def test_silent_parties_that_are_among_the_t_leave_the_rest_corrected(silent: int) -> None:
    shares = sharing([7, 8], 4, 9)
    received = {index: vector for index, vector in shares.items() if index >= silent}
    liars = tuple(range(silent, 2))
    decoded = Decoder(9, 4, 2).decode(colluding(received, liars, 4, 5))
    assert decoded.values.tolist() == [7, 8] and decoded.liars == set(liars)


def test_attack_a_liar_beside_a_slow_honest_party_does_not_move_a_value() -> None:
    """Decoding to half the distance would take two liars' word over one honest party's where two others are slow."""
    shares = sharing([7], 4, 9)
    received = {index: vector for index, vector in shares.items() if index < 7}
    lies = colluding(received, (0, 1), 4, 1)
    with pytest.raises(Undecodable) as refused:
        Decoder(9, 4, 2).decode(lies)
    assert refused.value.positions == 1 and refused.value.suspects == frozenset()
    assert interpolate({index: lies[index] for index in range(6)}).tolist() == [8], "and honest party 6 would be blamed"
    assert Decoder(9, 4, 2).decode(colluding(shares, (0, 1), 4, 1)).values.tolist() == [7]
    naive = Decoder(5, 2, 0)
    four = {index: vector for index, vector in sharing([7], 2, 5).items() if index < 3}
    assert naive.decode(colluding(four, (0,), 2, 1)).values.tolist() == [8], "without a spare share a lie is the value"
    with pytest.raises(Undecodable, match="3 shares, expected at least 4"):
        Decoder(5, 2, 1).decode(colluding(four, (0,), 2, 1))


def test_four_parties_detect_and_name_nobody_in_products() -> None:
    shares = sharing([1, 2, 3], 2, 4)
    lies = dict(shares)
    lies[2] = lies[2].copy()
    lies[2][1] = (lies[2][1] + 1) % PRIME
    with pytest.raises(Undecodable) as refused:
        Decoder(4, 2, 1).decode(lies)
    assert refused.value.positions == 1 and refused.value.suspects == frozenset()
    assert str(int(lies[2][1])) not in str(refused.value)
    corrected = Decoder(4, 1, 1).decode(colluding(sharing([1, 2, 3], 1, 4), (2,), 1, 9))
    assert corrected.values.tolist() == [1, 2, 3] and corrected.liars == {2}


def test_liars_that_share_the_positions_among_them_are_too_many_together() -> None:
    shares = sharing([5, 6, 7], 2, 5)
    for liar, place in ((0, 0), (3, 2)):
        shares[liar] = shares[liar].copy()
        shares[liar][place] = (shares[liar][place] + 1) % PRIME
    with pytest.raises(Undecodable, match="2 liars, corrects 1") as refused:
        Decoder(5, 2, 1).decode(shares)
    assert refused.value.suspects == {0, 3} and refused.value.positions == 2


def test_random_words_are_refused() -> None:
    generator = np.random.default_rng(5)
    for parties, degree, t in ((5, 2, 1), (9, 4, 2), (13, 6, 3), (9, 2, 2)):
        words = {i: elements(int.from_bytes(generator.bytes(20), "little") for _ in range(3)) for i in range(parties)}
        with pytest.raises(Undecodable) as refused:
            Decoder(parties, degree, t).decode(words)
        assert refused.value.suspects == frozenset() and refused.value.positions == 3


@pytest.mark.parametrize(("parties", "t"), SIZES)
def test_a_sharing_of_a_higher_degree_is_refused(parties: int, t: int) -> None:
    for degree in range(t, parties):
        for higher in range(degree + 1, parties):
            shares = sharing([1, 2], higher, parties)
            if parties >= degree + 1 + t:
                with pytest.raises(Undecodable) as refused:
                    Decoder(parties, degree, t).decode(shares)
                assert refused.value.positions == 2 and refused.value.suspects == frozenset()


def test_a_vector_of_no_values_opens_to_none() -> None:
    empty = {index: elements([]) for index in range(5)}
    assert Decoder(5, 2, 1).decode(empty).values.tolist() == []
    with pytest.raises(Undecodable, match=r"0 shares.*missing \[0, 1, 2, 3, 4\]"):
        Decoder(5, 2, 1).decode({})


def test_decoding_leaves_what_it_was_given_alone() -> None:
    lies = colluding(sharing([5, 6, 7], 2, 5), (1,), 2, 3)
    before = {index: vector.tolist() for index, vector in lies.items()}
    decoded = Decoder(5, 2, 1).decode(lies)
    decoded.values[0] = 0
    assert {index: vector.tolist() for index, vector in lies.items()} == before


def test_a_liars_right_share_follows_from_the_others() -> None:
    shares = sharing([5, 6, 7], 2, 5)
    lies = colluding(shares, (1,), 2, 3)
    assert Decoder(5, 2, 1).decode(lies, at=2).values.tolist() == shares[1].tolist()
    assert interpolate({index: lies[index] for index in (0, 2, 3)}, 2).tolist() == shares[1].tolist()


def test_wrong_use_is_refused() -> None:
    shares = sharing([5, 6], 2, 5)
    for wrong in (
        lambda: Decoder(5, 5, 1),
        lambda: Decoder(5, -1, 1),
        lambda: Decoder(5, 2, -1),
        lambda: Decoder(5, 2, 1).decode({**shares, 5: shares[0]}),
        lambda: Decoder(5, 2, 1).decode({**shares, -1: shares[0]}),
        lambda: Decoder(5, 2, 1).decode({**shares, 1: shares[1][:1]}),
    ):
        with pytest.raises(ValueError, match=r"degree|committee|lengths"):
            wrong()
