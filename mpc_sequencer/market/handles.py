"""Small numbers for accounts.

What the engine holds account by account is held in arrays at the account's number, its handle, so that a batch looks an
address up once and then reads neighbouring memory. Handles are of one process: they are in no value, hash or snapshot,
and no result depends on them.
"""

from __future__ import annotations

from typing import Any


class Handles:
    """Small numbers for addresses, 0 for the first seen: places in whatever is held account by account."""

    __slots__ = ("addresses", "of")

    def __init__(self) -> None:
        self.of: dict[bytes, int] = {}
        self.addresses: list[bytes] = []

    def take(self, address: bytes) -> int:
        """The handle of ``address``, a new one where it has none."""
        handle = self.of.get(address)
        if handle is None:
            handle = self.of[address] = len(self.addresses)
            self.addresses.append(address)
        return handle


class Marks:
    """A set of handles, of which many at once are kept as they come."""

    __slots__ = ("_many", "_ones")

    def __init__(self) -> None:
        self._ones: set[int] = set()
        self._many: list[Any] = []

    def add(self, handle: int) -> None:
        self._ones.add(handle)

    def add_all(self, handles: Any) -> None:
        """Add an array of handles, which must not change."""
        self._many.append(handles)

    def take(self) -> set[int]:
        """The handles; it is empty then."""
        taken, many = self._ones, self._many
        self._ones, self._many = set(), []
        for handles in many:
            taken.update(handles.tolist())
        return taken
