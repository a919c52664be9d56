"""What the tests of the core share: signed values of any member, a frozen picture of a core, checkers of a run."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest
from coincurve import PrivateKey
from immutables import Map

from mpc_sequencer.core import domains
from mpc_sequencer.core.blocks import batch_root
from mpc_sequencer.core.codec import encode
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.messages import Proposal, SettlementShare, Submit, SubmitReply, SubmitResult
from mpc_sequencer.core.node import NodeCore
from mpc_sequencer.core.signing import GROUP_ORDER
from mpc_sequencer.core.transcript import (
    BlockEntry,
    BundleEntry,
    FinalityEntry,
    ListEntry,
    OpenedEntry,
    ReceiptEntry,
    ResultEntry,
    UnopenableEntry,
)
from mpc_sequencer.core.types import (
    NO_SIGNATURE,
    NOTARIZE,
    ZERO_HASH,
    Certificate,
    CertificateVote,
    Envelope,
    Head,
    OrderList,
    Vote,
    vote_struct_hash,
    with_signature,
)
from mpc_sequencer.settlement.claims import ResultClaim
from mpc_sequencer.sim import Cluster, Deployment
from threshold import ThresholdError


@contextmanager
def refused(code: str) -> Iterator[list[ProtocolError | ThresholdError]]:
    """The block raises a refusal of exactly this code; it is yielded in a list."""
    caught: list[ProtocolError | ThresholdError] = []
    with pytest.raises((ProtocolError, ThresholdError)) as info:
        yield caught
    caught.append(info.value)
    assert info.value.code == code, str(info.value)
    assert info.value.field and str(info.value.expected)


# --- signed values ------------------------------------------------------------------------------------------------
def sign(d: Deployment, node: int, value: Any) -> Any:
    """``value`` signed by member ``node``."""
    digest = d.committee.digest(value.struct_hash())
    return with_signature(value, d.signers[node].sign_digest(digest))


def make_list(d: Deployment, node: int, number: int, prev_hash: bytes, entries: tuple[bytes, ...]) -> OrderList:
    return sign(d, node, OrderList(0, 0, node, number, prev_hash, entries, NO_SIGNATURE))


def make_head(d: Deployment, node: int, view: int, time_ms: int, last: OrderList | None = None, **terms: Any) -> Head:
    number, list_hash = (last.number, last.struct_hash()) if last else (0, ZERO_HASH)
    fields: dict[str, Any] = {
        "epoch": 0,
        "incarnation": 0,
        "node": node,
        "view": view,
        "time_ms": time_ms,
        "list_number": number,
        "list_hash": list_hash,
        "results": (),
        "checkpoint": d.committee.genesis.checkpoint,
        "due_height": 0,
        "signature": NO_SIGNATURE,
    }
    return sign(d, node, Head(**{**fields, **terms}))


def make_vote(d: Deployment, node: int, kind: int, view: int, block_id: bytes = ZERO_HASH) -> Vote:
    return sign(d, node, Vote(kind, 0, view, block_id, node, NO_SIGNATURE))


def make_certificate(
    d: Deployment, kind: int, view: int, block_id: bytes = ZERO_HASH, nodes: tuple[int, ...] | None = None
) -> Certificate:
    """A certificate by ``nodes`` (at first q members)."""
    digest = d.committee.digest(vote_struct_hash(kind, 0, view, block_id))
    signers = nodes if nodes is not None else tuple(range(d.committee.q))
    votes = tuple(CertificateVote(node, d.signers[node].sign_digest(digest)) for node in signers)
    return Certificate(kind, 0, view, block_id, votes)


def make_claim(first_height: int, last_height: int, **terms: Any) -> ResultClaim:
    """A settlement result of a range, its roots and hashes made up."""
    made = (b"\x01" * 32,) * 4
    claim = ResultClaim(0, first_height, last_height, *made, 1, b"\x02" * 32, b"\x03" * 32)
    return msgspec.structs.replace(claim, **terms)


def make_share(d: Deployment, node: int, claim: ResultClaim) -> SettlementShare:
    return SettlementShare(claim, node, d.signers[node].sign_digest(d.committee.digest(claim.struct_hash())))


# --- a frozen picture -----------------------------------------------------------------------------------------------
_OPAQUE = {"Signer", "SecretShare", "CheckedCiphertext", "Committee", "SealingKey", "function", "method", "FixedBase"}
_OPAQUE |= {"Convictions"}  # the one thing a refused message may change: what it proves against its signer
_CLOCK = {"now_ms"}


def freeze(value: Any, _seen: dict[int, int] | None = None) -> Any:
    """Everything reachable from ``value`` as nested tuples: equal pictures mean equal state."""
    seen = {} if _seen is None else _seen
    if value is None or isinstance(value, bool | int | str | bytes | float):
        return value
    name = type(value).__name__
    if name in _OPAQUE or callable(value):
        return name
    if isinstance(value, msgspec.Struct):
        return (name, msgspec.msgpack.encode(value))
    if id(value) in seen:
        return ("seen", seen[id(value)])
    seen[id(value)] = len(seen)
    if isinstance(value, dict | Map):
        return (name, tuple((freeze(k, seen), freeze(v, seen)) for k, v in value.items()))
    if isinstance(value, set | frozenset):
        return (name, tuple(sorted(repr(freeze(one, seen)) for one in value)))
    if isinstance(value, list | tuple | deque):
        return (name, tuple(freeze(one, seen) for one in value))
    names = [n for kind in type(value).__mro__ for n in getattr(kind, "__slots__", ())]
    names += list(getattr(value, "__dict__", ()))
    if dataclasses.is_dataclass(value):
        names += [one.name for one in dataclasses.fields(value)]
    held = sorted({n for n in names if n not in _CLOCK and hasattr(value, n)})
    return (name, tuple((n, freeze(getattr(value, n), seen)) for n in held))


def picture(core: NodeCore) -> Any:
    """A core without its clock."""
    return freeze(core)


# --- checkers of a run ------------------------------------------------------------------------------------------
def blocks(cluster: Cluster, node: int) -> dict[int, bytes]:
    """Final block ids by height, as the member's log has them."""
    return {
        one.block.header.height: one.block.header.block_id()
        for one in cluster.logs[node]
        if isinstance(one, BlockEntry)
    }


