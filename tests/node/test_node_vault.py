"""Vault: what is put is there, what is erased is gone from every file, damage is named."""

from __future__ import annotations

import copy
import hashlib
import os
import pickle
import stat
from pathlib import Path

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from nacl import secret as boxes
from vault_kit import KEY, contents, files_of

from mpc_sequencer.core import domains
from mpc_sequencer.core.errors import ConfigError
from mpc_sequencer.node import vault as vaults
from mpc_sequencer.node.journal import FolderInUse
from mpc_sequencer.node.share_files import get_share, put_share, share_name
from mpc_sequencer.node.vault import Vault
from threshold import SecretShare


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "k.vault"


def test_what_is_put_is_there_after_reopening(folder: Path) -> None:
    vault = Vault(folder, KEY)
    assert (vault.names(), vault.get("share-0")) == ((), None)
    vault.put("share-0", b"one")
    vault.put("session-00", bytearray(b"two"))
    vault.put("share-0", b"three")
    assert vault.names() == ("session-00", "share-0")
    vault.close()
    assert contents(folder) == {"share-0": b"three", "session-00": b"two"}


def test_everything_is_private_and_nothing_is_in_the_clear(folder: Path) -> None:
    vault = Vault(folder, KEY)
    vault.put("share-0", b"in the clear")
    vault.close()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for path in folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
        assert b"in the clear" not in path.read_bytes()
    for path, mode in ((folder, 0o750), (folder / "keys", 0o640)):
        before = stat.S_IMODE(path.stat().st_mode)
        path.chmod(mode)
        with pytest.raises(ConfigError, match="others"):
            Vault(folder, KEY)
        path.chmod(before)


def test_erasing_is_final_and_may_be_repeated(folder: Path) -> None:
    vault = Vault(folder, KEY)
    vault.put("share-0", b"old")
    vault.put("share-1", b"new")
    for _ in range(2):
        vault.erase("share-0")
    assert (vault.names(), vault.get("share-0")) == (("share-1",), None)
    vault.close()
    assert contents(folder) == {"share-1": b"new"}
    assert sorted(name.split(".")[0] for name in files_of(folder)) == ["keys", "share-1"]


@pytest.mark.parametrize("how", ["erased", "replaced"])
def test_the_old_files_themselves_hold_nothing_of_it(folder: Path, how: str) -> None:
    """Files held open from before, as a thief of the raw disk may have them where writes go in place."""
    vault = Vault(folder, KEY)
    vault.put("share-0", b"old")
    before = files_of(folder)
    held = {name: (folder / name).open("rb") for name in before}
    vault.erase("share-0") if how == "erased" else vault.put("share-0", b"new")
    vault.close()
    for name, file in held.items():
        with file:
            remains = file.read()
        assert len(remains) == len(before[name])
        assert not any(before[name][at : at + 16] in remains for at in range(0, len(remains) - 16, 5)), name


def test_a_kept_file_of_an_erased_secret_is_not_opened_by_the_vault_key(folder: Path) -> None:
    vault = Vault(folder, KEY)
    vault.put("share-0", b"old")
    name = next(found for found in files_of(folder) if found.startswith("share-0"))
    kept = (folder / name).read_bytes()
    vault.erase("share-0")
    vault.close()
    (folder / name).write_bytes(kept)
    (folder / name).chmod(0o600)
    assert contents(folder) == {}
    assert not (folder / name).exists()


@pytest.mark.parametrize("at", [0, 31_000, vaults.VEIL_BYTES - 1])
def test_a_key_file_with_one_lost_block_of_its_veil_opens_nothing(folder: Path, at: int) -> None:
    vault = Vault(folder, KEY)
    vault.put("share-0", b"old")
    vault.close()
    path = folder / "keys"
    data = bytearray(path.read_bytes())
    veil, sealed = bytes(data[: vaults.VEIL_BYTES]), bytes(data[vaults.VEIL_BYTES :])
    lost = bytearray(veil)
    lost[at] ^= 1
    # a thief knows the digest that is only bound to the box; what he lacks is the key
    for tried, opens in ((veil, True), (bytes(lost), False)):
        found = vaults._open_box(domains.VAULT_KEY(KEY, tried), sealed, hashlib.sha256(veil).digest())
        assert (found is not None) is opens
    data[at] ^= 1
    path.write_bytes(data)
    with pytest.raises(ConfigError, match="damaged, or of another keystore"):
        Vault(folder, KEY)


def test_files_cannot_be_swapped(folder: Path) -> None:
    vault = Vault(folder, KEY)
    vault.put("share-0", b"same length 0")
    vault.put("share-1", b"same length 1")
    first, second = sorted(name for name in files_of(folder) if name != "keys")
    swapped = (folder / second).read_bytes(), (folder / first).read_bytes()
    for name, data in zip((first, second), swapped, strict=True):
        (folder / name).write_bytes(data)
    for name in ("share-0", "share-1"):
        with pytest.raises(ConfigError, match="is damaged"):
            vault.get(name)
    vault.close()


def test_a_secret_is_bound_to_its_name_and_file(folder: Path) -> None:
    entry = vaults._Entry("share-0", b"\x01" * 8, b"\x02" * 32)
    sealed = bytes(boxes.Aead(entry.key).encrypt(b"x", entry.aad()))
    for other in (("share-1", b"\x01" * 8), ("share-0", b"\x03" * 8)):
        assert vaults._open_box(entry.key, sealed, vaults._Entry(*other, entry.key).aad()) is None
    assert vaults._open_box(entry.key, sealed, entry.aad()) == b"x"


