"""The rule: a handler that refuses a message leaves the whole core as it was, bit for bit, and names the sender."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from chain_kit import deposit, forced
from core_kit import (
    make_certificate,
    make_claim,
    make_commit,
    make_commit_share,
    make_head,
    make_list,
    make_vote,
    picture,
    reproposed,
    sign,
    submit,
    variant,
)

from mpc_sequencer.core.convictions import Convictions
from mpc_sequencer.core.effects import Evidence, Fault, FromClient, FromPeer, Reply
from mpc_sequencer.core.messages import (
    Bodies,
    BundleMessage,
    CertificateMessage,
    CommitShare,
    FetchInputs,
    FetchLists,
    HeadMessage,
    InputsMessage,
    ListMessage,
    PeerMessage,
    Proposal,
    SettlementShare,
    Submit,
    SubmitReply,
    VoteMessage,
)
from mpc_sequencer.core.types import FINALIZE, NOTARIZE, NULLIFY, ZERO_HASH, Bundle, Envelope
from mpc_sequencer.sim import Cluster, Deployment, make_deployment

PEER, ME = 3, 1
QUEUED = forced(b"an envelope")
"""An input that the member has asked for."""


class Scene:
    """A committee that has worked for a while, seen from member ``ME``; ``PEER`` is about to send something bad."""

    def __init__(self) -> None:
        self.d: Deployment = make_deployment(4)
        self.cluster = Cluster(self.d)
        proposals: list[Proposal] = []

        def keep(_s: int, _r: int, message: PeerMessage) -> PeerMessage:
            if isinstance(message, Proposal):
                proposals.append(message)
            return message

        self.cluster.network.tamper = keep
        self.cluster.run(40)
        self.order: Envelope = self.d.order(self.d.traders[0], self.cluster.now_ms)
        submit(self.cluster, 0, self.order)
        self.cluster.run(1_500)
        self.core = self.cluster.cores[ME]
        self.proposal = proposals[-1]
        self.bundle: Bundle = next(iter(self.cluster.cores[PEER].reveal._own_bundles.values()))
        self.list_number, self.list_hash = self.core.lists.held_through(PEER)
        self.after_hash = self.core.chain_view.newest.inputs_hash
        count = self.core.chain_view.newest.inputs_count + 1
        self.wanted_hash = QUEUED.chained(self.after_hash)
        self.core.fetcher.want_inputs(count, self.wanted_hash, PEER, self.now_ms)
        assert self.core.step(FromPeer(PEER, self.commit_share(b"\x01" * 32)), self.now_ms) == []

    @property
    def now_ms(self) -> int:
        return self.cluster.now_ms

    @property
    def view(self) -> int:
        return self.core.simplex.view

    def by_peer(self, value: Any, **changes: Any) -> Any:
        return sign(self.d, PEER, msgspec.structs.replace(value, **changes))

    def commit_share(self, prev_hash: bytes) -> CommitShare:
        """The peer's signature over a commit of a range that is still far ahead."""
        return make_commit_share(self.d, PEER, make_commit(1 << 21, prev_hash=prev_hash))

    def my_turn_proposal(self, leader: int = PEER, **changes: Any) -> Proposal:
        """The last proposal, moved to the next view whose leader is ``leader``."""
        view = self.view + 4 + (leader - self.view) % 4
        block = self.proposal.block
        block = msgspec.structs.replace(block, header=msgspec.structs.replace(block.header, view=view))
        moved = msgspec.structs.replace(self.proposal, block=block, nullifications=(), parent=None)
        return reproposed(self.d, moved, **changes)


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene()


Make = Callable[[Scene], PeerMessage]

