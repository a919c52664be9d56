"""Posting results: every rule of the contract, with a near miss refused for its own reason."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import boa
import pytest
from settlement_house import (
    ALICE,
    BOB,
    CAROL,
    GENESIS_ROOT,
    House,
    as_address,
    committee,
    deploy_house,
    header,
)

from mpc_sequencer.core.eip712 import domain_separator
from mpc_sequencer.core.signing import GROUP_ORDER
from mpc_sequencer.settlement.payloads import (
    BatchResult,
    Delta,
    SignedResult,
    batch_result_digest,
    pack_deltas,
    signature_fields,
)

TRADE = (Delta(ALICE, 0, -100, 0), Delta(BOB, 0, 100, 0), Delta(ALICE, 1, 40, 0), Delta(BOB, 1, -40, 0))
UP_TO_CAROL = (Delta(ALICE, 0, -100, 0), Delta(CAROL, 0, 100, 0))


def pack(deltas: tuple[Delta, ...]) -> bytes:
    """Packed without the checks of pack_deltas, so that the contract meets what we would never sign."""
    return b"".join(
        d.account
        + d.asset.to_bytes(2, "big")
        + d.free.to_bytes(16, "big", signed=True)
        + d.withdrawable.to_bytes(16, "big", signed=True)
        for d in deltas
    )


def post_packed(house: House, packed: bytes, result: BatchResult | None = None) -> None:
    """Sign and post a result with any packed deltas at all, by the contract's own digest."""
    result = house.result() if result is None else result
    digest = house.contract.result_digest(header(result), packed)
    pairs = tuple((index, house.members[index].sign_digest(digest)) for index in range(house.quorum))
    bitmap, signatures = signature_fields(SignedResult(result, pairs))
    house.post_raw(result, bitmap, signatures, packed)


def test_a_signed_result_moves_balances_and_the_chain_of_results(house: House) -> None:
    house.post(house.sign(house.result(*TRADE)))
    assert house.balance(ALICE, 0) == (900, 0)
    assert house.balance(BOB, 0) == (1_100, 0)
    assert house.balance(ALICE, 1) == (1_040, 0)
    assert house.balance(BOB, 1) == (960, 0)
    assert house.contract.last_posted() == (0, 3, house.state_root, 4)
    house.post(house.sign(house.result(*UP_TO_CAROL)))
    assert house.balance(CAROL, 0) == (100, 0)
    assert house.contract.last_posted()[1] == 6


def test_result_posted_event_carries_the_roots(house: House) -> None:
    result = house.result(*TRADE)
    house.post(house.sign(result))
    (event,) = [log for log in house.contract.get_logs() if type(log).__name__ == "ResultPosted"]
    assert (event.epoch, event.first_height, event.last_height) == (0, 1, 3)
    assert (event.state_root, event.fills_root, event.data_hash) == (
        result.state_root,
        result.fills_root,
        result.data_hash,
    )


def test_an_empty_result_is_posted(house: House) -> None:
    house.post(house.sign(house.result()))
    assert house.contract.last_posted()[1] == 3


@pytest.mark.parametrize("indices", [(0, 1, 2), (0, 1, 3), (1, 2, 3), (0, 1, 2, 3)])
def test_any_quorum_will_do(house: House, indices: tuple[int, ...]) -> None:
    house.post(house.sign(house.result(*TRADE), *indices))
    assert house.balance(ALICE, 0) == (900, 0)


def test_digest_of_python_is_the_contracts(house: House) -> None:
    for result in (house.result(), house.result(*TRADE), house.result(Delta(ALICE, 0, -7, 7))):
        expected = batch_result_digest(house.separator, result)
        assert house.contract.result_digest(header(result), pack_deltas(result.deltas)) == expected
    assert house.contract.domain_separator() == house.separator


HEADER_MISSES = [
    ({"epoch": 1}, "signatures: unknown epoch"),
    ({"epoch": 2}, "signatures: unknown epoch"),
    ({"first_height": 2}, "result: wrong first height"),
    ({"prev_state_root": hashlib.sha256(b"genesis ").digest()}, "result: wrong predecessor"),
    ({"inputs_count": 5}, "result: inputs not queued"),
    ({"inputs_count": 5, "inputs_hash": bytes(32)}, "result: inputs not queued"),
    ({"inputs_count": 3}, "result: inputs count went back"),
    ({"inputs_hash": hashlib.sha256(b"another").digest()}, "result: wrong inputs hash"),
]


