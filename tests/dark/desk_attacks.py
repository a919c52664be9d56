"""What the tests of attacks on dark batches share: words, shares and messages that are not the honest ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from dark_runs import one_more, payload_changed
from desk_kit import MARKET, Floor, dark_market, dark_parties
from msgspec.structs import replace

from mpc_sequencer.core.actions import BUY, SELL
from mpc_sequencer.dark.desk import Ended, Task
from mpc_sequencer.dark.field import Elements
from mpc_sequencer.dark.messages import (
    OpenedBox,
    Word,
    encode_word,
)
from mpc_sequencer.dark.orders import prove_box
from mpc_sequencer.dark.params import PRIME

W = TypeVar("W", bound=Word)


def agreed(n: int = 5, t: int = 1) -> Floor:
    floor = Floor(dark_parties(n, t))
    floor.agree()
    return floor


def crossed(floor: Floor) -> list[bytes]:
    """Two orders that trade 3 lots."""
    return [floor.order(BUY, 120, 3), floor.order(SELL, 110, 3)]


def codes(ended: Sequence[Ended]) -> dict[bytes, str]:
    return {one.order_id: one.code for each in ended for one in each.orders}


def bending(kind: type[W], who: Sequence[int], bend: Callable[[W], Sequence[Word]]) -> Callable[..., Sequence[bytes]]:
    """Parties that say something else where they should say one kind of word."""

    def speak(party: int, task: Task, word: Word) -> Sequence[bytes]:
        if party in who and isinstance(word, kind):
            return [encode_word(one) for one in bend(word)]
        return [encode_word(word)]

    return speak


def silent_in(kind: type[Word], who: Sequence[int]) -> Callable[..., Sequence[bytes]]:
    return bending(kind, who, lambda word: [])


def wrong_for(*parties: int) -> Callable[[list[Elements]], None]:
    def change(shares: list[Elements]) -> None:
        for party in parties:
            shares[party][2] = (shares[party][2] + 1 + party) % PRIME

    return change


def of_degree(degree: int) -> Callable[[list[Elements]], None]:
    """One column on a polynomial of another degree with the same secret."""

    def change(shares: list[Elements]) -> None:
        for party, one in enumerate(shares):
            one[2] = (one[2] + 12345 * (party + 1) ** degree) % PRIME

    return change


def phase(floor: Floor) -> int | None:
    batch = floor.desk.book(MARKET).state.batch
    return None if batch is None else batch.phase


def go_to(floor: Floor, wanted: int, part: int = 0) -> None:
    for _ in range(60):
        batch = floor.desk.book(MARKET).state.batch
        if batch is not None and (batch.phase, batch.part) == (wanted, part):
            return
        floor.go()
    raise AssertionError("the phase does not come")


def agreed_small(n: int, t: int) -> Floor:
    market = dark_market()
    assert market.dark is not None
    grid = replace(market.dark, demonstration=int(n < 4 * t + 1))
    floor = Floor(dark_parties(n, t), {MARKET: dark_market(grid=grid)})
    floor.agree()
    return floor


def true_but_false(floor: Floor, party: int) -> tuple[OpenedBox, ...]:
    """A party's rightly opened boxes, all of which hold rows."""
    batch, keys = floor.desk.book(MARKET).state.batch, floor.desk.keys
    assert batch is not None and keys is not None
    secret = floor.members[party]._keys.box_secret(keys.topic, keys.attempt)
    return tuple(prove_box(one.action, party, secret, index, bytes(32)) for index, one in enumerate(batch.orders))


def lying_in_run(who: Sequence[int], number: int | None = None) -> Callable[..., Sequence[bytes]]:
    def send(sender: int, receiver: int, at: int, message: bytes) -> Sequence[bytes]:
        if sender in who and number in (None, at):
            return [payload_changed(message, one_more)]
        return [message]

    return send
