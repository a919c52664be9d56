"""Blocks and chain inputs that a member wants one by one: a bounded number, the newest among them."""

from __future__ import annotations

from mpc_sequencer.core import limits
from mpc_sequencer.core.effects import Send
from mpc_sequencer.core.fetch import Fetcher
from mpc_sequencer.core.messages import FetchInputs


def test_of_too_many_wanted_blocks_the_oldest_give_way() -> None:
    fetcher = Fetcher(4, 0)
    ids = [number.to_bytes(32, "big") for number in range(limits.VIEWS_AHEAD_MAX + 3)]
    for block_id in ids:
        fetcher.want_block(block_id, 1, 1_000)
    assert [one for one in ids if fetcher.wants_block(one)] == ids[3:]
    fetcher.want_block(ids[5], 2, 1_000)
    assert fetcher.wants_block(ids[3]), "what is wanted already takes nobody's place"


def test_of_too_many_wanted_inputs_the_oldest_give_way() -> None:
    fetcher = Fetcher(4, 0)
    hashes = [number.to_bytes(32, "big") for number in range(limits.VIEWS_AHEAD_MAX + 3)]
    for count, inputs_hash in enumerate(hashes):
        fetcher.want_inputs(count, inputs_hash, 1, 1_000)
    counts = [fetcher.wanted_count(one) for one in hashes]
    assert counts == [None] * 3 + list(range(3, len(hashes)))
    asked = [one.message for one in fetcher.requests(1_000) if isinstance(one, Send)]
    assert asked == [FetchInputs(one) for one in hashes[3:]], "what gave way is asked for no more"
