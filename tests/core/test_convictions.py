"""What members find by themselves, what they still take from an offender, and that the honest are never charged."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from core_kit import (
    all_sequenced,
    make_certificate,
    make_claim,
    make_commit,
    make_commit_share,
    make_list,
    make_share,
    make_vote,
    picture,
    refused,
    sign,
    submit,
)

from mpc_sequencer.core.convictions import Convictions
from mpc_sequencer.core.effects import Effect, Evidence, Fault, FromClient, FromPeer, PeerUp, Reply
from mpc_sequencer.core.evidence import verify
from mpc_sequencer.core.lists import ListStore
from mpc_sequencer.core.messages import (
    BundleMessage,
    CertificateMessage,
    FetchLists,
    HeadMessage,
    ListMessage,
    PeerMessage,
    StatusQuery,
    VoteMessage,
)
from mpc_sequencer.core.offences import CommitEquivocation, ListEquivocation, ResultEquivocation
from mpc_sequencer.core.types import FINALIZE, NOTARIZE, NULLIFY, ZERO_HASH
from mpc_sequencer.settlement.gathering import EARLY_RANGES_MAX, SHARES_KEPT_PER_MEMBER
from mpc_sequencer.settlement.ranges import Ranges
from mpc_sequencer.sim import Cluster, make_deployment

D = make_deployment(4)
LIAR, ME = 3, 1
X, Y = b"\x0a" * 32, b"\x0b" * 32
ID = b"\x01" * 32


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A committee at rest in its first views."""
    made = Cluster(D)
    made.run(50)
    yield made


def tell(cluster: Cluster, message: PeerMessage, sender: int = LIAR) -> list[Effect]:
    return cluster.cores[ME].step(FromPeer(sender, message), cluster.now_ms)


def evidence(effects: list[Effect]) -> list[tuple[int, str]]:
    found = [one for one in effects if isinstance(one, Evidence)]
    for one in found:
        verdict = verify(one.offence, D.committee)
        assert (verdict.node, verdict.kind, verdict.detail) == (one.node, one.kind, one.detail)
    return [(one.node, one.kind) for one in found]


def codes(effects: list[Effect]) -> list[tuple[int, str]]:
    return [(one.node, one.code) for one in effects if isinstance(one, Fault)]


def vote(cluster: Cluster, kind: int, block_id: bytes = ZERO_HASH, node: int = LIAR) -> VoteMessage:
    return VoteMessage(make_vote(D, node, kind, cluster.cores[ME].simplex.view, block_id))


@pytest.mark.parametrize(
    ("first", "second", "kind"),
    [
        ((NOTARIZE, X), (NOTARIZE, Y), "notarize-equivocation"),
        ((FINALIZE, X), (FINALIZE, Y), "finalize-equivocation"),
        ((NULLIFY, ZERO_HASH), (FINALIZE, X), "nullify-and-finalize"),
        ((FINALIZE, X), (NULLIFY, ZERO_HASH), "nullify-and-finalize"),
    ],
)
def test_two_votes_that_contradict_each_other_are_found(
    cluster: Cluster, first: tuple[int, bytes], second: tuple[int, bytes], kind: str
) -> None:
    assert not evidence(tell(cluster, vote(cluster, *first)))
    effects = tell(cluster, vote(cluster, *second))
    assert evidence(effects) == [(LIAR, kind)]
    assert codes(effects) == [(LIAR, "vote.equivocation")]


@pytest.mark.parametrize(
    "second", [(NULLIFY, ZERO_HASH), (NOTARIZE, X), (FINALIZE, X)], ids=["nullify", "the same", "finalize"]
)
def test_what_may_follow_a_notarize_vote_is_no_offence(cluster: Cluster, second: tuple[int, bytes]) -> None:
    tell(cluster, vote(cluster, NOTARIZE, X))
    effects = tell(cluster, vote(cluster, *second))
    assert not evidence(effects) and not codes(effects)


def test_a_contradicting_vote_that_its_member_did_not_sign_convicts_nobody(cluster: Cluster) -> None:
    tell(cluster, vote(cluster, NOTARIZE, X))
    forged = msgspec.structs.replace(sign(D, 2, vote(cluster, NOTARIZE, Y).vote), node=LIAR)
    effects = tell(cluster, VoteMessage(forged))
    assert not evidence(effects)
    assert codes(effects) == [(LIAR, "signature.signer")]