REFUSED: dict[str, tuple[Make, str]] = {
    "list of nobody": (
        lambda s: ListMessage(msgspec.structs.replace(make_list(s.d, 2, 9, ZERO_HASH, (ZERO_HASH,)), node=9)),
        "member.unknown",
    ),
    "list signed by another": (
        lambda s: ListMessage(
            msgspec.structs.replace(make_list(s.d, 2, s.list_number + 1, s.list_hash, (ZERO_HASH,)), node=PEER)
        ),
        "signature.signer",
    ),
    "list off the chain": (
        lambda s: ListMessage(make_list(s.d, PEER, s.list_number + 1, b"\x01" * 32, (ZERO_HASH,))),
        "list.chain",
    ),
    "second list of a number": (
        lambda s: ListMessage(make_list(s.d, PEER, s.list_number, b"\x01" * 32, (ZERO_HASH,))),
        "list.equivocation",
    ),
    "list far ahead": (
        lambda s: ListMessage(make_list(s.d, PEER, 1 << 40, b"\x01" * 32, (ZERO_HASH,))),
        "list.number",
    ),
    "list of another epoch": (
        lambda s: ListMessage(
            s.by_peer(make_list(s.d, PEER, s.list_number + 1, s.list_hash, (ZERO_HASH,)), epoch=1)
        ),
        "epoch.unknown",
    ),
    "head of another member": (lambda s: HeadMessage(make_head(s.d, 2, s.view, s.now_ms)), "member.sender"),
    "head with another's signature": (
        lambda s: HeadMessage(sign(s.d, 2, make_head(s.d, PEER, s.view + 9, s.now_ms))),
        "signature.signer",
    ),
    "vote of another member": (lambda s: VoteMessage(make_vote(s.d, 2, NULLIFY, s.view)), "member.sender"),
    "vote signed by another": (
        lambda s: VoteMessage(msgspec.structs.replace(make_vote(s.d, 2, NULLIFY, s.view), node=PEER)),
        "signature.signer",
    ),
    "vote with a signature that is none": (
        lambda s: VoteMessage(msgspec.structs.replace(make_vote(s.d, PEER, NULLIFY, s.view), signature=bytes(65))),
        "signature.encoding",
    ),
    "nullify vote with a block": (
        lambda s: VoteMessage(make_vote(s.d, PEER, NULLIFY, s.view, b"\x01" * 32)),
        "vote.kind",
    ),
    "vote of another epoch": (
        lambda s: VoteMessage(s.by_peer(make_vote(s.d, PEER, NULLIFY, s.view), epoch=2)),
        "epoch.unknown",
    ),
    "certificate short of a quorum": (
        lambda s: CertificateMessage(make_certificate(s.d, NULLIFY, s.view, nodes=(2, 3))),
        "certificate.quorum",
    ),
    "certificate with a vote twice": (
        lambda s: CertificateMessage(make_certificate(s.d, FINALIZE, s.view, b"\x01" * 32, nodes=(2, 3, 3))),
        "certificate.order",
    ),
    "certificate of votes of another kind": (
        lambda s: CertificateMessage(
            msgspec.structs.replace(make_certificate(s.d, NOTARIZE, s.view, b"\x01" * 32), kind=FINALIZE)
        ),
        "signature.signer",
    ),
    "proposal of another leader": (lambda s: s.my_turn_proposal(leader=0), "block.leader"),
    "proposal whose vote is not for it": (
        lambda s: msgspec.structs.replace(
            s.my_turn_proposal(), vote=make_vote(s.d, PEER, NOTARIZE, s.view + 9, b"\x01" * 32)
        ),
        "vote.kind",
    ),
    "proposal with a forged vote": (
        lambda s: msgspec.structs.replace(
            p := s.my_turn_proposal(), vote=msgspec.structs.replace(p.vote, signature=s.bundle.signature)
        ),
        "signature.signer",
    ),
    "proposal with a good and a bad certificate": (
        lambda s: msgspec.structs.replace(
            p := s.my_turn_proposal(),
            nullifications=(make_certificate(s.d, NULLIFY, p.block.header.view - 1),),
            parent=make_certificate(make_deployment(4, seed=4), NOTARIZE, p.block.header.view - 1, b"\x01" * 32),
        ),
        "signature.signer",
    ),
    "bundle of another member": (
        lambda s: BundleMessage(sign(s.d, 2, msgspec.structs.replace(s.bundle, node=2))),
        "member.sender",
    ),
    "bundle for a block its certificate does not finalize": (
        lambda s: BundleMessage(s.by_peer(s.bundle, block_id=b"\x01" * 32, height=99)),
        "bundle.path",
    ),
    "bundle with a forged certificate": (
        lambda s: BundleMessage(
            s.by_peer(
                s.bundle,
                block_id=b"\x01" * 32,
                height=99,
                path=(),
                certificate=make_certificate(make_deployment(4, seed=4), FINALIZE, s.view, b"\x01" * 32),
            )
        ),
        "signature.signer",
    ),
    "bundle with another's signature": (
        lambda s: BundleMessage(sign(s.d, 2, msgspec.structs.replace(s.bundle, block_id=b"\x01" * 32, height=99))),
        "signature.signer",
    ),
    "settlement share of another member": (
        lambda s: SettlementShare(make_claim(1, 99), 2, s.bundle.signature),
        "member.sender",
    ),
    "commit share of another member": (
        lambda s: CommitShare(make_commit(99), 2, s.bundle.signature),
        "member.sender",
    ),
    "commit share that is no signature": (
        lambda s: CommitShare(make_commit(1 << 20), PEER, bytes(65)),
        "signature.encoding",
    ),
    "settlement share that is no signature": (
        lambda s: SettlementShare(make_claim(1 << 20, 1 << 21), PEER, bytes(65)),
        "signature.encoding",
    ),
    "second commit of a range": (lambda s: s.commit_share(b"\x02" * 32), "commit.equivocation"),
    "inputs that do not lead to the hash that was asked for": (
        lambda s: InputsMessage(s.wanted_hash, s.after_hash, (deposit(bytes(20), 0, 1),)),
        "chain.inputs",
    ),
    "inputs from another start": (lambda s: InputsMessage(s.wanted_hash, b"\x01" * 32, (QUEUED,)), "chain.inputs"),
    "inputs with another envelope": (
        lambda s: InputsMessage(s.wanted_hash, s.after_hash, (msgspec.structs.replace(QUEUED, body=b"another"),)),
        "chain.inputs",
    ),
    "inputs before the queue's first": (
        lambda s: InputsMessage(s.wanted_hash, bytes(32), (QUEUED,) * 256),
        "chain.inputs",
    ),
    "request for lists of nobody": (lambda s: FetchLists(9, 1, 2, ZERO_HASH), "member.unknown"),
}

