"""The nonce window against a set, and its edges."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from mpc_sequencer.market.nonces import NonceState

AHEAD = 2**20
near = st.integers(-3, 3)
steps = st.one_of(
    st.integers(-1100, 1100),
    near,
    near.map(lambda d: d - 1024),
    near.map(lambda d: d + 1024),
    near.map(lambda d: d + AHEAD),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(steps, max_size=60))
def test_the_window_is_the_set_of_used_nonces(moves):
    state, used, highest = NonceState(), set(), 0
    for move in moves:
        nonce = max(0, highest + move)
        if nonce > highest + AHEAD:
            expected = "nonce_too_high"
        elif nonce in used or nonce <= highest - 1024:
            expected = "nonce_consumed"
        else:
            expected = None
        before = (state.highest, state.window)
        assert state.refusal(nonce) == expected
        assert (state.highest, state.window) == before
        assert state.consume(nonce) == expected
        if expected is None:
            used.add(nonce)
            highest = max(highest, nonce)
        else:
            assert (state.highest, state.window) == before
        assert state.highest == highest
        assert state.window == sum(1 << highest - n for n in used if n > highest - 1024)
        assert state.touched == bool(used)


def test_a_fresh_account_may_start_anywhere_up_to_the_bound():
    assert NonceState().consume(0) is None
    assert NonceState().consume(AHEAD) is None
    assert NonceState().consume(AHEAD + 1) == "nonce_too_high"


def test_nonce_zero_is_used_once():
    state = NonceState()
    assert state.consume(0) is None
    assert state.touched
    assert state.consume(0) == "nonce_consumed"
    assert (state.highest, state.window) == (0, 1)


def test_the_window_reaches_1023_back_and_no_further():
    state = NonceState()
    assert state.consume(5000) is None
    assert state.consume(5000 - 1024) == "nonce_consumed"
    assert state.consume(5000 - 1023) is None
    assert state.window == 1 | 1 << 1023
    assert state.consume(5001) is None
    assert state.window == 0b11