def test_a_vote_inside_a_certificate_is_held_against_a_vote_sent(cluster: Cluster) -> None:
    view = cluster.cores[ME].simplex.view
    tell(cluster, vote(cluster, NOTARIZE, Y))
    certificate = CertificateMessage(make_certificate(D, NOTARIZE, view, X, nodes=(0, 2, 3)))
    effects = tell(cluster, certificate, sender=0)
    assert evidence(effects) == [(LIAR, "notarize-equivocation")]
    assert not codes(effects), "who passes a certificate on did nothing wrong"
    assert cluster.cores[ME].simplex.view == view + 1, "the certificate counts"


def test_a_vote_sent_is_held_against_one_inside_a_certificate(cluster: Cluster) -> None:
    view = cluster.cores[ME].simplex.view
    tell(cluster, CertificateMessage(make_certificate(D, NOTARIZE, view, X, nodes=(0, 2, 3))), sender=0)
    late = VoteMessage(make_vote(D, LIAR, NOTARIZE, view, Y))
    assert evidence(tell(cluster, late)) == [(LIAR, "notarize-equivocation")]


def test_a_conviction_of_a_kind_is_made_once(cluster: Cluster) -> None:
    tell(cluster, vote(cluster, NOTARIZE, X))
    assert evidence(tell(cluster, vote(cluster, NOTARIZE, Y)))
    assert tell(cluster, vote(cluster, NOTARIZE, b"\x0c" * 32)) == []
    assert cluster.cores[ME].convictions.dropped == 1


def test_second_lists_are_found_chained_or_not(cluster: Cluster) -> None:
    store = ListStore(D.committee)
    store.add(make_list(D, LIAR, 1, ZERO_HASH, (X,)))
    store.add(make_list(D, LIAR, 5, X, (X,)))
    for number, prev_hash in ((1, ZERO_HASH), (5, X)):
        second = make_list(D, LIAR, number, prev_hash, (Y,))
        before = picture(store)  # type: ignore[arg-type]
        with refused("list.equivocation") as caught:
            store.add(second)
        assert isinstance(caught[0].offence, ListEquivocation)  # type: ignore[union-attr]
        assert verify(caught[0].offence, D.committee).node == LIAR  # type: ignore[union-attr, arg-type]
        assert picture(store) == before  # type: ignore[arg-type]


def test_a_forged_second_list_convicts_nobody() -> None:
    store = ListStore(D.committee)
    store.add(make_list(D, LIAR, 1, ZERO_HASH, (X,)))
    store.add(make_list(D, LIAR, 5, X, (X,)))
    for number, prev_hash in ((1, ZERO_HASH), (5, X)):
        forged = msgspec.structs.replace(make_list(D, 2, number, prev_hash, (Y,)), node=LIAR)
        with refused("signature.signer") as caught:
            store.add(forged)
        assert caught[0].offence is None  # type: ignore[union-attr]


def test_a_list_that_a_block_names_is_kept_and_held_against_the_one_shown_before() -> None:
    store = ListStore(D.committee)
    shown, named = (make_list(D, LIAR, 1, ZERO_HASH, (entry,)) for entry in (X, Y))
    store.add(shown)
    assert store.first_missing(LIAR, 0, (1, named.struct_hash())) == (1, named.struct_hash())
    store.add(named)
    assert store.by_hash(LIAR, 1, named.struct_hash()) == named, "the block can be checked"
    assert store.offences == [ListEquivocation(shown, named)]
    assert verify(store.offences[0], D.committee).node == LIAR


def test_who_passes_a_second_list_on_is_not_charged(cluster: Cluster) -> None:
    tell(cluster, ListMessage(make_list(D, LIAR, 1, ZERO_HASH, (X,))))
    effects = tell(cluster, ListMessage(make_list(D, LIAR, 1, ZERO_HASH, (Y,))), sender=2)
    assert evidence(effects) == [(LIAR, "list-equivocation")]
    assert codes(effects) == [(LIAR, "list.equivocation")]


