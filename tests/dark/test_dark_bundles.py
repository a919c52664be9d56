"""Dark orders as their traders make them: shares, seals, one signature, and answers to complaints."""

from __future__ import annotations

import hashlib
import pickle
from collections import Counter

import numpy as np
import pytest
from dark_kit import SELL, Committee, committee, order, refused, secret, terms, trader
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from nacl.public import PrivateKey, SealedBox

from mpc_sequencer.core.codec import decode, encode
from mpc_sequencer.core.types import NO_SIGNATURE
from mpc_sequencer.dark import tags
from mpc_sequencer.dark.bundles import (
    PreparedOrder,
    check_complaint,
    check_delivery,
    check_opened,
    check_order,
    check_plaintext,
    check_window,
    open_delivery,
    prepare_row,
    seal,
    seal_bundles,
    unseal,
)
from mpc_sequencer.dark.field import from_bytes
from mpc_sequencer.dark.inputs import (
    BAD,
    MISSING,
    SEAL_BYTES,
    Complaint,
    DarkOrder,
    Delivery,
    OpenedBundle,
    ShareBundle,
)
from mpc_sequencer.dark.layout import Deposit, Layout, encode_order
from mpc_sequencer.dark.params import PRIME
from mpc_sequencer.dark.sharing import interpolate

C = committee()
CONTEXT = C.context
COLUMNS = Layout.of(CONTEXT.params).columns


def shares_of(prepared: PreparedOrder, party: int, of: Committee = C) -> bytes:
    return open_delivery(of.context, party, of.secrets[party], prepared.deliveries[party])


def plaintext_of(prepared: PreparedOrder, party: int) -> bytes:
    return unseal(C.secrets[party], prepared.deliveries[party].sealed)


def complaint(party: int, order_id: bytes, kind: int = BAD, of: Committee = C) -> Complaint:
    fields = (of.context.epoch, of.context.batch, of.context.market, party, order_id, kind)
    digest = of.context.digest(Complaint(*fields, NO_SIGNATURE).struct_hash())
    return Complaint(*fields, of.signers[party].sign_digest(digest))


def test_t_plus_one_parties_have_the_row_and_each_gets_its_own_shares() -> None:
    prepared = order(CONTEXT)
    check_order(CONTEXT, prepared.order)
    shares = {party: from_bytes(shares_of(prepared, party), COLUMNS) for party in range(5)}
    row = interpolate({party: shares[party] for party in (1, 4)})
    assert row[2] == 7 and np.count_nonzero(row[:16]) == 1
    assert np.array_equal(row, interpolate(shares))
    expected = encode_order(CONTEXT.params, 1, 110, 7, Deposit(9_000, 40), int(row[-1]))
    assert np.array_equal(row, expected)
    assert len({bytes(one) for one in map(lambda p: shares_of(prepared, p), range(5))}) == 5


def test_shares_masks_and_salts_are_fresh_for_every_order_even_under_one_seed() -> None:
    """A seed used again by mistake puts no two rows on one polynomial: the difference would show both."""
    seed = secret("again")
    one = order(CONTEXT, seed=seed)
    for other in (
        order(CONTEXT, nonce=2, seed=seed),
        order(CONTEXT, quantity_lots=8, seed=seed),
        order(CONTEXT, side=SELL, seed=seed),
        order(CONTEXT, deposit=Deposit(9_001, 40), seed=seed),
    ):
        difference = (
            from_bytes(shares_of(one, 0), COLUMNS) - from_bytes(shares_of(other, 0), COLUMNS)
        ) % PRIME
        assert np.count_nonzero(difference > 1 << 60) == COLUMNS
        salts = {decode(ShareBundle, plaintext_of(each, 0)).salt for each in (one, other)}
        assert len(salts) == 2
    again = order(CONTEXT, seed=seed)
    assert again.order == one.order and again.deliveries == one.deliveries


def test_a_guess_of_the_row_and_t_shares_cannot_be_tried_on_the_hash_of_another_bundle() -> None:
    """Two points fix a line: who has one share and guesses the row has all shares. The salt is what is left."""
    prepared = order(CONTEXT)
    corrupt, other = decode(ShareBundle, plaintext_of(prepared, 0)), decode(ShareBundle, plaintext_of(prepared, 1))
    mine = from_bytes(corrupt.shares, COLUMNS)
    row = interpolate({party: from_bytes(shares_of(prepared, party), COLUMNS) for party in (2, 3)})  # guessed right
    guessed = (2 * mine - row) % PRIME  # the line through (0, row) and (1, mine) at 2
    assert np.array_equal(guessed, from_bytes(other.shares, COLUMNS))
    named = prepared.deliveries[1].plaintext_hash
    assert tags.BUNDLE(encode(other)) == named
    assert tags.BUNDLE(encode(replace(other, salt=corrupt.salt))) != named
    salts = [decode(ShareBundle, plaintext_of(prepared, party)).salt for party in range(5)]
    assert len(set(salts)) == 5 and all(len(set(salt)) > 8 for salt in salts)


