"""Balances, nonces and client order ids of every account, with the changes of the height under way.

Each balance is ``free`` (may be locked or withdrawn) and ``locked`` (backs resting orders), in base units
of the asset. The settlement contract knows only their sum, so a height's delta is the change of the sum and
of what became withdrawable; locking and releasing leave no delta.

No balance can leave 0 .. 2^127-1: :meth:`Ledger.credit` bounds the units of each asset held by all accounts
together, and everything else moves units between accounts or out.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from mpc_sequencer.core.actions import AMOUNT_BYTES
from mpc_sequencer.core.limits import AMOUNT_MAX, CLIENT_IDS_KEPT, NONCE_WINDOW
from mpc_sequencer.market.handles import Handles, Marks
from mpc_sequencer.market.nonces import NonceState, advanced
from mpc_sequencer.market.types import NONCE_WINDOW_BYTES, AccountValue

Delta = tuple[bytes, int, int, int]

AMOUNT_PLACES: Final = 16
"""Bytes of an amount in the ledger: two's complement of 128 bits, the lowest first."""
ROW_BYTES: Final = 2 * AMOUNT_PLACES
"""Free, then locked."""
_ZERO: Final = bytes(AMOUNT_PLACES)
_ZERO_ROW: Final = bytes(ROW_BYTES)
_UNUSED: Final = bytes(NONCE_WINDOW_BYTES)
_CAPACITY_LEAST: Final = 64
_MANY: Final = 400


@dataclass(frozen=True, slots=True)
class Account:
    """One account as it is now: ``balances`` maps an asset to ``(free, locked)``, without rows of zeros;
    ``client_ids`` are the last accepted ones, newest last."""

    balances: Mapping[int, tuple[int, int]]
    nonces: NonceState
    client_ids: tuple[int, ...]

    def value(self) -> AccountValue | None:
        """The account's value in the state tree; None for an account nothing ever happened to."""
        rows = tuple(
            (asset, free.to_bytes(AMOUNT_BYTES, "big"), locked.to_bytes(AMOUNT_BYTES, "big"))
            for asset, (free, locked) in sorted(self.balances.items())
        )
        if not rows and not self.nonces.touched:
            return None
        window = self.nonces.window.to_bytes(NONCE_WINDOW_BYTES, "big")
        return AccountValue(rows, self.nonces.highest, window, self.client_ids)


_NOBODY: Final = Account({}, NonceState(), ())


@dataclass(frozen=True, slots=True)
class Savepoint:
    """Some accounts as they were, None for those unknown then, and the supply of each asset."""

    accounts: Mapping[bytes, Account | None]
    supply: Mapping[int, int]


