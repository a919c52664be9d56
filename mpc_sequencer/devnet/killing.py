"""Killing members of a running devnet and starting them again, never more than f at once (but for power cuts).

A turn comes every ``every_s`` seconds: one random member is killed (SIGKILL) and started again ``down_s`` later. The
next turn waits until it is *back*: it answers, has a block that was not final before it was killed, is at most
BEHIND_HEIGHTS_MAX heights behind the others, and where its disk was removed it gives receipts again, under a new
incarnation. At a power cut all members are killed at
once and started again together. SIGKILL ends a process between two instructions, but the system still writes what the
process had handed to it: torn writes are the simulator's business (:mod:`mpc_sequencer.sim.host`), not this module's.

A *node* here is a folder's number; victims are members of the committee that the client knows when their turn comes.
"""

from __future__ import annotations

import math
import random
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final, Literal

import trio

from mpc_sequencer.client.errors import ClientError
from mpc_sequencer.client.queries import ask_status
from mpc_sequencer.client.sequencer import SequencerClient
from mpc_sequencer.core.messages import StatusReply
from mpc_sequencer.devnet.findings import Finding
from mpc_sequencer.devnet.layout import Devnet
from mpc_sequencer.devnet.processes import NodeProcesses, log_tail
from mpc_sequencer.devnet.seats import Seats

BEHIND_HEIGHTS_MAX: Final = 5
BACK_S_MAX: Final = 90.0
POLL_S: Final = 0.1
STATUS_S_MAX: Final = 2.0
RECENT_ORDERS: Final = 1_000

Kind = Literal["kill", "wipe", "power cut"]


@dataclass(frozen=True, slots=True)
class Turn:
    """A planned turn, ``at_s`` seconds after the load's start."""

    at_s: float
    kind: Kind


@dataclass(frozen=True, slots=True)
class Killed:
    """A turn that was done: seconds after the load's start, and from the restart until the members were back (None:
    they were not)."""

    kind: Kind
    nodes: tuple[int, ...]
    at_s: float
    back_s: float | None


def plan_turns(duration_s: float, every_s: float, wipe_every: int, power_cuts: int) -> list[Turn]:
    """A turn every ``every_s`` seconds (0: never) before the load's end; each ``wipe_every``-th (0: none) also removes
    the disk; ``power_cuts`` of them, spread evenly, take all members."""
    count = max(0, math.ceil(duration_s / every_s) - 1) if every_s else 0
    cuts = {round((number + 1) * (count + 1) / (power_cuts + 1)) for number in range(power_cuts)}
    turns = []
    kills = 0
    for number in range(1, count + 1):
        kind: Kind = "power cut" if number in cuts else "kill"
        if kind == "kill":
            kills += 1
            if wipe_every and kills % wipe_every == 0:
                kind = "wipe"
        turns.append(Turn(number * every_s, kind))
    return turns


