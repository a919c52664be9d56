"""What a member says of its epoch's dark markets in the log, and its part in their computations.

What is owed is the desk's to say, a function of the executed heights (:meth:`mpc_sequencer.dark.desk.Desk.owes`). After
each of them this member says it: words are payloads of key messages under the epoch's dark topic, held and listed like
its other key messages. A word is a function of the log and of one 32-byte *seed* per epoch, which is in the vault before
the first word leaves; so after a crash the same word comes again, and of one place there is one word: what the keybook
holds of this member at that place is not said anew. Where the seed is lost and the member has spoken, it says nothing
more in the epoch. The seed is erased when the epoch is over, or was another epoch's than the one the member is in: a
later thief of the disk opens no box of the log.

Nothing is said while blocks are known to be final that are not at hand here: their words may have settled it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from mpc_sequencer.core import domains
from mpc_sequencer.core.darkruns import DarkRuns
from mpc_sequencer.core.effects import EraseSecret, Fault, KeepSecret
from mpc_sequencer.core.signing import Signer
from mpc_sequencer.dark.desk import Compute, Desk, Task
from mpc_sequencer.dark.messages import Place, ResultSaid, Word, decode_word, encode_word, place, topic
from mpc_sequencer.dark.party import DarkParty

if TYPE_CHECKING:
    from mpc_sequencer.core.node import NodeCore

DARK_SEED_PREFIX: Final = "dark-"


def dark_seed_name(epoch: int) -> str:
    """What the vault calls the seed of an epoch's words."""
    return f"{DARK_SEED_PREFIX}{epoch}"


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
        core.effects += [EraseSecret(name) for name in sorted(secrets) if _is_older(name, core.committee.epoch)]

    @property
    def desk(self) -> Desk:
        """The markets' state after the last executed height."""
        desk = self._core.execution.engine.desk
        assert desk is not None, "only a deployment with a dark market has a voice for it"
        return desk

    # --- the member's turns -------------------------------------------------------------------------------------
    def has_work(self) -> bool:
        return self.runs.has_work()

    def work(self) -> None:
        self.runs.work()

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
        for market in desk.markets:
            self.runs.forget(market, desk.leaf(market)[0])
        party = self._own_party() if tasks else None
        if party is None:
            return
        for task in tasks:
            if not isinstance(task, Compute):
                self._say(party.say(desk, task))
                continue
            self.runs.compute(desk, party, (task.market, task.batch))
            result = self.runs.result((task.market, task.batch))
            if result is not None:
                self._say(ResultSaid(task.market, task.batch, result[0]))

    def _say(self, word: Word) -> None:
        """Say a word once: what was said of its place stays."""
        said = self._said_so_far()
        if place(word) in said:
            return
        payload = encode_word(word)
        if self.desk.wanted(self._core.node, payload):
            said.add(place(word))
            self._core.keygen.voice.say(self.topic, payload)

    def _said_so_far(self) -> set[Place]:
        if self._said is None:
            own = (one.message for one in self._core.keybook.kept() if one.message.node == self._core.node)
            self._said = {place(decode_word(one.payload)) for one in own if one.session == self.topic}
        return self._said

    # --- the secret side ----------------------------------------------------------------------------------------
    def _own_party(self) -> DarkParty | None:
        """This member's secret side; None where it has spoken in this epoch and its seed is lost."""
        if self._party is None:
            if self._seed is None:
                if self._has_spoken():
                    self._tell_lost()
                    return None
                self._seed = domains.DARK_SEED(self._entropy, self.topic)
                self._entropy = b""  # the seed cannot be made again when it is erased
                self._core.effects.append(KeepSecret(self._name, self._seed))
            self._party = DarkParty(self._seed, self._core.node)
        return self._party

    def _has_spoken(self) -> bool:
        keys = self.desk.keys
        return bool(self._said_so_far()) or (keys is not None and bool(keys.box_keys[self._core.node]))

    def _tell_lost(self) -> None:
        if not self._told_lost:
            self._told_lost = True
            detail = "this member has lost the seed of its words on dark markets: it says none before the next epoch"
            self._core.effects.append(Fault(self._core.node, "dark.no_seed", detail))

    def end(self) -> None:
        """The epoch is over: the secret side is overwritten. The vault's seed the next epoch's core erases."""
        if self._party is not None:
            self._party.erase()
        self._party = self._seed = None
        self.runs.end()