@settings(max_examples=25)
@given(st.binary(max_size=200), st.binary(min_size=32, max_size=32))
def test_a_sealed_bundle_is_a_sealed_box_of_libsodium(plaintext: bytes, ephemeral: bytes) -> None:
    key = PrivateKey(C.secrets[0])
    sealed = seal(bytes(key.public_key), plaintext, ephemeral)
    assert SealedBox(key).decrypt(sealed) == plaintext == unseal(C.secrets[0], sealed)
    assert len(sealed) == len(plaintext) + SEAL_BYTES
    assert unseal(C.secrets[0], SealedBox(key.public_key).encrypt(plaintext)) == plaintext
    with refused("dark.sealing"):
        unseal(C.secrets[1], sealed)


@pytest.mark.parametrize("size", [0, 31, 47])
def test_bytes_that_are_no_sealed_box_are_refused(size: int) -> None:
    with refused("dark.sealing"):
        unseal(C.secrets[0], bytes(size))
    with refused("dark.sealing"):
        unseal(C.secrets[0], bytes(32) + b"\x01" * size)


def test_a_bundle_has_the_size_that_docs_tell() -> None:
    sealed = order(CONTEXT).deliveries[0].sealed
    assert 12 * COLUMNS < len(sealed) < 12 * COLUMNS + 160


# --- the order ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("code", "changed"),
    [
        ("epoch.unknown", {"epoch": 4}),
        ("dark.batch", {"batch": 18}),
        ("dark.market", {"market": 3}),
        ("label.validity", {"valid_until_ms": 1_000_000}),
        ("label.validity", {"valid_until_ms": 9_000_000}),
        ("dark.deposit", {"quote_tick_lots": 1 << 14}),
        ("dark.deposit", {"base_lots": 64}),
        ("signature.signer", {"nonce": 2}),
        ("signature.signer", {"base_lots": 39}),
        ("signature.signer", {"trader": trader(1).address}),
        ("signature.signer", {"bundles_root": b"\x01" * 32}),
    ],
)
def test_changed_terms_are_refused(code: str, changed: dict[str, object]) -> None:
    good = order(CONTEXT).order
    with refused(code):
        check_order(CONTEXT, replace(good, terms=replace(good.terms, **changed)))


def test_an_order_of_another_deployment_is_refused() -> None:
    elsewhere = committee()
    object.__setattr__(elsewhere.context, "separator", b"\x07" * 32)
    with refused("signature.signer"):
        check_order(CONTEXT, order(elsewhere.context).order)


def test_an_order_is_named_by_its_terms_alone() -> None:
    good = order(CONTEXT).order
    assert DarkOrder(1, good.terms, NO_SIGNATURE).order_id() == good.order_id()
    assert order(CONTEXT, nonce=2).order.order_id() != good.order_id()


def test_the_window_counts_at_the_close() -> None:
    terms_ = order(CONTEXT).order.terms
    check_window(terms_, terms_.valid_from_ms)
    check_window(terms_, terms_.valid_until_ms - 1)
    with refused("label.expired"):
        check_window(terms_, terms_.valid_until_ms)
    with refused("label.not_yet_valid"):
        check_window(terms_, terms_.valid_from_ms - 1)


# --- deliveries ---------------------------------------------------------------------------------------------------
def test_sealed_bytes_that_the_trader_did_not_sign_for_are_no_delivery() -> None:
    mine, other = order(CONTEXT).deliveries, order(CONTEXT, nonce=2).deliveries
    check_delivery(CONTEXT, mine[1])
    path, sealed = mine[1].path, mine[1].sealed
    for bad in (
        replace(mine[1], sealed=sealed[:-1] + bytes([sealed[-1] ^ 1])),
        replace(mine[1], sealed=other[1].sealed),
        replace(mine[1], plaintext_hash=other[1].plaintext_hash),
        replace(mine[1], party=2),
        replace(mine[2], party=1),
        replace(mine[1], path=path[:-1]),
        replace(mine[1], path=(*path, path[0])),
        replace(mine[1], path=tuple(reversed(path))),
        replace(mine[1], path=mine[2].path),
        replace(mine[1], party=39),
        replace(other[1], order=mine[1].order),
    ):
        with refused("dark.leaf"):
            check_delivery(CONTEXT, bad)


