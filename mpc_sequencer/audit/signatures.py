"""Members' signatures and finalization certificates, each vote verified once.

A finalization stands in the log once by itself and again in every bundle of its block, so votes that
verified are remembered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from mpc_sequencer.core import signing
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.types import FINALIZE, BlockHeader, Certificate, vote_struct_hash

VOTES_REMEMBERED_MAX: Final = 65_536


@dataclass(frozen=True, slots=True)
class BlockRef:
    """A block by its place and id."""

    height: int
    view: int
    block_id: bytes
    time_ms: int


def block_ref(header: BlockHeader) -> BlockRef:
    """The reference of a header."""
    return BlockRef(header.height, header.view, header.block_id(), header.time_ms)


class Signatures:
    """Verifies what members sign, under one deployment's domain."""

    def __init__(self, committee: Committee) -> None:
        self._committee = committee
        self._votes: set[tuple[bytes, int, bytes]] = set()

    def is_members(self, node: int, struct_hash: bytes, signature: bytes) -> bool:
        """Whether ``signature`` is member ``node``'s over ``struct_hash``."""
        if not 0 <= node < self._committee.n:
            return False
        return self.is_signers(
            self._committee.addresses[node], self._committee.digest(struct_hash), signature
        )

    @staticmethod
    def is_signers(address: bytes, digest: bytes, signature: bytes) -> bool:
        """Whether ``signature`` over ``digest`` is canonical and recovers to ``address``."""
        try:
            return signing.recover_address(digest, signature, "signature") == address
        except ProtocolError:
            return False

    def check_quorum(self, votes: Sequence[tuple[int, bytes]], struct_hash: bytes) -> tuple[str, str] | None:
        """What is wrong with signatures that should be q members', ascending, or None.

        A problem is (``quorum`` or ``signature``, detail).
        """
        nodes = [node for node, _ in votes]
        if any(a >= b for a, b in pairwise(nodes)) or len(nodes) < self._committee.q:
            return "quorum", f"signers {nodes}, expected at least {self._committee.q} ascending members"
        for node, signature in votes:
            vote = (struct_hash, node, signature)
            if vote in self._votes:
                continue
            if not self.is_members(node, struct_hash, signature):
                return "signature", f"the signature given for member {node} is not its own"
            if len(self._votes) >= VOTES_REMEMBERED_MAX:
                self._votes.clear()
            self._votes.add(vote)
        return None

    def check_finality(
        self, block: BlockRef, certificate: Certificate, path: Sequence[BlockHeader]
    ) -> tuple[str, str] | None:
        """What is wrong with a finalization of ``block``: (part of a finding's code, detail), or None."""
        last = block
        for header in path:
            if (
                header.parent_id != last.block_id
                or header.height != last.height + 1
                or header.view <= last.view
                or header.epoch != self._committee.epoch
            ):
                return "path", f"the header of height {header.height} does not extend height {last.height}"
            last = block_ref(header)
        if (certificate.kind, certificate.epoch, certificate.view, certificate.block_id) != (
            FINALIZE,
            self._committee.epoch,
            last.view,
            last.block_id,
        ):
            seen = (
                f"kind {certificate.kind}, view {certificate.view}, block {certificate.block_id.hex()[:16]}"
            )
            return "block", f"{seen}; expected finalize, view {last.view}, block {last.block_id.hex()[:16]}"
        struct_hash = vote_struct_hash(FINALIZE, certificate.epoch, certificate.view, certificate.block_id)
        return self.check_quorum([(vote.node, vote.signature) for vote in certificate.votes], struct_hash)