def results(cluster: Cluster, node: int) -> dict[int, bytes]:
    return {one.height: one.result for one in cluster.logs[node] if isinstance(one, ResultEntry)}


def sequenced(cluster: Cluster, node: int) -> list[bytes]:
    """Order ids of the member's final batches, in order."""
    return [
        entry.order_id for one in cluster.logs[node] if isinstance(one, BlockEntry) for entry in one.block.batch
    ]


def agreeing(first: dict[int, Any], second: dict[int, Any]) -> bool:
    return all(first[height] == second[height] for height in first.keys() & second.keys())


def check_safety(cluster: Cluster, *, honest: set[int] | None = None) -> None:
    """What must hold in every run, whatever crashed or lied."""
    members = sorted(honest if honest is not None else set(range(len(cluster.cores))))
    for node in members:
        log = cluster.logs[node]
        heights = [one.block.header.height for one in log if isinstance(one, BlockEntry)]
        assert heights == list(range(1, len(heights) + 1)), "a log's blocks follow each other"
        ids = sequenced(cluster, node)
        assert len(ids) == len(set(ids)), "an order is batched once"
        assert agreeing(blocks(cluster, node), blocks(cluster, members[0]))
        assert agreeing(results(cluster, node), results(cluster, members[0]))
        _check_receipts(cluster, node)
        _check_reveal_follows_finality(cluster, node)
    openings = [
        {one.opened.order_id: one.opened for one in cluster.logs[node] if isinstance(one, OpenedEntry)}
        for node in members
    ]
    closed = [
        {one.unopenable.order_id for one in cluster.logs[node] if isinstance(one, UnopenableEntry)} for node in members
    ]
    for opened in openings:
        for malformed in closed:
            assert not malformed & opened.keys(), "one verdict per order"
        for order_id in opened.keys() & openings[0].keys():
            assert opened[order_id] == openings[0][order_id]


def _check_receipts(cluster: Cluster, node: int) -> None:
    """Every receipt's order is in exactly the list it names, in all logs that hold that list."""
    lists = {
        (one.order_list.node, one.order_list.number): one.order_list
        for log in cluster.logs
        for one in log
        if isinstance(one, ListEntry)
    }
    for one in cluster.logs[node]:
        if isinstance(one, ReceiptEntry):
            held = lists.get((node, one.receipt.list_number))
            if held is not None:
                assert one.receipt.order_id in held.entries, "a receipt is kept"


