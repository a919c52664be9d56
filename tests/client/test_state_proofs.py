"""Proofs of accounts, orders, markets and fills: what members prove holds, and every bent field has its own refusal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from mpc_sequencer.client.proofs import (
    MAGIC,
    MarketValue,
    ProofFile,
    ProvenState,
    encode_proof,
    verify,
    verify_file,
)
from mpc_sequencer.core.actions import BUY, SELL
from mpc_sequencer.core.codec import decode, encode
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.messages import ProofQuery, ProofReply, Submit
from mpc_sequencer.core.resultproof import ACCOUNT, FILL, MARKET, ORDER, ResultProof, Shown
from mpc_sequencer.core.types import NOTARIZE, Certificate
from mpc_sequencer.market import Fill, OrderValue
from mpc_sequencer.market.types import AccountValue
from mpc_sequencer.sim import Cluster, make_deployment
from threshold import ThresholdError

replace = msgspec.structs.replace
CLIENT = 7


@dataclass(frozen=True)
class Traded:
    """A committee after some trades, and what a member proved of them."""

    cluster: Cluster
    committee: Committee
    proofs: dict[int, ResultProof]
    buyer: bytes
    resting_id: bytes
    filled_id: bytes


def ask(cluster: Cluster, node: int, kind: int, identifier: bytes, height: int = 0) -> ProofReply:
    before = len(cluster.replies.get(CLIENT, []))
    cluster.request(node, ProofQuery(1, kind, identifier, height), CLIENT)
    cluster.run(3_000)
    (reply,) = [one for _, one in cluster.replies[CLIENT][before:]]
    assert isinstance(reply, ProofReply)
    return reply


def submit_all(cluster: Cluster, node: int, *envelopes: Any) -> None:
    cluster.request(node, Submit(1, tuple(envelopes), False), CLIENT + 1)


@pytest.fixture(scope="module")
def traded() -> Traded:
    d = make_deployment(4)
    cluster = Cluster(d)
    seller, buyer = d.traders[0], d.traders[1]
    sell = d.order(seller, cluster.now_ms, side=SELL, price_ticks=618_000, quantity_lots=5)
    submit_all(cluster, 0, sell)
    cluster.run(1_000)
    buy = d.order(buyer, cluster.now_ms, side=BUY, price_ticks=618_000, quantity_lots=3)
    submit_all(cluster, 1, buy)
    cluster.run(1_000)
    core = cluster.cores[1]
    height = core.execution.executed_height
    names = {
        ACCOUNT: (buyer.address, 0),
        ORDER: (sell.order_id(), 0),
        MARKET: ((0).to_bytes(4, "big"), 0),
        FILL: (buy.order_id(), height),
    }
    proofs = {}
    for kind, (identifier, at) in names.items():
        reply = ask(cluster, 1, kind, identifier, at)
        assert reply.state == "proven" and reply.proof is not None
        proofs[kind] = reply.proof
    return Traded(cluster, d.committee, proofs, buyer.address, sell.order_id(), buy.order_id())


def judge(traded: Traded, proof: ResultProof) -> ProvenState:
    # as it comes over the wire
    read: ResultProof = decode(ResultProof, encode(proof))
    return verify(read, traded.committee.genesis_id, {0: traded.committee}.get)


def refused(traded: Traded, proof: ResultProof) -> str:
    with pytest.raises((ProtocolError, ThresholdError)) as caught:
        judge(traded, proof)
    return str(caught.value.code)  # type: ignore[attr-defined]


def test_an_account_an_order_a_market_and_a_fill_are_proven(traded: Traded) -> None:
    engine = traded.cluster.cores[2].execution.engine
    (account,) = judge(traded, traded.proofs[ACCOUNT]).values
    assert isinstance(account, AccountValue)
    free, locked = engine.balance(traded.buyer, 1)
    assert (1, free.to_bytes(16, "big"), locked.to_bytes(16, "big")) in account.balances
    proven = judge(traded, traded.proofs[ORDER])
    (order,) = proven.values
    assert isinstance(order, OrderValue) and order == engine.open_order(traded.resting_id)
    assert (order.remaining_lots, proven.epoch) == (2, 0) and proven.certified_ms > 0
    assert judge(traded, traded.proofs[MARKET]).values == (MarketValue(618_000, 0),)
    (fill,) = judge(traded, traded.proofs[FILL]).values
    assert isinstance(fill, Fill) and (fill.quantity_lots, fill.order_id) == (3, traded.filled_id)


def test_what_is_not_there_is_said_to_be_absent_and_what_is_not_kept_unavailable(traded: Traded) -> None:
    cluster = traded.cluster
    assert ask(cluster, 1, ACCOUNT, b"\x55" * 20).state == "absent"
    assert ask(cluster, 1, ORDER, traded.filled_id).state == "absent"
    assert ask(cluster, 1, ORDER, b"\x55" * 20).state == "unavailable"
    assert ask(cluster, 1, FILL, traded.filled_id, 10_000).state == "unavailable"
    assert ask(cluster, 1, FILL, b"\x56" * 32, traded.proofs[FILL].height).state == "absent"


def test_an_answer_waits_until_the_height_is_certified() -> None:
    d = make_deployment(4)
    cluster = Cluster(d)
    submit_all(cluster, 0, d.order(d.traders[0], cluster.now_ms, side=SELL, price_ticks=618_000))
    while not cluster.cores[0].execution.executed_height:
        cluster.run(20)
    height = cluster.cores[0].execution.executed_height
    assert cluster.cores[0].execution.certified_height < height
    cluster.request(0, ProofQuery(9, ACCOUNT, d.traders[0].address, 0), CLIENT)
    cluster.run(1)
    assert cluster.replies.get(CLIENT, []) == []
    cluster.run(2_000)
    ((_, reply),) = cluster.replies[CLIENT]
    assert isinstance(reply, ProofReply) and reply.proof is not None and reply.proof.height == height
    assert cluster.cores[0].proofs._pending == [] and not +cluster.cores[0].proofs._of_client


def test_a_client_that_asks_too_often_is_put_off_and_one_that_leaves_is_forgotten() -> None:
    d = make_deployment(4)
    cluster = Cluster(d)
    submit_all(cluster, 0, d.order(d.traders[0], cluster.now_ms, side=SELL, price_ticks=618_000))
    while not cluster.cores[0].execution.executed_height:
        cluster.run(20)
    desk = cluster.cores[0].proofs
    for number in range(65):
        desk.ask(CLIENT, ProofQuery(number, ACCOUNT, d.traders[0].address, 0))
    told = [one.message for one in cluster.cores[0].collect()]  # type: ignore[union-attr]
    assert [(one.request, one.state) for one in told] == [(64, "busy")]  # type: ignore[union-attr]
    desk.gone(CLIENT)
    assert desk._pending == [] and CLIENT not in desk._of_client


def flip(data: bytes, at: int = 0) -> bytes:
    return data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :]


def shown(proof: ResultProof, **changes: Any) -> ResultProof:
    return replace(proof, shown=(replace(proof.shown[0], **changes), *proof.shown[1:]))


def linked(proof: ResultProof, place: int, **changes: Any) -> ResultProof:
    links = list(proof.links)
    links[place] = replace(links[place], **changes)
    return replace(proof, links=tuple(links))


def certified(proof: ResultProof, **changes: Any) -> ResultProof:
    return replace(proof, certification=replace(proof.certification, **changes))


def headed(proof: ResultProof, change: Callable[[tuple[Any, ...]], tuple[Any, ...]]) -> ResultProof:
    return certified(proof, heads=change(proof.certification.heads))


def voted(proof: ResultProof, **changes: Any) -> ResultProof:
    return certified(proof, certificate=replace(proof.certification.certificate, **changes))


def bent_vote(certificate: Certificate) -> tuple[Any, ...]:
    first, *others = certificate.votes
    return (replace(first, signature=certificate.votes[1].signature), *others)


BENT: list[tuple[str, Callable[[ResultProof], ResultProof], str]] = [
    ("genesis", lambda p: replace(p, genesis=flip(p.genesis)), "proof.genesis"),
    ("another account", lambda p: replace(p, identifier=flip(p.identifier)), "proof.path"),
    ("length of the name", lambda p: replace(p, identifier=p.identifier + b"\0"), "proof.identifier"),
    ("kind", lambda p: replace(p, kind=ORDER, identifier=bytes(32)), "proof.value"),
    ("balance", lambda p: shown(p, value=flip(p.shown[0].value, 30)), "proof.path"),
    ("no value", lambda p: shown(p, value=b"\xc0"), "proof.value"),
    ("place of a state", lambda p: shown(p, place=1), "proof.shown"),
    ("two values", lambda p: replace(p, shown=p.shown * 2), "proof.shown"),
    ("sibling", lambda p: shown(p, siblings=(flip(p.shown[0].siblings[0]), *p.shown[0].siblings[1:])), "proof.path"),
    ("shorter path", lambda p: shown(p, siblings=p.shown[0].siblings[1:]), "proof.path"),
    ("state root", lambda p: linked(p, 0, state_root=flip(p.links[0].state_root)), "proof.path"),
    ("fills root", lambda p: linked(p, 0, fills_root=flip(p.links[0].fills_root)), "proof.result"),
    ("height", lambda p: linked(p, 0, height=p.height + 1), "proof.height"),
    ("result before", lambda p: replace(p, previous=flip(p.previous)), "proof.result"),
    ("links", lambda p: replace(p, links=(*p.links, p.links[-1])), "proof.links"),
    (
        "certified results",
        lambda p: certified(p, certified=(replace(p.certification.certified[0], result=bytes(32)),)),
        "proof.certified",
    ),
    ("header", lambda p: certified(p, header=replace(p.certification.header, time_ms=1)), "proof.finality"),
    ("header's epoch", lambda p: certified(p, header=replace(p.certification.header, epoch=1)), "epoch.unknown"),
    ("header on itself", lambda p: certified(p, path=(p.certification.header,)), "proof.chain"),
    (
        "parent",
        lambda p: certified(p, path=(replace(p.certification.header, height=p.certification.header.height + 1),)),
        "proof.chain",
    ),
    ("view", lambda p: voted(p, view=p.certification.certificate.view + 1), "proof.finality"),
    ("block", lambda p: voted(p, block_id=bytes(32)), "proof.finality"),
    ("kind of vote", lambda p: voted(p, kind=NOTARIZE), "proof.finality"),
    ("epoch of votes", lambda p: voted(p, epoch=1), "epoch.unknown"),
    ("a vote less", lambda p: voted(p, votes=p.certification.certificate.votes[:2]), "certificate.quorum"),
    ("votes' order", lambda p: voted(p, votes=p.certification.certificate.votes[::-1]), "certificate.order"),
    ("a vote's signature", lambda p: voted(p, votes=bent_vote(p.certification.certificate)), "signature.signer"),
    ("a head less", lambda p: headed(p, lambda h: h[1:]), "proof.heads"),
    ("a head twice", lambda p: headed(p, lambda h: (h[0], *h[:-1])), "proof.heads"),
    ("a head's result", lambda p: headed(p, lambda h: (replace(h[0], results=()), *h[1:])), "proof.head_result"),
    ("a head's clock", lambda p: headed(p, lambda h: (replace(h[0], time_ms=1), *h[1:])), "signature.signer"),
    ("a head's epoch", lambda p: headed(p, lambda h: (replace(h[0], epoch=1), *h[1:])), "epoch.unknown"),
    (
        "a head's signature",
        lambda p: headed(p, lambda h: (replace(h[0], signature=h[1].signature), *h[1:])),
        "signature.signer",
    ),
]


@pytest.mark.parametrize(("bend", "code"), [one[1:] for one in BENT], ids=[one[0] for one in BENT])
def test_a_proof_with_one_bent_field_is_refused_by_its_own_code(
    traded: Traded, bend: Callable[[ResultProof], ResultProof], code: str
) -> None:
    good = traded.proofs[ACCOUNT]
    assert refused(traded, bend(good)) == code
    judge(traded, good)


FILL_BENT: list[tuple[str, Callable[[ResultProof], ResultProof], str]] = [
    ("place", lambda p: shown(p, place=1 - p.shown[0].place), "proof.path"),
    ("count", lambda p: shown(p, count=3), "proof.path"),
    ("no siblings", lambda p: shown(p, siblings=()), "proof.path"),
    ("twice", lambda p: replace(p, shown=p.shown * 2), "proof.shown"),
    ("another order's", lambda p: replace(p, identifier=bytes(32)), "proof.value"),
    ("price", lambda p: shown(p, value=dearer(p.shown[0])), "proof.path"),
    ("height", lambda p: linked(p, 0, height=p.height + 1), "proof.value"),
]


def dearer(one: Shown) -> bytes:
    fill: Fill = decode(Fill, one.value)
    return encode(replace(fill, price_ticks=fill.price_ticks + 1))


@pytest.mark.parametrize(("bend", "code"), [one[1:] for one in FILL_BENT], ids=[one[0] for one in FILL_BENT])
def test_a_fill_that_was_not_made_is_not_proven(
    traded: Traded, bend: Callable[[ResultProof], ResultProof], code: str
) -> None:
    assert refused(traded, bend(traded.proofs[FILL])) == code


def test_a_portable_file_is_judged_by_the_committee_file_alone(traded: Traded) -> None:
    data = encode_proof(traded.proofs[ACCOUNT], traded.committee)
    assert verify_file(data, traded.committee) == judge(traded, traded.proofs[ACCOUNT])
    body = data[len(MAGIC) :]
    file: ProofFile = decode(ProofFile, body)
    for bad, code in (
        (b"", "proof.file"),
        (MAGIC.replace(b"1", b"2") + body, "proof.file"),
        (data[:-1], "wire.malformed"),
        (data + b"\0", "wire.malformed"),
        (MAGIC + encode(replace(file, proof=replace(file.proof, genesis=bytes(32)))), "proof.genesis"),
    ):
        with pytest.raises(ProtocolError) as caught:
            verify_file(bad, traded.committee)
        assert caught.value.code == code


def test_an_account_s_value_with_an_empty_list_of_client_ids_is_not_its_encoding(traded: Traded) -> None:
    proof = traded.proofs[ACCOUNT]
    longer = b"\x94" + proof.shown[0].value[1:] + b"\x90"
    assert refused(traded, shown(proof, value=longer)) == "proof.value"
