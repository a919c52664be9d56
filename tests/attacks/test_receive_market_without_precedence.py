"""Attack: get a RECEIVE market to run without its receipts, so that somebody else decides who is first.

The engine takes no batch order, no draw and no order id in their place: without a precedence over all new orders of the
market, and no others, the height does not execute and the state is as before. The auditor judges alike.

Evidence: none: no message can ask for it; such a height is executed by no member and by no auditor.
"""

from __future__ import annotations

import pytest

from mpc_sequencer.audit.execution import Execution, OpenedOrder
from mpc_sequencer.market import RECEIVE
from tests.market import desk

EARLY = desk.sealed("early", 0, desk.buy(0, 1, 10, 1, ioc=True))
LATE = desk.sealed("late", 1, desk.buy(1, 1, 10, 1, ioc=True))
FORGED = [
    None,
    lambda ids: [],
    lambda ids: [LATE.order_id],
    lambda ids: [LATE.order_id, LATE.order_id],
    lambda ids: [LATE.order_id, EARLY.order_id, desk.order_id("of another batch")],
    lambda ids: [LATE.order_id, desk.order_id("of another batch")],
]


@pytest.mark.parametrize("precedence", FORGED)
def test_a_receive_market_does_not_execute_without_a_precedence_over_its_orders(precedence):
    made = desk.engine(desk.markets(RECEIVE))
    desk.run_received(made, 1, [desk.sell(2, 1, 10, 1)])
    before = made.dump(), made.state_root()
    batch = [made.prepare(LATE), made.prepare(EARLY)]
    with pytest.raises(ValueError, match="precedence"):
        made.execute(2, desk.TIME_MS, desk.COIN, batch, precedence)
    assert (made.dump(), made.state_root()) == before
    result = made.execute(2, desk.TIME_MS, desk.COIN, batch, lambda ids: [EARLY.order_id, LATE.order_id])
    assert desk.codes(result) == {EARLY.order_id: "filled", LATE.order_id: "unfilled"}


@pytest.mark.parametrize("precedence", FORGED)
def test_the_auditor_executes_no_such_height_either(precedence):
    execution = Execution(desk.markets(RECEIVE), len(desk.ASSETS) + 1, desk.SEPARATOR)
    for account in desk.ACCOUNTS:
        for asset in desk.ASSETS:
            execution.credit(account, asset, 10**9)
    batch = [OpenedOrder(one.order_id, one.label, one.plaintext) for one in (LATE, EARLY)]
    with pytest.raises(ValueError, match="by receipt"):
        execution.execute(1, desk.TIME_MS, desk.COIN, batch, precedence)
