"""The keys of dark orders are believed for a certified result alone: fetched once, again when refused, and no member
that shows others has any order sealed to its own."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from dark_trading_kit import Agreed, DarkMembers, agreed, dark_deployment, named, own_keys

from mpc_sequencer.client import limit_terms
from mpc_sequencer.client.account import TradingAccount
from mpc_sequencer.client.dark_keys import judge_keys
from mpc_sequencer.client.dark_terms import DepositRule, Deposits
from mpc_sequencer.client.errors import DarkKeysPending
from mpc_sequencer.client.proofs import DarkMarketValue, ProvenState, verify
from mpc_sequencer.client.sequencer import SequencerClient, open_sequencer
from mpc_sequencer.core.actions import BUY, DarkOrder
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.messages import ClientReply, ClientRequest, DarkKeysQuery, ExecutedRow
from mpc_sequencer.sim.deployment import DARK_MARKET

D = dark_deployment()
TERMS = limit_terms(DARK_MARKET.id, BUY, DARK_MARKET.reference_price_ticks, 5)


@pytest.fixture(scope="module")
def world() -> Agreed:
    return agreed()


def shown(world: Agreed) -> ProvenState:
    return verify(world.market, D.committee.genesis_id, {0: D.committee}.get)


@asynccontextmanager
async def client_of(members: DarkMembers) -> AsyncIterator[SequencerClient]:
    async with open_sequencer(D.committee, members.connector) as client:
        await client.wait_connected(5)
        yield client


# --- judging --------------------------------------------------------------------------------------------------------
def test_keys_that_a_certified_leaf_names_are_believed(world: Agreed) -> None:
    (value,) = shown(world).values
    assert isinstance(value, DarkMarketValue)
    keys = judge_keys(D.committee, world.reply, shown(world))
    assert keys.id == value.keys == keys.agreed.id and keys.parties == (0, 1, 2, 3, 4)
    assert keys.agreed.box_keys == world.reply.box_keys and keys.epoch == 0


@pytest.mark.parametrize(
    "bend",
    [
        lambda reply: named(reply, 1, box_keys=own_keys(D.committee).agreed.box_keys),
        lambda reply: named(reply, 1, box_keys=(*reply.box_keys[:4], own_keys(D.committee).agreed.box_keys[4])),
        lambda reply: named(reply, 1, box_keys=(*reply.box_keys[:4], b"")),
        lambda reply: named(reply, 1, box_keys=(reply.box_keys[1], reply.box_keys[0], *reply.box_keys[2:])),
        lambda reply: named(reply, 1, box_keys=reply.box_keys[:4]),
        lambda reply: named(reply, 1, box_keys=(*reply.box_keys[:4], bytes(33))),
        lambda reply: named(reply, 1, rest_hash=bytes(32)),
        lambda reply: named(reply, 1, attempt=reply.attempt + 1),
    ],
)
def test_other_keys_than_the_leaf_names_are_refused(world: Agreed, bend: Callable[..., object]) -> None:
    with pytest.raises(ProtocolError) as caught:
        judge_keys(D.committee, bend(world.reply), shown(world))  # type: ignore[arg-type]
    assert caught.value.code == "dark.keys"


def test_keys_of_another_epoch_or_by_another_value_are_refused(world: Agreed) -> None:
    account = verify(world.account, D.committee.genesis_id, {0: D.committee}.get)
    for reply, state, code in (
        (named(world.reply, 1, epoch=1), shown(world), "epoch.unknown"),
        (world.reply, account, "dark.none"),
    ):
        with pytest.raises(ProtocolError) as caught:
            judge_keys(D.committee, reply, state)
        assert caught.value.code == code


# --- fetching -------------------------------------------------------------------------------------------------------
async def test_keys_are_fetched_once_and_again_where_that_is_asked_for(world: Agreed) -> None:
    members = DarkMembers(world)
    async with client_of(members) as client:
        keys = await client.dark_keys(10)
        asked = members.asked["DarkKeysQuery"]
        assert await client.dark_keys(10) is keys and members.asked["DarkKeysQuery"] == asked <= 5
        assert (await client.dark_keys(10, again=True)).id == keys.id and members.asked["DarkKeysQuery"] > asked


async def test_a_member_with_keys_of_its_own_is_passed_over(world: Agreed) -> None:
    mine = own_keys(D.committee).agreed

    def lie(node: int, request: ClientRequest) -> list[ClientReply]:
        if node == 4 or not isinstance(request, DarkKeysQuery):
            return []
        return [named(world.reply, request.request, box_keys=mine.box_keys, rest_hash=mine.rest_hash)]

    async with client_of(DarkMembers(world, lie)) as client:
        assert (await client.dark_keys(10)).agreed.box_keys == world.reply.box_keys, "four of five lie alike"


async def test_where_every_member_lies_there_are_no_keys(world: Agreed) -> None:
    mine = own_keys(D.committee).agreed

    def lie(_: int, request: ClientRequest) -> list[ClientReply]:
        if not isinstance(request, DarkKeysQuery):
            return []
        return [named(world.reply, request.request, box_keys=mine.box_keys)]

    async with client_of(DarkMembers(world, lie)) as client:
        with pytest.raises(DarkKeysPending, match=r"dark\.keys"):
            await client.dark_keys(0.6)


async def test_while_members_agree_the_phase_is_told(world: Agreed) -> None:
    def early(_: int, request: ClientRequest) -> list[ClientReply]:
        return [named(world.empty, request.request)] if isinstance(request, DarkKeysQuery) else []

    async with client_of(DarkMembers(world, early)) as client:
        with pytest.raises(DarkKeysPending, match="member 0 waits for keys"):
            await client.dark_keys(0.4)


# --- the same call --------------------------------------------------------------------------------------------------
async def test_the_same_call_seals_for_a_dark_market_and_for_one_in_the_open(world: Agreed) -> None:
    async with client_of(DarkMembers(world)) as client:
        account = TradingAccount(client, D.traders[0].signer)
        dark = await account.seal(TERMS, 1)
        action = dark.signed.action
        assert isinstance(action, DarkOrder) and action.keys == (await client.dark_keys()).id
        assert action.quote_tick_lots and action.base_lots, "the default hides the side"
        client.check(dark.envelope, time.time_ns() // 1_000_000)
        one_side = (await account.seal(TERMS, 2, deposits=DepositRule.SIDE)).signed.action
        assert isinstance(one_side, DarkOrder) and not one_side.base_lots
        exact = (await account.seal(TERMS, 3, deposits=Deposits(5 * 618_000, 7))).signed.action
        assert isinstance(exact, DarkOrder) and (exact.quote_tick_lots, exact.base_lots) == (5 * 618_000, 7)
        opened = await account.seal(limit_terms(0, BUY, 618_000, 5), 4)
        assert not isinstance(opened.signed.action, DarkOrder)


async def test_deposits_that_the_proven_balance_does_not_bear_are_refused_before_anything_is_sent(
    world: Agreed,
) -> None:
    members = DarkMembers(world)
    async with client_of(members) as client:
        account = TradingAccount(client, D.traders[0].signer)
        free = await account.free_units()
        assert free[DARK_MARKET.base_asset] > 0 < free[DARK_MARKET.quote_asset]
        poor = free | {DARK_MARKET.base_asset: 1}
        with pytest.raises(ProtocolError) as caught:
            await account.seal(TERMS, 1, free_units=poor)
        assert caught.value.code == "dark.balance" and not members.asked["Submit"]
        assert await account.seal(TERMS, 1, deposits=DepositRule.SIDE, free_units=poor), "one side alone needs no other"


async def test_keys_are_fetched_again_once_an_order_was_refused_for_them(world: Agreed) -> None:
    members = DarkMembers(world)
    async with client_of(members) as client:
        account = TradingAccount(client, D.traders[0].signer)
        sealed = await account.seal(TERMS, 1)
        account.desk.place(sealed)
        client.tracker.add(sealed.order_id, sealed.envelope, range(5), 0)
        asked = members.asked["DarkKeysQuery"]
        await account.seal(TERMS, 2)
        assert members.asked["DarkKeysQuery"] == asked
        for node in range(2):
            client.tracker.executed(node, 4, [ExecutedRow(sealed.order_id, "dark_keys", 0, 0, bytes(16))], 1)
        await account.seal(TERMS, 2)
        again = members.asked["DarkKeysQuery"]
        assert again > asked
        await account.seal(TERMS, 3)
        assert members.asked["DarkKeysQuery"] == again, "one refusal, one look"
