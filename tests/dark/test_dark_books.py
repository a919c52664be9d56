"""A thousand books over shares and by the rule in the plain, with cheating rows among them; and the decoders of what
peers and traders send, on bytes that nobody meant.
"""

from __future__ import annotations

import ast
import random
import sys
import tracemalloc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from dark_kit import CheatingRow, cheating_rows, small_params, well_formed
from dark_runs import SESSION, batches_of, book_batches, params_of, shared_of, with_coin
from hypothesis import given, settings
from hypothesis import strategies as st

import mpc_sequencer.dark
from mpc_sequencer.core.actions import BUY, SELL, DarkOrder
from mpc_sequencer.core.codec import decode, encode
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.peer_messages import DarkShares
from mpc_sequencer.dark.bookstate import BookState
from mpc_sequencer.dark.clearing import Batch, Plan
from mpc_sequencer.dark.desk import DeskValue
from mpc_sequencer.dark.field import SharedRows, from_bytes
from mpc_sequencer.dark.layout import Deposit, encode_order
from mpc_sequencer.dark.messages import (
    DarkFillValue,
    OpenedBox,
    OutcomeValue,
    ReportSaid,
    ResultSaid,
    decode_word,
    encode_word,
)
from mpc_sequencer.dark.params import DarkParams
from mpc_sequencer.dark.program import Program
from mpc_sequencer.dark.rule import DarkOutcome, PlainOrder, clear_openly
from mpc_sequencer.dark.session import Begin, DarkSession, Heard
from mpc_sequencer.dark.sharing import interpolate
from mpc_sequencer.dark.transcript import MESSAGE_BYTES_MAX, RoundShares, Said, Transcript, decode_transcript

PARAMS = small_params(orders_max=8)
PLAN = Plan.of(PARAMS, 1, 1)
SEEN = 3
"""Parties that are run: of honest ones three determine every opening."""
CHEATS = cheating_rows(PARAMS)
BOOKS, CHUNKS = 1_000, 20
SHAPES = ("any", "any", "empty", "one side", "one tick", "uncrossed", "cover", "cheats only", "touching")


def cleared(params: DarkParams, plan: Plan, batches: Sequence[Batch], attempt: int) -> DarkOutcome:
    """The outcome of the first parties, whose shares determine all others'."""
    sources = shared_of(params.parties, params.faults_t, attempt)[:SEEN]
    programs = [with_coin(params, plan, one, batch) for one, batch in zip(sources, batches, strict=False)]
    steps = [next(program) for program in programs]
    outcomes: list[DarkOutcome] = []
    while not outcomes:
        opened = tuple(
            interpolate({party: step.openings[at].shares for party, step in enumerate(steps)})
            for at in range(len(steps[0].openings))
        )
        following = []
        for program in programs:
            try:
                following.append(program.send(opened))
            except StopIteration as ended:
                outcomes.append(ended.value)
        steps = following
    assert len(outcomes) == SEEN
    assert all(one == outcomes[0] for one in outcomes)
    return outcomes[0]


def book(draw: random.Random, shape: str) -> list[PlainOrder | CheatingRow]:
    """Up to ``orders_max`` orders and cheating rows."""
    size = 0 if shape == "empty" else draw.randint(1, PARAMS.orders_max)
    tick, side, most = draw.randrange(8), draw.choice((BUY, SELL)), draw.choice((1, 3, 63))
    out: list[PlainOrder | CheatingRow] = []
    for _ in range(size):
        if shape == "cheats only" or draw.random() < 0.15:
            out.append(draw.choice(CHEATS))
            continue
        order = PlainOrder(draw.choice((BUY, SELL)), draw.randrange(8), draw.randint(0, most))
        if shape == "one side":
            order = replace(order, side=side)
        elif shape == "one tick":
            order = replace(order, tick=tick)
        elif shape == "cover":
            order = replace(order, quantity_lots=0)
        elif shape == "uncrossed":
            order = replace(order, tick=draw.randrange(4) + (0 if order.side == BUY else 4))
        elif shape == "touching":
            order = replace(order, tick=min(7, max(0, tick + draw.randint(-1, 1))), quantity_lots=draw.randint(1, 2))
        out.append(order)
    return out


