"""``mpcseq committee propose``, ``key identity``, and what ``status``, ``key`` and receipts say across epochs; members
answer over real TLS, some of them from later epochs than the committee file's."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
import trio
from client_key_kit import status_reply
from epoch_kit import Era, Person, first_era, next_era, person
from served_members import ServedMembers

from mpc_sequencer.cli import rehearsing
from mpc_sequencer.client import load_key, queries
from mpc_sequencer.client.committee_key import save_epoch_key
from mpc_sequencer.client.epochs_file import beside, load_epochs, save_epochs
from mpc_sequencer.client.receipts import ReceiptStore
from mpc_sequencer.core.codec import encode
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.errors import ConfigError
from mpc_sequencer.core.messages import EpochsQuery, EpochsReply, KeyQuery, KeyReply, StatusQuery
from mpc_sequencer.core.types import EpochStart, NextCommittee
from mpc_sequencer.devnet.layout import Devnet
from mpc_sequencer.devnet.processes import free_ports
from mpc_sequencer.node.client_server import ClientServer
from mpc_sequencer.node.config import CommitteeFile, committee_file, save_committee
from mpc_sequencer.node.keystore import open_keystore, read_header
from mpc_sequencer.node.link_events import ClientRequestEvent
from mpc_sequencer.node.next_committee import load_member, load_next, members_of, next_committee, save_member
from mpc_sequencer.node.tls import certificate_key, member_certificate
from mpc_sequencer.node.transport import NodeTransport

Run = Callable[..., Any]


# --- propose --------------------------------------------------------------------------------------------------------
@pytest.fixture
def joiner(tmp_path: Path) -> Path:
    path = tmp_path / "member.json"
    save_member(path, person(30).as_next())
    return path


def test_a_proposal_is_put_together_and_handed_to_nodes(
    mpcseq: Run, devnet: Devnet, joiner: Path, tmp_path: Path
) -> None:
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
    ran = mpcseq(
        *("committee", "propose", "--committee", devnet.committee_path, "--offline", "--add", joiner),
        *("--node-folder", folders[0], "--node-folder", folders[1], "--out", tmp_path / "next.json", "--json"),
    )
    assert ran.status == 0, ran.err
    target = load_next(folders[0])
    assert target == load_next(folders[1]) == load_next(tmp_path / "next.json")
    assert ran.json["committee_hash"] == target.committee_hash().hex()
    assert (ran.json["members"], ran.json["threshold"], ran.json["approvals_needed"]) == (5, 4, 3)
    assert ran.json["joining"] == ["0x" + person(30).signer.address.hex()] and ran.json["leaving"] == []
    assert not ran.json["calls_off"]
    assert set(target.members) == {*members_of(devnet.file), person(30).as_next()}


def test_members_leave_and_a_proposal_is_started_from(
    mpcseq: Run, devnet: Devnet, joiner: Path, tmp_path: Path
) -> None:
    common = ("committee", "propose", "--committee", devnet.committee_path, "--offline")
    ran = mpcseq(*common, "--remove", 1, "--add", joiner, "--threshold", 2, "--out", tmp_path / "one.json", "--json")
    assert ran.status == 0, ran.err
    first = load_next(tmp_path / "one.json")
    assert first.threshold == 2 and len(first.members) == 4
    assert ran.json["leaving"] == ["0x" + devnet.file.committee.addresses[1].hex()]
    again = mpcseq(*common, "--members", tmp_path / "one.json", "--out", tmp_path / "two.json", "--json")
    assert again.status == 0 and again.json["committee_hash"] == first.committee_hash().hex()


def test_the_committee_as_it_is_calls_a_proposal_off(mpcseq: Run, devnet: Devnet) -> None:
    arguments = ("committee", "propose", "--committee", devnet.committee_path, "--offline")
    assert mpcseq(*arguments, "--json").json["calls_off"]
    assert "calls a proposal off" in mpcseq(*arguments).out


@pytest.mark.parametrize(
    ("options", "said", "advice"),
    [
        (("--remove", "0"), "a committee of 3 members is unsafe", "more members"),
        (("--remove", "9"), "--remove 9 is no present member", "0 .. 3"),
        (("--threshold", "4"), "a decryption threshold of 4 is unsafe with 4 members", "f+1 = 2 and n-f = 3"),
        (("--threshold", "1"), "a decryption threshold of 1 is unsafe", "f+1 = 2"),
        (("--add", "JOINER", "--add", "JOINER"), "two members have the consensus key", "each one once"),
        (("--add", "SAME_LOG"), "two members have the log key", "its own"),
        (("--add", "SAME_ENDPOINT"), "two members have the endpoint", "its own"),
        (("--node-folder", "/nowhere"), "/nowhere is not a folder", "node.json"),
        (("--out", "JOINER"), "exists", "--force"),
        (("--members", "JOINER"), "not an object of exactly", "mpcseq committee propose"),
        (("--add", "COMMITTEE"), "not an object of exactly", "mpcseq key identity"),
    ],
)
def test_an_unsafe_or_broken_proposal_is_refused_and_nothing_is_written(
    mpcseq: Run, devnet: Devnet, joiner: Path, tmp_path: Path, options: tuple[str, ...], said: str, advice: str
) -> None:
    present = members_of(devnet.file)
    other = person(31).as_next()
    shared = msgspec.structs.replace(other, log_key=present[0].log_key, tls_certificate=present[0].tls_certificate)
    save_member(tmp_path / "same_log.json", shared)
    save_member(tmp_path / "same_endpoint.json", msgspec.structs.replace(other, endpoint=present[0].endpoint))
    paths = {
        "JOINER": joiner,
        "SAME_LOG": tmp_path / "same_log.json",
        "SAME_ENDPOINT": tmp_path / "same_endpoint.json",
        "COMMITTEE": devnet.committee_path,
    }
    folder = tmp_path / "node"
    folder.mkdir()
    chosen = [paths.get(option, option) for option in options]
    cause, hint = mpcseq(
        *("committee", "propose", "--committee", devnet.committee_path, "--offline", "--node-folder", folder), *chosen
    ).error()
    assert said in cause and advice in hint
    assert list(folder.iterdir()) == []


def test_without_an_answer_nothing_is_proposed(mpcseq: Run, devnet: Devnet) -> None:
    cause, hint = mpcseq("committee", "propose", "--committee", devnet.committee_path, "--timeout", 0.5).error()
    assert "the present committee is not known" in cause and "--offline" in hint


# --- key identity ---------------------------------------------------------------------------------------------------
def test_a_keystore_s_identity_is_public_and_fits_its_keys(mpcseq: Run, devnet: Devnet, tmp_path: Path) -> None:
    keystore = devnet.node_folder(2) / "keystore.json"
    arguments = ("key", "identity", "--keystore", keystore, "--passphrase-file", devnet.passphrase_file)
    ran = mpcseq(*arguments, "--endpoint", "node.example:7000", "--out", tmp_path / "m.json", "--json")
    assert ran.status == 0, ran.err
    member, header = load_member(tmp_path / "m.json"), read_header(keystore)
    assert (member.consensus_key, member.log_key) == (header.consensus_key, header.log_key)
    assert member.endpoint == ran.json["endpoint"] == "node.example:7000"
    assert certificate_key(member.tls_certificate) == header.log_key
    held = open_keystore(keystore, devnet.passphrase_file.read_text().strip())
    assert held.consensus_secret is not None
    for secret in (held.consensus_secret, held.log_seed):
        assert secret.hex() not in (tmp_path / "m.json").read_text() + ran.out
    cause, _ = mpcseq(*arguments, "--endpoint", "node.example:7000", "--out", tmp_path / "m.json").error()
    assert "exists" in cause
    cause, _ = mpcseq(*arguments, "--endpoint", "nowhere", "--out", tmp_path / "n.json").error()
    assert "--endpoint" in cause and not (tmp_path / "n.json").exists()


# --- members of later epochs ----------------------------------------------------------------------------------------
class Villages(ServedMembers):
    """Members over real TLS: each in the epoch that its era is, with proofs of those before, and a word of what is
    under way."""

    def __init__(self, eras: list[Era], starts: list[EpochStart], phase: str = "given") -> None:
        super().__init__()
        self._eras, self._starts, self._phase = eras, starts, phase
        self.agreed: NextCommittee | None = None
        self.proposed: NextCommittee | None = None
        self.approvals = 0

    async def _start(self, nursery: trio.Nursery) -> None:
        era = self._eras[-1]
        for index, who in enumerate(era.people):
            served = NodeTransport(_file_of(era.people, era.committee), index, who.log_seed)
            await served.bind("127.0.0.1", int(who.endpoint.rpartition(":")[2]))
            nursery.start_soon(served.run)
            nursery.start_soon(self._answer, index, served.clients)

    async def _answer(self, index: int, clients: ClientServer) -> None:
        epoch = self._eras[-1].committee.epoch
        async for event in clients.events:
            if not isinstance(event, ClientRequestEvent):
                continue
            request = event.request
            reply: Any = None
            if isinstance(request, StatusQuery):
                reply = status_reply(index, request.request, epoch=epoch, key_phase=self._phase, height_final=70)
            elif isinstance(request, KeyQuery):
                reply = KeyReply(request.request, None, self._phase)
            elif isinstance(request, EpochsQuery):
                known = tuple(start for start in self._starts if start.epoch > request.after_epoch)
                reply = EpochsReply(request.request, known, self.agreed, self.proposed, self.approvals)
            if reply is not None:
                clients.reply(event.client_id, encode(reply))


def _file_of(people: tuple[Person, ...], committee: Committee) -> CommitteeFile:
    host_ports = [one.endpoint.rpartition(":") for one in people]
    endpoints = tuple((host, int(port)) for host, _, port in host_ports)
    certificates = tuple(member_certificate(one.log_seed) for one in people)
    return CommitteeFile(committee.genesis, committee, endpoints, certificates)


@pytest.fixture
def history(tmp_path: Path) -> tuple[list[Era], list[EpochStart]]:
    """Four members, then seven of which two stay; the first committee's file is written."""
    ports = free_ports(9)
    people = [person(40 + number, port) for number, port in enumerate(ports)]
    first = first_era(people[:4], 3, keyed=False)
    second, start = next_era(first, people[2:], 5)
    file = _file_of(first.people, first.committee)
    save_committee(tmp_path / "committee.json", committee_file(file.genesis, file.endpoints, file.certificates))
    return [first, second], [start]


