"""People who are members of one committee after another, as scripts behind the interface of the TLS link; their proofs,
receipts and signatures are real.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import trio
from client_key_kit import OrderMaker, status_reply
from epoch_kit import Era, Person, first_era, next_era, person

from mpc_sequencer.client.sequencer import SequencerClient, open_sequencer
from mpc_sequencer.core import limits
from mpc_sequencer.core.messages import (
    ClientReply,
    ClientRequest,
    EpochsQuery,
    EpochsReply,
    ExecutedRow,
    KeyQuery,
    KeyReply,
    OrdersExecuted,
    StatusQuery,
    Submit,
    SubmitReply,
    SubmitResult,
)
from mpc_sequencer.core.signing import Signer
from mpc_sequencer.core.types import NO_SIGNATURE, EpochStart, NextMember, Receipt, with_signature

TRADER = Signer(b"\x11" * 32)
OLD = [person(number) for number in range(4)]
NEW = [person(number) for number in range(2, 9)]
"""Persons 0 and 1 leave, 4 to 8 join."""


class Actor:
    """One person as a member: the epoch it is in, and what it does with orders."""

    def __init__(self, world: World, who: Person) -> None:
        self.world, self.who = world, who
        self.epoch = 0
        self.up = True
        self.executes = False
        self.refusal = ""
        self.claims_epoch: int | None = None
        self.receipt_epoch: int | None = None
        self.shows: tuple[EpochStart, ...] | None = None
        self.orders: list[bytes] = []
        self.asked_after: list[int] = []
        self._replies: set[trio.MemorySendChannel[ClientReply]] = set()

    @property
    def linked(self) -> bool:
        return bool(self._replies)

    def cut(self) -> None:
        for sender in self._replies:
            sender.close()

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Any]:
        if not self.up:
            raise OSError("nobody listens")
        sender, receiver = trio.open_memory_channel[ClientReply](1_000)
        self._replies.add(sender)
        actor = self

        class Connection:
            async def send(self, *requests: ClientRequest) -> None:
                for request in requests:
                    for reply in actor.answer(request):
                        await sender.send(reply)

            def __aiter__(self) -> AsyncIterator[ClientReply]:
                return receiver.__aiter__()

        try:
            yield Connection()
        finally:
            self._replies.discard(sender)

    def answer(self, request: ClientRequest) -> list[ClientReply]:
        match request:
            case EpochsQuery(number, after):
                self.asked_after.append(after)
                known = self.world.starts[: self.epoch] if self.shows is None else self.shows
                starts = [start for start in known if start.epoch > after][: limits.EPOCH_STARTS_MAX]
                return [EpochsReply(number, tuple(starts), None, None, 0)]
            case StatusQuery(number):
                epoch = self.epoch if self.claims_epoch is None else self.claims_epoch
                index = self.world.eras[self.epoch].index(self.who)
                return [status_reply(index, number, epoch=epoch)]
            case KeyQuery(number):
                return [KeyReply(number, None, "given")]
            case Submit(number, envelopes):
                ids = [envelope.order_id() for envelope in envelopes]
                self.orders += ids
                if self.refusal:
                    rows = tuple(SubmitResult(one, None, self.refusal, "", "", "") for one in ids)
                    return [SubmitReply(number, rows)]
                rows = tuple(SubmitResult(one, self.receipt(one), "", "", "", "") for one in ids)
                return [SubmitReply(number, rows), *(self.outcome(ids) if self.executes else ())]
        return []

    def receipt(self, order_id: bytes, *, index: int | None = None) -> Receipt:
        epoch = self.epoch if self.receipt_epoch is None else self.receipt_epoch
        era = self.world.eras[epoch]
        node = era.index(self.who) if index is None else index
        unsigned = Receipt(epoch, 0, order_id, node, 1, 5, NO_SIGNATURE)
        return with_signature(unsigned, self.who.signer.sign_digest(era.committee.digest(unsigned.struct_hash())))

    def outcome(self, ids: Sequence[bytes], lots: int = 5) -> list[ClientReply]:
        rows = tuple(ExecutedRow(one, "filled", lots, 618_000, (lots * 618_000).to_bytes(16, "big")) for one in ids)
        return [OrdersExecuted(7, rows)]

    def report(self, order_id: bytes, lots: int = 5) -> None:
        for sender in self._replies:
            for reply in self.outcome([order_id], lots):
                sender.send_nowait(reply)


class World:
    """All persons, and the epochs that they go through."""

    def __init__(self, eras: Sequence[Era], starts: Sequence[EpochStart]) -> None:
        self.eras, self.starts = tuple(eras), tuple(starts)
        everybody = {one.number: one for era in eras for one in era.people}
        self.actors = {number: Actor(self, who) for number, who in everybody.items()}
        self._by_key = {who.signer.public_key: number for number, who in everybody.items()}

    @property
    def first(self) -> Era:
        return self.eras[0]

    def connector(self, place: int) -> Any:
        return self.actors[self.first.people[place].number].connect()

    def newcomers(self, member: NextMember) -> Any:
        return self.actors[self._by_key[member.consensus_key]].connect()

    def enter(self, epoch: int, numbers: Sequence[int] | None = None) -> None:
        """Persons who are in an epoch now; by default all of its members."""
        chosen = [one.number for one in self.eras[epoch].people] if numbers is None else numbers
        for number in chosen:
            self.actors[number].epoch = epoch

    def persons(self, client: SequencerClient) -> set[int]:
        """Whom a client is connected to, by person."""
        keys = {place: key for place, key in enumerate(client.roster._keys)}
        return {self._by_key[keys[place]] for place in client.connected()}

    def order(self) -> Any:
        return OrderMaker(self.first.committee, TRADER)(time.time_ns() // 1_000_000)


def two_epochs() -> World:
    """Four people, of whom two go over into the next committee with five new ones."""
    era0 = first_era(OLD, 3)
    era1, start = next_era(era0, NEW, 5)
    return World([era0, era1], [start])


@asynccontextmanager
async def client_of(world: World, **options: Any) -> AsyncIterator[SequencerClient]:
    options.setdefault("newcomers", world.newcomers)
    async with open_sequencer(world.first.committee, world.connector, **options) as client:
        yield client


async def eventually(done: Callable[[], object], seconds: float = 5.0) -> None:
    with trio.fail_after(seconds):
        while not done():
            await trio.sleep(0.01)
