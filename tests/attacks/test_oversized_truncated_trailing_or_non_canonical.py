"""Attack: frames that are too long, cut short, followed by more, or encoded in another way than the shortest, of every
message that members, clients and members to clients send: to crash a reader, to fill its memory, or to have one value
under two hashes.

Each of the four ways has one code, whatever the message. The decoder refuses before a core sees anything, so the core
is as it was; the link that brought the frame is closed and the others go on.

Evidence: none: a frame that does not decode is refused (`wire.size`, `wire.malformed`, `wire.bound`, `wire.canonical`)
and is signed by nobody.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any, get_args

import msgspec
import pytest
from core_kit import (
    check_safety,
    make_certificate,
    make_claim,
    make_head,
    make_list,
    make_share,
    make_vote,
    picture,
    refused,
    sign,
    trickle,
)
from evidence_kit import charged, evidence_left
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import inspect

from mpc_sequencer.core import limits, messages
from mpc_sequencer.core.codec import decode, encode
from mpc_sequencer.core.effects import FromPeer, PeerDown, PeerUp
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.messages import ClientReply, ClientRequest, PeerMessage
from mpc_sequencer.core.resultproof import Certification, ResultLink, ResultProof, Shown
from mpc_sequencer.core.transcript import ChainInput
from mpc_sequencer.core.types import (
    FINALIZE,
    NO_SIGNATURE,
    NOTARIZE,
    ZERO_HASH,
    BatchEntry,
    Block,
    BlockHeader,
    Bundle,
    EpochStart,
    KeyCertificate,
    KeyMessage,
    KeyReady,
    NextCommittee,
    NextMember,
    Receipt,
    ResultRef,
)
from mpc_sequencer.node.framing import FrameSplitter, frame
from mpc_sequencer.settlement.claims import OrderCommit
from mpc_sequencer.sim import Cluster, make_deployment
from mpc_sequencer.sim.deployment import DARK_MARKET, START_MS

D = make_deployment(4)
ID = b"\x31" * 32
LIAR = 2
KINDS: tuple[Any, ...] = (PeerMessage, ClientRequest, ClientReply)


@cache
def examples() -> tuple[tuple[Any, Any], ...]:
    """(kind, message): one of every type that may travel, with something in every variable part."""
    order = D.order(D.traders[0], START_MS)
    listed = make_list(D, 1, 1, ZERO_HASH, (ID, b"\x32" * 32))
    head = make_head(D, 1, 2, START_MS, listed, results=(ResultRef(3, ID), ResultRef(70_000, ID)))
    header = BlockHeader(1, 0, 300, 77, ID, START_MS, ID, ID, ID, D.committee.genesis.checkpoint)
    block = Block(header, (head,), (BatchEntry(ID, ID),), (ResultRef(1, ID),))
    certificate = make_certificate(D, FINALIZE, 2, ID)
    vote = make_vote(D, 1, NOTARIZE, 2, ID)
    bundle = Bundle(0, 1, ID, 2, ID, certificate, (header,), (b"\x02" + ID,), bytes(98), bytes(97), NO_SIGNATURE)
    receipt = sign(D, 1, Receipt(0, 0, ID, 1, 1, START_MS, NO_SIGNATURE))
    key_message = sign(D, 1, KeyMessage(0, ID, 1, b"\x01" + bytes(97), NO_SIGNATURE))
    key = KeyCertificate(0, 0, 1, bytes(40), (KeyReady(1, NO_SIGNATURE), KeyReady(2, NO_SIGNATURE)))
    next_committee = NextCommittee(1, (NextMember(b"\x02" + ID, ID, "127.0.0.1:7000", bytes(40)),))
    start = EpochStart(300, next_committee, 1, 2, bytes(40), key.ready, ID, 70_000)
    row = messages.ExecutedRow(ID, "filled", 3, 618_000, bytes(16))
    certification = Certification((ResultRef(300, ID),), header, (header,), certificate, (head,))
    proof = ResultProof(ID, 4, ID, (Shown(b"value", 1, 300, (ID,)),), ID, (ResultLink(300, ID, ID),), certification)
    peer = (
        messages.PeerHello(ID, 3),
        messages.ListMessage(listed),
        messages.HeadMessage(head),
        messages.Proposal(block, certificate, (certificate,), vote),
        messages.VoteMessage(vote),
        messages.CertificateMessage(certificate),
        messages.BundleMessage(bundle),
        make_share(D, 2, make_claim(1, 64)),
        messages.FetchBodies((ID,)),
        messages.Bodies((order,)),
        messages.FetchLists(1, 1, 300, ID),
        messages.FetchBlock(ID),
        messages.BlockMessage(block, certificate),
        messages.FetchBundle(ID),
        messages.FetchLog(300, 70_000),
        messages.LogSlice((b"entry", b"another"), 9),
        messages.KeyBodies((key_message, key_message)),
        messages.CommitShare(OrderCommit(0, 16, ID, ID, 7, 1), 3, NO_SIGNATURE),
        messages.FetchInputs(ID),
        messages.InputsMessage(ID, ID, (ChainInput(3, bytes(20), 0, ID, b"envelope"),) * 2),
        messages.DarkShares(ID, 2, 3, b"shares", NO_SIGNATURE),
    )
    request = (
        messages.Submit(7, (order, order), True),
        messages.OrderQuery(300, ID, 70_000, True),
        messages.StatusQuery(1),
        messages.KeyQuery(300),
        messages.EpochsQuery(300, 2),
        messages.ProofQuery(300, 4, ID, 70_000),
        messages.MarketQuery(300, 70_000, 200),
        messages.DarkKeysQuery(300),
    )
    reply = (
        messages.SubmitReply(7, (messages.SubmitResult(ID, receipt, "", "", "", ""),)),
        messages.OrdersFinal(3, ID, (ID,)),
        messages.OrdersExecuted(3, (row,)),
        messages.OrdersFilled(4, (row, row)),
        messages.OrderReply(
            *(9, ID, "executed", 3, "filled", 3, 618_000, bytes(16), bytes(16), 300), ((300, row), (70_000, row)), True
        ),
        messages.StatusReply(
            *(1, 2, 0, 9, 3, 3, 2, 1, 5, 7, 0, 4, 1, 21_000, (0, 1), (3,), 5, 6, ((1, 0, 618_000, 3),)),
            *("deals", 1, 3, 4, 300),
            *("keys", (0, 3), (messages.DarkMarketStatus(1, "run", 2, 3, 4, (300, "filled", 618_000, 3)),)),
        ),
        messages.KeyReply(300, key, "done"),
        messages.EpochsReply(300, (start, start), next_committee, next_committee, 300),
        messages.ProofReply(300, "proven", proof),
        messages.MarketReply(
            *(300, 70_000, DARK_MARKET, 300, 618_000, ((9, 300, 2),), ((618_001, 9, 1),), (3, 618_000, 9))
        ),
        messages.DarkKeysReply(300, 1, 70_000, "done", 2, (b"\x02" + ID, b""), ID),
        messages.Refused("wire.type", "field", "seen", "expected"),
    )
    return tuple((kind, one) for kind, ones in zip(KINDS, (peer, request, reply), strict=True) for one in ones)


NAMES = [type(one).__name__ for _, one in examples()]


@pytest.fixture(params=examples(), ids=NAMES)
def message(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    kind, one = request.param
    return kind, one


def test_every_type_of_message_is_here() -> None:
    for kind in KINDS:
        assert {type(one) for of, one in examples() if of is kind} == set(get_args(kind))
    for kind, one in examples():
        assert decode(kind, encode(one)) == one


# --- MessagePack, written plainly ---------------------------------------------------------------------------------
Path = tuple[int, ...]


def places(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every value inside ``value``, itself first."""
    yield path, value
    if isinstance(value, list):
        for at, one in enumerate(value):
            yield from places(one, (*path, at))