@pytest.mark.parametrize(("changes", "reason"), HEADER_MISSES)
def test_header_near_misses(house: House, changes: dict[str, object], reason: str) -> None:
    signed = house.sign(house.result(*TRADE, **changes))
    with boa.reverts(reason):
        house.post(signed)
    assert house.balance(ALICE, 0) == (1_000, 0)
    assert house.contract.last_posted() == (0, 0, GENESIS_ROOT, 4)


def test_heights_backwards_and_zero_state_root(house: House) -> None:
    with boa.reverts("result: last height before first"):
        post_packed(house, b"", house.result(last_height=0))
    with boa.reverts("result: zero state root"):
        post_packed(house, b"", house.result(state_root=bytes(32)))


def test_settlement_replay(house: House) -> None:
    first = house.sign(house.result(*TRADE))
    house.post(first)
    with boa.reverts("result: wrong first height"):
        house.post(first)
    overlapping = house.sign(house.result(*UP_TO_CAROL, first_height=3))
    with boa.reverts("result: wrong first height"):
        house.post(overlapping)
    skipping = house.sign(house.result(*UP_TO_CAROL, first_height=5))
    with boa.reverts("result: wrong first height"):
        house.post(skipping)
    forked = house.sign(house.result(*UP_TO_CAROL, prev_state_root=GENESIS_ROOT))
    with boa.reverts("result: wrong predecessor"):
        house.post(forked)


def test_inputs_cannot_be_skipped_or_taken_back(house: House) -> None:
    house.fund(CAROL, 0, 50)
    house.post(house.sign(house.result(inputs_count=5)))
    four = house.contract.inputs_hash_at(4)
    with boa.reverts("result: inputs count went back"):
        house.post(house.sign(house.result(inputs_count=4, inputs_hash=four)))
    with boa.reverts("result: wrong inputs hash"):
        house.post(house.sign(house.result(inputs_hash=four)))
    house.post(house.sign(house.result()))


def test_no_result_before_start() -> None:
    with boa.env.anchor():
        house = deploy_house()
        house.fund(ALICE, 0, 1_000)
        with boa.reverts("settlement: not started"):
            house.post(house.sign(house.result()))
        with boa.reverts("settlement: not started"):
            house.post(house.sign(house.result(prev_state_root=bytes(32))))


# ------------------------------------------------------------------------------------------------- signatures


def test_signer_repeated(house: House) -> None:
    result = house.result(*TRADE)
    digest = batch_result_digest(house.separator, result)
    zero, one = (house.members[index].sign_digest(digest) for index in (0, 1))
    packed = pack_deltas(result.deltas)
    with boa.reverts("signatures: bad signature"):
        house.post_raw(result, 0b0111, zero + one + one, packed)
    with boa.reverts("signatures: one left over"):
        house.post_raw(result, 0b0011, zero + one + one, packed)
    with boa.reverts("signatures: one missing"):
        house.post_raw(result, 0b0111, zero + one, packed)
    assert house.balance(ALICE, 0) == (1_000, 0)


def test_one_signature_short_of_the_quorum(house: House) -> None:
    with boa.reverts("signatures: no quorum"):
        house.post(house.sign(house.result(*TRADE), 0, 1))
    with boa.reverts("signatures: no quorum"):
        house.post_raw(house.result(), 0, b"", b"")


def test_signatures_in_the_wrong_order(house: House) -> None:
    signed = house.sign(house.result(*TRADE))
    bitmap, signatures = signature_fields(signed)
    swapped = signatures[65:130] + signatures[:65] + signatures[130:]
    with boa.reverts("signatures: bad signature"):
        house.post_raw(signed.result, bitmap, swapped, pack_deltas(signed.result.deltas))


def test_high_s(house: House) -> None:
    signed = house.sign(house.result(*TRADE))
    index, signature = signed.signatures[1]
    s = GROUP_ORDER - int.from_bytes(signature[32:64], "big")
    flipped = signature[:32] + s.to_bytes(32, "big") + bytes([55 - signature[64]])
    bent = replace(signed, signatures=(signed.signatures[0], (index, flipped), signed.signatures[2]))
    with boa.reverts("signatures: high s"):
        house.post(bent)


