"""How an epoch ends and the next one begins: each block, list, handover or share that the end does not allow is a
finding of its own, and what an order had before the end it has after it."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from mpc_sequencer.audit.ordering import Ordering, batch_root
from mpc_sequencer.audit.verify import Audit
from mpc_sequencer.core import limits, rotation
from mpc_sequencer.core.transcript import BlockEntry, BundleEntry, EnvelopeEntry, FinalityEntry, ListEntry, OpenedEntry
from mpc_sequencer.core.types import NO_SIGNATURE, BatchEntry, Bundle, Envelope
from mpc_sequencer.sim import Cluster, make_deployment
from tests.audit.audited_deployment import replace
from tests.audit.audited_epochs_kit import (
    Log,
    Rotated,
    audited,
    blocks,
    codes,
    first_block,
    grown,
    last_block,
    log_of,
    shrunk,
)
from threshold import BundleContext, check, coin_share, prove_bundle, share


def with_block(run: Rotated, at: int, block: Any, **finality: Any) -> Log:
    """The log up to a block in the place of the one that stands there, final by its members' word."""
    return [*log_of(run)[:at], BlockEntry(block), run.finality(block.header, **finality)]


def envelope_of(run: Rotated, order_id: bytes) -> Envelope:
    """The order as it stands in the log."""
    found = (one.envelope for one in log_of(run) if isinstance(one, EnvelopeEntry))
    return next(one for one in found if one.order_id() == order_id)


def dead_block(run: Rotated, order_ids: tuple[bytes, ...] = ()) -> Any:
    """A block that the old members have made after their epoch's last one, with these orders."""
    entries = log_of(run)
    last: Any = entries[last_block(entries, 0)]
    batch = tuple(BatchEntry(one, envelope_of(run, one).envelope_hash()) for one in order_ids)
    header = replace(
        last.block.header,
        height=last.block.header.height + 1,
        view=last.block.header.view + 1,
        parent_id=last.block.header.block_id(),
        batch_root=batch_root(batch),
    )
    return replace(last.block, header=header, batch=batch)


def waiting_at_the_end(run: Rotated) -> list[bytes]:
    entries = log_of(run)
    return list(audited(run, entries[: last_block(entries, 0) + 2]).ordering.queue)


def closing_block(run: Rotated) -> tuple[int, bytes]:
    """Where a block stands whose parent knows that the handover is agreed, and an order that it lifts."""
    audit = Audit(run.file)
    for at, entry in enumerate(log_of(run)):
        closing = audit.ordering.handover is not None
        audit.add(entry)
        if closing and isinstance(entry, BlockEntry) and audit.ordering.queue:
            return at, next(iter(audit.ordering.queue))
    raise AssertionError("no order waits while the epoch ends")


def test_batch_after_the_handover_is_agreed() -> None:
    run = shrunk()
    entries = log_of(run)
    at, order_id = closing_block(run)
    envelope = envelope_of(run, order_id)
    block: Any = entries[at]
    batch = (BatchEntry(order_id, envelope.envelope_hash()),)
    bent = replace(block.block, header=replace(block.block.header, batch_root=batch_root(batch)), batch=batch)
    assert codes(run, with_block(run, at, bent)) == ["block.handover"]


def test_block_of_an_epoch_after_its_last_one() -> None:
    run = shrunk()
    entries = log_of(run)
    end = last_block(entries, 0) + 2
    dead = dead_block(run)
    assert codes(run, [*entries[:end], BlockEntry(dead), run.finality(dead.header)]) == ["block.beyond"]


def test_epoch_that_ends_too_early_or_not_in_time() -> None:
    run = shrunk()
    entries = log_of(run)
    at = last_block(entries, 0)
    early: Any = entries[at]
    assert codes(run, with_block(run, at, replace(early.block, header=replace(early.block.header, epoch=1)))) == [
        "block.chain"
    ]
    first: Any = entries[first_block(entries, 1)]
    late = replace(first.block, header=replace(first.block.header, epoch=0))
    assert codes(run, with_block(run, first_block(entries, 1), late)) == ["block.beyond"]


FIRST_BLOCKS: dict[str, dict[str, Any]] = {
    "view 0": {"view": 0},
    "the epoch after": {"epoch": 2},
    "on a block that counts for nothing": {"parent_id": bytes(32)},
    "a height left out": {"height": 1_000},
}


@pytest.mark.parametrize("name", FIRST_BLOCKS)
def test_first_block_that_does_not_follow_the_last_one(name: str) -> None:
    run = shrunk()
    entries = log_of(run)
    at = first_block(entries, 1)
    block: Any = entries[at]
    bent = replace(block.block, header=replace(block.block.header, **FIRST_BLOCKS[name]))
    assert codes(run, [*entries[:at], BlockEntry(bent)]) == ["block.chain"]


