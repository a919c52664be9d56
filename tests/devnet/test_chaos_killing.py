"""When members are killed, and on which ports they come back."""

from __future__ import annotations

import pytest

from mpc_sequencer.core.messages import StatusReply
from mpc_sequencer.devnet import processes
from mpc_sequencer.devnet.killing import BEHIND_HEIGHTS_MAX, Turn, _behind, plan_turns


def test_a_turn_comes_at_every_interval_before_the_end() -> None:
    assert plan_turns(15, 5, 0, 0) == [Turn(5, "kill"), Turn(10, "kill")]
    assert len(plan_turns(180, 5, 0, 0)) == 35
    assert plan_turns(4, 5, 0, 0) == []
    assert [turn.at_s for turn in plan_turns(10, 3, 0, 0)] == [3, 6, 9]


def test_every_k_th_kill_is_a_wipe_and_power_cuts_are_spread() -> None:
    kinds = [turn.kind for turn in plan_turns(50, 5, 3, 1)]
    assert kinds == ["kill", "kill", "wipe", "kill", "power cut", "kill", "wipe", "kill", "kill"]
    assert [turn.kind for turn in plan_turns(50, 5, 0, 9)] == ["power cut"] * 9
    assert [turn.kind for turn in plan_turns(180, 5, 0, 2)].count("power cut") == 2


def test_a_node_that_is_down_keeps_its_port(monkeypatch: pytest.MonkeyPatch) -> None:
    low, high = processes._outgoing_ports()
    ports = processes.steady_ports(8)
    assert len(set(ports)) == 8 and not any(low <= port <= high for port in ports)
    monkeypatch.setattr(processes, "_outgoing_ports", lambda: (processes.STEADY_PORT_MIN, 65_534))
    assert processes.steady_ports(1) == [65_535]


def status(height_final: int) -> StatusReply:
    return StatusReply(1, 0, 0, 1, height_final, *[0] * 9, (), (), 0, 0, (), "given", 0, 0, 0, None)


@pytest.mark.parametrize(
    ("answer", "behind"),
    [("nobody listens", True), (10, True), (11, False), (11 - BEHIND_HEIGHTS_MAX, True)],
)
def test_a_member_is_back_with_a_new_block_and_close_to_the_others(answer: int | str, behind: bool) -> None:
    said = answer if isinstance(answer, str) else status(answer)
    assert _behind(said, before=10, highest=11) is behind
    assert _behind(status(20), before=10, highest=20 + BEHIND_HEIGHTS_MAX) is False
    assert _behind(status(20), before=10, highest=21 + BEHIND_HEIGHTS_MAX) is True
