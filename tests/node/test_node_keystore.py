"""Keystore: opens with its passphrase only, is bound to all it says, and is nobody else's to read."""

from __future__ import annotations

import copy
import json
import pickle
import stat
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpc_sequencer.core.errors import ConfigError
from mpc_sequencer.core.signing import Signer
from mpc_sequencer.node import keystore, shred
from mpc_sequencer.node.keystore import NodeSecrets
from mpc_sequencer.node.passphrases import PASSPHRASE_BYTES_MAX
from mpc_sequencer.node.tls import log_key

SECRETS = NodeSecrets(b"\xa1" * 32, b"\xb2" * 32, b"\xc3" * 32)
CONSENSUS_KEY = Signer(b"\xa1" * 32).public_key
PASSPHRASE = "correct horse"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "keystore.json"
    keystore.create(path, SECRETS, PASSPHRASE, profile="minimum")
    return path


def values(secrets: NodeSecrets) -> tuple[bytes | None, bytes, bytes | None]:
    return secrets.consensus_secret, secrets.log_seed, secrets.vault_key


def changed(path: Path, field: str, value: Any) -> None:
    """Set a field; ``kdf.salt`` is the one inside."""
    document = json.loads(path.read_text())
    *outer, last = field.split(".")
    inside = document
    for name in outer:
        inside = inside[name]
    inside[last] = value
    path.write_text(json.dumps(document))


def test_it_opens_with_its_passphrase(path: Path) -> None:
    assert values(keystore.open_keystore(path, PASSPHRASE)) == values(SECRETS)


def test_the_file_is_private_whole_and_holds_no_secret_in_the_clear(path: Path) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["keystore.json"]
    text = path.read_text()
    for shown in ("a1a1", "b2b2", "c3c3"):
        assert shown not in text


def test_public_keys_are_shown_without_the_passphrase_and_are_the_secrets_own(path: Path) -> None:
    header = keystore.read_header(path)
    assert (header.consensus_key, header.log_key) == (CONSENSUS_KEY, log_key(SECRETS.log_seed))
    assert header.address() == Signer(b"\xa1" * 32).address


def test_a_wrong_passphrase_is_refused(path: Path) -> None:
    for wrong in ("correct hors", "Correct horse", "correct horse "):
        with pytest.raises(ConfigError, match="does not open") as caught:
            keystore.open_keystore(path, wrong)
        assert "passphrase" in caught.value.hint
        assert wrong not in caught.value.cause


def test_two_keystores_of_the_same_secrets_share_nothing(path: Path, tmp_path: Path) -> None:
    keystore.create(tmp_path / "again.json", SECRETS, PASSPHRASE, profile="minimum")
    first, second = (json.loads(p.read_text()) for p in (path, tmp_path / "again.json"))
    assert first["kdf"]["salt"] != second["kdf"]["salt"]
    assert first["sealed"] != second["sealed"]


def test_an_existing_keystore_is_not_overwritten(path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="exists already"):
        keystore.create(path, SECRETS, "other", profile="minimum")
    assert path.read_bytes() == before


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_a_file_that_others_can_use_is_refused(path: Path, mode: int) -> None:
    path.chmod(mode)
    for read in (lambda: keystore.open_keystore(path, PASSPHRASE), lambda: keystore.read_header(path)):
        with pytest.raises(ConfigError, match="by others") as caught:
            read()
        assert caught.value.hint.startswith("chmod 600")


def test_a_missing_keystore_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        keystore.open_keystore(tmp_path / "none.json", PASSPHRASE)


