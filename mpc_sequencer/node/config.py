"""The operator's two files: the committee file, the same at every member, client and auditor, and a node's
node.json.

Both are JSON for people to read: integers as numbers, bytes as lower-case hex with ``0x``, structures by
field name. Reading is strict, since a file that is read in two ways splits a committee: version 1; no
unknown, missing or repeated field; no floats; every bound of the wire types; thresholds by
:class:`Committee`. All that is wrong ends as
:class:`ConfigError` that names file and field.

A committee file is the :class:`Genesis` with three additions per deployment that the genesis id does not
cover: where each member listens, its TLS certificate (whose key must be the member's log key), and so nothing
that agreement depends on.
"""

from __future__ import annotations

import dataclasses
import os
import re
import types
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from mpc_sequencer.core import codec, limits
from mpc_sequencer.core.committee import Committee, Genesis
from mpc_sequencer.core.errors import ConfigError, ProtocolError
from mpc_sequencer.node import files, tls

FILE_BYTES_MAX: Final = 4 << 20
FILE_VERSION: Final = 1
CHAIN_VALUE_MAX: Final = 1_000_000_000
CHAIN_VALUES_MIN: Final = {"poll_ms": 50, "confirmations": 0, "turn_ms": 100, "stuck_ms": 100, "fee_max_gwei": 1}
HOST_CHARACTERS_MAX: Final = 253
_HINT_COMMITTEE: Final = "take the committee file of your deployment, or write one with `mpcseq devnet init`"
_HINT_NODE: Final = "correct node.json, or write one with `mpcseq devnet init`"
_HEX: Final = re.compile(r"0x(?:[0-9a-f]{2})*")
_HOST: Final = re.compile(r"[A-Za-z0-9._:%-]+")
_ENDPOINT: Final = re.compile(r"(?:\[([^\[\]]+)\]|([^\[\]:]+)):([1-9][0-9]{0,4})")

Endpoint = tuple[str, int]


@dataclass(frozen=True, slots=True)
class CommitteeFile:
    """A checked committee file; ``endpoints`` (host, port) and ``certificates`` (DER) by member index."""

    genesis: Genesis
    committee: Committee
    endpoints: tuple[Endpoint, ...]
    certificates: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class SubmitterConfig:
    """Whether this member posts results, and the file with the account key that pays (hex, mode 0600)."""

    enabled: bool
    key_file: Path | None


@dataclass(frozen=True, slots=True)
class ChainConfig:
    """How this member uses its chain node. The chain is asked every ``poll_ms``; ``confirmations`` blocks upon a block
    make it count as settled, and as finalized where the chain does not say. A turn at posting lasts ``turn_ms``, a
    transaction is stuck after ``stuck_ms`` and offers ``fee_max_gwei`` per gas at most (docs/settlement-operations.md).
    """

    poll_ms: int = 2_000
    confirmations: int = 12
    turn_ms: int = 60_000
    stuck_ms: int = 120_000
    fee_max_gwei: int = 500


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """A member's node.json. Relative paths in the file are relative to its folder; here they are resolved."""

    index: int | None
    """Its place in the committee file; None for who has none there: it joins once a rotation names it."""
    listen_host: str
    listen_port: int
    committee: Path
    keystore: Path
    data: Path
    chain_url: str | None
    submitter: SubmitterConfig
    signer_socket: Path | None = None
    chain: ChainConfig = ChainConfig()
    """The Unix domain socket of the process that holds the consensus secret; None where the keystore does."""

    @property
    def vault(self) -> Path:
        """The folder of short-lived secrets. It stands beside the keystore, which opens it, not among the data: a
        data folder may be given up as damaged."""
        return vault_of(self.keystore)


def vault_of(keystore: Path) -> Path:
    """The folder of the vault that a keystore opens."""
    return keystore.with_name(keystore.name.removesuffix(".json") + ".vault")


