"""A height that fails before its sequences are accepted has not happened, wherever it fails: in one by one and in
columns, while accounts come in and the ledger's arrays grow."""

from __future__ import annotations

import sys
from inspect import CO_GENERATOR
from types import FrameType

import pytest
from msgspec.structs import replace

from mpc_sequencer.core.actions import Action
from mpc_sequencer.market import AUCTION, RECEIVE, Engine, HeightResult, PreparedOrder
from mpc_sequencer.market import height as height_module
from tests.market import desk

CROWD = tuple(bytes([n]) * 20 for n in range(1, 57))
"""With the desk's accounts and those of the batch more than the ledger first has room for."""
LATE = {"time_in_force": 4, "expires_ms": desk.TIME_MS + 1}
NONCE = 40


class Failure(Exception):
    """What fails."""


def book() -> Engine:
    made = desk.engine(desk.markets(AUCTION, RECEIVE), accounts=(*desk.ACCOUNTS, *CROWD), amount=10**6)
    desk.run(made, 1, [
        desk.buy(0, 1, 9, 5, client_id=3), desk.buy(0, 2, 8, 5, **LATE), desk.sell(1, 1, 15, 4), desk.sell(1, 2, 16, 4),
        desk.limit(2, 1, 1, 13, 5, time_in_force=2, kind=3, stop_ticks=14), desk.buy(3, 1, 7, 9, **LATE),
    ])  # fmt: skip
    return made


def batch() -> list[PreparedOrder]:
    strangers: list[Action] = [replace(desk.buy(0, n, 9, 1), account=bytes([200 + n]) * 20) for n in range(1, 9)]
    plain = [desk.limit(4, NONCE + n, 1 + n % 2, 9 + 2 * (n % 2), 3, client_id=n) for n in range(4)]
    actions = [
        desk.cancel(0, NONCE, 1), desk.buy(0, NONCE + 1, 9, 4, client_id=4), *plain, *strangers,
        desk.replacement(1, desk.sell(1, NONCE, 15, 3)), desk.cancel_all(2, NONCE), desk.withdrawal(3, NONCE, 1, 99),
        desk.sell(1, NONCE + 2, 12, 10**9), desk.limit(0, NONCE + 2, 1, 4, 2, market=7, client_id=9),
        desk.limit(4, NONCE + 5, 2, 4, 2, market=7), desk.cancel(1, NONCE + 1, NONCE + 9),
    ]  # fmt: skip
    return [desk.prepared(n, action) for n, action in enumerate(actions)]


def run(made: Engine) -> HeightResult:
    return made.execute(2, desk.TIME_MS + 2, desk.COIN, batch(), desk.received)


def fails_at(made: Engine, place: int) -> bool:
    """Run a height that fails at that call of the market's functions, counted from 0, and whether it came so far
    before all was accepted."""
    seen = 0

    def trace(frame: FrameType, event: str, _: object) -> None:
        nonlocal seen
        if frame.f_code is height_module._commit.__code__:
            seen = -(10**9)
        inside = str(frame.f_globals.get("__name__")).startswith("mpc_sequencer.market.")
        if inside and not frame.f_code.co_flags & CO_GENERATOR:  # one that is closed would swallow it
            seen += 1
            if seen == place + 1:
                raise Failure

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        run(made)
    except Failure:
        return True
    finally:
        sys.settrace(before)
    return False


@pytest.mark.parametrize("least", [1, 10**9])
def test_a_height_that_fails_at_any_call_before_all_is_accepted_changes_nothing(monkeypatch, least):
    monkeypatch.setattr(height_module, "COLUMNS_ORDERS_MIN", least)
    data, expected = book().dump(), run(book())
    assert {outcome.code for outcome in expected.outcomes} > {"withdrawn", "cancelled", "balance", "cancelled_unseen"}
    assert {update.code for update in expected.updates} >= {"expired", "replaced", "cancelled"}
    root = book().state_root()
    place = 0
    while fails_at(made := Engine.load(data), place):
        assert made.dump() == data and not any(map(any, made._state.ledger.changes.values()))
        if place % 8 == 0:
            assert made.state_root() == root and run(made) == expected
        place += 1
    assert place > 150
