"""``mpcseq committee``."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from mpc_sequencer.cli import proposing
from mpc_sequencer.cli.errors import EXIT_FAULT_FOUND
from mpc_sequencer.cli.options import (
    COMMITTEE_DEFAULT,
    AsJson,
    CommitteePath,
    TimeoutS,
    output_exists,
    parse_nodes,
    read_committee,
)
from mpc_sequencer.cli.output import console, print_fields, print_json, table
from mpc_sequencer.core.limits import COMMITTEE_MEMBERS_MAX

if TYPE_CHECKING:
    from rich.table import Table

    from mpc_sequencer.client.committee_key import CommitteeKey
    from mpc_sequencer.client.errors import MemberFault
    from mpc_sequencer.client.queries import CommitteeView, KeyState
    from mpc_sequencer.core.committee import Committee
    from mpc_sequencer.node.config import CommitteeFile

app = typer.Typer(no_args_is_help=True)
app.command("propose")(proposing.propose)
app.command("rotate")(proposing.rotate)
KEY_ID_DIGITS_SHOWN: Final = 8
TIME_MS_MAX: Final = 253_402_300_799_999
"""The end of the year 9999, after which a time has no date."""
Nodes = Annotated[str | None, typer.Option(help="Members to ask, such as 0,2. Default: all.")]


@app.callback()
def _group() -> None:
    """The present committee, the threshold key that orders are sealed to, and who is to follow."""


# --- key ----------------------------------------------------------------------------------------------------
@app.command("key")
def key(
    out: Annotated[
        Path | None, typer.Option(help="Write the key file that `mpcseq order seal` takes. It holds no secret.")
    ] = None,
    committee: CommitteePath = COMMITTEE_DEFAULT,
    nodes: Nodes = None,
    timeout: TimeoutS = 120.0,
    force: Annotated[bool, typer.Option("--force", help="Overwrite --out.")] = False,
    as_json: AsJson = False,
) -> None:
    """Fetch the threshold key from the members and verify that q of them signed it.

    Waits while its generation goes on. It does not matter which member answers: one that sends a certificate that
    does not hold is named, and the others are asked.
    """
    import trio

    from mpc_sequencer.client.committee_key import save_epoch_key, save_key
    from mpc_sequencer.core.errors import ConfigError

    file = read_committee(committee)
    chosen = parse_nodes(nodes, file.committee.n)
    if out is not None:
        output_exists(out, force)
        if file.committee.keys is not None:
            raise ConfigError("the committee file has the threshold key itself", "leave out --out: none is needed")
    found, faults, proven = trio.run(_fetch, file, chosen, timeout, as_json)
    if out is not None and proven.starts:
        save_epoch_key(out, proven)
    elif out is not None and found.certificate is not None:
        save_key(out, file.committee, found.certificate)
    shown = key_fields(found) | {"faults": [fault.cause for fault in faults], "file": None if out is None else str(out)}
    if as_json:
        print_json(shown)
        return
    for cause in shown.pop("faults"):
        console().print(cause, markup=False, soft_wrap=True)
    print_fields(console(), [(name, _plain(value)) for name, value in shown.items() if value not in (None, [])])


async def _fetch(
    file: CommitteeFile, nodes: list[int], timeout_s: float, quiet: bool
) -> tuple[CommitteeKey, list[MemberFault], Committee]:
    """The key, members at fault, and the newest committee that is proven."""
    from mpc_sequencer.client.keysearch import follow_key
    from mpc_sequencer.client.link import connector_to
    from mpc_sequencer.client.sequencer import open_sequencer

    def say(words: str) -> None:
        if not quiet:
            console().print(f"key generation: {words}", markup=False)

    async with open_sequencer(file.committee, connector_to(file), nodes) as client:
        return await follow_key(client, timeout_s, say), client.faults, client.committee


def key_fields(found: CommitteeKey) -> dict[str, Any]:
    """A key as JSON values; ``signers`` and ``qualified_dealers`` are empty where the committee file has it."""
    return {
        "key_id": found.key_id.hex(),
        "public_key": found.public_key.hex(),
        "epoch": found.epoch,
        "threshold": found.threshold,
        "sharing": found.sharing,
        "qualified_dealers": list(found.qualified),
        "signers": list(found.signers),
    }


def _plain(value: Any) -> Any:
    return " ".join(str(one) for one in value) if isinstance(value, list) else value


# --- status -------------------------------------------------------------------------------------------------
@app.command("status")
def status(
    committee: CommitteePath = COMMITTEE_DEFAULT,
    nodes: Nodes = None,
    timeout: TimeoutS = 5.0,
    as_json: AsJson = False,
) -> None:
    """The present committee, how far each member is with the threshold key, and a rotation under way.

    Follows the epochs from the committee file; members are numbered as in the present committee.
    Sharing 0 came with the key; each refresh makes the next. A session is what members make one in.
    Exit status 2 when none answers, 1 where a member's proof of the key does not hold or two members prove different
    keys.
    """
    from mpc_sequencer.client.errors import NotConnected
    from mpc_sequencer.client.queries import KeyState

    view = present_committee(read_committee(committee), timeout, nodes)
    answers = view.answers
    rows = [state_fields(view, node, answer) for node, answer in answers.items()]
    rotation = rotation_fields(view)
    if as_json:
        print_json(_size(view) | {"rotation": rotation, "nodes": rows})
    else:
        console().print(_title(view), markup=False, soft_wrap=True)
        console().print(state_table(view, rows))
        if rotation is not None:
            print_fields(console(), [(name, _plain(value)) for name, value in _short(rotation)], "rotation under way")
        for row in rows:
            if "error" in row:
                console().print(row["error"], markup=False, soft_wrap=True)
    if all(isinstance(answer, str) for answer in answers.values()):
        cause = f"no member answered: {next(iter(answers.values()))}"
        raise NotConnected(cause, "start the nodes, or check the committee file's endpoints")
    key_ids = {row["key_id"] for row in rows if row.get("key_id")}
    if len(key_ids) > 1 or any(isinstance(one, KeyState) and one.fault for one in answers.values()):
        raise typer.Exit(EXIT_FAULT_FOUND)


def present_committee(file: CommitteeFile, timeout_s: float, nodes: str | None = None) -> CommitteeView:
    """The present committee and what its members ``nodes`` (of `--nodes`) say. Raises :class:`ConfigError`."""
    import trio

    from mpc_sequencer.client.queries import ask_committee

    if nodes is not None:
        parse_nodes(nodes, COMMITTEE_MEMBERS_MAX)  # before anything is asked
    return trio.run(ask_committee, file, lambda n: parse_nodes(nodes, n), timeout_s)


def _size(view: CommitteeView) -> dict[str, Any]:
    committee = view.committee
    return {
        "epoch": committee.epoch,
        "members": committee.n,
        "faults_tolerated": committee.f,
        "threshold": committee.t,
        "key_refresh_ms": committee.genesis.key_refresh_ms,
        "key_due_ms": key_due_ms(view),
    }


def key_due_ms(view: CommitteeView) -> int | None:
    """When the key is shared anew next, in Unix milliseconds, where f+1 members say the same (or all that answered, if
    fewer); None where they do not, where it is being shared now, and where nothing is planned."""
    told = [answer.status.key_due_ms for answer in view.answers.values() if not isinstance(answer, str)]
    enough = min(view.committee.f + 1, len(told))
    due = [time_ms for time_ms, count in Counter(told).most_common(1) if count >= enough]
    return due[0] if due and due[0] is not None and due[0] <= TIME_MS_MAX else None


def rotation_fields(view: CommitteeView) -> dict[str, Any] | None:
    """The rotation under way as JSON values; None where nobody wants another committee."""
    told, committee = view.rotation, view.committee
    target = None if told is None else told.agreed or told.proposed
    if told is None or target is None:
        return None
    from mpc_sequencer.core import rotation, signing

    def shown(key: bytes, endpoint: str) -> dict[str, str]:
        return {"address": "0x" + signing.address_of(key).hex(), "endpoint": endpoint}

    staying = {member.consensus_key for member in target.members}
    left = [one for one in view.members if one.consensus_key not in staying]
    phases = [answer.status for answer in view.answers.values() if not isinstance(answer, str)]
    from mpc_sequencer.client.keysearch import KEY_IN_USE, describe_phase

    running = [describe_phase(status) for status in phases if status.key_phase not in KEY_IN_USE]
    return {
        "committee_hash": target.committee_hash().hex(),
        "agreed": told.agreed is not None,
        "approvals": told.approvals,
        "approvals_needed": committee.q,
        "members": len(target.members),
        "threshold": target.threshold,
        "joining": [shown(one.consensus_key, one.endpoint) for one in rotation.joiners(committee, target)],
        "leaving": [shown(one.consensus_key, one.endpoint) for one in left],
        "phase": max(running, key=running.count) if told.agreed is not None and running else None,
    }


def _short(rotation: dict[str, Any]) -> list[tuple[str, object]]:
    """The rotation in a few lines."""

    def named(rows: list[dict[str, str]]) -> str:
        return " ".join(f"{row['endpoint']} ({row['address'][:10]}…)" for row in rows) or "nobody"

    state = "agreed" if rotation["agreed"] else "proposed"
    rows: list[tuple[str, object]] = [
        ("state", f"{state}; {rotation['approvals']} members approve, {rotation['approvals_needed']} decide"),
        ("next committee", f"{rotation['members']} members, {rotation['threshold']} shares open an order"),
        ("joining", named(rotation["joining"])),
        ("leaving", named(rotation["leaving"])),
    ]
    return rows if rotation["phase"] is None else [*rows, ("key session", rotation["phase"])]


def state_fields(view: CommitteeView, node: int, answer: KeyState | str) -> dict[str, Any]:
    """A member's row as JSON values; ``error`` says why it has none, or what is wrong with its proof."""
    committee = view.committee
    known = {"node": node, "address": "0x" + committee.addresses[node].hex(), "endpoint": view.endpoints[node]}
    if isinstance(answer, str):
        return {**known, "error": answer}
    from mpc_sequencer.client.committee_key import known_key
    from mpc_sequencer.client.keysearch import describe_phase

    reply, found = answer.status, answer.key
    given = committee.genesis.public_key or committee.origin is not None
    if found is None and given and answer.fault is None:
        found = known_key(committee)
    row: dict[str, Any] = {
        **known,
        "epoch": reply.epoch,
        "key_phase": reply.key_phase,
        "key_progress": describe_phase(reply),
        "attempts_failed": reply.key_attempt,
        "key_due_ms": reply.key_due_ms,
        "key_id": None if found is None else found.key_id.hex(),
        "threshold": committee.t if found is None else found.threshold,
        "sharing": None if found is None else found.sharing,
        "qualified_dealers": [] if found is None else list(found.qualified),
        "signers": [] if found is None else list(found.signers),
        "height_final": reply.height_final,
    }
    return row if answer.fault is None else row | {"error": answer.fault.cause}


