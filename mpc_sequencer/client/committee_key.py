"""The committee's threshold key as a trader comes to know it, and the key file for sealing without a network.

Where the committee generates its key, the committee file has none. What stands for the key then is a certificate:
the generation's result with the signatures of q members over it. Whoever has the committee file judges it alone, so it
does not matter who hands it over: a member, a relayer, a file. Of any q signers at most f lie, the others sign the one
result that they have derived from the log. Fewer than q signatures are no key.

A key file is JSON for people to read, like the committee file: bytes as lower-case hex with ``0x``, structures by field
name; no unknown, missing or repeated field. It names the deployment it is of and holds nothing secret. It is judged
anew whenever it is read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mpc_sequencer.client.errors import KeyPending
from mpc_sequencer.core import codec, limits
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.errors import ConfigError, ProtocolError
from mpc_sequencer.core.keygen import check_key_certificate
from mpc_sequencer.core.types import KeyCertificate, KeyReady
from mpc_sequencer.node import files
from threshold import SealingKey, ThresholdError
from threshold.dkg import Result

KEY_FILE_NAME: Final = "key.json"
KEY_FILE_VERSION: Final = 1
KEY_FILE_BYTES_MAX: Final = 1 << 16
_HINT_FILE: Final = "fetch it from the members with `mpcseq committee key --out FILE`"
_HINT_PENDING: Final = "ask the members for it (`SequencerClient.key`), or read a key file (`load_key`)"
_HEX: Final = re.compile(r"0x(?:[0-9a-f]{2})*")


@dataclass(frozen=True, slots=True)
class CommitteeKey:
    """The threshold key in use: what orders are sealed to."""

    epoch: int
    public_key: bytes
    """33 bytes, compressed."""
    key_id: bytes
    """32 bytes, what labels name."""
    threshold: int
    """Shares that open an order."""
    qualified: tuple[int, ...]
    """Members whose contributions are in the key; empty where the committee file has it."""
    certificate: KeyCertificate | None
    """The proof; None where the committee file has the key, or where the caller brought it."""

    @property
    def signers(self) -> tuple[int, ...]:
        """Members that signed the certificate."""
        return () if self.certificate is None else tuple(ready.node for ready in self.certificate.ready)


def check_certificate(committee: Committee, certificate: KeyCertificate) -> CommitteeKey:
    """The key that q members of ``committee`` say is theirs. Raises ProtocolError or ThresholdError."""
    return _described(committee, check_key_certificate(committee, certificate), certificate)


def take_certificate(committee: Committee, certificate: KeyCertificate) -> CommitteeKey:
    """Check a certificate and let ``committee`` use its key from now on. Raises like :func:`check_certificate`, and
    leaves ``committee`` as it was then."""
    result = check_key_certificate(committee, certificate)
    key = _described(committee, result, certificate)
    committee.establish(result.public_key, [point for _, point in sorted(result.verification_keys.items())])
    return key


def known_key(committee: Committee) -> CommitteeKey:
    """The key that ``committee`` uses already. Raises :class:`KeyPending` where it has none."""
    sealing_key = require_key(committee)
    return CommitteeKey(
        committee.epoch, sealing_key.public_key, sealing_key.key_id, committee.t, qualified=(), certificate=None
    )


def require_key(committee: Committee) -> SealingKey:
    """What orders are sealed to. Raises :class:`KeyPending` where it is not known yet."""
    if committee.keys is None:
        raise KeyPending("the committee's threshold key is not known yet", _HINT_PENDING)
    return committee.keys.sealing_key


def own_committee(committee: Committee) -> Committee:
    """The client's own view of a committee, with the key where the caller knows it already."""
    own = committee.own()
    if own.keys is None:
        own.keys = committee.keys
    return own


def _described(committee: Committee, result: Result, certificate: KeyCertificate) -> CommitteeKey:
    genesis = committee.genesis
    sealing_key = SealingKey(result.public_key, genesis.chain_id, genesis.settlement)
    return CommitteeKey(
        epoch=certificate.epoch,
        public_key=result.public_key,
        key_id=sealing_key.key_id,
        threshold=result.threshold,
        qualified=tuple(dealer - 1 for dealer in result.qualified),
        certificate=certificate,
    )


