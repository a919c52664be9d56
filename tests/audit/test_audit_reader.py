"""A log cut, rewritten, forked, with a wrong tile or signature is a finding, never an exception."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.signing import SigningKey

from mpc_sequencer.audit import Report, verify_log
from mpc_sequencer.audit.reader import tile_path, tree_root
from mpc_sequencer.core.codec import encode
from tests.audit.audited_deployment import deployment, secret
from tests.audit.log_builder import LogBuilder
from tests.audit.log_files import hash_leaf, merkle, signed_note, tile_name, write_log
from tests.audit.log_samples import standard


@cache
def long_entries() -> tuple[bytes, ...]:
    """A valid log of 600 entries: three entry bundles, tiles on two levels."""
    log = standard()
    order_id = log.lists[0][0].entries[0]
    while len(log.entries) < 600:
        log.receipt(order_id, 1)
    return tuple(encode(entry) for entry in log.entries)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_log(tmp_path, long_entries(), 0)
    return tmp_path


def audit(folder: Path) -> Report:
    return verify_log(folder, deployment().committee)


def codes(folder: Path) -> list[str]:
    return [finding.code for finding in audit(folder).findings]


def damage(path: Path, at: int = 40) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def test_a_long_log_passes(folder: Path) -> None:
    report = audit(folder)
    assert report.verdict == "pass" and report.entries == 600 and report.checks["tiles"] == 7


def test_log_rewritten(folder: Path) -> None:
    """An entry is exchanged in its bundle, in its bundle and tile, in all tiles: each needs the member's key."""
    bundle = folder / "tile/entries/001"
    damage(bundle)
    assert codes(folder) == ["log.leaf"]
    changed = list(long_entries())
    changed[300] = encode(LogBuilder().entries[0])
    note = (folder / "checkpoint").read_bytes()
    write_log(folder, changed, 0)
    (folder / "checkpoint").write_bytes(note)
    assert codes(folder) == ["log.root"]
    write_log(folder, changed, 0, SigningKey(secret("somebody else")))
    assert codes(folder) == ["log.signature"]


def test_a_wrong_tile_is_found(folder: Path) -> None:
    tile = folder / "tile/0/000"
    good = tile.read_bytes()
    damage(tile)
    assert codes(folder) == ["log.tile"]
    tile.write_bytes(good[:-1])
    assert codes(folder) == ["log.tile"]
    tile.write_bytes(good)
    damage(folder / "tile/1/000.p/2")
    assert codes(folder) == ["log.tile"]


def test_log_truncated(folder: Path) -> None:
    """Files below the checkpoint's size are missing or cut."""
    last = folder / "tile/entries/002.p/88"
    data = last.read_bytes()
    last.write_bytes(data[:-1])
    assert codes(folder) == ["log.entries"]
    last.write_bytes(data + b"\x00")
    assert codes(folder) == ["log.entries"]
    last.unlink()
    assert codes(folder) == ["log.entries"]
    last.write_bytes(data)
    (folder / "tile/0/002.p/88").unlink()
    assert codes(folder) == ["log.tile"]
    (folder / "tile/0/000").unlink()
    assert codes(folder) == ["log.tile"]


def test_a_tail_after_the_checkpoint_is_ignored_and_wider_tiles_serve(folder: Path) -> None:
    """The log went on after the checkpoint: partial tiles are replaced by wider ones."""
    note = signed_note([hash_leaf(entry) for entry in long_entries()[:550]], 0)
    (folder / "checkpoint").write_bytes(note)
    report = audit(folder)
    assert report.verdict == "pass" and report.entries == 550


