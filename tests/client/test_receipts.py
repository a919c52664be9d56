"""Receipts: forged, foreign and mismatched ones are the member's fault; the store keeps what proves a
promise.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mpc_sequencer.client import MemberFault, ReceiptStore, check_receipt, read_receipts
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.errors import ConfigError

ORDER_ID = b"\xab" * 32


def code_of(committee: Committee, receipt: Any, node: int = 1) -> str:
    with pytest.raises(MemberFault) as fault:
        check_receipt(committee, receipt, ORDER_ID, node)
    assert fault.value.node == node
    return fault.value.refusal.code


def test_a_members_own_receipt_is_taken(committee: Committee, make_receipt: Any) -> None:
    for node in range(4):
        check_receipt(committee, make_receipt(ORDER_ID, node), ORDER_ID, node)


def test_a_receipt_signed_by_another_member_is_the_senders_fault(
    committee: Committee, make_receipt: Any
) -> None:
    assert code_of(committee, make_receipt(ORDER_ID, 1, signed_by=2)) == "signature.signer"


def test_another_members_receipt_is_the_senders_fault(committee: Committee, make_receipt: Any) -> None:
    assert code_of(committee, make_receipt(ORDER_ID, 2)) == "member.sender"


def test_a_receipt_about_another_order_is_the_senders_fault(committee: Committee, make_receipt: Any) -> None:
    assert code_of(committee, make_receipt(b"\xcd" * 32, 1)) == "wire.bound"


def test_a_receipt_of_another_epoch_is_the_senders_fault(committee: Committee, make_receipt: Any) -> None:
    assert code_of(committee, make_receipt(ORDER_ID, 1, epoch=1)) == "epoch.unknown"


def test_a_receipt_for_a_list_that_cannot_exist_is_the_senders_fault(
    committee: Committee, make_receipt: Any
) -> None:
    assert code_of(committee, make_receipt(ORDER_ID, 1, list_number=0)) == "list.number"


@pytest.mark.parametrize("change", [{"list_number": 2}, {"received_ms": 7}])
def test_a_receipt_changed_after_signing_is_refused(
    committee: Committee, make_receipt: Any, change: Any
) -> None:
    changed = msgspec.structs.replace(make_receipt(ORDER_ID, 1), **change)
    assert code_of(committee, changed) == "signature.signer"


def test_the_store_gives_back_what_was_put_in(
    tmp_path: Path, committee: Committee, make_order: Any, make_receipt: Any
) -> None:
    path = tmp_path / "receipts.jsonl"
    sealed = [make_order() for _ in range(3)]
    pairs = [(order.envelope, make_receipt(order.order_id, node)) for node, order in enumerate(sealed)]
    with ReceiptStore(path, committee) as store:
        store.append(pairs[:2])
    with ReceiptStore(path, committee) as store:
        store.append(pairs[2:])
        store.append([])
    assert [(row.envelope, row.receipt) for row in read_receipts(path)] == pairs
    assert {row.genesis for row in read_receipts(path)} == {committee.genesis_id}
    assert os.stat(path).st_mode & 0o777 == 0o600


def test_a_torn_last_line_is_passed_over_and_damage_is_not(
    tmp_path: Path, committee: Committee, make_order: Any, make_receipt: Any
) -> None:
    path = tmp_path / "receipts.jsonl"
    sealed = make_order()
    with ReceiptStore(path, committee) as store:
        store.append([(sealed.envelope, make_receipt(sealed.order_id, 0))] * 2)
    data = path.read_bytes()
    path.write_bytes(data[:-9])
    assert len(list(read_receipts(path))) == 1
    path.write_bytes(data[9:])
    with pytest.raises(ConfigError, match="line 1"):
        list(read_receipts(path))


def test_a_receipt_beside_another_orders_envelope_is_refused(
    tmp_path: Path, committee: Committee, make_order: Any, make_receipt: Any
) -> None:
    path = tmp_path / "receipts.jsonl"
    with ReceiptStore(path, committee) as store:
        store.append([(make_order().envelope, make_receipt(make_order().order_id, 0))])
    with pytest.raises(ConfigError, match="not about the envelope"):
        list(read_receipts(path))


@pytest.mark.parametrize(
    "change",
    [{"version": 2}, {"genesis": "00"}, {"receipt": "zz"}, {"more": 1}, {"envelope": 5}, {"receipt": "90"}],
)
def test_lines_that_are_no_stored_receipt_are_refused(
    tmp_path: Path, committee: Committee, make_order: Any, make_receipt: Any, change: dict[str, Any]
) -> None:
    path = tmp_path / "receipts.jsonl"
    sealed = make_order()
    with ReceiptStore(path, committee) as store:
        store.append([(sealed.envelope, make_receipt(sealed.order_id, 0))])
    path.write_text(json.dumps(json.loads(path.read_text()) | change) + "\n")
    with pytest.raises(ConfigError, match="line 1"):
        list(read_receipts(path))
