"""Committees with and without a key of their own, and certificates as members make them: a whole key generation in
memory, signed by real consensus keys.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import msgspec
import trio

from mpc_sequencer.client import SealedOrder, limit_order, make_label, seal_order, sign_action
from mpc_sequencer.core.actions import BUY, GTC
from mpc_sequencer.core.committee import Committee, Genesis, Member
from mpc_sequencer.core.keys import establish, session_plan
from mpc_sequencer.core.messages import ClientReply, ClientRequest, EpochsQuery, EpochsReply, StatusReply
from mpc_sequencer.core.signing import Signer
from mpc_sequencer.core.types import NO_SIGNATURE, Checkpoint, KeyCertificate, KeyMessage, KeyReady
from mpc_sequencer.devnet.layout import BTCUSDT
from mpc_sequencer.node import tls
from mpc_sequencer.node.config import CommitteeFile, committee_file
from threshold import SecretShare, deal
from threshold.dkg import Message, Participant, Phase, Result, Session
from threshold.dkg.wire import encode_ready

Signers = tuple[Signer, ...]
NODES = 4
NOW_MS = 1_700_000_000_000


@dataclass(frozen=True)
class House:
    """Four members' public files and their secrets; the committee file has no threshold key."""

    file: CommitteeFile
    signers: tuple[Signer, ...]
    log_seeds: tuple[bytes, ...]


def build_house(ports: Sequence[int]) -> House:
    """Members that listen at ``ports`` on this machine."""
    signers = sorted((Signer(bytes((9, i)) * 16) for i in range(NODES)), key=lambda signer: signer.address)
    seeds = tuple(bytes((8, i)) * 16 for i in range(NODES))
    members = tuple(Member(one.public_key, tls.log_key(seed), b"") for one, seed in zip(signers, seeds, strict=True))
    genesis = Genesis(
        version=1,
        chain_id=31_337,
        settlement=b"\x5e" * 20,
        epoch=0,
        threshold=3,
        public_key=b"",
        members=members,
        assets=(b"\x0a" * 20, b"\x0b" * 20),
        markets=(BTCUSDT,),
        checkpoint=Checkpoint(0, bytes(32), 0, bytes(32)),
        time_ms=0,
    )
    endpoints = [("127.0.0.1", port) for port in ports]
    file = committee_file(genesis, endpoints, [tls.member_certificate(seed) for seed in seeds])
    return House(file, tuple(signers), seeds)


def without_key(genesis: Genesis) -> Genesis:
    """The same deployment with its key still to be generated."""
    members = tuple(msgspec.structs.replace(member, verification_key=b"") for member in genesis.members)
    return msgspec.structs.replace(genesis, public_key=b"", members=members)


def with_key(genesis: Genesis) -> Genesis:
    """The same deployment with a key that the committee file gives."""
    dealing = deal(len(genesis.members), genesis.threshold, secret=None, entropy=b"\x77" * 32)
    members = tuple(
        msgspec.structs.replace(member, verification_key=key)
        for member, key in zip(genesis.members, dealing.verification_keys, strict=True)
    )
    return msgspec.structs.replace(genesis, public_key=dealing.public_key, members=members)


def _run(people: Sequence[Participant]) -> tuple[Result, list[SecretShare]]:
    session = Session.begin(people[0].plan, 0, 0)
    while not session.ended:
        said = [Message(one.receiver_index or 0, payload) for one in people for payload in one.messages(session)]
        session = session.block(session.height + 1, session.time_ms + 1_000, said)
    assert session.phase is Phase.DONE and session.result is not None
    return session.result, [one.share(session) for one in people]


@cache
def _generation(genesis: Genesis, attempt: int) -> tuple[Result, list[SecretShare]]:
    plan = session_plan(Committee(genesis), 0, attempt)
    return _run([Participant(plan, bytes((7, i)) * 16, dealer_index=i, receiver_index=i) for i in plan.receivers])


def generated(committee: Committee, attempt: int = 0) -> Result:
    """What the committee's key generation ends with."""
    return _generation(committee.genesis, attempt)[0]


