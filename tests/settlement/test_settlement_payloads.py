"""Payloads: one packed form per list of deltas, a code per rule, digests bound to every field."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpc_sequencer.core.eip712 import domain_separator, keccak256
from mpc_sequencer.core.signing import GROUP_ORDER, Signer
from mpc_sequencer.settlement.claims import OrderCommit, check_commit, check_follows
from mpc_sequencer.settlement.errors import PayloadError
from mpc_sequencer.settlement.payloads import (
    CHANGE_MAX,
    CHANGE_MIN,
    DELTA_BYTES,
    PART_DELTAS,
    PARTS_MAX,
    RESULT_FRESH_DELTAS_MAX,
    BatchResult,
    Delta,
    SignedResult,
    batch_result_digest,
    check_result,
    check_signed,
    delta_parts,
    deltas_hash,
    next_inputs_hash,
    pack_deltas,
    signature_fields,
    unpack_deltas,
)

A, B = b"\xa1" * 20, b"\xb1" * 20
ROOT = hashlib.sha256(b"root").digest()
SEPARATOR = domain_separator(31337, b"\x5e" * 20)
MEMBERS = sorted((Signer(hashlib.sha256(b"%d" % i).digest()) for i in range(4)), key=lambda m: m.address)
RESULT = BatchResult(0, 1, 4, ROOT, ROOT, ROOT, ROOT, 2, ROOT, (Delta(A, 0, -5, 0), Delta(B, 0, 5, 0)))


def signed(result: BatchResult = RESULT, *indices: int) -> SignedResult:
    digest = batch_result_digest(SEPARATOR, result)
    return SignedResult(result, tuple((i, MEMBERS[i].sign_digest(digest)) for i in indices or (0, 1, 2)))


def code_of(error: pytest.ExceptionInfo[PayloadError]) -> str:
    return error.value.code


@st.composite
def delta_lists(draw: st.DrawFn) -> tuple[Delta, ...]:
    keys = draw(st.sets(st.tuples(st.integers(0, 3), st.binary(min_size=20, max_size=20)), max_size=12))
    deltas = []
    for asset, account in sorted(key for key in keys if any(key[1])):
        free = draw(st.integers(-(10**30), 10**30).filter(bool))
        deltas.append(Delta(account, asset, free, -free))
    return tuple(deltas)


@given(delta_lists())
def test_packing_is_invertible(deltas: tuple[Delta, ...]) -> None:
    packed = pack_deltas(deltas)
    assert len(packed) == DELTA_BYTES * len(deltas)
    assert unpack_deltas(packed) == deltas


@given(st.binary(max_size=4 * DELTA_BYTES))
def test_unpacking_refuses_or_returns_the_one_packed_form(data: bytes) -> None:
    try:
        deltas = unpack_deltas(data)
    except PayloadError:
        return
    assert pack_deltas(deltas) == data


def test_a_packed_delta_byte_for_byte() -> None:
    packed = pack_deltas((Delta(A, 2, -1, 1),))
    assert packed == A + b"\x00\x02" + b"\xff" * 16 + b"\x00" * 15 + b"\x01"


REFUSED_DELTAS = [
    ((Delta(A[:19], 0, 1, -1),), "delta.account"),
    ((Delta(bytes(20), 0, 1, -1),), "delta.account"),
    ((Delta(A, 64, 1, -1),), "delta.asset"),
    ((Delta(A, -1, 1, -1),), "delta.asset"),
    ((Delta(A, 0, CHANGE_MAX + 1, -CHANGE_MAX - 1),), "delta.range"),
    ((Delta(A, 0, 1, CHANGE_MIN - 1),), "delta.range"),
    ((Delta(A, 0, 0, 0),), "delta.empty"),
    ((Delta(B, 0, 1, 0), Delta(A, 0, -1, 0)), "deltas.order"),
    ((Delta(A, 0, 1, 0), Delta(A, 0, -1, 0)), "deltas.order"),
    ((Delta(A, 1, 1, -1), Delta(B, 0, 1, -1)), "deltas.order"),
    ((Delta(A, 0, 5, 0), Delta(B, 0, -4, 0)), "deltas.sum"),
    ((Delta(A, 0, 5, 0), Delta(B, 1, -5, 0)), "deltas.sum"),
    (
        tuple(Delta((i + 1).to_bytes(20, "big"), 0, 1, -1) for i in range(PARTS_MAX * PART_DELTAS + 1)),
        "deltas.count",
    ),
]


@pytest.mark.parametrize(("deltas", "code"), REFUSED_DELTAS)
def test_each_rule_on_deltas_has_its_code(deltas: tuple[Delta, ...], code: str) -> None:
    with pytest.raises(PayloadError) as error:
        pack_deltas(deltas)
    assert code_of(error) == code
    assert error.value.field and error.value.expected


def test_packed_lengths() -> None:
    packed = pack_deltas(RESULT.deltas)
    for bent, code in ((packed[:-1], "deltas.length"), (packed + b"\x00", "deltas.length")):
        with pytest.raises(PayloadError) as error:
            unpack_deltas(bent)
        assert code_of(error) == code
    with pytest.raises(PayloadError) as error:
        unpack_deltas(bytes(DELTA_BYTES * (PARTS_MAX * PART_DELTAS + 1)))
    assert code_of(error) == "deltas.count"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"epoch": 1 << 64}, "result.number"),
        ({"inputs_count": -1}, "result.number"),
        ({"fills_root": ROOT[:31]}, "result.hash"),
        ({"inputs_hash": ROOT + b"\x00"}, "result.hash"),
        ({"state_root": bytes(32)}, "result.state_root"),
        ({"first_height": 0}, "result.heights"),
        ({"first_height": 5}, "result.heights"),
    ],
)
def test_each_rule_on_results_has_its_code(changes: dict[str, object], code: str) -> None:
    with pytest.raises(PayloadError) as error:
        check_result(replace(RESULT, **changes))  # type: ignore[arg-type]
    assert code_of(error) == code


def test_the_digest_depends_on_every_field_and_on_the_domain() -> None:
    other = hashlib.sha256(b"other").digest()
    variants = [
        replace(RESULT, epoch=1),
        replace(RESULT, first_height=2),
        replace(RESULT, last_height=5),
        replace(RESULT, prev_state_root=other),
        replace(RESULT, state_root=other),
        replace(RESULT, fills_root=other),
        replace(RESULT, data_hash=other),
        replace(RESULT, inputs_count=3),
        replace(RESULT, inputs_hash=other),
        replace(RESULT, deltas=(Delta(A, 0, -6, 0), Delta(B, 0, 6, 0))),
        replace(RESULT, deltas=()),
    ]
    digests = {batch_result_digest(SEPARATOR, result) for result in (RESULT, *variants)}
    digests.add(batch_result_digest(domain_separator(31338, b"\x5e" * 20), RESULT))
    digests.add(batch_result_digest(domain_separator(31337, b"\x5f" * 20), RESULT))
    assert len(digests) == len(variants) + 3


def test_the_digest_is_pinned() -> None:
    assert batch_result_digest(SEPARATOR, RESULT).hex() == PINNED_DIGEST


PINNED_DIGEST = "34bab3e9fba1591d3dcc6a523a8bd4fe7d88f92bc86335e410f7350294e81a73"


def test_check_signed_accepts_a_quorum_and_names_what_is_wrong() -> None:
    signers = [member.address for member in MEMBERS]
    check_signed(signed(), SEPARATOR, signers, 3)
    good = signed()
    zero, one, two = good.signatures
    s = GROUP_ORDER - int.from_bytes(one[1][32:64], "big")
    high = one[1][:32] + s.to_bytes(32, "big") + bytes([55 - one[1][64]])
    misses = [
        ((zero, one), "signatures.quorum"),
        ((zero, one, one), "signatures.order"),
        ((one, zero, two), "signatures.order"),
        ((zero, one, (3, two[1])), "signatures.signer"),
        ((zero, one, (4, two[1])), "signatures.index"),
        ((zero, (1, high), two), "signature.encoding"),
        ((zero, (1, one[1][:64] + b"\x00"), two), "signature.encoding"),
    ]
    for signatures, code in misses:
        with pytest.raises(ValueError) as error:
            check_signed(replace(good, signatures=signatures), SEPARATOR, signers, 3)
        assert error.value.code == code  # type: ignore[attr-defined]
    with pytest.raises(PayloadError):
        check_signed(good, domain_separator(1, b"\x5e" * 20), signers, 3)


def test_signature_fields_are_a_bitmap_and_the_joined_signatures() -> None:
    pair = signed(RESULT, 0, 3)
    assert signature_fields(pair) == (0b1001, pair.signatures[0][1] + pair.signatures[1][1])
    with pytest.raises(PayloadError):
        signature_fields(replace(pair, signatures=pair.signatures[::-1]))
    with pytest.raises(PayloadError):
        signature_fields(replace(pair, signatures=((0, b"\x00" * 64),)))


def test_inputs_hash_byte_for_byte() -> None:
    expected = hashlib.sha256(bytes(32) + b"\x01" + A + b"\x00\x03" + (7).to_bytes(32, "big")).digest()
    assert next_inputs_hash(bytes(32), 1, A, 3, 7) == expected


def many(count: int) -> tuple[Delta, ...]:
    """``count`` deltas, an even number, that sum to zero."""
    return tuple(Delta((i + 1).to_bytes(20, "big"), 0, 1 if i % 2 else -1, 0) for i in range(count))


@pytest.mark.parametrize("count", [600, 602, 1_000, 3_002])
def test_deltas_beyond_one_transaction_are_signed_over_the_hashes_of_their_parts(count: int) -> None:
    packed = pack_deltas(many(count))
    assert unpack_deltas(packed) == many(count)
    if count <= RESULT_FRESH_DELTAS_MAX:
        assert delta_parts(packed) == (packed,)
        assert deltas_hash(packed) == hashlib.sha256(packed).digest()
        return
    size = 54 * 500
    parts = [packed[at : at + size] for at in range(0, len(packed), size)]
    assert list(delta_parts(packed)) == parts
    joined = b"".join(hashlib.sha256(part).digest() for part in parts)
    assert deltas_hash(packed) == hashlib.sha256(joined).digest()
    digest = batch_result_digest(SEPARATOR, replace(RESULT, deltas=many(count)))
    assert digest != batch_result_digest(SEPARATOR, replace(RESULT, deltas=many(count - 2)))


COMMIT = OrderCommit(1, 64, ROOT, hashlib.sha256(b"orders").digest(), 40, 3)


@pytest.mark.parametrize(
    ("changes", "code"),
    [({"height": 0}, "commit.height"), ({"ciphertext_root": bytes(32)}, "commit.ciphertext_root")],
)
def test_each_rule_on_order_commits_has_its_code(changes: dict[str, object], code: str) -> None:
    check_commit(COMMIT)
    with pytest.raises(PayloadError) as error:
        check_commit(msgspec.structs.replace(COMMIT, **changes))
    assert code_of(error) == code


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({}, None),
        ({"epoch": 2, "l1_head": 99, "forced_head": 9}, None),
        ({"prev_hash": ROOT}, "commit.prev_hash"),
        ({"epoch": 0}, "commit.epoch"),
        ({"l1_head": 39}, "commit.l1_head"),
        ({"forced_head": 2}, "commit.forced_head"),
        ({"height": 64}, "commit.height"),
    ],
)
def test_what_may_follow_an_order_commit(changes: dict[str, object], code: str | None) -> None:
    after = OrderCommit(1, 65, COMMIT.struct_hash(), ROOT, 40, 3)
    after = msgspec.structs.replace(after, **changes)
    if code is None:
        return check_follows(COMMIT, after)
    with pytest.raises(PayloadError) as error:
        check_follows(COMMIT, after)
    assert code_of(error) == code
    return None


def test_an_order_commit_s_struct_hash_is_eip_712_by_hand() -> None:
    kind = (
        b"OrderCommit(uint64 epoch,uint64 height,bytes32 prevHash,bytes32 ciphertextRoot,uint64 l1Head,"
        b"uint64 forcedHead)"
    )
    words = [(1).to_bytes(32, "big"), (64).to_bytes(32, "big"), ROOT, COMMIT.ciphertext_root]
    words += [(40).to_bytes(32, "big"), (3).to_bytes(32, "big")]
    assert COMMIT.struct_hash() == keccak256(keccak256(kind) + b"".join(words))
