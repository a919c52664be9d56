"""Sharing a key and using it by shares; the share itself as an object that does not leak."""

import copy
import hmac
import pickle

import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st
from sealing_kit import Committee, refusal, seeded

import threshold
from threshold import SecretShare, group, shamir
from threshold.errors import UsageError
from threshold.group import N
from threshold.shamir import interpolate_at_zero, lagrange_at_zero

SECRET = seeded("a secret scalar")


def number(share: SecretShare) -> int:
    return int.from_bytes(share.nonce_material(), "big")


@settings(max_examples=40, deadline=None)
@given(st.sets(st.integers(1, 60), min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_lagrange_coefficients_recover_a_polynomial_at_zero(indexes: set[int], rng: object) -> None:
    ordered = tuple(sorted(indexes))
    polynomial = [rng.randrange(N) for _ in ordered]  # type: ignore[attr-defined]
    values = [sum(a * i**k for k, a in enumerate(polynomial)) % N for i in ordered]
    assert sum(c * v for c, v in zip(lagrange_at_zero(ordered), values, strict=True)) % N == polynomial[0]


def test_lagrange_coefficients_survive_the_widest_indexes() -> None:
    indexes = tuple(range(1, 65_536, 1_500))
    assert lagrange_at_zero(indexes) == tuple(reference.lagrange(i, list(indexes)) for i in indexes)
    generator = group.parse_point(group.GENERATOR, "g")
    constant = interpolate_at_zero(dict.fromkeys(indexes, generator))
    assert constant is not None and group.encode_point(constant) == group.GENERATOR


@settings(max_examples=15, deadline=None)
@given(st.sets(st.integers(1, 40), min_size=1, max_size=6))
def test_interpolation_in_the_exponent_agrees_with_plain_integers(indexes: set[int]) -> None:
    encoded = {i: reference.compress(reference.multiply(i * 7919 + 11, reference.G)) for i in indexes}
    found = interpolate_at_zero({i: group.parse_point(data, "p") for i, data in encoded.items()})
    assert found is not None and group.encode_point(found) == reference.combine(encoded)


@pytest.mark.parametrize("indexes", [(), (0, 1), (1, 1), (2, 1), (1, 65_536)])
def test_indexes_that_do_not_ascend_within_bounds_are_refused(indexes: tuple[int, ...]) -> None:
    with pytest.raises(UsageError):
        lagrange_at_zero(indexes)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 9).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, n))), st.randoms())
def test_any_t_shares_recover_the_secret_and_verification_keys_match(
    size: tuple[int, int], rng: object
) -> None:
    n, t = size
    dealing = threshold.deal(n, t, secret=SECRET, entropy=seeded(f"{n} {t}"))
    assert dealing.public_key == group.generator_multiply_secret(SECRET)
    assert [share.index for share in dealing.shares] == list(range(1, n + 1))
    assert dealing.verification_keys == tuple(
        group.generator_multiply_secret(share.nonce_material()) for share in dealing.shares
    )
    chosen = sorted(rng.sample(dealing.shares, t), key=lambda share: share.index)  # type: ignore[attr-defined]
    coefficients = lagrange_at_zero(tuple(share.index for share in chosen))
    total = sum(c * number(share) for c, share in zip(coefficients, chosen, strict=True)) % N
    assert total == int.from_bytes(SECRET, "big")


def test_fewer_than_t_shares_determine_nothing() -> None:
    dealing = threshold.deal(5, 3, secret=SECRET, entropy=seeded("few"))
    coefficients = lagrange_at_zero((1, 2))
    guess = sum(c * number(share) for c, share in zip(coefficients, dealing.shares, strict=False)) % N
    assert guess != int.from_bytes(SECRET, "big")
    # For every candidate secret there is a polynomial through the two shares: nothing rules one out.
    other = threshold.deal(5, 3, secret=seeded("another"), entropy=seeded("few"))
    assert [number(a) for a in other.shares] != [number(a) for a in dealing.shares]


