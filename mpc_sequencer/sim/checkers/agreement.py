"""Agreement: one final block of a height, finalized by real votes; no share before.

Certificates are verified here from EIP-712 digests and addresses alone, without the committee's own check.
"""

from __future__ import annotations

from collections.abc import Sequence

from mpc_sequencer.core import eip712, signing
from mpc_sequencer.core.codec import encode
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.effects import Append, Broadcast, Effect, Send
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.messages import BundleMessage
from mpc_sequencer.core.transcript import BlockEntry, FinalityEntry
from mpc_sequencer.core.types import FINALIZE, BlockHeader, Certificate, vote_struct_hash
from mpc_sequencer.sim.checkers.base import SENT, Checker, Watched


def finality_fault(
    committee: Committee | None, block_id: bytes, certificate: Certificate, path: Sequence[BlockHeader]
) -> str | None:
    """Why ``certificate`` and ``path`` do not finalize the block of ``committee``'s epoch; None where they do."""
    if committee is None:
        return "nobody is in the block's epoch"
    last = block_id
    for header in path:
        if header.parent_id != last:
            return "the path does not start at the block or has a gap"
        last = header.block_id()
    if certificate.kind != FINALIZE or certificate.block_id != last:
        return "the certificate finalizes another block"
    digest = eip712.digest(
        committee.separator, vote_struct_hash(FINALIZE, committee.epoch, certificate.view, certificate.block_id)
    )
    signers = set()
    for vote in certificate.votes:
        try:
            signer = signing.recover_address(digest, vote.signature, "vote")
        except ProtocolError:
            return f"the vote of member {vote.node} is no signature"
        if vote.node >= committee.n or signer != committee.addresses[vote.node]:
            return f"the vote of member {vote.node} is not its own"
        signers.add(vote.node)
    if len(signers) < committee.q:
        return f"{len(signers)} signers, {committee.q} needed"
    return None


class Agreement(Checker):
    """No two honest members hold different final blocks of one height."""

    name = "agreement"
    sees = frozenset({Append})

    def __init__(self, watched: Watched) -> None:
        super().__init__(watched)
        self.blocks: dict[int, bytes] = {}

    def on_effect(self, node: int, effect: Effect) -> None:
        if not (isinstance(effect, Append) and isinstance(effect.entry, BlockEntry)):
            return
        header = effect.entry.block.header
        height, block_id = header.height, header.block_id()
        if self.blocks.setdefault(height, block_id) != block_id:
            self.report(height, f"member {node} finalized {block_id.hex()}, others {self.blocks[height].hex()}")


class Certificates(Checker):
    """What an honest member takes for a finalization is one."""

    name = "certificate"
    sees = frozenset({Append})

    def __init__(self, watched: Watched) -> None:
        super().__init__(watched)
        self._good: set[bytes] = set()
        self._epochs: dict[bytes, int] = {}
        """Of blocks."""

    def on_effect(self, node: int, effect: Effect) -> None:
        if not isinstance(effect, Append):
            return
        if isinstance(effect.entry, BlockEntry):
            header = effect.entry.block.header
            self._epochs[header.block_id()] = header.epoch
        if not isinstance(effect.entry, FinalityEntry):
            return
        entry = effect.entry
        encoded = encode(entry)
        if encoded in self._good:
            return
        committee = self.watched.committee(self._epochs.get(entry.block_id, 0))
        fault = finality_fault(committee, entry.block_id, entry.certificate, entry.path)
        if fault is not None:
            self.report(0, f"member {node}, block {entry.block_id.hex()}: {fault}")
        self._good.add(encoded)


class EarlyShares(Checker):
    """No bundle leaves an honest member unless q members voted to finalize its block or a descendant."""

    name = "early-share"
    sees = frozenset({Broadcast, Send})

    def __init__(self, watched: Watched) -> None:
        super().__init__(watched)
        self._seen: set[tuple[int, bytes]] = set()

    def on_effect(self, node: int, effect: Effect) -> None:
        if not (isinstance(effect, SENT) and isinstance(effect.message, BundleMessage)):
            return
        bundle = effect.message.bundle
        if (node, bundle.signature) in self._seen:
            return
        self._seen.add((node, bundle.signature))
        committee = self.watched.committee(bundle.epoch)
        fault = finality_fault(committee, bundle.block_id, bundle.certificate, bundle.path)
        if fault is not None:
            self.report(bundle.height, f"member {node} sent shares of {bundle.block_id.hex()}: {fault}")
