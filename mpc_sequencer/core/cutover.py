"""From an epoch's last block into the next epoch: the committee that follows, and the snapshot a member begins it with.

The rule is :mod:`mpc_sequencer.core.rotation`'s. A member goes over by a snapshot and not in memory: its host writes it
before anything of the new epoch leaves, so a crash leaves the member in one epoch or in the other, and the next core
comes up from it as after any restart (:mod:`mpc_sequencer.core.recovery`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from mpc_sequencer.core.codec import decode, encode
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.effects import AdmittedRecord, HeldRecord, MutedRecord, Record
from mpc_sequencer.core.keygen import KeySessionsValue, key_due_ms
from mpc_sequencer.core.ordering import epoch_state
from mpc_sequencer.core.ordering.value import value_of
from mpc_sequencer.core.recovery import SNAPSHOT_BYTES_MAX, Snapshot
from mpc_sequencer.core.rotation import follow
from mpc_sequencer.core.succession import SuccessionValue
from mpc_sequencer.core.types import EpochStart

if TYPE_CHECKING:
    from mpc_sequencer.core.node import NodeCore


def succession(core: NodeCore) -> tuple[Committee, bytes]:
    """The next epoch's committee and this member's snapshot to begin it with; the epoch is over here. The host writes
    the snapshot before anything of that epoch leaves: a member is in one epoch or in the other, never in both. The
    shares of the epoch that is over are overwritten in ``core``, which is of no use any more; what of them the vault
    holds the next core retires."""
    start = core.succession.start()
    following = follow(core.committee, start)
    keys = [member.consensus_key for member in following.genesis.members]
    own = core.succession.own_key
    state = epoch_state(core.chain.final_state, following.n, placed=following.solid is not None)
    kept = core.pool.kept(core.execution.executed_height)
    ranges = core.ranges.dump()
    assert core.succession.outcome is not None, "an epoch's start is of its outcome"
    advised = core.succession.outcome.advised
    due = key_due_ms(following, state.time_ms, shortfalls=int(advised))
    snapshot = Snapshot(
        version=1,
        genesis=following.genesis_id,
        node=keys.index(own) if own in keys else following.n,
        time_ms=core.now_ms,
        ordering=value_of(state),
        block=None,
        certificate=None,
        unexecuted=(),
        execution=core.execution.dump(),
        ranges=ranges,
        board=core.board.dump(core.reveal.malformed),
        keys=KeySessionsValue(start.sharing + 1, 0, int(advised), due, False, (), (), (), None),
        succession=SuccessionValue((), (), (), None, None, ()),
        starts=following.starts,
        farewell=tuple(core.ranges.own_shares()),
        logged=tuple(sorted(variant for pooled in kept for variant in pooled.logged)),
        records=tuple(_inherited(core)),
    )
    core.keygen.shares.end()
    if core.dark_voice is not None:
        core.dark_voice.end()
    return following, encode(snapshot)


def _inherited(core: NodeCore) -> Iterator[Record]:
    """What of a member's promises goes on in the next epoch: receipts, bodies, and that it cannot know what it signed.
    No order is in a list of that epoch yet."""
    if core.standing.muted:
        yield MutedRecord()
    yield from core.chain_view.records()
    for pooled in core.pool.kept(core.execution.executed_height):
        for variant in pooled.variant_order:
            if pooled.receipt is not None:
                yield AdmittedRecord(pooled.variants[variant], pooled.receipt)
            else:
                yield HeldRecord(pooled.variants[variant], 0)


def starts_of(snapshot: bytes) -> tuple[EpochStart, ...]:
    """How the epoch of a snapshot and those before it began. Raises ProtocolError where it is none."""
    taken: Snapshot = decode(Snapshot, snapshot, bytes_max=SNAPSHOT_BYTES_MAX)
    return taken.starts