# --- the key file -------------------------------------------------------------------------------------------
def save_key(path: Path, committee: Committee, certificate: KeyCertificate) -> None:
    """Write a key file atomically; :func:`load_key` gives the key back. Raises :class:`ConfigError`."""
    document = {
        "version": KEY_FILE_VERSION,
        "genesis": "0x" + committee.genesis_id.hex(),
        "epoch": certificate.epoch,
        "session": "0x" + certificate.session.hex(),
        "result": "0x" + certificate.result.hex(),
        "ready": [{"node": one.node, "signature": "0x" + one.signature.hex()} for one in certificate.ready],
    }
    files.write_atomically(path, files.to_json_text(document), mode=0o644)


def load_key(path: Path, committee: Committee) -> CommitteeKey:
    """Read a key file, check its certificate, and let ``committee`` use the key. Raises :class:`ConfigError` that
    names what is wrong; ``committee`` is as it was then."""
    if committee.genesis.public_key:
        raise ConfigError("the committee file has the threshold key itself", "leave the key file out")
    certificate = _read(path, committee)
    try:
        return take_certificate(committee, certificate)
    except (ProtocolError, ThresholdError) as refusal:
        raise ConfigError(f"{path} proves no key of this committee: {refusal}", _HINT_FILE) from None


def _read(path: Path, committee: Committee) -> KeyCertificate:
    document = files.read_json(path, KEY_FILE_BYTES_MAX, _HINT_FILE)
    fields = _row(path, document, "the file", ("version", "genesis", "epoch", "session", "result", "ready"))
    if type(fields["version"]) is not int or fields["version"] != KEY_FILE_VERSION:
        raise _wrong(path, "version", fields["version"], str(KEY_FILE_VERSION))
    if _bytes(path, "genesis", fields["genesis"]) != committee.genesis_id:
        hint = "use the key file of this deployment, or fetch it with `mpcseq committee key --out FILE`"
        raise ConfigError(f"{path} is of another deployment than the committee file", hint)
    rows = fields["ready"]
    if not isinstance(rows, list):
        raise _wrong(path, "ready", rows, "a list")
    ready = []
    for number, value in enumerate(rows):
        where = f"ready[{number}]"
        row = _row(path, value, where, ("node", "signature"))
        signature = _bytes(path, f"{where}.signature", row["signature"])
        ready.append(KeyReady(_integer(path, f"{where}.node", row["node"]), signature))
    certificate = KeyCertificate(
        epoch=_integer(path, "epoch", fields["epoch"]),
        session=_bytes(path, "session", fields["session"]),
        result=_bytes(path, "result", fields["result"]),
        ready=tuple(ready),
    )
    try:  # the wire's own decoder holds every bound
        checked: KeyCertificate = codec.decode(KeyCertificate, codec.encode(certificate))
    except ProtocolError as error:
        cause = f"{path}: {error.field} is {error.seen}, expected {error.expected}"
        raise ConfigError(cause, _HINT_FILE) from None
    return checked


def _row(path: Path, value: object, where: str, names: tuple[str, ...]) -> Mapping[str, Any]:
    if not isinstance(value, dict) or set(value) != set(names):
        raise ConfigError(f"{path}: {where} is not an object of exactly {', '.join(names)}", _HINT_FILE)
    return value


def _bytes(path: Path, field: str, value: object) -> bytes:
    if not isinstance(value, str) or not _HEX.fullmatch(value):
        raise _wrong(path, field, value, "0x and lower-case hex")
    return bytes.fromhex(value[2:])


def _integer(path: Path, field: str, value: object) -> int:
    if type(value) is not int or not 0 <= value <= limits.UINT_MAX:  # bool is an int to isinstance
        raise _wrong(path, field, value, f"0 .. {limits.UINT_MAX}")
    return value


def _wrong(path: Path, field: str, value: object, expected: str) -> ConfigError:
    shown = repr(value)
    shown = shown if len(shown) <= 80 else shown[:79] + "…"
    return ConfigError(f"{path}: {field} is {shown}, expected {expected}", _HINT_FILE)

