"""The audit log in C2SP form: RFC 6962 roots, tile names and shapes, checkpoints, restarts, readers."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.signing import SigningKey

from mpc_sequencer.core.errors import ConfigError
from mpc_sequencer.node import translog
from mpc_sequencer.node.translog import TransparencyLog, TreeHead, open_checkpoint, tile_path

SEED = b"\x07" * 32
PUBLIC_KEY = bytes(SigningKey(SEED).verify_key)
ORIGIN = "mpc_sequencer/" + "ab" * 32 + "/2"

# The seven inputs and the roots over their first n, as certificate-transparency implementations publish them.
RFC_6962_INPUTS = [
    "",
    "00",
    "10",
    "2021",
    "3031",
    "40414243",
    "5051525354555657",
    "606162636465666768696a6b6c6d6e6f",
]
RFC_6962_ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def mth(entries: list[bytes]) -> bytes:
    """RFC 6962, section 2.1, word for word."""
    if not entries:
        return hashlib.sha256(b"").digest()
    if len(entries) == 1:
        return hashlib.sha256(b"\x00" + entries[0]).digest()
    k = 1
    while k * 2 < len(entries):
        k *= 2
    return hashlib.sha256(b"\x01" + mth(entries[:k]) + mth(entries[k:])).digest()


def entry(number: int) -> bytes:
    return b"entry %d" % number * (number % 5)


def read(folder: Path, public_key: bytes = PUBLIC_KEY) -> list[bytes]:
    """What an auditor does with nothing but the files the checkpoint names; checks tiles of every level."""
    head = open_checkpoint((folder / "checkpoint").read_bytes(), ORIGIN, public_key)
    entries: list[bytes] = []
    for number in range((head.size + 255) // 256):
        width = min(256, head.size - number * 256)
        data = (folder / tile_path("entries", number, width)).read_bytes()
        bundle: list[bytes] = []
        while data:
            size = int.from_bytes(data[:2], "big")
            bundle.append(data[2 : 2 + size])
            data = data[2 + size :]
        assert len(bundle) == width
        entries += bundle
    level = 0
    while head.size >= 256**level:
        span = 256**level
        hashes = [mth(entries[i * span : (i + 1) * span]) for i in range(head.size // span)]
        for number in range((len(hashes) + 255) // 256):
            tile = hashes[number * 256 : (number + 1) * 256]
            assert (folder / tile_path(level, number, len(tile))).read_bytes() == b"".join(tile)
        level += 1
    assert mth(entries) == head.root
    return entries


def test_rfc_6962_roots(tmp_path: Path) -> None:
    log = TransparencyLog(tmp_path, ORIGIN, SEED)
    assert log.root().hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    for number, (data, root) in enumerate(zip(RFC_6962_INPUTS, RFC_6962_ROOTS, strict=True)):
        assert log.append(bytes.fromhex(data)) == number
        assert log.root().hex() == root


@pytest.mark.parametrize(
    ("level", "number", "width", "name"),
    [
        (0, 0, 256, "tile/0/000"),
        (0, 7, 5, "tile/0/007.p/5"),
        (1, 999, 256, "tile/1/999"),
        ("entries", 1000, 256, "tile/entries/x001/000"),
        (0, 1234067, 256, "tile/0/x001/x234/067"),
        (2, 1234067, 255, "tile/2/x001/x234/067.p/255"),
    ],
)
def test_tile_names(level: Any, number: int, width: int, name: str) -> None:
    assert tile_path(level, number, width) == name


@given(st.lists(st.integers(1, 400), min_size=1, max_size=5))
@settings(max_examples=15, deadline=None)
def test_every_checkpoint_of_a_growing_log_reads_whole(
    tmp_path_factory: pytest.TempPathFactory, steps: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("log")
    log = TransparencyLog(folder, ORIGIN, SEED)
    size = 0
    for step in steps:
        for _ in range(step):
            log.append(entry(size))
            size += 1
        assert log.checkpoint() == TreeHead(size, log.root())
        assert read(folder) == [entry(number) for number in range(size)]


def test_two_levels_of_tiles_as_the_specification_counts_them(tmp_path: Path) -> None:
    """A tree of 70,000: level 0 has 273 full tiles and one of 112, level 1 a full one and one of 17."""
    log = TransparencyLog(tmp_path, ORIGIN, SEED)
    entries = [b"%d" % number for number in range(70_000)]
    for item in entries:
        log.append(item)
    log.checkpoint()
    files = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    expected = {"checkpoint", "tile/1/000", "tile/1/001.p/17", "tile/2/000.p/1"}
    for level in ("0", "entries"):
        expected |= {f"tile/{level}/{number:03d}" for number in range(273)} | {f"tile/{level}/273.p/112"}
    assert files == expected
    assert log.root() == mth(entries)
    assert [len(tile) for tile in log._tiles] == [112, 17, 1]
    assert len(log._entries) == 112


def test_a_tree_of_256_has_a_full_tile_and_one_hash_above(tmp_path: Path) -> None:
    log = TransparencyLog(tmp_path, ORIGIN, SEED)
    for number in range(256):
        log.append(entry(number))
    log.checkpoint()
    assert len((tmp_path / "tile/0/000").read_bytes()) == 8192
    assert len((tmp_path / "tile/1/000.p/1").read_bytes()) == 32
    assert not (tmp_path / "tile/0/000.p").exists()
    assert not (tmp_path / "tile/0/001.p").exists()


def test_the_checkpoint_is_a_signed_note(tmp_path: Path) -> None:
    log = TransparencyLog(tmp_path, ORIGIN, SEED)
    log.append(b"a")
    log.checkpoint()
    text = (tmp_path / "checkpoint").read_text()
    name, size, root, empty, signature, end = text.split("\n")
    assert (name, size, empty, end) == (ORIGIN, "1", "", "")
    assert base64.b64decode(root) == mth([b"a"])
    dash, key_name, blob = signature.split(" ")
    assert (dash, key_name) == ("\u2014", ORIGIN)
    raw = base64.b64decode(blob)
    assert raw[:4] == hashlib.sha256(ORIGIN.encode() + b"\n\x01" + PUBLIC_KEY).digest()[:4]
    SigningKey(SEED).verify_key.verify(f"{name}\n{size}\n{root}\n".encode(), raw[4:])


def test_key_hash_and_signature_of_the_go_checksum_database() -> None:
    """A real signed note: the example key of golang.org/x/mod/sumdb/note (PeterNeumann+c74f20a3)."""
    key = base64.b64decode("ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")
    assert key[:1] == translog.ED25519_TYPE
    assert translog.key_hash("PeterNeumann", key[1:]).hex() == "c74f20a3"


@pytest.mark.parametrize(
    "change",
    [
        lambda n: n.replace(b"\n1\n", b"\n2\n"),
        lambda n: n.replace(b"\n1\n", b"\n01\n"),
        lambda n: n.replace(b"\n1\n", b"\n+1\n"),
        lambda n: n.replace(b"/2\n", b"/3\n", 1),
        lambda n: n + b"\n",
        lambda n: n[:-1],
        lambda n: n.replace(b"\n\n", b"\nextension\n\n"),
        lambda n: n.replace("\u2014".encode(), b"-"),
        lambda n: n[:-10] + b"A" + n[-9:],
        lambda n: b"",
        lambda n: b"\xff" + n,
    ],
)
def test_a_changed_checkpoint_is_refused(tmp_path: Path, change: Any) -> None:
    log = TransparencyLog(tmp_path, ORIGIN, SEED)
    log.append(b"a")
    log.checkpoint()
    note = (tmp_path / "checkpoint").read_bytes()
    assert open_checkpoint(note, ORIGIN, PUBLIC_KEY).size == 1
    assert change(note) != note
    with pytest.raises(ValueError, match="not a valid checkpoint"):
        open_checkpoint(change(note), ORIGIN, PUBLIC_KEY)
    with pytest.raises(ValueError, match="another key"):
        open_checkpoint(note, ORIGIN, bytes(32))


@given(st.integers(0, 700), st.integers(0, 300), st.integers(0, 300))
@settings(max_examples=20, deadline=None)
def test_a_restarted_log_goes_on_from_its_checkpoint(
    tmp_path_factory: pytest.TempPathFactory, signed: int, lost: int, more: int
) -> None:
    folder = tmp_path_factory.mktemp("log")
    log = TransparencyLog(folder, ORIGIN, SEED)
    for number in range(signed):
        log.append(entry(number))
    log.checkpoint()
    for number in range(lost):
        log.append(b"lost %d" % number)
    again = TransparencyLog(folder, ORIGIN, SEED)
    assert again.size == signed
    assert again.root() == again.signed.root == log.signed.root
    for number in range(signed, signed + more):
        assert again.append(entry(number)) == number
    again.checkpoint(sync=True)
    assert read(folder) == [entry(number) for number in range(signed + more)]


def test_a_reader_of_a_log_cut_off_by_a_crash_finds_what_its_checkpoint_names(tmp_path: Path) -> None:
    log = TransparencyLog(tmp_path, ORIGIN, SEED)
    for number in range(200):
        log.append(entry(number))
    log.checkpoint()
    for number in range(200, 900):
        log.append(entry(number))
    assert read(tmp_path) == [entry(number) for number in range(200)]


def test_partial_files_go_when_two_checkpoints_cover_the_full_one(tmp_path: Path) -> None:
    log = TransparencyLog(tmp_path, ORIGIN, SEED)
    for size, kept in [(100, True), (200, True), (300, True), (400, False)]:
        while log.size < size:
            log.append(entry(log.size))
        log.checkpoint()
        assert (tmp_path / "tile/entries/000.p/100").exists() == kept
        assert (tmp_path / "tile/0/000.p/100").exists() == kept
        assert len(read(tmp_path)) == size


def test_a_checkpoint_without_new_entries_writes_nothing(tmp_path: Path) -> None:
    log = TransparencyLog(tmp_path, ORIGIN, SEED)
    log.append(b"a")
    log.checkpoint()
    before = (tmp_path / "checkpoint").stat().st_ino
    assert log.checkpoint().size == 1
    assert (tmp_path / "checkpoint").stat().st_ino == before


def test_a_prepared_checkpoint_is_of_the_log_as_it_was(tmp_path: Path) -> None:
    log = TransparencyLog(tmp_path, ORIGIN, SEED)
    for number in range(250):
        log.append(entry(number))
    write = log.prepare_checkpoint()
    for number in range(250, 600):
        log.append(entry(number))
    write.run(sync=True)
    assert read(tmp_path) == [entry(number) for number in range(250)]
    log.checkpoint()
    assert read(tmp_path) == [entry(number) for number in range(600)]


@pytest.mark.parametrize("name", ["checkpoint", "tile/0/001.p/44", "tile/1/000.p/1", "tile/entries/001.p/44"])
def test_a_damaged_right_edge_is_refused(tmp_path: Path, name: str) -> None:
    log = TransparencyLog(tmp_path, ORIGIN, SEED)
    for number in range(300):
        log.append(b"entry %d" % number)
    log.checkpoint()
    path = tmp_path / name
    whole = path.read_bytes()
    for damaged in (whole[:-3] + bytes([whole[-3] ^ 1]) + whole[-2:], whole[:-1], whole + b"x"):
        path.write_bytes(damaged)
        with pytest.raises(ConfigError):
            TransparencyLog(tmp_path, ORIGIN, SEED)
    path.unlink()
    if name != "checkpoint":
        with pytest.raises(ConfigError):
            TransparencyLog(tmp_path, ORIGIN, SEED)


def test_the_log_of_another_member_is_refused(tmp_path: Path) -> None:
    TransparencyLog(tmp_path, ORIGIN, SEED).checkpoint()
    with pytest.raises(ConfigError, match="another key"):
        TransparencyLog(tmp_path, ORIGIN, b"\x08" * 32)
    with pytest.raises(ConfigError, match="another origin"):
        TransparencyLog(tmp_path, ORIGIN + "0", SEED)


def test_bounds_of_entries_and_origins(tmp_path: Path) -> None:
    log = TransparencyLog(tmp_path, ORIGIN, SEED)
    with pytest.raises(ValueError, match="at most 65535"):
        log.append(bytes(65_536))
    assert log.size == 0
    log.append(bytes(65_535))
    log.append(b"")
    log.checkpoint()
    assert read(tmp_path) == [bytes(65_535), b""]
    for origin in ("", "a b", "a+b", "a\nb"):
        with pytest.raises(ConfigError, match="origin"):
            TransparencyLog(tmp_path / "other", origin, SEED)


def test_a_file_that_cannot_be_written_ends_the_log(tmp_path: Path, monkeypatch: Any) -> None:
    log = TransparencyLog(tmp_path, ORIGIN, SEED)
    for number in range(255):
        log.append(entry(number))
    log.checkpoint()

    def full(*arguments: Any, **options: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(translog.files, "replace_file", full)
        with pytest.raises(OSError, match="No space"):
            log.append(entry(255))
    for action in (lambda: log.append(b"x"), log.checkpoint):
        with pytest.raises(ValueError, match="failed to write"):
            action()
    assert len(read(tmp_path)) == 255
    assert TransparencyLog(tmp_path, ORIGIN, SEED).size == 255


def test_a_checkpoint_that_cannot_be_written_is_written_by_the_next(tmp_path: Path, monkeypatch: Any) -> None:
    log = TransparencyLog(tmp_path, ORIGIN, SEED)
    log.append(entry(0))
    log.checkpoint()
    for number in range(1, 300):
        log.append(entry(number))

    def full(*arguments: Any, **options: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(translog.files, "replace_file", full)
        with pytest.raises(OSError, match="No space"):
            log.checkpoint()
    assert log.signed.size == 1
    assert read(tmp_path) == [entry(0)]
    log.checkpoint(sync=True)
    assert len(read(tmp_path)) == 300


@pytest.mark.parametrize("size", ["01", "+1", " 1", "1_0", "-1"])
def test_a_size_that_is_not_plain_is_refused_though_it_is_signed(size: str) -> None:
    text = f"{ORIGIN}\n{size}\n{base64.b64encode(bytes(32)).decode()}\n"
    blob = translog.key_hash(ORIGIN, PUBLIC_KEY) + SigningKey(SEED).sign(text.encode()).signature
    note = f"{text}\n\u2014 {ORIGIN} {base64.b64encode(blob).decode()}\n".encode()
    with pytest.raises(ValueError, match="plain size"):
        open_checkpoint(note, ORIGIN, PUBLIC_KEY)
