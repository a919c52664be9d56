"""What a member says of its epoch's dark markets in the log, and its part in their computations.

What is owed is the desk's to say, a function of the executed heights (:meth:`mpc_sequencer.dark.desk.Desk.owes`).
After each of them this member says it: words are payloads of key messages under the epoch's dark topic, held and listed
like its other key messages. A word is a function of the log and of one 32-byte *seed* per epoch, which is in the vault
before the first word leaves; so after a crash the same word comes again, and of one place there is one word: what the
keybook holds of this member at that place is not said anew. Where the seed is lost another one is made; the epoch's
keys do not fit it, so the member sits out what rests on them. The seed is erased when the epoch is over: a later thief
of the disk opens no box of the log.

Nothing is said while blocks are known to be final that are not at hand here: their words may have settled it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from mpc_sequencer.core import domains
from mpc_sequencer.core.darkruns import DarkRuns
from mpc_sequencer.core.effects import EraseSecret, Fault, KeepSecret
from mpc_sequencer.core.signing import Signer
from mpc_sequencer.dark.desk import Compute, Desk, Task
from mpc_sequencer.dark.messages import (
    AnswerSaid,
    DealSaid,
    KeySaid,
    Place,
    ResultSaid,
    Word,
    encode_word,
    place,
    topic,
)
from mpc_sequencer.dark.party import DarkParty
from threshold import UsageError

if TYPE_CHECKING:
    from mpc_sequencer.core.node import NodeCore

DARK_SEED_PREFIX: Final = "dark-"
BOXES_PER_STEP: Final = 16  # a few milliseconds of a step of the core
KEY_KINDS: Final = frozenset(kind.__name__ for kind in (KeySaid, DealSaid, AnswerSaid))


def dark_seed_name(epoch: int) -> str:
    """What the vault calls the seed of an epoch's words."""
    return f"{DARK_SEED_PREFIX}{epoch}"


def _as_it_is(word: Word) -> Word | None:
    return word


def _is_older(name: str, epoch: int) -> bool:
    """Whether it is the seed of an epoch before. (Later ones' stay: a member that lost its snapshot goes through its
    epochs again.)"""
    number = name.removeprefix(DARK_SEED_PREFIX)
    return number != name and int(number) < epoch


