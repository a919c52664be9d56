"""The golden transcripts: made by plain integers, made again by the library, judged to the same end."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from threshold import SecretShare
from threshold.dkg import Message, Participant, Phase, Plan, Session

FOLDER = Path(__file__).parents[1] / "vectors"
FILES = {name: json.loads((FOLDER / f"dkg_{name}.json").read_text()) for name in ("generation", "resharing")}


def plan_of(name: str) -> Plan:
    file = FILES[name]
    session = bytes.fromhex(file["session"])
    common = {key: file[key] for key in ("threshold", "faults", "window_heights", "window_ms")}
    if name == "generation":
        return Plan.generate(session, file["members"], **common)
    return Plan.reshare(
        session,
        {int(i): bytes.fromhex(key) for i, key in file["dealer_keys"].items()},
        file["receivers"],
        public_key=bytes.fromhex(file["public_key_before"]),
        dealer_threshold=file["dealer_threshold"],
        dealer_faults=file["dealer_faults"],
        **common,
    )


def members_of(name: str, plan: Plan) -> dict[int, Participant]:
    old = FILES[name].get("old_shares", {})
    everybody = {}
    for i, seed in FILES[name]["seeds"].items():
        share = SecretShare(int(i), bytes.fromhex(old[i])) if i in old else None
        dealer = int(i) if int(i) in plan.dealers else None
        everybody[int(i)] = Participant(plan, bytes.fromhex(seed), dealer, int(i), share)
    return everybody


def messages_of(block: dict[str, Any]) -> list[Message]:
    return [Message(message["author"], bytes.fromhex(message["payload"])) for message in block["messages"]]


def states(name: str) -> dict[int, Session]:
    """The session before each block of the file, by the block's height, and after the last one under 0."""
    file = FILES[name]
    session = Session.begin(plan_of(name), file["first_height"], file["first_time_ms"])
    found = {}
    for block in file["blocks"]:
        found[block["height"]] = session
        session = session.block(block["height"], block["time_ms"], messages_of(block))
        assert session.phase is Phase(block["phase_after"])
    return {**found, 0: session}


@pytest.mark.parametrize("name", list(FILES))
def test_the_transcript_ends_as_written(name: str) -> None:
    file, session = FILES[name], states(name)[0]
    assert session.result is not None
    assert [
        {"role": culprit.role.value, "index": culprit.index, "code": culprit.code} for culprit in session.culprits
    ] == file["culprits"]
    assert list(session.qualified) == file["qualified"]
    assert session.result.public_key.hex() == file["public_key"]
    keys = {str(j): key.hex() for j, key in session.result.verification_keys.items()}
    assert keys == file["verification_keys"]
    assert session.result.hash().hex() == file["result_hash"]
    assert not session.result.refresh_advised
    members = members_of(name, plan_of(name))
    shares = {str(j): member.share(session).export().hex() for j, member in members.items()}
    assert shares == file["shares"]


@pytest.mark.parametrize("name", list(FILES))
def test_members_make_the_written_messages_but_for_the_cheaters(name: str) -> None:
    members, found = members_of(name, plan_of(name)), states(name)
    differing = []
    for block in FILES[name]["blocks"]:
        for message in block["messages"]:
            author = message["author"]
            if bytes.fromhex(message["payload"]) not in members[author].messages(found[block["height"]]):
                differing.append((author, message["type"]))
    assert differing == ([(4, "03")] if name == "generation" else [(1, "02")])


@pytest.mark.parametrize("name", list(FILES))
def test_a_payload_is_its_fields_in_their_order(name: str) -> None:
    def concatenated(field: Any) -> str:
        if isinstance(field, str):
            return field
        return "".join(map(concatenated, field.values() if isinstance(field, dict) else field))

    for block in FILES[name]["blocks"]:
        for message in block["messages"]:
            fields = {key: value for key, value in message.items() if key not in ("author", "payload")}
            assert concatenated(fields) == message["payload"]


@pytest.mark.parametrize(("name", "vector"), [(name, vector) for name in FILES for vector in FILES[name]["refused"]])
def test_near_misses_are_refused_with_their_code(name: str, vector: dict[str, Any]) -> None:
    session = states(name)[vector["height"]]
    message = Message(vector["author"], bytes.fromhex(vector["payload"]))
    after = session.block(vector["height"], session.time_ms, [message])
    new = after.culprits[len(session.culprits) :]
    assert [(culprit.index, culprit.code) for culprit in new] == [(vector["author"], vector["error"])]


def test_the_files_are_what_the_reference_makes() -> None:
    spec = importlib.util.spec_from_file_location("make_dkg", FOLDER / "make_dkg.py")
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert script.main(["--check"]) == 0
