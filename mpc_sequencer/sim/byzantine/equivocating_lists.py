"""Keeps two chains of lists: one half of the peers sees its orders in reverse, less the first (or with one that does
not exist, where there is one only), and heads that fit."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from mpc_sequencer.core.messages import HeadMessage, ListMessage, PeerMessage
from mpc_sequencer.core.types import ZERO_HASH, OrderList
from mpc_sequencer.sim.byzantine.base import Behaviour


class EquivocatingLists(Behaviour):
    name = "equivocating_lists"
    _second: dict[int, OrderList]

    def outgoing(self, receiver: int, message: PeerMessage) -> Iterable[PeerMessage]:
        if not self.other_half(receiver):
            return (message,)
        if isinstance(message, ListMessage) and message.order_list.node == self.node:
            return (ListMessage(self._other(message.order_list)),)
        if isinstance(message, HeadMessage) and message.head.list_number:
            second = self._chains().get(message.head.list_number)
            if second is not None:
                head = msgspec.structs.replace(message.head, list_hash=second.struct_hash())
                return (HeadMessage(self.resign(head)),)
        return (message,)

    def _chains(self) -> dict[int, OrderList]:
        if not hasattr(self, "_second"):
            self._second = {}
        return self._second

    def _other(self, order_list: OrderList) -> OrderList:
        chain = self._chains()
        if order_list.number not in chain:
            entries = order_list.entries[:0:-1] or (*order_list.entries, self.rng.randbytes(32))
            before = chain.get(order_list.number - 1)
            prev_hash = before.struct_hash() if before else ZERO_HASH
            made = msgspec.structs.replace(order_list, entries=entries, prev_hash=prev_hash)
            chain[order_list.number] = self.resign(made)
        return chain[order_list.number]