def expected(entries: Sequence[PlainOrder | CheatingRow], priority: Sequence[int]) -> DarkOutcome:
    """The rule, on what is left without the cheating rows, in the whole book's numbers."""
    kept = [at for at, entry in enumerate(entries) if isinstance(entry, PlainOrder)]
    orders = [entry for entry in entries if isinstance(entry, PlainOrder)]
    plain = clear_openly(orders, 8, [kept.index(at) for at in priority if at in kept])
    return replace(
        plain,
        fills=tuple(replace(fill, order=kept[fill.order]) for fill in plain.fills),
        rejected=tuple(at for at in range(len(entries)) if at not in kept),
        last_marginal=None if plain.last_marginal is None else kept[plain.last_marginal],
    )


def shared(entries: Sequence[PlainOrder | CheatingRow], priority: Sequence[int], seed: int) -> list[Batch]:
    rows, deposits = [], []
    for entry in entries:
        if isinstance(entry, CheatingRow):
            rows.append(entry.row)
            deposits.append(entry.deposit)
            continue
        price = PARAMS.price_first_ticks + PARAMS.price_step_ticks * entry.tick
        deposits.append(Deposit(63 * PARAMS.price_last_ticks, 63))
        rows.append(encode_order(PARAMS, entry.side, price, entry.quantity_lots, deposits[-1], seed + 1))
    return batches_of(PARAMS, rows, deposits, priority, seed)


def test_no_cheating_row_is_well_formed() -> None:
    assert not any(well_formed(PARAMS, cheat.row, cheat.deposit) for cheat in CHEATS)


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_books_clear_over_shares_as_in_the_plain(chunk: int) -> None:
    crossed = 0
    for number in range(chunk, BOOKS, CHUNKS):
        draw = random.Random(number)
        entries = book(draw, SHAPES[number % len(SHAPES)])
        priority = draw.sample(range(len(entries)), len(entries))
        outcome = cleared(PARAMS, PLAN, shared(entries, priority, number), number)
        assert outcome == expected(entries, priority), (number, entries)
        crossed += outcome.crossed
    assert 0 < crossed < BOOKS // CHUNKS


# --- bytes that nobody meant ------------------------------------------------------------------------------------------

KINDS = (RoundShares, Said, Transcript, DarkOrder, DarkShares, DeskValue, BookState, OutcomeValue, OpenedBox)
"""All that is decoded from peers, traders and the log."""
SAMPLE = Transcript(SESSION, (Said(0, 0, bytes(24)), Said(0, 1, bytes(24)), Said(1, 0, bytes(12))))
VALID = [
    encode(RoundShares(SESSION, 3, bytes(range(36)))),
    encode(SAMPLE),
    encode(DarkOrder(bytes(20), 1, bytes(32), 2, bytes(32), 9_000, 40, (bytes(120), b""))),
    encode_word(ReportSaid(2, 1, 0, bytes(24), (OpenedBox(1, bytes(33), bytes(32), bytes(32)),))),
    encode_word(ResultSaid(2, 1, OutcomeValue(bytes(32), 1, 3, 1, 4, (DarkFillValue(0, 1, 4),), (2,), 1))),
]


def only_protocol_errors(data: bytes) -> None:
    for kind in KINDS:
        try:
            value = decode(kind, data)
        except ProtocolError:
            continue
        assert encode(value) == data  # accepted: then it is the one encoding
    with suppress(ProtocolError):
        assert encode_word(decode_word(data)) == data
    for parse in (decode_transcript, partial(from_bytes, count=2), partial(SharedRows.from_bytes, rows=1, columns=2)):
        try:
            parse(data)
        except ProtocolError:
            continue


@given(st.binary(max_size=120))
@settings(max_examples=300, deadline=None)
def test_random_bytes_are_refused_in_order(data: bytes) -> None:
    only_protocol_errors(data)


@given(st.sampled_from(VALID), st.data())
@settings(max_examples=300, deadline=None)
def test_changed_messages_are_refused_in_order(data: bytes, draw: st.DataObject) -> None:
    changed = bytearray(data)
    for _ in range(draw.draw(st.integers(1, 4))):
        at = draw.draw(st.integers(0, len(changed) - 1))
        how = draw.draw(st.sampled_from(("flip", "cut", "insert", "repeat")))
        if how == "flip":
            changed[at] = draw.draw(st.integers(0, 255))
        elif how == "cut":
            del changed[at : at + draw.draw(st.integers(1, 8))]
        elif how == "insert":
            changed[at:at] = draw.draw(st.binary(min_size=1, max_size=8))
        else:
            changed += changed[at:]
        if not changed:
            break
    only_protocol_errors(bytes(changed))


