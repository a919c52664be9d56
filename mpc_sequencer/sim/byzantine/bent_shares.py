"""Sends bundles with a wrong decryption share, a wrong coin share, or too few shares, to each peer another.

A wrong share is another point of the group, so that only a proof or an opening finds it.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from coincurve import PublicKey

from mpc_sequencer.core.messages import BundleMessage, PeerMessage
from mpc_sequencer.core.types import Bundle
from mpc_sequencer.sim.byzantine.base import Behaviour

_POINT = slice(0, 33)


def bent(point: bytes, by: int) -> bytes:
    """Another point of the group."""
    return PublicKey(point).add(by.to_bytes(32, "big")).format()


class BentShares(Behaviour):
    name = "bent_shares"

    def outgoing(self, receiver: int, message: PeerMessage) -> Iterable[PeerMessage]:
        if not isinstance(message, BundleMessage) or message.bundle.node != self.node:
            return (message,)
        return (BundleMessage(self.resign(self._bend(message.bundle, receiver))),)

    def _bend(self, bundle: Bundle, receiver: int) -> Bundle:
        how = self.rng.randrange(4)
        shares, by = bundle.shares, receiver + 1
        if how == 0 and shares:
            return msgspec.structs.replace(bundle, shares=(bent(shares[0], by), *shares[1:]))
        if how == 1:
            coin_share = bent(bundle.coin_share[_POINT], by) + bundle.coin_share[_POINT.stop :]
            return msgspec.structs.replace(bundle, coin_share=coin_share)
        if how == 2 and shares:
            return msgspec.structs.replace(bundle, shares=shares[:-1])
        return bundle
