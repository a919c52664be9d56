"""Evidence of bad shares under a generated key: the file carries the key that decides, with q members' word for it. By
a key that is not proven, or of an attempt that failed, nobody is convicted."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from typing import Any

import msgspec
import pytest
from core_kit import refused, sign
from offences_kit import reveal
from session_kit import late_certificate

from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.evidence import decode_file, encode_file, verify, verify_file
from mpc_sequencer.core.keys import establish
from mpc_sequencer.core.offences import (
    KIND_NAMES,
    BadCoinShare,
    BadShares,
    KeyPin,
    Offence,
    SealedBytes,
)
from mpc_sequencer.core.types import Block, Bundle
from mpc_sequencer.sim import Cluster, make_deployment

D = make_deployment(4, generated=True)
GIVEN = make_deployment(4)
GUILTY = 1
replace = msgspec.structs.replace


@cache
def generated() -> tuple[Committee, Bundle, Block, tuple[SealedBytes, ...]]:
    """A committee that made its key, an honest bundle of GUILTY, its block, the batch's orders."""
    d = make_deployment(4, generated=True)
    cluster = Cluster(d)
    assert cluster.run(60_000, until=lambda c: all(core.keygen.certificate for core in c.cores))
    own = cluster.cores[0].committee
    certificate = own.sharing(0).certificate
    assert certificate is not None
    establish(d.committee, certificate)
    return own, *reveal(cluster, GUILTY, 2)


def pin(**terms: Any) -> KeyPin:
    _, _, block, orders = generated()
    made = KeyPin(block.header, block.batch, orders[0].label, hashlib.sha256(orders[0].ciphertext).digest())
    return replace(made, **terms)


def bad_coin(bundle: Bundle | None = None, **terms: Any) -> BadCoinShare:
    if bundle is None:
        bundle = sign(D, GUILTY, replace(generated()[1], coin_share=bytes(97)))
    return replace(BadCoinShare(bundle, pin()), **terms)


def bad_shares(bundle: Bundle | None = None) -> BadShares:
    _, good, block, orders = generated()
    if bundle is None:
        bundle = sign(D, GUILTY, replace(good, shares=good.shares[::-1]))
    return BadShares(bundle, block.header, block.batch, orders)


@pytest.mark.parametrize("make", [bad_coin, bad_shares])
def test_a_file_carries_the_key_that_decides(make: Callable[[], Offence]) -> None:
    own = generated()[0]
    file = decode_file(encode_file(make(), own))
    assert file.key is not None and file.key == own.sharing(0).certificate
    verdict = verify_file(file, Committee(D.committee.genesis))
    assert (verdict.node, verdict.kind) == (GUILTY, KIND_NAMES[type(make())])
    assert verify(make(), own) == verdict


@pytest.mark.parametrize("make", [bad_coin, bad_shares])
@pytest.mark.parametrize("fault", ["none", "a signature less", "signed by others", "another result", "another epoch"])
def test_a_key_that_is_not_proven_convicts_nobody(make: Callable[[], Offence], fault: str) -> None:
    file = decode_file(encode_file(make(), generated()[0]))
    key = file.key
    assert key is not None
    others = tuple(replace(one, signature=key.ready[0].signature) for one in key.ready)
    bent = {
        "none": None,
        "a signature less": replace(key, ready=key.ready[:2]),
        "signed by others": replace(key, ready=others),
        "another result": replace(key, result=late_certificate(D).result),
        "another epoch": replace(key, epoch=1),
    }[fault]
    with refused("evidence.key"):
        verify_file(replace(file, key=bent), Committee(D.committee.genesis))


@pytest.mark.parametrize("make", [bad_coin, bad_shares])
def test_honest_shares_beside_the_key_of_a_failed_attempt_convict_nobody(make: Callable[..., Offence]) -> None:
    """q members did sign for that key, and by it the shares are wrong: but the bundle names another sharing."""
    honest_one = make(generated()[1])
    file = decode_file(encode_file(honest_one, generated()[0]))
    with refused("evidence.legal"):
        verify_file(file, Committee(D.committee.genesis))
    with refused("evidence.key"):
        verify_file(replace(file, key=late_certificate(D)), Committee(D.committee.genesis))


@pytest.mark.parametrize(
    "bent",
    [
        lambda: None,
        lambda: pin(header=replace(generated()[2].header, time_ms=1)),
        lambda: pin(batch=generated()[2].batch[::-1]),
        lambda: pin(ciphertext_hash=bytes(32)),
        lambda: pin(label=generated()[3][1].label),
        lambda: pin(label=bytes(101)),
    ],
)
def test_a_coin_share_needs_all_that_pins_its_key(bent: Callable[[], KeyPin | None]) -> None:
    with refused("evidence.pinned"):
        verify(bad_coin(pin=bent()), generated()[0])


def test_a_coin_share_whose_key_nobody_has_is_refused() -> None:
    with refused("evidence.key"):
        verify(bad_coin(), Committee(D.committee.genesis))
