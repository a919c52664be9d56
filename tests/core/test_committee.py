"""A committee is safe or it is not made: sizes, thresholds, keys of its own; certificates of q distinct members."""

import re

import msgspec
import pytest
from core_kit import make_certificate, refused

from mpc_sequencer.core import limits
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.errors import ConfigError
from mpc_sequencer.core.types import FINALIZE, NOTARIZE, NULLIFY, Receipt
from mpc_sequencer.market import DARK, DarkGrid
from mpc_sequencer.node.snapshots import SNAPSHOT_INTERVAL_MS
from mpc_sequencer.sim import make_deployment

D = make_deployment(7)
BLOCK = b"\x0b" * 32


@pytest.mark.parametrize(("n", "f", "q"), [(4, 1, 3), (5, 1, 4), (6, 1, 5), (7, 2, 5), (10, 3, 7), (13, 4, 9)])
def test_f_and_q_follow_from_n(n: int, f: int, q: int) -> None:
    committee = make_deployment(n).committee
    assert (committee.f, committee.q) == (f, q)
    assert n >= 3 * committee.f + 1
    assert 2 * q - n > f, "two quorums share an honest member"


@pytest.mark.parametrize(("n", "t"), [(4, 1), (4, 4), (7, 2), (7, 6), (4, 0)])
def test_a_threshold_outside_f_plus_1_to_q_is_refused(n: int, t: int) -> None:
    genesis = msgspec.structs.replace(make_deployment(n).committee.genesis, threshold=t)
    with pytest.raises(ConfigError, match="unsafe") as info:
        Committee(genesis)
    assert info.value.hint


@pytest.mark.parametrize(("n", "t"), [(4, 2), (4, 3), (7, 3), (7, 5)])
def test_every_threshold_from_f_plus_1_to_q_is_taken(n: int, t: int) -> None:
    genesis = msgspec.structs.replace(make_deployment(n).committee.genesis, threshold=t)
    assert Committee(genesis).t == t


def test_sizes_keys_and_order_of_members_are_checked() -> None:
    genesis = D.committee.genesis
    members = genesis.members
    for bad, text in [
        (members[:3], "3 members is unsafe"),
        (members * 10, "70 members is unsafe"),
        ((members[0], members[0], *members[2:]), "share a key"),
        (members[::-1], "ascending"),
        ((msgspec.structs.replace(members[0], consensus_key=b"\x02" + b"\xff" * 32), *members[1:]), "not a point"),
        ((msgspec.structs.replace(members[0], log_key=members[1].log_key), *members[1:]), "share a key"),
    ]:
        with pytest.raises(ConfigError, match=text):
            Committee(msgspec.structs.replace(genesis, members=bad))


@pytest.mark.parametrize("interval_ms", [1, limits.KEY_REFRESH_MS_MIN - 1])
def test_a_key_shared_anew_too_often_is_refused(interval_ms: int) -> None:
    with pytest.raises(ConfigError, match=f"key_refresh_ms is {interval_ms}") as info:
        Committee(msgspec.structs.replace(D.committee.genesis, key_refresh_ms=interval_ms))
    assert str(limits.KEY_REFRESH_MS_MIN) in (info.value.hint or "")


@pytest.mark.parametrize("interval_ms", [0, limits.KEY_REFRESH_MS_MIN, 86_400_000])
def test_a_key_may_be_shared_anew_at_the_bound_or_more_seldom_or_never(interval_ms: int) -> None:
    genesis = msgspec.structs.replace(D.committee.genesis, key_refresh_ms=interval_ms)
    assert Committee(genesis).genesis.key_refresh_ms == interval_ms


def test_the_sharings_kept_reach_back_beyond_a_snapshot() -> None:
    assert limits.SHARINGS_KEPT * limits.KEY_REFRESH_MS_MIN > SNAPSHOT_INTERVAL_MS


NO_POINTS = {
    "one byte": b"\x02",
    "32 bytes": D.committee.genesis.public_key[:-1],
    "33 zero bytes": bytes(33),
    "another prefix": b"\x04" + D.committee.genesis.public_key[1:],
    "off the curve": b"\x02" + bytes(31) + b"\x05",  # 5^3 + 7 is no square
    "x above the field": b"\x02" + b"\xff" * 32,
    "34 bytes": D.committee.genesis.public_key + b"\x00",
}