@pytest.fixture
def villages(history: tuple[list[Era], list[EpochStart]]) -> Iterator[Villages]:
    with Villages(*history) as made:
        yield made


def test_status_shows_the_present_committee_from_the_first_one_s_file(
    mpcseq: Run, history: tuple[list[Era], list[EpochStart]], villages: Villages, tmp_path: Path
) -> None:
    era = history[0][1]
    arguments = ("committee", "status", "--committee", tmp_path / "committee.json")
    ran = mpcseq(*arguments, "--json")
    assert ran.status == 0, ran.err
    assert (ran.json["epoch"], ran.json["members"], ran.json["threshold"]) == (1, 7, 5)
    rows = ran.json["nodes"]
    assert [row["endpoint"] for row in rows] == [one.endpoint for one in era.people]
    assert [row["address"] for row in rows] == ["0x" + one.signer.address.hex() for one in era.people]
    assert {(row["epoch"], row["sharing"], row["height_final"]) for row in rows} == {(1, 1, 70)}
    assert ran.json["rotation"] is None
    people = mpcseq(*arguments)
    assert people.status == 0 and "epoch 1: 7 members, 2 may be faulty, 5 shares open an order" in people.out
    assert max(len(line.rstrip()) for line in people.out.splitlines()[1:]) <= 100
    only = mpcseq(*arguments, "--nodes", "6,0", "--json")
    assert [row["node"] for row in only.json["nodes"]] == [6, 0]
    cause, _ = mpcseq(*arguments, "--nodes", "7").error()
    assert "0 .. 6" in cause
    states = mpcseq("node", "status", "--committee", tmp_path / "committee.json", "--json")
    assert [row["node"] for row in states.json["nodes"]] == list(range(7))