@pytest.mark.parametrize(
    ("field", "value", "cause"),
    [
        ("version", 1, "version is 1"),
        ("version", True, "version is True"),
        ("kind", "spare", "kind"),
        ("kind", ["member"], "kind"),
        ("signer", "both", "signer"),
        ("consensus_key", "0x02" + "ff" * 32, "consensus_key"),
        ("consensus_key", CONSENSUS_KEY.hex(), "consensus_key"),
        ("consensus_key", "0x" + CONSENSUS_KEY.hex().upper(), "consensus_key"),
        ("log_key", "0x" + "11" * 31, "log_key"),
        ("kdf", "argon2id13", "kdf"),
        ("kdf.more", 1, "kdf"),
        ("kdf.name", "scrypt", "kdf.name"),
        ("kdf.opslimit", 0, "opslimit"),
        ("kdf.opslimit", keystore.OPSLIMIT_MAX + 1, "opslimit"),
        ("kdf.opslimit", True, "opslimit"),
        ("kdf.memlimit_bytes", 8191, "memlimit_bytes"),
        ("kdf.memlimit_bytes", keystore.MEMLIMIT_BYTES_MAX + 1, "memlimit_bytes"),
        ("kdf.memlimit_bytes", 100 << 30, "memlimit_bytes"),
        ("kdf.salt", "00" * 15, "salt"),
        ("kdf.salt", 7, "salt"),
        ("kdf.salt", None, "salt"),
        ("sealed", "00" * 40, "sealed"),
        ("sealed", "zz" * 60, "sealed"),
        ("extra", 1, "exactly the fields"),
    ],
)
def test_a_damaged_header_is_refused_before_any_work(path: Path, field: str, value: Any, cause: str) -> None:
    changed(path, field, value)
    began = time.monotonic()
    with pytest.raises(ConfigError, match=cause):
        keystore.open_keystore(path, PASSPHRASE)
    assert time.monotonic() - began < 1


def test_a_keystore_of_version_1_is_refused_with_what_to_do(path: Path) -> None:
    old = {"version": 1, "kdf": "argon2id13", "opslimit": 1, "memlimit": 8192, "salt": "00" * 16, "sealed": "00" * 200}
    path.write_text(json.dumps(old))
    with pytest.raises(ConfigError, match="version is 1") as caught:
        keystore.open_keystore(path, PASSPHRASE)
    assert "mpcseq key new" in caught.value.hint


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("consensus_key", "0x" + Signer(b"\xa2" * 32).public_key.hex()),
        ("log_key", "0x" + log_key(b"\xb3" * 32).hex()),
        ("signer", "remote"),
        ("kdf.opslimit", 2),
        ("kdf.memlimit_bytes", 16384),
        ("kdf.salt", "00" * 16),
    ],
)
def test_the_secrets_are_bound_to_every_public_field(path: Path, field: str, value: Any) -> None:
    changed(path, field, value)
    with pytest.raises(ConfigError, match="does not open"):
        keystore.open_keystore(path, PASSPHRASE)


def test_an_export_passed_off_as_a_keystore_is_refused(path: Path) -> None:
    changed(path, "kind", "export")
    with pytest.raises(ConfigError, match="of the kind export"):
        keystore.open_keystore(path, PASSPHRASE)
    with pytest.raises(ConfigError, match="does not open"):
        keystore.open_keystore(path, PASSPHRASE, kind="export")


def test_an_export_holds_the_identity_keys_and_no_vault_key(tmp_path: Path) -> None:
    exported = NodeSecrets(SECRETS.consensus_secret, SECRETS.log_seed, None)
    path = tmp_path / "export.json"
    keystore.create(path, exported, PASSPHRASE, profile="minimum", kind="export")
    assert values(keystore.open_keystore(path, PASSPHRASE, kind="export")) == values(exported)
    with pytest.raises(ConfigError, match="of the kind export"):
        keystore.open_keystore(path, PASSPHRASE)


def test_a_keystore_may_leave_the_consensus_secret_to_a_remote_signer(tmp_path: Path) -> None:
    kept = NodeSecrets(None, SECRETS.log_seed, SECRETS.vault_key)
    path = tmp_path / "remote.json"
    header = keystore.create(path, kept, PASSPHRASE, profile="minimum", consensus_key=CONSENSUS_KEY)
    assert (header.signer, header.consensus_key) == ("remote", CONSENSUS_KEY)
    assert values(keystore.open_keystore(path, PASSPHRASE)) == values(kept)


def test_public_keys_that_are_not_the_secrets_own_are_noticed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.unlink()
    other = Signer(b"\xa2" * 32).public_key
    with monkeypatch.context() as writer:
        writer.setattr(keystore, "_public_keys", lambda *_: (other, log_key(SECRETS.log_seed)))
        keystore.create(path, SECRETS, PASSPHRASE, profile="minimum")
    with pytest.raises(ConfigError, match="not those of its secrets"):
        keystore.open_keystore(path, PASSPHRASE)


@settings(max_examples=40, deadline=None)
@given(at=st.integers(0, 135), bit=st.integers(0, 7))
def test_every_damaged_bit_of_the_box_is_noticed(tmp_path_factory: Any, at: int, bit: int) -> None:
    path = tmp_path_factory.mktemp("bits") / "k.json"
    keystore.create(path, SECRETS, PASSPHRASE, profile="minimum")
    sealed = bytearray.fromhex(json.loads(path.read_text())["sealed"])
    assert len(sealed) == 136
    sealed[at] ^= 1 << bit
    changed(path, "sealed", sealed.hex())
    with pytest.raises(ConfigError, match="does not open"):
        keystore.open_keystore(path, PASSPHRASE)