def _check_reveal_follows_finality(cluster: Cluster, node: int) -> None:
    """In a member's log its bundle of a block comes after what makes the block final."""
    final: set[bytes] = set()
    for one in cluster.logs[node]:
        if isinstance(one, FinalityEntry):
            final.add(one.block_id)
        elif isinstance(one, BundleEntry) and one.bundle.node == node:
            assert one.bundle.block_id in final


def faults_against(cluster: Cluster, nodes: set[int]) -> list[tuple[int, str]]:
    """Faults that any member charged to one of ``nodes``."""
    return [(fault.node, fault.code) for _, fault in cluster.faults if fault.node in nodes]


# --- hostile signers ------------------------------------------------------------------------------------------
def trader_secret(d: Deployment, index: int) -> bytes:
    """The secret of ``d.traders[index]``, as the simulated deployment draws it."""
    return hashlib.sha256(repr((d.seed, "trader", index)).encode()).digest()


def sign_with_nonce(secret: bytes, digest: bytes, nonce: int, *, high_s: bool = False) -> bytes:
    """A valid ECDSA signature with a chosen nonce, so that one signer makes many over one digest."""
    point = PrivateKey(nonce.to_bytes(32, "big")).public_key.format(compressed=False)
    r = int.from_bytes(point[1:33], "big") % GROUP_ORDER
    s = pow(nonce, -1, GROUP_ORDER) * (int.from_bytes(digest, "big") + r * int.from_bytes(secret, "big")) % GROUP_ORDER
    parity = point[64] & 1
    if (s > GROUP_ORDER // 2) != high_s:
        s, parity = GROUP_ORDER - s, parity ^ 1
    return r.to_bytes(32, "big") + s.to_bytes(32, "big") + bytes((27 + parity,))


def variant(d: Deployment, trader: int, envelope: Envelope, nonce: int, *, high_s: bool = False) -> Envelope:
    """The same order under another signature of its sponsor ``d.traders[trader]``."""
    digest = d.committee.digest(domains.SPONSOR_TYPE(envelope.order_id()))
    signature = sign_with_nonce(trader_secret(d, trader), digest, nonce, high_s=high_s)
    return msgspec.structs.replace(envelope, sponsor_signature=signature)


def submit(cluster: Cluster, node: int, *envelopes: Envelope, client: int = 1) -> None:
    """Hand sealed orders to a member now."""
    cluster.request(node, Submit(1, envelopes, True), client)


def answers(cluster: Cluster, client: int = 1) -> list[SubmitResult]:
    """All admission answers a client got, in order."""
    return [
        one for _, reply in cluster.replies.get(client, ()) if isinstance(reply, SubmitReply) for one in reply.results
    ]


def all_sequenced(order_ids: set[bytes], nodes: set[int]) -> Callable[[Cluster], bool]:
    """Whether every one of ``nodes`` has batched all of ``order_ids``."""
    return lambda cluster: all(
        (cluster.cores[node].pool.sequenced_height(order_id) or 0) > 0
        for node in nodes
        for order_id in order_ids
    )


def trickle(cluster: Cluster, nodes: set[int], turns: int, every_ms: int, *, each: int = 1) -> None:
    """At each turn ``each`` orders to one of ``nodes``; then wait until all of these have batched them all."""
    d, ids = cluster.deployment, set()
    for turn in range(turns):
        orders = [d.order(d.traders[(turn + i) % 4], cluster.now_ms) for i in range(each)]
        ids |= {order.order_id() for order in orders}
        submit(cluster, sorted(nodes)[turn % len(nodes)], *orders)
        cluster.run(every_ms)
    assert cluster.run(20_000, until=all_sequenced(ids, nodes))


def reproposed(d: Deployment, proposal: Proposal, **changes: Any) -> Proposal:
    """A leader's proposal with parts of its block changed, roots and vote made to fit."""
    block = msgspec.structs.replace(proposal.block, **changes)
    terms: dict[str, Any] = {}
    if "batch" in changes:
        terms["batch_root"] = batch_root(block.batch)
    if "certified" in changes:
        terms["certified_root"] = domains.CERTIFIED(encode(block.certified))
    header = msgspec.structs.replace(block.header, **terms)
    block = msgspec.structs.replace(block, header=header)
    vote = make_vote(d, d.committee.leader(header.view), NOTARIZE, header.view, header.block_id())
    return msgspec.structs.replace(proposal, block=block, vote=vote)
