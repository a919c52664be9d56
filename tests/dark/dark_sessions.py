"""What the tests of sessions share: a small batch in which every round counts, and hooks by which parties lie."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from dark_runs import (
    Run,
    book_batches,
    one_more,
    params_of,
    payload_changed,
    shared_of,
    with_coin,
)

from mpc_sequencer.core.actions import BUY, SELL
from mpc_sequencer.dark.clearing import Batch, Plan
from mpc_sequencer.dark.params import PRIME, DarkParams
from mpc_sequencer.dark.program import Program
from mpc_sequencer.dark.rule import DarkOutcome, PlainOrder, clear_openly
from mpc_sequencer.dark.session import Say

BOOK = [PlainOrder(BUY, 1, 2), PlainOrder(SELL, 0, 1), PlainOrder(BUY, 1, 3), PlainOrder(SELL, 1, 3)]
PRIORITY = [2, 0, 3, 1]
ROUNDS = 9
"""Of the batch below, and a test sees to it."""


@lru_cache
def params(parties: int) -> DarkParams:
    return params_of(parties, 1, ticks=2, orders_max=4, bits=2)


@lru_cache
def batches(parties: int) -> list[Batch]:
    return book_batches(params(parties), BOOK, PRIORITY)


def programs(parties: int) -> list[Program[DarkOutcome]]:
    market = params(parties)
    plan = Plan.of(market, 1, 1)
    return [with_coin(market, plan, one, batches(parties)[at]) for at, one in enumerate(shared_of(parties, 1))]


EXPECTED = clear_openly(BOOK, 2, PRIORITY)


def lying(liar: int, number: int, change: Callable[[bytes], bytes], only: int | None = None) -> Any:
    """A hook by which ``liar`` sends another payload in one round, to all or to one party only."""

    def hook(sender: int, receiver: int, round_number: int, message: bytes) -> Sequence[bytes]:
        if sender == liar and round_number == number and only in (None, receiver):
            return [payload_changed(message, change)]
        return [message]

    return hook


def shifted(payload: bytes) -> bytes:
    """Every share one larger."""
    values = [int.from_bytes(payload[at : at + 12], "little") for at in range(0, len(payload), 12)]
    return b"".join(((value + 1) % PRIME).to_bytes(12, "little") for value in values)


def last_changed(payload: bytes) -> bytes:
    return payload[:-12] + one_more(payload[-12:])


def honest_end(run: Run, parties: int, without: Sequence[int] = ()) -> None:
    honest = [party for party in range(parties) if party not in without]
    assert not [party for party in honest if party in run.aborts]
    assert {party: run.outcomes[party] for party in honest} == dict.fromkeys(honest, EXPECTED)


def message_of(effect: object) -> bytes:
    assert isinstance(effect, Say)
    return effect.message