def state_table(view: CommitteeView, rows: list[dict[str, Any]]) -> Table:
    """All members' rows in one table of at most 100 columns."""
    shown: list[tuple[object, ...]] = []
    for row in rows:
        if "epoch" not in row:
            shown.append((row["node"], row["endpoint"], "no answer", *[""] * 6))
            continue
        key_id = row["key_id"] or ""
        if "error" in row:
            key_id = "false certificate"
        elif len(key_id) > KEY_ID_DIGITS_SHOWN:
            key_id = key_id[:KEY_ID_DIGITS_SHOWN] + "…"
        dealers = " ".join(str(dealer) for dealer in row["qualified_dealers"])
        shown.append(
            (
                *(row["node"], row["endpoint"], row["epoch"], row["key_progress"], row["attempts_failed"], key_id),
                *("" if row["sharing"] is None else row["sharing"], dealers, row["height_final"]),
            )
        )
    columns = ("node", "endpoint", "epoch", "key session", "failed", "key id", "sharing", "dealt by", "height")
    return table("", columns, shown)


def _title(view: CommitteeView) -> str:
    size = view.committee
    counts = f"epoch {size.epoch}: {size.n} members, {size.f} may be faulty, {size.t} shares open an order"
    refresh, due_ms = _refresh(size.genesis.key_refresh_ms), key_due_ms(view)
    if due_ms is None:
        return f"{counts}; {refresh}"
    due = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=due_ms)
    return f"{counts}; {refresh}, next at {due:%Y-%m-%d %H:%M:%S} UTC"


def _refresh(interval_ms: int) -> str:
    """How often the key is shared anew."""
    if not interval_ms:
        return "the key is not shared anew by plan"
    hours, rest_ms = divmod(interval_ms, 3_600_000)
    interval = f"{interval_ms / 1_000:g} s" if rest_ms else f"{hours} h"
    return f"the key is shared anew every {interval}"
