"""The coin of a block: one value whoever combines, and no share counts that is not proven."""

import copy
import importlib.util
import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations, permutations
from pathlib import Path
from typing import Any

import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st
from sealing_kit import Committee, other_contexts, refusal, seeded

import threshold
from threshold import COIN_SHARE_BYTES, BundleContext, SecretShare, VerifiedCoinShare, group
from threshold.coin import COIN_DST
from threshold.errors import UsageError

VECTORS_FOLDER = Path(__file__).parent.parent / "vectors"
FILE: dict[str, Any] = json.loads((VECTORS_FOLDER / "coin.json").read_text())
FOUR = Committee.dealt()
CONTEXT = BundleContext(FOUR.key.key_id, 3, seeded("block"), 2)
ENTROPY = seeded("entropy")
KEYS = FOUR.dealing.verification_keys
SECRET = FOUR.dealing.shares[1]
SHARE = threshold.coin_share(SECRET, CONTEXT, entropy=ENTROPY)


def packed(context: BundleContext) -> bytes:
    epoch, index = context.epoch.to_bytes(8, "big"), context.index.to_bytes(2, "big")
    return context.key_id + epoch + context.block_id + index


def number(secret: SecretShare) -> int:
    return int.from_bytes(secret.nonce_material(), "big")


def verified(committee: Committee, context: BundleContext = CONTEXT) -> list[VerifiedCoinShare]:
    """Every member's coin share for the context's block, verified."""
    shares = []
    for secret, key in zip(committee.dealing.shares, committee.dealing.verification_keys, strict=True):
        of_member = replace(context, index=secret.index)
        data = threshold.coin_share(secret, of_member, entropy=ENTROPY)
        shares.append(threshold.verify_coin_share(key, of_member, data))
    return shares


# -- one coin -----------------------------------------------------------------------------------------------


def test_any_t_members_in_any_order_give_the_same_coin() -> None:
    all_shares = verified(FOUR)
    coins = {threshold.combine_coin(chosen, 3) for chosen in permutations(all_shares, 3)}
    assert len(coins) == 1 and len(coins.pop()) == 32


@pytest.mark.parametrize(("n", "t"), [(4, 2), (7, 5)])
def test_any_t_of_other_committees_give_the_same_coin(n: int, t: int) -> None:
    all_shares = verified(Committee.dealt(n, t))
    assert len({threshold.combine_coin(chosen, t) for chosen in combinations(all_shares, t)}) == 1


def test_the_coin_is_the_one_the_whole_key_gives() -> None:
    """What the shares interpolate to is x H, hashed: nobody's shares, entropy or indexes enter it."""
    x = sum(
        reference.lagrange(secret.index, [1, 2, 3]) * number(secret) for secret in FOUR.dealing.shares[:3]
    )
    base = reference.hash_to_curve(CONTEXT.key_id + CONTEXT.block_id, b"MPCSEQ-V1-COIN")
    expected = reference.tagged("MPCSEQ/v1/coin", reference.compress(reference.multiply(x, base)))
    assert threshold.combine_coin(verified(FOUR)[:3], 3) == expected


def test_another_block_or_key_has_another_coin_and_another_epoch_of_one_key_the_same() -> None:
    coin = threshold.combine_coin(verified(FOUR)[:3], 3)
    for other in (replace(CONTEXT, block_id=seeded("other")), replace(CONTEXT, key_id=seeded("other"))):
        assert threshold.combine_coin(verified(FOUR, other)[:3], 3) != coin
    assert threshold.combine_coin(verified(FOUR, replace(CONTEXT, epoch=4))[:3], 3) == coin
    assert COIN_DST == b"MPCSEQ-V1-COIN"


def test_t_minus_1_shares_are_refused_and_so_are_more_than_t() -> None:
    all_shares = verified(FOUR)
    for chosen in (all_shares[:2], all_shares, []):
        with refusal("share.count"):
            threshold.combine_coin(chosen, 3)
    with refusal("share.count"):
        threshold.combine_coin([], 0)