def test_log_forked(folder: Path) -> None:
    """The member signed two logs: whoever kept the other checkpoint can tell."""
    leaves = [hash_leaf(entry) for entry in long_entries()]
    kept = [signed_note(leaves[:size], 0) for size in (1, 255, 256, 300, 600)]
    report = verify_log(folder, deployment().committee, earlier=kept)
    assert report.verdict == "pass" and report.checks["earlier_checkpoints"] == 5
    forked = [*leaves[:299], hash_leaf(b"another entry")]
    report = verify_log(folder, deployment().committee, earlier=[signed_note(forked, 0)])
    assert [finding.code for finding in report.findings] == ["log.forked"]
    longer = signed_note([*leaves, leaves[0]], 0)
    report = verify_log(folder, deployment().committee, earlier=[longer])
    assert [finding.code for finding in report.findings] == ["log.forked"]
    report = verify_log(folder, deployment().committee, earlier=[signed_note(leaves, 1)])
    assert [finding.code for finding in report.findings] == ["log.origin"]


def test_entries_reordered_under_the_members_own_signature(tmp_path: Path) -> None:
    log = standard()
    at = next(i for i, entry in enumerate(log.entries) if type(entry).__name__ == "FinalityEntry")
    log.entries[at - 1], log.entries[at] = log.entries[at], log.entries[at - 1]
    assert [finding.code for finding in log.report(tmp_path).findings] == ["log.order"]


def test_an_entry_that_is_no_log_entry_is_found(tmp_path: Path) -> None:
    valid = [encode(entry) for entry in standard().entries]
    for number, bad in enumerate(
        (b"", b"\x00", b"\x93\x01", valid[0] + b"\x00", b"\x92\x63\xc0", bytes(65_535))
    ):
        write_log(tmp_path / str(number), [*valid, bad], 0)
        report = audit(tmp_path / str(number))
        assert [finding.code for finding in report.findings] == ["log.entry"]
        assert report.findings[0].entry_index == len(valid) and report.stopped_early


def edited_note(change: str) -> bytes:
    note = signed_note([hash_leaf(entry) for entry in long_entries()], 0)
    origin, size, root, blank, signature, end = note.split(b"\n")
    changed = {
        "no size": [origin, root, blank, signature, end],
        "leading zero": [origin, b"0" + size, root, blank, signature, end],
        "signed size": [origin, b"+600", root, blank, signature, end],
        "extension line": [origin, size, root, b"more", blank, signature, end],
        "short root": [origin, size, root[:-4], blank, signature, end],
        "loose base64": [origin, size, root[:-2] + b"/=", blank, signature, end],
        "no signature": [origin, size, root, blank, end],
        "hyphen": [origin, size, root, blank, signature.replace("\u2014".encode(), b"-"), end],
        "no newline": [origin, size, root, blank, signature],
        "not utf-8": [b"\xff" + origin, size, root, blank, signature, end],
    }
    return b"\n".join(changed[change])


@pytest.mark.parametrize(
    "change",
    [
        "no size",
        "leading zero",
        "signed size",
        "extension line",
        "short root",
        "no signature",
        "hyphen",
        "no newline",
        "not utf-8",
    ],
)
def test_a_checkpoint_that_is_no_signed_note_of_three_lines_is_found(change: str, folder: Path) -> None:
    (folder / "checkpoint").write_bytes(edited_note(change))
    assert codes(folder) == ["log.checkpoint"]


def test_a_missing_or_huge_checkpoint_is_found(folder: Path) -> None:
    (folder / "checkpoint").write_bytes(b"x" * 100_000)
    assert codes(folder) == ["log.checkpoint"]
    (folder / "checkpoint").unlink()
    assert codes(folder) == ["log.checkpoint"]


def test_a_checkpoint_of_another_size_root_or_origin_is_found(folder: Path) -> None:
    note = (folder / "checkpoint").read_bytes()
    (folder / "checkpoint").write_bytes(note.replace(b"\n600\n", b"\n599\n"))
    assert codes(folder) == ["log.signature"]
    keys = [member.log_key.hex()[:16].encode() for member in deployment().committee.genesis.members]
    (folder / "checkpoint").write_bytes(note.replace(keys[0] + b"\n", keys[0][::-1] + b"\n"))
    assert codes(folder) == ["log.origin"]
    (folder / "checkpoint").write_bytes(note.replace(keys[0] + b"\n", keys[1] + b"\n"))
    assert codes(folder) == ["log.signature"]