def test_an_offender_is_cut_off_but_for_what_proves_itself(cluster: Cluster) -> None:
    core = cluster.cores[ME]
    tell(cluster, ListMessage(make_list(D, LIAR, 1, ZERO_HASH, (X,))))
    tell(cluster, ListMessage(make_list(D, LIAR, 1, ZERO_HASH, (Y,))))
    assert core.convictions.cut_off == {LIAR}
    before = picture(core)
    held = core.lists.heads(LIAR)[0][0]
    newer = sign(D, LIAR, msgspec.structs.replace(held, view=held.view + 1))
    for message in (
        ListMessage(make_list(D, LIAR, 2, make_list(D, LIAR, 1, ZERO_HASH, (X,)).struct_hash(), (Y,))),
        HeadMessage(newer),
        vote(cluster, NULLIFY),
        make_share(D, LIAR, make_claim(1, 64)),
        FetchLists(ME, 1, 1, ZERO_HASH),
    ):
        assert tell(cluster, message) == []
    assert picture(core) == before
    assert core.convictions.dropped == 5
    view = core.simplex.view
    tell(cluster, CertificateMessage(make_certificate(D, NULLIFY, view, nodes=(0, 2, LIAR))))
    assert core.simplex.view == view + 1, "a certificate is its signers' word, not its bearer's"
    assert not codes(tell(cluster, ListMessage(make_list(D, 2, 1, ZERO_HASH, (ID,)))))
    assert core.lists.held_through(2)[0] == 1, "another member's list proves itself"
    reply = core.step(FromClient(7, StatusQuery(1)), cluster.now_ms)
    assert [one.message.convicted for one in reply if isinstance(one, Reply)] == [(LIAR,)]  # type: ignore[union-attr]


def test_what_does_not_convict_cuts_nobody_off() -> None:
    convictions = Convictions(D.committee)
    one = make_list(D, LIAR, 1, ZERO_HASH, (X,))
    effects = convictions.take(ListEquivocation(one, one))
    assert codes(effects) == [(LIAR, "evidence.same")] and not evidence(effects)
    assert not convictions.nodes and not convictions.drops(LIAR, ListMessage(one))


# --- bundles and settlement -----------------------------------------------------------------------------------------
def tampered(change: Any) -> Cluster:
    """A run in which member LIAR signs changed bundles."""
    cluster = Cluster(D)

    def tamper(sender: int, _: int, message: PeerMessage) -> PeerMessage:
        if sender == LIAR and isinstance(message, BundleMessage):
            return BundleMessage(sign(D, LIAR, msgspec.structs.replace(message.bundle, **change(message.bundle))))
        return message

    cluster.network.tamper = tamper
    cluster.run(50)
    ids = set()
    for turn in range(6):
        order = D.order(D.traders[turn % 4], cluster.now_ms)
        ids.add(order.order_id())
        submit(cluster, turn % 3, order)
        cluster.run(300)
    assert cluster.run(5_000, until=all_sequenced(ids, {0, 1, 2}))
    cluster.run(1_000)
    return cluster


@pytest.mark.parametrize(
    ("change", "kind", "cut_off"),
    [
        (lambda b: {"proof": bytes(98), "shares": tuple(b.shares[-1:] + b.shares[:-1])}, "bad-shares", False),
        (lambda b: {"shares": (*b.shares, b.shares[0])}, "bad-shares", False),
        (lambda b: {"coin_share": bytes(97)}, "bad-coin-share", False),
        (lambda b: {"certificate": make_certificate(D, FINALIZE, 1, X)}, "false-finality", True),
    ],
    ids=["bad proof", "a share too many", "bad coin share", "false certificate"],
)
def test_a_bad_bundle_convicts_its_member_and_the_rest_goes_on(change: Any, kind: str, cut_off: bool) -> None:
    if kind == "bad-shares":  # shares are verified only where an opening fails
        wrong = D.committee.genesis.public_key
        honest = change
        change = lambda b: {**honest(b), "shares": tuple(wrong for _ in honest(b)["shares"])}  # noqa: E731
    cluster = tampered(change)
    found = sorted((seer, one.node, one.kind) for seer, one in cluster.evidence)
    assert found == [(seer, LIAR, kind) for seer in (0, 1, 2)], "each member finds it, once"
    for seer in (0, 1, 2):
        assert cluster.cores[seer].convictions.cut_off == ({LIAR} if cut_off else set())


