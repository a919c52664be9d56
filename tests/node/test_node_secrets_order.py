"""What the runner does with secrets of key sessions: kept before anything leaves, erased after everything else, and a
vault that fails stops the member."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
from core_kit import make_vote

from mpc_sequencer.core.effects import Broadcast, EraseSecret, KeepSecret, Persist, RetireSecret, VoteRecord
from mpc_sequencer.core.messages import VoteMessage
from mpc_sequencer.core.node import NodeCore
from mpc_sequencer.core.types import NULLIFY, ZERO_HASH
from mpc_sequencer.node.runner import DiskFailed, Runner
from mpc_sequencer.sim import make_deployment

D = make_deployment(4)


class Diary:
    """Vault, journal, and wire in one, which writes down what is done in which order."""

    def __init__(self, failing: str = "") -> None:
        self.done: list[str] = []
        self.failing = failing
        self.peers = self.journal = self.log = self

    def _note(self, what: str) -> None:
        if what == self.failing:
            raise OSError(28, "No space left on device")
        self.done.append(what)

    def put(self, name: str, secret: bytes) -> None:
        self._note(f"put {name}")

    def erase(self, name: str) -> None:
        self._note(f"erase {name}")

    def append_many(self, records: Any) -> None:
        self._note("write")

    def sync(self) -> None:
        self._note("sync")

    def broadcast(self, data: bytes) -> None:
        self._note("send")


@pytest.fixture
def effects() -> Iterator[list[Any]]:
    vote = make_vote(D, 1, NULLIFY, 9, ZERO_HASH)
    yield [
        EraseSecret("session-1"),
        Broadcast(VoteMessage(vote)),
        Persist(VoteRecord(vote)),
        KeepSecret("session-2", bytes(32)),
    ]


def runner_of(diary: Diary, folder: Path) -> Runner:
    core = NodeCore(D.committee, 0, D.signers[0], None, D.inputs, entropy=bytes(32))
    return Runner(core, diary, diary, diary, None, folder)  # type: ignore[arg-type]


def test_secrets_are_kept_before_anything_leaves_and_erased_after(
    effects: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mpc_sequencer.node.runner.Snapshots", lambda core, storage: None)
    diary = Diary()
    trio.run(runner_of(diary, tmp_path)._carry_out, effects)
    assert sorted(diary.done[:3]) == ["put session-2", "sync", "write"]
    assert diary.done[3:] in (["send", "erase session-1"], ["erase session-1", "send"])
    assert diary.done.index("erase session-1") > diary.done.index("sync")


@pytest.mark.parametrize("failing", ["put session-2", "erase session-1"])
def test_a_vault_that_fails_stops_the_member(
    effects: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    monkeypatch.setattr("mpc_sequencer.node.runner.Snapshots", lambda core, storage: None)
    diary = Diary(failing)
    with pytest.raises(DiskFailed, match="No space"):
        trio.run(runner_of(diary, tmp_path)._carry_out, effects)
    assert failing != "put session-2" or "send" not in diary.done


def test_a_retired_secret_goes_with_the_first_checkpoint_that_was_begun_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mpc_sequencer.node.runner.CHECKPOINT_INTERVAL_S", 0.01)
    monkeypatch.setattr("mpc_sequencer.node.runner.Snapshots", lambda core, storage: Never())

    class Never:
        def due(self, now_ms: int) -> bool:
            return False

    class Log(Diary):
        def prepare_checkpoint(self) -> Log:
            return self

        def run(self, *, sync: bool) -> None:
            """A round ends while the disk is at work."""
            self._note(f"checkpoint {sync}")
            if self.done.count("checkpoint True") == 1:
                trio.from_thread.run(retire, "share-1")

    async def retire(name: str) -> None:
        await runner._carry_out([RetireSecret(name)])

    async def rounds() -> None:
        await retire("share-0")
        runner.between_rounds = True
        with trio.move_on_after(5) as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(runner.checkpoints)
                while len(diary.done) < 4:
                    await trio.sleep(0.001)
                nursery.cancel_scope.cancel()
        assert not scope.cancelled_caught

    diary = Log()
    runner = runner_of(diary, tmp_path)
    trio.run(rounds)
    assert diary.done[:4] == ["checkpoint True", "erase share-0", "checkpoint True", "erase share-1"]
    trio.run(retire, "share-2")
    assert "erase share-2" not in diary.done
    runner.erase_retired()
    assert diary.done[-1] == "erase share-2"


def test_a_secret_shows_in_no_effect() -> None:
    assert "77" * 32 not in repr(KeepSecret("share-0", b"\x77" * 32))
    assert repr(b"\x77" * 32) not in repr(KeepSecret("share-0", b"\x77" * 32))
