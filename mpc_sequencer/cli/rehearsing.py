"""``mpcseq committee rotate``: a whole rotation on a devnet of this machine, by one command.

The command writes folders of new nodes and asks the running ``mpcseq devnet up`` for them (a file START_NAME in a
folder), so that they live as long as the other nodes; ``devnet up`` calls :func:`start_wanted`. Then it puts one
proposal into the folders of all present members, as their operators would, and watches the members go over.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import trio

from mpc_sequencer.cli.committee import rotation_fields
from mpc_sequencer.cli.proposing import check
from mpc_sequencer.client.queries import CommitteeView, ask_committee
from mpc_sequencer.core import limits
from mpc_sequencer.core.committee import Committee, faults_tolerated
from mpc_sequencer.core.errors import ConfigError
from mpc_sequencer.core.types import NextCommittee, NextMember
from mpc_sequencer.demo.screen import Screen, Step
from mpc_sequencer.devnet import layout
from mpc_sequencer.devnet.layout import Devnet
from mpc_sequencer.devnet.processes import NodeProcess, NodeProcesses, log_tail, steady_ports
from mpc_sequencer.node.config import parse_endpoint
from mpc_sequencer.node.keystore import read_header
from mpc_sequencer.node.next_committee import next_committee, save_next

if TYPE_CHECKING:
    from rich.console import Console

START_NAME: Final = "start"
POLL_S: Final = 0.5
ASK_S: Final = 5.0


def node_folders(devnet: Devnet) -> list[Path]:
    """The folders of all nodes that were ever written, by number."""
    folders: list[Path] = []
    while (folder := devnet.node_folder(len(folders))).is_dir():
        folders.append(folder)
    return folders


def want_started(folder: Path) -> None:
    """Ask the running devnet for the node of a folder, which is complete."""
    (folder / START_NAME).touch()


def start_wanted(devnet: Devnet, processes: NodeProcesses) -> list[int]:
    """Start the nodes that were asked for since; their numbers. Folders of earlier runs that nobody asks for stay as
    they are."""
    started = []
    for number, folder in enumerate(node_folders(devnet)):
        if (folder / START_NAME).exists():
            processes.nodes.append(NodeProcess(devnet, number))
            (folder / START_NAME).unlink()
            started.append(number)
    return started


def next_members(present: Sequence[NextMember], to: int, joiners: Sequence[NextMember]) -> list[NextMember]:
    """The present members with ``joiners``, or as many of them as ``to``: the last ones leave."""
    return [*present, *joiners] if joiners else list(present[:to])


class Rehearsal:
    """One rotation of ``devnet`` to a committee of ``to`` members. Raises :class:`ConfigError` for unsafe sizes."""

    def __init__(self, devnet: Devnet, to: int, threshold: int | None, terminal: Console) -> None:
        self._devnet, self._to = devnet, to
        f = faults_tolerated(to, devnet.file.genesis.markets)
        if not limits.COMMITTEE_MEMBERS_MIN <= to <= limits.COMMITTEE_MEMBERS_MAX or not f:
            sizes = f"{limits.COMMITTEE_MEMBERS_MIN} .. {limits.COMMITTEE_MEMBERS_MAX}"
            hint = f"use --to {sizes}, and so many that one may fail"
            raise ConfigError(f"a committee of {to} members is unsafe", hint)
        self._threshold = to - f if threshold is None else threshold
        if not f + 1 <= self._threshold <= to - f:
            cause = f"a decryption threshold of {self._threshold} is unsafe with {to} members"
            raise ConfigError(cause, f"use --threshold between f+1 = {f + 1} and n-f = {to - f}")
        self._screen = Screen(terminal)
        self._began_s = time.monotonic()

    async def run(self, timeout_s: float) -> dict[str, Any]:
        """Rotate; the next epoch as JSON values. Raises :class:`ConfigError` where ``timeout_s`` does not suffice."""
        with trio.move_on_after(timeout_s):
            return await self._run()
        hint = "look at `mpcseq committee status` and the nodes' node.log; the rotation may go on by itself"
        raise ConfigError(f"the rotation was not over within {timeout_s:g} s", hint)

    async def _run(self) -> dict[str, Any]:
        view = await self._view()
        folders = self._folders_of(view)
        joiners = await self._new_nodes(self._to - view.committee.n)
        target = next_committee(self._threshold, next_members(view.members, self._to, joiners))
        check(view.committee, target)
        for folder in folders:
            save_next(folder, target)
        await self._approved(view.committee, target)
        committee = await self._begun(view.committee)
        return {
            "epoch": committee.epoch,
            "members": committee.n,
            "threshold": committee.t,
            "committee_hash": target.committee_hash().hex(),
            "last_block_of_the_epoch_before": committee.anchor_height,
            "seconds": round(time.monotonic() - self._began_s, 1),
        }

    async def _view(self) -> CommitteeView:
        return await ask_committee(self._devnet.file, range, ASK_S)

    def _folders_of(self, view: CommitteeView) -> list[Path]:
        """The present members' folders. Raises :class:`ConfigError` where the devnet does not run, or is as wanted."""
        if all(isinstance(answer, str) for answer in view.answers.values()):
            hint = f"run it with `mpcseq devnet up {self._devnet.folder}`"
            raise ConfigError(f"no member of the devnet answers: {view.answers[0]}", hint)
        if view.committee.n == self._to:
            raise ConfigError(f"the committee has {self._to} members already", "choose another --to")
        keys = {read_header(one / "keystore.json").consensus_key: one for one in node_folders(self._devnet)}
        missing = [one for one in view.members if one.consensus_key not in keys]
        if missing:
            cause = f"{self._devnet.folder} has no folder of the member at {missing[0].endpoint}"
            raise ConfigError(cause, "give the folder that `mpcseq devnet up` runs")
        return [keys[one.consensus_key] for one in view.members]

    async def _new_nodes(self, count: int) -> list[NextMember]:
        """Write and start ``count`` new nodes; none where members leave."""
        if count <= 0:
            return []
        first = len(node_folders(self._devnet))
        with self._screen.step(f"{count} new nodes start", total=count) as step:
            made: list[NextMember] = layout.add_joiners(self._devnet, count, steady_ports(count))
            for number in range(first, first + count):
                want_started(self._devnet.node_folder(number))
            for done, member in enumerate(made, 1):
                await self._listens(member, self._devnet.node_folder(first + done - 1))
                step.advance(done)
        return made

    async def _listens(self, member: NextMember, folder: Path) -> None:
        host, port = parse_endpoint(member.endpoint, "endpoint")
        while True:
            with trio.move_on_after(ASK_S):
                try:
                    stream = await trio.open_tcp_stream(host, port)
                    await stream.aclose()
                    return
                except OSError:
                    await trio.sleep(POLL_S)
            said = log_tail(folder / "node.log")
            if not (folder / START_NAME).exists() and not (folder / "pid").exists() and said:
                raise ConfigError(f"the node of {folder} ended: {said}", f"read {folder / 'node.log'}")

    async def _approved(self, before: Committee, target: NextCommittee) -> None:
        with self._screen.step("members approve", total=before.q) as step:
            while True:
                view = await self._view()
                fields = rotation_fields(view)
                if view.committee.epoch > before.epoch:
                    return
                if fields is not None and fields["committee_hash"] == target.committee_hash().hex():
                    step.advance(min(fields["approvals"], before.q))
                    step.note = f"{fields['approvals']} of {before.n}"
                    if fields["agreed"]:
                        return
                await trio.sleep(POLL_S)

    async def _begun(self, before: Committee) -> Committee:
        """Wait until a quorum of the next committee's members answers in the next epoch."""
        with self._screen.step("the key is shared among the next committee") as step:
            told = ""
            while (view := await self._view()).committee.epoch == before.epoch:
                told = _say_phase(step, view, told)
                await trio.sleep(POLL_S)
        q = view.committee.q
        with self._screen.step(f"epoch {view.committee.epoch} begins", total=q) as step:
            while True:
                over = [
                    answer
                    for answer in view.answers.values()
                    if not isinstance(answer, str) and answer.status.epoch >= view.committee.epoch
                ]
                step.advance(min(len(over), q))
                step.note = f"{len(over)} of {view.committee.n} members answer in it"
                if len(over) >= q:
                    return view.committee
                await trio.sleep(POLL_S)
                view = await self._view()


def _say_phase(step: Step, view: CommitteeView, told: str) -> str:
    """Say what the key session waits for, where that is news."""
    fields = rotation_fields(view)
    phase = "" if fields is None or fields["phase"] is None else str(fields["phase"])
    if phase and phase != told:
        step.say(phase)
    return phase or told