@pytest.mark.parametrize(
    "data",
    [
        b"\xdd\xff\xff\xff\xff",
        b"\x93\xc6\xff\xff\xff\xff",
        b"\x91" * 100_000,
        b"\x81" * 100_000,
        b"\x92\xc4\x20" + bytes(32) + b"\xdd\x7f\xff\xff\xff" + b"\x93\x00\x00\xc4\x00" * 1000,
    ],
    ids=["a long array", "long bytes", "nested arrays", "nested maps", "a long transcript"],
)
def test_lengths_that_are_only_claimed_cost_no_memory(data: bytes) -> None:
    with python_s_recursion_limit():
        only_protocol_errors(data)  # imports and caches are warm
        tracemalloc.start()
        only_protocol_errors(data)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 8 << 20


@contextmanager
def python_s_recursion_limit() -> Iterator[None]:
    """Decoding nested arrays is bounded by it; libraries for tests of contracts set it far higher."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(1_000)
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


def honest_programs() -> list[Program[DarkOutcome]]:
    params = params_of(5, 1, ticks=2, orders_max=4, bits=2)
    batches = book_batches(params, [PlainOrder(BUY, 1, 1), PlainOrder(SELL, 0, 1)], [0, 1])
    plan = Plan.of(params, 1, 1)
    return [with_coin(params, plan, one, batches[at]) for at, one in enumerate(shared_of(5, 1))]


@given(st.lists(st.tuples(st.integers(-1, 6), st.one_of(st.binary(max_size=60), st.none())), max_size=12), st.data())
@settings(max_examples=60, deadline=None)
def test_nothing_that_is_heard_raises_in_a_session(heard: list[tuple[int, bytes | None]], draw: st.DataObject) -> None:
    session = DarkSession(SESSION, 0, 5, 1, honest_programs()[0])
    session.step(Begin())
    for party, data in heard:
        if data is None:
            number, size = draw.draw(st.integers(0, 20)), draw.draw(st.integers(0, 40))
            data = encode(RoundShares(SESSION, number, bytes(12 * size)))
        session.step(Heard(party, data))
    assert 0 not in session.convicted


def test_what_is_longer_than_any_message_is_not_decoded() -> None:
    decode(RoundShares, encode(RoundShares(SESSION, 0, bytes(1 << 18))), bytes_max=MESSAGE_BYTES_MAX)
    with pytest.raises(ProtocolError) as error:
        decode(RoundShares, bytes(MESSAGE_BYTES_MAX + 1), bytes_max=MESSAGE_BYTES_MAX)
    assert error.value.code == "wire.size"


# --- the package reads nothing that could run code --------------------------------------------------------------------

FORBIDDEN = {"pickle", "marshal", "shelve", "dill", "copyreg", "mpyc", "ctypes", "subprocess", "importlib", "yaml"}
NUMBERS = {"'<u2'", "'<u4'", "np.uint8", "np.uint16"}
RUNS_CODE = {"eval", "exec", "compile", "__import__", "loads", "load", "fromfile"}
"""``np.load`` and ``np.frombuffer`` with object arrays would unpickle; the second is only used with plain numbers."""


def modules() -> list[Path]:
    return sorted(Path(mpc_sequencer.dark.__file__).parent.glob("**/*.py"))


@pytest.mark.parametrize("path", modules(), ids=lambda path: path.name)
def test_nothing_is_unpickled_or_evaluated(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            assert FORBIDDEN.isdisjoint(name.name.split(".")[0] for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert (node.module or "").split(".")[0] not in FORBIDDEN
        elif isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            assert name not in RUNS_CODE or ast.unparse(node.func) == "Agreement.load", name
            if name == "frombuffer":
                kinds = [ast.unparse(word.value) for word in node.keywords if word.arg == "dtype"]
                assert kinds and set(kinds) <= NUMBERS, kinds
