"""Balances and nonces of every account, with the changes of the height under way.

Each balance is ``free`` (may be locked or withdrawn) and ``locked`` (backs resting orders), in base units
of the asset. The settlement contract knows only their sum, so a height's delta is the change of the sum and
of what became withdrawable; locking and releasing leave no delta.

No balance can leave 0 .. 2^127-1: :meth:`Ledger.credit` bounds the units of each asset held by all accounts
together, and everything else moves units between accounts or out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from mpc_sequencer.core.actions import AMOUNT_BYTES
from mpc_sequencer.core.limits import AMOUNT_MAX
from mpc_sequencer.market.nonces import NonceState
from mpc_sequencer.market.types import NONCE_WINDOW_BYTES, AccountValue

Delta = tuple[bytes, int, int, int]

_FREE: Final = 0
_LOCKED: Final = 1
_WITHDRAWABLE: Final = 1  # in a row of changes


class Account:
    """One account: ``balances`` maps an asset to ``[free, locked]``."""

    __slots__ = ("balances", "nonces")

    def __init__(self) -> None:
        self.balances: dict[int, list[int]] = {}
        self.nonces = NonceState()

    def value(self) -> AccountValue | None:
        """The account's value in the state tree; None for an account nothing ever happened to."""
        rows = tuple(
            (asset, free.to_bytes(AMOUNT_BYTES, "big"), locked.to_bytes(AMOUNT_BYTES, "big"))
            for asset, (free, locked) in sorted(self.balances.items())
            if free or locked
        )
        if not rows and not self.nonces.touched:
            return None
        return AccountValue(rows, self.nonces.highest, self.nonces.window.to_bytes(NONCE_WINDOW_BYTES, "big"), ())

    def copy(self) -> Account:
        """An account of its own with the same values."""
        made = Account()
        made.balances = {asset: list(row) for asset, row in self.balances.items()}
        made.nonces = NonceState(self.nonces.highest, self.nonces.window)
        return made


@dataclass(frozen=True, slots=True)
class Savepoint:
    """Some accounts as they were, None for those unknown then, and the supply of each asset."""

    accounts: Mapping[bytes, Account | None]
    supply: Mapping[int, int]


