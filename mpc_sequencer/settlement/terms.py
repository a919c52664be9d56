"""What a settlement contract is deployed with: times in blocks of its chain, amounts in wei, and who may do what.

The timelock is longer than it takes to exit (the contract refuses other terms): who dislikes an announced change has
the time to force an order, to wait out a pause and a committee that ignores both, and to take everything out.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Final

from mpc_sequencer.settlement.errors import PayloadError

TERM_BLOCKS_MAX: Final = (1 << 32) - 1
ADDRESS_BYTES: Final = 20
UINT256_MAX: Final = (1 << 256) - 1
FORCED_PER_BLOCK_MAX: Final = (1 << 16) - 1


@dataclass(frozen=True, slots=True)
class Terms:
    """The contract's struct of that name, member by member. The defaults suit a development chain, where blocks come
    with transactions, and are for no other. Raises PayloadError (``terms.*``) for terms that no contract takes."""

    forced_delay_blocks: int = 20
    forced_spacing_blocks: int = 1
    grace_blocks: int = 200
    rotation_delay_blocks: int = 0
    pause_blocks: int = 50
    timelock_blocks: int = 300
    forced_fee_wei: int = 10**15
    forced_per_block_max: int = 16
    bond_min_wei: int = 10**18
    quorum_divisor: int = 3
    """A committee has n >= quorum_divisor * f + 1 members: 3, or 4 where a market orders by receipt."""
    governor: bytes = field(default=bytes(ADDRESS_BYTES))
    guardian: bytes = field(default=bytes(ADDRESS_BYTES))
    commits_required: bool = False
    """Whether a result needs the order commit of its last height."""

    def __post_init__(self) -> None:
        blocks = {each.name: getattr(self, each.name) for each in fields(self) if each.name.endswith("_blocks")}
        for name, value in blocks.items():
            if not 0 <= value <= TERM_BLOCKS_MAX:
                raise PayloadError("terms.blocks", name, value, f"0 to {TERM_BLOCKS_MAX}")
        for name in ("grace_blocks", "pause_blocks"):
            if not blocks[name]:
                raise PayloadError("terms.blocks", name, 0, "at least 1")
        exit_blocks = self.forced_delay_blocks + self.grace_blocks + self.pause_blocks
        if self.timelock_blocks <= exit_blocks:
            raise PayloadError("terms.timelock", "timelock_blocks", self.timelock_blocks, f"above {exit_blocks}")
        if not 0 < self.forced_per_block_max <= FORCED_PER_BLOCK_MAX:
            expected = f"1 to {FORCED_PER_BLOCK_MAX}"
            raise PayloadError("terms.forced", "forced_per_block_max", self.forced_per_block_max, expected)
        if self.quorum_divisor not in (3, 4):
            raise PayloadError("terms.quorum", "quorum_divisor", self.quorum_divisor, "3 or 4")
        for name in ("forced_fee_wei", "bond_min_wei"):
            if not 0 <= getattr(self, name) <= UINT256_MAX:
                raise PayloadError("terms.wei", name, getattr(self, name), "a 256-bit unsigned integer")
        for name in ("governor", "guardian"):
            if len(getattr(self, name)) != ADDRESS_BYTES:
                raise PayloadError("terms.address", name, getattr(self, name).hex(), f"{ADDRESS_BYTES} bytes")