@pytest.mark.parametrize(
    ("v", "reason"), [(v, "bad signature") for v in (0, 1, 26, 29, 255, None)]
)
def test_v_out_of_range_or_the_other(house: House, v: int | None, reason: str) -> None:
    signed = house.sign(house.result(*TRADE))
    bitmap, signatures = signature_fields(signed)
    bent = signatures[:64] + bytes([55 - signatures[64] if v is None else v]) + signatures[65:]
    with boa.reverts("signatures: " + reason):
        house.post_raw(signed.result, bitmap, bent, pack_deltas(signed.result.deltas))


@pytest.mark.parametrize(
    "r_and_s", [bytes(64), b"\xff" * 32 + bytes(31) + b"\x01", bytes(31) + b"\x05" + bytes(32)]
)
def test_a_signature_that_recovers_to_nobody(house: House, r_and_s: bytes) -> None:
    signed = house.sign(house.result(*TRADE))
    bitmap, signatures = signature_fields(signed)
    with boa.reverts("signatures: bad signature"):
        bent = r_and_s + bytes([27]) + signatures[65:]
        house.post_raw(signed.result, bitmap, bent, pack_deltas(signed.result.deltas))


def test_an_outsider_signs(house: House) -> None:
    result = house.result(*TRADE)
    digest = batch_result_digest(house.separator, result)
    outsider = committee(9)[8] if committee(9)[8] not in house.members else committee(9)[0]
    signed = house.sign(result)
    bent = replace(signed, signatures=(*signed.signatures[:2], (2, outsider.sign_digest(digest))))
    with boa.reverts("signatures: bad signature"):
        house.post(bent)
    beyond = replace(signed, signatures=(*signed.signatures, (4, outsider.sign_digest(digest))))
    with boa.reverts("signatures: unknown signer"):
        house.post(beyond)


def test_signatures_cut_off(house: House) -> None:
    signed = house.sign(house.result(*TRADE))
    bitmap, signatures = signature_fields(signed)
    for bent in (signatures[:-1], signatures + b"\x00"):
        with boa.reverts("signatures: cut off"):
            house.post_raw(signed.result, bitmap, bent, pack_deltas(signed.result.deltas))


def test_wrong_chain_or_contract(house: House) -> None:
    chain_id = boa.env.evm.patch.chain_id
    here = bytes.fromhex(house.contract.address[2:])
    for separator in (domain_separator(chain_id + 1, here), domain_separator(chain_id, here[:-1] + b"\x00")):
        with boa.reverts("signatures: bad signature"):
            house.post(house.sign(house.result(*TRADE), separator=separator))


def test_a_fork_of_the_chain_changes_the_domain(house: House) -> None:
    before = house.sign(house.result(*TRADE))
    chain_id = boa.env.evm.patch.chain_id
    boa.env.evm.patch.chain_id = chain_id + 1
    try:
        with boa.reverts("signatures: bad signature"):
            house.post(before)
        house.post(house.sign(house.result(*TRADE)))
    finally:
        boa.env.evm.patch.chain_id = chain_id


def test_any_signed_field_changed_after_signing_is_refused(house: House) -> None:
    signed = house.sign(house.result(*TRADE))
    other = hashlib.sha256(b"other").digest()
    for changes in ({"last_height": 4}, {"state_root": other}, {"fills_root": other}, {"data_hash": other}):
        with boa.reverts("signatures: bad signature"):
            house.post(replace(signed, result=replace(signed.result, **changes)))
    cheaper = (Delta(ALICE, 0, -99, 0), Delta(BOB, 0, 99, 0), *TRADE[2:])
    with boa.reverts("signatures: bad signature"):
        house.post(replace(signed, result=replace(signed.result, deltas=cheaper)))


# ----------------------------------------------------------------------------------------------------- deltas


