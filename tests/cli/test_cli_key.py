"""`mpcseq key`: keys go from file to file under passphrases; what is printed is public."""

from __future__ import annotations

import getpass
import json
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mpc_sequencer.core.signing import Signer
from mpc_sequencer.devnet.layout import Devnet
from mpc_sequencer.node.keystore import PROFILES, NodeSecrets, create, open_keystore
from mpc_sequencer.node.remote_signer import RemoteSigner
from mpc_sequencer.node.tls import log_key

Run = Callable[..., Any]
SECRETS = NodeSecrets(b"\xa1" * 32, b"\xb2" * 32, b"\xc3" * 32)
PUBLIC = {
    "address": "0x" + Signer(b"\xa1" * 32).address.hex(),
    "consensus_key": "0x" + Signer(b"\xa1" * 32).public_key.hex(),
    "log_key": "0x" + log_key(b"\xb2" * 32).hex(),
}
FAST = ("--kdf", "interactive")


@pytest.fixture(autouse=True)
def passphrases(monkeypatch: pytest.MonkeyPatch) -> None:
    """The old one in the environment, the new one too."""
    monkeypatch.setenv("MPCSEQ_PASSPHRASE", "old words")
    monkeypatch.setenv("MPCSEQ_NEW_PASSPHRASE", "new words")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "k.json"
    create(path, SECRETS, "old words", profile="minimum")
    return path


def private(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o600)
    return path


def values(path: Path, passphrase: str, kind: Any = "member") -> tuple[bytes | None, bytes, bytes | None]:
    held = open_keystore(path, passphrase, kind=kind)
    return held.consensus_secret, held.log_seed, held.vault_key


def test_new_writes_fresh_keys_that_open(mpcseq: Run, tmp_path: Path) -> None:
    shown = []
    for name in ("a.json", "b.json"):
        ran = mpcseq("key", "new", tmp_path / name, *FAST, "--json")
        assert ran.status == 0, ran.err
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
        consensus, seed, vault_key = values(tmp_path / name, "old words")
        assert ran.json["consensus_key"] == "0x" + Signer(consensus or b"").public_key.hex()
        assert ran.json["log_key"] == "0x" + log_key(seed).hex()
        assert len({consensus, seed, vault_key}) == 3
        shown.append(ran.json)
    assert not {shown[0][name] for name in PUBLIC} & {shown[1][name] for name in PUBLIC}
    assert (shown[0]["kdf_passes"], shown[0]["kdf_memory_bytes"]) == PROFILES["interactive"]


def test_operators_keystores_cost_more_than_devnets(mpcseq: Run, tmp_path: Path, devnet: Devnet) -> None:
    ran = mpcseq("key", "new", tmp_path / "k.json", "--json")
    assert (ran.json["kdf_passes"], ran.json["kdf_memory_bytes"]) == PROFILES["moderate"]
    ran = mpcseq("key", "show", devnet.node_folder(0) / "keystore.json", "--json")
    assert (ran.json["kdf_passes"], ran.json["kdf_memory_bytes"]) == PROFILES["interactive"]


