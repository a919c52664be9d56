"""What a batch's context refuses: keys that do not fit the committee, and such that nothing can be sealed to."""

from __future__ import annotations

import dataclasses

import pytest
from dark_kit import committee, refused, small_params

from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.dark.inputs import BatchContext, check_sealing_key

CONTEXT = committee().context
LOW_ORDER = [bytes(32), b"\x01" + bytes(31), b"\xec" + b"\xff" * 30 + b"\x7f"]
LOW_ORDER += [bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800")]


def with_keys(**keys: tuple[bytes, ...]) -> BatchContext:
    return dataclasses.replace(CONTEXT, **keys)  # type: ignore[arg-type]


@pytest.mark.parametrize("key", [*LOW_ORDER, bytes([9] * 31), bytes([9] * 33), b""])
def test_a_sealing_key_that_nothing_can_be_sealed_to_makes_no_context(key: bytes) -> None:
    """One party's would keep every trader from making an order: sealing to it raises the library's own error."""
    with refused("dark.sealing_key"):
        check_sealing_key(key, "key")
    with pytest.raises(ProtocolError) as caught:
        with_keys(sealing_keys=(*CONTEXT.sealing_keys[:3], key, CONTEXT.sealing_keys[4]))
    assert (caught.value.code, caught.value.field) == ("dark.sealing_key", "sealing_keys[3]")


def test_a_member_stands_for_one_party() -> None:
    with pytest.raises(ValueError, match="stands for two parties"):
        with_keys(members=(*CONTEXT.members[:4], CONTEXT.members[0]))


def test_a_context_has_keys_for_all_parties() -> None:
    with pytest.raises(ValueError, match="keys of"):
        type(CONTEXT)(
            *(CONTEXT.separator, 3, 17, 2, small_params(9, 2)),
            *(CONTEXT.sealing_keys, CONTEXT.members),
        )
