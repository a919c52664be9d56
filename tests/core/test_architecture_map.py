"""docs/architecture.md names what there is: every module of its map and every file of its table exists."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
ELSEWHERE = ("threshold/", "contracts/", "tests/", "docs/")
"""What is not below mpc_sequencer/."""


def mapped() -> list[Path]:
    """What the map's innermost lines name, by the folder above them."""
    found, folder = [], ROOT
    for line in TEXT.split("```")[1].split("\n"):
        names = re.split(r" {2,}", line.strip())[0].split()
        if re.match(r"  \w+/", line):
            folder = ROOT / "mpc_sequencer" / names[0].rstrip("/")
        elif re.match(r"    \w", line):
            found += [folder / name for name in names]
    return found


def test_every_module_of_the_map_exists() -> None:
    paths = mapped()
    assert len(paths) > 80
    missing = [path for path in paths if not path.is_dir() and not path.with_suffix(".py").is_file()]
    assert [str(path.relative_to(ROOT)) for path in missing] == []


def test_every_module_of_core_market_and_settlement_is_on_the_map_once() -> None:
    paths = mapped()
    assert len({*paths}) == len(paths)
    for folder in ("core", "market", "settlement"):
        modules = {path.stem for path in (ROOT / "mpc_sequencer" / folder).glob("*.py")} - {"__init__"}
        assert sorted(modules - {path.name for path in paths if path.parent.name == folder}) == []



def test_every_file_of_the_table_exists() -> None:
    named = re.findall(r"`([a-z_]+/[^`]*)`", TEXT.split("## Where a rule lives")[1].split("\n## ")[0])
    assert len(named) > 150
    missing = [
        name for name in named if not [*(ROOT if name.startswith(ELSEWHERE) else ROOT / "mpc_sequencer").glob(name)]
    ]
    assert missing == []
