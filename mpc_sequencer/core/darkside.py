"""What every member knows of dark markets, whether or not one is dark; numpy comes in only where one is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from mpc_sequencer.core.signing import Signer
from mpc_sequencer.core.types import Uint, Value
from mpc_sequencer.market.types import DARK

if TYPE_CHECKING:
    from mpc_sequencer.core.darkvoice import DarkVoice
    from mpc_sequencer.core.node import NodeCore


class DarkAttemptRecord(Value, frozen=True, tag=17):
    """In the journal: this member has begun to compute a dark batch, or must not, and never begins it (again)."""

    epoch: Uint
    market: Uint
    batch: Uint


def dark_voice(core: NodeCore, signer: Signer, secrets: Mapping[str, bytes], entropy: bytes) -> DarkVoice | None:
    """This member's side of its epoch's dark markets; None where no market is dark."""
    if all(market.policy != DARK for market in core.committee.genesis.markets):
        return None
    from mpc_sequencer.core.darkvoice import DarkVoice

    return DarkVoice(core, signer, secrets, entropy)
