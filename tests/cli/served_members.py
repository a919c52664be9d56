"""Scripted members that serve clients over real TLS, in a thread beside the command that a test runs."""

from __future__ import annotations

import contextlib
import threading
from abc import ABC, abstractmethod
from typing import Self

import trio

START_S_MAX = 20.0


class ServedMembers(ABC):
    """Up from ``with`` to its end."""

    def __init__(self) -> None:
        self._up = threading.Event()
        self._token: trio.lowlevel.TrioToken | None = None
        self._scope = trio.CancelScope()
        self._thread = threading.Thread(target=trio.run, args=(self._serve,), daemon=True)

    @abstractmethod
    async def _start(self, nursery: trio.Nursery) -> None:
        """Bind all members, and let ``nursery`` run them and what they answer."""

    async def _serve(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        with self._scope:
            async with trio.open_nursery() as nursery:
                await self._start(nursery)
                self._up.set()

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._up.wait(START_S_MAX)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._token is not None
        with contextlib.suppress(trio.RunFinishedError):
            self._token.run_sync_soon(self._scope.cancel)
        self._thread.join(START_S_MAX)
        assert not self._thread.is_alive()
