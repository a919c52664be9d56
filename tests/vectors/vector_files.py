"""What the scripts in this folder do with the files they make: write them, or compare them with what is there."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

HERE = Path(__file__).parent


def write_or_check(made: Mapping[str, str], arguments: list[str], usage: str | None) -> int:
    """The exit status: with ``--check`` 1 when a file differs, 2 for other arguments."""
    if arguments == ["--check"]:
        return int(any(not (HERE / name).exists() or (HERE / name).read_text() != text for name, text in made.items()))
    if arguments:
        print(usage, file=sys.stderr)
        return 2
    for name, text in made.items():
        (HERE / name).write_text(text)
    return 0
