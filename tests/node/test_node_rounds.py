"""How often a member has a round: at once for what arrives alone, together for what arrives under load."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio

from mpc_sequencer.core.effects import ClientGone, Effect, Event
from mpc_sequencer.node.runner import BEHIND_WORK_S, ROUND_INTERVAL_LOADED_S, Runner

ARRIVALS = 40
EVERY_S = 0.003


class Core:
    """A core that counts: rounds by their flush, what each took in, chunks of work."""

    def __init__(self, *, loaded: bool) -> None:
        self.application = SimpleNamespace(loaded=lambda: loaded)
        self.board = SimpleNamespace(sequenced_saved=0, sequenced=0)
        self.chain = SimpleNamespace(final_height=0)
        self.committee = SimpleNamespace(joiners=[], epoch=0, n=4, starts=())
        self.node = 0
        self.over = False
        self.even = True
        self.taken: list[int] = []
        self.waits_s: list[float] = []
        self.chunks: list[float] = []
        self.chunks_left = 0
        self._now: list[float] = []

    def start(self, now_ms: int) -> list[Effect]:
        return []

    def step(self, event: Event, now_ms: int) -> list[Effect]:
        assert isinstance(event, ClientGone)
        self._now.append(event.client / 1e6)
        return []

    def has_work(self) -> bool:
        return self.chunks_left > 0

    def work(self, now_ms: int) -> list[Effect]:
        self.chunks_left -= 1
        time.sleep(0.001)
        self.chunks.append(time.perf_counter())
        return []

    def flush(self, now_ms: int) -> list[Effect]:
        if self._now:
            self.taken.append(len(self._now))
            self.waits_s += [time.perf_counter() - at_s for at_s in self._now]
            self._now = []
        return []

    def wake_at_ms(self) -> int:
        return time.time_ns() // 1_000_000 + 60_000


class Wire:
    """Nothing is written and nothing leaves."""

    def __getattr__(self, name: str) -> Any:
        return self


def run(core: Core, folder: Path, arrivals: int) -> None:
    runner = Runner(core, Wire(), Wire(), Wire(), None, folder)  # type: ignore[arg-type]

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(runner.run, [])
            await trio.testing.wait_all_tasks_blocked()
            for _ in range(arrivals):
                runner.inbox.put(runner.inbox.clients, ClientGone(int(time.perf_counter() * 1e6)))
                await trio.sleep(EVERY_S)
            while sum(core.taken) < arrivals or core.chunks_left:
                await trio.sleep(EVERY_S)
            nursery.cancel_scope.cancel()

    trio.run(main)


@pytest.mark.parametrize("loaded", [False, True])
def test_what_arrives_under_load_is_taken_together_and_soon(tmp_path: Path, loaded: bool) -> None:
    core = Core(loaded=loaded)
    began_s = time.perf_counter()
    run(core, tmp_path, ARRIVALS)
    took_s = time.perf_counter() - began_s
    assert sum(core.taken) == ARRIVALS
    if loaded:
        assert len(core.taken) <= took_s / ROUND_INTERVAL_LOADED_S + 2
    else:
        assert len(core.taken) > ARRIVALS / 2, "a lone message waits for nothing"
        assert sorted(core.waits_s)[ARRIVALS // 4] < ROUND_INTERVAL_LOADED_S / 2


@pytest.mark.parametrize(("loaded", "even"), [(False, True), (True, True), (False, False)])
def test_a_loaded_or_lagging_member_does_several_chunks_between_two_looks_at_its_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loaded: bool, even: bool
) -> None:
    core = Core(loaded=loaded)
    core.even = even
    core.chunks_left = 60
    rounds: list[int] = []
    flush = core.flush
    monkeypatch.setattr(core, "flush", lambda now_ms: rounds.append(len(core.chunks)) or flush(now_ms))
    run(core, tmp_path, 0)
    at_once = max(b - a for a, b in zip([0, *rounds], rounds, strict=False))
    if loaded or not even:
        assert 2 <= at_once <= BEHIND_WORK_S / 0.001 + 1
    else:
        assert at_once == 1
