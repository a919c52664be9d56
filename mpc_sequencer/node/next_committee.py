"""The committee that an operator wants to follow, in two kinds of file that hold no secret.

``next-committee.json`` in a node's folder is its operator's word: the node that finds it there approves that committee
(:mod:`mpc_sequencer.core.rotation`). ``member.json`` is what somebody who is to join hands to the operators: its public
keys, where it listens, and its TLS certificate::

    {"version": 1, "threshold": 5, "members": [{"consensus_key": "0x..", "log_key": "0x..", "endpoint": "host:port",
     "tls_certificate": "0x.."}, ..]}
    {"version": 1, "consensus_key": "0x..", "log_key": "0x..", "endpoint": "host:port", "tls_certificate": "0x.."}

Reading is strict, as for the committee file: no unknown, missing or repeated field; bytes as lower-case hex; a
certificate must carry its member's log key. A file may list members in any order; a proposal has them ascending by
consensus address, so that operators who write the same members write one committee. Whether that may follow a given
committee is not decided here but by :func:`~mpc_sequencer.core.rotation.check_next`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from mpc_sequencer.core import codec, limits, signing
from mpc_sequencer.core.errors import ConfigError, ProtocolError
from mpc_sequencer.core.types import NextCommittee, NextMember
from mpc_sequencer.node import files, tls
from mpc_sequencer.node.config import CommitteeFile, format_endpoint, parse_endpoint

NEXT_COMMITTEE_NAME: Final = "next-committee.json"
FILE_VERSION: Final = 1
FILE_BYTES_MAX: Final = 1 << 18
"""40 members with the longest endpoints and certificates take some 65 kB as hex."""
_MEMBER_FIELDS: Final = ("consensus_key", "log_key", "endpoint", "tls_certificate")
_HINT_NEXT: Final = "write the proposal with `mpcseq committee propose`"
_HINT_MEMBER: Final = "write the member's file with `mpcseq key identity`"
_HEX: Final = re.compile(r"0x(?:[0-9a-f]{2})*")
_SHOWN_CHARACTERS_MAX: Final = 80


def next_member(consensus_key: bytes, log_key: bytes, endpoint: str, tls_certificate: bytes) -> NextMember:
    """A checked member of a proposal. Raises :class:`ConfigError` that names what is wrong."""
    return _checked(NextMember(consensus_key, log_key, endpoint, tls_certificate), "the member", _HINT_MEMBER)


def next_committee(threshold: int, members: Sequence[NextMember]) -> NextCommittee:
    """The proposal of these members, in its one order. Raises :class:`ConfigError` where a key is no point or there are
    more members than a committee may have."""
    try:
        ordered = sorted(members, key=lambda member: signing.address_of(member.consensus_key))
    except ValueError:
        raise ConfigError("a member's consensus key is not a point of secp256k1", _HINT_MEMBER) from None
    target = NextCommittee(threshold, tuple(ordered))
    try:
        decoded: NextCommittee = codec.decode(NextCommittee, codec.encode(target))
    except ProtocolError as error:
        cause = f"the proposal's {error.field} is {error.seen}, expected {error.expected}"
        raise ConfigError(cause, _HINT_NEXT) from None
    return decoded


def members_of(file: CommitteeFile) -> tuple[NextMember, ...]:
    """The members of a committee file, as a proposal names them."""
    return tuple(
        NextMember(member.consensus_key, member.log_key, format_endpoint(endpoint), certificate)
        for member, endpoint, certificate in zip(file.genesis.members, file.endpoints, file.certificates, strict=True)
    )


# --- the proposal ---------------------------------------------------------------------------------------------------
def load_next(path: Path) -> NextCommittee:
    """Read a proposal; ``path`` is the file, or a node's folder. Raises :class:`ConfigError`."""
    path = path / NEXT_COMMITTEE_NAME if path.is_dir() else path
    document = _document(path, ("version", "threshold", "members"), _HINT_NEXT)
    threshold, rows = document["threshold"], document["members"]
    if type(threshold) is not int or not 1 <= threshold <= limits.COMMITTEE_MEMBERS_MAX:
        raise _wrong(f"{path}: threshold", threshold, f"1 .. {limits.COMMITTEE_MEMBERS_MAX}", _HINT_NEXT)
    if not isinstance(rows, list) or not 1 <= len(rows) <= limits.COMMITTEE_MEMBERS_MAX:
        expected = f"a list of 1 .. {limits.COMMITTEE_MEMBERS_MAX} members"
        raise _wrong(f"{path}: members", rows, expected, _HINT_NEXT)
    members = [_member(row, f"{path}: members[{number}]", _HINT_NEXT) for number, row in enumerate(rows)]
    return next_committee(threshold, members)


