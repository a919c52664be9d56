"""Evidence about a later epoch convicts by the first committee's file alone, and only whom it is about."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from epoch_kit import Era, first_era, next_era, person, resigned

from mpc_sequencer.cli.app import run
from mpc_sequencer.core.codec import encode
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.evidence import (
    EVIDENCE_BYTES_MAX,
    EVIDENCE_STARTS_MAX,
    MAGIC,
    EvidenceFile,
    committee_of,
    decode_file,
    encode_file,
    verify_file,
)
from mpc_sequencer.core.offences import BrokenReceipt, ListEquivocation
from mpc_sequencer.core.types import NO_SIGNATURE, EpochStart, OrderList, Receipt, with_signature
from mpc_sequencer.node.config import committee_file, save_committee
from mpc_sequencer.node.evidence_files import read_evidence, write_evidence
from mpc_sequencer.node.next_committee import members_of
from mpc_sequencer.node.tls import member_certificate

replace = msgspec.structs.replace
OLD = [person(number) for number in range(4)]
NEW = [person(number) for number in range(2, 9)]
LAST = [person(number) for number in range(5, 9)]


@pytest.fixture(scope="module")
def history() -> tuple[list[Era], list[EpochStart]]:
    first = first_era(OLD, 3)
    second, start = next_era(first, NEW, 5)
    third, later = next_era(second, LAST, 3)
    return [first, second, third], [start, later]


def offence(era: Era, node: int) -> ListEquivocation:
    def listed(entry: bytes) -> OrderList:
        unsigned = OrderList(era.committee.epoch, 0, node, 1, bytes(32), (entry,), NO_SIGNATURE)
        return with_signature(unsigned, era.signer(node).sign_digest(era.committee.digest(unsigned.struct_hash())))

    return ListEquivocation(listed(b"\x01" * 32), listed(b"\x02" * 32))


def test_an_offence_of_any_epoch_convicts_by_the_first_committee_alone(
    history: tuple[list[Era], list[EpochStart]],
) -> None:
    eras, starts = history
    for number, era in enumerate(eras):
        for node in range(era.committee.n):
            file = decode_file(encode_file(offence(era, node), era.committee))
            assert file.starts == tuple(starts[:number])
            assert verify_file(file, Committee(eras[0].committee.genesis)).node == node
            assert committee_of(file, eras[0].committee).addresses[node] == era.signer(node).address
            assert verify_file(file, era.committee).node == node, "and by the committee of its epoch"


def test_a_broken_receipt_of_an_epoch_that_is_over_convicts(history: tuple[list[Era], list[EpochStart]]) -> None:
    era = history[0][1]
    listed = offence(era, 2).first
    unsigned = Receipt(1, 0, b"\x07" * 32, 2, 1, 5, NO_SIGNATURE)
    receipt = with_signature(unsigned, era.signer(2).sign_digest(era.committee.digest(unsigned.struct_hash())))
    file = decode_file(encode_file(BrokenReceipt(receipt, listed), era.committee))
    assert verify_file(file, history[0][0].committee).kind == "broken-receipt"


def test_evidence_without_the_proofs_or_with_other_ones_convicts_nobody(
    history: tuple[list[Era], list[EpochStart]],
) -> None:
    (first, second, third), (start, later) = history
    file = decode_file(encode_file(offence(third, 1), third.committee))
    other = next_era(first_era(OLD, 3, settlement=b"\x5f" * 20), NEW, 5)[1]
    for starts, code in (
        ((), "evidence.epoch"),
        ((start,), "evidence.epoch"),
        ((later,), "evidence.starts"),
        ((later, start), "evidence.starts"),
        ((start, start, later), "evidence.starts"),
        ((resigned(first, start, by=(0, 1)), later), "evidence.starts"),
        ((other, later), "evidence.starts"),
        ((start, replace(later, result=start.result)), "evidence.starts"),
    ):
        with pytest.raises(ProtocolError) as caught:
            verify_file(replace(file, starts=starts), first.committee)
        assert caught.value.code == code, starts
    of_the_second = decode_file(encode_file(offence(second, 0), second.committee))
    with pytest.raises(ProtocolError, match=r"evidence\.epoch"):
        verify_file(replace(of_the_second, starts=(start, later)), first.committee)


def test_the_chain_of_epochs_is_bounded(history: tuple[list[Era], list[EpochStart]]) -> None:
    (first, second, _), (start, _) = history
    told = offence(second, 0)
    tiny = replace(start, result=b"\x01", handover=start.handover[:1])
    tiny = replace(tiny, committee=replace(tiny.committee, members=tiny.committee.members[:1]))
    many = EvidenceFile(first.committee.genesis_id, told, None, (tiny,) * (EVIDENCE_STARTS_MAX + 1))
    assert len(encode(many)) < EVIDENCE_BYTES_MAX
    with pytest.raises(ProtocolError, match=r"wire\.bound"):
        decode_file(MAGIC + encode(many))
    with pytest.raises(ProtocolError, match=r"wire\.size"):
        decode_file(MAGIC + bytes(EVIDENCE_BYTES_MAX + 1))


def test_the_command_names_the_member_of_its_epoch(
    history: tuple[list[Era], list[EpochStart]], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (first, second, _), _ = history
    endpoints = [("127.0.0.1", 9_100 + one.number) for one in first.people]
    certificates = [member_certificate(one.log_seed) for one in first.people]
    file = committee_file(first.committee.genesis, endpoints, certificates)
    assert [one.consensus_key for one in members_of(file)] == [one.signer.public_key for one in first.people]
    save_committee(tmp_path / "committee.json", file)
    path = write_evidence(tmp_path / "evidence", offence(second, 6), second.committee)
    assert read_evidence(path).starts
    command = ["evidence", "verify", str(path), "--committee", str(tmp_path / "committee.json"), "--json"]
    assert run(command) == 0
    told = msgspec.json.decode(capfd.readouterr().out)
    assert (told["node"], told["epoch"], told["address"]) == (6, 1, "0x" + second.signer(6).address.hex())