# --- committee file -----------------------------------------------------------------------------------------
def committee_file(
    genesis: Genesis, endpoints: Sequence[Endpoint], certificates: Sequence[bytes]
) -> CommitteeFile:
    """Check a committee and its additions. Raises :class:`ConfigError` that names what is wrong."""
    committee = Committee(genesis)
    if len(endpoints) != committee.n or len(certificates) != committee.n:
        raise ConfigError("not every member has an endpoint and a TLS certificate", _HINT_COMMITTEE)
    for node, (host, port) in enumerate(endpoints):
        _check_endpoint(host, port, f"members[{node}].endpoint", _HINT_COMMITTEE)
    if len(set(endpoints)) != committee.n:
        raise ConfigError("two members have one endpoint", "give every member a host and port of its own")
    for node, certificate in enumerate(certificates):
        field = f"members[{node}].tls_certificate"
        try:
            key = tls.certificate_key(certificate)
        except ValueError as error:
            raise ConfigError(f"{field} is no member certificate: {error}", _HINT_COMMITTEE) from None
        if key != genesis.members[node].log_key:
            raise ConfigError(f"{field} is not of the member's log key", _HINT_COMMITTEE)
    return CommitteeFile(genesis, committee, tuple(endpoints), tuple(certificates))


def load_committee(path: Path) -> CommitteeFile:
    """Read and check a committee file. Raises :class:`ConfigError`."""
    reader = _Reader(path, _HINT_COMMITTEE)
    document = reader.document()
    reader.check_version(document)
    rows = document.get("members")
    if not isinstance(rows, list):
        raise reader.wrong("members", rows, "a list of members")
    endpoints: list[Endpoint] = []
    certificates: list[bytes] = []
    for node, row in enumerate(rows):
        where = f"members[{node}]"
        if not isinstance(row, dict):
            raise reader.wrong(where, row, "an object")
        endpoints.append(parse_endpoint(reader.take(row, where, "endpoint"), f"{path}: {where}.endpoint"))
        certificates.append(
            reader.value(bytes, reader.take(row, where, "tls_certificate"), f"{where}.tls_certificate")
        )
    genesis = reader.value(Genesis, document, "")
    try:
        # the wire's own decoder holds every bound
        genesis = codec.decode(Genesis, codec.encode(genesis))
    except ProtocolError as error:
        cause = f"{path}: {error.field} is {error.seen}, expected {error.expected}"
        raise ConfigError(cause, _HINT_COMMITTEE) from None
    return committee_file(genesis, endpoints, certificates)


def save_committee(path: Path, file: CommitteeFile) -> None:
    """Write a committee file atomically; :func:`load_committee` gives ``file`` back."""
    document = _to_json(file.genesis)
    for row, endpoint, certificate in zip(
        document["members"], file.endpoints, file.certificates, strict=True
    ):
        row["endpoint"] = format_endpoint(endpoint)
        row["tls_certificate"] = "0x" + certificate.hex()
    files.write_atomically(path, files.to_json_text(document), mode=0o644)


def parse_endpoint(text: object, field: str) -> Endpoint:
    """``host:port``, IPv6 as ``[address]:port``. Raises :class:`ConfigError` naming ``field``."""
    match = _ENDPOINT.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise ConfigError(f'{field} is {_show(text)}, expected "host:port"', "for example 127.0.0.1:7000")
    host, port = match.group(1) or match.group(2), int(match.group(3))
    _check_endpoint(host, port, field, "for example 127.0.0.1:7000")
    return host, port


def format_endpoint(endpoint: Endpoint) -> str:
    """``host:port``, with brackets where the host has colons."""
    host, port = endpoint
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


