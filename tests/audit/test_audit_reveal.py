"""One thing wrong in bundles, coins, openings or results is exactly one finding of its own code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mpc_sequencer.audit.reveal import unpadded
from mpc_sequencer.core import transcript
from mpc_sequencer.core.actions import BUY, SELL
from mpc_sequencer.core.types import NOTARIZE
from tests.audit.audited_deployment import deployment, flip, replace, secret
from tests.audit.log_builder import LogBuilder
from tests.audit.log_samples import codes, first_batch
from threshold import BundleContext, coin_share


# --- bundles ----------
def test_share_before_finality(tmp_path: Path) -> None:
    """A bundle whose certificate only notarizes: its member released shares before the block was final."""
    log = LogBuilder()
    first_batch(log)
    notarized = log.certificate(log.blocks[1].header, kind=NOTARIZE)
    log.bundles(1, (0, 2))
    log.append(
        transcript.BundleEntry(log.bundle(1, 1, lambda bundle: replace(bundle, certificate=notarized)))
    )
    assert codes(log, tmp_path) == ["bundle.certificate"]


def test_a_bundle_with_a_certificate_of_q_minus_1_is_share_before_finality(tmp_path: Path) -> None:
    log = LogBuilder()
    first_batch(log)
    short = log.certificate(log.blocks[1].header, nodes=(0, 1))
    log.append(transcript.BundleEntry(log.bundle(1, 1, lambda bundle: replace(bundle, certificate=short))))
    assert codes(log, tmp_path) == ["bundle.certificate"]


BUNDLES: dict[str, Callable[[Any], Any]] = {
    "bundle.block": lambda bundle: replace(bundle, block_id=secret("another block")),
    "bundle.member": lambda bundle: replace(bundle, epoch=1),
    "bundle.shares": lambda bundle: replace(bundle, shares=bundle.shares[:1]),
}


@pytest.mark.parametrize("code", BUNDLES)
def test_a_bundle_that_does_not_count_is_one_finding(code: str, tmp_path: Path) -> None:
    log = LogBuilder()
    first_batch(log)
    log.append(transcript.BundleEntry(log.bundle(1, 1, BUNDLES[code])))
    assert codes(log, tmp_path) == [code]


def test_a_bundle_without_its_proof_is_found(tmp_path: Path) -> None:
    log = LogBuilder()
    first_batch(log)
    log.append(transcript.BundleEntry(log.bundle(1, 1, lambda bundle: replace(bundle, proof=b""))))
    assert codes(log, tmp_path) == ["bundle.shares"]


def test_a_bundle_signed_by_another_member_is_found(tmp_path: Path) -> None:
    log = LogBuilder()
    first_batch(log)
    forged = replace(log.bundle(1, 1), node=2)
    log.append(transcript.BundleEntry(forged))
    assert codes(log, tmp_path) == ["bundle.signature"]


# --- coins ----------
def of_another_block(bundle: Any) -> Any:
    """A coin share the member did make, for another block."""
    house = deployment()
    context = BundleContext(house.committee.sealing_key.key_id, 0, secret("another block"), bundle.node + 1)
    made = coin_share(house.shares[bundle.node], context, entropy=secret("nonce"))
    return replace(bundle, coin_share=made)


BAD_COINS: dict[str, Callable[[Any], Any]] = {
    "bit flipped": lambda bundle: replace(bundle, coin_share=flip(bundle.coin_share)),
    "zeros": lambda bundle: replace(bundle, coin_share=bytes(97)),
    "of another block": of_another_block,
}


def with_coins(good: tuple[int, ...], bad: Callable[[Any], Any] | None = None) -> LogBuilder:
    """A whole height, its bundles by ``good`` and a last one of member 1 edited by ``bad``."""
    log = LogBuilder()
    order_ids = first_batch(log)
    log.bundles(1, good)
    if bad is not None:
        log.append(transcript.BundleEntry(log.bundle(1, 1, bad)))
    for order_id in order_ids:
        log.open(1, order_id)
    return log


@pytest.mark.parametrize("bad", BAD_COINS)
def test_a_bad_coin_share_is_one_finding_and_enters_no_coin(bad: str, tmp_path: Path) -> None:
    log = with_coins((0, 2, 3), BAD_COINS[bad])
    log.result(1)
    assert codes(log, tmp_path) == ["bundle.coin"]


def test_a_result_before_t_valid_coin_shares_is_found(tmp_path: Path) -> None:
    log = with_coins((0, 2), BAD_COINS["bit flipped"])
    log.append(transcript.ResultEntry(1, secret("state"), secret("fills"), secret("result")))
    assert codes(log, tmp_path) == ["bundle.coin", "coin.missing"]


def test_a_coin_share_that_comes_after_the_openings_counts(tmp_path: Path) -> None:
    log = with_coins((0, 2), BAD_COINS["bit flipped"])
    log.bundles(1, (3,))
    log.result(1)
    assert codes(log, tmp_path) == ["bundle.coin"]


def contested(coin: bytes | None) -> LogBuilder:
    """One lot for sale and two bids for it at one price: the draw decides, by the coin the log's author used."""
    log = LogBuilder()
    order_ids = [log.order("alice", SELL, 100, 1), *(log.order(who, BUY, 100, 1) for who in ("bob", "carol"))]
    log.list_all(*order_ids)
    log.block()
    if coin is not None:
        log.audit.reveal.coin = lambda height: coin  # type: ignore[method-assign]
    log.reveal(1)
    return log