def certify_refresh(committee: Committee, signers: Sequence[Signer]) -> KeyCertificate:
    """The certificate of sharing 1 of the generated key, by all members."""
    knows = Committee(committee.genesis)
    establish(knows, certify(committee, signers))
    plan = session_plan(knows, 1, 0)
    shares = _generation(committee.genesis, 0)[1]
    made, _ = _run([Participant(plan, bytes((6, one.index)) * 16, one.index, one.index, one) for one in shares])
    return KeyCertificate(committee.epoch, 1, 0, made.encode(), _ready(committee, signers, range(committee.n), made))


def _ready(committee: Committee, signers: Sequence[Signer], by: Sequence[int], made: Result) -> tuple[KeyReady, ...]:
    payload = encode_ready(made.hash())
    said = [KeyMessage(committee.epoch, made.session, node, payload, NO_SIGNATURE) for node in by]
    return tuple(KeyReady(one.node, signers[one.node].sign_digest(committee.digest(one.struct_hash()))) for one in said)


def certify(
    committee: Committee,
    signers: Sequence[Signer],
    *,
    attempt: int = 0,
    by: Sequence[int] | None = None,
    result: bytes | None = None,
) -> KeyCertificate:
    """The certificate that members ``by`` (a quorum by default) make of the result; of other bytes, where given."""
    made = generated(committee, attempt)
    encoded = made.encode() if result is None else result
    hashed = made.hash() if result is None else Result.decode(result).hash()
    ready = []
    for node in range(committee.q) if by is None else by:
        message = KeyMessage(committee.epoch, made.session, node, encode_ready(hashed), NO_SIGNATURE)
        ready.append(KeyReady(node, signers[node].sign_digest(committee.digest(message.struct_hash()))))
    return KeyCertificate(committee.epoch, 0, attempt, encoded, tuple(ready))


class Answering:
    """Members behind the interface of the TLS link: each request is answered by ``answer(node, request)``."""

    def __init__(self, answer: Callable[[int, ClientRequest], list[ClientReply]]) -> None:
        self._answer = answer

    @asynccontextmanager
    async def connector(self, node: int) -> AsyncIterator[Any]:
        sender, receiver = trio.open_memory_channel[ClientReply](100)
        answer = self._answer

        class Connection:
            async def send(self, *requests: ClientRequest) -> None:
                for request in requests:
                    replies = answer(node, request)
                    if not replies and isinstance(request, EpochsQuery):
                        replies = [EpochsReply(request.request, (), None, None, 0)]
                    for reply in replies:
                        await sender.send(reply)

            def __aiter__(self) -> AsyncIterator[ClientReply]:
                return receiver.__aiter__()

        yield Connection()


def status_reply(node: int, request: int, **said: Any) -> StatusReply:
    """A member's state, zero but for what is ``said``."""
    empty: dict[str, Any] = dict.fromkeys(StatusReply.__struct_fields__, 0)
    empty |= {"peers_connected": (), "convicted": (), "clearing": (), "key_phase": "done", "key_due_ms": None}
    empty |= {"dark_phase": "", "dark_keys": (), "dark": ()}
    return StatusReply(**empty | {"request": request, "node": node} | said)


class OrderMaker:
    """Seals simple orders of one trader; ``now_ms`` is where their windows start."""

    def __init__(self, committee: Committee, trader: Signer) -> None:
        self.committee = committee
        self.trader = trader
        self._count = 0

    def __call__(self, now_ms: int = NOW_MS, lifetime_ms: int = 60_000) -> SealedOrder:
        self._count += 1
        label = make_label(self.committee, self.trader.address, (now_ms, now_ms + lifetime_ms))
        action = limit_order(
            self.committee,
            label,
            account=self.trader.address,
            nonce=self._count,
            market=0,
            side=BUY,
            time_in_force=GTC,
            price_ticks=618_000,
            quantity_lots=5,
        )
        signed = sign_action(self.committee, action, self.trader)
        sigma = self._count.to_bytes(32, "big")
        return seal_order(self.committee, label, signed, self.trader, sigma=sigma)
