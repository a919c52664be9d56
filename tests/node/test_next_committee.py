"""The proposal in a node's folder and a joiner's public file: read strictly, in one order, every fault named."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from coincurve import PrivateKey

from mpc_sequencer.core import rotation, signing
from mpc_sequencer.core.errors import ConfigError
from mpc_sequencer.core.types import NextMember
from mpc_sequencer.node import next_committee as files
from mpc_sequencer.node import tls


def secret(name: str, index: int) -> bytes:
    return hashlib.sha256(f"{name}/{index}".encode()).digest()


def joiner(number: int, endpoint: str = "127.0.0.1:9000") -> NextMember:
    seed = secret("log", 100 + number)
    public_key = PrivateKey(secret("consensus", 100 + number)).public_key.format()
    return files.next_member(public_key, tls.log_key(seed), endpoint, tls.member_certificate(seed))


def test_a_proposal_reads_back_from_the_folder_it_was_put_into(house: Any, tmp_path: Path) -> None:
    target = files.next_committee(4, [*files.members_of(house.file), joiner(0)])
    files.save_next(tmp_path, target)
    assert (tmp_path / "next-committee.json").stat().st_mode & 0o777 == 0o644
    assert [path.name for path in tmp_path.iterdir()] == ["next-committee.json"]
    assert files.load_next(tmp_path) == files.load_next(tmp_path / "next-committee.json") == target
    rotation.check_next(house.file.committee, target)


def test_operators_who_name_the_same_members_in_another_order_propose_one_committee(house: Any) -> None:
    members = [*files.members_of(house.file), joiner(0), joiner(1)]
    one, other = files.next_committee(4, members), files.next_committee(4, members[::-1])
    assert one.committee_hash() == other.committee_hash()
    addresses = [signing.address_of(member.consensus_key) for member in one.members]
    assert addresses == sorted(addresses)


def test_the_committee_as_it_is_can_be_proposed_to_call_another_off(house: Any) -> None:
    target = files.next_committee(house.file.committee.t, files.members_of(house.file))
    assert rotation.is_same(house.file.committee, target)


def test_a_joiner_s_file_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "member.json"
    for endpoint in ("node.example:7000", "[::1]:7000"):
        files.save_member(path, joiner(3, endpoint))
        assert files.load_member(path) == joiner(3, endpoint)


Change = Callable[[dict[str, Any]], object]


def _of_another_key(row: dict[str, Any]) -> None:
    row["tls_certificate"] = "0x" + tls.member_certificate(secret("log", 7)).hex()


def _bent_certificate(row: dict[str, Any]) -> None:
    row["tls_certificate"] = row["tls_certificate"][:-2] + ("00" if row["tls_certificate"][-2:] != "00" else "01")


WRONG_MEMBERS: list[tuple[Change, str]] = [
    (lambda row: row.pop("log_key"), "not an object of exactly"),
    (lambda row: row.update(secret="0x00"), "not an object of exactly"),
    (lambda row: row.update(consensus_key="0x02" + "ff" * 32), "not a point"),
    (lambda row: row.update(consensus_key="0x02"), "expected"),
    (lambda row: row.update(log_key=row["log_key"].upper()), "lower-case hex"),
    (lambda row: row.update(log_key="0x" + "11" * 32), "not of the member's log key"),
    (lambda row: row.update(endpoint="nowhere"), "host:port"),
    (lambda row: row.update(endpoint="host:0"), "host:port"),
    (lambda row: row.update(endpoint=7000), "host:port"),
    (lambda row: row.update(endpoint="a" * 300 + ":7000"), "expected"),
    (lambda row: row.update(tls_certificate="0x"), "no member certificate"),
    (_of_another_key, "not of the member's log key"),
    (_bent_certificate, "no member certificate"),
]


@pytest.mark.parametrize(("change", "said"), WRONG_MEMBERS)
def test_a_wrong_member_is_refused_in_both_files(house: Any, tmp_path: Path, change: Change, said: str) -> None:
    own, proposal = tmp_path / "member.json", tmp_path / "next-committee.json"
    files.save_member(own, joiner(0))
    document = json.loads(own.read_text())
    change(document)
    own.write_text(json.dumps(document))
    with pytest.raises(ConfigError, match=said) as caught:
        files.load_member(own)
    assert caught.value.hint in ("write the member's file with `mpcseq key identity`", "for example 127.0.0.1:7000")

    files.save_next(proposal, files.next_committee(4, [*files.members_of(house.file), joiner(0)]))
    document = json.loads(proposal.read_text())
    change(document["members"][2])
    proposal.write_text(json.dumps(document))
    with pytest.raises(ConfigError, match=said) as caught:
        files.load_next(proposal)
    assert r"members[2]" in caught.value.cause
    assert caught.value.hint in ("write the proposal with `mpcseq committee propose`", "for example 127.0.0.1:7000")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda document: document.update(version=2), "version is 2, expected 1"),
        (lambda document: document.update(version=True), "version is True, expected 1"),
        (lambda document: document.update(threshold="3"), "threshold is '3'"),
        (lambda document: document.update(threshold=0), "threshold is 0"),
        (lambda document: document.update(members=[]), "members is "),
        (lambda document: document.update(members=document["members"] * 11), "members is "),
        (lambda document: document.update(members=[1]), "not an object"),
        (lambda document: document.pop("threshold"), "not an object of exactly"),
        (lambda document: document.update(epoch=1), "not an object of exactly"),
    ],
)
def test_a_wrong_proposal_is_refused(house: Any, tmp_path: Path, change: Change, said: str) -> None:
    path = tmp_path / "next-committee.json"
    files.save_next(path, files.next_committee(3, files.members_of(house.file)))
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    with pytest.raises(ConfigError) as caught:
        files.load_next(path)
    assert said in caught.value.cause


def test_a_proposal_of_more_members_than_a_committee_may_have_is_refused() -> None:
    with pytest.raises(ConfigError, match="members"):
        files.next_committee(30, [joiner(number) for number in range(41)])


def test_a_folder_without_a_proposal_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read .*next-committee\.json"):
        files.load_next(tmp_path)
