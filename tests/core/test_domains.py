"""Domain separation: every tag and every signed type exists once, in its registry file, and is used."""

import ast
import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

import mpc_sequencer.core.node
import mpc_sequencer.dark.tags  # noqa: F401  (with the line above: everything a member uses)
from mpc_sequencer.core.eip712 import StructType, registered_types
from threshold.tags import REGISTERED, Tag

ROOT = Path(__file__).parent.parent.parent
SOURCES = {
    path: path.read_text(encoding="utf-8")
    for folder in ("mpc_sequencer", "threshold")
    for path in (ROOT / folder).rglob("*.py")
}
REGISTRIES = {
    ROOT / "mpc_sequencer" / "core" / "domains.py",
    ROOT / "mpc_sequencer" / "dark" / "tags.py",
    ROOT / "threshold" / "tags.py",
}
TYPE_REGISTRIES = REGISTRIES | {ROOT / "mpc_sequencer" / "settlement" / "payloads.py"}


@cache
def made(kind: str) -> list[tuple[Path, str | None, str]]:
    """(file, name it is bound to, first argument) of every ``kind(...)`` with a literal."""
    found = []
    for path, source in SOURCES.items():
        for node in ast.walk(ast.parse(source)):
            value = getattr(node, "value", None)
            if not isinstance(value, ast.Call) or not isinstance(value.func, ast.Name) or value.func.id != kind:
                continue
            if value.args and isinstance(value.args[0], ast.Constant):
                target = getattr(node, "target", None) or (node.targets[0] if isinstance(node, ast.Assign) else None)
                found.append((path, getattr(target, "id", None), value.args[0].value))
    return found


def test_every_tag_is_made_once_in_a_registry_file() -> None:
    tags = made("Tag")
    names = [name for _, _, name in tags]
    assert len(names) == len(set(names)) > 25
    assert {path for path, _, _ in tags} <= REGISTRIES
    assert set(names) == set(REGISTERED)


def test_every_signed_type_is_made_once_in_a_registry_file() -> None:
    types = made("StructType")
    names = [signature.split("(")[0] for _, _, signature in types]
    assert len(names) == len(set(names)) >= 11
    assert {path for path, _, _ in types} <= TYPE_REGISTRIES
    assert set(names) <= set(registered_types())
    hashes = {one.type_hash for one in registered_types().values()}
    assert len(hashes) == len(registered_types())


def test_every_tag_and_type_is_used() -> None:
    words = Counter(word for source in SOURCES.values() for word in re.findall(r"\b[A-Z][A-Z0-9_]+\b", source))
    for path, bound, name in made("Tag") + made("StructType"):
        assert bound is not None, (path, name)
        uses = words[bound] if not bound.startswith("_") else 2
        assert uses > 1, f"{name} is registered and never used"


def test_no_tag_is_spelled_out_elsewhere() -> None:
    for path, source in SOURCES.items():
        if path in REGISTRIES or "audit" in path.parts:
            continue
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes):
                text = node.value if isinstance(node.value, str) else node.value.decode("latin-1")
                is_prose = " " in text
                assert is_prose or not text.startswith("MPCSEQ/v"), (path, text)


def test_a_second_use_of_a_name_is_refused() -> None:
    with pytest.raises(ValueError, match="registered already"):
        Tag("MPCSEQ/v1/order")
    with pytest.raises(ValueError, match="already registered"):
        StructType("Vote2(uint64 view)") and StructType("Vote2(uint64 view,uint64 epoch)")
