"""What commands print: JSON values on one line with ``--json``, else tables and sentences for people."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

PIPE_CHARACTERS: Final = 160

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def print_json(value: Any) -> None:
    """One JSON value on one line, at once."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def console(*, stderr: bool = False) -> Console:
    """A terminal for people, without automatic highlighting of what is only data."""
    from rich.console import Console

    terminal = Console(stderr=stderr, highlight=False)
    if not terminal.is_terminal:
        terminal.width = PIPE_CHARACTERS  # a file has no width: do not fold what fits a line
    return terminal


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """A plain table; numbers are aligned to the right."""
    from rich import box
    from rich.table import Table

    materialized = [list(row) for row in rows]
    headed = any(columns)
    result = Table(
        title=title or None,
        show_header=headed,
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    for index, column in enumerate(columns):
        numeric = bool(materialized) and all(isinstance(row[index], int | float) for row in materialized)
        result.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in materialized:
        result.add_row(*[_cell(value) for value in row])
    return result


def _cell(value: object) -> str:
    from rich.markup import escape

    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}" if abs(value) >= 10_000 else str(value)
    return escape(str(value))


def print_fields(terminal: Console, rows: Iterable[tuple[str, object]], title: str = "") -> None:
    """Names and values, a line each; values are never cut or folded, so that they can be copied."""
    materialized = list(rows)
    width = max((len(name) for name, _ in materialized), default=0)
    if title:
        terminal.print(title, style="bold", markup=False)
    for name, value in materialized:
        shown = ("yes" if value else "no") if isinstance(value, bool) else value
        terminal.print(f"  {name:<{width}}  {shown}", markup=False, soft_wrap=True)
