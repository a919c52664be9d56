"""``mpcseq committee``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

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

if TYPE_CHECKING:
    from rich.table import Table

    from mpc_sequencer.client.committee_key import CommitteeKey
    from mpc_sequencer.client.errors import MemberFault
    from mpc_sequencer.client.queries import KeyState
    from mpc_sequencer.node.config import CommitteeFile

app = typer.Typer(no_args_is_help=True)
KEY_ID_DIGITS_SHOWN: Final = 16
Nodes = Annotated[str | None, typer.Option(help="Members to ask, such as 0,2. Default: all.")]


@app.callback()
def _group() -> None:
    """The threshold key that orders are sealed to, and how far members are with it."""


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

    from mpc_sequencer.client.committee_key import save_key
    from mpc_sequencer.core.errors import ConfigError

    file = read_committee(committee)
    chosen = parse_nodes(nodes, file.committee.n)
    if out is not None:
        output_exists(out, force)
        if file.committee.keys is not None:
            raise ConfigError("the committee file has the threshold key itself", "leave out --out: none is needed")
    found, faults = trio.run(_fetch, file, chosen, timeout, as_json)
    if out is not None and found.certificate is not None:
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
) -> tuple[CommitteeKey, list[MemberFault]]:
    from mpc_sequencer.client.keysearch import follow_key
    from mpc_sequencer.client.link import connector_to
    from mpc_sequencer.client.sequencer import open_sequencer

    def say(words: str) -> None:
        if not quiet:
            console().print(f"key generation: {words}", markup=False)

    async with open_sequencer(file.committee, connector_to(file), nodes) as client:
        return await follow_key(client, timeout_s, say), client.faults


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
    """How far each member is with the threshold key, and which sharing of it is in use.

    Sharing 0 came with the key; each refresh makes the next. A session is what members make one in.
    Exit status 2 when none answers, 1 where a member's proof of the key does not hold or two members prove different
    keys.
    """
    import trio

    from mpc_sequencer.client.errors import NotConnected
    from mpc_sequencer.client.queries import KeyState, ask_key_state

    file = read_committee(committee)
    chosen = parse_nodes(nodes, file.committee.n)
    answers = trio.run(ask_key_state, file, chosen, timeout)
    rows = [state_fields(file, node, answers[node]) for node in chosen]
    size = {"members": file.committee.n, "faults_tolerated": file.committee.f, "threshold": file.committee.t}
    size["key_refresh_ms"] = file.genesis.key_refresh_ms
    if as_json:
        print_json(size | {"nodes": rows})
    else:
        console().print(state_table(file, rows))
        for row in rows:
            if "error" in row:
                console().print(row["error"], markup=False, soft_wrap=True)
    if all(isinstance(answer, str) for answer in answers.values()):
        cause = f"no member answered: {answers[chosen[0]]}"
        raise NotConnected(cause, "start the nodes, or check the committee file's endpoints")
    key_ids = {row["key_id"] for row in rows if row.get("key_id")}
    if len(key_ids) > 1 or any(isinstance(one, KeyState) and one.fault for one in answers.values()):
        raise typer.Exit(EXIT_FAULT_FOUND)


def state_fields(file: CommitteeFile, node: int, answer: KeyState | str) -> dict[str, Any]:
    """A member's row as JSON values; ``error`` says why it has none, or what is wrong with its proof."""
    if isinstance(answer, str):
        return {"node": node, "error": answer}
    from mpc_sequencer.client.committee_key import known_key
    from mpc_sequencer.client.keysearch import describe_phase

    reply, found = answer.status, answer.key
    if found is None and file.genesis.public_key and answer.fault is None:
        found = known_key(file.committee)
    row: dict[str, Any] = {
        "node": node,
        "epoch": reply.epoch,
        "key_phase": reply.key_phase,
        "key_progress": describe_phase(reply),
        "attempts_failed": reply.key_attempt,
        "key_id": None if found is None else found.key_id.hex(),
        "threshold": file.committee.t if found is None else found.threshold,
        "sharing": None if found is None else found.sharing,
        "qualified_dealers": [] if found is None else list(found.qualified),
        "signers": [] if found is None else list(found.signers),
        "height_final": reply.height_final,
    }
    return row if answer.fault is None else row | {"error": answer.fault.cause}


def state_table(file: CommitteeFile, rows: list[dict[str, Any]]) -> Table:
    """All members' rows in one table."""
    size = file.committee
    shown: list[tuple[object, ...]] = []
    for row in rows:
        if "epoch" not in row:
            shown.append((row["node"], "no answer", *[""] * 7))
            continue
        key_id = row["key_id"] or ""
        if "error" in row:
            key_id = "false certificate"
        elif len(key_id) > KEY_ID_DIGITS_SHOWN:
            key_id = key_id[:KEY_ID_DIGITS_SHOWN] + "…"
        dealers = " ".join(str(dealer) for dealer in row["qualified_dealers"])
        threshold = f"{row['threshold']} of {size.n}"
        shown.append(
            (
                *(row["node"], row["epoch"], row["key_progress"], row["attempts_failed"], key_id, threshold),
                *("" if row["sharing"] is None else row["sharing"], dealers, row["height_final"]),
            )
        )
    columns = ("node", "epoch", "key session", "failed attempts", "key id", "threshold", "sharing", "dealt by")
    title = f"{size.n} members, {size.f} may be faulty; {_refresh(file.genesis.key_refresh_ms)}"
    return table(title, (*columns, "height"), shown)


def _refresh(interval_ms: int) -> str:
    """How often the key is shared anew."""
    if not interval_ms:
        return "the key is not shared anew by plan"
    hours, rest_ms = divmod(interval_ms, 3_600_000)
    interval = f"{interval_ms / 1_000:g} s" if rest_ms else f"{hours} h"
    return f"the key is shared anew every {interval}"
