"""The proofs of later epochs on disk, so that what was signed in them can be verified without any member.

The file is JSON like the committee file, and belongs to it: it names the deployment and holds the encoded
:class:`~mpc_sequencer.core.types.EpochStart` of every epoch from the second on, as lower-case hex. Nothing in it is
secret, and nothing in it is believed: it is verified anew, from the first committee on, whenever it is read.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from mpc_sequencer.core import codec
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.errors import ConfigError, ProtocolError
from mpc_sequencer.core.evidence import EVIDENCE_STARTS_MAX
from mpc_sequencer.core.rotation import follow
from mpc_sequencer.core.types import EpochStart
from mpc_sequencer.node import files
from threshold import ThresholdError

EPOCHS_FILE_VERSION: Final = 1
EPOCHS_FILE_BYTES_MAX: Final = 1 << 26
_FIELDS: Final = {"version", "genesis", "starts"}
_HEX: Final = re.compile(r"0x(?:[0-9a-f]{2})*")
_HINT: Final = "remove the file: a client that reaches a member writes it anew"


def beside(path: Path) -> Path:
    """Where the proofs stand that go with a receipt file."""
    return path.with_name(path.name + ".epochs")


def save_epochs(path: Path, committee: Committee) -> None:
    """Write the proofs that lead to ``committee``, atomically. Raises :class:`ConfigError`."""
    document = {
        "version": EPOCHS_FILE_VERSION,
        "genesis": "0x" + committee.genesis_id.hex(),
        "starts": ["0x" + codec.encode(start).hex() for start in committee.starts],
    }
    files.write_atomically(path, files.to_json_text(document), mode=0o644)


def load_epochs(path: Path, committee: Committee) -> dict[int, Committee]:
    """The committees by epoch, ``committee`` and what the file proves to follow it; only ``committee`` where there is
    no file. Raises :class:`ConfigError` that names what is wrong."""
    found = {committee.epoch: committee}
    if not path.exists():
        return found
    document = files.read_json(path, EPOCHS_FILE_BYTES_MAX, _HINT)
    if not isinstance(document, dict) or set(document) != _FIELDS:
        raise ConfigError(f"{path} is not an object of exactly {', '.join(sorted(_FIELDS))}", _HINT)
    if type(document["version"]) is not int or document["version"] != EPOCHS_FILE_VERSION:
        raise ConfigError(f"{path}: version is not {EPOCHS_FILE_VERSION}", _HINT)
    if document["genesis"] != "0x" + committee.genesis_id.hex():
        raise ConfigError(f"{path} is of another deployment than the committee file", "use this deployment's own")
    rows = document["starts"]
    if not isinstance(rows, list) or len(rows) > EVIDENCE_STARTS_MAX:
        raise ConfigError(f"{path}: starts is not a list of at most {EVIDENCE_STARTS_MAX} proofs", _HINT)
    newest = committee
    for number, row in enumerate(rows):
        if not isinstance(row, str) or not _HEX.fullmatch(row):
            raise ConfigError(f"{path}: starts[{number}] is not 0x and lower-case hex", _HINT)
        try:
            start: EpochStart = codec.decode(EpochStart, bytes.fromhex(row[2:]))
            if start.epoch > newest.epoch:
                newest = found[start.epoch] = follow(newest, start)
        except (ProtocolError, ThresholdError, ConfigError) as refusal:
            raise ConfigError(f"{path}: starts[{number}] proves no epoch: {refusal}", _HINT) from None
    return found
