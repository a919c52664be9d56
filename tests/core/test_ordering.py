"""The batch function against a naive model of docs/protocol.md, "The block as a function", and rule by rule."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mpc_sequencer.core import limits
from mpc_sequencer.core.ordering import Candidate, Derived, Missing, OrderFacts, OrderingState, derive, genesis_state
from mpc_sequencer.core.types import NO_SIGNATURE, ZERO_HASH, Checkpoint, Head, OrderList, ResultRef

N, F, Q = 4, 1, 3
START_MS = 1_000_000
VALIDITY_MS = 3_000
CHECKPOINT = Checkpoint(1, ZERO_HASH, 0, ZERO_HASH)
IDS = [bytes((i,)) * 32 for i in range(1, 13)]
SPONSORS = [b"\x0a" * 20, b"\x0b" * 20]
BONDS = {SPONSORS[0]: 3 * limits.ORDER_CHARGE_WEI, SPONSORS[1]: 50 * limits.ORDER_CHARGE_WEI}


@pytest.fixture(autouse=True)
def small_bounds() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "BATCH_ORDERS_MAX", 3)
        patch.setattr(limits, "VALIDITY_MS_MAX", VALIDITY_MS)
        patch.setattr(limits, "RESULT_LAG_HEIGHTS", 2)
        yield


@pytest.fixture
def few_listings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LISTINGS_PER_MEMBER_MAX", 4)


def tagged(tag: str, data: bytes) -> bytes:
    digest = hashlib.sha256(tag.encode()).digest()
    return hashlib.sha256(digest + digest + data).digest()


@dataclass
class HeadPlan:
    """What one head of a block says: its clock, the entries of its new lists, its results."""

    time_ms: int
    lists: tuple[tuple[bytes, ...], ...] = ()
    results: tuple[ResultRef, ...] = ()


Plan = dict[int, HeadPlan]


def candidate(plan: Plan, view: int, numbers: list[int]) -> Candidate:
    """Unsigned values with made-up hashes: derive() gets them checked."""
    heads, lists, head_hashes, list_hashes = [], [], [], []
    for node in sorted(plan):
        one = plan[node]
        mine = []
        for entries in one.lists:
            numbers[node] += 1
            mine.append(OrderList(0, 0, node, numbers[node], ZERO_HASH, entries, NO_SIGNATURE))
        last_hash = bytes((node, numbers[node] % 256)) * 16
        heads.append(
            Head(0, 0, node, view, one.time_ms, numbers[node], last_hash, one.results, CHECKPOINT, 0, NO_SIGNATURE)
        )
        lists.append(tuple(mine))
        head_hashes.append(hashlib.sha256(repr((view, node, one.time_ms)).encode()).digest())
        list_hashes.append(tuple(hashlib.sha256(repr(m).encode()).digest() for m in mine))
    return Candidate(view, tuple(heads), tuple(lists), tuple(head_hashes), tuple(list_hashes))


@dataclass
class Model:
    """The rules as the page has them, on plain dictionaries, with no care for cost."""

    facts: dict[bytes, OrderFacts]
    height: int = 0
    time_ms: int = START_MS
    listings: dict[bytes, dict[int, int]] = field(default_factory=dict)
    lifted: dict[bytes, int] = field(default_factory=dict)
    queue: list[tuple[int, bytes, bytes]] = field(default_factory=list)
    charged: dict[bytes, int] = field(default_factory=dict)
    counting: list[int] = field(default_factory=list)
    reports: dict[tuple[int, bytes], set[int]] = field(default_factory=dict)

    def block(self, c: Candidate) -> tuple[int, bytes, list[tuple[int, bytes]], list[bytes]]:
        self.height += 1
        clocks = sorted(head.time_ms for head in c.heads)
        now = self.time_ms = max(self.time_ms, clocks[(len(clocks) - 1) // 2])
        inputs = len(c.heads).to_bytes(2, "big") + b"".join(c.head_hashes)
        root = tagged("MPCSEQ/v1/block-inputs", inputs + b"".join(h for member in c.list_hashes for h in member))
        for head in c.heads:
            for ref in head.results:
                if ref.height in self.counting:
                    self.reports.setdefault((ref.height, ref.result), set()).add(head.node)
        certified = sorted(key for key, who in self.reports.items() if len(who) >= Q and key[0] in self.counting)
        if certified:
            self.counting = [height for height in self.counting if height > certified[-1][0]]
        self._listings(c, now, root)
        self.queue.sort()
        self.queue = [one for one in self.queue if self.facts[one[2]].valid_until_ms > now]
        batch: list[bytes] = []
        for one in list(self.queue):
            fact = self.facts[one[2]]
            due = self.charged.get(fact.sponsor, 0) + limits.ORDER_CHARGE_WEI
            room = len(self.counting) < limits.RESULT_LAG_HEIGHTS and len(batch) < limits.BATCH_ORDERS_MAX
            if room and fact.valid_from_ms <= now and due <= BONDS[fact.sponsor]:
                self.charged[fact.sponsor] = due
                batch.append(one[2])
                self.queue.remove(one)
        if batch:
            self.counting.append(self.height)
        return now, root, certified, batch

    def _listings(self, c: Candidate, now: int, root: bytes) -> None:
        lifted_here = set()
        for head, lists in zip(c.heads, c.lists, strict=True):
            for order_id in (i for one in lists for i in one.entries):
                if order_id in lifted_here or self.lifted.get(order_id, 0) > now:
                    continue
                self.listings = {
                    i: {m: t for m, t in listed.items() if now < t + VALIDITY_MS} for i, listed in self.listings.items()
                }
                live = self.listings.get(order_id, {})
                of_member = sum(head.node in listed for listed in self.listings.values())
                if head.node in live or of_member >= limits.LISTINGS_PER_MEMBER_MAX:
                    continue
                live[head.node] = now
                self.listings[order_id] = live
                if len(live) >= F + 1:
                    del self.listings[order_id]
                    lifted_here.add(order_id)
                    until = self.facts[order_id].valid_until_ms
                    if until > now:
                        self.lifted[order_id] = until
                        self.queue.append((self.height, tagged("MPCSEQ/v1/carry", root + order_id), order_id))


def run(state: OrderingState, c: Candidate, facts: dict[bytes, OrderFacts]) -> Derived:
    derived = derive(state, c, faults=F, quorum=Q, bonds_wei=BONDS, facts=facts.get)
    assert isinstance(derived, Derived)
    return derived


entries = st.lists(st.sampled_from(IDS), max_size=6, unique=True).map(tuple)
refs = st.lists(
    st.builds(ResultRef, st.integers(1, 9), st.sampled_from([b"\xaa" * 32, b"\xbb" * 32])), max_size=3
).map(tuple)
windows = st.tuples(st.integers(-500, 4_000), st.integers(1, VALIDITY_MS), st.sampled_from(SPONSORS))


@st.composite
def plans(draw: st.DrawFn) -> tuple[dict[bytes, OrderFacts], list[Plan]]:
    facts = {}
    for order_id in IDS:
        start, span, sponsor = draw(windows)
        facts[order_id] = OrderFacts(START_MS + start, START_MS + start + span, sponsor, 256)
    blocks, now = [], START_MS
    for _ in range(draw(st.integers(2, 9))):
        now += draw(st.sampled_from([0, 1, 40, 900, 2_999, 3_000, 3_001]))
        nodes = draw(st.sets(st.integers(0, N - 1), min_size=Q))
        blocks.append(
            {
                node: HeadPlan(
                    now + draw(st.integers(-100, 100)),
                    tuple(e for e in draw(st.lists(entries, max_size=2)) if e),
                    draw(refs),
                )
                for node in nodes
            }
        )
    return facts, blocks


@settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
@given(plans())
@pytest.mark.usefixtures("few_listings")
def test_derive_is_the_naive_model(given_plan: tuple[dict[bytes, OrderFacts], list[Plan]]) -> None:
    facts, blocks = given_plan
    model, state, numbers = Model(facts), genesis_state(ZERO_HASH, START_MS, N), [0] * N
    for view, plan in enumerate(blocks, start=1):
        c = candidate(plan, view, numbers)
        now, root, certified, batch = model.block(c)
        derived = run(state, c, facts)
        assert derived.time_ms == now
        assert derived.inputs_root == root
        assert [(ref.height, ref.result) for ref in derived.certified] == certified
        assert list(derived.batch) == batch
        state = derived.state
        assert [one.order_id for one in state.queue] == [one[2] for one in model.queue]
        assert list(state.counting) == model.counting
        assert {k: v for k, v in state.charged_wei.items() if v} == model.charged
        remembered = {i: dict(listed) for i, listed in state.listings.items()}
        told = {i: {m: t for m, t in listed.items() if now < t + VALIDITY_MS} for i, listed in model.listings.items()}
        assert remembered == {i: listed for i, listed in told.items() if listed}
        assert list(state.listed) == [sum(n in listed for listed in remembered.values()) for n in range(N)]


def order_facts(**changes: dict[int, OrderFacts]) -> dict[bytes, OrderFacts]:
    return {order_id: OrderFacts(START_MS - 1, START_MS + 2_500, SPONSORS[1], 256) for order_id in IDS} | changes  # type: ignore[operator]


FACTS = order_facts()


def grow(plan_list: list[Plan], facts: dict[bytes, OrderFacts] = FACTS) -> list[Derived]:
    state, numbers, made = genesis_state(ZERO_HASH, START_MS, N), [0] * N, []
    for view, plan in enumerate(plan_list, start=1):
        made.append(run(state, candidate(plan, view, numbers), facts))
        state = made[-1].state
    return made


def says(time_ms: int, *listed: bytes) -> HeadPlan:
    return HeadPlan(START_MS + time_ms, (listed,) if listed else ())


@pytest.mark.parametrize("who", [(0, 1), (0, 3), (2, 3), (1, 2)])
def test_any_f_plus_1_listings_lift_and_one_does_not(who: tuple[int, int]) -> None:
    one = grow([{n: says(1, IDS[0]) if n == who[0] else says(1) for n in range(N)}])[0]
    assert one.batch == ()
    assert one.lifted == ()
    two = grow([{n: says(1, IDS[0]) if n in who else says(1) for n in range(N)}])[0]
    assert two.batch == two.lifted == (IDS[0],)


def test_one_member_s_listings_count_once_however_often_it_lists() -> None:
    block = {0: HeadPlan(START_MS + 1, ((IDS[0],), (IDS[0],))), 1: says(1), 2: says(1)}
    assert all(not one.lifted for one in grow([block, block, block]))


def test_listings_of_several_blocks_add_up_while_they_live() -> None:
    first = {0: says(1, IDS[0]), 1: says(1), 2: says(1)}
    for later_ms, lifted in ((VALIDITY_MS, True), (VALIDITY_MS + 1, False)):
        second = {1: says(later_ms, IDS[0]), 2: says(later_ms), 3: says(later_ms)}
        facts = {IDS[0]: OrderFacts(START_MS, START_MS + 9_000, SPONSORS[1], 256)}
        assert bool(grow([first, second], facts)[1].lifted) is lifted


@pytest.mark.usefixtures("few_listings")
def test_a_member_can_have_only_so_many_listings_that_nobody_shares() -> None:
    bound = limits.LISTINGS_PER_MEMBER_MAX
    flood = {0: says(1, *IDS[: bound + 1]), 1: says(1), 2: says(1)}
    same = {0: says(2), 1: says(2, *IDS[: bound + 1]), 2: says(2)}
    blocks = grow([flood, same])
    assert blocks[0].state.listed == (bound, 0, 0, 0)
    assert set(blocks[1].lifted) == set(IDS[:bound]), "the one too many was passed over"
    assert blocks[1].state.listed == (0, 1, 0, 0)


def test_block_time_is_the_lower_median_and_never_goes_back() -> None:
    blocks = grow(
        [
            {0: says(50), 1: says(10), 2: says(99), 3: says(20)},
            {0: says(1), 1: says(2), 2: says(3)},
            {0: says(10**9), 1: says(60), 2: says(70)},
        ]
    )
    assert [one.time_ms - START_MS for one in blocks] == [20, 20, 70]


def test_overflow_waits_and_goes_before_what_is_lifted_later() -> None:
    early, late = tuple(IDS[:5]), tuple(IDS[5:7])
    both = {n: says(1, *early) for n in (0, 1)} | {2: says(1)}
    then = {n: says(2, *late) for n in (0, 1)} | {2: says(2)}
    first, second = grow([both, then])
    assert len(first.batch) == 3
    assert set(first.batch) | set(second.batch[:2]) == set(early)
    carries = {one.order_id: one.carry for one in first.state.queue}
    assert list(second.batch[:2]) == sorted(carries, key=lambda i: carries[i])
    assert set(second.batch[2:]) | {one.order_id for one in second.state.queue} == set(late)


def test_lagging_results_stop_batches_until_one_is_certified() -> None:
    def block(view: int, order_id: bytes, results: tuple[ResultRef, ...] = ()) -> Plan:
        return {n: HeadPlan(START_MS + view, ((order_id,),), results) for n in range(N)}

    certify = (ResultRef(1, b"\xaa" * 32),)
    made = grow([block(1, IDS[0]), block(2, IDS[1]), block(3, IDS[2]), block(4, IDS[3], certify)])
    assert [len(one.batch) for one in made] == [1, 1, 0, 2]
    assert made[3].certified == certify
    assert made[3].state.certified_height == 1


def test_credit_is_what_ancestors_and_the_batch_left() -> None:
    facts = {order_id: OrderFacts(START_MS, START_MS + 2_500, SPONSORS[0], 256) for order_id in IDS}
    block = {n: says(1, *IDS[:5]) for n in (0, 1)} | {2: says(1)}
    first, second = grow([block, {n: says(2) for n in (0, 1, 2)}], facts)
    assert len(first.batch) == 3
    assert second.batch == ()
    assert len(second.state.queue) == 2
    assert second.state.charged_wei[SPONSORS[0]] == BONDS[SPONSORS[0]]


@pytest.mark.parametrize(
    ("start", "end", "batched", "queued"),
    [(0, 100, False, False), (0, 101, True, False), (100, 200, True, False), (101, 200, False, True)],
)
def test_windows_are_judged_by_block_time(start: int, end: int, batched: bool, queued: bool) -> None:
    facts = {IDS[0]: OrderFacts(START_MS + start, START_MS + end, SPONSORS[1], 256)}
    made = grow([{n: says(100, IDS[0]) for n in range(N)}], facts)[0]
    assert (bool(made.batch), bool(made.state.queue)) == (batched, queued)


def test_a_lifted_id_is_passed_over_until_its_order_expires_and_then_it_does_no_good() -> None:
    block = {n: says(1, IDS[0]) for n in range(N)}
    again = {n: says(2, IDS[0]) for n in range(N)}
    expired = {n: says(2_500, IDS[0]) for n in range(N)}
    made = grow([block, again, expired])
    assert [one.lifted for one in made] == [(IDS[0],), (), (IDS[0],)]
    assert [len(one.batch) for one in made] == [1, 0, 0]


def test_a_body_that_is_not_at_hand_is_asked_for() -> None:
    c = candidate({n: says(1, IDS[0], IDS[1]) for n in range(N)}, 1, [0] * N)
    state = genesis_state(ZERO_HASH, START_MS, N)
    facts = {IDS[0]: FACTS[IDS[0]]}
    assert derive(state, c, faults=F, quorum=Q, bonds_wei=BONDS, facts=facts.get) == Missing((IDS[1],))


def test_memory_of_listings_and_lifted_ids_ends() -> None:
    block = {n: says(1, *IDS[:4]) for n in (0, 1)} | {2: says(1, *IDS[4:])}
    last = grow([block, {n: says(3 * VALIDITY_MS) for n in (0, 1, 2)}])[-1].state
    assert not last.listings
    assert not last.lifted
    assert not last.queue
    assert not last.expiries


def test_an_id_that_the_block_which_lists_it_lifts_is_looked_at_once_when_its_window_ends() -> None:
    """Else every order is remembered for as long as a listing could live."""
    listed = {n: says(1, IDS[0]) for n in range(N)} | {3: says(1, IDS[0], IDS[1])}
    state = grow([listed])[-1].state
    looked_at = [order_id for groups in state.expiries.values() for group in groups for order_id in group]
    assert sorted(looked_at) == [IDS[0], IDS[1]]
    assert list(state.listings) == [IDS[1]], "its one listing may die"
