"""What a transaction offers per gas (EIP-1559), and what one offers that takes another's place. Pure."""

from __future__ import annotations


def raised(fee_wei: int) -> int:
    """An eighth more, rounded up, and at least one wei: nodes take a transaction in the place of another only where it
    offers a tenth more, both at most and to the block's maker."""
    return fee_wei + max(1, -(-fee_wei // 8))


def offer(base_fee_wei: int, priority_wei: int, before: tuple[int, int] | None) -> tuple[int, int, int]:
    """(least, at most, to the block's maker) in wei per gas: ``least`` is what it must offer at most to be taken now,
    ``at most`` leaves room for base fees of some blocks. ``before`` is what the one to be replaced offers."""
    floor = 0
    if before is not None:
        floor, priority_wei = raised(before[0]), max(priority_wei, raised(before[1]))
    least = max(floor, base_fee_wei + priority_wei)
    return least, max(least, 2 * base_fee_wei + priority_wei), priority_wei
