"""A committee of five with a dark market: one with keys of the test's own, and a simulated one that agreed on some."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import msgspec
import trio

from mpc_sequencer.client.dark_keys import DarkKeys
from mpc_sequencer.client.dark_orders import DarkSealing
from mpc_sequencer.client.dark_terms import DepositRule, Deposits
from mpc_sequencer.core.actions import DarkOrder
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.messages import (
    ClientReply,
    ClientRequest,
    DarkKeysQuery,
    DarkKeysReply,
    EpochsQuery,
    EpochsReply,
    ProofQuery,
    ProofReply,
)
from mpc_sequencer.core.resultproof import ACCOUNT, MARKET, ResultProof
from mpc_sequencer.dark.field import Elements
from mpc_sequencer.dark.keys import AgreedKeys
from mpc_sequencer.dark.orders import open_box, params_of, row_in
from mpc_sequencer.dark.sharing import interpolate
from mpc_sequencer.sim import Cluster, Deployment, make_deployment
from mpc_sequencer.sim.deployment import DARK_MARKET
from threshold import group

MARKET_NAME = DARK_MARKET.id.to_bytes(4, "big")
GRID = DARK_MARKET.dark
assert GRID is not None
CLIENT = 9


@lru_cache(maxsize=1)
def dark_deployment() -> Deployment:
    """Five members; the second market is dark."""
    return make_deployment(5, seed=21, dark=DARK_MARKET)


def party_secret(party: int) -> bytes:
    return bytes(31) + bytes((party + 1,))


def own_keys(committee: Committee, without: tuple[int, ...] = ()) -> DarkKeys:
    """Keys whose secrets the test knows; members in ``without`` have none."""
    assert committee.dark_topic is not None
    having = [party for party in range(committee.n) if party not in without]
    made = {party: group.generator_multiply_secret(party_secret(party)) for party in having}
    box_keys = tuple(made.get(party, b"") for party in range(committee.n))
    agreed = AgreedKeys(committee.dark_topic, 0, box_keys, bytes(32))
    return DarkKeys(agreed, agreed.id, committee.epoch, 1)


def sealing(
    committee: Committee, seed: int = 1, deposits: DepositRule | Deposits = DepositRule.HIDE, **terms: Any
) -> DarkSealing:
    return DarkSealing(own_keys(committee, **terms), seed.to_bytes(32, "big"), deposits)


def row_of(committee: Committee, action: DarkOrder, keys: DarkKeys, parties: tuple[int, ...] = (0, 3)) -> Elements:
    """The row that these members' boxes share, as t+1 that collude rebuild it."""
    assert GRID is not None
    params = params_of(GRID, committee.n, committee.f)
    shares = {}
    for party in parties:
        plaintext = open_box(params, action, party, party_secret(party), keys.agreed.box_keys[party])
        row = row_in(params, plaintext)
        assert row is not None
        shares[party] = row
    return interpolate(shares)


@dataclass
class Agreed:
    """What members of a simulated committee answer once they have agreed on keys, and proofs of two values."""

    deployment: Deployment
    reply: DarkKeysReply
    market: ResultProof
    account: ResultProof
    empty: DarkKeysReply
    """Before there were keys."""


@lru_cache(maxsize=1)
def agreed() -> Agreed:
    d = dark_deployment()
    cluster = Cluster(d)
    (empty,) = _asked(cluster, DarkKeysQuery(1), 10)
    assert cluster.run(8_000, lambda c: all(core.dark.desk.keys for core in c.cores))
    (reply,) = _asked(cluster, DarkKeysQuery(1), 10)
    (market,) = _asked(cluster, ProofQuery(2, MARKET, MARKET_NAME, 0), 6_000)
    (account,) = _asked(cluster, ProofQuery(3, ACCOUNT, d.traders[0].address, 0), 6_000)
    assert isinstance(empty, DarkKeysReply) and isinstance(reply, DarkKeysReply)
    assert isinstance(market, ProofReply) and isinstance(account, ProofReply)
    assert market.proof is not None and account.proof is not None
    return Agreed(d, reply, market.proof, account.proof, empty)


def _asked(cluster: Cluster, request: ClientRequest, within_ms: int) -> list[ClientReply]:
    before = len(cluster.replies.get(CLIENT, []))
    cluster.request(0, request, CLIENT)
    cluster.run(within_ms, lambda c: len(c.replies.get(CLIENT, [])) > before)
    return [one for _, one in cluster.replies[CLIENT][before:]]


Script = Callable[[int, ClientRequest], list[ClientReply]]


@dataclass
class DarkMembers:
    """Five scripted members that show ``agreed``; ``bend`` may answer in their place."""

    agreed: Agreed
    bend: Script | None = None
    asked: Counter[str] = field(default_factory=Counter)

    def answer(self, node: int, request: ClientRequest) -> list[ClientReply]:
        self.asked[type(request).__name__] += 1
        bent = None if self.bend is None else self.bend(node, request)
        if bent:
            return bent
        match request:
            case EpochsQuery(number):
                return [EpochsReply(number, (), None, None, 0)]
            case DarkKeysQuery(number):
                return [named(self.agreed.reply, number)]
            case ProofQuery(number, kind, _, _):
                proof = self.agreed.market if kind == MARKET else self.agreed.account
                return [ProofReply(number, "proven", proof)]
            case _:
                return []

    def connector(self, node: int) -> Any:
        return self._connect(node)

    @asynccontextmanager
    async def _connect(self, node: int) -> AsyncIterator[Any]:
        sender, receiver = trio.open_memory_channel[ClientReply](1_000)
        members = self

        class Connection:
            async def send(self, *requests: ClientRequest) -> None:
                for request in requests:
                    for reply in members.answer(node, request):
                        await sender.send(reply)

            def __aiter__(self) -> AsyncIterator[ClientReply]:
                return receiver.__aiter__()

        yield Connection()


def named(reply: DarkKeysReply, number: int, **changed: Any) -> DarkKeysReply:
    """The reply under a request's number."""
    return msgspec.structs.replace(reply, request=number, **changed)
