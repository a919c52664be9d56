"""The wire encoding: one form per value, and nothing but a named refusal for everything else."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import msgspec
import pytest
from core_kit import make_certificate, make_head, make_list, make_vote
from hypothesis import given, settings
from hypothesis import strategies as st

from mpc_sequencer.core import limits
from mpc_sequencer.core.codec import decode, encode
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.messages import (
    Bodies,
    BundleMessage,
    CertificateMessage,
    ClientReply,
    ClientRequest,
    CommitShare,
    FetchBodies,
    FetchLists,
    HeadMessage,
    ListMessage,
    PeerHello,
    PeerMessage,
    Proposal,
    SettlementShare,
    Submit,
    VoteMessage,
)
from mpc_sequencer.core.types import (
    FINALIZE,
    NOTARIZE,
    ZERO_HASH,
    BatchEntry,
    Block,
    BlockHeader,
    Bundle,
    ResultRef,
    Vote,
)
from mpc_sequencer.settlement.claims import OrderCommit, ResultClaim
from mpc_sequencer.sim import make_deployment
from mpc_sequencer.sim.deployment import START_MS

D = make_deployment(4)
ID = b"\x31" * 32
ORDER = D.order(D.traders[0], START_MS)
LIST = make_list(D, 1, 1, ZERO_HASH, (ID, b"\x32" * 32))
HEAD = make_head(D, 1, 2, START_MS, LIST, results=(ResultRef(3, ID), ResultRef(70_000, ID)))
HEADER = BlockHeader(1, 0, 300, 77, ID, START_MS, ID, ID, ID, D.committee.genesis.checkpoint)
BLOCK = Block(HEADER, (HEAD,), (BatchEntry(ID, ID),), (ResultRef(1, ID),))
CERTIFICATE = make_certificate(D, FINALIZE, 2, ID)
MESSAGES: list[Any] = [
    PeerHello(ID, 3),
    ListMessage(LIST),
    HeadMessage(HEAD),
    Proposal(BLOCK, None, (CERTIFICATE,), make_vote(D, 1, NOTARIZE, 2, ID)),
    VoteMessage(make_vote(D, 1, NOTARIZE, 2, ID)),
    CertificateMessage(CERTIFICATE),
    BundleMessage(Bundle(0, 1, ID, 2, ID, CERTIFICATE, (HEADER,), (b"\x02" + ID,), bytes(98), bytes(97), bytes(65))),
    SettlementShare(ResultClaim(0, 1, 64, ID, ID, ID, ID, 3, ID, ID), 2, bytes(65)),
    CommitShare(OrderCommit(0, 64, ID, ID, 12, 3), 2, bytes(65)),
    FetchBodies((ID,)),
    FetchLists(1, 1, 300, ID),
    Bodies((ORDER,)),
]


def name(message: Any) -> str:
    return type(message).__name__


@pytest.mark.parametrize("message", MESSAGES, ids=name)
def test_round_trip(message: Any) -> None:
    assert decode(PeerMessage, encode(message)) == message


@pytest.mark.parametrize("message", MESSAGES, ids=name)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_changed_byte_is_refused_or_another_canonical_value(message: Any, data: st.DataObject) -> None:
    raw = bytearray(encode(message))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        value = decode(PeerMessage, bytes(raw))
    except ProtocolError as error:
        assert error.code.startswith("wire.")
        assert error.field and error.seen and error.expected
    else:
        assert value != message
        assert encode(value) == bytes(raw)


@pytest.mark.parametrize("message", MESSAGES, ids=name)
def test_every_truncation_and_trailing_byte_is_refused(message: Any) -> None:
    raw = encode(message)
    for end in range(0, len(raw), max(1, len(raw) // 60)):
        with pytest.raises(ProtocolError) as info:
            decode(PeerMessage, raw[:end])
        assert info.value.code in {"wire.malformed", "wire.type", "wire.bound"}
    for tail in (b"\x00", b"\xc0", raw):
        with pytest.raises(ProtocolError) as info:
            decode(PeerMessage, raw + tail)
        assert info.value.code == "wire.malformed"


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200) | st.binary(max_size=80).map(lambda b: b"\x92\x05" + b))
def test_no_bytes_raise_anything_but_a_refusal(raw: bytes) -> None:
    for kind in (PeerMessage, ClientRequest, ClientReply):
        try:
            value = decode(kind, raw)
        except ProtocolError as error:
            assert error.code.startswith("wire.")
        else:
            assert encode(value) == raw


def packed(*values: Any) -> bytes:
    return msgspec.msgpack.encode(values)


VOTE = (5, (1, 0, 2, ID, 1, bytes(65)))


def vote(**changes: Any) -> bytes:
    fields = dict(zip(Vote.__struct_fields__, VOTE[1], strict=True))
    return packed(5, tuple({**fields, **changes}.values()))


@pytest.mark.parametrize(
    ("raw", "code", "field", "seen", "expected"),
    [
        (vote(view=-1), "wire.bound", "VoteMessage.vote.view", "-1", ">= 0"),
        (vote(view=1 << 63), "wire.bound", "VoteMessage.vote.view", str(1 << 63), "<="),
        (vote(node=40), "wire.bound", "VoteMessage.vote.node", "40", "39"),
        (vote(kind=4), "wire.type", "VoteMessage.vote.kind", "4", ""),
        (vote(view="2"), "wire.type", "VoteMessage.vote.view", "str", "int"),
        (vote(view=None), "wire.type", "VoteMessage.vote.view", "None", "int"),
        (vote(view=2.0), "wire.type", "VoteMessage.vote.view", "float", "int"),
        (vote(block_id=bytes(31)), "wire.bound", "VoteMessage.vote.block_id", "length 31", "32"),
        (vote(block_id=bytes(33)), "wire.bound", "VoteMessage.vote.block_id", "length 33", "32"),
        (vote(signature=bytes(64)), "wire.bound", "VoteMessage.vote.signature", "length 64", "65"),
        (packed(5, VOTE[1][:-1]), "wire.type", "VoteMessage.vote", "5", "6"),
        (packed(5, (*VOTE[1], 0)), "wire.type", "VoteMessage.vote", "7", "6"),
        (packed(99, VOTE[1]), "wire.type", "", "99", ""),
        (packed(9, ()), "wire.bound", "", "", ""),
        (packed(9, ((ID,) * (limits.FETCH_IDS_MAX + 1))), "wire.bound", "FetchBodies.ids", "1025", "1024"),
        (b"", "wire.malformed", "", "", ""),
        (b"\xc1", "wire.malformed", "", "", ""),
        (b"\xdd\xff\xff\xff\xff", "wire.malformed", "", "", ""),
        (b"\x91" * 5_000, "wire.type", "", "", ""),
    ],
)
def test_each_refusal_names_the_field_what_was_seen_and_what_was_expected(
    raw: bytes, code: str, field: str, seen: str, expected: str
) -> None:
    with pytest.raises(ProtocolError) as info:
        decode(PeerMessage, raw)
    error = info.value
    assert error.code == code, str(error)
    assert field in error.field, str(error)
    assert seen in error.seen, str(error)
    assert expected in error.expected, str(error)


@pytest.mark.parametrize(
    ("shortest", "longer"),
    [
        (b"\x02", b"\xcc\x02"),
        (b"\x02", b"\xcd\x00\x02"),
        (b"\x02", b"\xce\x00\x00\x00\x02"),
        (b"\x02", b"\xcf" + bytes(7) + b"\x02"),
        (b"\x02", b"\xd0\x02"),
        (b"\x02", b"\xd3" + bytes(7) + b"\x02"),
    ],
)
def test_a_longer_form_of_an_integer_is_not_canonical(shortest: bytes, longer: bytes) -> None:
    good = encode(MESSAGES[4])
    start = good.index(b"\x00\x02\xc4\x20") + 1
    assert good[start : start + 1] == shortest
    with pytest.raises(ProtocolError) as info:
        decode(PeerMessage, good[:start] + longer + good[start + 1 :])
    assert info.value.code == "wire.canonical"


def test_a_longer_form_of_a_length_is_not_canonical() -> None:
    good = encode(MESSAGES[4])
    at = good.index(b"\xc4\x20")
    for longer in (b"\xc5\x00\x20", b"\xc6\x00\x00\x00\x20"):
        with pytest.raises(ProtocolError) as info:
            decode(PeerMessage, good[:at] + longer + good[at + 2 :])
        assert info.value.code == "wire.canonical"
    with pytest.raises(ProtocolError) as info:
        decode(PeerMessage, b"\xdc\x00" + bytes((good[0] & 0x0F,)) + good[1:])
    assert info.value.code == "wire.canonical"


def test_a_message_above_its_bound_is_refused_unread() -> None:
    with pytest.raises(ProtocolError) as info:
        decode(PeerMessage, bytes(101), bytes_max=100)
    assert (info.value.code, info.value.seen) == ("wire.size", "101 bytes")


def test_a_client_s_request_is_no_peer_message_and_the_reverse() -> None:
    for kind, message in ((PeerMessage, Submit(1, (ORDER,), True)), (ClientRequest, MESSAGES[4])):
        with pytest.raises(ProtocolError) as info:
            decode(kind, encode(message))
        assert info.value.code == "wire.type"


def test_nested_bytes_end_no_process_whatever_a_library_has_set() -> None:
    code = (
        "import sys; import mpc_sequencer.settlement.ethrpc as rpc\n"
        "from mpc_sequencer.core.codec import decode; from mpc_sequencer.core.errors import ProtocolError\n"
        "from mpc_sequencer.core.types import Head\n"
        "print(sys.getrecursionlimit() > 50_000)\n"
        "for data in (b'\\x91' * 200_000, b'\\x9b' + bytes(10) + b'\\x91' * 200_000):\n"
        "    try: decode(Head, data)\n"
        "    except ProtocolError as error: print(error.code)\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.returncode
    lifted, *codes = found.stdout.split()
    assert lifted == "True", "no library lifts the limit any more: this test shows nothing"
    assert len(codes) == 2 and all(code.startswith("wire.") for code in codes)