@pytest.mark.parametrize(
    ("code", "changed"),
    [
        ("epoch.unknown", {"epoch": 4}),
        ("dark.batch", {"batch": 16}),
        ("dark.market", {"market": 0}),
        ("dark.trader", {"trader": trader(1).address}),
        ("dark.bundle_nonce", {"nonce": 2}),
        ("dark.party", {"party": 1}),
        ("dark.length", {"shares": bytes(12 * COLUMNS - 12)}),
        ("dark.length", {"shares": bytes(12 * COLUMNS + 12)}),
        ("dark.length", {"shares": bytes(12 * COLUMNS - 1)}),
        ("dark.element", {"shares": bytes(12 * (COLUMNS - 1)) + PRIME.to_bytes(12, "little")}),
        ("dark.element", {"shares": b"\xff" * (12 * COLUMNS)}),
    ],
)
def test_a_bundle_that_is_not_for_this_party_and_order_is_refused(code: str, changed: dict[str, object]) -> None:
    """Signed for by its trader, opened by its party, and of another batch, order, party, or no shares at all."""
    prepared = order(CONTEXT)
    bundle = decode(ShareBundle, plaintext_of(prepared, 0))
    assert check_plaintext(CONTEXT, prepared.order.terms, 0, encode(bundle)) == bundle.shares
    bad = seal_with(prepared, 0, encode(replace(bundle, **changed)))
    check_delivery(CONTEXT, bad.deliveries[0])
    with refused(code):
        shares_of(bad, 0)
    shares_of(bad, 1)


@pytest.mark.parametrize(
    ("code", "change"),
    [
        ("wire.malformed", lambda data: data[:-1]),
        ("wire.malformed", lambda data: data + b"\x00"),
        ("wire.malformed", lambda data: b""),
        ("wire.canonical", lambda data: data.replace(bytes([1, 3, 17]), bytes([1, 0xCC, 3, 17]), 1)),
        ("wire.size", lambda data: data + bytes(1 << 16)),
    ],
)
def test_bytes_that_are_no_bundle_are_refused(code: str, change: object) -> None:
    prepared = order(CONTEXT)
    bad = seal_with(prepared, 0, change(plaintext_of(prepared, 0)))  # type: ignore[operator]
    with refused(code):
        shares_of(bad, 0)


def seal_with(prepared: PreparedOrder, party: int, plaintext: bytes) -> PreparedOrder:
    """The same order with another bundle for ``party``, all of it signed for by the trader."""
    plaintexts = [plaintext_of(prepared, each) for each in range(5)]
    plaintexts[party] = plaintext
    return seal_bundles(CONTEXT, trader(), prepared.order.terms, tuple(plaintexts), secret("reseal"))


def test_a_copied_bundle_is_refused_under_the_copier_s_name() -> None:
    """Whoever copies sealed bundles signs his own order over them; the victim's name is inside."""
    victim = order(CONTEXT, number=0)
    thief = trader(1)
    plaintexts = tuple(plaintext_of(victim, party) for party in range(5))
    copied = seal_bundles(CONTEXT, thief, terms(CONTEXT, 1), plaintexts, secret("thief"))
    check_order(CONTEXT, copied.order)
    # the very sealed bytes of the victim, under a root of the thief's: the paths of both trees agree where leaves do
    leaves = [one.plaintext_hash for one in victim.deliveries]
    assert leaves == [one.plaintext_hash for one in copied.deliveries]
    for party in range(5):
        check_delivery(CONTEXT, copied.deliveries[party])
        with refused("dark.trader"):
            shares_of(copied, party)


def test_the_hash_that_is_signed_for_is_that_of_the_plaintext() -> None:
    """Else a trader could deal one thing and open another."""
    prepared = order(CONTEXT)
    plaintexts = [plaintext_of(prepared, party) for party in range(5)]
    bundle = decode(ShareBundle, plaintexts[0])
    other = encode(replace(bundle, salt=bytes(32)))
    bad = seal_bundles(CONTEXT, trader(), prepared.order.terms, tuple(plaintexts), secret("s"))
    sealed = seal(CONTEXT.sealing_keys[0], other, secret("e"))
    leaves = [tags.BUNDLE_LEAF(one.plaintext_hash, hashlib.sha256(one.sealed).digest()) for one in bad.deliveries]
    leaves[0] = tags.BUNDLE_LEAF(bad.deliveries[0].plaintext_hash, hashlib.sha256(sealed).digest())
    delivery = resigned(leaves, replace(bad.deliveries[0], sealed=sealed))
    check_delivery(CONTEXT, delivery)
    with refused("dark.plaintext_hash"):
        open_delivery(CONTEXT, 0, C.secrets[0], delivery)


def resigned(leaves: list[bytes], delivery: Delivery) -> Delivery:
    from mpc_sequencer.core.merkle import merkle_path, merkle_root

    changed = replace(delivery.order.terms, bundles_root=merkle_root(leaves, tags.BUNDLE_NODE))
    signature = trader().sign_digest(CONTEXT.digest(changed.struct_hash()))
    path = merkle_path(leaves, delivery.party, tags.BUNDLE_NODE)
    return replace(delivery, order=DarkOrder(1, changed, signature), path=path)


