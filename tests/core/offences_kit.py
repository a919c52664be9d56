"""What tests of evidence share: an honest bundle with what pins it, and files with one byte changed."""

from __future__ import annotations

from core_kit import all_sequenced, submit

from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.evidence import decode_file, encode_file, verify_file
from mpc_sequencer.core.offences import KIND_NAMES, Offence, SealedBytes, accused
from mpc_sequencer.core.transcript import BlockEntry, BundleEntry, EnvelopeEntry
from mpc_sequencer.core.types import Block, Bundle
from mpc_sequencer.sim import Cluster

Revealed = tuple[Bundle, Block, tuple[SealedBytes, ...]]


def reveal(cluster: Cluster, author: int, count: int) -> Revealed:
    """Trade ``count`` orders: the honest bundle of member ``author`` for their block, the block, the batch's orders."""
    d = cluster.deployment
    orders = [d.order(d.traders[i], cluster.now_ms) for i in range(count)]
    submit(cluster, 0, *orders)
    assert cluster.run(5_000, until=all_sequenced({one.order_id() for one in orders}, {author}))
    cluster.run(1_000)
    log = cluster.logs[author]
    bundle = next(one.bundle for one in log if isinstance(one, BundleEntry) and one.bundle.node == author)
    block = next(
        one.block for one in log if isinstance(one, BlockEntry) and one.block.header.block_id() == bundle.block_id
    )
    sealed = {
        one.envelope.order_id(): SealedBytes(one.envelope.label, one.envelope.ciphertext)
        for one in log
        if isinstance(one, EnvelopeEntry)
    }
    assert not cluster.evidence, "nobody did anything wrong"
    return bundle, block, tuple(sealed[entry.order_id] for entry in block.batch)


def assert_a_changed_byte_convicts_nobody_else(offence: Offence, committee: Committee, at: int, flip: int) -> None:
    """A byte changed in its file leaves it refused, or convicting the same member of the same kind."""
    data = bytearray(encode_file(offence, committee))
    data[at % len(data)] ^= flip
    try:
        verdict = verify_file(decode_file(bytes(data)), committee)
    except ProtocolError:
        return
    assert (verdict.node, verdict.kind) == (accused(offence), KIND_NAMES[type(offence)])
