"""Sessions whose faults are counted: who convicts itself, more liars than t, and absent parties that still decide."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import numpy as np
import pytest
from dark_runs import SESSION, elements, shares_of

from mpc_sequencer.core.codec import encode
from mpc_sequencer.dark.field import Elements, to_bytes
from mpc_sequencer.dark.params import PRIME
from mpc_sequencer.dark.program import Opening, Program, Round
from mpc_sequencer.dark.session import Aborted, Begin, Blame, Clock, DarkSession, Done, Effect, Heard, Say, TimedOut
from mpc_sequencer.dark.transcript import RoundShares


def opening(*rounds: tuple[Elements, int]) -> Program[list[int]]:
    """Opens one vector after the other; the outcome is all values."""
    seen: list[int] = []
    for number, (shares, degree) in enumerate(rounds):
        (values,) = yield Round((Opening(shares, degree, f"round {number}"),))
        seen += values.tolist()
    return seen


def hear(session: DarkSession[list[int]], number: int, said: dict[int, Elements]) -> list[Effect]:
    return [
        effect
        for party, shares in said.items()
        for effect in session.step(Heard(party, encode(RoundShares(SESSION, number, to_bytes(shares)))))
    ]


def off(shares: Elements, by: int = 1) -> Elements:
    return np.asarray((shares + by) % PRIME, dtype=object)


def without(shares: Sequence[Elements], *parties: int) -> dict[int, Elements]:
    return {party: one for party, one in enumerate(shares) if party not in parties}


def test_a_liar_cannot_use_a_party_s_own_wrong_share_to_change_a_value() -> None:
    """Of nine, party 0 was dealt a wrong share and knows it since round 0, and liar 1 knows by how much it is off. With
    two slow ones seven shares of degree 4 are left, which correct one error: the word is two errors off the true
    polynomial and one off the liar's."""
    first, second = shares_of(elements([7]), 9, 2), shares_of(elements([1000]), 9, 4, seed=3)

    def moved(party: int) -> int:
        """Another polynomial of degree 4 that is the same at the parties 2, 3, 4 and 5."""
        return reduce(lambda product, other: product * (party - other), (2, 3, 4, 5), 1)

    session = DarkSession(SESSION, 0, 9, 2, opening((off(first[0]), 2), (off(second[0], moved(0)), 4)))
    session.step(Begin())
    effects = hear(session, 0, without(first, 0))
    assert [one.party for one in effects if isinstance(one, Blame)] == [0]
    assert session.convicted == {0}
    said = without(second, 0, 7, 8) | {1: off(second[1], moved(1))}
    effects = hear(session, 1, said) + session.step(TimedOut(1))
    assert not [one for one in effects if isinstance(one, Done)]
    assert isinstance(effects[-1], Aborted)
    assert effects[-1].code == "undecodable"


def test_a_party_that_convicts_itself_ends_with_the_others_outcome() -> None:
    first, second = shares_of(elements([7]), 5, 1), shares_of(elements([8]), 5, 2, seed=3)
    session = DarkSession(SESSION, 0, 5, 1, opening((off(first[0]), 1), (off(second[0]), 2)))
    session.step(Begin())
    hear(session, 0, without(first, 0))
    effects = hear(session, 1, without(second, 0))
    assert effects[-1] == Done([7, 8])
    assert [one.round for one in session.transcript().said if one.party == 0] == [0]


@pytest.mark.parametrize("liars", [2, 3])
def test_more_liars_than_t_in_the_last_round_end_the_session_though_it_decodes(liars: int) -> None:
    shares = shares_of(elements([7]), 9, 2)
    session = DarkSession(SESSION, 0, 9, 2, opening((shares[0], 2)))
    session.step(Begin())
    said = {party: off(one, party) if party <= liars else one for party, one in without(shares, 0).items()}
    effects = hear(session, 0, said)
    assert [one.party for one in effects if isinstance(one, Blame)] == list(range(1, liars + 1))
    if liars <= 2:
        assert effects[-1] == Done([7])
    else:
        assert isinstance(effects[-1], Aborted)
        assert effects[-1].detail == "3 parties convicted, expected at most 2"


def absent_one_and_a_lie() -> tuple[DarkSession[list[int]], list[Elements], list[Effect]]:
    """Party 4 let the clock of round 0 run out; in round 1 party 3 lies, and four shares only show it."""
    first, second = shares_of(elements([7]), 5, 1), shares_of(elements([8]), 5, 2, seed=3)
    session = DarkSession(SESSION, 0, 5, 1, opening((first[0], 1), (second[0], 2)))
    session.step(Begin())
    hear(session, 0, without(first, 0, 4))
    assert isinstance(session.step(TimedOut(0))[-1], Say)
    return session, second, hear(session, 1, without(second, 0, 3, 4) | {3: off(second[3])})


def test_where_the_shares_there_do_not_decode_an_absent_party_is_given_the_round_s_time() -> None:
    session, second, effects = absent_one_and_a_lie()
    assert effects == [Clock(1)]
    effects = hear(session, 1, {4: second[4]})
    assert [(one.party, one.fault) for one in effects if isinstance(one, Blame)] == [(3, "lie")]
    assert effects[-1] == Done([7, 8])


def test_where_the_shares_there_do_not_decode_the_round_ends_with_its_time() -> None:
    session, _, _ = absent_one_and_a_lie()
    (effect,) = session.step(TimedOut(1))
    assert isinstance(effect, Aborted)
    assert (effect.code, effect.round) == ("undecodable", 1)
