"""A log whose member executed one thing otherwise than the rule is found by its result, and says at which height."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mpc_sequencer.audit import auction, cancels, clearing, trades
from mpc_sequencer.audit.execution import Execution
from mpc_sequencer.audit.state import Account
from mpc_sequencer.core.actions import (
    BUY,
    CANCEL_MAKER,
    GTC,
    GTD,
    LIMIT,
    SELL,
    STOP_LIMIT,
    Cancel,
    Order,
    label_hash,
)
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.market.types import AUCTION, Market
from tests.audit.audited_deployment import BASE, QUOTE, START_MS, Deployment, deployment, replace, secret
from tests.audit.log_builder import LogBuilder

HOUSE = secret("house")[:20]


def house_that_takes_fees() -> Deployment:
    plain = deployment()
    markets = (Market(0, BASE, QUOTE, 1_000, 10, 100, "TEST", AUCTION, 1, 1_000, 1_000, 2_500),)
    genesis = replace(plain.committee.genesis, markets=markets, fee_account=HOUSE)
    return dataclasses.replace(plain, committee=Committee(genesis))


class Trading(LogBuilder):
    """Seals any action."""

    def _sealed(self, trader: str, make: Callable[[bytes, bytes], Any]) -> bytes:
        account = self.house.traders[trader]
        return self.sealed(self.plaintext(make(account.address, label_hash(self.label().encode())), account))

    def act(self, trader: str, side: int, price_ticks: int, quantity_lots: int, **terms: Any) -> bytes:
        fields: dict[str, Any] = {
            "market": 0, "client_id": 0, "kind": LIMIT, "time_in_force": GTC, "post_only": 0, "self_trade": 0,
            "stop_ticks": 0, "display_lots": 0, "expires_ms": 0, "side": side, "price_ticks": price_ticks,
            "quantity_lots": quantity_lots,
        }  # fmt: skip
        nonce = self.nonce(trader)
        return self._sealed(trader, lambda account, bound: Order(account, nonce, bound, **(fields | terms)))

    def cancel(self, trader: str, target_nonce: int) -> bytes:
        nonce = self.nonce(trader)
        return self._sealed(trader, lambda account, bound: Cancel(account, nonce, bound, target_nonce))


def traded(fee_account: bytes = HOUSE) -> Trading:
    """Height 1 fills a book. In height 2 Alice's first order has expired, Carol's bid is cancelled, and of Bob's 4
    lots, which may not meet his own 6, Carol's 5 and Alice's 3 sell 2.5 and 1.5."""
    log = Trading(house=house_that_takes_fees())
    log.audit.execution.fee_account = fee_account
    log.list_all(
        log.act("alice", SELL, 100, 10, time_in_force=GTD, expires_ms=START_MS + 150),
        log.act("bob", SELL, 101, 6),
        log.act("carol", SELL, 101, 5),
        log.act("alice", SELL, 101, 3),
        log.act("bob", BUY, 90, 1, kind=STOP_LIMIT, stop_ticks=150),
        log.act("carol", BUY, 95, 1),
    )
    log.block()
    log.reveal(1)
    log.list_all(log.cancel("carol", 2), log.act("bob", BUY, 101, 4, self_trade=CANCEL_MAKER))
    log.block(1_000)
    log.reveal(2)
    return log


def to_the_first(group: Any, lots: int, draw: Any) -> dict[bytes, int]:
    """All that can be given to one order after the other."""
    given = {}
    for order_id, own in group.items():
        given[order_id] = min(own, lots)
        lots -= given[order_id]
    return given


BENDS: dict[str, tuple[Any, str, Any]] = {
    "fees of maker and taker swapped": (
        trades,
        "fee_units",
        lambda market, units, maker: units * (2_500 if maker else 1_000) // 1_000_000,
    ),
    "a fee rounded up": (
        trades,
        "fee_units",
        lambda market, units, maker: -(-units * (1_000 if maker else 2_500) // 1_000_000),
    ),
    "another order filled": (clearing, "_pro_rata", to_the_first),
    "an expiry skipped": (Execution, "_expire", lambda self, run: None),
    "a cancel skipped": (cancels.Cancels, "_end", lambda self, account, nonce, code: "not_open"),
    "a trade with oneself": (auction, "prevent_self_trades", lambda resting, takers, draw: {}),
    "a stop triggered at its price's other side": (
        Execution,
        "_trigger",
        lambda self: [setattr(order, "status", 3) or self.state.put(order) for order in self.state.open.values()
                      if order.status == 2],
    ),
    "a nonce not used": (Account, "use_nonce", lambda self, nonce: None),
}  # fmt: skip


def test_a_log_that_keeps_the_rule_passes_and_its_numbers_are_those_by_hand(tmp_path: Path) -> None:
    log = traded()
    assert log.report(tmp_path).findings == ()
    accounts = log.audit.execution.state.accounts
    # 4 lots at 101 are 4,040 units: 10.1 from Bob as taker; from Carol and Alice 2.02 or 3.03 and 2.02 or 1.01
    traders = {name: signer.address for name, signer in log.house.traders.items()}
    assert accounts[HOUSE].free[QUOTE] == 10 + 2 + 2 or accounts[HOUSE].free[QUOTE] == 10 + 3 + 1
    assert accounts[traders["bob"]].rows() == [
        (BASE, 10**9 + 4_000, 0),
        (QUOTE, 10**12 - 4_050 - 903, 903),  # the stop's 900 and 2.25
    ]
    assert accounts[traders["carol"]].locked[QUOTE] == 0


@pytest.mark.parametrize("bend", BENDS)
def test_one_thing_executed_otherwise_is_found_at_its_height(
    bend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, name, bent = BENDS[bend]
    with monkeypatch.context() as patched:
        patched.setattr(place, name, bent)
        log = traded()
    [first, *others] = log.report(tmp_path).findings
    assert first.code == "result.state_root"
    assert first.height == (1 if bend in ("a nonce not used", "a stop triggered at its price's other side") else 2)
    assert {finding.code for finding in others} <= {"result.state_root", "result.certified"}


def test_fees_that_go_to_another_account_are_found(tmp_path: Path) -> None:
    log = traded(fee_account=secret("thief")[:20])
    [found] = log.report(tmp_path).findings
    assert (found.code, found.height) == ("result.state_root", 2)