def test_cosignatures_of_others_are_passed_over(folder: Path) -> None:
    note = (folder / "checkpoint").read_bytes()
    (folder / "checkpoint").write_bytes(note + "\u2014 witness.example AAAAAAECAwQ=\n".encode())
    assert codes(folder) == []


def test_an_empty_log_has_no_genesis_but_raises_nothing(tmp_path: Path) -> None:
    from base64 import b64encode

    house = deployment()
    origin = f"mpc_sequencer/{house.committee.genesis_id.hex()}/{bytes(house.log_keys[0].verify_key).hex()[:16]}"
    text = f"{origin}\n0\n{b64encode(hashlib.sha256().digest()).decode()}\n"
    name = hashlib.sha256(origin.encode() + b"\n\x01" + bytes(house.log_keys[0].verify_key)).digest()[:4]
    signature = b64encode(name + house.log_keys[0].sign(text.encode()).signature).decode()
    (tmp_path / "checkpoint").write_text(f"{text}\n\u2014 {origin} {signature}\n")
    assert codes(tmp_path) == ["log.genesis"]


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_no_damage_to_any_file_raises_or_passes(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_log(folder, [encode(entry) for entry in standard_entries()], 0)
        path = data.draw(st.sampled_from(sorted(path for path in folder.rglob("*") if path.is_file())))
        content = bytearray(path.read_bytes())
        at = data.draw(st.integers(0, len(content) - 1))
        match data.draw(st.sampled_from(["flip", "cut", "insert"])):
            case "flip":
                content[at] ^= 1 << data.draw(st.integers(0, 7))
            case "cut":
                del content[at:]
            case _:
                content.insert(at, data.draw(st.integers(0, 255)))
        changed = bytes(content) != path.read_bytes()
        path.write_bytes(content)
        report = audit(folder)
        assert (report.verdict == "fail") == changed
        shutil.rmtree(folder / "tile")


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_no_flipped_bit_in_a_signed_log_raises_or_passes(data: st.DataObject) -> None:
    """The member rewrites an entry and signs the result: every byte of every entry is covered by some rule."""
    entries = [encode(entry) for entry in standard_entries()]
    # The last entry notes the member's own posting: only the chain can contradict its transaction.
    index = data.draw(st.integers(0, len(entries) - 2))
    content = bytearray(entries[index])
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    entries[index] = bytes(content)
    assert audit_of(entries).verdict == "fail"


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_missing_repeated_or_moved_entry_raises(data: st.DataObject) -> None:
    entries = [encode(entry) for entry in standard_entries()]
    for _ in range(data.draw(st.integers(1, 3))):
        index, other = (data.draw(st.integers(0, len(entries) - 1)) for _ in range(2))
        match data.draw(st.sampled_from(["delete", "repeat", "swap"])):
            case "delete":
                del entries[index]
            case "repeat":
                entries.insert(other, entries[index])
            case _:
                entries[index], entries[other] = entries[other], entries[index]
    assert audit_of(entries).verdict in ("pass", "fail")


def audit_of(entries: list[bytes]) -> Report:
    with tempfile.TemporaryDirectory() as name:
        write_log(Path(name), entries, 0)
        return audit(Path(name))


@cache
def standard_entries() -> tuple[object, ...]:
    return tuple(standard().entries)


@given(st.integers(0, 10**10), st.integers(1, 256))
def test_tile_paths_are_those_of_the_format(number: int, width: int) -> None:
    assert tile_path("entries", number, width) == tile_name("entries", number, width)


def test_tile_paths_of_the_formats_own_example() -> None:
    assert tile_path(0, 1_234_067, 256) == "tile/0/x001/x234/067"
    assert tile_path(1, 0, 7) == "tile/1/000.p/7"


@given(st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=70))
def test_roots_are_those_of_the_format(hashes: list[bytes]) -> None:
    assert tree_root(hashes) == merkle(hashes)
