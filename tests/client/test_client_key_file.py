"""The key file that a trader keeps: it gives the key that the certificate in it proves, or it is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from client_key_kit import Signers, generated
from key_forgeries import of_fewer

from mpc_sequencer.client import load_key, save_key
from mpc_sequencer.core import domains
from mpc_sequencer.core.codec import decode, encode
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.errors import ConfigError, ProtocolError
from mpc_sequencer.core.types import KeyCertificate
from threshold.dkg import Result


@pytest.fixture
def key_file(tmp_path: Path, keyless: Committee, certificate: KeyCertificate) -> Path:
    save_key(tmp_path / "key.json", keyless, certificate)
    return tmp_path / "key.json"


def test_a_key_file_gives_the_same_key_and_is_public(
    key_file: Path, keyless: Committee, certificate: KeyCertificate
) -> None:
    key = load_key(key_file, keyless)
    assert key.certificate == certificate and key.key_id == keyless.sealing_key.key_id
    assert key_file.stat().st_mode & 0o777 == 0o644
    assert key_file.stat().st_size < 2_000


def _edit(**changes: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda document: document | changes


def _recoded(change: Callable[[KeyCertificate], KeyCertificate]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """The same file with another certificate."""

    def edit(document: dict[str, Any]) -> dict[str, Any]:
        held: KeyCertificate = decode(KeyCertificate, bytes.fromhex(document["certificate"][2:]))
        return document | {"certificate": "0x" + encode(change(held)).hex()}

    return edit


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (_edit(version=3), "version is 3, expected 1"),
        (_edit(version=True), "version is True"),
        (_edit(extra=1), "is not an object of exactly"),
        (lambda d: {k: v for k, v in d.items() if k != "key_id"}, "is not an object of exactly"),
        (lambda d: [d], "is not an object of exactly"),
        (_edit(genesis="0x" + "00" * 32), "another deployment"),
        (_edit(genesis="00"), "genesis is '00', expected 0x"),
        (_edit(genesis=0), "genesis is 0, expected 0x"),
        (_edit(key_id="0x" + "00" * 32), "which the file proves"),
        (lambda d: d | {"certificate": d["certificate"].upper()}, "expected 0x and lower-case hex"),
        (lambda d: d | {"certificate": d["certificate"][:-2]}, "wire.malformed"),
        (lambda d: d | {"certificate": d["certificate"] + "00"}, "wire.malformed"),
        (_recoded(lambda c: msgspec.structs.replace(c, epoch=1)), "epoch.unknown"),
        (_recoded(lambda c: msgspec.structs.replace(c, result=c.result[:-1])), "dkg.length"),
        (_recoded(lambda c: msgspec.structs.replace(c, ready=c.ready[:2])), "key.quorum"),
        (_recoded(lambda c: msgspec.structs.replace(c, ready=(*c.ready, c.ready[0]))), "key.quorum"),
        (_recoded(lambda c: msgspec.structs.replace(c, ready=())), "wire.bound"),
    ],
)
def test_a_changed_key_file_is_refused_with_what_is_wrong(
    key_file: Path, keyless: Committee, edit: Callable[[Any], Any], words: str
) -> None:
    key_file.write_text(json.dumps(edit(json.loads(key_file.read_text()))))
    with pytest.raises(ConfigError) as error:
        load_key(key_file, keyless)
    assert words in error.value.cause and "mpcseq committee key" in error.value.hint
    assert keyless.keys is None


def test_a_key_file_with_a_field_twice_is_refused(key_file: Path, keyless: Committee) -> None:
    key_file.write_text(key_file.read_text().replace('"version": 1,', '"version": 1, "version": 1,'))
    with pytest.raises(ConfigError, match="version is there twice"):
        load_key(key_file, keyless)


def test_no_key_file_is_written_of_a_certificate_that_proves_nothing(
    tmp_path: Path, keyless: Committee, member_signers: Signers
) -> None:
    with pytest.raises(ProtocolError):
        save_key(tmp_path / "key.json", keyless, of_fewer(keyless, member_signers))
    assert not (tmp_path / "key.json").exists()


def test_a_committee_file_with_a_key_takes_no_key_file(key_file: Path, committee: Committee) -> None:
    before = committee.keys
    with pytest.raises(ConfigError, match="the committee file has the threshold key itself"):
        load_key(key_file, committee)
    assert committee.keys is before


def test_the_session_of_a_committee_file_hashes_all_of_it(keyless: Committee) -> None:
    """What the certificate's binding to the committee file rests on."""
    other = Committee(msgspec.structs.replace(keyless.genesis, time_ms=1))
    assert generated(keyless).session == domains.KEY_SESSION(keyless.genesis_id, bytes(8), bytes(8))
    assert generated(other).session != generated(keyless).session
    assert Result.decode(generated(keyless).encode()).session == generated(keyless).session
