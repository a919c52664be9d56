"""Sealing as a whole: both implementations agree to the byte, any t shares open, fewer do not."""

import copy
import pickle
from itertools import combinations

import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st
from sealing_kit import BUCKETS, CHAIN_ID, SETTLEMENT, Committee, refusal, seeded

import threshold
from threshold import CheckedCiphertext, Ciphertext, Label, SealingKey, ThresholdError
from threshold.errors import UsageError

FOUR = Committee.dealt()
messages = st.binary(max_size=60)
sigmas = st.binary(min_size=32, max_size=32)


@settings(max_examples=8, deadline=None)
@given(messages, sigmas, st.integers(0, 2**64 - 2), st.binary(min_size=20, max_size=20))
def test_both_implementations_seal_to_the_same_bytes_and_accept_each_other(
    message: bytes, sigma: bytes, valid_from_ms: int, sponsor: bytes
) -> None:
    label = FOUR.label(valid_from_ms=valid_from_ms, valid_until_ms=2**64 - 1, sponsor=sponsor)
    sealed = threshold.seal(FOUR.key, label, message, sigma=sigma)
    padded = reference.pad(message, 64)
    assert sealed == reference.seal_padded(FOUR.key.public_key, label.encode(), padded, sigma)
    assert reference.check(label.encode(), sealed)
    checked = FOUR.check(sealed, label)
    shares = FOUR.shares(checked)
    point = threshold.combine({i: shares[i] for i in (1, 3, 4)}, 3)
    assert point == reference.combine({i: shares[i] for i in (2, 3, 4)})
    assert reference.open_point(FOUR.key.public_key, label.encode(), sealed, point) == (sigma, padded)
    assert FOUR.opened_by(checked, shares, (1, 2, 4)).message == message


@settings(max_examples=12, deadline=None)
@given(st.integers(1, 6).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, n))), messages)
def test_any_t_of_n_shares_open_and_t_minus_one_do_not(size: tuple[int, int], message: bytes) -> None:
    n, t = size
    committee = Committee.dealt(n, t, f"{n} {t}")
    checked = committee.check(committee.seal(message))
    shares = committee.shares(checked)
    points = {threshold.combine({i: shares[i] for i in subset}, t) for subset in committee.subsets()}
    assert len(points) == 1
    assert threshold.open_ciphertext(committee.key, checked, points.pop()).message == message
    for subset in combinations(range(1, n + 1), t - 1):
        if subset:
            point = threshold.combine({i: shares[i] for i in subset}, t - 1)
            with refusal("opening.failed"):
                threshold.open_ciphertext(committee.key, checked, point)


def test_a_bad_share_fails_every_subset_it_is_in_and_no_other() -> None:
    checked = FOUR.check(FOUR.seal())
    shares = FOUR.shares(checked)
    shares[2] = shares[3]
    for subset in FOUR.subsets():
        if 2 in subset:
            with refusal("opening.failed"):
                FOUR.opened_by(checked, shares, subset)
        else:
            assert FOUR.opened_by(checked, shares, subset).message == b"buy 3"


def test_every_bit_of_a_ciphertext_and_its_label_is_bound() -> None:
    sealed, label = FOUR.seal(), FOUR.label().encode()
    for at in range(0, len(sealed) * 8, 13):
        changed = bytearray(sealed)
        changed[at // 8] ^= 1 << at % 8
        with pytest.raises(ThresholdError):
            FOUR.check(bytes(changed))
    for at in range(0, len(label) * 8, 7):
        changed = bytearray(label)
        changed[at // 8] ^= 1 << at % 8
        with pytest.raises(ThresholdError):
            FOUR.check(sealed, bytes(changed))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300), st.binary(max_size=110))
def test_arbitrary_bytes_raise_nothing_but_threshold_errors(data: bytes, label: bytes) -> None:
    for tried_label, tried in (
        (label, data),
        (FOUR.label().encode(), data),
        (FOUR.label().encode(), data.ljust(243)),
    ):
        with pytest.raises(ThresholdError):
            FOUR.check(tried, tried_label)
        assert not threshold.verify_opening(FOUR.key, tried_label, tried, data[:32], data[32:])


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**64 - 1), st.binary(min_size=20, max_size=20), st.binary(min_size=32, max_size=32),
    st.binary(min_size=20, max_size=20), st.integers(0, 2**64 - 2), st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_labels_encode_and_decode_to_themselves(
    chain_id: int, settlement: bytes, key_id: bytes, sponsor: bytes, valid_from_ms: int, bucket: int
) -> None:
    fields = (chain_id, settlement, key_id, sponsor, valid_from_ms, valid_from_ms + 1, bucket)
    label = Label(*fields)
    encoded = label.encode()
    assert len(encoded) == threshold.LABEL_BYTES == 101
    assert encoded == reference.label(*fields)
    assert Label.decode(encoded) == label


@pytest.mark.parametrize(
    "change",
    [
        {"chain_id": -1}, {"chain_id": 2**64}, {"valid_from_ms": -1}, {"valid_until_ms": 2**64},
        {"size_bucket": 2**32}, {"size_bucket": -1}, {"settlement": bytes(19)},
        {"key_id": bytes(33)}, {"sponsor": b""},
    ],
)  # fmt: skip
def test_a_label_that_does_not_fit_the_wire_does_not_encode(change: dict[str, int | bytes]) -> None:
    with refusal("label.field"):
        FOUR.label(**change).encode()


def test_a_ciphertext_decodes_to_its_parts_and_back() -> None:
    sealed = FOUR.seal()
    parsed = Ciphertext.decode(sealed, 64)
    assert parsed.encode() == sealed and len(sealed) == threshold.ciphertext_bytes(64)
    assert (parsed.u, parsed.v, parsed.c) == (sealed[1:34], sealed[34:67], sealed[131:])
    for bucket in (63, 65, 0):
        with refusal("ciphertext.length"):
            Ciphertext.decode(sealed, bucket)


