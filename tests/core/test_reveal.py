"""Reveal: the optimistic path, bad bundles found and their senders suspected, one verdict on malformed orders."""

from __future__ import annotations

import msgspec
import pytest
from core_kit import all_sequenced, check_safety, refused, results, sign, submit

from mpc_sequencer.core import limits, reveal
from mpc_sequencer.core.messages import BundleMessage, PeerMessage
from mpc_sequencer.core.transcript import BundleEntry, OpenedEntry, UnopenableEntry
from mpc_sequencer.core.types import Bundle
from mpc_sequencer.sim import Cluster, Deployment, make_deployment
from threshold import deal


def bend(d: Deployment, bundle: Bundle) -> Bundle:
    """The bundle with one share replaced by a point that is none of the key's, signed by its member all the same."""
    wrong = deal(4, 3, secret=None, entropy=bytes(32)).public_key
    return sign(d, bundle.node, msgspec.structs.replace(bundle, shares=(wrong, *bundle.shares[1:])))


@pytest.fixture
def verified(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Indices of the members whose bundles got verified."""
    seen: list[int] = []
    honest = reveal.verify_bundle

    def recorded(key: bytes, context: reveal.BundleContext, *rest: object) -> None:
        seen.append(context.index - 1)
        honest(key, context, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(reveal, "verify_bundle", recorded)
    return seen


def run_batches(cluster: Cluster, batches: int) -> set[bytes]:
    d, ids = cluster.deployment, set()
    for turn in range(batches):
        orders = [d.order(d.traders[i], cluster.now_ms) for i in range(2)]
        ids |= {order.order_id() for order in orders}
        submit(cluster, turn % d.committee.n, *orders)
        cluster.run(500)
    assert cluster.run(10_000, until=all_sequenced(ids, set(range(d.committee.n))))
    cluster.run(1_500)
    return ids


def test_no_proof_is_verified_while_everything_opens(verified: list[int]) -> None:
    cluster = Cluster(make_deployment(4))
    ids = run_batches(cluster, 3)
    assert verified == []
    for log in cluster.logs:
        assert {one.opened.order_id for one in log if isinstance(one, OpenedEntry)} == ids
    check_safety(cluster)


def test_a_bent_share_is_found_and_its_sender_s_later_bundles_are_verified_first(verified: list[int]) -> None:
    d = make_deployment(4)
    cluster = Cluster(d)
    cluster.network.tamper = lambda sender, _, m: (
        BundleMessage(bend(d, m.bundle)) if sender == 0 and isinstance(m, BundleMessage) else m
    )
    ids = run_batches(cluster, 6)
    check_safety(cluster)
    for node in (1, 2, 3):
        opened = {one.opened.order_id for one in cluster.logs[node] if isinstance(one, OpenedEntry)}
        assert opened == ids, "every order opens all the same"
        faults = {(fault.node, fault.code) for seer, fault in cluster.faults if seer == node}
        assert faults == {(0, "bundle.proof")}
        assert cluster.cores[node].reveal._suspects == {0}
    assert set(verified) - {0}, "all bundles of the height that did not open were verified"
    assert verified.count(0) > 3, "once found by each, and again at later heights"


def test_an_order_sealed_wrongly_is_malformed_for_all_and_the_log_names_the_shares(verified: list[int]) -> None:
    """Whatever t valid shares do not open is malformed, and members need not tell each other."""
    d = make_deployment(4)
    cluster = Cluster(d)
    honest_open = reveal.open_ciphertext
    target: list[bytes] = []

    def unopenable(key: object, checked: object, point: bytes) -> object:
        if checked.encoded in target:  # type: ignore[attr-defined]
            raise reveal.ThresholdError("opening.failed", "point", "p", "q")
        return honest_open(key, checked, point)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reveal, "open_ciphertext", unopenable)
        order, other = d.order(d.traders[0], cluster.now_ms), d.order(d.traders[1], cluster.now_ms)
        target.append(order.ciphertext)
        submit(cluster, 0, order, other)
        cluster.run(3_000)
    for node, log in enumerate(cluster.logs):
        entries = [one.unopenable for one in log if isinstance(one, UnopenableEntry)]
        assert [entry.order_id for entry in entries] == [order.order_id()]
        held = {one.bundle.node for one in log if isinstance(one, BundleEntry)}
        assert len(entries[0].nodes) == d.committee.t
        assert set(entries[0].nodes) <= held, "the shares that show it are in the log"
        assert cluster.cores[node].reveal.malformed == 1
    assert len({frozenset(results(cluster, node).items()) for node in range(4)}) == 1
    assert verified, "malformed is said of verified shares only"


def test_a_bundle_with_another_number_of_shares_or_height_is_refused() -> None:
    d = make_deployment(4)
    cluster = Cluster(d)
    caught: list[Bundle] = []

    def hold(sender: int, receiver: int, message: PeerMessage) -> PeerMessage | None:
        if isinstance(message, BundleMessage) and receiver == 1:
            caught.append(message.bundle)
            return None
        return message

    cluster.network.tamper = hold
    order = d.order(d.traders[0], cluster.now_ms)
    submit(cluster, 0, order)
    cluster.run(200)
    core, bundle = cluster.cores[1], caught[0]
    for change in ({"shares": bundle.shares * 2}, {"shares": (), "proof": b""}, {"height": bundle.height + 1}):
        with refused("bundle.block"):
            core.reveal.on_bundle(sign(d, bundle.node, msgspec.structs.replace(bundle, **change)), None)
    forged = msgspec.structs.replace(
        bundle.certificate,
        votes=tuple(msgspec.structs.replace(v, signature=bundle.signature) for v in bundle.certificate.votes),
    )
    with refused("signature.signer"):
        core.reveal.on_bundle(
            msgspec.structs.replace(bundle, certificate=forged), core.simplex.held(bundle.certificate)
        )
    assert core.reveal.on_bundle(bundle, None)
    assert not core.reveal.on_bundle(bundle, None), "one per member and block"


def test_late_bundles_do_not_pile_up() -> None:
    cluster = Cluster(make_deployment(4))
    run_batches(cluster, 8)
    assert all(not early for core in cluster.cores for early in core.reveal._early.values())


def test_big_batches_are_worked_on_in_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REVEAL_ORDERS_PER_STEP", 2)
    d = make_deployment(4)
    cluster = Cluster(d)
    orders = [d.order(d.traders[i % 4], cluster.now_ms) for i in range(7)]
    submit(cluster, 0, *orders)
    cluster.run(3_000)
    for log in cluster.logs:
        assert len([one for one in log if isinstance(one, OpenedEntry)]) == 7
