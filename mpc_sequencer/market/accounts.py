"""Balances, nonces and client order ids of every account, with the changes of the height under way.

Each balance is ``free`` (may be locked or withdrawn) and ``locked`` (backs resting orders), in base units
of the asset. The settlement contract knows only their sum, so a height's delta is the change of the sum and
of what became withdrawable; locking and releasing leave no delta.

No balance can leave 0 .. 2^127-1: :meth:`Ledger.credit` bounds the units of each asset held by all accounts
together, and everything else moves units between accounts or out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from mpc_sequencer.core.actions import AMOUNT_BYTES
from mpc_sequencer.core.limits import AMOUNT_MAX, CLIENT_IDS_KEPT
from mpc_sequencer.market.nonces import NonceState
from mpc_sequencer.market.types import NONCE_WINDOW_BYTES, AccountValue

Delta = tuple[bytes, int, int, int]

_FREE: Final = 0
_LOCKED: Final = 1


class Account:
    """One account: ``balances`` maps an asset to ``[free, locked]``; ``client_ids`` are the last accepted ones, newest
    last."""

    __slots__ = ("balances", "client_ids", "nonces")

    def __init__(self) -> None:
        self.balances: dict[int, list[int]] = {}
        self.nonces = NonceState()
        self.client_ids: tuple[int, ...] = ()

    def value(self) -> AccountValue | None:
        """The account's value in the state tree; None for an account nothing ever happened to."""
        rows = tuple(
            (asset, free.to_bytes(AMOUNT_BYTES, "big"), locked.to_bytes(AMOUNT_BYTES, "big"))
            for asset, (free, locked) in sorted(self.balances.items())
            if free or locked
        )
        if not rows and not self.nonces.touched:
            return None
        window = self.nonces.window.to_bytes(NONCE_WINDOW_BYTES, "big")
        return AccountValue(rows, self.nonces.highest, window, self.client_ids)

    def copy(self) -> Account:
        """An account of its own with the same values."""
        made = Account()
        made.balances = {asset: list(row) for asset, row in self.balances.items()}
        made.nonces = NonceState(self.nonces.highest, self.nonces.window)
        made.client_ids = self.client_ids
        return made


@dataclass(frozen=True, slots=True)
class Savepoint:
    """Some accounts as they were, None for those unknown then, and the supply of each asset."""

    accounts: Mapping[bytes, Account | None]
    supply: Mapping[int, int]


class Ledger:
    """All accounts. Methods that move units do all of it or, answering False, nothing."""

    __slots__ = ("_accounts", "_changes", "_supply", "_touched", "_withdrawn")

    def __init__(self) -> None:
        self._accounts: dict[bytes, Account] = {}
        self._supply: dict[int, int] = {}
        self._changes: dict[int, dict[bytes, int]] = {}
        """By asset and account, of free + locked; those of what became withdrawable beside them."""
        self._withdrawn: dict[tuple[int, bytes], int] = {}
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

    def nonce_refusal(self, account: bytes, nonce: int) -> str | None:
        """Why ``nonce`` cannot be used now; None where it can."""
        held = self._accounts.get(account)
        return (NonceState() if held is None else held.nonces).refusal(nonce)

    def enter(self, account: bytes, lowest: int, highest: int, window: int, needs: Sequence[tuple[int, int]]) -> bool:
        """Lock ``needs``, rows (asset, units), and use up nonces (see :meth:`NonceState.consume_above`)."""
        held = self._accounts.get(account)
        if held is None:
            return False
        rows = []
        for asset, units in needs:
            row = held.balances.get(asset)
            if row is None or units > row[_FREE]:
                break
            row[_FREE] -= units
            row[_LOCKED] += units
            rows.append((row, units))
        if len(rows) == len(needs) and held.nonces.consume_above(lowest, highest, window):
            self._touched.add(account)
            return True
        for row, units in rows:
            row[_FREE] += units
            row[_LOCKED] -= units
        return False

    def knows_client_id(self, account: bytes, client_id: int) -> bool:
        """Whether it is among the account's last accepted ones."""
        held = self._accounts.get(account)
        return held is not None and client_id in held.client_ids

    def remember_client_ids(self, account: bytes, client_ids: Iterable[int]) -> None:
        """Note accepted client ids, the newest last."""
        held = self._touch(account)
        held.client_ids = (*held.client_ids, *client_ids)[-CLIENT_IDS_KEPT:]

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

    def pay(self, account: bytes, asset: int, amount: int, locked: int) -> None:
        """Take ``amount`` out of the account for fills, from ``locked`` units whose rest becomes free."""
        row = self._row(account, asset)
        row[_LOCKED] -= locked
        row[_FREE] += locked - amount
        self._change(account, asset, -amount)

    def receive(self, account: bytes, asset: int, amount: int) -> None:
        """Add what fills bring to free."""
        self._row(account, asset)[_FREE] += amount
        self._change(account, asset, amount)

    def trade(
        self, paid_asset: int, got_asset: int, addresses: Sequence[bytes], rows: Iterable[tuple[int, int, int]]
    ) -> None:
        """:meth:`pay` and :meth:`receive` for many: a row (units paid, locked units they come from, units got) for each
        account."""
        accounts = self._accounts
        self._touched.update(addresses)
        paid_changes, got_changes = self._totals(paid_asset), self._totals(got_asset)
        for account, (paid, locked, got) in zip(addresses, rows, strict=True):
            balances = accounts[account].balances
            row = balances[paid_asset]
            row[_LOCKED] -= locked
            row[_FREE] += locked - paid
            if paid or got:
                paid_changes[account] = paid_changes.get(account, 0) - paid
                got_changes[account] = got_changes.get(account, 0) + got
                to = balances.get(got_asset)
                if to is None:
                    balances[got_asset] = [got, 0]
                else:
                    to[_FREE] += got

    def withdraw(self, account: bytes, asset: int, amount: int) -> bool:
        """Take ``amount`` from free for good if free covers it."""
        if amount > self._free(account, asset):
            return False
        self._row(account, asset)[_FREE] -= amount
        self._supply[asset] -= amount
        self._change(account, asset, -amount)
        self._withdrawn[asset, account] = self._withdrawn.get((asset, account), 0) + amount
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
        held.client_ids = value.client_ids
        distinct = len(set(value.client_ids)) == len(value.client_ids)
        if held.value() != value or account in self._accounts or not distinct:
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
        self._changes, self._withdrawn = {}, {}

    def take_deltas(self) -> tuple[Delta, ...]:
        """The rows ``(account, asset, free + locked, withdrawable)`` changed since the last call, by
        (asset, account)."""
        changes, self._changes = self._changes, {}
        withdrawn, self._withdrawn = self._withdrawn, {}
        return tuple(
            (account, asset, changes[asset][account], withdrawn.get((asset, account), 0) if withdrawn else 0)
            for asset in sorted(changes)
            for account in sorted(changes[asset])
            if changes[asset][account] or (asset, account) in withdrawn
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

    def _totals(self, asset: int) -> dict[bytes, int]:
        return self._changes.setdefault(asset, {})

    def _change(self, account: bytes, asset: int, amount: int) -> None:
        totals = self._totals(asset)
        totals[account] = totals.get(account, 0) + amount
