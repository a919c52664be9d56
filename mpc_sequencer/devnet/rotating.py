"""A committee is replaced while it trades: new nodes are written and started, every present member approves, and the
client follows into the next epoch. Nothing waits for it but the finding that it was not over in time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import trio

from mpc_sequencer.client.queries import ask_status
from mpc_sequencer.client.sequencer import SequencerClient
from mpc_sequencer.core.committee import faults_tolerated
from mpc_sequencer.core.errors import ConfigError
from mpc_sequencer.core.limits import COMMITTEE_MEMBERS_MAX, COMMITTEE_MEMBERS_MIN
from mpc_sequencer.demo.screen import Screen
from mpc_sequencer.devnet import layout
from mpc_sequencer.devnet.findings import Finding
from mpc_sequencer.devnet.layout import BTCUSDT, Devnet
from mpc_sequencer.devnet.processes import NodeProcesses, steady_ports
from mpc_sequencer.devnet.seats import Seats
from mpc_sequencer.node.config import parse_endpoint

ROTATED_S_MAX: Final = 180.0
"""Several phases that wait for a member that is down, on a busy machine."""
POLL_S: Final = 0.25
STATUS_S_MAX: Final = 2.0


@dataclass(frozen=True, slots=True)
class Rotated:
    """A rotation that is over: seconds after the load's start, and until a quorum of the next committee answered in
    its epoch."""

    to: int
    at_s: float
    seconds: float
    epoch: int
    anchor_height: int
    """The last block of the epoch before."""
    leavers: tuple[int, ...]
    """Folders of members that have no place in it."""

    def as_json(self, executed_heights: list[int]) -> dict[str, Any]:
        """What `--json` prints; ``executed_heights`` are the heights that executed the client's orders."""
        return {
            "to": self.to,
            "at_s": round(self.at_s, 1),
            "seconds": round(self.seconds, 1),
            "epoch": self.epoch,
            "last_block_of_the_epoch_before": self.anchor_height,
            "orders_executed_since": sum(height > self.anchor_height for height in executed_heights),
        }


def check_rotation(nodes: int, to: int | None, at_s: float | None, duration_s: float) -> None:
    """Refuse a rotation that cannot be. Raises :class:`ConfigError`; nothing was written."""
    if to is None:
        if at_s is not None:
            raise ConfigError("--rotate-at is the time of a rotation that nobody asked for", "give --rotate-to too")
        return
    sizes = range(COMMITTEE_MEMBERS_MIN, COMMITTEE_MEMBERS_MAX + 1)
    if to not in sizes or not faults_tolerated(to, (BTCUSDT,)):
        raise ConfigError(f"a committee of {to} members is unsafe", f"use {sizes[0]} .. {sizes[-1]} for --rotate-to")
    if to == nodes:
        raise ConfigError(f"the committee has {nodes} members already", "choose another --rotate-to")
    if at_s is not None and not 0 <= at_s < duration_s:
        raise ConfigError(f"{at_s:g} s is not before the load's end", f"use less than {duration_s:g} for --rotate-at")


class Rotator:
    """Replaces the committee of a devnet once."""

    def __init__(
        self, devnet: Devnet, processes: NodeProcesses, client: SequencerClient, seats: Seats, screen: Screen
    ) -> None:
        self._devnet, self._processes = devnet, processes
        self._client, self._seats, self._screen = client, seats, screen
        self._began_s = trio.current_time()
        self.done: Rotated | None = None
        self.findings: list[Finding] = []

    async def run(self, to: int, at_s: float) -> None:
        """Wait until ``at_s`` and replace the committee by one of ``to`` members: new ones join, or the last leave."""
        await trio.sleep_until(self._began_s + at_s)
        before = self._client.committee
        with trio.move_on_after(ROTATED_S_MAX):
            await self._propose(to)
            while self._client.committee.epoch == before.epoch:
                await trio.sleep(POLL_S)
            await self._answered()
            committee = self._client.committee
            members = self._seats.folders
            leavers = tuple(node for node in range(before.n) if node not in members)
            seconds = trio.current_time() - self._began_s - at_s
            self.done = Rotated(to, at_s, seconds, committee.epoch, committee.anchor_height, leavers)
            words = f"epoch {committee.epoch} began after block {committee.anchor_height}"
            self._screen.say(f"{at_s:6.1f} s: rotation to {to} members, {seconds:.1f} s later {words}")
            return
        self.findings.append(Finding("rotation.late", f"no committee of {to} members within {ROTATED_S_MAX:g} s"))

    async def _propose(self, to: int) -> None:
        """Approve for all present members once the new nodes listen, as their operators would."""
        present = layout.nodes_of(self._devnet)
        count = max(0, to - len(present))
        if count:
            joiners = await trio.to_thread.run_sync(layout.add_joiners, self._devnet, count, steady_ports(count))
            self._seats.seat_joiners()
            self._processes.join(range(len(present), len(present) + count))
            for member in joiners:
                await _listens(*parse_endpoint(member.endpoint, "endpoint"))
        layout.propose_committee(self._devnet, range(to), approving=present)

    async def _answered(self) -> None:
        """Wait until a quorum of the new committee's members answers in its epoch."""
        committee = self._client.committee
        while True:
            answers = await ask_status(self._seats.present(), range(committee.n), STATUS_S_MAX)
            over = [one for one in answers.values() if not isinstance(one, str) and one.epoch >= committee.epoch]
            if len(over) >= committee.q:
                return
            await trio.sleep(POLL_S)


async def _listens(host: str, port: int) -> None:
    while True:
        try:
            await (await trio.open_tcp_stream(host, port)).aclose()
            return
        except OSError:
            await trio.sleep(POLL_S)