def save_next(path: Path, target: NextCommittee) -> None:
    """Write a proposal atomically, so that a node that is looking for it never reads half of it; ``path`` is the file,
    or a node's folder. Raises :class:`ConfigError`."""
    path = path / NEXT_COMMITTEE_NAME if path.is_dir() else path
    rows = [_row(member) for member in target.members]
    document = {"version": FILE_VERSION, "threshold": target.threshold, "members": rows}
    files.write_atomically(path, files.to_json_text(document), mode=0o644)


# --- one who is to join ---------------------------------------------------------------------------------------------
def load_member(path: Path) -> NextMember:
    """Read the public identity of somebody who is to join. Raises :class:`ConfigError`."""
    document = _document(path, ("version", *_MEMBER_FIELDS), _HINT_MEMBER)
    return _member({name: document[name] for name in _MEMBER_FIELDS}, str(path), _HINT_MEMBER)


def save_member(path: Path, member: NextMember) -> None:
    """Write a public identity; :func:`load_member` gives it back. Raises :class:`ConfigError`."""
    document = {"version": FILE_VERSION, **_row(member)}
    files.write_atomically(path, files.to_json_text(document), mode=0o644)


# --- common to both -------------------------------------------------------------------------------------------------
def _document(path: Path, fields: Sequence[str], hint: str) -> dict[str, Any]:
    document = files.read_json(path, FILE_BYTES_MAX, hint)
    if not isinstance(document, dict) or set(document) != set(fields):
        raise ConfigError(f"{path} is not an object of exactly {', '.join(fields)}", hint)
    version = document["version"]
    if type(version) is not int or version != FILE_VERSION:
        raise _wrong(f"{path}: version", version, str(FILE_VERSION), hint)
    return document


def _row(member: NextMember) -> dict[str, str]:
    return {
        "consensus_key": "0x" + member.consensus_key.hex(),
        "log_key": "0x" + member.log_key.hex(),
        "endpoint": member.endpoint,
        "tls_certificate": "0x" + member.tls_certificate.hex(),
    }


def _member(row: object, where: str, hint: str) -> NextMember:
    if not isinstance(row, dict) or set(row) != set(_MEMBER_FIELDS):
        raise ConfigError(f"{where} is not an object of exactly {', '.join(_MEMBER_FIELDS)}", hint)
    values = []
    for name in ("consensus_key", "log_key", "tls_certificate"):
        if not isinstance(row[name], str) or not _HEX.fullmatch(row[name]):
            raise _wrong(f"{where}.{name}", row[name], "0x and lower-case hex", hint)
        values.append(bytes.fromhex(row[name][2:]))
    endpoint = format_endpoint(parse_endpoint(row["endpoint"], f"{where}.endpoint"))
    return _checked(NextMember(values[0], values[1], endpoint, values[2]), where, hint)


def _checked(member: NextMember, where: str, hint: str) -> NextMember:
    try:
        checked: NextMember = codec.decode(NextMember, codec.encode(member))  # the wire's own decoder holds every bound
        signing.address_of(checked.consensus_key)
    except ProtocolError as error:
        raise ConfigError(f"{where}: {error.field} is {error.seen}, expected {error.expected}", hint) from None
    except ValueError:
        raise ConfigError(f"{where}: consensus_key is not a point of secp256k1", hint) from None
    parse_endpoint(checked.endpoint, f"{where}: endpoint")
    try:
        carried = tls.certificate_key(checked.tls_certificate)
    except ValueError as error:
        raise ConfigError(f"{where}: tls_certificate is no member certificate: {error}", hint) from None
    if carried != checked.log_key:
        raise ConfigError(f"{where}: tls_certificate is not of the member's log key", hint)
    return checked


def _wrong(field: str, value: object, expected: str, hint: str) -> ConfigError:
    shown = repr(value)
    shown = shown if len(shown) <= _SHOWN_CHARACTERS_MAX else shown[: _SHOWN_CHARACTERS_MAX - 1] + "…"
    return ConfigError(f"{field} is {shown}, expected {expected}", hint)
