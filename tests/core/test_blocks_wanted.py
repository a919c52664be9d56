"""What a member wants of others: bounded blocks and chain inputs, bodies that nobody has brought it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from mpc_sequencer.core import limits
from mpc_sequencer.core.application import NodeApplication
from mpc_sequencer.core.blocks import Needs
from mpc_sequencer.core.effects import Send
from mpc_sequencer.core.fetch import Fetcher
from mpc_sequencer.core.messages import FetchBodies, FetchInputs
from mpc_sequencer.core.node import NodeCore


def test_of_too_many_wanted_blocks_the_oldest_give_way() -> None:
    fetcher = Fetcher(4, 0)
    ids = [number.to_bytes(32, "big") for number in range(limits.VIEWS_AHEAD_MAX + 3)]
    for block_id in ids:
        fetcher.want_block(block_id, 1, 1_000)
    assert [one for one in ids if fetcher.wants_block(one)] == ids[3:]
    fetcher.want_block(ids[5], 2, 1_000)
    assert fetcher.wants_block(ids[3]), "what is wanted already takes nobody's place"


def test_a_body_that_a_client_has_brought_is_asked_of_peers_only_later() -> None:
    brought, other = b"\x01" * 32, b"\x02" * 32
    needs = Needs(bodies=[brought, other])
    chain = SimpleNamespace(needs=needs, take_needs=lambda: needs)
    fetcher = Fetcher(4, 0)
    core: Any = SimpleNamespace(
        chain=chain, gateway={brought}, fetcher=fetcher, now_ms=1_000, node=0, committee=SimpleNamespace(n=4)
    )
    NodeApplication(cast(NodeCore, core)).note_needs(2)
    assert fetcher.needs_body(brought)
    assert fetcher.requests(1_000) == [Send(2, FetchBodies((other,)))]
    later = fetcher.requests(1_000 + limits.FETCH_RETRY_MS)
    assert {key for one in later if isinstance(one, Send) for key in one.message.ids} == {brought, other}  # type: ignore[union-attr]


def test_of_too_many_wanted_inputs_the_oldest_give_way() -> None:
    fetcher = Fetcher(4, 0)
    hashes = [number.to_bytes(32, "big") for number in range(limits.VIEWS_AHEAD_MAX + 3)]
    for count, inputs_hash in enumerate(hashes):
        fetcher.want_inputs(count, inputs_hash, 1, 1_000)
    counts = [fetcher.wanted_count(one) for one in hashes]
    assert counts == [None] * 3 + list(range(3, len(hashes)))
    asked = [one.message for one in fetcher.requests(1_000) if isinstance(one, Send)]
    assert asked == [FetchInputs(one) for one in hashes[3:]], "what gave way is asked for no more"