CONVICTING = {
    "second list of a number": "list-equivocation",
    "second commit of a range": "commit-equivocation",
    "bundle for a block its certificate does not finalize": "false-finality",
    "bundle with a forged certificate": "false-finality",
}
"""Refusals that leave evidence; a message somebody else may have altered never does."""


@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_message_changes_nothing_and_names_its_sender(name: str, scene: Scene) -> None:
    make, code = REFUSED[name]
    message = make(scene)
    scene.core.convictions = Convictions(scene.d.committee)
    before = picture(scene.core)
    effects = scene.core.step(FromPeer(PEER, message), scene.now_ms)
    scene.core.convictions = Convictions(scene.d.committee)  # the scene goes on with all members
    faults = [one for one in effects if not isinstance(one, Evidence)]
    assert [(type(one), one.node, one.code) for one in faults] == [(Fault, PEER, code)]  # type: ignore[union-attr]
    assert picture(scene.core) == before
    evidence = [(one.node, one.kind) for one in effects if isinstance(one, Evidence)]
    assert evidence == ([(PEER, CONVICTING[name])] if name in CONVICTING else [])


IGNORED: dict[str, Make] = {
    "bodies nobody asked for": lambda s: Bodies((s.d.order(s.d.traders[1], s.now_ms),)),
    "a list that is held": lambda s: ListMessage(s.core.lists.between(PEER, 0, 1)[0][0]),  # type: ignore[index]
    "an old head": lambda s: HeadMessage(make_head(s.d, PEER, 1, 1)),
    "a vote for the past": lambda s: VoteMessage(make_vote(s.d, PEER, NOTARIZE, 1, b"\x01" * 32)),
    "a vote for the far future": lambda s: VoteMessage(make_vote(s.d, PEER, NULLIFY, s.view + 65)),
    "a bundle of an open height": lambda s: BundleMessage(s.bundle),
    "inputs nobody asked for": lambda s: InputsMessage(
        deposit(bytes(20), 0, 1).chained(s.after_hash), s.after_hash, (deposit(bytes(20), 0, 1),)
    ),
    "a question for inputs that nobody has": lambda s: FetchInputs(s.wanted_hash),
    "a commit share that is held": lambda s: s.commit_share(b"\x01" * 32),
    "a commit share of another epoch": lambda s: make_commit_share(s.d, PEER, make_commit(1 << 20, epoch=9)),
    "a commit share of a range before the first": lambda s: make_commit_share(s.d, PEER, make_commit(0)),
    "an old certificate": lambda s: CertificateMessage(make_certificate(s.d, FINALIZE, 1, b"\x01" * 32)),
}


@pytest.mark.parametrize("name", IGNORED)
def test_what_is_no_news_changes_nothing_and_accuses_nobody(name: str, scene: Scene) -> None:
    message = IGNORED[name](scene)
    before = picture(scene.core)
    assert scene.core.step(FromPeer(PEER, message), scene.now_ms) == []
    assert picture(scene.core) == before


def _client_cases(s: Scene) -> dict[str, tuple[Envelope, str]]:
    good = s.d.order(s.d.traders[1], s.now_ms)
    old = s.d.envelope(s.d.traders[1], s.d.label(s.d.traders[1].address, s.now_ms - 9, life_ms=9), b"x")
    return {
        "expired": (old, "label.expired"),
        "bent": (msgspec.structs.replace(good, ciphertext=good.ciphertext[:-1] + b"\x00"), "tdh2.proof"),
        "high s": (variant(s.d, 1, good, 7, high_s=True), "signature.encoding"),
        "another sponsor": (s.d.sponsored(s.d.traders[2], good.label, good.ciphertext), "sponsor.signature"),
        "forged variant": (s.d.sponsored(s.d.traders[2], s.order.label, s.order.ciphertext), "sponsor.signature"),
    }


@pytest.mark.parametrize("name", ["expired", "bent", "high s", "another sponsor", "forged variant"])
def test_a_refused_order_changes_nothing_but_the_answer(name: str, scene: Scene) -> None:
    envelope, code = _client_cases(scene)[name]
    before = picture(scene.core)
    effects = scene.core.step(FromClient(5, Submit(1, (envelope,), True)), scene.now_ms)
    while scene.core.has_work():
        effects += scene.core.work(scene.now_ms)
    replies = [one.message for one in effects if isinstance(one, Reply)]
    assert len(effects) == len(replies) == 1
    assert isinstance(replies[0], SubmitReply)
    result = replies[0].results[0]
    assert (result.code, result.receipt) == (code, None)
    assert result.field
    assert result.expected
    assert picture(scene.core) == before
