"""``mpcseq committee propose`` and ``rotate``: a next committee is put together, checked, and handed to nodes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from mpc_sequencer.cli.options import COMMITTEE_DEFAULT, AsJson, CommitteePath, TimeoutS, output_exists, read_committee
from mpc_sequencer.cli.output import console, print_fields, print_json

if TYPE_CHECKING:
    from mpc_sequencer.core.committee import Committee
    from mpc_sequencer.core.types import NextCommittee, NextMember

REHEARSAL_S_MAX: Final = 300.0


def propose(
    members: Annotated[
        Path | None,
        typer.Option("--members", help="A proposal to start from, instead of the present committee."),
    ] = None,
    add: Annotated[
        list[Path] | None,
        typer.Option("--add", help="The file of who is to join (`mpcseq key identity`). May be given several times."),
    ] = None,
    remove: Annotated[
        list[int] | None,
        typer.Option("--remove", help="A present member's number that is to leave. May be given several times."),
    ] = None,
    threshold: Annotated[
        int | None, typer.Option("--threshold", min=1, help="Shares that open an order. Default: n - f of the new one.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Write the proposal to this file.")] = None,
    node_folder: Annotated[
        list[Path] | None,
        typer.Option("--node-folder", help="Put it into this node's folder: the node approves it. May be repeated."),
    ] = None,
    committee: CommitteePath = COMMITTEE_DEFAULT,
    offline: Annotated[
        bool, typer.Option("--offline", help="Take the committee file for the present committee; ask no member.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite --out.")] = False,
    timeout: TimeoutS = 5.0,
    as_json: AsJson = False,
) -> None:
    """Put together who is to follow the present committee, check it, and hand it to nodes.

    It counts once q members' operators have put the very same into their nodes' folders.
    """
    from mpc_sequencer.core.errors import ConfigError
    from mpc_sequencer.node.next_committee import load_member, load_next, next_committee, save_next

    if out is not None:
        output_exists(out, force)
    for folder in node_folder or ():
        if not folder.is_dir():
            raise ConfigError(f"{folder} is not a folder", "give a node's folder, which holds node.json")
    present, present_members = _present(committee, timeout, offline)
    base = None if members is None else load_next(members)
    start = present_members if base is None else base.members
    chosen = _without(present_members, start, remove or ()) + tuple(load_member(path) for path in add or ())
    target = next_committee(_threshold(present, len(chosen), threshold, base), _distinct(chosen))
    check(present, target)
    for path in (*(node_folder or ()), *(() if out is None else (out,))):
        save_next(path, target)
    _show(present, target, [*(node_folder or ()), *(() if out is None else (out,))], as_json)


def _present(committee: Path, timeout_s: float, offline: bool) -> tuple[Committee, tuple[NextMember, ...]]:
    """The committee that the proposal is to follow, and its members as a proposal names them."""
    from mpc_sequencer.cli.committee import present_committee
    from mpc_sequencer.client.errors import NotConnected
    from mpc_sequencer.node.next_committee import members_of

    file = read_committee(committee)
    if offline:
        return file.committee, members_of(file)
    view = present_committee(file, timeout_s)
    if all(isinstance(answer, str) for answer in view.answers.values()):
        hint = "start the nodes; or give --offline where the committee file names the present committee"
        raise NotConnected("no member answered, so the present committee is not known", hint)
    return view.committee, view.members


def _without(
    present: Sequence[NextMember], start: Sequence[NextMember], leaving: Sequence[int]
) -> tuple[NextMember, ...]:
    from mpc_sequencer.core.errors import ConfigError

    for index in leaving:
        if not 0 <= index < len(present):
            raise ConfigError(f"--remove {index} is no present member", f"use 0 .. {len(present) - 1}")
    keys = {present[index].consensus_key for index in leaving}
    return tuple(member for member in start if member.consensus_key not in keys)


def _distinct(members: Sequence[NextMember]) -> Sequence[NextMember]:
    """Refuse what two members must not share; the rule itself names only that an order is broken."""
    from mpc_sequencer.core.errors import ConfigError

    for field, name in (("consensus_key", "consensus key"), ("log_key", "log key"), ("endpoint", "endpoint")):
        values = [getattr(member, field) for member in members]
        twice = next((value for value in values if values.count(value) > 1), None)
        if twice is not None:
            shown = twice if isinstance(twice, str) else "0x" + twice.hex()
            raise ConfigError(f"two members have the {name} {shown}", "give every member its own, and each one once")
    return members


def _threshold(present: Committee, members: int, given: int | None, base: NextCommittee | None) -> int:
    from mpc_sequencer.core.committee import faults_tolerated

    if given is not None:
        return given
    if base is not None and len(base.members) == members:
        return base.threshold
    return max(1, members - faults_tolerated(members, present.genesis.markets))


def check(present: Committee, target: NextCommittee) -> None:
    """Refuse a committee that may not follow. Raises :class:`ConfigError`."""
    from mpc_sequencer.core.committee import faults_tolerated
    from mpc_sequencer.core.errors import ConfigError, ProtocolError
    from mpc_sequencer.core.rotation import check_next

    n = len(target.members)
    f = faults_tolerated(n, present.genesis.markets)
    try:
        check_next(present, target)
    except ProtocolError as refusal:
        if refusal.field == "NextCommittee.threshold":
            cause = f"a decryption threshold of {target.threshold} is unsafe with {n} members"
            raise ConfigError(cause, f"use --threshold between f+1 = {f + 1} and n-f = {n - f}") from None
        if refusal.field == "NextCommittee.members":
            cause = f"a committee of {n} members is unsafe: it would be {refusal.seen}, expected {refusal.expected}"
            raise ConfigError(cause, "propose more members, so that one may fail, and no more than 40") from None
        cause = f"this committee may not follow: {refusal.field} is {refusal.seen}, expected {refusal.expected}"
        raise ConfigError(cause, "correct the member's file, and propose again") from None


def _show(present: Committee, target: NextCommittee, written: Sequence[Path], as_json: bool) -> None:
    from mpc_sequencer.core import rotation, signing

    old = {member.consensus_key for member in present.genesis.members}
    new = {member.consensus_key for member in target.members}
    fields: dict[str, Any] = {
        "committee_hash": target.committee_hash().hex(),
        "after_epoch": present.epoch,
        "members": len(target.members),
        "threshold": target.threshold,
        "joining": ["0x" + signing.address_of(key).hex() for key in sorted(new - old)],
        "leaving": ["0x" + signing.address_of(key).hex() for key in sorted(old - new)],
        "calls_off": rotation.is_same(present, target),
        "approvals_needed": present.q,
        "files": [str(path) for path in written],
    }
    if as_json:
        print_json(fields)
        return
    rows = [(name, " ".join(value) if isinstance(value, list) else value) for name, value in fields.items()]
    print_fields(console(), rows, "the committee as it is: calls a proposal off" if fields["calls_off"] else "proposal")


def rotate(
    to: Annotated[int, typer.Option("--to", help="Members of the next committee.")],
    devnet: Annotated[Path, typer.Option("--devnet", help="The folder of a devnet that `mpcseq devnet up` runs.")],
    threshold: Annotated[
        int | None, typer.Option("--threshold", min=1, help="Shares that open an order. Default: n - f of the new one.")
    ] = None,
    timeout: Annotated[float, typer.Option("--timeout", min=1.0, max=3600.0)] = REHEARSAL_S_MAX,
    as_json: AsJson = False,
) -> None:
    """Rehearse a rotation on a running devnet: new nodes join, or members leave, until --to are the committee."""
    import trio

    from mpc_sequencer.cli.rehearsing import Rehearsal
    from mpc_sequencer.devnet.layout import open_devnet

    rehearsal = Rehearsal(open_devnet(devnet), to, threshold, console(stderr=as_json))
    result = trio.run(rehearsal.run, timeout)
    if as_json:
        print_json(result)
    else:
        print_fields(console(), list(result.items()), "the next epoch has begun")