@pytest.mark.parametrize("key", NO_POINTS.values(), ids=NO_POINTS)
@pytest.mark.parametrize("field", ["public_key", "members[6].verification_key"])
def test_a_given_threshold_key_that_is_no_point_is_refused(field: str, key: bytes) -> None:
    genesis = D.committee.genesis
    assert Committee(genesis).keys is not None
    if field == "public_key":
        bent = msgspec.structs.replace(genesis, public_key=key)
    else:
        last = msgspec.structs.replace(genesis.members[6], verification_key=key)
        bent = msgspec.structs.replace(genesis, members=(*genesis.members[:6], last))
    with pytest.raises(ConfigError, match=re.escape(field)) as info:
        Committee(bent)
    assert info.value.hint


def test_any_part_of_the_genesis_changes_its_id() -> None:
    genesis = D.committee.genesis
    others = [
        msgspec.structs.replace(genesis, chain_id=genesis.chain_id + 1),
        msgspec.structs.replace(genesis, settlement=b"\x01" * 20),
        msgspec.structs.replace(genesis, threshold=4),
        msgspec.structs.replace(genesis, time_ms=genesis.time_ms + 1),
        msgspec.structs.replace(genesis, members=genesis.members[:6]),
    ]
    assert len({one.block_id() for one in (genesis, *others)}) == 6


def test_a_genesis_keeps_its_id_where_no_market_is_dark() -> None:
    pinned = "e3557f3578ac034a2e3268c7e8d68cfe7b52098ed417366fa995c3778e873b01"
    genesis = make_deployment(4).committee.genesis
    assert genesis.block_id().hex() == pinned
    grid = DarkGrid(
        ticks=8, price_first_ticks=1, price_step_ticks=1, quantity_bits=8, slack_bits=16, orders_max=8, interval_ms=1
    )
    dark = msgspec.structs.replace(genesis.markets[0], policy=DARK, dark=grid)
    others = [dark, msgspec.structs.replace(dark, dark=msgspec.structs.replace(grid, interval_ms=2))]
    ids = {msgspec.structs.replace(genesis, markets=(market,)).block_id() for market in others}
    assert len(ids | {genesis.block_id()}) == 3


@pytest.mark.parametrize("kind", [NOTARIZE, FINALIZE])
def test_q_votes_make_a_certificate(kind: int) -> None:
    D.committee.check_certificate(make_certificate(D, kind, 9, BLOCK))
    D.committee.check_certificate(make_certificate(D, kind, 9, BLOCK, nodes=tuple(range(7))))


def test_what_is_short_of_a_certificate_is_refused() -> None:
    check = D.committee.check_certificate
    good = make_certificate(D, FINALIZE, 9, BLOCK)
    with refused("certificate.quorum"):
        check(make_certificate(D, FINALIZE, 9, BLOCK, nodes=(0, 1, 2, 3)))
    with refused("certificate.order"):
        check(make_certificate(D, FINALIZE, 9, BLOCK, nodes=(0, 1, 2, 3, 3)))
    with refused("certificate.order"):
        check(make_certificate(D, FINALIZE, 9, BLOCK, nodes=(1, 0, 2, 3, 4)))
    with refused("epoch.unknown"):
        check(msgspec.structs.replace(good, epoch=1))
    for change in ({"kind": NOTARIZE}, {"kind": NULLIFY}, {"view": 10}, {"block_id": b"\x0c" * 32}):
        with refused("signature.signer"):
            check(msgspec.structs.replace(good, **change))
    stranger = msgspec.structs.replace(good, votes=(*good.votes[:4], type(good.votes[0])(9, good.votes[4].signature)))
    with refused("member.unknown"):
        check(stranger)


def test_votes_verified_before_are_not_verified_again_and_others_are() -> None:
    good = make_certificate(D, FINALIZE, 9, BLOCK)
    known = {(vote.node, vote.signature) for vote in good.votes[:4]}
    bent = msgspec.structs.replace(good, votes=(*good.votes[:4], type(good.votes[0])(4, good.votes[3].signature)))
    with refused("signature.signer"):
        D.committee.check_certificate(bent, known)
    D.committee.check_certificate(good, known)


def test_a_value_of_another_epoch_or_incarnation_is_refused() -> None:
    receipt = Receipt(0, 0, BLOCK, 2, 1, 5, bytes(65))
    for code, change in (("epoch.unknown", {"epoch": 1}), ("incarnation.unknown", {"incarnation": 2})):
        with refused(code):
            D.committee.check_value(msgspec.structs.replace(receipt, **change))