DELTA_MISSES = [
    ((Delta(ALICE, 0, -100, 0), Delta(BOB, 0, 101, 0)), "result: deltas do not sum to zero"),
    ((Delta(ALICE, 0, -100, 0), Delta(BOB, 0, 99, 0)), "result: deltas do not sum to zero"),
    ((Delta(ALICE, 0, -100, 0), Delta(BOB, 1, 100, 0)), "result: deltas do not sum to zero"),
    ((Delta(ALICE, 0, -100, 101),), "result: deltas do not sum to zero"),
    ((Delta(BOB, 0, 100, 0), Delta(ALICE, 0, -100, 0)), "result: deltas not ascending"),
    (
        (Delta(ALICE, 0, -50, 0), Delta(ALICE, 0, -50, 0), Delta(BOB, 0, 100, 0)),
        "result: deltas not ascending",
    ),
    ((Delta(ALICE, 1, -1, 1), Delta(BOB, 0, -1, 1)), "result: deltas not ascending"),
    ((Delta(bytes(20), 0, 1, -1),), "result: deltas not ascending"),
    ((Delta(bytes(20), 1, 1, -1),), "result: deltas not ascending"),
    ((Delta(ALICE, 0, 0, 0),), "result: empty delta"),
    ((Delta(ALICE, 2, -1, 1),), "result: unknown asset"),
    ((Delta(ALICE, 0, -1_001, 0), Delta(BOB, 0, 1_001, 0)), "result: balance below zero"),
    ((Delta(ALICE, 0, 1, -1),), "result: balance below zero"),
    ((Delta(ALICE, 0, -(2**127), 2**127 - 1), Delta(BOB, 0, 1, 0)), "result: balance below zero"),
]


@pytest.mark.parametrize(("deltas", "reason"), DELTA_MISSES)
def test_delta_near_misses(house: House, deltas: tuple[Delta, ...], reason: str) -> None:
    with boa.reverts(reason):
        post_packed(house, pack(deltas))
    assert house.balance(ALICE, 0) == (1_000, 0)
    assert house.balance(BOB, 0) == (1_000, 0)


def test_deltas_cut_off(house: House) -> None:
    packed = pack(TRADE)
    for bent in (packed[:-1], packed + b"\x00", packed[:53]):
        with boa.reverts("result: deltas cut off"):
            post_packed(house, bent)


def test_a_balance_above_128_bits_is_refused(house: House) -> None:
    house.fund(CAROL, 0, 2**128 - 1)
    with boa.reverts("result: balance above 2^128-1"):
        post_packed(house, pack((Delta(ALICE, 0, -1, 0), Delta(CAROL, 0, 1, 0))))
    house.post(house.sign(house.result(Delta(ALICE, 0, 1, 0), Delta(CAROL, 0, -1, 0))))
    assert house.balance(CAROL, 0) == (2**128 - 2, 0)


def test_free_moves_to_withdrawable_and_neither_half_leaks(house: House) -> None:
    house.post(house.sign(house.result(Delta(ALICE, 0, -1_000, 1_000))))
    assert house.balance(ALICE, 0) == (0, 1_000)
    house.post(house.sign(house.result(Delta(ALICE, 0, 1, -1))))
    assert house.balance(ALICE, 0) == (1, 999)
    house.fund(ALICE, 0, 5)
    assert house.balance(ALICE, 0) == (6, 999)
    assert house.balance(ALICE, 1) == (1_000, 0)


def test_the_most_deltas_and_one_more(house: House) -> None:
    def spread(count: int) -> tuple[Delta, ...]:
        changes = [Delta((index + 1).to_bytes(20, "big"), 0, 0, 0) for index in range(count)]
        return tuple(replace(delta, free=1, withdrawable=-1) for delta in changes)

    with boa.reverts():
        post_packed(house, pack(spread(1_501)))
    # 1,500 are read to the end: the first refusal is the missing balance, not the count.
    with boa.reverts("result: balance below zero"):
        post_packed(house, pack(spread(1_500)))


def test_dust_sweep_of_many_accounts_fits_a_transaction() -> None:
    """The worst case the payload rules allow for fresh balances fits a transaction."""
    with boa.env.anchor():
        house = deploy_house()
        house.fund(ALICE, 0, 10_000)
        house.start()
        fresh = [Delta((index + 1).to_bytes(20, "big"), 0, 1, 0) for index in range(599)]
        result = house.result(*fresh, Delta(ALICE, 0, -599, 0))
        house.post(house.sign(result))
        used = house.contract._computation.get_gas_used()
        assert used + 21_000 + 16 * 600 * 54 < 1 << 24
        assert house.balance(fresh[-1].account, 0) == (1, 0)
        assert house.balance(ALICE, 0) == (10_000 - 599, 0)


def test_anyone_may_post(house: House) -> None:
    with boa.env.prank(as_address(CAROL)):
        house.post(house.sign(house.result(*TRADE)))
    assert house.balance(BOB, 0) == (1_100, 0)