class Ledger:
    """All accounts. Methods that move units do all of it or, answering False, nothing."""

    __slots__ = ("_accounts", "_changes", "_supply", "_touched")

    def __init__(self) -> None:
        self._accounts: dict[bytes, Account] = {}
        self._supply: dict[int, int] = {}
        self._changes: dict[tuple[int, bytes], list[int]] = {}
        self._touched: set[bytes] = set()

    def __iter__(self) -> Iterator[tuple[bytes, Account]]:
        return iter(self._accounts.items())

    def get(self, account: bytes) -> Account | None:
        return self._accounts.get(account)

    def credit(self, account: bytes, asset: int, amount: int) -> None:
        """Add a deposit to free. Raises ``ValueError`` where the asset's supply would pass 2^127-1."""
        supply = self._supply.get(asset, 0) + amount
        if amount < 0 or supply > AMOUNT_MAX:
            raise ValueError(f"credit of {amount} takes the supply of asset {asset} out of 0 .. {AMOUNT_MAX}")
        self._supply[asset] = supply
        self._row(account, asset)[_FREE] += amount

    def consume_nonce(self, account: bytes, nonce: int) -> str | None:
        """Use ``nonce`` up, or answer why it cannot be used."""
        held = self._accounts.get(account)
        nonces = NonceState() if held is None else held.nonces
        refused = nonces.consume(nonce)
        if refused is None:
            self._touch(account).nonces = nonces
        return refused

    def lock(self, account: bytes, asset: int, amount: int) -> bool:
        """Move ``amount`` from free to locked if free covers it."""
        if amount > self._free(account, asset):
            return False
        row = self._row(account, asset)
        row[_FREE] -= amount
        row[_LOCKED] += amount
        return True

    def release(self, account: bytes, asset: int, amount: int) -> None:
        """Move ``amount``, which a caller locked before, from locked back to free."""
        row = self._row(account, asset)
        row[_LOCKED] -= amount
        row[_FREE] += amount

    def pay_locked(self, account: bytes, asset: int, amount: int) -> None:
        """Take ``amount`` out of locked for a fill."""
        self._row(account, asset)[_LOCKED] -= amount
        self._change(account, asset)[_FREE] -= amount

    def receive(self, account: bytes, asset: int, amount: int) -> None:
        """Add a fill's proceeds to free."""
        self._row(account, asset)[_FREE] += amount
        self._change(account, asset)[_FREE] += amount

    def withdraw(self, account: bytes, asset: int, amount: int) -> bool:
        """Take ``amount`` from free for good if free covers it."""
        if amount > self._free(account, asset):
            return False
        self._row(account, asset)[_FREE] -= amount
        self._supply[asset] -= amount
        change = self._change(account, asset)
        change[_FREE] -= amount
        change[_WITHDRAWABLE] += amount
        return True

    def restore(self, account: bytes, value: AccountValue) -> None:
        """Take an account over from its value. Raises ``ValueError`` for a value that :meth:`Account.value`
        does not give."""
        held = Account()
        for asset, free_bytes, locked_bytes in value.balances:
            free, locked = int.from_bytes(free_bytes, "big"), int.from_bytes(locked_bytes, "big")
            held.balances[asset] = [free, locked]
            supply = self._supply[asset] = self._supply.get(asset, 0) + free + locked
            if supply > AMOUNT_MAX:
                raise ValueError(f"the supply of asset {asset} is {supply}, expected at most {AMOUNT_MAX}")
        held.nonces = NonceState(value.highest_nonce, int.from_bytes(value.window, "big"))
        if held.value() != value or account in self._accounts:
            raise ValueError(f"account {account.hex()} is not in canonical form or appears twice")
        window = held.nonces.window
        if (window and not window & 1) or (value.highest_nonce and not window):
            raise ValueError(f"account {account.hex()} has a nonce window without its highest nonce")
        self._accounts[account] = held
        self._touched.add(account)

    def savepoint(self, accounts: Iterable[bytes]) -> Savepoint:
        """What :meth:`roll_back` needs; to be taken before a height changes anything, over all accounts it may
        change before it is rolled back."""
        held = {account: self._accounts.get(account) for account in accounts}
        return Savepoint(
            {account: None if one is None else one.copy() for account, one in held.items()}, dict(self._supply)
        )

    def roll_back(self, savepoint: Savepoint) -> None:
        """Undo what the height under way has done since its savepoint."""
        for account, one in savepoint.accounts.items():
            if one is None:
                self._accounts.pop(account, None)
            else:
                self._accounts[account] = one
        self._supply = dict(savepoint.supply)
        self._changes = {}

    def take_deltas(self) -> tuple[Delta, ...]:
        """The rows ``(account, asset, free + locked, withdrawable)`` changed since the last call, by
        (asset, account)."""
        changes, self._changes = self._changes, {}
        return tuple(
            (account, asset, total, withdrawable)
            for (asset, account), (total, withdrawable) in sorted(changes.items())
            if total or withdrawable
        )

    def take_touched(self) -> set[bytes]:
        """The accounts whose value may have changed since the last call."""
        touched, self._touched = self._touched, set()
        return touched

    def _touch(self, account: bytes) -> Account:
        self._touched.add(account)
        held = self._accounts.get(account)
        if held is None:
            held = self._accounts[account] = Account()
        return held

    def _free(self, account: bytes, asset: int) -> int:
        held = self._accounts.get(account)
        row = None if held is None else held.balances.get(asset)
        return 0 if row is None else row[_FREE]

    def _row(self, account: bytes, asset: int) -> list[int]:
        return self._touch(account).balances.setdefault(asset, [0, 0])

    def _change(self, account: bytes, asset: int) -> list[int]:
        return self._changes.setdefault((asset, account), [0, 0])