class Ledger:
    """All accounts, by handle. Methods that move units do all of it or, answering False, nothing.

    An account's amounts and nonces are bytes at its handle's place in one array of each kind, and no objects: these
    would lie wherever there was room, and a batch would wait for the memory of each. (The price: an account takes
    ROW_BYTES and AMOUNT_PLACES for every asset that anybody has had.) What moves many accounts at
    once works on the arrays themselves (:mod:`~mpc_sequencer.market.ledger_columns`)."""

    __slots__ = (
        "_capacity", "_client_ids", "_supply", "_withdrawn", "balances", "changed", "changes", "handles", "highest",
        "touched", "windows",
    )  # fmt: skip

    def __init__(self) -> None:
        self.handles = Handles()
        self._capacity = 0
        self.balances: dict[int, bytearray] = {}
        """By asset; ROW_BYTES an account."""
        self.highest = array("q")
        self.windows = bytearray()
        """NONCE_WINDOW_BYTES an account, the lowest first."""
        self._client_ids: dict[int, tuple[int, ...]] = {}
        self._supply: dict[int, int] = {}
        self.changes: dict[int, bytearray] = {}
        """By asset, of free + locked since they were last taken; AMOUNT_PLACES an account."""
        self.changed: dict[int, Marks] = {}
        """By asset, whose may be other than zero."""
        self._withdrawn: dict[tuple[int, bytes], int] = {}
        """What became withdrawable, by asset and account."""
        self.touched = Marks()
        """Whose value may have changed since somebody asked."""

    def __iter__(self) -> Iterator[tuple[bytes, Account]]:
        return ((address, self._account(handle)) for handle, address in enumerate(self.handles.addresses))

    def get(self, account: bytes) -> Account | None:
        handle = self.handles.of.get(account)
        return None if handle is None else self._account(handle)

    def value(self, account: bytes) -> AccountValue | None:
        """:meth:`Account.value` as it is now; None for an account nothing ever happened to."""
        handle = self.handles.of.get(account)
        if handle is None or handle >= self._capacity:
            return None
        start = handle * ROW_BYTES
        rows = []
        for asset in sorted(self.balances):
            row = self.balances[asset][start : start + ROW_BYTES]
            if row != _ZERO_ROW:
                row.reverse()  # locked before free, the highest first
                rows.append((asset, bytes(row[AMOUNT_PLACES:]), bytes(row[:AMOUNT_PLACES])))
        start = handle * NONCE_WINDOW_BYTES
        window = self.windows[start : start + NONCE_WINDOW_BYTES]
        if not rows and window == _UNUSED:
            return None
        window.reverse()
        return AccountValue(tuple(rows), self.highest[handle], bytes(window), self._client_ids.get(handle, ()))

    def balance(self, account: bytes, asset: int) -> tuple[int, int]:
        """``(free, locked)``; zeros for what is unknown."""
        handle, held = self.handles.of.get(account), self.balances.get(asset)
        return (0, 0) if handle is None or held is None else _row(held, handle)

    def credit(self, account: bytes, asset: int, amount: int) -> None:
        """Add a deposit to free. Raises ``ValueError`` where the asset's supply would pass 2^127-1."""
        supply = self._supply.get(asset, 0) + amount
        if amount < 0 or supply > AMOUNT_MAX:
            raise ValueError(f"credit of {amount} takes the supply of asset {asset} out of 0 .. {AMOUNT_MAX}")
        self._supply[asset] = supply
        self._move(account, asset, amount, 0)

    def consume_nonce(self, account: bytes, nonce: int) -> str | None:
        """Use ``nonce`` up, or answer why it cannot be used."""
        handle = self.handles.of.get(account)
        if handle is not None and handle < self._capacity and 0 < nonce - self.highest[handle] < NONCE_WINDOW:
            start = handle * NONCE_WINDOW_BYTES
            end = start + NONCE_WINDOW_BYTES
            before = int.from_bytes(self.windows[start:end], "little")
            window = advanced(before, nonce - self.highest[handle])
            self.windows[start:end] = window.to_bytes(NONCE_WINDOW_BYTES, "little")
            self.highest[handle] = nonce
            self.touched.add(handle)
            return None
        nonces = self._nonces(handle)
        refused = nonces.consume(nonce)
        if refused is None:
            self._set_nonces(self._touch(account), nonces)
        return refused

    def nonce_refusal(self, account: bytes, nonce: int) -> str | None:
        """Why ``nonce`` cannot be used now; None where it can."""
        return self._nonces(self.handles.of.get(account)).refusal(nonce)

    def knows_client_id(self, account: bytes, client_id: int) -> bool:
        """Whether it is among the account's last accepted ones."""
        handle = self.handles.of.get(account)
        return handle is not None and client_id in self._client_ids.get(handle, ())

    def remember_client_ids(self, account: bytes, client_ids: Iterable[int]) -> None:
        """Note accepted client ids, the newest last."""
        handle = self._touch(account)
        self._client_ids[handle] = (*self._client_ids.get(handle, ()), *client_ids)[-CLIENT_IDS_KEPT:]

    def lock(self, account: bytes, asset: int, amount: int) -> bool:
        """Move ``amount`` from free to locked if free covers it."""
        handle, held = self.handles.of.get(account), self.balances.get(asset)
        free, locked = (0, 0) if handle is None or held is None else _row(held, handle)
        if amount > free:
            return False
        if handle is not None and held is not None:
            start = handle * ROW_BYTES
            held[start : start + ROW_BYTES] = _amount(free - amount) + _amount(locked + amount)
            self.touched.add(handle)
        return True

    def release(self, account: bytes, asset: int, amount: int) -> None:
        """Move ``amount``, which a caller locked before, from locked back to free."""
        self._move(account, asset, amount, -amount)

    def pay(self, account: bytes, asset: int, amount: int, locked: int) -> None:
        """Take ``amount`` out of the account for fills, from ``locked`` units whose rest becomes free."""
        self._change(self._move(account, asset, locked - amount, -locked), asset, -amount)

    def receive(self, account: bytes, asset: int, amount: int) -> None:
        """Add what fills bring to free."""
        self._change(self._move(account, asset, amount, 0), asset, amount)

    def withdraw(self, account: bytes, asset: int, amount: int) -> bool:
        """Take ``amount`` from free for good if free covers it."""
        if amount > self.balance(account, asset)[0]:
            return False
        self._change(self._move(account, asset, -amount, 0), asset, -amount)
        self._supply[asset] -= amount
        self._withdrawn[asset, account] = self._withdrawn.get((asset, account), 0) + amount
        return True

    def restore(self, account: bytes, value: AccountValue) -> None:
        """Take an account over from its value. Raises ``ValueError`` for a value that :meth:`Account.value`
        does not give."""
        balances = {}
        supplies = dict(self._supply)
        for asset, free_bytes, locked_bytes in value.balances:
            free, locked = int.from_bytes(free_bytes, "big"), int.from_bytes(locked_bytes, "big")
            supply = supplies[asset] = supplies.get(asset, 0) + free + locked
            if supply > AMOUNT_MAX:
                raise ValueError(f"the supply of asset {asset} is {supply}, expected at most {AMOUNT_MAX}")
            if free or locked:
                balances[asset] = free, locked
        nonces = NonceState(value.highest_nonce, int.from_bytes(value.window, "big"))
        held = Account(balances, nonces, value.client_ids)
        distinct = len(set(value.client_ids)) == len(value.client_ids)
        if held.value() != value or account in self.handles.of or not distinct:
            raise ValueError(f"account {account.hex()} is not in canonical form or appears twice")
        if (nonces.window and not nonces.window & 1) or (value.highest_nonce and not nonces.window):
            raise ValueError(f"account {account.hex()} has a nonce window without its highest nonce")
        self._supply = supplies
        self._store(self._touch(account), held)

    def savepoint(self, accounts: Iterable[bytes]) -> Savepoint:
        """What :meth:`roll_back` needs; to be taken before a height changes anything, over all accounts it may
        change before it is rolled back."""
        return Savepoint({account: self.get(account) for account in accounts}, dict(self._supply))

    def roll_back(self, savepoint: Savepoint) -> None:
        """Undo what the height under way has done since its savepoint."""
        for account, one in savepoint.accounts.items():
            handle = self.handles.of.get(account)
            if handle is not None:
                self._store(handle, _NOBODY if one is None else one)
        self._supply = dict(savepoint.supply)
        for asset, marks in self.changed.items():
            for handle in marks.take():
                self._take_change(asset, handle)
        self.changed, self._withdrawn = {}, {}

    def take_deltas(self) -> tuple[Delta, ...]:
        """The rows ``(account, asset, free + locked, withdrawable)`` changed since the last call, by
        (asset, account)."""
        changed, self.changed = self.changed, {}
        withdrawn, self._withdrawn = self._withdrawn, {}
        addresses = self.handles.addresses
        rows: list[Delta] = []
        for asset in sorted(changed):
            handles = list(changed[asset].take())
            made = zip([addresses[handle] for handle in handles], self._take_changes(asset, handles), strict=True)
            for account, change in sorted(made):
                leaving = withdrawn.get((asset, account), 0) if withdrawn else 0
                if change or leaving:
                    rows.append((account, asset, change, leaving))
        return tuple(rows)

    def take_touched(self) -> set[bytes]:
        """The accounts whose value may have changed since the last call."""
        addresses = self.handles.addresses
        return {addresses[handle] for handle in self.touched.take()}

    def held(self, asset: int) -> bytearray:
        """The balances of an asset."""
        made = self.balances.get(asset)
        if made is None:
            made = self.balances[asset] = bytearray(self._capacity * ROW_BYTES)
        return made

    def changes_of(self, asset: int) -> bytearray:
        """The changes of an asset."""
        made = self.changes.get(asset)
        if made is None:
            made = self.changes[asset] = bytearray(self._capacity * AMOUNT_PLACES)
        return made

    def marks_of(self, asset: int) -> Marks:
        """Whose change of an asset may be other than zero."""
        made = self.changed.get(asset)
        if made is None:
            made = self.changed[asset] = Marks()
        return made

    def _touch(self, account: bytes) -> int:
        handle = self.handles.of.get(account)
        if handle is None or handle >= self._capacity:
            if len(self.handles.addresses) >= self._capacity:
                self._grow()
            handle = self.handles.take(account)
        self.touched.add(handle)
        return handle

    def _grow(self) -> None:
        """Room for all handles and more; new arrays, for there may be views of the old ones. All of them or, where
        there is no memory for them, none: a height that ends here is rolled back."""
        more = max(_CAPACITY_LEAST, len(self.handles.addresses) * 2 + 2) - self._capacity
        highest = self.highest + array("q", bytes(8 * more))
        windows = self.windows + bytes(NONCE_WINDOW_BYTES * more)
        balances = {asset: held + bytes(ROW_BYTES * more) for asset, held in self.balances.items()}
        changes = {asset: held + bytes(AMOUNT_PLACES * more) for asset, held in self.changes.items()}
        self.highest, self.windows, self.balances, self.changes = highest, windows, balances, changes
        self._capacity += more

    def _account(self, handle: int) -> Account:
        balances: dict[int, tuple[int, int]] = {}
        if handle < self._capacity:
            rows = ((asset, _row(held, handle)) for asset, held in self.balances.items())
            balances = {asset: row for asset, row in rows if row != (0, 0)}
        return Account(balances, self._nonces(handle), self._client_ids.get(handle, ()))

    def _store(self, handle: int, account: Account) -> None:
        """Let the account be ``account``."""
        start = handle * ROW_BYTES
        for asset in self.balances.keys() | account.balances.keys():
            row = account.balances.get(asset, (0, 0))
            self.held(asset)[start : start + ROW_BYTES] = b"".join(map(_amount, row))
        self._set_nonces(handle, account.nonces)
        if account.client_ids:
            self._client_ids[handle] = account.client_ids
        else:
            self._client_ids.pop(handle, None)

    def _nonces(self, handle: int | None) -> NonceState:
        if handle is None or handle >= self._capacity:
            return NonceState()
        start = handle * NONCE_WINDOW_BYTES
        window = int.from_bytes(self.windows[start : start + NONCE_WINDOW_BYTES], "little")
        return NonceState(self.highest[handle], window)

    def _set_nonces(self, handle: int, nonces: NonceState) -> None:
        start = handle * NONCE_WINDOW_BYTES
        self.highest[handle] = nonces.highest
        self.windows[start : start + NONCE_WINDOW_BYTES] = nonces.window.to_bytes(NONCE_WINDOW_BYTES, "little")

    def _move(self, account: bytes, asset: int, free: int, locked: int) -> int:
        """Add to what is free and to what is locked; the account's handle."""
        handle = self._touch(account)
        held = self.balances.get(asset) or self.held(asset)
        start = handle * ROW_BYTES
        middle = start + AMOUNT_PLACES
        held[start:middle] = _amount(free + int.from_bytes(held[start:middle], "little", signed=True))
        if locked:
            end = start + ROW_BYTES
            held[middle:end] = _amount(locked + int.from_bytes(held[middle:end], "little", signed=True))
        return handle

    def _change(self, handle: int, asset: int, amount: int) -> None:
        """Note a change of free + locked."""
        self.marks_of(asset).add(handle)  # first: a change without its mark would outlive a roll-back
        held = self.changes.get(asset) or self.changes_of(asset)
        start = handle * AMOUNT_PLACES
        before = int.from_bytes(held[start : start + AMOUNT_PLACES], "little", signed=True)
        held[start : start + AMOUNT_PLACES] = _amount(before + amount)

    def _take_changes(self, asset: int, handles: list[int]) -> list[int]:
        if len(handles) < _MANY:
            return [self._take_change(asset, handle) for handle in handles]
        from mpc_sequencer.market.ledger_columns import take_changes  # numpy comes in only where a batch is large

        return take_changes(self, asset, handles)

    def _take_change(self, asset: int, handle: int) -> int:
        held = self.changes_of(asset)
        start = handle * AMOUNT_PLACES
        change = int.from_bytes(held[start : start + AMOUNT_PLACES], "little", signed=True)
        held[start : start + AMOUNT_PLACES] = _ZERO
        return change


def _amount(units: int) -> bytes:
    return units.to_bytes(AMOUNT_PLACES, "little", signed=True)


def _row(held: bytearray, handle: int) -> tuple[int, int]:
    start = handle * ROW_BYTES
    middle = start + AMOUNT_PLACES
    free = int.from_bytes(held[start:middle], "little", signed=True)
    return free, int.from_bytes(held[middle : start + ROW_BYTES], "little", signed=True)
