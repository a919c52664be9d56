"""Everything that traders and members may do wrong in dark markets, drawn at random for histories."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace as changed
from random import Random
from typing import Any, Protocol

from desk_kit import MARKET, account_of
from msgspec.structs import replace

from mpc_sequencer.core.actions import BUY, SELL, DarkOrder
from mpc_sequencer.dark.desk import Compute, Desk, Ended, Parties
from mpc_sequencer.dark.keys import AgreedKeys
from mpc_sequencer.dark.layout import Deposit, Layout, encode_order
from mpc_sequencer.dark.messages import (
    AnswerSaid,
    DarkFillValue,
    DealSaid,
    KeySaid,
    OpenedBox,
    OpeningsSaid,
    OutcomeValue,
    ReportSaid,
    ResultSaid,
    Word,
    encode_word,
)
from mpc_sequencer.dark.orders import params_of, prove_box, seal_row, seal_shares
from mpc_sequencer.dark.params import PRIME
from mpc_sequencer.dark.party import DarkParty
from mpc_sequencer.dark.sharing import seeded, share
from mpc_sequencer.market.types import Market
from tests.audit.dark_twins import Twins
from threshold import boxes, group

ONE = bytes(31) + b"\x01"
NOTHING = OpenedBox(0, group.generator_multiply_secret(ONE), ONE, ONE)


def drawn(random: Random) -> bytes:
    return random.randbytes(32)


class Stage(Protocol):
    """Where members act."""

    @property
    def desk(self) -> Desk: ...

    @property
    def parties(self) -> Parties: ...

    @property
    def markets(self) -> Mapping[int, Market]: ...

    @property
    def members(self) -> Mapping[int, DarkParty]: ...


# --- traders ----------------------------------------------------------------------------------------------------------


def dealt(
    stage: Stage, random: Random, kind: str, market: int, owner: bytes, nonce: int, label: bytes = bytes(32)
) -> DarkOrder:
    """An order of a kind: ``valid``, ``box`` (some boxes hold no row), ``other`` (a box for somebody else's key),
    ``share`` (one party's shares are off), ``shares`` (those of two), ``row`` (no order in it)."""
    keys, grid = stage.desk.keys, stage.markets[market].dark
    assert keys is not None and grid is not None
    n, t = stage.parties.count, stage.parties.faults_t
    params = params_of(grid, n, t)
    side, price, lots = random.choice((BUY, SELL)), random.choice((100, 110, 120, 135)), random.randint(0, 15)
    deposit = Deposit(15 * 135, 15)
    row = encode_order(params, side, price, lots, deposit, random.randrange(PRIME))
    if kind == "row":
        row[random.randrange(Layout.of(params).entries.stop)] = 3
    names = (keys, owner, nonce, market)
    if kind in ("valid", "row"):
        sealed = seal_row(params, *names, row, drawn(random))
    else:
        shares = share(row, t, n, seeded(drawn(random), b"share"))
        for party in random.sample(range(n), {"share": 1, "shares": 2}.get(kind, 0)):
            at = random.randrange(Layout.of(params).columns)
            shares[party][at] = (shares[party][at] + 1) % PRIME
        sealed = seal_shares(*names, shares, drawn(random))
    if kind in ("box", "other"):
        wrong = random.sample(range(n), random.choice((1, 1, 2)))
        sealed = tuple(
            _wrong_box(keys, owner, nonce, market, party, box, kind) if party in wrong and box else box
            for party, box in enumerate(sealed)
        )
    return DarkOrder(owner, nonce, label, market, keys.id, deposit.quote_tick_lots, deposit.base_lots, sealed)


def _wrong_box(keys: AgreedKeys, owner: bytes, nonce: int, market: int, party: int, box: bytes, kind: str) -> bytes:
    from mpc_sequencer.dark.keys import order_context

    size = len(box) - boxes.BOX_OVERHEAD_BYTES
    context = order_context(keys.id, market, owner, nonce, party)
    key = group.generator_multiply_secret(b"\x07" * 32) if kind == "other" else keys.box_keys[party]
    return boxes.seal(key, b"\xff" * size, hashlib.sha256(box).digest(), context)


# --- members ----------------------------------------------------------------------------------------------------------


def any_outcome(random: Random, stage: Stage, market: int) -> OutcomeValue:
    """An outcome that is consistent, or nearly."""
    batch, grid = stage.desk.book(market).state.batch, stage.markets[market].dark
    assert batch is not None and grid is not None
    count = len(batch.orders)
    if count < 2 or random.random() < 0.2:
        rejected = tuple(sorted(random.sample(range(count), random.randint(0, count))))
        return OutcomeValue(drawn(random), 0, random.choice((0, 0, 0, 1)), 0, 0, (), rejected, 0)
    lots, tick = random.randint(1, 5), random.randint(1, grid.ticks)
    one, other = sorted(random.sample(range(count), 2))
    sides = random.choice(((1, 2), (2, 1)))
    fills = DarkFillValue(one, sides[0], lots), DarkFillValue(other, sides[1], lots)
    rejected = tuple(index for index in range(count) if index not in (one, other) and random.random() < 0.2)
    outcome = OutcomeValue(drawn(random), 1, tick, sides[0], lots, fills, rejected, random.choice((0, one + 1)))
    bent: dict[str, Any] = random.choice(
        (
            {"tick": 0},
            {"tick": grid.ticks + 1},
            {"side": 0},
            {"last": other + 1},
            {"last": count + 1},
            {"volume_lots": lots + 1},
            {"fills": fills[::-1]},
            {"fills": (fills[0],)},
            {"fills": (fills[0], DarkFillValue(count, sides[1], lots))},
            {"fills": (fills[0], DarkFillValue(other, sides[0], lots))},
            {"fills": tuple(replace(fill, lots=16) for fill in fills), "volume_lots": 16},
            {"rejected": (one,)},
            {"rejected": (count,)},
            {"crossed": 0},
        )
    )
    return replace(outcome, **bent) if random.random() < 0.4 else outcome


def bent_word(random: Random, stage: Stage, party: int, word: Word) -> Word | None:
    """Another word of the kind, wrong in some way; None for silence."""
    if random.random() < 0.25:
        return None
    if isinstance(word, KeySaid):
        other = group.generator_multiply_secret(drawn(random))
        changes: tuple[dict[str, bytes], ...] = ({"proof": bytes(64)}, {"key": b"\x05" * 33}, {"key": other})
        return replace(word, **random.choice(changes))
    if isinstance(word, DealSaid):
        return _bent_deal(random, word)
    if isinstance(word, AnswerSaid):
        return replace(word, opened=_false_complaints(random, stage, party))
    if isinstance(word, ReportSaid):
        return _bent_report(random, stage, party, word)
    if isinstance(word, OpeningsSaid):
        return random.choice((replace(word, opened=()), replace(word, opened=word.opened[::-1]), replace(word, part=9)))
    batch = stage.desk.book(word.market).state.batch
    assert batch is not None
    return random.choice((replace(word, outcome=None), replace(word, outcome=any_outcome(random, stage, word.market))))


def _bent_deal(random: Random, deal: DealSaid) -> DealSaid:
    how, at = random.randrange(4), random.randrange(len(deal.boxes))
    if how == 0:
        return replace(deal, boxes=deal.boxes[:-1])
    if how == 1:
        return replace(deal, commitments=deal.commitments[1:])
    if how == 2:
        return replace(deal, boxes=(*deal.boxes[:at], deal.boxes[at][:-1] + b"\x00", *deal.boxes[at + 1 :]))
    return replace(deal, commitments=(drawn(random), *deal.commitments[1:]))  # shown by whoever has that box


def _false_complaints(random: Random, stage: Stage, party: int) -> tuple[OpenedBox, ...]:
    agreement, keys = stage.desk.agreement, stage.members[party]._keys
    secret = keys.box_secret(agreement.topic, agreement.attempt)
    opened = []
    for dealer in random.sample(range(stage.parties.count + 1), 2):
        if dealer < stage.parties.count and dealer != party and agreement.deals[dealer] is not None:
            data = agreement.box(dealer, party)
            if data and random.random() < 0.7:
                from mpc_sequencer.dark.keys import deal_context

                context = deal_context(agreement.topic, agreement.attempt, dealer, party)
                proof = boxes.prove_opened(secret, boxes.parse(data, context), context, bytes(32))
                opened.append(OpenedBox(dealer, *proof))
                continue
        opened.append(replace(NOTHING, index=dealer))
    return tuple(sorted(opened, key=lambda one: one.index)) if random.random() < 0.8 else tuple(opened)


def _bent_report(random: Random, stage: Stage, party: int, word: ReportSaid) -> ReportSaid:
    batch = stage.desk.book(word.market).state.batch
    assert batch is not None
    at = random.randrange(len(batch.orders))
    how = random.randrange(5)
    if how == 0:
        return replace(word, shares=word.shares[:-12])
    if how == 1:
        return replace(word, shares=b"\xff" * len(word.shares))
    if how == 2:
        return replace(word, bad=(replace(NOTHING, index=at),))
    if how == 3:
        agreement, keys = stage.desk.agreement, stage.members[party]._keys
        secret = keys.box_secret(agreement.topic, agreement.attempt)
        return replace(word, bad=(prove_box(batch.orders[at].action, party, secret, at, bytes(32)),))
    first = bytearray(word.shares)
    for index in random.sample(range(len(batch.orders)), random.randint(1, len(batch.orders))):
        first[12 * index] ^= 1
    return replace(word, shares=bytes(first))


class Company:
    """Members some of whom are faulty, and whose computations come to whatever is drawn. ``stage`` shows the desk, its
    parties, markets and members."""

    def __init__(self, stage: Stage, random: Random, faulty: Sequence[int]) -> None:
        self.stage = stage
        self.random = random
        self.faulty = faulty
        self._drawn: dict[tuple[int, int, int], OutcomeValue] = {}
        self.past: list[tuple[int, bytes]] = []

    def _speak(self, party: int, word: Word) -> list[bytes]:
        if party not in self.faulty:
            return [encode_word(word)]
        random = self.random
        if random.random() < 0.1:
            return [random.randbytes(random.randint(0, 40))]
        bent = bent_word(random, self.stage, party, word) if random.random() < 0.6 else word
        said = [] if bent is None else [encode_word(bent)]
        return said * 2 if random.random() < 0.2 else said

    def _result(self, task: Compute) -> ResultSaid:
        """One drawn outcome of each batch."""
        name = self.stage.parties.epoch, task.market, task.batch
        if name not in self._drawn:
            self._drawn[name] = any_outcome(self.random, self.stage, task.market)
        return ResultSaid(task.market, task.batch, self._drawn[name])

    def words(self) -> list[tuple[int, bytes]]:
        """What all say that owe something, in any order, and now and then something of before, or of a stranger."""
        said, desk = [], self.stage.desk
        for party, member in self.stage.members.items():
            for task in desk.owes(party):
                word = self._result(task) if isinstance(task, Compute) else member.say(desk, task)
                said += [(party, payload) for payload in self._speak(party, word)]
        self.random.shuffle(said)
        if self.past and self.random.random() < 0.3:
            said += self.random.sample(self.past, min(3, len(self.past)))
        if said and self.random.random() < 0.1:
            said.append((self.stage.parties.count + 1, said[0][1]))
        self.past += said
        return said


class RandomTwins(Twins):
    """Twins with such members."""

    def __init__(self, random: Random, faulty: Sequence[int], **terms: Any) -> None:
        super().__init__(**terms)
        self.random = random
        self.company = Company(self, random, faulty)

    def words(self) -> list[tuple[int, bytes]]:
        return self.company.words()

    def action_of(self, kind: str, market: int = MARKET, account: int | None = None) -> DarkOrder:
        """An order of a kind of :func:`dealt`."""
        self._nonces += 1
        owner = account_of(self._nonces if account is None else account)
        return dealt(self, self.random, kind, market, owner, self._nonces)

    def next_epoch(self) -> list[Ended]:
        """The first height of the next epoch, with words of the last one among its own."""
        self.parties = changed(self.parties, epoch=self.parties.epoch + 1)
        self._join()
        return self.height(self.company.past[-3:])
