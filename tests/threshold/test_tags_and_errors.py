"""Hash domains are registered once; every error code is listed, used and says what a reader needs."""

import hashlib
import re
from pathlib import Path

import pytest

import threshold
from threshold import CODES, REGISTERED, Tag, ThresholdError
from threshold.errors import show

SOURCES = Path(threshold.__file__).parent


def test_a_tagged_hash_is_bip_340s() -> None:
    digest = hashlib.sha256(b"MPCSEQ/v1/r").digest()
    expected = hashlib.sha256(digest + digest + b"some" + b"data").digest()
    assert REGISTERED["MPCSEQ/v1/r"](b"some", b"data") == expected
    assert REGISTERED["MPCSEQ/v1/r"](b"somedata") == expected, "a tag keeps no state between calls"


def test_a_name_is_registered_once() -> None:
    for name in ("MPCSEQ/v1/r", "", "not ascii \u00e9"):
        with pytest.raises(ValueError):
            Tag(name)
    with pytest.raises(TypeError):
        REGISTERED["x"] = REGISTERED["MPCSEQ/v1/r"]  # type: ignore[index]


def test_the_tags_of_the_protocol_are_there_and_made_in_one_file() -> None:
    assert {f"MPCSEQ/v1/{name}" for name in ("key", "r", "s", "kem", "tdh2")} <= set(REGISTERED)
    makers = [path.name for path in SOURCES.rglob("*.py") if re.search(r"\bTag\(\"", path.read_text())]
    assert makers == ["tags.py"]


def test_every_code_is_raised_somewhere_and_every_raised_code_is_listed() -> None:
    text = "".join(path.read_text() for path in SOURCES.rglob("*.py") if path.name != "errors.py")
    raised = set(re.findall(r"\"([a-z0-9]+\.[a-z_]+)\"", text)) - {"label.chain_id"}
    assert set(CODES) <= raised
    assert all(sentence.endswith(".") for sentence in CODES.values())
    with pytest.raises(KeyError):
        ThresholdError("no.such_code", "", "", "")


def test_an_error_shows_its_code_field_value_and_expectation() -> None:
    error = ThresholdError("scalar.range", "ciphertext.e", show(bytes(32)), "1 to N - 1")
    assert str(error) == f"scalar.range: ciphertext.e: seen 32 bytes 0x{'00' * 32}, expected 1 to N - 1"
    assert (error.code, error.field, error.expected) == ("scalar.range", "ciphertext.e", "1 to N - 1")


def test_what_was_seen_is_shortened() -> None:
    assert len(show(bytes(10_000))) < 120 and show(bytes(10_000)).endswith("...")
    assert show(b"\x01") == "1 bytes 0x01"