def test_status_shows_a_rotation_under_way(
    mpcseq: Run, history: tuple[list[Era], list[EpochStart]], villages: Villages, tmp_path: Path
) -> None:
    era = history[0][1]
    stay = [one.as_next() for one in era.people[1:]]
    target = next_committee(5, [*stay, person(60).as_next()])
    villages.proposed, villages.approvals = target, 2
    arguments = ("committee", "status", "--committee", tmp_path / "committee.json")
    rotation = mpcseq(*arguments, "--json").json["rotation"]
    assert (rotation["agreed"], rotation["approvals"], rotation["approvals_needed"]) == (False, 2, 5)
    joining, leaving = rotation["joining"], rotation["leaving"]
    assert joining == [{"address": "0x" + person(60).signer.address.hex(), "endpoint": person(60).endpoint}]
    assert leaving == [{"address": "0x" + era.signer(0).address.hex(), "endpoint": era.people[0].endpoint}]
    assert rotation["phase"] is None and rotation["committee_hash"] == target.committee_hash().hex()
    villages.agreed, villages.proposed, villages.approvals, villages._phase = target, None, 5, "deals"
    rotation = mpcseq(*arguments, "--json").json["rotation"]
    assert (rotation["agreed"], rotation["approvals"], rotation["phase"]) == (True, 5, "deals")
    people = mpcseq(*arguments).out
    assert "agreed; 5 members approve, 5 decide" in people and person(60).endpoint in people


