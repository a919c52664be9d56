"""The stream over a real socket: batches at least once and from any height, answers checked, one engine at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from matching_kit import MARKET, answer, batch, example, fill, name, order
from trio_websocket import ConnectionClosed, HandshakeError, open_websocket_url

from mpc_sequencer.core.actions import BUY, SELL
from mpc_sequencer.core.errors import ConfigError, ProtocolError
from mpc_sequencer.matching.consumer import MatchingLink, open_matching, run_engine
from mpc_sequencer.matching.store import StreamStore
from mpc_sequencer.matching.stream import UNANSWERED_MAX, MatchingStream
from mpc_sequencer.matching.values import AnswerAccepted, AnswerRefused, FairBatch, Resume

GENESIS = b"\x09" * 32


@asynccontextmanager
async def serving(path: Path, **kept: int) -> AsyncIterator[tuple[MatchingStream, StreamStore, str]]:
    store = StreamStore(path / "stream", (MARKET,), **kept)
    stream = MatchingStream(store, GENESIS)
    async with trio.open_nursery() as nursery:
        port: int = await nursery.start(stream.serve, "127.0.0.1", 0)
        yield stream, store, f"ws://127.0.0.1:{port}"
        nursery.cancel_scope.cancel()
    store.close()


async def next_of(link: MatchingLink, kind: type) -> Any:
    with trio.fail_after(5):
        while not isinstance(frame := await link.receive(), kind):
            pass
        return frame


async def eventually(done: Any) -> None:
    with trio.fail_after(5):
        while not done():
            await trio.sleep(0.01)


async def test_the_worked_example_matches_over_the_socket_and_resumes_where_it_was(tmp_path: Path) -> None:
    async with serving(tmp_path) as (stream, store, url):
        await stream.add(batch(2, order(1, BUY, 52), order(2, SELL, 50, 4)))
        engine = example().ProRata()
        async with trio.open_nursery() as nursery, open_matching(url) as link:
            assert (link.hello.genesis, link.hello.first_height, link.hello.open_height) == (GENESIS.hex(), 2, 2)
            nursery.start_soon(run_engine, link, engine, 2)
            await eventually(lambda: store.book.height == 2)
            await stream.add(batch(5, order(3, SELL, 51, 2)))
            await eventually(lambda: store.book.height == 5)
            nursery.cancel_scope.cancel()
        assert store.book.open[name(1)].open_lots == 4
        await stream.add(batch(6, order(4, SELL, 52, 1)))
        async with trio.open_nursery() as nursery, open_matching(url) as link:
            assert link.hello.open_height == 6
            nursery.start_soon(run_engine, link, example().ProRata(), 2)  # a new one: it builds its book anew
            await eventually(lambda: store.book.height == 6)
            nursery.cancel_scope.cancel()
        final_hash = store.book.answers_hash
    async with serving(tmp_path) as (stream, store, _):  # the member comes back
        assert (store.book.height, store.book.answers_hash) == (6, final_hash)
        await stream.add(batch(6, order(4, SELL, 52, 1)))  # executed again after a restart
        assert store.book.batch is None


async def test_a_wrong_answer_is_refused_changes_nothing_and_may_be_put_right(tmp_path: Path) -> None:
    async with serving(tmp_path) as (stream, store, url), open_matching(url) as link:
        await stream.add(batch(2, order(1, BUY, 52), order(2, SELL, 50)))
        await link.send(Resume(1))
        assert (await next_of(link, FairBatch)).height == 2
        for bad, code in (
            (answer(2, fill(1, 53), fill(2, 53)), "match.limit"),
            (answer(2, fill(1, 51)), "match.conservation"),
            (answer(3), "match.height"),
        ):
            await link.send(bad)
            refused = await next_of(link, AnswerRefused)
            assert (refused.height, refused.code) == (bad.height, code)
            assert store.book.height == 0 and store.answer(2) is None
        good = answer(2, fill(1, 51), fill(2, 51))
        for _ in range(2):  # sent twice, taken once
            await link.send(good)
            accepted = await next_of(link, AnswerAccepted)
            assert accepted.answers_hash == store.book.answers_hash.hex()
        await link.send(answer(2, fill(1, 52), fill(2, 52)))
        assert (await next_of(link, AnswerRefused)).code == "match.repeated"


async def test_batches_are_sent_again_to_who_resumes_earlier(tmp_path: Path) -> None:
    async with serving(tmp_path) as (stream, _, url):
        for height in (1, 4, 6):
            await stream.add(batch(height))
        for first, heights in ((1, [1, 4, 6]), (1, [1, 4, 6]), (5, [6])):
            async with open_matching(url) as link:
                await link.send(Resume(first))
                assert [(await next_of(link, FairBatch)).height for _ in heights] == heights


async def test_an_engine_that_does_not_answer_is_sent_no_more_than_its_share(tmp_path: Path) -> None:
    async with serving(tmp_path) as (stream, _, url), open_matching(url) as link:
        for height in range(1, UNANSWERED_MAX + 3):
            await stream.add(batch(height))
        await link.send(Resume(1))
        for height in range(1, UNANSWERED_MAX + 1):
            assert (await next_of(link, FairBatch)).height == height
        with trio.move_on_after(0.2) as scope:
            await link.receive()
        assert scope.cancelled_caught
        await link.send(answer(1))
        assert (await next_of(link, AnswerAccepted)).height == 1
        assert (await next_of(link, FairBatch)).height == UNANSWERED_MAX + 1


async def test_a_second_engine_and_a_web_page_are_turned_away(tmp_path: Path) -> None:
    async with serving(tmp_path) as (_, __, url):
        async with open_matching(url):
            with pytest.raises(ConnectionClosed) as caught:
                async with open_matching(url):
                    pass
            assert caught.value.reason.code == 1013
        with pytest.raises((HandshakeError, ExceptionGroup)):
            async with open_websocket_url(url, extra_headers=[(b"Origin", b"https://example.org")]):
                pass
        async with open_matching(url) as link:  # the place is free again
            assert link.hello.first_height == 0


@pytest.mark.parametrize("frame", ["", "{}", '{"type":"resume"}', '{"from_height":1,"type":"resume"}', "[" * 9_999])
async def test_who_speaks_no_protocol_is_let_go_and_the_next_one_is_served(tmp_path: Path, frame: str) -> None:
    async with serving(tmp_path) as (stream, _, url):
        async with open_websocket_url(url) as link:
            await link.get_message()
            await link.send_message(frame)
            with pytest.raises(ConnectionClosed) as caught, trio.fail_after(5):
                await link.get_message()
            assert caught.value.reason.code == 1008
        await stream.add(batch(1))
        async with open_matching(url) as again:
            await again.send(Resume(1))
            assert (await next_of(again, FairBatch)).height == 1


async def test_an_engine_stops_where_its_answer_is_refused(tmp_path: Path) -> None:
    class Greedy:
        def match(self, one: FairBatch) -> Any:
            return answer(one.height, fill(1, 53), fill(2, 53))

    async with serving(tmp_path) as (stream, _, url), open_matching(url) as link:
        await stream.add(batch(2, order(1, BUY, 52), order(2, SELL, 50)))
        with pytest.raises(ProtocolError) as refused, trio.fail_after(5):
            await run_engine(link, Greedy(), 1)
        assert refused.value.code == "match.limit"


def answered(store: StreamStore, one: FairBatch, *fills: Any) -> None:
    store.write_batch(one)
    store.begin_next()
    said = answer(one.height, *fills)
    accepted = store.book.check(said)
    store.write_answer(said)
    store.take(accepted)
    if store.overdue:
        store.prune()


def test_answered_heights_are_pruned_and_a_start_goes_on_from_what_was_open(tmp_path: Path) -> None:
    def opened() -> StreamStore:
        return StreamStore(tmp_path / "stream", (MARKET,), heights_kept=4, prune_every=3)

    store = opened()
    answered(store, batch(1, order(1, BUY, 52), order(2, BUY, 40)))
    for height in range(2, 12):
        traded = (fill(1, 52, 1), fill(100 + height, 52, 1)) if height < 8 else ()
        answered(store, batch(height, order(100 + height, SELL, 52, 1)), *traded)
    store.write_batch(batch(12, order(3, BUY)))  # with no answer
    store.begin_next()
    assert (store.pruned, store.bounds()) == (5, (6, 12))
    before = (store.book.open, store.book.height, store.book.answers_hash)
    assert before[0][name(1)].open_lots == 4
    store.close()
    again = opened()
    assert (again.book.open, again.book.height, again.book.answers_hash) == before
    assert (again.pruned, again.bounds()) == (5, (6, 12))
    again.write_batch(batch(4, order(104, SELL, 52, 1)))  # executed again: a snapshot was lost
    assert again.batch_from(1) == again.batch_from(6) and again.answer(5) is None
    again.close()


async def test_an_engine_that_lacks_pruned_heights_is_let_go(tmp_path: Path) -> None:
    async with serving(tmp_path) as (stream, store, url):
        await stream.add(batch(7))
        store.pruned = 5
        async with open_matching(url) as link:
            await link.send(Resume(5))
            with pytest.raises(ConnectionClosed) as caught, trio.fail_after(5):
                await link.receive()
            assert "match.height" in str(caught.value.reason)
        async with open_matching(url) as link:
            await link.send(Resume(6))
            assert (await next_of(link, FairBatch)).height == 7


async def test_answers_over_the_socket_lead_to_pruning(tmp_path: Path) -> None:
    async with serving(tmp_path, heights_kept=2, prune_every=2) as (stream, store, url), open_matching(url) as link:
        await link.send(Resume(1))
        for height in range(1, 7):
            await stream.add(batch(height))
            await link.send(answer(height))
            await next_of(link, AnswerAccepted)
        assert (store.pruned, store.bounds()[0]) == (4, 5)


async def test_orders_that_all_expire_at_once_stop_neither_the_member_nor_the_engine(tmp_path: Path) -> None:
    ended = tuple(range(1, 70_001))
    async with serving(tmp_path) as (stream, _, url), open_matching(url) as link:
        await stream.add(batch(3, ended=ended))
        await link.send(Resume(3))
        assert len((await next_of(link, FairBatch)).ended) == len(ended)
    store = StreamStore(tmp_path / "stream", (MARKET,))
    assert store.book.batch is not None
    store.close()


async def test_no_read_waits_for_a_write_to_reach_the_disk(tmp_path: Path) -> None:
    async with serving(tmp_path) as (stream, store, _):
        await stream.add(batch(3))
        store._writer.execute("BEGIN IMMEDIATE")
        store._writer.execute("UPDATE heights SET answer = x'00'")
        assert store.bounds() == (3, 3) and store.answer(3) is None  # of its own connection: not the half-made write
        store._writer.execute("ROLLBACK")


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    (tmp_path / "stream").write_bytes(b"no database" * 1_000)
    with pytest.raises(ConfigError, match="stream"):
        StreamStore(tmp_path / "stream", (MARKET,))