def test_sealing_refuses_what_a_node_would() -> None:
    for changes, code in (
        ({"chain_id": CHAIN_ID + 1}, "label.chain"),
        ({"settlement": bytes(20)}, "label.settlement"),
        ({"key_id": bytes(32)}, "label.key"),
        ({"valid_until_ms": 1_000}, "label.validity"),
        ({"size_bucket": 8}, "message.length"),
        ({"size_bucket": 0}, "message.length"),
        ({"size_bucket": 2**20 + 1}, "label.bucket"),
        ({"sponsor": b""}, "label.field"),
    ):
        with refusal(code):
            FOUR.seal(**changes)  # type: ignore[arg-type]
    with refusal("message.length"):
        FOUR.seal(b"x" * 61)
    for sigma in (b"", bytes(31), bytes(33)):
        with refusal("sigma.length"):
            FOUR.seal(sigma=sigma)


def test_the_bucket_must_be_listed() -> None:
    sealed = FOUR.seal(size_bucket=100)
    with refusal("label.bucket"):
        FOUR.check(sealed, FOUR.label(size_bucket=100))
    label = FOUR.label(size_bucket=100).encode()
    assert threshold.check(FOUR.key, label, sealed, buckets={100}).ciphertext.encode() == sealed


def test_the_key_id_binds_key_chain_and_contract() -> None:
    keys = [
        SealingKey(public_key, chain_id, settlement).key_id
        for public_key in (FOUR.key.public_key, Committee.dealt(name="other").key.public_key)
        for chain_id in (1, 2)
        for settlement in (bytes(20), SETTLEMENT)
    ]
    assert len(set(keys)) == 8
    assert FOUR.key.key_id == reference.key_id(FOUR.key.public_key, CHAIN_ID, SETTLEMENT)
    for chain_id, settlement in ((-1, SETTLEMENT), (2**64, SETTLEMENT), (1, bytes(19))):
        with pytest.raises(UsageError):
            SealingKey(FOUR.key.public_key, chain_id, settlement)
    with refusal("point.infinity"):
        SealingKey(bytes(33), 1, SETTLEMENT)


def test_verifying_an_opening_takes_the_whole_ciphertext() -> None:
    sealed, label = FOUR.seal(), FOUR.label().encode()
    sigma, padded = b"\x07" * 32, reference.pad(b"buy 3", 64)
    assert threshold.verify_opening(FOUR.key, label, sealed, sigma, padded)
    for at in range(len(sealed)):
        changed = sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :]
        if at % 9 == 0 or at == len(sealed) - 1:
            assert not threshold.verify_opening(FOUR.key, label, changed, sigma, padded)
    for wrong_label in (
        FOUR.label(sponsor=bytes(20)).encode(),
        FOUR.label(chain_id=1).encode(),
        label[:-1],
        b"",
    ):
        assert not threshold.verify_opening(FOUR.key, wrong_label, sealed, sigma, padded)
    for wrong_sigma, wrong_padded in (
        (seeded("x"), padded), (sigma[:-1], padded), (sigma, padded[:-1]), (sigma, padded + b"\0"),
        (sigma, b""), (sigma, reference.pad(b"buy 4", 64)),
    ):  # fmt: skip
        assert not threshold.verify_opening(FOUR.key, label, sealed, wrong_sigma, wrong_padded)
    other = SealingKey(Committee.dealt(name="other").key.public_key, CHAIN_ID, SETTLEMENT)
    assert not threshold.verify_opening(other, label, sealed, sigma, padded)


def test_only_check_makes_a_checked_ciphertext_and_nothing_changes_it() -> None:
    checked = FOUR.check(FOUR.seal())
    with pytest.raises(TypeError, match="check"):
        CheckedCiphertext()
    for attempt in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError):
            attempt(checked)
    with pytest.raises(TypeError):
        checked.u_point = checked.u_point
    with pytest.raises(TypeError):
        del checked.u_point
    for impostor in (FOUR.seal(), Ciphertext.decode(FOUR.seal(), 64), None):
        with pytest.raises(TypeError):
            threshold.share(FOUR.dealing.shares[0], impostor)  # type: ignore[arg-type]


def test_a_ciphertext_checked_under_another_key_is_not_opened() -> None:
    other = Committee.dealt(name="other")
    checked = FOUR.check(FOUR.seal())
    with pytest.raises(UsageError):
        threshold.open_ciphertext(other.key, checked, checked.ciphertext.u)


def test_the_size_of_a_ciphertext_tells_only_its_bucket() -> None:
    assert {len(FOUR.seal(bytes(length))) for length in range(0, 61, 5)} == {threshold.ciphertext_bytes(64)}
    assert {len(FOUR.seal(b"", size_bucket=bucket)) for bucket in BUCKETS} == {243, 307}


def test_two_orders_alike_seal_differently() -> None:
    assert FOUR.seal(sigma=seeded("1")) != FOUR.seal(sigma=seeded("2"))


def test_a_malformed_inside_names_its_reason() -> None:
    for padded, reason in (
        ((61).to_bytes(4, "big") + bytes(60), "length prefix 61"),
        (reference.pad(b"x", 64)[:-1] + b"\1", "padding after byte 5"),
    ):
        sealed = reference.seal_padded(FOUR.key.public_key, FOUR.label().encode(), padded, seeded("m"))
        checked = FOUR.check(sealed)
        opening = FOUR.opened_by(checked, FOUR.shares(checked), (1, 2, 3))
        assert opening.message is None and opening.malformed_reason is not None
        assert opening.malformed_reason.startswith(reason)