def test_a_proposal_follows_the_present_committee(
    mpcseq: Run, history: tuple[list[Era], list[EpochStart]], villages: Villages, tmp_path: Path
) -> None:
    era = history[0][1]
    ran = mpcseq(
        *("committee", "propose", "--committee", tmp_path / "committee.json", "--remove", 0, "--json"),
        *("--out", tmp_path / "next.json"),
    )
    assert ran.status == 0, ran.err
    assert (ran.json["after_epoch"], ran.json["members"], ran.json["approvals_needed"]) == (1, 6, 5)
    assert ran.json["leaving"] == ["0x" + era.signer(0).address.hex()]
    assert {one.endpoint for one in load_next(tmp_path / "next.json").members} == {
        one.endpoint for one in era.people[1:]
    }


def test_the_key_of_a_later_epoch_is_fetched_and_kept_with_its_proofs(
    mpcseq: Run, history: tuple[list[Era], list[EpochStart]], villages: Villages, tmp_path: Path
) -> None:
    first, second = history[0]
    out = tmp_path / "key.json"
    ran = mpcseq("committee", "key", "--committee", tmp_path / "committee.json", "--out", out, "--json")
    assert ran.status == 0, ran.err
    assert (ran.json["epoch"], ran.json["sharing"], ran.json["threshold"]) == (1, 1, 5)
    fresh = Committee(first.committee.genesis)
    key = load_key(out, fresh)
    assert key.public_key == second.committee.sealing_key.public_key == fresh.sealing_key.public_key
    document = json.loads(out.read_text())
    assert document["version"] == 2 and len(document["starts"]) == 1


def test_a_key_file_whose_proofs_do_not_hold_is_refused(
    history: tuple[list[Era], list[EpochStart]], tmp_path: Path
) -> None:
    first, second = history[0]
    save_epoch_key(tmp_path / "key.json", second.committee)
    good = json.loads((tmp_path / "key.json").read_text())
    for change, said in (
        ({"starts": []}, "starts"),
        ({"starts": ["0x00"]}, "proves no key"),
        ({"starts": good["starts"] * 2}, "proves no key"),
        ({"starts": [7]}, "starts"),
        ({"key_id": "0x" + "11" * 32}, "which the file proves"),
        ({"version": 1}, "not an object"),
    ):
        (tmp_path / "bad.json").write_text(json.dumps(good | change))
        fresh = Committee(first.committee.genesis)
        with pytest.raises(ConfigError, match=said):
            load_key(tmp_path / "bad.json", fresh)
        assert fresh.keys is None
    with pytest.raises(ConfigError, match="first epoch"):
        save_epoch_key(tmp_path / "x.json", first.committee)