class DarkVoice:
    """This member's side of its epoch's dark markets. ``secrets`` are the vault's, by name; ``entropy`` is 32 fresh
    random bytes of this start."""

    def __init__(self, core: NodeCore, signer: Signer, secrets: Mapping[str, bytes], entropy: bytes) -> None:
        self._core = core
        self.topic = topic(core.committee.genesis_id, core.committee.epoch)
        self.runs = DarkRuns(core, signer)
        self._name = dark_seed_name(core.committee.epoch)
        self._entropy = entropy
        self._seed = secrets.get(self._name)
        self._party: DarkParty | None = None
        self._said: set[Place] | None = None
        """Places of this member's words; None before the keybook was looked through."""
        self._spoke_at = -1
        """The executed height after which this member spoke last."""
        self._unsure_height = -1
        """Up to this height a life that this member does not remember may have begun computations."""
        self._told_lost = False
        self._opening = False
        """Boxes of orders may wait to be opened."""
        self.bend: Callable[[Word], Word | None] = _as_it_is
        """Has the last word on a word of this member: what it says instead, None for nothing."""
        core.effects += [EraseSecret(name) for name in sorted(secrets) if _is_older(name, core.committee.epoch)]

    @property
    def desk(self) -> Desk:
        """The markets' state after the last executed height, as this epoch's words are judged by."""
        desk = self._core.dark.desk
        assert desk is not None, "only a deployment with a dark market has a voice for it"
        return desk

    # --- the member's turns -------------------------------------------------------------------------------------
    def has_work(self) -> bool:
        return self._opening or self.runs.has_work()

    def work(self) -> None:
        """One step of a run; some boxes of orders that came, so that a report does not open them all at once."""
        self.runs.work()
        if self._opening and self._party is not None:
            try:
                self._opening = self._party.open_some(self.desk, BOXES_PER_STEP)
            except UsageError:
                self._opening = False

    def flush(self, now_ms: int) -> None:
        """Say what is owed since the last executed height; run clocks."""
        self.runs.flush(now_ms)
        core, height = self._core, self._core.execution.executed_height
        if core.node >= core.committee.n or core.chain.ended:
            return
        if not core.standing.may_speak():
            self._unsure_height = core.chain.final_height
        if core.catchup.lags:
            return
        if height == self._spoke_at and not self.runs.finished:
            return
        tasks = self.desk.owes(core.node)
        if height <= self._unsure_height:
            for task in tasks:
                if isinstance(task, Compute):
                    self.runs.give_up((task.market, task.batch))
        if core.standing.may_speak():
            self._spoke_at = height
            self.runs.finished = False
            self._speak(tasks)

    def _speak(self, tasks: tuple[Task, ...]) -> None:
        desk = self.desk
        self._forget(desk)
        party = self._own_party() if tasks or desk.keys is not None else None
        self._opening = desk.keys is not None
        for task in tasks:
            assert party is not None
            word = self._computed(desk, party, task) if isinstance(task, Compute) else self._owed(desk, party, task)
            if word is not None:
                self._say(word)

    def _owed(self, desk: Desk, party: DarkParty, task: Task) -> Word | None:
        """The word of a task; None where the log holds another seed's key of this member."""
        try:
            return party.say(desk, task)
        except UsageError as error:
            self._tell_lost(str(error))
            return None

    def _computed(self, desk: Desk, party: DarkParty, task: Compute) -> Word | None:
        """What a batch came to here, None while it is computed; the computation begins where it has not."""
        name = (task.market, task.batch)
        try:
            self.runs.compute(desk, party, name)
        except UsageError as error:
            self._tell_lost(str(error))
            self.runs.give_up(name)
        result = self.runs.result(name)
        return None if result is None else ResultSaid(task.market, task.batch, result[0])

    def _forget(self, desk: Desk) -> None:
        """Batches that have ended in the log."""
        current = {market: desk.leaf(market)[0] for market in desk.markets}
        for market, batch in current.items():
            self.runs.forget(market, batch)
        said = self._said_so_far()
        said -= {place for place in said if place[0] not in KEY_KINDS and place[2] < current.get(place[1], 0)}

    def _say(self, word: Word) -> None:
        """Say a word once: what was said of its place stays."""
        said, about = self._said_so_far(), place(word)
        if about in said or not self.desk.wanted(self._core.node, encode_word(word)):
            return
        said.add(about)
        bent = self.bend(word)
        if bent is not None:
            self._core.keygen.voice.say(self.topic, encode_word(bent))

    def _said_so_far(self) -> set[Place]:
        if self._said is None:
            own = (one for one in self._core.keybook.kept() if one.message.node == self._core.node)
            self._said = {one.place for one in own if one.place is not None}
        return self._said

    # --- the secret side ----------------------------------------------------------------------------------------
    def _own_party(self) -> DarkParty:
        """This member's secret side. Where its seed was lost another one is made, which the epoch's keys do not fit."""
        if self._party is None:
            if self._seed is None:
                self._seed = domains.DARK_SEED(self._entropy, self.topic)
                self._entropy = b""  # the seed cannot be made again when it is erased
                self._core.effects.append(KeepSecret(self._name, self._seed))
            self._party = DarkParty(self._seed, self._core.node)
        return self._party

    def _tell_lost(self, cause: str) -> None:
        if not self._told_lost:
            self._told_lost = True
            detail = f"this member sits out what it is owed to do in dark markets: {cause}"
            self._core.effects.append(Fault(self._core.node, "dark.no_keys", detail))

    def end(self) -> None:
        """The epoch is over: the secret side is overwritten. The vault's seed the next epoch's core erases."""
        if self._party is not None:
            self._party.erase()
        self._party = self._seed = None
        self._opening = False
        self.runs.end()
