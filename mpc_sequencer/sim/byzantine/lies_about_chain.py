"""Says of the settlement chain what is not so: its heads name checkpoints with invented inputs, of other blocks, or
lower than before, another one to every member; and who asks it for inputs gets invented ones.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from mpc_sequencer.core.messages import HeadMessage, InputsMessage, PeerMessage
from mpc_sequencer.core.types import Checkpoint, Head
from mpc_sequencer.sim.byzantine.base import Behaviour


class LiesAboutChain(Behaviour):
    name = "lies_about_chain"

    def outgoing(self, receiver: int, message: PeerMessage) -> Iterable[PeerMessage]:
        if isinstance(message, HeadMessage) and message.head.node == self.node:
            return (HeadMessage(self._lie(message.head)),)
        if isinstance(message, InputsMessage):
            first, *rest = message.inputs
            invented = replace(first, amount=(10**15).to_bytes(32, "big"))
            return (replace(message, inputs=(invented, *rest)),)
        return (message,)

    def _lie(self, head: Head) -> Head:
        true = head.checkpoint
        number = true.number + self.rng.choice((-2, 0, 0, 2, 4))
        false = self.rng.choice(
            (
                Checkpoint(max(0, number), self.rng.randbytes(32), true.inputs_count, true.inputs_hash),
                Checkpoint(max(0, number), true.block_hash, true.inputs_count + 1, self.rng.randbytes(32)),
                self.committee.genesis.checkpoint,
                true,
            )
        )
        return self.resign(replace(head, checkpoint=false, due_height=self.core.chain.final_state.last_counting))