def test_first_block_leaves_out_an_order_that_waited() -> None:
    run = shrunk()
    entries = log_of(run)
    at = first_block(entries, 1)
    block: Any = entries[at]
    assert {entry.order_id for entry in block.block.batch} >= set(waiting_at_the_end(run))
    batch = block.block.batch[1:]
    bent = replace(block.block, header=replace(block.block.header, batch_root=batch_root(batch)), batch=batch)
    assert codes(run, with_block(run, at, bent)) == ["block.skipped"]


def test_block_of_the_new_epoch_made_final_by_the_old_members() -> None:
    run = shrunk()
    at = first_block(log_of(run), 1)
    block: Any = log_of(run)[at]
    assert codes(run, with_block(run, at, block.block)) == []
    assert codes(run, with_block(run, at, block.block, epoch=0)) == ["finality.signature"]
    assert codes(run, with_block(run, at, block.block, signers=2)) == ["finality.quorum"]
    run = grown()
    at = first_block(log_of(run), 1)
    block = log_of(run)[at]
    assert codes(run, with_block(run, at, block.block, signers=run.committees[0].q)) == ["finality.quorum"]


def test_last_block_made_final_by_the_new_members() -> None:
    run = shrunk()
    at = last_block(log_of(run), 0)
    block: Any = log_of(run)[at]
    assert codes(run, with_block(run, at, block.block, epoch=1)) == ["finality.quorum"]
    assert codes(run, log_of(run)[: at + 1]) == []
    rest = [one for one in log_of(run)[at + 1 :] if not isinstance(one, FinalityEntry)]
    assert codes(run, [*log_of(run)[: at + 1], *rest])[0] == "finality.missing"


def test_last_block_final_by_a_block_that_counts_for_nothing() -> None:
    """Leaders propose blocks until the last one is final; the next epoch's block of that height is another one."""
    run = shrunk()
    entries = log_of(run)
    at = last_block(entries, 0)
    dead = dead_block(run).header
    certified = run.finality(dead)
    last: Any = entries[at]
    entries[at + 1] = FinalityEntry(last.block.header.block_id(), certified.certificate, (dead,))
    audit = audited(run, entries)
    assert not audit.recorder.findings and len(audit.blocks.refs) > dead.height


def test_bundle_whose_path_leads_over_the_last_block_before_the_log_has_it() -> None:
    """Whoever made an old height final by a block that counts for nothing says so in its bundle."""
    run = shrunk()
    entries = log_of(run)
    headers = [one.block.header for _, one in blocks(entries) if one.block.header.epoch == 0]
    dead = dead_block(run).header
    at = next(at for at, one in enumerate(entries) if isinstance(one, BundleEntry))
    bundle: Any = entries[at]
    path = (*headers[bundle.bundle.height :], dead)
    entries[at] = BundleEntry(
        run.signed(replace(bundle.bundle, certificate=run.finality(dead).certificate, path=path))
    )
    audit = audited(run, entries)
    assert not audit.recorder.findings and len(audit.blocks.refs) > dead.height


def test_list_of_the_epoch_before() -> None:
    run = shrunk()
    entries = log_of(run)
    end = last_block(entries, 0)
    old: Any = next(one for one in reversed(entries[:end]) if isinstance(one, ListEntry) and one.order_list.node == 2)
    later = replace(old.order_list, number=old.order_list.number + 1, prev_hash=old.order_list.struct_hash())
    assert codes(run, [*entries[: end + 2], ListEntry(run.signed(later))]) == ["list.member"]


# --- attack: handovers that the log does not lead to --------------------------------------------------------------
@cache
def misled() -> Rotated:
    """A committee whose members all sign their key over to a lower threshold than they have agreed on."""
    true_hash = rotation.handover_hash
    house = make_deployment(4, seed=5)
    with pytest.MonkeyPatch.context() as patch:
        for module in ("rotation", "succession"):
            patch.setattr(
                f"mpc_sequencer.core.{module}.handover_hash",
                lambda epoch, target, sharing: true_hash(epoch, replace(target, threshold=1), sharing),
            )
        cluster = Cluster(house, seed=1)
        cluster.approve(house.next_committee(range(4), 2), range(4))
        assert cluster.run(15_000, until=lambda c: all(host.epoch for host in c.hosts))
        cluster.run(1_000)
    return Rotated(house, tuple(tuple(host.disk.log) for host in cluster.hosts), (house.committee,))


def test_q_members_hand_over_what_their_log_does_not_lead_to() -> None:
    audit = audited(misled(), misled().logs[0])
    assert [one.code for one in audit.recorder.findings] == ["rotation.handover"]
    assert len(audit.epochs.all) == 1


