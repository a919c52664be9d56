"""What a deployment of the settlement contract is made with: times in blocks of the chain, amounts in wei."""

from __future__ import annotations

from dataclasses import dataclass

ZERO_ADDRESS = bytes(20)


@dataclass(frozen=True, slots=True)
class Terms:
    """The contract's ``Terms``, field by field; the defaults are those of a devnet, whose blocks come as often as
    transactions do. Addresses of zero stand for who deploys."""

    forced_delay_blocks: int = 50
    forced_spacing_blocks: int = 1
    grace_blocks: int = 200
    rotation_delay_blocks: int = 1
    pause_blocks: int = 100
    timelock_blocks: int = 1_000
    forced_fee_wei: int = 10**14
    forced_per_block_max: int = 16
    bond_min_wei: int = 10**16
    quorum_divisor: int = 3
    governor: bytes = ZERO_ADDRESS
    guardian: bytes = ZERO_ADDRESS
    commits_required: bool = True