def test_truncated_files_are_refused(path: Path) -> None:
    text = path.read_text()
    for size in (0, 1, len(text) // 2, len(text) - 3):
        path.write_text(text[:size])
        with pytest.raises(ConfigError):
            keystore.open_keystore(path, PASSPHRASE)


def test_secrets_are_never_shown_copied_or_compared(path: Path) -> None:
    secrets = keystore.open_keystore(path, PASSPHRASE)
    for text in (repr(secrets), str(secrets), f"{secrets}", f"{[secrets]!r}"):
        for shown in ("a1", "b2", "c3", "\\xa1", "¡"):
            assert shown not in text
    for action in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="secrets cannot be"):
            action(secrets)
    assert secrets != SECRETS  # identity: a comparison of secrets would take time that tells


@pytest.mark.parametrize(
    ("secrets", "more"),
    [
        (NodeSecrets(b"\1" * 31, b"\2" * 32, b"\3" * 32), {}),
        (NodeSecrets(b"\1" * 32, b"\2" * 33, b"\3" * 32), {}),
        (NodeSecrets(b"\1" * 32, b"\2" * 32, b""), {}),
        (NodeSecrets(b"\1" * 32, b"\2" * 32, None), {}),
        (NodeSecrets(b"\1" * 32, b"\2" * 32, b"\3" * 32), {"kind": "export"}),
        (NodeSecrets(bytes(32), b"\2" * 32, b"\3" * 32), {}),
        (NodeSecrets(b"\xff" * 32, b"\2" * 32, b"\3" * 32), {}),
        (NodeSecrets(None, b"\2" * 32, b"\3" * 32), {}),
        (NodeSecrets(None, b"\2" * 32, b"\3" * 32), {"consensus_key": b"\2" * 33 + b"\0"}),
        (NodeSecrets(b"\1" * 32, b"\2" * 32, b"\3" * 32), {"consensus_key": CONSENSUS_KEY}),
    ],
)
def test_secrets_that_make_no_keystore_are_not_stored(tmp_path: Path, secrets: NodeSecrets, more: Any) -> None:
    with pytest.raises(ConfigError):
        keystore.create(tmp_path / "k.json", secrets, PASSPHRASE, profile="minimum", **more)
    assert not (tmp_path / "k.json").exists()


def test_an_empty_or_endless_passphrase_is_refused(tmp_path: Path) -> None:
    for passphrase in ("", "x" * (PASSPHRASE_BYTES_MAX + 1)):
        with pytest.raises(ConfigError, match="passphrase of"):
            keystore.create(tmp_path / "k.json", SECRETS, passphrase, profile="minimum")
        assert not (tmp_path / "k.json").exists()


def test_the_default_profile_costs_more_than_the_devnets() -> None:
    assert keystore.PROFILES["moderate"][1] > keystore.PROFILES["interactive"][1]
    assert keystore.PROFILES["interactive"][1] >= 64 << 20
    assert keystore.create.__kwdefaults__["profile"] == "moderate"


def test_replacing_shreds_what_the_file_held(path: Path, tmp_path: Path) -> None:
    before = path.read_bytes()
    with path.open("rb") as held:  # the old file itself, whatever its name becomes
        keystore.create(path, SECRETS, "another", profile="minimum", replace=True)
        after = held.read()
    assert len(after) == len(before) and after != before
    assert not any(before[at : at + 16] in after for at in range(len(before) - 16))
    assert [entry.name for entry in tmp_path.iterdir()] == ["keystore.json"]
    assert values(keystore.open_keystore(path, "another")) == values(SECRETS)


def test_a_replacement_cut_short_never_costs_the_live_file(path: Path) -> None:
    path.with_name("keystore.json.retired").hardlink_to(path)  # a stop between the link and the rename
    path.with_name(".keystore.json.abcd1234").write_text("half")
    shred.settle(path)
    assert [entry.name for entry in path.parent.iterdir()] == ["keystore.json"]
    assert values(keystore.open_keystore(path, PASSPHRASE)) == values(SECRETS)
    path.rename(path.with_name("keystore.json.retired"))
    shred.settle(path)  # the second copy is the last one
    assert path.with_name("keystore.json.retired").exists()
