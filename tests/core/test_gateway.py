"""Submissions wait in bounded queues, are taken in turn, and answered whole."""

from __future__ import annotations

import pytest

from mpc_sequencer.core import gateway
from mpc_sequencer.core.effects import Reply
from mpc_sequencer.core.gateway import Gateway
from mpc_sequencer.core.messages import Submit, SubmitReply
from mpc_sequencer.core.types import Envelope, Receipt


def envelope(number: int) -> Envelope:
    return Envelope(1, number.to_bytes(101, "big"), b"\x01", bytes(65))


def make() -> tuple[Gateway, list[bytes]]:
    judged: list[bytes] = []

    def admit(_envelope: Envelope, order_id: bytes) -> tuple[Receipt | None, str]:
        judged.append(order_id)
        return None, ""

    return Gateway(admit), judged


def answers(gate: Gateway) -> list[SubmitReply]:
    return [one.message for one in gate.effects if isinstance(one, Reply) and isinstance(one.message, SubmitReply)]


def test_a_client_that_queues_too_much_is_refused_whole_and_keeps_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway, "QUEUED_ORDERS_PER_CLIENT_MAX", 3)
    gate, judged = make()
    gate.submit(1, Submit(1, (envelope(1), envelope(2)), False))
    gate.submit(1, Submit(2, (envelope(3), envelope(4)), False))
    gate.submit(2, Submit(3, (envelope(5),), False))
    refused = answers(gate)
    assert [(one.request, [r.code for r in one.results]) for one in refused] == [(2, ["intake.full"] * 2)]
    assert envelope(3).order_id() not in gate
    while gate.has_work():
        gate.work()
    assert judged == [one.order_id() for one in (envelope(1), envelope(2), envelope(5))]
    assert sorted(one.request for one in answers(gate)) == [1, 2, 3]


def test_a_queued_order_is_known_until_it_is_judged_or_its_client_leaves() -> None:
    gate, _ = make()
    gate.submit(1, Submit(1, (envelope(1),), False))
    gate.submit(2, Submit(2, (envelope(1), envelope(2)), False))
    assert envelope(1).order_id() in gate
    gate.gone(1)
    assert envelope(1).order_id() in gate, "the other client still brings it"
    gate.work()
    assert envelope(1).order_id() not in gate
    assert envelope(2).order_id() not in gate


def test_clients_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway, "ORDERS_PER_TURN", 2)
    gate, judged = make()
    gate.submit(1, Submit(1, tuple(envelope(n) for n in range(1, 6)), False))
    gate.submit(2, Submit(2, (envelope(9),), False))
    gate.work()
    gate.work()
    assert judged[2] == envelope(9).order_id(), "a long submission does not hold up a short one"