# --- node.json ----------------------------------------------------------------------------------------------
def load_node_config(path: Path) -> NodeConfig:
    """Read and check node.json (``path`` is the file or its folder). Raises :class:`ConfigError`."""
    if path.is_dir():
        path = path / "node.json"
    reader = _Reader(path, _HINT_NODE)
    document = reader.document()
    reader.check_version(document)
    reader.take(document, "", "version")
    host, port = parse_endpoint(reader.take(document, "", "listen"), f"{path}: listen")
    submitter = reader.take(document, "", "submitter")
    if not isinstance(submitter, dict):
        raise reader.wrong("submitter", submitter, "an object")
    submitter = dict(submitter)
    enabled = reader.take(submitter, "submitter", "enabled")
    if not isinstance(enabled, bool):
        raise reader.wrong("submitter.enabled", enabled, "true or false")
    key_file = reader.take(submitter, "submitter", "key_file")
    signer = reader.take(document, "", "signer")
    if signer is not None and not isinstance(signer, dict):
        raise reader.wrong("signer", signer, "an object or null")
    signer = None if signer is None else dict(signer)
    chain_url = reader.take(document, "", "chain_url")
    if chain_url is not None and not (
        isinstance(chain_url, str) and re.fullmatch(r"https?://[!-~]{1,1000}", chain_url)
    ):
        raise reader.wrong("chain_url", chain_url, "an http(s) URL or null")
    index = reader.take(document, "", "index")
    chain = _chain_config(reader, document.pop("chain", {}))
    config = NodeConfig(
        index=None if index is None else reader.value(int, index, "index"),
        listen_host=host,
        listen_port=port,
        committee=reader.path(reader.take(document, "", "committee"), "committee"),
        keystore=reader.path(reader.take(document, "", "keystore"), "keystore"),
        data=reader.path(reader.take(document, "", "data"), "data"),
        chain_url=chain_url,
        submitter=SubmitterConfig(
            enabled, None if key_file is None else reader.path(key_file, "submitter.key_file")
        ),
        signer_socket=(
            None if signer is None else reader.path(reader.take(signer, "signer", "socket"), "signer.socket")
        ),
        chain=chain,
    )
    reader.check_empty(submitter, "submitter")
    reader.check_empty(signer or {}, "signer")
    reader.check_empty(document, "")
    return config


def _chain_config(reader: _Reader, given: object) -> ChainConfig:
    """The object ``chain`` of node.json, each of whose fields may be left out."""
    if not isinstance(given, dict):
        raise reader.wrong("chain", given, "an object")
    row, values = dict(given), dict[str, int]()
    for name, least in CHAIN_VALUES_MIN.items():
        if name in row:
            values[name] = reader.value(int, row.pop(name), f"chain.{name}")
            if not least <= values[name] <= CHAIN_VALUE_MAX:
                raise reader.wrong(f"chain.{name}", values[name], f"{least} .. {CHAIN_VALUE_MAX}")
    reader.check_empty(row, "chain")
    return ChainConfig(**values)


def save_node_config(path: Path, config: NodeConfig) -> None:
    """Write node.json atomically, its paths made relative to its folder."""
    key_file, socket = config.submitter.key_file, config.signer_socket
    document = {
        "version": FILE_VERSION,
        "index": config.index,
        "listen": format_endpoint((config.listen_host, config.listen_port)),
        "committee": _relative(config.committee, path.parent),
        "keystore": _relative(config.keystore, path.parent),
        "data": _relative(config.data, path.parent),
        "chain_url": config.chain_url,
        "submitter": {
            "enabled": config.submitter.enabled,
            "key_file": None if key_file is None else _relative(key_file, path.parent),
        },
        "chain": dataclasses.asdict(config.chain),
        "signer": None if socket is None else {"socket": _relative(socket, path.parent)},
    }
    files.write_atomically(path, files.to_json_text(document), mode=0o644)


def check_index(config: NodeConfig, file: CommitteeFile) -> None:
    """Refuse a node.json whose index is outside the committee."""
    if config.index is not None and config.index >= file.committee.n:
        raise ConfigError(
            f"index {config.index} is not in the committee of {file.committee.n} members",
            f"use the member's index, 0 .. {file.committee.n - 1}, or null for who is to join",
        )


# --- common to both -----------------------------------------------------------------------------------------
def _relative(path: Path, folder: Path) -> str:
    return os.path.relpath(os.path.abspath(path), os.path.abspath(folder))


def _check_endpoint(host: str, port: int, field: str, hint: str) -> None:
    if not 0 < len(host) <= HOST_CHARACTERS_MAX or not _HOST.fullmatch(host):
        raise ConfigError(f"{field} has the host {_show(host)}, expected a name or an address", hint)
    if not 1 <= port <= 65_535:
        raise ConfigError(f"{field} has the port {port}, expected 1 .. 65535", hint)