def with_length(short: int, forms: tuple[tuple[int, int], ...], count: int, longer: int) -> bytes:
    """A length's head in its shortest form (0) or one that is ``longer`` by so many sizes. ``forms`` are (byte, size);
    ``short`` is the base of the form that holds the length in its first byte, 0 where there is none."""
    ways = [bytes((short + count,))] if short and count < (32 if short == 0xA0 else 16) else []
    ways += [bytes((first,)) + count.to_bytes(size, "big") for first, size in forms if count < 1 << 8 * size]
    return ways[min(longer, len(ways) - 1)]


def integer(value: int, longer: int) -> bytes:
    ways = [bytes((value,))] if value < 128 else []
    ways += [
        bytes((first,)) + value.to_bytes(size, "big")
        for first, size in ((0xCC, 1), (0xCD, 2), (0xCE, 4), (0xCF, 8))
        if value < 1 << 8 * size
    ]
    return ways[min(longer, len(ways) - 1)]


def written(value: Any, at: Path | None, longer: int) -> bytes:
    """``value`` as MessagePack; what lies at ``at`` in a form that is longer than it need be."""
    here = longer if at == () else 0
    if value is None or isinstance(value, bool):
        return {None: b"\xc0", False: b"\xc2", True: b"\xc3"}[value]
    if isinstance(value, int):
        return integer(value, here)
    if isinstance(value, bytes):
        return with_length(0, ((0xC4, 1), (0xC5, 2), (0xC6, 4)), len(value), here) + value
    if isinstance(value, str):
        data = value.encode()
        return with_length(0xA0, ((0xD9, 1), (0xDA, 2), (0xDB, 4)), len(data), here) + data
    assert isinstance(value, list)
    inside = [written(one, at[1:] if at and at[0] == i else None, longer) for i, one in enumerate(value)]
    return with_length(0x90, ((0xDC, 2), (0xDD, 4)), len(value), here) + b"".join(inside)


