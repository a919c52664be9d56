"""``mpcseq committee`` and sealing with a key file, against members that answer over real TLS with scripted words."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from client_key_kit import NODES, House, build_house, certify, certify_refresh, generated, status_reply, with_key
from served_members import ServedMembers

from mpc_sequencer.client.keys import save_assets, write_account_key
from mpc_sequencer.core import limits
from mpc_sequencer.core.codec import encode
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.messages import EpochsQuery, EpochsReply, KeyQuery, KeyReply, StatusQuery, StatusReply
from mpc_sequencer.core.types import EpochStart, KeyCertificate, NextCommittee
from mpc_sequencer.devnet.layout import ASSETS
from mpc_sequencer.devnet.processes import free_ports
from mpc_sequencer.node.config import committee_file, save_committee
from mpc_sequencer.node.link_events import ClientRequestEvent
from mpc_sequencer.node.tls import log_key, member_certificate
from mpc_sequencer.node.transport import NodeTransport

Run = Callable[..., Any]


@dataclass
class Word:
    """What a member says of the key; ``waits`` phases are told before, one per question."""

    certificate: KeyCertificate | None
    phase: str = "done"
    attempt: int = 0
    heard: int = 0
    expected: int = 0
    height: int = 7
    due_ms: int | None = None
    waits: list[str] = field(default_factory=list)
    starts: tuple[EpochStart, ...] = ()
    agreed: NextCommittee | None = None
    proposed: NextCommittee | None = None
    approvals: int = 0


def _status(node: int, request: int, word: Word) -> StatusReply:
    return status_reply(
        node,
        request,
        height_final=word.height,
        key_phase=word.phase,
        key_attempt=word.attempt,
        key_heard=word.heard,
        key_expected=word.expected,
        key_due_ms=word.due_ms,
    )


def _key(request: int, word: Word) -> KeyReply:
    if word.waits:
        return KeyReply(request, None, word.waits.pop(0))
    return KeyReply(request, word.certificate, word.phase)


class Town(ServedMembers):
    """The members of a house."""

    def __init__(self, house: House, words: Sequence[Word | None]) -> None:
        super().__init__()
        self._house = house
        self._words = words

    async def _start(self, nursery: trio.Nursery) -> None:
        for node, word in enumerate(self._words):
            if word is not None:
                served = NodeTransport(self._house.file, node, self._house.log_seeds[node])
                await served.bind(*self._house.file.endpoints[node])
                nursery.start_soon(served.run)
                nursery.start_soon(self._answer, node, served, word)

    async def _answer(self, node: int, served: NodeTransport, word: Word) -> None:
        async for event in served.clients.events:
            if not isinstance(event, ClientRequestEvent):
                continue
            request = event.request
            if isinstance(request, StatusQuery):
                served.clients.reply(event.client_id, encode(_status(node, request.request, word)))
            elif isinstance(request, KeyQuery):
                served.clients.reply(event.client_id, encode(_key(request.request, word)))
            elif isinstance(request, EpochsQuery):
                known = [start for start in word.starts if start.epoch > request.after_epoch]
                told = EpochsReply(request.request, tuple(known), word.agreed, word.proposed, word.approvals)
                served.clients.reply(event.client_id, encode(told))


@pytest.fixture
def house(tmp_path: Path) -> House:
    built = build_house(free_ports(NODES))
    save_committee(tmp_path / "committee.json", built.file)
    save_assets(tmp_path / "assets.json", {asset.asset: asset for asset in ASSETS})
    write_account_key(tmp_path / "account.key", b"\x11" * 32)
    return built


@pytest.fixture
def good(house: House) -> KeyCertificate:
    return certify(house.file.committee, house.signers)


@pytest.fixture
def town(house: House) -> Iterator[Callable[..., None]]:
    with contextlib.ExitStack() as stack:
        yield lambda *words: stack.enter_context(Town(house, words)) and None


def false_of(house: House) -> KeyCertificate:
    """q-1 members signed it."""
    return certify(house.file.committee, house.signers, by=range(house.file.committee.q - 1))


def seal(mpcseq: Run, folder: Path, *options: object) -> Any:
    files = ("--committee", folder / "committee.json", "--key-file", folder / "account.key")
    terms = ("--side", "buy", "--price", "61800.3", "--quantity", "0.25", "--nonce", 1)
    return mpcseq("order", "seal", *files, *terms, "--out", folder / "order.bin", *options)


# --- committee key ------------------------------------------------------------------------------------------------
def test_the_key_is_fetched_verified_written_and_orders_are_sealed_and_inspected_without_any_member(
    mpcseq: Run, house: House, good: KeyCertificate, tmp_path: Path
) -> None:
    committee = ("--committee", tmp_path / "committee.json")
    with Town(house, [Word(good), Word(good), None, None]):
        ran = mpcseq("committee", "key", *committee, "--out", tmp_path / "k.json", "--json")
    assert ran.status == 0, ran.err
    made = generated(house.file.committee)
    assert ran.json["public_key"] == made.public_key.hex() and ran.json["threshold"] == 3
    assert (ran.json["qualified_dealers"], ran.json["signers"], ran.json["faults"]) == ([0, 1, 2, 3], [0, 1, 2], [])
    assert json.loads((tmp_path / "k.json").read_text())["key_id"] == "0x" + ran.json["key_id"]

    sealed = seal(mpcseq, tmp_path, "--key", tmp_path / "k.json", "--json")
    assert sealed.status == 0, sealed.err
    inspected = mpcseq("order", "inspect", tmp_path / "order.bin", *committee, "--key", tmp_path / "k.json", "--json")
    assert inspected.status == 0 and inspected.json["valid"]
    assert inspected.json["label"]["key_id"] == ran.json["key_id"]


def test_a_key_file_beside_the_committee_file_is_found(
    mpcseq: Run, house: House, good: KeyCertificate, tmp_path: Path, town: Run
) -> None:
    town(Word(good), Word(good))
    committee = ("--committee", tmp_path / "committee.json")
    assert mpcseq("committee", "key", *committee, "--out", tmp_path / "key.json").status == 0
    assert seal(mpcseq, tmp_path).status == 0
    assert mpcseq("order", "inspect", tmp_path / "order.bin", *committee).status == 0
    cause, hint = mpcseq("committee", "key", *committee, "--out", tmp_path / "key.json").error()
    assert "exists" in cause and "--force" in hint
    assert mpcseq("committee", "key", *committee, "--out", tmp_path / "key.json", "--force").status == 0


def test_a_lying_first_member_is_named_and_the_next_one_believed(
    mpcseq: Run, house: House, good: KeyCertificate, tmp_path: Path, town: Run
) -> None:
    town(Word(false_of(house)), Word(good, waits=["ready", "ready", "ready"]), Word(good))
    ran = mpcseq("committee", "key", "--committee", tmp_path / "committee.json", "--out", tmp_path / "key.json")
    assert ran.status == 0, ran.err
    assert "member 0 broke the protocol: key.quorum" in ran.out
    assert generated(house.file.committee).public_key.hex() in ran.out
    assert (tmp_path / "key.json").exists()


def test_only_lies_make_no_key_file(mpcseq: Run, house: House, tmp_path: Path, town: Run) -> None:
    town(Word(false_of(house)))
    options = ("--out", tmp_path / "key.json", "--nodes", "0")
    cause, _ = mpcseq("committee", "key", "--committee", tmp_path / "committee.json", *options).error()
    assert "member 0 broke the protocol: key.quorum" in cause
    assert not (tmp_path / "key.json").exists()


def test_a_generation_under_way_is_shown_and_an_error_when_it_takes_too_long(
    mpcseq: Run, house: House, tmp_path: Path, town: Run
) -> None:
    town(*[Word(None, "deals", heard=3, expected=4)] * 4)
    ran = mpcseq("committee", "key", "--committee", tmp_path / "committee.json", "--timeout", "1.5")
    cause, hint = ran.error()
    assert "key generation: deals 3 of 4" in ran.out
    assert "within 1.5 s" in cause and "member 2 waits for deals" in cause
    assert "mpcseq committee status" in hint


def test_a_committee_file_with_a_key_needs_no_member_and_no_key_file(
    mpcseq: Run, house: House, tmp_path: Path
) -> None:
    file = committee_file(with_key(house.file.genesis), house.file.endpoints, house.file.certificates)
    save_committee(tmp_path / "committee.json", file)
    ran = mpcseq("committee", "key", "--committee", tmp_path / "committee.json", "--json")
    assert ran.status == 0
    assert ran.json["public_key"] == file.genesis.public_key.hex() and ran.json["signers"] == []
    cause, _ = mpcseq("committee", "key", "--committee", tmp_path / "committee.json", "--out", tmp_path / "k").error()
    assert seal(mpcseq, tmp_path).status == 0
    assert "the committee file has the threshold key itself" in cause


# --- orders without a key -----------------------------------------------------------------------------------------
def test_without_a_key_nothing_is_sealed_and_the_error_says_how_to_get_one(
    mpcseq: Run, house: House, tmp_path: Path
) -> None:
    cause, hint = seal(mpcseq, tmp_path).error()
    assert "the threshold key is not known" in cause and "mpcseq committee key --out" in hint
    assert not (tmp_path / "order.bin").exists()


def test_an_inspection_without_a_key_shows_the_envelope_and_says_what_it_could_not_check(
    mpcseq: Run, house: House, good: KeyCertificate, tmp_path: Path
) -> None:
    with Town(house, [Word(good), Word(good)]):
        mpcseq("committee", "key", "--committee", tmp_path / "committee.json", "--out", tmp_path / "k.json")
    assert seal(mpcseq, tmp_path, "--key", tmp_path / "k.json").status == 0
    ran = mpcseq("order", "inspect", tmp_path / "order.bin", "--committee", tmp_path / "committee.json", "--json")
    assert ran.status == 2 and not ran.json["valid"]
    skipped = [one["check"] for one in ran.json["checks"] if one["verdict"] == "skipped"]
    assert skipped == ["deployment", "sealing proof"]
    assert "the threshold key is not known" in msgspec.json.decode(ran.err)["error"]


def test_a_key_file_of_another_deployment_is_refused(
    mpcseq: Run, house: House, good: KeyCertificate, tmp_path: Path, town: Run
) -> None:
    town(Word(good), Word(good))
    mpcseq("committee", "key", "--committee", tmp_path / "committee.json", "--out", tmp_path / "key.json")
    other = Committee(msgspec.structs.replace(house.file.genesis, time_ms=1))
    file = type(house.file)(other.genesis, other, house.file.endpoints, house.file.certificates)
    save_committee(tmp_path / "committee.json", file)
    cause, hint = seal(mpcseq, tmp_path).error()
    assert "another deployment" in cause and "mpcseq committee key" in hint


# --- committee status ---------------------------------------------------------------------------------------------
def test_the_status_shows_each_member_s_phase_key_dealers_and_height(
    mpcseq: Run, house: House, good: KeyCertificate, tmp_path: Path, town: Run
) -> None:
    town(Word(good, height=12), Word(None, "deals", attempt=1, heard=3, expected=4, height=5), Word(good))
    arguments = ("committee", "status", "--committee", tmp_path / "committee.json", "--timeout", "5")
    ran = mpcseq(*arguments, "--json")
    assert ran.status == 0, ran.err
    assert {name: ran.json[name] for name in ("members", "faults_tolerated", "threshold")} == {
        "members": 4,
        "faults_tolerated": 1,
        "threshold": 3,
    }
    first, second, third, fourth = ran.json["nodes"]
    assert (first["key_phase"], first["height_final"], first["qualified_dealers"]) == ("done", 12, [0, 1, 2, 3])
    assert len(first["key_id"]) == 64 and first["key_id"] == third["key_id"]
    assert (second["key_progress"], second["attempts_failed"]) == ("deals 3 of 4, attempt 2", 1)
    assert second["key_id"] is None
    assert set(fourth) == {"node", "address", "endpoint", "error"}
    assert ran.json["epoch"] == 0 and ran.json["rotation"] is None
    people = mpcseq(*arguments)
    assert people.status == 0
    for text in ("deals 3 of 4, attempt 2", first["key_id"][:8], "0 1 2 3", "no answer", "3 shares open"):
        assert text in people.out


def test_the_status_shows_which_sharing_each_member_proves_and_a_refresh_under_way(
    mpcseq: Run, house: House, good: KeyCertificate, tmp_path: Path, town: Run
) -> None:
    again = certify_refresh(house.file.committee, house.signers)
    town(Word(again), Word(good, "deals", heard=2, expected=4), Word(None, "waiting"))
    arguments = ("committee", "status", "--committee", tmp_path / "committee.json", "--timeout", "5")
    ran = mpcseq(*arguments, "--json")
    assert ran.status == 0, ran.err  # members differ in the sharing for a moment, and prove one key
    first, second, third, _ = ran.json["nodes"]
    assert (first["sharing"], second["sharing"], third["sharing"]) == (1, 0, None)
    assert first["key_id"] == second["key_id"] and second["key_progress"] == "deals 2 of 4"
    assert ran.json["key_refresh_ms"] == 0
    people = mpcseq(*arguments)
    assert "sharing" in people.out and "not shared anew by plan" in people.out
    key = mpcseq("committee", "key", "--committee", tmp_path / "committee.json", "--nodes", "0", "--json")
    assert key.json["sharing"] == 1 and key.json["key_id"] == first["key_id"]


@pytest.mark.parametrize(("interval_ms", "shown"), [(20_500, "every 20.5 s"), (86_400_000, "every 24 h")])
def test_the_status_says_how_often_the_key_is_shared_anew(
    mpcseq: Run, house: House, good: KeyCertificate, tmp_path: Path, interval_ms: int, shown: str
) -> None:
    genesis = msgspec.structs.replace(house.file.genesis, key_refresh_ms=interval_ms)
    save_committee(tmp_path / "committee.json", committee_file(genesis, house.file.endpoints, house.file.certificates))
    arguments = ("committee", "status", "--committee", tmp_path / "committee.json", "--timeout", "0.5")
    assert shown in mpcseq(*arguments).out
    assert mpcseq(*arguments, "--json").json["key_refresh_ms"] == interval_ms


@pytest.mark.parametrize(
    ("told", "due_ms"),
    [
        ((1_800_000_000_000, 1_800_000_000_000, 1_800_000_060_000), 1_800_000_000_000),
        ((1_800_000_000_000, 1_800_000_060_000, None), None),  # one word is nobody's who must be honest
        ((None, None, 1_800_000_000_000), None),
        ((limits.UINT_MAX, limits.UINT_MAX), None),
    ],
)
def test_the_status_says_when_the_key_is_shared_anew_next_where_f_plus_1_members_do(
    mpcseq: Run, good: KeyCertificate, tmp_path: Path, town: Run, told: Sequence[int | None], due_ms: int | None
) -> None:
    town(*(Word(good, due_ms=time_ms) for time_ms in told))
    arguments = ("committee", "status", "--committee", tmp_path / "committee.json", "--timeout", "5")
    shown = mpcseq(*arguments, "--json").json
    assert shown["key_due_ms"] == due_ms
    assert [row["key_due_ms"] for row in shown["nodes"][: len(told)]] == list(told)
    text = " ".join(mpcseq(*arguments).out.split())
    assert ("next at 2027-01-15 08:00:00 UTC" in text) is (due_ms is not None) and ("next at" in text) is bool(due_ms)


def test_a_key_of_the_committee_file_is_shown_while_it_is_shared_anew(
    mpcseq: Run, house: House, tmp_path: Path
) -> None:
    genesis = with_key(house.file.genesis)
    file = committee_file(genesis, house.file.endpoints, house.file.certificates)
    save_committee(tmp_path / "committee.json", file)
    with Town(House(file, house.signers, house.log_seeds), [Word(None, "answers", heard=1, expected=4)]):
        ran = mpcseq("committee", "status", "--committee", tmp_path / "committee.json", "--nodes", "0", "--json")
    row = ran.json["nodes"][0]
    assert ran.status == 0 and row["key_progress"] == "answers 1 of 4"
    assert (row["key_id"], row["sharing"]) == (file.committee.sealing_key.key_id.hex(), 0)


def test_members_of_another_committee_file_are_named_as_such(
    mpcseq: Run, house: House, good: KeyCertificate, tmp_path: Path, town: Run
) -> None:
    town(Word(good), Word(good))
    seeds = [bytes((9, 9, node, 9)) * 8 for node in range(NODES)]
    members = tuple(
        msgspec.structs.replace(member, log_key=log_key(seed))
        for member, seed in zip(house.file.genesis.members, seeds, strict=True)
    )
    other = msgspec.structs.replace(house.file.genesis, members=members)
    certificates = [member_certificate(seed) for seed in seeds]
    save_committee(tmp_path / "committee.json", committee_file(other, house.file.endpoints, certificates))
    ran = mpcseq("committee", "status", "--committee", tmp_path / "committee.json", "--nodes", "0")
    assert ran.status == 2 and "is not the member of the committee file" in ran.err and "SSL" not in ran.err


def test_a_member_whose_proof_does_not_hold_is_shown_and_the_exit_status_says_so(
    mpcseq: Run, house: House, good: KeyCertificate, tmp_path: Path, town: Run
) -> None:
    town(Word(good), Word(false_of(house)), Word(good), Word(good))
    ran = mpcseq("committee", "status", "--committee", tmp_path / "committee.json")
    assert ran.status == 1
    assert "false certificate" in ran.out and "member 1 broke the protocol: key.quorum" in ran.out


def test_two_proven_keys_are_no_state_of_a_sound_committee(
    mpcseq: Run, house: House, good: KeyCertificate, tmp_path: Path, town: Run
) -> None:
    town(Word(good), Word(certify(house.file.committee, house.signers, attempt=1)))
    assert mpcseq("committee", "status", "--committee", tmp_path / "committee.json").status == 1


def test_no_member_at_all_is_an_error(mpcseq: Run, house: House, tmp_path: Path) -> None:
    ran = mpcseq("committee", "status", "--committee", tmp_path / "committee.json", "--timeout", "0.5")
    assert ran.status == 2 and "no member answered" in ran.err
    assert "Connection refused)" in ran.err and "all attempts" not in ran.err and "Error connecting" not in ran.err


def test_node_status_names_the_phase_of_a_key_that_is_not_there_yet(
    mpcseq: Run, house: House, good: KeyCertificate, tmp_path: Path, town: Run
) -> None:
    town(Word(good), Word(None, "answers", heard=1, expected=4))
    ran = mpcseq("node", "status", "--committee", tmp_path / "committee.json", "--nodes", "0,1")
    assert ran.status == 0
    rows = [line for line in ran.out.splitlines() if "peers" in line]
    assert "key" not in rows[0] and "key: answers 1 of 4" in rows[1]
    as_json = mpcseq("node", "status", "--committee", tmp_path / "committee.json", "--nodes", "1", "--json").json
    assert (as_json["nodes"][0]["key_phase"], as_json["nodes"][0]["key_heard"]) == ("answers", 1)