def _show(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:79] + "…"


def _to_json(value: Any) -> Any:
    if isinstance(value, msgspec.Struct):
        fields = {name: getattr(value, name) for name in value.__struct_fields__}
        return {name: _to_json(one) for name, one in fields.items() if one is not None}
    if isinstance(value, tuple):
        return [_to_json(item) for item in value]
    return "0x" + value.hex() if isinstance(value, bytes) else value


class _Reader:
    """Turns parsed JSON into protocol values and names the field of whatever does not fit."""

    def __init__(self, path: Path, hint: str) -> None:
        self._path = path
        self._hint = hint

    def document(self) -> dict[str, Any]:
        document = files.read_json(self._path, FILE_BYTES_MAX, self._hint)
        if not isinstance(document, dict):
            raise self.wrong("the file", document, "an object")
        return document

    def check_version(self, document: dict[str, Any]) -> None:
        version = document.get("version")
        if type(version) is not int or version != FILE_VERSION:
            raise self.wrong("version", version, str(FILE_VERSION))

    def wrong(self, field: str, seen: object, expected: str) -> ConfigError:
        return ConfigError(f"{self._path}: {field} is {_show(seen)}, expected {expected}", self._hint)

    def take(self, row: dict[str, Any], where: str, name: str) -> Any:
        if name not in row:
            raise ConfigError(f"{self._path}: {_join(where, name)} is missing", self._hint)
        return row.pop(name)

    def check_empty(self, row: dict[str, Any], where: str) -> None:
        if row:
            raise ConfigError(
                f"{self._path}: {_join(where, next(iter(row)))} is not a known field", self._hint
            )

    def path(self, value: object, field: str) -> Path:
        if not isinstance(value, str) or not value or "\0" in value or not _is_unicode(value):
            raise self.wrong(field, value, "a path")
        return Path(os.path.abspath(self._path.parent / value))

    def value(self, kind: Any, value: Any, where: str) -> Any:
        """``value`` as ``kind``: a struct, tuple, bytes, int or str, annotated or not, or one of these or None."""
        while hasattr(kind, "__metadata__"):
            kind = typing.get_args(kind)[0]
        origin = typing.get_origin(kind)
        if origin is types.UnionType:  # ``X | None``: here there is one
            kind = typing.get_args(kind)[0]
        if (
            isinstance(kind, type)
            and not isinstance(kind, types.GenericAlias)
            and issubclass(kind, msgspec.Struct)
        ):
            return self._struct(kind, value, where)
        if origin is tuple:
            if not isinstance(value, list):
                raise self.wrong(where, value, "a list")
            item = typing.get_args(kind)[0]
            return tuple(self.value(item, entry, f"{where}[{i}]") for i, entry in enumerate(value))
        if kind is bytes:
            if not isinstance(value, str) or not _HEX.fullmatch(value):
                raise self.wrong(where, value, "0x and lower-case hex")
            return bytes.fromhex(value[2:])
        expected = str if kind is str else int
        if type(value) is not expected:  # bool is an int to isinstance
            raise self.wrong(where, value, "text" if expected is str else "an integer")
        if isinstance(value, str) and not _is_unicode(value):
            raise self.wrong(where, value, "text")
        if isinstance(value, int) and not 0 <= value <= limits.UINT_MAX:
            raise self.wrong(where, value, f"0 .. {limits.UINT_MAX}")
        return value

    def _struct(self, kind: type[msgspec.Struct], value: Any, where: str) -> Any:
        if not isinstance(value, dict):
            raise self.wrong(where, value, "an object")
        row = dict(value)
        fields = [
            None
            if field.default is None and field.name not in row  # what does not apply is left out
            else self.value(field.type, self.take(row, where, field.name), _join(where, field.name))
            for field in msgspec.structs.fields(kind)
        ]
        self.check_empty(row, where)
        return kind(*fields)


def _is_unicode(text: str) -> bool:
    """Whether there is no lone surrogate, which JSON can spell and UTF-8 cannot."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _join(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name