def test_two_results_of_one_first_height_are_found() -> None:
    ranges = Ranges(D.committee, ME, D.signers[ME], ID)
    ranges.on_share(make_share(D, LIAR, make_claim(1, 64)))
    ranges.on_share(make_share(D, LIAR, make_claim(1, 64)))
    ranges.on_share(make_share(D, LIAR, make_claim(65, 128)))
    ranges.on_share(make_share(D, 2, make_claim(1, 64, state_root=Y)))
    before = picture(ranges)  # type: ignore[arg-type]
    for second in (make_claim(1, 64, state_root=Y), make_claim(1, 65)):
        with refused("settlement.equivocation") as caught:
            ranges.on_share(make_share(D, LIAR, second))
        offence = caught[0].offence  # type: ignore[union-attr]
        assert isinstance(offence, ResultEquivocation)
        assert verify(offence, D.committee).node == LIAR
        forged = msgspec.structs.replace(make_share(D, 2, second), node=LIAR)
        with refused("signature.signer") as caught:
            ranges.on_share(forged)
        assert caught[0].offence is None  # type: ignore[union-attr]
    with refused("epoch.unknown"):
        ranges.on_share(make_share(D, LIAR, make_claim(1, 64, epoch=1)))
    assert picture(ranges) == before  # type: ignore[arg-type]


def test_two_order_commits_of_one_height_are_found() -> None:
    ranges = Ranges(D.committee, ME, D.signers[ME], ID)
    ranges.on_commit(make_commit_share(D, LIAR, make_commit(64)))
    ranges.on_commit(make_commit_share(D, LIAR, make_commit(64)))
    ranges.on_commit(make_commit_share(D, LIAR, make_commit(128)))
    before = picture(ranges)  # type: ignore[arg-type]
    second = make_commit(64, ciphertext_root=Y)
    with refused("commit.equivocation") as caught:
        ranges.on_commit(make_commit_share(D, LIAR, second))
    offence = caught[0].offence  # type: ignore[union-attr]
    assert isinstance(offence, CommitEquivocation)
    assert verify(offence, D.committee).node == LIAR
    forged = msgspec.structs.replace(make_commit_share(D, 2, second), node=LIAR)
    with refused("signature.signer") as caught:
        ranges.on_commit(forged)
    assert caught[0].offence is None  # type: ignore[union-attr]
    with refused("epoch.unknown"):
        ranges.on_commit(make_commit_share(D, LIAR, make_commit(64, epoch=1)))
    assert picture(ranges) == before  # type: ignore[arg-type]


def test_signatures_for_ranges_far_ahead_are_bounded() -> None:
    ranges = Ranges(D.committee, ME, D.signers[ME], ID)
    for number in range(EARLY_RANGES_MAX + 5):
        ranges.on_share(make_share(D, LIAR, make_claim(1 + number, 1 + number)))
    assert len(ranges._results._seen[LIAR]) == EARLY_RANGES_MAX < SHARES_KEPT_PER_MEMBER


def heal(cluster: Cluster) -> None:
    """All cuts end, and every member sends again what the others may have missed."""
    cluster.network.cut = set()
    for one in range(len(cluster.cores)):
        for other in range(len(cluster.cores)):
            if one != other:
                cluster.at(cluster.now_ms, one, PeerUp(other))


# --- the honest -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("seed", range(4))
def test_a_run_with_crashes_and_cuts_and_nobody_byzantine_leaves_no_evidence(seed: int) -> None:
    n = 4 if seed % 2 else 7
    d = make_deployment(n, seed=seed, traders=4)
    cluster = Cluster(d, seed=seed)
    cluster.network.delay_ms = lambda rng, _s, _r: rng.choice((1, 4, 30, 200))
    for turn in range(24):
        submit(cluster, turn % n, d.order(d.traders[turn % 4], cluster.now_ms))
        if turn % 6 == 2:
            cluster.network.cut = {(turn % n, peer) for peer in range(n)}
        if turn % 6 == 5:
            heal(cluster)
        if turn == 15:
            for node in range(d.committee.f):
                cluster.stop((seed + node) % n)
        cluster.run(250)
    heal(cluster)
    cluster.run(12_000)
    live = [node for node in range(n) if node not in cluster.stopped]
    assert min(cluster.cores[node].chain.final_height for node in live) > 5, "the run got somewhere"
    assert cluster.settlements, "and settled"
    assert cluster.evidence == []
    assert all(not cluster.cores[node].convictions.nodes for node in live)