def test_a_result_drawn_from_another_coin_is_found(tmp_path: Path) -> None:
    honest = contested(None)
    assert codes(honest, tmp_path / "honest") == []
    block_id = honest.blocks[1].header.block_id()
    others = [contested(coin) for coin in (block_id, *(secret(f"coin {i}") for i in range(16)))]
    bent = [log for log in others if log.entries[-1].state_root != honest.entries[-1].state_root]
    assert 0 < len(bent) < len(others)
    assert codes(bent[0], tmp_path / "bent") == ["result.state_root"]


# --- openings ----------
def opened(
    edit: Callable[[Any], Any] = lambda value: value, bundles: tuple[int, ...] = (0, 2, 3)
) -> LogBuilder:
    log = LogBuilder()
    order_ids = first_batch(log)
    log.bundles(1, bundles)
    log.open(1, order_ids[0], edit)
    return log


def test_a_bad_opening_is_found(tmp_path: Path) -> None:
    assert codes(opened(lambda value: replace(value, sigma=flip(value.sigma))), tmp_path) == ["opening.wrong"]


def test_an_opening_with_other_contents_is_found(tmp_path: Path) -> None:
    def change(value: Any) -> Any:
        return replace(value, padded=value.padded[:40] + flip(value.padded[40:41]) + value.padded[41:])

    assert codes(opened(change), tmp_path) == ["opening.wrong"]


def test_an_opening_before_t_bundles_is_found(tmp_path: Path) -> None:
    assert codes(opened(bundles=(0, 2)), tmp_path) == ["opening.early"]


def test_an_opening_of_an_order_outside_the_batch_is_found(tmp_path: Path) -> None:
    assert codes(opened(lambda value: replace(value, order_id=secret("another order"))), tmp_path) == [
        "opening.order"
    ]


def test_two_openings_of_one_order_are_found(tmp_path: Path) -> None:
    log = opened()
    log.append(log.entries[-1])
    assert codes(log, tmp_path) == ["opening.repeated"]


def test_an_order_skipped_in_the_reveal_is_found(tmp_path: Path) -> None:
    log = opened()
    log.append(transcript.ResultEntry(1, secret("state"), secret("fills"), secret("result")))
    assert codes(log, tmp_path) == ["opening.missing"]