def test_shares_of_one_member_twice_or_of_different_blocks_keys_or_epochs_are_not_combined() -> None:
    one, two, three, _ = verified(FOUR)
    with pytest.raises(UsageError):
        threshold.combine_coin([one, two, two], 3)
    for changes in ({"block_id": seeded("other")}, {"key_id": seeded("other")}, {"epoch": 9}):
        stranger = verified(FOUR, replace(CONTEXT, **changes))[3]
        with pytest.raises(UsageError):
            threshold.combine_coin([one, two, stranger], 3)
    assert len(threshold.combine_coin([one, two, three], 3)) == 32


def test_only_verified_shares_are_combined() -> None:
    one, two, _, _ = verified(FOUR)
    with pytest.raises(TypeError):
        threshold.combine_coin([one, two, SHARE], 3)  # type: ignore[list-item]
    with pytest.raises(TypeError):
        VerifiedCoinShare(CONTEXT, SHARE, object())
    makers: list[Callable[[VerifiedCoinShare], object]] = [copy.copy, copy.deepcopy, pickle.dumps]
    for make in makers:
        with pytest.raises(TypeError):
            make(one)
    for change in (
        lambda: setattr(one, "point", two.point),
        lambda: delattr(one, "point"),
        lambda: setattr(one, "context", CONTEXT),
    ):
        with pytest.raises(TypeError):
            change()


# -- no share without its proof -----------------------------------------------------------------------------


def test_an_honest_share_verifies_and_is_97_bytes() -> None:
    share = threshold.verify_coin_share(KEYS[1], CONTEXT, SHARE)
    assert share.context == CONTEXT and share.encoded == SHARE and len(SHARE) == COIN_SHARE_BYTES == 97
    assert group.encode_point(share.point) == SHARE[:33]


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 2**64 - 1), st.integers(1, 4), st.binary(min_size=32, max_size=32), st.text())
def test_both_implementations_make_the_same_bytes_and_accept_each_other(
    epoch: int, index: int, entropy: bytes, block: str
) -> None:
    secret = FOUR.dealing.shares[index - 1]
    context = BundleContext(FOUR.key.key_id, epoch, seeded(block), index)
    data = threshold.coin_share(secret, context, entropy=entropy)
    assert data == reference.coin_share(number(secret), packed(context), entropy)
    assert reference.verify_coin_share(KEYS[index - 1], packed(context), data)
    threshold.verify_coin_share(KEYS[index - 1], context, data)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, COIN_SHARE_BYTES * 8 - 1))
def test_no_bit_of_a_share_can_be_changed(bit: int) -> None:
    bent = int.from_bytes(SHARE, "big") ^ 1 << bit
    with pytest.raises(threshold.ThresholdError):
        threshold.verify_coin_share(KEYS[1], CONTEXT, bent.to_bytes(COIN_SHARE_BYTES, "big"))


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=2 * COIN_SHARE_BYTES) | st.binary(min_size=97, max_size=97))
def test_garbage_is_refused_with_a_code(data: bytes) -> None:
    with pytest.raises(threshold.ThresholdError):
        threshold.verify_coin_share(KEYS[1], CONTEXT, data)


@other_contexts(CONTEXT)
def test_a_share_of_another_block_epoch_index_or_key_is_refused(context: BundleContext) -> None:
    with refusal("coin.proof"):
        threshold.verify_coin_share(KEYS[1], context, SHARE)


def test_a_share_does_not_verify_under_another_members_key() -> None:
    for other in (KEYS[0], FOUR.key.public_key):
        with refusal("coin.proof"):
            threshold.verify_coin_share(other, CONTEXT, SHARE)


@pytest.mark.parametrize("times", [1, -1, 2**200])
def test_a_bent_share_with_its_own_well_made_proof_is_refused(times: int) -> None:
    """The member proves its key's logarithm truly and bends C alone: only the second equation sees it."""
    bent = reference.compress(
        reference.add(reference.decompress(SHARE[:33]), reference.multiply(times, reference.G))
    )
    data = reference.proven_coin_share(number(SECRET), packed(CONTEXT), bent, ENTROPY)
    with refusal("coin.proof"):
        threshold.verify_coin_share(KEYS[1], CONTEXT, data)