def test_the_proofs_stand_beside_the_receipts_and_are_judged_when_read(
    history: tuple[list[Era], list[EpochStart]], tmp_path: Path
) -> None:
    first, second = history[0]
    path = tmp_path / "receipts"
    with ReceiptStore(path, first.committee) as store:
        store.follow(first.committee)
        assert not beside(path).exists()
        store.follow(second.committee)
    found = load_epochs(beside(path), first.committee)
    assert sorted(found) == [0, 1] and found[1].addresses == second.committee.addresses
    before = beside(path).stat().st_mtime_ns
    with ReceiptStore(path, first.committee) as store:
        store.follow(second.committee)
    assert beside(path).stat().st_mtime_ns == before, "known already"
    good = json.loads(beside(path).read_text())
    other = first_era(list(first.people), 3, settlement=b"\x5f" * 20).committee
    with pytest.raises(ConfigError, match="another deployment"):
        load_epochs(beside(path), other)
    for change, said in (
        ({"starts": ["0x00"]}, r"starts\[0\] proves no epoch"),
        ({"starts": ["00"]}, "lower-case hex"),
        ({"starts": {}}, "not a list"),
        ({"version": 2}, "version"),
        ({"more": 1}, "not an object"),
    ):
        beside(path).write_text(json.dumps(good | change))
        with pytest.raises(ConfigError, match=said):
            load_epochs(beside(path), first.committee)
    save_epochs(beside(path), second.committee)
    assert sorted(load_epochs(beside(path), first.committee)) == [0, 1]


# --- rotate ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--to", "3"), "a committee of 3 members is unsafe"),
        (("--to", "41"), "a committee of 41 members is unsafe"),
        (("--to", "7", "--threshold", "6"), "a decryption threshold of 6 is unsafe with 7 members"),
        (("--to", "7"), "no member of the devnet answers"),
    ],
)
def test_a_rehearsal_that_cannot_be_is_refused(
    mpcseq: Run, devnet: Devnet, options: tuple[str, ...], said: str
) -> None:
    cause, _ = mpcseq("committee", "rotate", "--devnet", devnet.folder, *options).error()
    assert said in cause
    assert len(rehearsing.node_folders(devnet)) == 4


def test_the_last_members_leave_or_new_ones_join() -> None:
    present = [person(number).as_next() for number in range(7)]
    joiners = [person(number).as_next() for number in (8, 9)]
    assert rehearsing.next_members(present, 9, joiners) == [*present, *joiners]
    assert rehearsing.next_members(present, 4, []) == present[:4]


def test_nodes_that_were_asked_for_are_started_once_and_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    devnet = SimpleNamespace(node_folder=lambda number: tmp_path / f"node-{number}")
    for number in range(4):
        (tmp_path / f"node-{number}").mkdir()
    started: list[int] = []
    monkeypatch.setattr(rehearsing, "NodeProcess", lambda _devnet, number: started.append(number) or number)
    processes: Any = SimpleNamespace(nodes=[0, 1])
    assert rehearsing.start_wanted(devnet, processes) == []  # type: ignore[arg-type]
    rehearsing.want_started(tmp_path / "node-3")
    assert rehearsing.start_wanted(devnet, processes) == [3], "node 2 is of an earlier run"  # type: ignore[arg-type]
    assert rehearsing.start_wanted(devnet, processes) == [] and started == [3]  # type: ignore[arg-type]
    assert processes.nodes == [0, 1, 3]


def test_what_most_members_say_of_a_rotation_is_shown() -> None:
    target = next_committee(3, [person(number).as_next() for number in range(4)])
    more, most, liar = (
        EpochsReply(1, (), None, target, 2),
        EpochsReply(2, (), None, target, 1),
        EpochsReply(3, (), target, None, 40),
    )
    shown = queries._most_said([liar, most, more, msgspec.structs.replace(most, request=9)])
    assert shown is not None and (shown.approvals, shown.agreed) == (1, None)
    assert queries._most_said([most, more]) == msgspec.structs.replace(more, request=0), "who has seen most of as many"
    assert queries._most_said([]) is None
