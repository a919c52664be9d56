"""The auditor's rule of dark markets against the members': the same ends and the same leaf at every height, whatever
members and traders do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

import pytest
from tests.audit.dark_twins import Twins

from mpc_sequencer.core.actions import BUY, SELL
from mpc_sequencer.dark.desk import SayReport, Task
from mpc_sequencer.dark.messages import ResultSaid, Word, encode_word

from desk_kit import dark_parties, honest  # isort: skip


def test_a_batch_settles() -> None:
    twins = Twins()
    twins.agree()
    twins.order(BUY, 120, 7)
    twins.order(SELL, 110, 4)
    twins.order(SELL, 115, 5)
    twins.order(BUY, 105, 9)
    ended = twins.settle()
    assert {order.code for one in ended for order in one.orders} == {"filled", "unfilled"}
    tally = twins.audited.tallies[3]
    assert (tally.settled, tally.void, tally.ignored) == (1, 0, 0)
