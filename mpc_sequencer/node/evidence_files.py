"""Evidence on disk: one file per conviction, written once, whole, and read back strictly."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.errors import ConfigError
from mpc_sequencer.core.evidence import (
    EVIDENCE_BYTES_MAX,
    MAGIC,
    EvidenceFile,
    decode_file,
    encode_file,
    file_name,
)
from mpc_sequencer.core.offences import Offence
from mpc_sequencer.node import files

FOLDER: Final = "evidence"
_HINT: Final = "give a file that ends in .evidence, as a member or `mpcseq evidence receipt` writes it"


def write_evidence(folder: Path, offence: Offence, committee: Committee) -> Path:
    """Write the offence's file into ``folder``, made where it is missing; its path. One that is there already says
    the same and stays. Raises :class:`ConfigError`."""
    try:
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot make {folder}: {error.strerror}", "check the folder above it") from None
    path = folder / file_name(offence)
    if not path.exists():
        files.write_atomically(path, encode_file(offence, committee), mode=0o644)
    return path


def read_evidence(path: Path) -> EvidenceFile:
    """Read an evidence file; :func:`mpc_sequencer.core.evidence.verify_file` judges it.

    Raises :class:`ConfigError` where it cannot be read, :class:`ProtocolError` where it is no evidence file.
    """
    return decode_file(files.read_bounded(path, len(MAGIC) + EVIDENCE_BYTES_MAX, _HINT))