# --- complaints ---------------------------------------------------------------------------------------------------
def test_a_bad_complaint_is_answered_by_that_one_bundle_in_the_open() -> None:
    prepared = order(CONTEXT)
    opened = prepared.answer(complaint(3, prepared.order.order_id()))
    assert isinstance(opened, OpenedBundle)
    assert check_opened(CONTEXT, prepared.order, opened) == shares_of(prepared, 3)


def test_a_missing_complaint_is_answered_by_the_sealed_bundle() -> None:
    prepared = order(CONTEXT)
    for party in range(5):
        assert prepared.answer(complaint(party, prepared.order.order_id(), MISSING)) is prepared.deliveries[party]


def test_the_trader_opens_no_more_than_t_bundles_whoever_complains() -> None:
    prepared = order(CONTEXT)
    prepared.answer(complaint(3, prepared.order.order_id()))
    prepared.answer(complaint(3, prepared.order.order_id()))
    with refused("dark.openings"):
        prepared.answer(complaint(2, prepared.order.order_id()))
    prepared.answer(complaint(3, prepared.order.order_id()))


def test_an_unsigned_complaint_or_one_about_another_order_opens_nothing() -> None:
    prepared = order(CONTEXT)
    good = complaint(3, prepared.order.order_id())
    check_complaint(CONTEXT, good)
    for code, bad in (
        ("signature.signer", replace(good, party=2)),
        ("signature.signer", replace(good, kind=MISSING)),
        ("signature.encoding", replace(good, signature=NO_SIGNATURE)),
        ("member.unknown", replace(good, party=5)),
        ("dark.batch", replace(good, batch=1)),
        ("epoch.unknown", replace(good, epoch=1)),
        ("dark.market", replace(good, market=1)),
        ("dark.unknown_order", complaint(3, order(CONTEXT, nonce=2).order.order_id())),
    ):
        with refused(code):
            prepared.answer(bad)
    assert prepared.answer(complaint(1, prepared.order.order_id()))  # none of these took the one opening


def test_a_wrong_opening_is_refused() -> None:
    prepared, other = order(CONTEXT), order(CONTEXT, nonce=2)
    order_id = prepared.order.order_id()
    opened, foreign = prepared.answer(complaint(3, order_id)), other.answer(complaint(3, other.order.order_id()))
    assert isinstance(opened, OpenedBundle) and isinstance(foreign, OpenedBundle)
    bundle = decode(ShareBundle, opened.plaintext)
    for code, bad in (
        ("dark.unknown_order", foreign),
        ("dark.leaf", replace(foreign, order_id=order_id)),
        ("dark.leaf", replace(opened, party=2)),
        ("dark.leaf", replace(opened, plaintext=encode(replace(bundle, salt=bytes(32))))),
        ("dark.leaf", replace(opened, plaintext=encode(replace(bundle, shares=bytes(12 * COLUMNS))))),
        ("dark.leaf", replace(opened, sealed_hash=bytes(32))),
        ("dark.leaf", replace(opened, path=opened.path[1:])),
    ):
        with refused(code):
            check_opened(CONTEXT, prepared.order, bad)


# --- secrets ------------------------------------------------------------------------------------------------------
def test_nothing_secret_is_shown_or_pickled() -> None:
    prepared = order(CONTEXT)
    bundle = decode(ShareBundle, plaintext_of(prepared, 0))
    for shown in (repr(prepared), repr(bundle), str(bundle)):
        assert bundle.shares.hex()[:16] not in shown and bundle.salt.hex() not in shown
        assert repr(bundle.shares)[2:20] not in shown and repr(bundle.salt)[2:20] not in shown
    with pytest.raises(TypeError):
        pickle.dumps(prepared)


def test_t_bundles_are_independent_of_the_row() -> None:
    """One share of a column is uniform whatever the column holds: of two rows, over seeds, the same counts."""
    seen: list[Counter[int]] = []
    for side in (1, SELL):
        row = encode_order(CONTEXT.params, side, 110, 7, Deposit(9_000, 40), 1)
        counts: Counter[int] = Counter()
        for number in range(60):
            prepared = prepare_row(CONTEXT, trader(), terms(CONTEXT), row, secret("uniform", side, number))
            counts.update(int(one) >> 92 for one in from_bytes(shares_of(prepared, 0), COLUMNS)[:16])
        seen.append(counts)
    for counts in seen:  # 960 draws of 4 equal quarters: 240 each, deviation 13.4
        assert all(abs(counts[quarter] - 240) < 80 for quarter in range(4))


def test_a_seed_of_another_size_is_a_misuse() -> None:
    with pytest.raises(ValueError, match="seed of 31 bytes"):
        order(CONTEXT, seed=bytes(31))