def test_a_share_of_a_key_of_the_members_own_making_is_refused() -> None:
    """C = x' H with a proof for x' that hashes the member's Y: only the first equation sees it."""
    base = reference.coin_base(packed(CONTEXT))
    x, a = 12_345, 67_890
    image = reference.compress(reference.multiply(x, base))
    commitments = reference.compress(reference.multiply(a, reference.G))
    commitments += reference.compress(reference.multiply(a, base))
    c = reference.coin_challenge(packed(CONTEXT), KEYS[1], image, commitments)
    data = image + c.to_bytes(32, "big") + ((a + c * x) % group.N).to_bytes(32, "big")
    with refusal("coin.proof"):
        threshold.verify_coin_share(KEYS[1], CONTEXT, data)


def test_a_verification_key_that_is_no_point_is_refused() -> None:
    with refusal("point.infinity"):
        threshold.verify_coin_share(bytes(33), CONTEXT, SHARE)


def test_the_nonce_depends_on_entropy_and_on_what_is_proven() -> None:
    """Two responses under one nonce give the key away: z - z' = (c - c') x."""
    x = number(SECRET)
    nonces = set()
    contexts = [CONTEXT, replace(CONTEXT, epoch=9), replace(CONTEXT, block_id=seeded("other"))]
    for context, entropy in [(context, ENTROPY) for context in contexts] + [(CONTEXT, seeded("other"))]:
        data = threshold.coin_share(SECRET, context, entropy=entropy)
        c, z = (int.from_bytes(part, "big") for part in (data[33:65], data[65:]))
        nonces.add((z - c * x) % group.N)
    assert len(nonces) == 4


def test_misuse_by_the_prover_is_refused() -> None:
    with pytest.raises(UsageError):
        threshold.coin_share(SECRET, replace(CONTEXT, index=1), entropy=ENTROPY)
    for entropy in (b"", ENTROPY[:-1], ENTROPY + b"\0"):
        with pytest.raises(UsageError):
            threshold.coin_share(SECRET, CONTEXT, entropy=entropy)
    erased = SecretShare(2, SECRET.nonce_material())
    erased.erase()
    with pytest.raises(UsageError):
        threshold.coin_share(erased, CONTEXT, entropy=ENTROPY)


# -- published vectors --------------------------------------------------------------------------------------


def test_the_file_is_what_its_script_makes() -> None:
    spec = importlib.util.spec_from_file_location("make_coin", VECTORS_FOLDER / "make_coin.py")
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert script.main(["--check"]) == 0


@pytest.mark.parametrize("vector", FILE["coins"], ids=lambda vector: vector["name"])
def test_coins(vector: dict[str, Any]) -> None:
    shares = []
    key_id, block_id = bytes.fromhex(FILE["key_id"]), bytes.fromhex(vector["block_id"])
    assert threshold.hash_to_curve(key_id + block_id, COIN_DST).hex() == vector["base"]
    for index, made in vector["shares"].items():
        context = BundleContext(key_id, vector["epoch"], block_id, int(index))
        secret = SecretShare(int(index), bytes.fromhex(FILE["secret_shares"][index]))
        data = threshold.coin_share(secret, context, entropy=bytes.fromhex(made["entropy"]))
        assert data.hex() == made["share"]
        key = bytes.fromhex(FILE["verification_keys"][index])
        shares.append(threshold.verify_coin_share(key, context, data))
    for chosen in combinations(shares, FILE["t"]):
        assert threshold.combine_coin(chosen, FILE["t"]).hex() == vector["coin"]


@pytest.mark.parametrize("vector", FILE["refused"], ids=lambda vector: vector["name"])
def test_refused(vector: dict[str, Any]) -> None:
    claimed = FILE["refused_for"]
    context = BundleContext(
        bytes.fromhex(FILE["key_id"]), claimed["epoch"], bytes.fromhex(claimed["block_id"]), claimed["index"]
    )
    key = bytes.fromhex(FILE["verification_keys"][str(claimed["index"])])
    with refusal(vector["error"]):
        threshold.verify_coin_share(key, context, bytes.fromhex(vector["share"]))
