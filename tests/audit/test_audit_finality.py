"""One thing wrong in what makes a block final is exactly one finding of its own code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mpc_sequencer.core import transcript
from mpc_sequencer.core.types import NOTARIZE, CertificateVote
from tests.audit.audited_deployment import replace, secret
from tests.audit.log_builder import LogBuilder
from tests.audit.log_samples import codes, first_batch


def test_a_block_without_finality_before_the_next_is_found(tmp_path: Path) -> None:
    log = LogBuilder()
    first_batch(log, finality=False)
    log.block()
    assert codes(log, tmp_path) == ["finality.missing"]


def test_a_certificate_with_q_minus_1_signers_is_found(tmp_path: Path) -> None:
    log = LogBuilder()
    first_batch(log, edit_certificate=lambda certificate: replace(certificate, votes=certificate.votes[:2]))
    assert codes(log, tmp_path) == ["finality.quorum"]


def test_a_certificate_with_a_repeated_signer_is_found(tmp_path: Path) -> None:
    log = LogBuilder()
    repeat = lambda certificate: replace(certificate, votes=(certificate.votes[0], *certificate.votes[:2]))  # noqa: E731
    first_batch(log, edit_certificate=repeat)
    assert codes(log, tmp_path) == ["finality.quorum"]


def test_a_vote_by_another_key_is_found(tmp_path: Path) -> None:
    log = LogBuilder()

    def forge(certificate: Any) -> Any:
        forged = CertificateVote(3, certificate.votes[1].signature)
        return replace(certificate, votes=(*certificate.votes[:2], forged))

    first_batch(log, edit_certificate=forge)
    assert codes(log, tmp_path) == ["finality.signature"]


def test_a_notarization_is_no_finalization(tmp_path: Path) -> None:
    log = LogBuilder()
    first_batch(log, finality=False)
    header = log.blocks[1].header
    log.append(transcript.FinalityEntry(header.block_id(), log.certificate(header, kind=NOTARIZE), ()))
    assert codes(log, tmp_path) == ["finality.block"]


def by_descendant(log: LogBuilder) -> tuple[Any, Any]:
    """Blocks 1 and 2, where block 1 is to be finalized by block 2's certificate."""
    first_batch(log, finality=False)
    ahead = LogBuilder()
    first_batch(ahead)
    child = ahead.block()
    return log.blocks[1].header, child.header


def test_a_block_is_final_by_a_descendants_certificate(tmp_path: Path) -> None:
    log = LogBuilder()
    parent, child = by_descendant(log)
    log.append(transcript.FinalityEntry(parent.block_id(), log.certificate(child), (child,)))
    assert log.block().header == child
    assert codes(log, tmp_path) == []


def test_a_path_that_does_not_lead_from_the_block_is_found(tmp_path: Path) -> None:
    log = LogBuilder()
    parent, child = by_descendant(log)
    stray = replace(child, parent_id=secret("another block"))
    log.append(transcript.FinalityEntry(parent.block_id(), log.certificate(stray), (stray,)))
    assert codes(log, tmp_path) == ["finality.path"]


def test_two_final_blocks_of_one_height_are_found(tmp_path: Path) -> None:
    log = LogBuilder()
    parent, child = by_descendant(log)
    log.append(transcript.FinalityEntry(parent.block_id(), log.certificate(child), (child,)))
    log.block(200)
    assert codes(log, tmp_path) == ["finality.fork"]
