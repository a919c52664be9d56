"""What traders sign: every kind of action fits the one size in which orders are sealed."""

from __future__ import annotations

import pytest

from mpc_sequencer.core.actions import (
    Action,
    Cancel,
    CancelAll,
    Order,
    Replace,
    SignedAction,
    Withdrawal,
    with_account_signature,
)
from mpc_sequencer.core.codec import decode, encode
from mpc_sequencer.core.limits import SIZE_BUCKETS_BYTES, UINT_MAX

LENGTH_BYTES = 4  # what sealing puts before a message

ACCOUNT, BOUND = b"\xff" * 20, b"\xff" * 32
TERMS = (
    (1 << 32) - 1, UINT_MAX, 255, 255, 255, 255, 255, UINT_MAX, UINT_MAX, UINT_MAX, UINT_MAX, UINT_MAX,
)  # fmt: skip
LARGEST: list[Action] = [
    Order(ACCOUNT, UINT_MAX, BOUND, *TERMS),
    Withdrawal(ACCOUNT, UINT_MAX, BOUND, (1 << 16) - 1, b"\xff" * 16),
    Cancel(ACCOUNT, UINT_MAX, BOUND, UINT_MAX),
    CancelAll(ACCOUNT, UINT_MAX, BOUND, (1 << 32) - 1),
    Replace(ACCOUNT, UINT_MAX, BOUND, UINT_MAX, *TERMS),
]


@pytest.mark.parametrize("action", LARGEST, ids=lambda action: type(action).__name__)
def test_the_largest_of_each_kind_fits_its_bucket_and_comes_back(action: Action) -> None:
    plaintext = encode(with_account_signature(action, b"\xff" * 65))
    assert len(plaintext) + LENGTH_BYTES <= max(SIZE_BUCKETS_BYTES)
    assert decode(SignedAction, plaintext).action == action


def test_no_two_kinds_share_a_struct_hash() -> None:
    assert len({action.struct_hash() for action in LARGEST}) == len(LARGEST)


def test_a_replacement_enters_the_order_it_describes() -> None:
    replace = LARGEST[4]
    assert isinstance(replace, Replace)
    assert replace.order() == LARGEST[0]