def test_dealing_refuses_sizes_and_bytes_out_of_range() -> None:
    for n, t in ((0, 0), (3, 0), (3, 4), (65_536, 3)):
        with pytest.raises(UsageError):
            threshold.deal(n, t, secret=None, entropy=bytes(32))
    for secret in (bytes(32), N.to_bytes(32, "big"), b"\x01" * 31):
        with pytest.raises(UsageError):
            threshold.deal(3, 2, secret=secret, entropy=bytes(32))
    with pytest.raises(UsageError):
        threshold.deal(3, 2, secret=None, entropy=bytes(31))


def test_combining_takes_exactly_t_well_formed_shares() -> None:
    committee = Committee.dealt()
    shares = committee.shares(committee.check(committee.seal()))
    three = {i: shares[i] for i in (1, 2, 4)}
    for given_shares in (shares, {1: shares[1], 2: shares[2]}, {}):
        with refusal("share.count"):
            threshold.combine(given_shares, 3)
    with refusal("share.count"):
        threshold.combine({}, 0)
    for index in (0, -1, 65_536):
        with refusal("share.index"):
            threshold.combine({**{i: shares[i] for i in (1, 2)}, index: shares[4]}, 3)
    for bad in (b"", bytes(33), shares[4][:-1], b"\x02" + (5).to_bytes(32, "big")):
        with refusal("share.encoding"):
            threshold.combine({**three, 4: bad}, 3)
    # lambda_1 = 2 and lambda_2 = -1: shares that cancel.
    double = group.encode_point(group.multiply(group.parse_point(shares[1], "s"), (2).to_bytes(32, "big")))
    with refusal("share.sum"):
        threshold.combine({1: shares[1], 2: double}, 2)


def test_a_secret_share_never_shows_itself() -> None:
    share = SecretShare(3, SECRET)
    digits = SECRET.hex()
    for text in (repr(share), str(share), f"{share}", f"{share!r:>80}", repr([share]), repr(vars(threshold))):
        assert digits not in text and repr(SECRET) not in text
    assert repr(share) == "SecretShare(index=3)"


def test_a_secret_share_is_neither_copied_nor_pickled() -> None:
    share = SecretShare(3, SECRET)
    for attempt in (copy.copy, copy.deepcopy, pickle.dumps, lambda s: s.__getstate__()):
        with pytest.raises(TypeError, match="neither copied nor pickled"):
            attempt(share)
    assert share != SecretShare(3, SECRET)


def test_an_erased_share_is_overwritten_and_of_no_more_use() -> None:
    share = SecretShare(3, SECRET)
    held = share._secret
    share.erase()
    assert hmac.compare_digest(held, bytes(32))
    for use in (
        share.verification_key,
        share.nonce_material,
        lambda: share.multiply(group.parse_point(group.GENERATOR, "g")),
    ):
        with pytest.raises(UsageError, match="erased"):
            use()


def test_a_secret_share_out_of_range_is_refused_without_showing_it() -> None:
    for index, secret in ((0, SECRET), (65_536, SECRET), (1, bytes(32)), (1, b"\xff" * 32), (1, SECRET[:-1])):
        with pytest.raises(UsageError) as caught:
            SecretShare(index, secret)
        assert secret.hex() not in str(caught.value)


def test_the_caller_may_overwrite_the_bytes_a_share_was_made_from() -> None:
    source = bytearray(SECRET)
    share = SecretShare(1, source)
    source[:] = bytes(32)
    assert share.nonce_material() == SECRET


def test_the_small_coefficients_path_and_the_full_one_are_both_taken() -> None:
    sizes = {size for _, size, _ in shamir.scaled_coefficients((1, 2, 3, 4, 5, 6, 7)).terms}
    assert min(sizes) <= shamir.REPEAT_MAX < max(sizes)
    assert shamir.scaled_coefficients((1, 2, 3)).inverse_denominator is None
    assert shamir.scaled_coefficients((1, 2, 4)).inverse_denominator is not None
