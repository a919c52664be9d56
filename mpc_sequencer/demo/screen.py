"""What the demo shows while it works: one line per finished step, a bar for the step under way.

On a terminal the bar moves; elsewhere (a log, a pipe) only the lines appear. Everything goes to standard
error when the result is JSON, so that standard output carries the result alone.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID


class Step:
    """A step under way."""

    def __init__(self, title: str, progress: Progress, task: TaskID) -> None:
        self._title = title
        self._progress = progress
        self._task = task
        self.note = ""
        """Said behind the title once the step is done."""

    def advance(self, done: int, total: int | None = None) -> None:
        """``done`` of the step's total is done."""
        if total is None:
            self._progress.update(self._task, completed=done)
        else:
            self._progress.update(self._task, completed=done, total=total)

    def say(self, words: str) -> None:
        """What the step waits for now, behind its title: on a terminal in place, elsewhere as a line."""
        line = f"{self._title}: {words}"
        if self._progress.disable:
            self._progress.console.print(line, markup=False, soft_wrap=True)
        else:
            self._progress.update(self._task, description=line)


class Screen:
    """The demo's view of itself; a ``with`` block around all steps."""

    def __init__(self, console: Console) -> None:
        self.console = console

    @contextmanager
    def step(self, title: str, total: int | None = None) -> Iterator[Step]:
        """Show a step: a moving bar where ``total`` is known, a pulse where it is not."""
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        count = [MofNCompleteColumn()] if total is not None else []
        columns = [TextColumn("{task.description}"), BarColumn(), *count, TimeElapsedColumn()]
        began_s = time.monotonic()
        with Progress(
            *columns, console=self.console, transient=True, disable=not self.console.is_terminal
        ) as progress:
            current = Step(title, progress, progress.add_task(title, total=total))
            yield current
        note = f": {current.note}" if current.note else ""
        self.say(f"{title}{note} ({time.monotonic() - began_s:.1f} s)")

    def say(self, text: str) -> None:
        """One line."""
        self.console.print(text, markup=False, soft_wrap=True)
