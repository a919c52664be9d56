"""Whether the settlement contract and the market engine agree on all money, as pure checks over what each says.

Of the engine: the changes of every height that counts, and what accounts hold in the end. Of the contract: the changes
in every posted result (out of the transactions' own data, not out of events, which leave them out), what came in and
went out, and what it holds. Then

* results follow each other without a gap, and each changes exactly what the heights of its range add up to, row by row;
* where all is settled, an account's free amount is the engine's free and locked, and what it can claim is what it has
  withdrawn less what it was paid;
* what is free and withdrawable follows from deposits, posted changes and payments alone, settled or not;
* the contract's tokens are the sum of all balances.

Each check gives findings, one code per cause, and no finding where all is well.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from mpc_sequencer.devnet.findings import Finding

Place = tuple[int, bytes]
"""(asset id, account of 20 bytes)"""
Changes = dict[Place, tuple[int, int]]
"""(change of free + locked, change of withdrawable) in base units; no row of zeros."""


@dataclass(slots=True)
class EngineFacts:
    """What the members' engine, fed with a log's batches, says."""

    heights: dict[int, Changes] = field(default_factory=dict)
    """Of every height that was executed."""
    totals: dict[Place, int] = field(default_factory=dict)
    """Free and locked base units together after the last."""
    differences: list[str] = field(default_factory=list)
    """Heights for which the auditor's own execution says something else."""


@dataclass(frozen=True, slots=True)
class PostedChanges:
    """A posted result: its heights, and the changes that the contract applied."""

    epoch: int
    first_height: int
    last_height: int
    changes: Changes


@dataclass(frozen=True, slots=True)
class ContractFacts:
    """What the contract says at one block."""

    posted: tuple[PostedChanges, ...] = ()
    deposited: Mapping[Place, int] = field(default_factory=dict)
    claimed: Mapping[Place, int] = field(default_factory=dict)
    exited: Mapping[Place, int] = field(default_factory=dict)
    balances: Mapping[Place, tuple[int, int]] = field(default_factory=dict)
    """(free, withdrawable) in base units."""
    held: Mapping[int, int] = field(default_factory=dict)
    """Base units of each asset's token that the contract has."""

    @property
    def rows(self) -> int:
        """Rows of all posted results."""
        return sum(len(one.changes) for one in self.posted)


def add_changes(many: Iterable[Changes]) -> Changes:
    """The sum, without rows of zeros."""
    found: Changes = {}
    for changes in many:
        for place, (total, withdrawable) in changes.items():
            before = found.get(place, (0, 0))
            found[place] = (before[0] + total, before[1] + withdrawable)
    return {place: change for place, change in found.items() if change != (0, 0)}


def add_amounts(rows: Iterable[tuple[Place, int]]) -> dict[Place, int]:
    """Amounts by place."""
    found: dict[Place, int] = {}
    for place, amount in rows:
        found[place] = found.get(place, 0) + amount
    return found


def compare(engine: EngineFacts, contract: ContractFacts, *, settled: bool) -> list[Finding]:
    """Everything that does not agree. ``settled``: every executed height is to be in a posted result."""
    found = [Finding("settle.engines", words) for words in engine.differences]
    found += _compare_results(engine, contract)
    if settled:
        found += _compare_ends(engine, contract)
    found += _compare_ledger(contract)
    return found


def _compare_results(engine: EngineFacts, contract: ContractFacts) -> list[Finding]:
    found = []
    first_height = 1
    for one in contract.posted:
        where = f"heights {one.first_height}..{one.last_height}"
        if one.first_height != first_height:
            found.append(Finding("settle.gap", f"{where}, expected a result from height {first_height}"))
        first_height = one.last_height + 1
        within = [height for height in engine.heights if one.first_height <= height <= one.last_height]
        if not within:
            found.append(Finding("settle.unknown", f"{where}: the log has executed none of them"))
        expected = add_changes(engine.heights[height] for height in within)
        for place in sorted(expected.keys() | one.changes.keys()):
            seen, wanted = one.changes.get(place, (0, 0)), expected.get(place, (0, 0))
            if seen != wanted:
                detail = f"{where}, {_name(place)}: {seen} in the contract, {wanted} of the engine's heights"
                found.append(Finding("settle.change", detail))
    return found