def replaced(value: Any, at: Path, new: Any) -> Any:
    if not at:
        return new
    return [replaced(one, at[1:], new) if i == at[0] else one for i, one in enumerate(value)]


def plain(one: Any) -> Any:
    return msgspec.msgpack.decode(encode(one))


# --- the four ways ------------------------------------------------------------------------------------------------
def test_truncated_anywhere(message: tuple[Any, Any]) -> None:
    kind, one = message
    raw = encode(one)
    for end in range(len(raw)):
        with refused("wire.malformed"):
            decode(kind, raw[:end])
        splitter = FrameSplitter(limits.FRAME_BYTES_MAX)
        assert splitter.feed(frame(raw)[: end + 4]) == [] and splitter.fault is None, "half a frame is none"


@settings(max_examples=30, deadline=None)
@given(tail=st.binary(min_size=1, max_size=40))
def test_trailing(tail: bytes) -> None:
    for kind, one in examples():
        with refused("wire.malformed"):
            decode(kind, encode(one) + tail)


def test_non_canonical_at_every_place(message: tuple[Any, Any]) -> None:
    kind, one = message
    tree, raw = plain(one), encode(one)
    assert written(tree, None, 0) == raw
    tried = 0
    for path, _ in places(tree):
        for longer in (1, 2, 3, 4):
            other = written(tree, path, longer)
            if other != raw:
                tried += 1
                with refused("wire.canonical"):
                    decode(kind, other)
    assert tried >= 4


def declared(kind: Any, tree: Any, path: Path) -> Any:
    """What the types say of the value at ``path``."""
    info = inspect.type_info(kind)
    for step in (*path, None):
        if isinstance(info, inspect.UnionType):
            structs = [one for one in info.types if isinstance(one, inspect.StructType)]
            if structs:
                info = next(one for one in structs if one.tag in (None, tree[0]))
            else:  # a plain value that may be absent
                info = next(one for one in info.types if not isinstance(one, inspect.NoneType))
        if step is None:
            break
        if isinstance(info, inspect.StructType):
            info = info.fields[step - (info.tag is not None)].type
        else:
            info = info.item_type if isinstance(info, inspect.VarTupleType) else info.item_types[step]
        tree = tree[step]
    return info