# --- malformed orders ----------
def with_garbage() -> tuple[LogBuilder, bytes, bytes]:
    """A batch of a good order and one with honest u, v and proof over a garbage c."""
    from threshold import group
    from threshold.hash_to_curve import second_generator
    from threshold.tdh2 import _challenge

    log = LogBuilder()
    good = log.order("alice", SELL, 100, 1)
    label = log.label(valid_until_ms=1_400_000)
    r, s = secret("r"), secret("s")
    second = group.parse_point(second_generator(), "second")
    u, v = group.generator_multiply_secret(r), group.multiply_secret(second, r)
    c = bytes(256 + 48)
    w, w2 = group.generator_multiply_secret(s), group.multiply_secret(second, s)
    e = _challenge(label.encode(), u + v, w, w2, c)
    z = group.scalar_multiply_add_secret(r, e, s)
    bad = log.envelope(label, bytes((1,)) + u + v + e + z + c).order_id()
    log.list_all(good, bad)
    log.block()
    return log, good, bad


def test_honest_u_with_garbage_c_is_malformed_and_the_rest_goes_on(tmp_path: Path) -> None:
    log, good, bad = with_garbage()
    log.bundles(1)
    log.unopenable(1, bad)
    log.open(1, good)
    log.result(1)
    report = log.report(tmp_path)
    assert report.findings == () and report.malformed == 1 and report.checks["bundle_proofs"] == 3


def test_a_good_order_called_malformed_is_found(tmp_path: Path) -> None:
    log, good, _ = with_garbage()
    log.bundles(1)
    log.unopenable(1, good)
    assert codes(log, tmp_path) == ["malformed.opens"]


def test_a_malformed_verdict_by_fewer_than_t_members_is_found(tmp_path: Path) -> None:
    for nodes in ((0, 2), (0, 0, 2), (0, 1, 2)):
        log, _, bad = with_garbage()
        log.bundles(1)
        log.unopenable(1, bad, nodes)
        assert codes(log, tmp_path / str(nodes)) == ["malformed.members"]


def test_bad_share_in_a_valid_bundle_cannot_make_an_order_malformed(tmp_path: Path) -> None:
    log, good, _ = with_garbage()
    log.bundles(1, (0, 2))
    bend = lambda bundle: replace(bundle, shares=bundle.shares[::-1])  # noqa: E731
    log.append(transcript.BundleEntry(log.bundle(1, 3, bend)))
    log.unopenable(1, good)
    assert codes(log, tmp_path) == ["malformed.proof"]


def test_bad_share_beside_a_good_opening_is_no_fault_of_the_log(tmp_path: Path) -> None:
    log, good, _ = with_garbage()
    log.bundles(1, (0, 2))
    bend = lambda bundle: replace(bundle, shares=bundle.shares[::-1])  # noqa: E731
    log.append(transcript.BundleEntry(log.bundle(1, 3, bend)))
    log.open(1, good)
    assert codes(log, tmp_path) == []


def test_a_length_or_padding_that_does_not_fit_is_malformed() -> None:
    assert unpadded(b"\0\0\0\1a\0\0") == b"a" and unpadded(b"\0\0\0\3abc") == b"abc"
    for padded in (b"\0\0\0", b"\0\0\0\1a\0\1", b"\0\0\0\4abc"):
        assert unpadded(padded) is None


# --- results ----------
def resulting(**changes: Any) -> LogBuilder:
    log = LogBuilder()
    order_ids = first_batch(log)
    log.bundles(1)
    for order_id in order_ids:
        log.open(1, order_id)
    log.result(1, **changes)
    return log


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("result.state_root", {"state_root": secret("state")}),
        ("result.fills_root", {"fills_root": secret("a wrong fill")}),
        ("result.hash", {"result": secret("result")}),
        ("result.order", {"height": 2}),
    ],
)
def test_a_wrong_result_is_one_finding(code: str, changes: dict[str, Any], tmp_path: Path) -> None:
    assert codes(resulting(**changes), tmp_path) == [code]


def test_results_out_of_order_or_twice_are_found(tmp_path: Path) -> None:
    log = resulting()
    log.append(log.entries[-1])
    assert codes(log, tmp_path) == ["result.order"]
