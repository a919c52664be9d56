"""The auditor's rule of dark markets against the members': the same ends and the same leaf at every height, whatever
members and traders do."""

from __future__ import annotations

import sys
from collections import Counter
from random import Random

import pytest
from desk_kit import MARKET, Ran, Send, dark_market, dark_parties, delivered
from msgspec.structs import replace

from mpc_sequencer.audit.dark_outcomes import replayed
from mpc_sequencer.core.actions import BUY, SELL
from mpc_sequencer.core.codec import decode, encode
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.dark.bookstate import OPENINGS, REPORTS
from mpc_sequencer.dark.messages import OutcomeValue
from mpc_sequencer.dark.transcript import RoundShares
from tests.audit.dark_faults import RandomTwins
from tests.audit.dark_twins import Twins

KINDS = ("valid", "valid", "valid", "box", "other", "share", "shares", "row")
OTHER_MARKET = 8


def test_a_batch_settles_alike() -> None:
    twins = Twins()
    twins.agree()
    twins.order(BUY, 120, 7)
    twins.order(SELL, 110, 4)
    twins.order(SELL, 115, 5)
    twins.order(BUY, 105, 9)
    ended = twins.settle()
    assert {order.code for one in ended for order in one.orders} == {"filled", "unfilled"}
    tally = twins.audited.tallies[MARKET]
    assert (tally.settled, tally.void, tally.ignored) == (1, 0, 0)


def run_history(seed: int, heights: int) -> tuple[Counter[str], RandomTwins]:
    """A random history of faulty members and traders; how orders ended."""
    random = Random(seed)
    faulty = random.sample(range(5), random.choice((0, 1, 1, 1, 2)))
    markets = {number: dark_market(number) for number in (MARKET, OTHER_MARKET)}
    twins = RandomTwins(random, faulty, parties=dark_parties(), markets=markets)
    codes = Counter[str]()
    for _ in range(heights):
        if twins.desk.keys is not None:
            for _ in range(random.choice((0, 0, 1, 3))):
                action = twins.action_of(random.choice(KINDS), random.choice(tuple(markets)))
                refused = twins.refused(action)
                if refused is None:
                    twins.enter(action)
                else:
                    codes[refused] += 1
        later_ms = random.choice((250, 250, 250, 1_000, 4_000, 10_000, 31_000))
        said = twins.words() if random.random() < 0.9 else []
        ended = twins.height(said, later_ms)
        if random.random() < 0.03:
            ended += twins.next_epoch()
        codes += Counter(order.code for one in ended for order in one.orders)
    return codes, twins


def test_desk_and_auditor_agree_whatever_members_and_traders_do() -> None:
    codes, named = Counter[str](), Counter[str]()
    for seed in range(12):
        found, twins = run_history(seed, 40)
        codes += found
        named += Counter(what for book in twins.audited.books.values() for _, _, _, what in book.named)
        named += Counter(what for _, keys in twins.audited.agreements for _, what in keys.named)
    assert {"filled", "unfilled", "dark_bad", "dark_aborted", "dark_rejected", "dark_epoch"} <= set(codes)
    assert {"key", "deal", "answer", "complaint", "share", "result"} <= set(named)


def test_desk_and_auditor_agree_where_a_word_is_full_of_bad_boxes(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, module in list(sys.modules.items()):
        if name.startswith("mpc_sequencer.") and hasattr(module, "BAD_OPENED_MAX") and "messages" not in name:
            monkeypatch.setattr(module, "BAD_OPENED_MAX", 1)
    parts = Counter[int]()
    for seed in range(4):
        random = Random(seed)
        twins = RandomTwins(random, [], parties=dark_parties())
        twins.agree()
        for _ in range(14):
            twins.enter(twins.action_of(random.choice(("box", "share", "share", "valid"))))
        for _ in range(25):
            batch = twins.desk.book(MARKET).state.batch
            if batch is not None:
                parts[batch.phase] = max(parts[batch.phase], batch.part)
            twins.go()
        assert not any(twins.desk.locks())
    assert parts[REPORTS] >= 2 and parts[OPENINGS] >= 1


def test_desk_and_auditor_agree_on_full_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, module in list(sys.modules.items()):
        if name.startswith("mpc_sequencer.") and hasattr(module, "DARK_ORDERS_PER_ACCOUNT_MAX"):
            monkeypatch.setattr(module, "DARK_ORDERS_PER_ACCOUNT_MAX", 3)
    twins = RandomTwins(Random(5), [], parties=dark_parties())
    twins.agree()
    refused = []
    for account in (1, 1, 1, 1, 2):
        action = twins.action_of("valid", account=account)
        refused.append(twins.refused(action))
        if refused[-1] is None:
            twins.enter(action)
    assert refused == [None, None, None, "dark_account_full", None]


# --- computations -------------------------------------------------------------------------------------------------
def computed(send: Send) -> tuple[Twins, Ran]:
    """A batch of two orders that cross, computed with messages as ``send`` has them."""
    twins = Twins()
    twins.agree()
    twins.order(BUY, 120, 7)
    twins.order(SELL, 110, 4)
    twins.send = send
    twins.settle()
    return twins, twins.computed[MARKET, 1]


def replays(twins: Twins, ran: Ran, party: int = 0) -> tuple[OutcomeValue, frozenset[int]]:
    return replayed(twins.audited.books[MARKET].computed[0, 1].computation, ran.runs[party].transcript())


def test_a_replay_comes_to_the_members_outcome_and_names_who_lied() -> None:
    def send(sender: int, receiver: int, number: int, message: bytes) -> list[bytes]:
        if sender == 3 and number == 4:
            said: RoundShares = decode(RoundShares, message)
            message = encode(replace(said, payload=bytes((said.payload[0] ^ 1,)) + said.payload[1:]))
        return [message]

    twins, ran = computed(send)
    assert replays(twins, ran) == (ran.runs[0].outcome(), {3})
    assert twins.audited.books[MARKET].computed[0, 1].decided == ran.runs[0].outcome()


def test_a_run_without_a_convicted_and_a_silent_party_is_replayed() -> None:
    """A session that has convicted one reckons with no liar more, and ends with three of five."""

    def send(sender: int, receiver: int, number: int, message: bytes) -> list[bytes]:
        if sender == 3 and number >= 2:
            return []
        return [b"broken"] if sender == 4 and number >= 3 else [message]

    twins, ran = computed(send)
    assert ran.runs[0].outcome() is not None
    assert {one.party for one in ran.runs[0].transcript().said if one.round > 3} == {0, 1, 2}
    assert replays(twins, ran) == (ran.runs[0].outcome(), frozenset())


def test_a_transcript_that_ends_early_leads_to_nothing() -> None:
    twins, ran = computed(delivered)
    transcript = ran.runs[0].transcript()
    short = replace(transcript, said=tuple(one for one in transcript.said if one.round < transcript.said[-1].round))
    computation = twins.audited.books[MARKET].computed[0, 1].computation
    with pytest.raises(ProtocolError, match="no message"):
        replayed(computation, short)