# --- attack: an order skipped at an epoch's end yet decrypted -----------------------------------------------------
def shares_of(run: Rotated, order_id: bytes, header: Any, node: int) -> Any:
    """A bundle with a member's true share of an order, for a block that its committee has certified."""
    key = run.house.committee.sealing_key
    envelope = envelope_of(run, order_id)
    checked = check(key, envelope.label, envelope.ciphertext, buckets=limits.SIZE_BUCKETS_BYTES)
    secret = run.house.share(node)
    assert secret is not None
    own = share(secret, checked)
    context = BundleContext(key.key_id, 0, header.block_id(), node + 1)
    proof = prove_bundle(secret, context, [checked.u_point], (own,), entropy=bytes(32)).encode()
    coin = coin_share(secret, context, entropy=bytes(32))
    certificate = run.finality(header).certificate
    unsigned = Bundle(
        0, header.height, header.block_id(), node, bytes(32), certificate, (), (own,), proof, coin, NO_SIGNATURE
    )
    return run.signed(unsigned)


def test_order_skipped_at_an_epochs_end_yet_decrypted() -> None:
    """The old members put an order into a block after their last one, certify it and give their shares: whoever has
    them reads the order before the new members batch it."""
    run = shrunk()
    entries = log_of(run)
    order_id = waiting_at_the_end(run)[0]
    dead = dead_block(run, (order_id,)).header
    bundles = [BundleEntry(shares_of(run, order_id, dead, node)) for node in range(run.committees[0].t)]
    end = last_block(entries, 0) + 2
    opened = next(one.opened for one in entries if isinstance(one, OpenedEntry) and one.opened.order_id == order_id)
    shown = [*entries[:end], *bundles, OpenedEntry(dead.height, opened)]
    assert codes(run, shown) == ["bundle.beyond"] * len(bundles) + ["opening.beyond"]
    # and as well where the new epoch has a block of that height by now
    later = first_block(entries, 1) + 2
    assert codes(run, [*entries[:later], *bundles]) == ["bundle.beyond"] * len(bundles)


def test_bundles_are_judged_by_the_members_and_the_sharing_of_their_height() -> None:
    run = shrunk()
    entries = log_of(run)
    old = [at for at, one in enumerate(entries) if isinstance(one, BundleEntry) and one.bundle.shares]
    first, last = old[0], old[-1]
    one, other = entries[first], entries[last]
    assert isinstance(one, BundleEntry) and isinstance(other, BundleEntry)
    assert (one.bundle.epoch, other.bundle.epoch) == (0, 1)
    assert codes(run, [*entries, one]) == []  # who comes late may log it late
    wrong = replace(one.bundle, sharing=other.bundle.sharing)
    assert codes(run, [*entries[:first], BundleEntry(run.signed(wrong))]) == ["bundle.sharing"]
    newer = replace(one.bundle, epoch=1, node=1)
    assert codes(run, [*entries, BundleEntry(run.signed(newer))]) == ["bundle.member"]
    older = replace(other.bundle, epoch=0)
    assert codes(run, [*entries[:last], BundleEntry(run.signed(older))]) == ["bundle.beyond"]
    stranger = replace(other.bundle, node=run.committees[1].n)
    signer = run.signer(0, run.committees[1].n)
    assert codes(run, [*entries[:last], BundleEntry(run.signed(stranger, signer))]) == ["bundle.member"]


# --- what stays and what goes -------------------------------------------------------------------------------------
def test_a_new_epoch_keeps_orders_and_charges_and_forgets_who_listed_and_reported() -> None:
    order_id, other = b"\x01" * 32, b"\x02" * 32
    ordering = Ordering(1, 3, {}, solid=4)
    ordering.listings_ms[other] = {1: 5}
    ordering.by_time.append((5, other, 1))
    ordering.live_listings[1] = 1
    ordering.lifted_until_ms[order_id] = 9
    ordering.queue[order_id] = (3, b"carry")
    ordering.places[order_id] = {0: (0, 1, 0)}
    ordering.places[other] = {1: (0, 1, 1)}
    ordering.charged_wei[b"sponsor"] = 7
    ordering.certified_height = 3
    ordering.reporters[3, b"result"] = {0, 1}
    ordering.hand_over([(0, b"h"), (1, b"h"), (1, b"h")])
    assert ordering.handover is None
    ordering.hand_over([(3, b"h")])
    assert ordering.handover == b"h" and ordering.ends() and ordering.batch(9, {}) == []
    ordering.begin_epoch(2, 5, None)
    kept = (ordering.queue, ordering.lifted_until_ms, ordering.charged_wei, ordering.certified_height)
    assert kept == ({order_id: (3, b"carry")}, {order_id: 9}, {b"sponsor": 7}, 3)
    assert not ordering.listings_ms and not ordering.by_time and not ordering.live_listings
    assert not ordering.reporters and not ordering.words and not ordering.places and not ordering.ends()
    assert (ordering.f, ordering.q, ordering.solid, ordering.handover) == (2, 5, None, None)
    ordering.begin_epoch(1, 3, 4)
    assert ordering.places == {order_id: {}}