def one_too_many(info: Any, value: Any) -> tuple[Any, str] | None:
    """A value just beyond what is declared, and the code of its refusal; None for structs, truth values and nothing."""
    match info:
        case inspect.IntType():
            return (info.le + 1 if info.le is not None else info.lt), "wire.bound"
        case inspect.BytesType() | inspect.StrType():
            assert info.max_length is not None, "no end to it"
            filling = b"\x01" if isinstance(value, bytes) else "x"
            return filling * (info.max_length + 1), "wire.bound"
        case inspect.VarTupleType():
            assert info.max_length is not None, "no end to it"
            return value[:1] * (info.max_length + 1), "wire.bound"
        case inspect.TupleType():
            return [*value, 0], "wire.bound"
        case inspect.LiteralType():
            return max(info.values) + 1, "wire.type"
    assert isinstance(info, inspect.StructType | inspect.BoolType), info
    return None


def test_oversized_by_one_in_every_place(message: tuple[Any, Any]) -> None:
    """Every text, number and sequence inside every message has a bound, and the first value beyond it is refused."""
    kind, one = message
    tree = plain(one)
    for path, value in places(tree):
        if path == (0,):
            continue  # the tag says which message it is
        beyond = one_too_many(declared(kind, tree, path), value)
        if beyond is None:
            continue
        raw = written(replaced(tree, path, beyond[0]), None, 0)
        with refused(beyond[1] if len(raw) <= limits.FRAME_BYTES_MAX else "wire.size"):
            decode(kind, raw)


def test_a_frame_beyond_its_bound_is_refused_by_its_length_alone(message: tuple[Any, Any]) -> None:
    kind, one = message
    raw = encode(one)
    splitter = FrameSplitter(len(raw) - 1)
    assert splitter.feed(frame(raw)[:4]) == []
    assert splitter.fault is not None and splitter.fault.code == "wire.size", "before a byte of it has come"
    with refused("wire.size"):
        decode(kind, raw, bytes_max=len(raw) - 1)
    splitter = FrameSplitter(len(raw))
    assert splitter.feed(frame(raw)) == [raw] and splitter.fault is None


# --- members ------------------------------------------------------------------------------------------------------
WAYS = {
    "truncated": (lambda raw: raw[:-1], "wire.malformed"),
    "trailing": (lambda raw: raw + b"\x00", "wire.malformed"),
    "non-canonical": (lambda raw: b"\xdc\x00" + bytes((raw[0] & 0x0F,)) + raw[1:], "wire.canonical"),
    "oversized": (lambda raw: raw + bytes(limits.FRAME_BYTES_MAX), "wire.size"),
}


class Wire(Cluster):
    """A cluster whose members read frames off a wire; every other one of the liar's is bent. A refused frame ends the
    link: both ends are told, and it stands again at once."""

    bend: Any = staticmethod(lambda raw: raw)
    codes: set[str]
    sent = 0

    def _transmit(self, sender: int, receiver: int, message: PeerMessage) -> None:
        self.sent += sender == LIAR
        if sender != LIAR or receiver == sender or self.sent % 2:
            super()._transmit(sender, receiver, message)
            return
        core = self.cores[receiver]
        before = picture(core) if self.sent < 40 else None
        splitter = FrameSplitter(limits.FRAME_BYTES_MAX)
        try:
            frames = splitter.feed(frame(self.bend(encode(message))))
            if splitter.fault is not None:
                raise splitter.fault
            read: Any = decode(PeerMessage, frames[0])
            self.at(self.now_ms, receiver, FromPeer(sender, read))
        except ProtocolError as error:
            self.codes.add(error.code)
            assert before is None or picture(core) == before
            for event in (PeerDown(sender), PeerUp(sender)):
                self.at(self.now_ms, receiver, event)


@pytest.mark.parametrize("way", WAYS)
def test_a_member_that_sends_such_frames_holds_up_nobody(way: str) -> None:
    d = make_deployment(4)
    cluster = Wire(d)
    cluster.codes = set()
    bend, code = WAYS[way]
    cluster.bend = bend
    honest = {0, 1, 3}
    trickle(cluster, honest, 8, 60)
    cluster.run(1_000)
    check_safety(cluster, honest=honest)
    assert cluster.codes == {code}
    assert charged(cluster, honest) == set()
    assert evidence_left(cluster) == set()
