"""Orders for dark markets are hundreds of times as large as others: they cost accordingly, every bound that counts
orders has one in bytes beside it, and they pass every way that an order takes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from core_kit import freeze, refused, variant
from dark_words_kit import GRID, dark_deployment

from mpc_sequencer.client.build import dark_bucket_bytes, make_label
from mpc_sequencer.client.sequencer import requests_of
from mpc_sequencer.core import gateway, limits, peers
from mpc_sequencer.core.codec import decode, encode
from mpc_sequencer.core.darkterms import order_bytes
from mpc_sequencer.core.effects import FromPeer, Reply, Send
from mpc_sequencer.core.envelopes import check_envelope
from mpc_sequencer.core.evidence import EVIDENCE_BYTES_MAX
from mpc_sequencer.core.gateway import Gateway
from mpc_sequencer.core.limits import ORDER_CHARGE_WEI
from mpc_sequencer.core.messages import Bodies, FetchBodies, Submit, SubmitReply
from mpc_sequencer.core.offences import BadShares, SealedBytes
from mpc_sequencer.core.pool import Pool
from mpc_sequencer.core.transcript import ChainInput, EnvelopeEntry, KeyEntry, OpenedEntry
from mpc_sequencer.core.types import (
    FINALIZE,
    BatchEntry,
    BlockHeader,
    Bundle,
    Certificate,
    CertificateVote,
    Checkpoint,
    Envelope,
    KeyMessage,
    Opened,
)
from mpc_sequencer.node.client_server import CLIENT_FRAME_BYTES_MAX
from mpc_sequencer.sim import make_deployment
from mpc_sequencer.sim.deployment import START_MS
from threshold import ThresholdError

D = dark_deployment()
NOW = START_MS
LARGE, LARGEST = limits.DARK_SIZE_BUCKETS_BYTES[0], limits.DARK_SIZE_BUCKETS_BYTES[-1]
UNITS = LARGE // 256


def order(trader: int = 0, size: int = LARGE) -> Envelope:
    label = make_label(D.committee, D.traders[trader].address, (NOW, NOW + 60_000), size)
    return D.envelope(D.traders[trader], label, b"anything")


def pool(units: int = 10**6) -> Pool:
    return Pool(D.committee, {trader.address: units * ORDER_CHARGE_WEI for trader in D.traders})


def refuses(held: Pool, act: Callable[[], object], code: str) -> None:
    before = freeze(held)
    with refused(code):
        act()
    assert freeze(held) == before, "a refusal changes nothing"


# --- what is admitted, and what it costs --------------------------------------------------------------------------
def test_larger_buckets_are_for_deployments_with_dark_markets_only() -> None:
    assert check_envelope(D.committee, order(), NOW).facts.size_bytes == LARGE
    with refused("wire.bound"):
        make_label(make_deployment(5).committee, bytes(20), (NOW, NOW + 1_000), LARGE)
    with pytest.raises(ThresholdError, match="bucket"):
        check_envelope(make_deployment(5).committee, order(), NOW)
    with refused("wire.bound"):
        make_label(D.committee, bytes(20), (NOW, NOW + 1_000), LARGE + 1)


def test_the_door_asks_for_credit_by_size() -> None:
    refuses(pool(UNITS - 1), lambda: pool(UNITS - 1).admit(order(), NOW), "credit.exhausted")
    held = pool(2 * UNITS)
    first = order()
    held.admit(first, NOW)
    held.admit(order(), NOW)
    refuses(held, lambda: held.admit(order(size=256), NOW), "credit.exhausted")
    held.sequence(first.order_id(), 1)
    assert held.charged_wei == {D.traders[0].address: UNITS * ORDER_CHARGE_WEI}
    refuses(held, lambda: held.admit(order(size=256), NOW), "credit.exhausted")


def test_other_doors_may_have_let_one_bond_s_worth_in_each_and_no_more() -> None:
    held = pool(UNITS)
    for _ in range(D.committee.n):
        held.fetched(order(), NOW)
    refuses(held, lambda: held.fetched(order(), NOW), "credit.exhausted")
    poor = pool(UNITS - 1)  # no door lets in what the whole bond does not cover
    refuses(poor, lambda: poor.fetched(order(), NOW), "credit.exhausted")


# --- the pool ------------------------------------------------------------------------------------------------------
def test_bytes_of_large_orders_are_bounded_in_all_and_of_each_sponsor(monkeypatch: pytest.MonkeyPatch) -> None:
    """One sponsor crowds nobody out, and all together leave a member its memory."""
    monkeypatch.setattr(limits, "PENDING_LARGE_BYTES_PER_SPONSOR_MAX", 2 * LARGE)
    monkeypatch.setattr(limits, "PENDING_LARGE_BYTES_MAX", 3 * LARGE)
    held = pool()
    taken = [order(0), order(0)]
    for one in taken:
        held.admit(one, NOW)
    refuses(held, lambda: held.admit(order(0), NOW), "intake.sponsor_bytes_full")
    refuses(held, lambda: held.fetched(order(0), NOW), "intake.sponsor_bytes_full")
    held.admit(order(1), NOW)
    refuses(held, lambda: held.admit(order(2), NOW), "intake.bytes_full")
    held.admit(order(0, size=256), NOW)  # small ones have their own bound
    held.sequence(taken[0].order_id(), 1)
    held.admit(order(2), NOW)
    held.fetched(order(3), NOW, needed=True)  # a block lifts it
    held.expire(NOW + 60_000, 0, 0)
    assert held.pending == 0
    monkeypatch.undo()
    assert held._pending.large_bytes == 0 and held._pending.wei == 0 and not held._pending_by_sponsor


def test_what_may_differ_from_member_to_member_accuses_nobody() -> None:
    assert {"intake.bytes_full", "intake.sponsor_bytes_full"} <= peers.DOOR_CODES


def test_variants_of_a_signature_share_one_body() -> None:
    held, envelope = pool(), order()
    pooled = held.admit(envelope, NOW)
    held.fetched(decode(Envelope, encode(variant(D, 0, envelope, 7))), NOW)
    first, second = pooled.variants.values()
    assert first != second and second.ciphertext is first.ciphertext


# --- queues --------------------------------------------------------------------------------------------------------
def test_a_client_queues_so_many_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    def envelope(number: int) -> Envelope:
        return Envelope(1, number.to_bytes(101, "big"), bytes(1_000), bytes(65))

    monkeypatch.setattr(gateway, "QUEUED_BYTES_PER_CLIENT_MAX", 3_000)
    gate = Gateway(lambda envelope, order_id: (None, ""))
    gate.submit(1, Submit(1, (envelope(1), envelope(2)), False))
    gate.submit(1, Submit(2, (envelope(3), envelope(4)), False))
    gate.submit(1, Submit(3, (envelope(5),), False))
    gate.submit(2, Submit(4, (envelope(6),), False))
    (refusal,) = [one.message for one in gate.effects if isinstance(one, Reply)]
    assert isinstance(refusal, SubmitReply)
    assert (refusal.request, [one.code for one in refusal.results]) == (2, ["intake.full"] * 2)
    gate.effects.clear()
    monkeypatch.setattr(gateway, "ORDERS_PER_TURN", 1)
    gate.work()  # one of the first client's three: there is room for another
    gate.submit(1, Submit(5, (envelope(7),), False))
    assert not gate.effects
    while gate.has_work():
        gate.work()
    assert len(gate.effects) == 4 and not gate._bytes_of
    for request in range(3):
        gate.submit(1, Submit(request, (envelope(10 + request),), False))
    gate.gone(1)
    assert not gate._bytes_of and not gate.has_work()


def test_a_peer_queues_so_many_bytes_of_bodies(monkeypatch: pytest.MonkeyPatch) -> None:
    """One wanted body sent a thousand times is held a few times at most."""
    core = D.first_core(0, bytes(32))
    body = order()
    monkeypatch.setattr(peers, "BODIES_QUEUED_BYTES_PER_MEMBER_MAX", 3 * len(body.ciphertext))
    core.fetcher.want_body(body.order_id(), 1, NOW)
    core.step(FromPeer(1, Bodies((body,) * 10)), NOW)
    assert core.peers._queued[1] == (3, 3 * len(body.ciphertext)) and len(core.peers._bodies) == 3
    core.fetcher.want_body(body.order_id(), 2, NOW)
    core.step(FromPeer(2, Bodies((body,))), NOW)
    assert len(core.peers._bodies) == 4
    while core.peers.has_work():
        core.peers.work(NOW)
    assert set(core.peers._queued) == {(0, 0)} and body.order_id() in core.pool


def test_bodies_that_are_served_fit_a_frame() -> None:
    core = D.first_core(0, bytes(32))
    ids = []
    for number in range(44):
        one = order(number % 4, LARGEST)
        core.pool.fetched(one, NOW, needed=True)
        ids.append(one.order_id())
    effects = core.step(FromPeer(1, FetchBodies(tuple(ids))), NOW)
    (sent,) = [one for one in effects if isinstance(one, Send)]
    assert isinstance(sent.message, Bodies) and 30 < len(sent.message.envelopes) < 44
    assert len(encode(sent.message)) <= limits.FRAME_BYTES_MAX


def test_a_client_s_requests_fit_its_frame() -> None:
    small, large = order(size=256), order(0, LARGEST)
    orders = [(one.order_id(), one) for one in (small, *(large,) * 20, *(small,) * 600)]
    chunks = list(requests_of(orders))
    assert [one for chunk in chunks for one in chunk] == orders
    for chunk in chunks:
        assert 0 < len(chunk) <= limits.SUBMIT_ENVELOPES_MAX
        assert len(encode(Submit(1, tuple(one for _, one in chunk), True))) <= CLIENT_FRAME_BYTES_MAX
    assert [len(chunk) for chunk in chunks] == [10, 9, 512, 90] and not list(requests_of([]))


# --- what holds them -----------------------------------------------------------------------------------------------
HASH, SIGNATURE, MOST = b"\xff" * 32, b"\xff" * 65, limits.UINT_MAX


def fits_an_entry(entry: object) -> bool:
    return len(encode(entry)) <= limits.LOG_ENTRY_BYTES_MAX


def test_the_largest_order_and_the_longest_word_are_log_entries() -> None:
    envelope = order(0, LARGEST)
    assert len(encode(envelope)) <= limits.ENVELOPE_BYTES_MAX
    assert decode(Envelope, encode(envelope), bytes_max=limits.ENVELOPE_BYTES_MAX) == envelope
    assert fits_an_entry(EnvelopeEntry(envelope))
    assert fits_an_entry(OpenedEntry(MOST, Opened(order_id=HASH, sigma=HASH, padded=bytes(LARGEST))))
    word = KeyMessage(MOST, HASH, limits.COMMITTEE_MEMBERS_MAX, bytes(limits.KEY_PAYLOAD_BYTES_MAX), SIGNATURE)
    assert fits_an_entry(KeyEntry(word))


def test_what_the_chain_queues_stays_small() -> None:
    body = bytes(limits.FORCED_BYTES_MAX + 1)
    with refused("wire.bound"):
        decode(ChainInput, encode(ChainInput(3, bytes(20), 0, HASH, body)))
    assert limits.FORCED_BYTES_MAX < LARGE


@pytest.mark.parametrize("size", limits.DARK_SIZE_BUCKETS_BYTES)
def test_evidence_about_a_batch_holds_all_its_orders(size: int) -> None:
    checkpoint = Checkpoint(MOST, HASH, MOST, HASH)
    header = BlockHeader(1, MOST, MOST, MOST, HASH, MOST, HASH, HASH, HASH, checkpoint)
    certificate = Certificate(FINALIZE, MOST, MOST, HASH, tuple(CertificateVote(i, SIGNATURE) for i in range(40)))
    bundle = Bundle(
        epoch=MOST,
        height=MOST,
        block_id=HASH,
        node=39,
        sharing=HASH,
        certificate=certificate,
        path=(header,) * limits.HEADER_PATH_MAX,
        shares=(b"\xff" * 33,) * limits.BATCH_ORDERS_MAX,
        proof=b"\xff" * 98,
        coin_share=b"\xff" * 97,
        signature=SIGNATURE,
    )
    large = min(limits.BATCH_LARGE_BYTES_MAX // size, limits.BATCH_ORDERS_MAX)
    orders = (SealedBytes(bytes(101), bytes(size + 179)),) * large
    orders += (SealedBytes(bytes(101), bytes(256 + 179)),) * (limits.BATCH_ORDERS_MAX - large)
    entry = BadShares(bundle, header, (BatchEntry(HASH, HASH),) * limits.BATCH_ORDERS_MAX, orders)
    assert len(encode(entry)) <= EVIDENCE_BYTES_MAX - (1 << 16)


# --- the client ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("n", [5, 9, 13])
def test_a_client_picks_the_smallest_bucket_that_every_order_of_the_market_fits(n: int) -> None:
    d = dark_deployment(n)
    needed, size = order_bytes(n, d.committee.f, GRID), dark_bucket_bytes(d.committee, 7)
    assert size >= needed
    assert all(smaller < needed for smaller in d.committee.size_buckets if smaller < size)
    for market in (0, 8):
        with refused("market.unknown"):
            dark_bucket_bytes(d.committee, market)