def _compare_ends(engine: EngineFacts, contract: ContractFacts) -> list[Finding]:
    last = max((one.last_height for one in contract.posted), default=0)
    late = sorted(height for height in engine.heights if height > last)
    found = [Finding("settle.unsettled", f"height {height} is in no posted result")
             for height in late if engine.heights[height]]  # fmt: skip
    for place in sorted(engine.totals.keys() | contract.balances.keys()):
        free, wanted = contract.balances.get(place, (0, 0))[0], engine.totals.get(place, 0)
        if free != wanted:
            detail = f"{_name(place)}: {free} free in the contract, {wanted} free and locked in the engine"
            found.append(Finding("settle.balance", detail))
    withdrawn = {place: change[1] for place, change in add_changes(engine.heights.values()).items()}
    for place in sorted(withdrawn.keys() | contract.balances.keys() | contract.claimed.keys()):
        seen = contract.balances.get(place, (0, 0))[1]
        wanted = withdrawn.get(place, 0) - contract.claimed.get(place, 0)
        if seen != wanted:
            detail = f"{_name(place)}: {seen} withdrawable, the engine's withdrawals less claims are {wanted}"
            found.append(Finding("settle.withdrawable", detail))
    return found


def _compare_ledger(contract: ContractFacts) -> list[Finding]:
    """The contract's storage against its own history, and its tokens against its storage."""
    found = []
    changes = add_changes(one.changes for one in contract.posted)
    places = contract.balances.keys() | changes.keys() | contract.deposited.keys()
    places |= contract.claimed.keys() | contract.exited.keys()
    sums: dict[int, int] = dict.fromkeys(contract.held, 0)
    for place in sorted(places):
        free, withdrawable = contract.balances.get(place, (0, 0))
        sums[place[0]] = sums.get(place[0], 0) + free + withdrawable
        total, withdrawn = changes.get(place, (0, 0))
        paid = contract.claimed.get(place, 0) + contract.exited.get(place, 0)
        wanted = contract.deposited.get(place, 0) + total + withdrawn - paid
        if free + withdrawable != wanted:
            detail = f"{_name(place)}: {free} free and {withdrawable} withdrawable, history says {wanted} together"
            found.append(Finding("settle.history", detail))
    for asset, total in sorted(sums.items()):
        if contract.held.get(asset, 0) != total:
            detail = f"asset {asset}: {contract.held.get(asset, 0)} base units are held, balances are {total}"
            found.append(Finding("settle.held", detail))
    return found


def compare_exits(before: ContractFacts, after: ContractFacts, received: Mapping[Place, int]) -> list[Finding]:
    """After a freeze: everybody has ``received`` what was theirs before, and nothing is left."""
    found = []
    due = {place: sum(amounts) for place, amounts in before.balances.items() if sum(amounts)}
    for place in sorted(due.keys() | received.keys()):
        if received.get(place, 0) != due.get(place, 0):
            detail = f"{_name(place)}: paid {received.get(place, 0)}, the contract had {due.get(place, 0)}"
            found.append(Finding("settle.exit", detail))
    left = {place: sum(amounts) for place, amounts in after.balances.items() if sum(amounts)}
    found += [Finding("settle.left", f"{_name(place)}: {left[place]} in the ledger still") for place in sorted(left)]
    found += [
        Finding("settle.left", f"asset {asset}: {units} base units are held still")
        for asset, units in sorted(after.held.items())
        if units
    ]
    return found


def _name(place: Place) -> str:
    return f"account 0x{place[1].hex()}, asset {place[0]}"
