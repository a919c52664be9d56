"""The largest values of a deployment fit the frames and log entries that must hold them."""

from __future__ import annotations

from mpc_sequencer.core import limits
from mpc_sequencer.core.codec import encode
from mpc_sequencer.core.transcript import BlockEntry, BundleEntry, FinalityEntry, ListEntry
from mpc_sequencer.core.types import (
    FINALIZE,
    BatchEntry,
    Block,
    BlockHeader,
    Bundle,
    Certificate,
    CertificateVote,
    Checkpoint,
    Head,
    OrderList,
    ResultRef,
)

HASH = b"\xff" * 32
SIGNATURE = b"\xff" * 65
MOST = limits.UINT_MAX
MEMBERS = limits.COMMITTEE_MEMBERS_MAX

CHECKPOINT = Checkpoint(MOST, HASH, MOST, HASH)
HEADER = BlockHeader(1, MOST, MOST, MOST, HASH, MOST, HASH, HASH, HASH, CHECKPOINT)
RESULT = ResultRef(MOST, HASH)
CERTIFICATE = Certificate(
    FINALIZE, MOST, MOST, HASH, tuple(CertificateVote(node, SIGNATURE) for node in range(MEMBERS))
)


def fits_an_entry(entry: object) -> bool:
    return len(encode(entry)) <= limits.LOG_ENTRY_BYTES_MAX


def test_a_full_block_of_the_largest_committee_is_one_log_entry() -> None:
    head = Head(
        *(MOST, MOST, MEMBERS - 1, MOST, MOST, MOST, HASH, (RESULT,) * limits.HEAD_RESULTS_MAX),
        *(CHECKPOINT, MOST, SIGNATURE),
    )
    batch = (BatchEntry(HASH, HASH),) * limits.BATCH_ORDERS_MAX
    certified = (RESULT,) * limits.HEAD_RESULTS_MAX
    assert fits_an_entry(BlockEntry(Block(HEADER, (head,) * MEMBERS, batch, certified)))


def test_a_full_bundle_with_the_longest_path_is_one_log_entry() -> None:
    proofs = {name: b"\xff" * 130 for name in Bundle.__struct_fields__ if name in ("proof", "coin_share")}
    bundle = Bundle(
        epoch=MOST,
        height=MOST,
        block_id=HASH,
        node=MEMBERS - 1,
        sharing=HASH,
        certificate=CERTIFICATE,
        path=(HEADER,) * limits.HEADER_PATH_MAX,
        shares=(b"\xff" * 33,) * limits.BATCH_ORDERS_MAX,
        signature=SIGNATURE,
        **proofs,
    )
    assert fits_an_entry(BundleEntry(bundle))


def test_the_longest_finality_is_one_log_entry() -> None:
    assert fits_an_entry(FinalityEntry(HASH, CERTIFICATE, (HEADER,) * limits.HEADER_PATH_MAX))


def test_a_full_list_is_one_log_entry() -> None:
    entries = tuple(i.to_bytes(32, "big") for i in range(limits.LIST_ENTRIES_MAX))
    assert fits_an_entry(ListEntry(OrderList(MOST, MOST, MEMBERS - 1, MOST, HASH, entries, SIGNATURE)))


def test_a_head_can_tell_every_height_that_may_wait_in_turns() -> None:
    assert 0 < limits.HEAD_RESULTS_MAX <= limits.RESULT_LAG_HEIGHTS
