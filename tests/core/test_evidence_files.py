"""Evidence as a file: it gives back what was written, convicts alone, and is read strictly."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from convicting_kit import CONVICTING, GUILTY, D, X, revealed
from core_kit import make_certificate, refused

from mpc_sequencer.core.codec import encode
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.errors import ConfigError
from mpc_sequencer.core.evidence import MAGIC, decode_file, encode_file, file_name, verify_file
from mpc_sequencer.core.offences import KIND_NAMES, BadShares, SealedBytes
from mpc_sequencer.core.types import FINALIZE, ZERO_HASH
from mpc_sequencer.node.evidence_files import read_evidence, write_evidence
from mpc_sequencer.sim import make_deployment

replace = msgspec.structs.replace


@pytest.mark.parametrize("name", CONVICTING)
def test_a_file_gives_back_what_was_written_and_convicts_alone(name: str, tmp_path: Path) -> None:
    offence = CONVICTING[name]()
    path = write_evidence(tmp_path / "evidence", offence, D.committee)
    assert path.name == file_name(offence)
    assert path.name.startswith(f"{KIND_NAMES[type(offence)]}-{GUILTY}-") and path.suffix == ".evidence"
    assert path.read_bytes().startswith(MAGIC)
    file = read_evidence(path)
    assert file.offence == offence
    assert verify_file(file, Committee(D.committee.genesis)).node == GUILTY
    before = path.stat().st_mtime_ns
    assert write_evidence(tmp_path / "evidence", offence, D.committee) == path
    assert path.stat().st_mtime_ns == before, "what is there says the same and stays"
    assert [one.name for one in path.parent.iterdir()] == [path.name], "no temporary file is left"


def test_a_file_is_read_strictly(tmp_path: Path) -> None:
    data = encode_file(CONVICTING["two lists of one number"](), D.committee)
    for bad, code in [
        (b"", "evidence.file"),
        (data.replace(b"v1\n", b"v2\n", 1), "evidence.file"),
        (data[len(MAGIC) :], "evidence.file"),
        (data[:-1], "wire.malformed"),
        (data + b"\x00", "wire.malformed"),
        (MAGIC + encode((bytes(32), (99,))), "wire.type"),
    ]:
        (tmp_path / "bad").write_bytes(bad)
        with refused(code):
            read_evidence(tmp_path / "bad")
    (tmp_path / "large").write_bytes(MAGIC + bytes(1 << 25))
    with pytest.raises(ConfigError, match="larger"):
        read_evidence(tmp_path / "large")
    with pytest.raises(ConfigError, match="cannot read"):
        read_evidence(tmp_path / "none")


def test_a_file_of_another_committee_is_told_apart() -> None:
    offence = CONVICTING["two lists of one number"]()
    file = decode_file(encode_file(offence, D.committee))
    with refused("evidence.genesis"):
        verify_file(file, make_deployment(4, seed=3).committee)
    with refused("evidence.genesis"):
        verify_file(replace(file, genesis=ZERO_HASH), D.committee)


def test_the_largest_evidence_fits_a_file() -> None:
    """Bad shares of a full batch, with as many large ciphertexts as a batch may have, the others as large as small ones
    may be."""
    from mpc_sequencer.core import limits
    from mpc_sequencer.core.evidence import EVIDENCE_BYTES_MAX

    bundle, block, _ = revealed()
    full = limits.BATCH_ORDERS_MAX
    large = limits.BATCH_LARGE_BYTES_MAX // limits.DARK_SIZE_BUCKETS_BYTES[-1]
    orders = (SealedBytes(bytes(101), bytes(limits.ENVELOPE_BYTES_MAX)),) * large
    orders += (SealedBytes(bytes(101), bytes(limits.FORCED_BYTES_MAX)),) * (full - large)
    votes = make_certificate(D, FINALIZE, 1, X, nodes=(0,)).votes * limits.COMMITTEE_MEMBERS_MAX
    largest = BadShares(
        replace(
            bundle,
            shares=bundle.shares[:1] * full,
            path=(block.header,) * limits.HEADER_PATH_MAX,
            certificate=replace(bundle.certificate, votes=votes),
        ),
        block.header,
        block.batch[:1] * full,
        orders,
    )
    assert len(encode_file(largest, D.committee)) < EVIDENCE_BYTES_MAX