class Killer:
    """Carries turns out. ``say`` gets a line per kill and recovery."""

    def __init__(
        self,
        devnet: Devnet,
        processes: NodeProcesses,
        client: SequencerClient,
        seats: Seats,
        *,
        down_s: float,
        seed: int,
        say: Callable[[str], None],
    ) -> None:
        self._devnet = devnet
        self._processes = processes
        self._client = client
        self._seats = seats
        self._down_s = down_s
        self._random = random.Random(f"{seed}/victims")
        self._say = say
        self._began_s = trio.current_time()
        self.wiped: set[int] = set()
        self.done: list[Killed] = []
        self.findings: list[Finding] = []
        self.trading = True
        """Whether new orders still come: without them no member gives receipts."""

    async def run(self, turns: Sequence[Turn], ends_s: float) -> None:
        """Do the turns, each at its time or as soon as the victims of the one before are back."""
        for turn in turns:
            await trio.sleep_until(self._began_s + turn.at_s)
            now_s = trio.current_time() - self._began_s
            if self.findings or now_s >= ends_s:
                return
            await self._turn(turn.kind, now_s)

    async def _turn(self, kind: Kind, now_s: float) -> None:
        everybody = sorted(self._seats.folders)
        unwiped = [node for node in everybody if node not in self.wiped]
        if kind == "wipe" and not unwiped:
            kind = "kill"
        victims = tuple(everybody)
        if kind != "power cut":
            victims = (self._random.choice(unwiped if kind == "wipe" else everybody),)
        heights = await self._heights(everybody)
        for node in self._processes.kill(victims):
            said = log_tail(self._devnet.node_folder(node) / "node.log")
            self.findings.append(Finding("node.ended", f"node {node} had ended by itself: {said}"))
        if kind == "wipe":
            self.wiped |= set(victims)
            shutil.rmtree(self._devnet.node_folder(victims[0]) / "data")
        await trio.sleep(self._down_s)
        for node in victims:
            self._processes.restart(node)
        restarted_s = trio.current_time()
        with trio.move_on_after(BACK_S_MAX) as scope:
            await self._back(victims, max(heights.values(), default=0), new_life=kind == "wipe")
        names = "all nodes" if kind == "power cut" else f"node {victims[0]}"
        back_s = None if scope.cancelled_caught else trio.current_time() - restarted_s
        self.done.append(Killed(kind, victims, now_s, back_s))
        if back_s is None:
            said = log_tail(self._devnet.node_folder(victims[0]) / "node.log")
            self.findings.append(Finding("node.lost", f"{names} did not come back in {BACK_S_MAX:g} s: {said}"))
        came = "not back" if back_s is None else f"back {back_s:.1f} s after its restart"
        self._say(f"{now_s:6.1f} s: {kind} of {names}, {came}")

    async def _back(self, victims: Sequence[int], height: int, *, new_life: bool) -> None:
        """Wait until the victims are back; ``height`` was final before they were killed."""
        missing, epoch = list(victims), self._client.committee.epoch
        while missing:
            heights = await self._heights([node for node in self._seats.folders if node not in victims])
            folders = self._seats.folders
            missing = [node for node in missing if node in folders]  # whoever left meanwhile is awaited no more
            asked = [folders.index(node) for node in missing]
            answers = await ask_status(self._seats.present(), asked, STATUS_S_MAX) if asked else {}
            highest = max([height, *heights.values()])
            missing = [folders[index] for index in asked if _behind(answers[index], height, highest)]
            if missing:
                await trio.sleep(POLL_S)
        while new_life and self.trading and not self._lives_anew(victims[0], epoch):
            await trio.sleep(POLL_S)

    def _lives_anew(self, node: int, epoch: int) -> bool:
        """Whether the member gave a receipt under a new incarnation for one of the latest orders, having
        lost its disk in ``epoch``."""
        latest = islice(reversed(self._client.tracker.orders.values()), RECENT_ORDERS)
        place = self._seats.place(node)
        held = [one.receipts[place] for one in latest if place is not None and place in one.receipts]
        # incarnations are an epoch's own: any receipt of a later epoch is of the new life
        return place is None or any(one.epoch > epoch or (one.epoch == epoch and one.incarnation > 0) for one in held)

    async def _heights(self, nodes: Iterable[int]) -> dict[int, int]:
        """Final heights of the members that the client reaches now."""
        found: dict[int, int] = {}

        async def ask(node: int) -> None:
            place = self._seats.place(node)
            try:
                if place is not None:
                    found[node] = (await self._client.status(place, STATUS_S_MAX)).height_final
            except ClientError:
                return  # its link is not up again yet

        async with trio.open_nursery() as nursery:
            for node in nodes:
                nursery.start_soon(ask, node)
        return found


def _behind(answer: StatusReply | str, before: int, highest: int) -> bool:
    """Whether a member is still to come back; ``before`` was final when it was killed. (A committee that waits for a
    list only this member holds looks as if nobody were behind.)"""
    if isinstance(answer, str):
        return True
    return answer.height_final <= before or answer.height_final + BEHIND_HEIGHTS_MAX < highest