def test_damage_is_named_and_nothing_is_given_up_for_it(folder: Path) -> None:
    vault = Vault(folder, KEY)
    vault.put("share-0", b"old")
    vault.close()
    whole = files_of(folder)
    name = next(found for found in whole if found != "keys")
    (folder / name).write_bytes(whole[name][:-1])
    vault = Vault(folder, KEY)
    with pytest.raises(ConfigError, match="is damaged"):
        vault.get("share-0")
    vault.close()
    for damage in (b"", whole["keys"][:100], whole["keys"][:-1], whole["keys"] + b"\0"):
        (folder / "keys").write_bytes(damage)
        with pytest.raises(ConfigError, match=r"cut short|damaged"):
            Vault(folder, KEY)
    (folder / "keys").unlink()
    with pytest.raises(ConfigError, match="is missing, but secrets are there"):
        Vault(folder, KEY)
    assert (folder / name).exists()


def test_another_keystores_vault_is_refused(folder: Path) -> None:
    Vault(folder, KEY).close()
    with pytest.raises(ConfigError, match="of another keystore"):
        Vault(folder, b"\x5b" * 32)
    assert contents(folder) == {}


def test_one_process_at_a_time(folder: Path) -> None:
    vault = Vault(folder, KEY)
    with pytest.raises(FolderInUse, match="the vault"):
        Vault(folder, KEY)
    vault.close()
    vault.close()
    Vault(folder, KEY).close()


@pytest.mark.parametrize("name", ["", "a" * 65, "Share-0", "a/b", "..", "a.b", "share-0\n", "é"])
def test_names_are_strict(folder: Path, name: str) -> None:
    vault = Vault(folder, KEY)
    for action in (vault.get, vault.erase, lambda name: vault.put(name, b"x")):
        with pytest.raises(ValueError, match="a secret's name"):
            action(name)
    vault.close()


def test_sizes_and_numbers_are_bounded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vaults, "SECRETS_MAX", 2)
    vault = Vault(folder, KEY)
    vault.put("a" * 64, bytes(vaults.SECRET_BYTES_MAX))
    vault.put("b", b"1")
    for name, size in (("b", 0), ("b", vaults.SECRET_BYTES_MAX + 1), ("c", 1)):
        before = files_of(folder)
        with pytest.raises(ValueError, match=r"a secret of|holds 2"):
            vault.put(name, bytes(size))
        assert files_of(folder) == before
    vault.put("b", b"2")
    vault.close()
    assert contents(folder)["b"] == b"2"


def test_the_key_files_bound_fits_a_full_vault() -> None:
    entries = [vaults._Entry(f"{number:064}", bytes(8), bytes(32)) for number in range(vaults.SECRETS_MAX)]
    size = vaults.VEIL_BYTES + vaults._SEAL_BYTES + len(msgspec.msgpack.encode(entries))
    assert size <= vaults.KEYS_BYTES_MAX


class VaultAgainstADict(RuleBasedStateMachine):
    """Any sequence of calls gives what a dictionary gives."""

    names = st.sampled_from(["share-0", "share-1", "session-ab"])

    @initialize()
    def begin(self) -> None:
        self.folder = Path(os.environ["VAULT_TEST_FOLDER"]) / os.urandom(8).hex()
        self.vault = Vault(self.folder, KEY)
        self.model: dict[str, bytes] = {}

    @rule(name=names, content=st.binary(min_size=1, max_size=100))
    def put(self, name: str, content: bytes) -> None:
        self.vault.put(name, content)
        self.model[name] = content

    @rule(name=names)
    def erase(self, name: str) -> None:
        self.vault.erase(name)
        self.model.pop(name, None)

    @rule()
    def reopen(self) -> None:
        self.vault.close()
        self.vault = Vault(self.folder, KEY)

    @invariant()
    def same(self) -> None:
        if hasattr(self, "vault"):
            assert self.vault.names() == tuple(sorted(self.model))
            assert all(self.vault.get(name) == content for name, content in self.model.items())

    def teardown(self) -> None:
        if hasattr(self, "vault"):
            self.vault.close()


def test_any_sequence_of_calls_gives_what_a_dictionary_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAULT_TEST_FOLDER", str(tmp_path))
    case = VaultAgainstADict.TestCase()
    case.settings = settings(max_examples=15, stateful_step_count=12, deadline=None)
    case.runTest()


# --- shares ---------------------------------------------------------------------------------------------------
def test_a_share_comes_back_as_it_was_put(folder: Path) -> None:
    vault = Vault(folder, KEY)
    share = SecretShare(300, b"\x07" * 32)
    put_share(vault, 4, share)
    found = get_share(vault, 4)
    assert found is not None
    assert (found.index, found.verification_key()) == (300, share.verification_key())
    assert get_share(vault, 5) is None
    for bad in (b"\0\1" + bytes(32), b"\0\0" + b"\1" * 32, b"\0\1" + b"\1" * 31, b"\0"):
        vault.put(share_name(4), bad)
        with pytest.raises(ConfigError, match="not a threshold share"):
            get_share(vault, 4)
    vault.close()


def test_a_vault_is_neither_shown_nor_copied(folder: Path) -> None:
    vault = Vault(folder, KEY)
    vault.put("share-0", b"secret")
    assert repr(vault) == f"Vault({folder}, 1 secrets)"
    for action in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="neither copied nor pickled"):
            action(vault)
    vault.close()
    assert bytes(vault._key) == bytes(32)
