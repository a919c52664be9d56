"""The chain watcher: what it tells the core, and what makes it stop, wait or speak up."""

from __future__ import annotations

import hashlib
import logging
from typing import TYPE_CHECKING

import pytest
import trio

from mpc_sequencer.core.effects import ChainSeen
from mpc_sequencer.core.transcript import INPUT_BOND, INPUT_DEPOSIT, INPUT_FORCED
from mpc_sequencer.core.types import Checkpoint
from mpc_sequencer.node.chain_watch import ChainReader, ChainTakenBack, watch_chain
from mpc_sequencer.settlement.chain import ChainClient
from mpc_sequencer.settlement.devchain import DEV_SECRET
from mpc_sequencer.settlement.errors import ChainMismatch, ChainUnreachable
from mpc_sequencer.settlement.payloads import ZERO_HASH
from mpc_sequencer.settlement.queue import read_queue
from tests.anvil_node import Anvil

if TYPE_CHECKING:
    from tests.settlement.deployed_kit import Deployment

ENVELOPE = b"an envelope"


def reader_at(deployment: Deployment, *, step: int = 1, confirmations: int = 0) -> ChainReader:
    """A watcher that has been told of the newest block."""
    chain = deployment.chain
    at = chain.checkpoint(chain.block_number())
    told = Checkpoint(at.number, at.hash, at.inputs_count, at.inputs_hash)
    return ChainReader(chain, chain.chain_id(), step, confirmations, told)


def force(deployment: Deployment, envelope: bytes) -> None:
    deployment.chain.transact(DEV_SECRET, [deployment.chain._call("force", envelope, value_wei=10**15)])


def test_deposits_bonds_and_forced_orders_are_told_once_with_their_envelopes(deployment: Deployment) -> None:
    alice, bob = deployment.traders
    reader = reader_at(deployment)
    assert reader.poll() is None
    deployment.chain.bond(DEV_SECRET, bob, 77)
    force(deployment, ENVELOPE)
    seen = reader.poll()
    assert seen is not None
    assert (seen.inputs[0].kind, seen.inputs[0].account) == (INPUT_BOND, bob)
    forced = seen.inputs[1]
    assert (forced.kind, forced.body) == (INPUT_FORCED, ENVELOPE)
    assert forced.amount == hashlib.sha256(ENVELOPE).digest()
    (due,) = seen.forced_due
    assert due > seen.checkpoint.number
    assert seen.checkpoint.inputs_count == 8
    assert reader.poll() is None
    deployment.chain.mint(DEV_SECRET, deployment.tokens[0], alice, 5)
    again = reader.poll()
    assert again is not None and again.inputs == () and again.forced_due == ()


def test_a_chain_that_stands_still_costs_one_request_a_poll(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = reader_at(deployment)
    methods: list[str] = []
    request = type(deployment.chain).request

    def counted(self: ChainClient, method: str, *params: object) -> object:
        methods.append(method)
        return request(self, method, *params)

    assert reader.poll() is None
    monkeypatch.setattr(ChainClient, "request", counted)
    methods.clear()
    assert reader.poll() is None and set(methods) == {"eth_getBlockByNumber"} and len(methods) <= 2
    deployment.chain.bond(DEV_SECRET, deployment.traders[0], 1)
    assert reader.poll() is not None, "a new block is read"
    assert "eth_chainId" in methods


def test_everything_from_the_start_of_the_queue_is_read_by_who_knows_nothing(deployment: Deployment) -> None:
    queue = read_queue(deployment.chain, 0, ZERO_HASH, 0, deployment.chain.block_number())
    assert [one.kind for one in queue.inputs] == [INPUT_DEPOSIT] * 4 + [INPUT_BOND] * 2


def test_only_blocks_of_the_genesis_step_are_told(deployment: Deployment) -> None:
    reader = reader_at(deployment, step=4)
    reader.told = Checkpoint(0, deployment.chain.block_hash(0), 6, reader.told.inputs_hash)
    for count in range(6):
        force(deployment, b"%d" % count)
    reader.told = Checkpoint(0, deployment.chain.block_hash(0), 0, ZERO_HASH)
    seen = reader.poll()
    assert seen is not None and seen.checkpoint.number % 4 == 0
    assert seen.checkpoint.number > deployment.chain.block_number() - 4


def test_a_node_that_leaves_something_out_or_changes_it_is_not_believed(deployment: Deployment) -> None:
    class Lying(ChainClient):
        lie = ""

        def events(self, name: str, from_block: int, up_to_block: int) -> list[object]:
            found = super().events(name, from_block, up_to_block)
            if self.lie == "short" and name == "InputQueued":
                return found[:-1]
            if self.lie == "bare" and name == "ForcedQueued":
                return []
            if self.lie == "other" and name == "InputQueued":
                return found[1:]
            return found

    reader = reader_at(deployment)
    force(deployment, ENVELOPE)
    force(deployment, ENVELOPE)
    told = reader.told
    liar = Lying(deployment.chain.url, deployment.chain.settlement)
    reader.client = liar
    for liar.lie in ("short", "bare", "other"):
        with pytest.raises(ChainMismatch):
            reader.poll()
        assert reader.told == told, "nothing is told and nothing forgotten"
    liar.lie = ""
    seen = reader.poll()
    assert seen is not None and len(seen.inputs) == 2


def test_a_chain_of_another_id_is_not_read(deployment: Deployment) -> None:
    reader = reader_at(deployment)
    reader.chain_id += 1
    with pytest.raises(ChainMismatch, match="serves chain"):
        reader.poll()


def test_blocks_count_once_they_are_finalized_and_what_is_taken_back_stops_the_watch(
    on_anvil: Deployment, anvil_node: Anvil, caplog: pytest.LogCaptureFixture
) -> None:
    anvil_node.mine(4)
    reader = reader_at(on_anvil)
    force(on_anvil, ENVELOPE)
    assert reader.poll() is None, "not finalized"
    anvil_node.mine(4)
    seen = reader.poll()
    assert seen is not None and len(seen.inputs) == 1
    assert seen.checkpoint.number < on_anvil.chain.block_number()
    anvil_node.reorganise(4)
    told: list[ChainSeen] = []

    async def watch() -> None:
        with trio.fail_after(10):
            await watch_chain(reader, 0.05, told.append)

    with caplog.at_level(logging.CRITICAL):
        trio.run(watch)
    assert not told and "TOOK BACK A FINALIZED BLOCK" in caplog.text
    with pytest.raises(ChainTakenBack):
        reader.poll()


def test_a_dead_node_is_asked_more_rarely_and_delays_nobody(caplog: pytest.LogCaptureFixture) -> None:
    class Dead:
        asked = 0

        def block(self, tag: str) -> None:
            Dead.asked += 1
            if Dead.asked < 4:
                raise ChainUnreachable("no answer")
            raise AssertionError

    reader = ChainReader(Dead(), 1, 1, 0, Checkpoint(0, ZERO_HASH, 0, ZERO_HASH))  # type: ignore[arg-type]

    async def watch() -> None:
        with trio.move_on_after(0.4):
            await watch_chain(reader, 0.05, lambda seen: None)

    trio.run(watch)
    assert Dead.asked in {2, 3}
    assert len([one for one in caplog.records if "not watched" in one.message]) == 1
