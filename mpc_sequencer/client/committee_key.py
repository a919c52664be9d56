"""The committee's threshold key as a trader comes to know it, and the key file for sealing without a network.

Where the committee generates its key, the committee file has none. What stands for the key then is a certificate:
the generation's result with the signatures of q members over it. Whoever has the committee file judges it alone, so it
does not matter who hands it over: a member, a relayer, a file. Of any q signers at most f lie, the others sign the one
result that they have derived from the log. Fewer than q signatures are no key.

A key file is JSON like the committee file: bytes as lower-case hex with ``0x``; no unknown, missing or repeated field.
It names the deployment and the key for people to compare, and holds the certificate in its canonical encoding; nothing
in it is secret. It is judged anew whenever it is read. In a later epoch than the first, the proofs of the epochs stand
for the certificate (version 2): each is signed by q members of the epoch before, and has the key.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mpc_sequencer.client.errors import KeyPending
from mpc_sequencer.core import codec
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.errors import ConfigError, ProtocolError
from mpc_sequencer.core.keys import check_key_certificate, establish
from mpc_sequencer.core.rotation import follow_all
from mpc_sequencer.core.types import EpochStart, KeyCertificate
from mpc_sequencer.node import files
from threshold import SealingKey, ThresholdError
from threshold.dkg import Result

KEY_FILE_NAME: Final = "key.json"
KEY_FILE_VERSION: Final = 1
KEY_FILE_VERSION_EPOCHS: Final = 2
KEY_FILE_BYTES_MAX: Final = 1 << 26
PROOFS_KEPT_MAX: Final = 64
"""Certificates that hold, kept by one client: one of each member, and those of later sharings."""
_HINT_FILE: Final = "fetch it from the members with `mpcseq committee key --out FILE`"
_HINT_DEPLOYMENT: Final = "use this deployment's own, or fetch it with `mpcseq committee key --out FILE`"
_HINT_PENDING: Final = "ask the members for it (`SequencerClient.key`), or read a key file (`load_key`)"
_FIELDS: Final = ("version", "genesis", "key_id", "certificate")
_FIELDS_EPOCHS: Final = ("version", "genesis", "key_id", "starts")
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
    """Members whose deals made this sharing of the key; empty where the committee file has it."""
    certificate: KeyCertificate | None
    """The proof; None where the committee file or the proof of a later epoch has the key, or the caller brought it."""
    began_with: int = 0
    """Number of the sharing that the epoch began with."""

    @property
    def sharing(self) -> int:
        """Number of the sharing that the certificate is of, or of the epoch's first: 0 came with the key, each refresh
        and each rotation makes the next."""
        return self.began_with if self.certificate is None else self.certificate.sharing

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
    return _described(committee, establish(committee, certificate), certificate)


class KeyProofs:
    """Certificates that hold for one client's committee. Each costs q signature verifications once, however many
    members show it, and whether or not its key is used then."""

    def __init__(self, committee: Committee) -> None:
        self._committee = committee
        self._results: dict[KeyCertificate, Result] = {}

    def check(self, certificate: KeyCertificate) -> CommitteeKey:
        """As :func:`check_certificate`."""
        result = self._results.get(certificate)
        if result is None:
            result = check_key_certificate(self._committee, certificate)
            if len(self._results) == PROOFS_KEPT_MAX:
                del self._results[next(iter(self._results))]
            self._results[certificate] = result
        return _described(self._committee, result, certificate)

    def take(self, certificate: KeyCertificate) -> CommitteeKey:
        """As :func:`take_certificate`."""
        key = self.check(certificate)
        establish(self._committee, certificate, checked=self._results[certificate])
        return key


def known_key(committee: Committee) -> CommitteeKey:
    """The key that ``committee`` uses already. Raises :class:`KeyPending` where it has none."""
    sealing_key = require_key(committee)
    origin = committee.origin
    return CommitteeKey(
        *(committee.epoch, sealing_key.public_key, sealing_key.key_id, committee.t),
        qualified=(),
        certificate=None,
        began_with=0 if origin is None else origin.sharing.number,
    )


def require_key(committee: Committee) -> SealingKey:
    """What orders are sealed to. Raises :class:`KeyPending` where it is not known yet."""
    if committee.keys is None:
        raise KeyPending("the committee's threshold key is not known yet", _HINT_PENDING)
    return committee.sealing_key


def own_committee(committee: Committee) -> Committee:
    """A client's own view of a committee: it learns the key there, unless the caller's committee knows it already."""
    return committee.own() if committee.keys is None else committee


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
    """Write a key file atomically; :func:`load_key` gives the key back. Raises :class:`ConfigError` where it cannot be
    written, and as :func:`check_certificate` does."""
    key = check_certificate(committee, certificate)
    proof = {"certificate": "0x" + codec.encode(certificate).hex()}
    _write(path, KEY_FILE_VERSION, committee, key, proof)


def save_epoch_key(path: Path, committee: Committee) -> None:
    """As :func:`save_key`, with the proofs that lead to ``committee``, which is of a later epoch than the first."""
    if not committee.starts:
        raise ConfigError("the first epoch's key is proven by a certificate", _HINT_FILE)
    proof = {"starts": ["0x" + codec.encode(start).hex() for start in committee.starts]}
    _write(path, KEY_FILE_VERSION_EPOCHS, committee, known_key(committee), proof)


def _write(path: Path, version: int, committee: Committee, key: CommitteeKey, proof: Mapping[str, object]) -> None:
    names = {"genesis": "0x" + committee.genesis_id.hex(), "key_id": "0x" + key.key_id.hex()}
    files.write_atomically(path, files.to_json_text({"version": version, **names, **proof}), mode=0o644)


def load_key(path: Path, committee: Committee) -> CommitteeKey:
    """Read a key file, check its proof, and let ``committee``, the committee file's, use the key. Raises
    :class:`ConfigError` that names what is wrong; ``committee`` is as it was then."""
    if committee.genesis.public_key:
        raise ConfigError("the committee file has the threshold key itself", "leave the key file out")
    document = files.read_json(path, KEY_FILE_BYTES_MAX, _HINT_FILE)
    of_epochs = isinstance(document, dict) and document.get("version") == KEY_FILE_VERSION_EPOCHS
    fields = _FIELDS_EPOCHS if of_epochs else _FIELDS
    if not isinstance(document, dict) or set(document) != set(fields):
        raise ConfigError(f"{path} is not an object of exactly {', '.join(fields)}", _HINT_FILE)
    if type(document["version"]) is not int or document["version"] not in (KEY_FILE_VERSION, KEY_FILE_VERSION_EPOCHS):
        raise _wrong(path, "version", document["version"], str(KEY_FILE_VERSION))
    if _bytes(path, document, "genesis") != committee.genesis_id:
        raise ConfigError(f"{path} is of another deployment than the committee file", _HINT_DEPLOYMENT)
    key_id = _bytes(path, document, "key_id")
    try:
        if of_epochs:
            return _take_epochs(path, committee, document, key_id)
        certificate: KeyCertificate = codec.decode(KeyCertificate, _bytes(path, document, "certificate"))
        proofs = KeyProofs(committee)
        _check_id(path, document, key_id, proofs.check(certificate))
        return proofs.take(certificate)
    except (ProtocolError, ThresholdError) as refusal:
        raise ConfigError(f"{path} proves no key of this committee: {refusal}", _HINT_FILE) from None


def _take_epochs(path: Path, committee: Committee, document: dict[str, object], key_id: bytes) -> CommitteeKey:
    rows = document["starts"]
    if not isinstance(rows, list) or not rows:
        raise _wrong(path, "starts", rows, "a list of proofs")
    encoded = [_bytes(path, {"starts": row}, "starts") for row in rows]
    newest = follow_all(committee, [codec.decode(EpochStart, one) for one in encoded])
    key = known_key(newest)
    _check_id(path, document, key_id, key)
    assert newest.origin is not None, "a proof was followed"
    sharing = newest.origin.sharing
    committee.establish(key.public_key, sharing.verification_keys, number=sharing.number, name=sharing.name)
    return key


def _check_id(path: Path, document: dict[str, object], key_id: bytes, key: CommitteeKey) -> None:
    if key.key_id != key_id:
        raise _wrong(path, "key_id", document["key_id"], f"0x{key.key_id.hex()}, which the file proves")


def _bytes(path: Path, document: dict[str, object], field: str) -> bytes:
    value = document[field]
    if not isinstance(value, str) or not _HEX.fullmatch(value):
        raise _wrong(path, field, value, "0x and lower-case hex")
    return bytes.fromhex(value[2:])


def _wrong(path: Path, field: str, value: object, expected: str) -> ConfigError:
    shown = repr(value)
    shown = shown if len(shown) <= 80 else shown[:79] + "…"
    return ConfigError(f"{path}: {field} is {shown}, expected {expected}", _HINT_FILE)