def test_show_prints_public_keys_and_asks_nothing(mpcseq: Run, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MPCSEQ_PASSPHRASE")
    ran = mpcseq("key", "show", path, "--json")
    assert ran.status == 0, ran.err
    costs = dict(zip(("kdf_passes", "kdf_memory_bytes"), PROFILES["minimum"], strict=True))
    assert ran.json == {"file": str(path), "kind": "member", "signer": "local", **PUBLIC, **costs}
    for_people = mpcseq("key", "show", path)
    assert for_people.status == 0 and all(value in for_people.out for value in PUBLIC.values())


def test_check_opens_and_finds_the_member(mpcseq: Run, path: Path, devnet: Devnet) -> None:
    assert mpcseq("key", "check", path, "--json").json["opens"] is True
    keystore, passphrase = devnet.node_folder(2) / "keystore.json", devnet.passphrase_file
    arguments = ("--passphrase-file", passphrase, "--committee", devnet.committee_path, "--json")
    assert mpcseq("key", "check", keystore, *arguments).json["member"] == 2
    cause, hint = mpcseq("key", "check", path, "--committee", devnet.committee_path).error()
    assert "is of no member" in cause and "mpcseq key show" in hint


def test_a_wrong_passphrase_is_an_error_that_does_not_repeat_it(
    mpcseq: Run, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MPCSEQ_PASSPHRASE", "mistyped words")
    for arguments in (
        ("check", path),
        ("export", path, tmp_path / "out"),
        ("passphrase", path),
        ("serve", "--keystore", path, "--socket", tmp_path / "s"),
    ):
        ran = mpcseq("key", *arguments)
        cause, _ = ran.error()
        assert "does not open" in cause and "mistyped" not in ran.out + ran.err
    assert not (tmp_path / "out").exists() and not (tmp_path / "s").exists()


def test_export_and_import_move_the_identity_keys_alone(mpcseq: Run, path: Path, tmp_path: Path) -> None:
    out, moved = tmp_path / "e.json", tmp_path / "moved.json"
    ran = mpcseq("key", "export", path, out, *FAST, "--json")
    assert ran.status == 0, ran.err
    assert (ran.json["kind"], ran.json["address"]) == ("export", PUBLIC["address"])
    assert values(out, "new words", "export") == (SECRETS.consensus_secret, SECRETS.log_seed, None)
    opens, protects = private(tmp_path / "p1", "new words\n"), private(tmp_path / "p2", "third words")
    files = ("--passphrase-file", opens, "--new-passphrase-file", protects)
    ran = mpcseq("key", "import", out, moved, *files, *FAST, "--json")
    assert ran.status == 0, ran.err
    consensus, seed, vault_key = values(moved, "third words")
    assert (consensus, seed) == (SECRETS.consensus_secret, SECRETS.log_seed)
    assert vault_key not in (None, SECRETS.vault_key)  # shares do not move: a new vault


def test_import_may_leave_the_consensus_secret_out(mpcseq: Run, path: Path, tmp_path: Path) -> None:
    out, kept = tmp_path / "e.json", tmp_path / "kept.json"
    assert mpcseq("key", "export", path, out, *FAST).status == 0
    opens = ("--passphrase-file", private(tmp_path / "p", "new words"))
    ran = mpcseq("key", "import", out, kept, *opens, *FAST, "--remote-signer", "--json")
    assert (ran.json["signer"], ran.json["consensus_key"]) == ("remote", PUBLIC["consensus_key"])
    assert values(kept, "new words")[0] is None
    cause, _ = mpcseq("key", "serve", "--keystore", kept, "--socket", tmp_path / "s", *opens).error()
    assert "has no consensus secret" in cause


def test_new_for_a_remote_signer_takes_its_public_key_alone(mpcseq: Run, tmp_path: Path) -> None:
    path = tmp_path / "k.json"
    ran = mpcseq("key", "new", path, "--consensus-key", PUBLIC["consensus_key"], *FAST, "--json")
    assert (ran.json["signer"], ran.json["consensus_key"]) == ("remote", PUBLIC["consensus_key"])
    for given, expected in (("a1" * 32, "32 bytes"), ("0xzz", "not hex"), ("05" * 33, "not a valid secp256k1 key")):
        ran = mpcseq("key", "new", tmp_path / "other.json", "--consensus-key", given, *FAST)
        cause, _ = ran.error()
        assert expected in cause and "a1a1" not in ran.err
    assert not (tmp_path / "other.json").exists()


def test_the_passphrase_changes_and_nothing_else(mpcseq: Run, path: Path) -> None:
    ran = mpcseq("key", "passphrase", path, "--json")
    assert ran.status == 0, ran.err
    assert (ran.json["kdf_passes"], ran.json["kdf_memory_bytes"]) == PROFILES["minimum"]  # as it was
    assert values(path, "new words") == (SECRETS.consensus_secret, SECRETS.log_seed, SECRETS.vault_key)
    assert "does not open" in mpcseq("key", "check", path).error()[0]
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_nothing_is_overwritten(mpcseq: Run, path: Path, tmp_path: Path) -> None:
    out = tmp_path / "e.json"
    assert mpcseq("key", "export", path, out, *FAST).status == 0
    before = path.read_bytes(), out.read_bytes()
    for arguments in (("new", path), ("export", path, out), ("import", out, path)):
        cause, hint = mpcseq("key", *arguments).error()
        assert "exists already" in cause and "move it away" in hint
    assert (path.read_bytes(), out.read_bytes()) == before
    (tmp_path / "fresh.vault").mkdir()
    for arguments in (("new", tmp_path / "fresh.json"), ("import", out, tmp_path / "fresh.json")):
        assert "vault of another keystore" in mpcseq("key", *arguments).error()[0]


@pytest.mark.parametrize("command", ["import", "export", "check", "passphrase", "serve"])
def test_files_of_the_other_kind_are_refused(mpcseq: Run, path: Path, tmp_path: Path, command: str) -> None:
    out = tmp_path / "e.json"
    create(out, NodeSecrets(b"\1" * 32, b"\2" * 32, None), "old words", profile="minimum", kind="export")
    arguments: dict[str, tuple[object, ...]] = {
        "import": (path, tmp_path / "x"),
        "export": (out, tmp_path / "x"),
        "serve": ("--keystore", out, "--socket", tmp_path / "x"),
    }
    assert "of the kind" in mpcseq("key", command, *arguments.get(command, (out,))).error()[0]
    assert not (tmp_path / "x").exists()


def test_an_empty_passphrase_is_refused(mpcseq: Run, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = path.read_bytes()
    monkeypatch.setenv("MPCSEQ_NEW_PASSPHRASE", "")
    assert "is empty" in mpcseq("key", "passphrase", path).error()[0]
    assert path.read_bytes() == before
    monkeypatch.setenv("MPCSEQ_PASSPHRASE", "")
    assert "is empty" in mpcseq("key", "new", path.with_name("x"), *FAST).error()[0]
    assert not path.with_name("x").exists()


def test_a_typed_new_passphrase_is_typed_twice(mpcseq: Run, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MPCSEQ_NEW_PASSPHRASE")
    typed = iter(["typed words", "typed wordz", "typed words", "typed words"])
    monkeypatch.setattr(getpass, "getpass", lambda label: next(typed))
    assert "differ" in mpcseq("key", "passphrase", path).error()[0]
    assert values(path, "old words")
    assert mpcseq("key", "passphrase", path).status == 0
    assert values(path, "typed words")


def test_a_cost_that_is_none_is_refused(mpcseq: Run, tmp_path: Path) -> None:
    for kdf in ("minimum", "fast", ""):
        assert "is no cost" in mpcseq("key", "new", tmp_path / "k.json", "--kdf", kdf).error()[0]


def test_errors_are_json_where_asked(mpcseq: Run, tmp_path: Path) -> None:
    ran = mpcseq("key", "show", tmp_path / "none.json", "--json")
    assert ran.status == 2 and set(json.loads(ran.err)) == {"error", "hint"}


def test_no_command_prints_a_secret(mpcseq: Run, path: Path, tmp_path: Path) -> None:
    opens = ("--passphrase-file", private(tmp_path / "p", "new words"))
    out = tmp_path / "e.json"
    printed = ""
    for arguments in (
        ("show", path),
        ("check", path),
        ("export", path, out, *FAST),
        ("import", out, tmp_path / "i.json", *opens, *FAST),
        ("passphrase", path),
    ):
        for more in ((), ("--json",)):
            ran = mpcseq("key", *arguments, *more)
            printed += ran.out + ran.err
    for secret in ("a1a1", "b2b2", "c3c3", "old words", "new words"):
        assert secret not in printed


def test_serve_signs_and_ends_in_order(path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    place = tmp_path_factory.mktemp("s") / "s"
    command = [sys.executable, "-m", "mpc_sequencer.cli", "key", "serve", "--keystore", str(path)]
    with subprocess.Popen(
        [*command, "--socket", str(place), "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert json.loads(process.stdout.readline()) == {"socket": str(place), "address": PUBLIC["address"]}
            remote = RemoteSigner(place, Signer(b"\xa1" * 32).public_key)
            assert remote.sign_digest(b"\1" * 32) == Signer(b"\xa1" * 32).sign_digest(b"\1" * 32)
            process.send_signal(signal.SIGINT)
            out, said = process.communicate(timeout=20)
        finally:
            process.kill()
    assert process.returncode == 0 and out == "" and not place.exists()
    assert said.count("\n") == 1 and PUBLIC["address"] in said
