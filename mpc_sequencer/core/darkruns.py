"""The computations of dark batches that this member takes part in: their messages, their clocks, their end.

One run per batch that the log says is to be computed. It goes from member to member, off the log:

* *One life.* A record that the attempt is begun is on disk before its first message leaves. What was begun before a
  restart is never begun again: this member says that it has no outcome, and the others go on without it. Who
  lost its journal begins none of those that the log knew of before it may speak again.
* *Messages* go to all other members over their authenticated links, signed, and are checked when they come. Of a member
  and round the first one counts; another one beside it convicts its author (:class:`DarkEquivocation`). What comes for
  a run that has not begun here is kept, DARK_EARLY_BYTES_MAX of one member, the newest of it; within a run
  DARK_RUN_BYTES_MAX. On a new link the run's own messages are sent again.
* *Clocks* are this member's own: a round's is DARK_ROUND_MS from when n - t have spoken, the run's DARK_RUN_LOCAL_MS. A
  time-out is taken up behind the messages that came before it, so that a busy member blames nobody for its own delay.
* *The end.* The outcome, or that there is none, is what :class:`~mpc_sequencer.core.darkvoice.DarkVoice` says in the
  log; the transcript of what counted goes into the audit log with its signatures.

One step of a run is done at a time, by :meth:`work`; the largest computes a round of the whole batch.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from msgspec.structs import replace

from mpc_sequencer.core import limits
from mpc_sequencer.core.codec import decode
from mpc_sequencer.core.darkside import DarkAttemptRecord
from mpc_sequencer.core.effects import Append, Broadcast, Fault, Persist, Send
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.messages import DarkShares
from mpc_sequencer.core.offences import DarkEquivocation, SaidShares
from mpc_sequencer.core.signing import Signer
from mpc_sequencer.core.types import NO_SIGNATURE
from mpc_sequencer.dark.messages import OutcomeValue
from mpc_sequencer.dark.run import DarkRun
from mpc_sequencer.dark.session import Aborted, Blame, Clock, Done, Effect, Say
from mpc_sequencer.dark.signed import entries, signed
from mpc_sequencer.dark.transcript import RoundShares

if TYPE_CHECKING:
    from mpc_sequencer.core.node import NodeCore
    from mpc_sequencer.dark.desk import Desk
    from mpc_sequencer.dark.party import DarkParty

BatchName = tuple[int, int]
"""Market and number of a batch."""
Messages = dict[tuple[int, int], DarkShares]
"""By round and party."""
Step = DarkShares | int | Literal["begin", "expire"]
"""What a run does next: hear a message, let a round's time-out pass, begin, or give up."""


@dataclass(slots=True)
class _Run:
    """A computation that is under way here."""

    name: BatchName
    run: DarkRun
    expires_ms: int
    messages: Messages = field(default_factory=dict, repr=False)
    """All that was said, this member's own too."""
    heard_bytes: dict[int, int] = field(default_factory=dict)
    clock: tuple[int, int] | None = None
    """A round, and when its time is over."""


class DarkRuns:
    """This member's part in the computations of its epoch's dark batches."""

    def __init__(self, core: NodeCore, signer: Signer) -> None:
        self._core = core
        self._signer = signer
        self._runs: dict[bytes, _Run] = {}
        """By session."""
        self._attempts: set[BatchName] = set()
        """Batches that this member has begun to compute, or never will."""
        self._results: dict[BatchName, OutcomeValue | None] = {}
        self._queue: deque[tuple[bytes, Step]] = deque()
        self._early: list[OrderedDict[tuple[bytes, int], DarkShares]] = [OrderedDict() for _ in range(core.committee.n)]
        """By member: what came for runs that have not begun here, by session and round, oldest first."""
        self._early_bytes = [0] * core.committee.n
        self._closed: deque[bytes] = deque(maxlen=limits.DARK_CLOSED_KEPT)
        self.finished = False
        """A run has ended since the voice spoke last."""

    # --- batches ------------------------------------------------------------------------------------------------
    def compute(self, desk: Desk, party: DarkParty, name: BatchName) -> None:
        """The log wants this batch computed: begin, unless that was done before. UsageError where ``party`` cannot."""
        if name in self._attempts or len(self._runs) >= limits.DARK_RUNS_MAX:
            return
        run = party.run(desk, *name)
        self._attempt(name)
        self._runs[run.session_id] = _Run(name, run, self._core.now_ms + limits.DARK_RUN_LOCAL_MS)
        self._queue.append((run.session_id, "begin"))
        for node, held in enumerate(self._early):
            for key in [key for key in held if key[0] == run.session_id]:
                message = held.pop(key)
                self._early_bytes[node] -= len(message.message)
                self._take(self._runs[run.session_id], message)

    def give_up(self, name: BatchName) -> None:
        """Never begin this batch: this member may have begun it in a life that it does not remember."""
        if name not in self._attempts:
            self._attempt(name)

    def _attempt(self, name: BatchName) -> None:
        self._attempts.add(name)
        self._core.effects.append(Persist(DarkAttemptRecord(self._core.committee.epoch, *name)))

    def recall(self, record: DarkAttemptRecord) -> None:
        """What the journal says of this."""
        if record.epoch == self._core.committee.epoch:
            self._attempts.add((record.market, record.batch))

    def records(self) -> list[DarkAttemptRecord]:
        """What a snapshot must hold of it."""
        return [DarkAttemptRecord(self._core.committee.epoch, *name) for name in sorted(self._attempts)]

    def result(self, name: BatchName) -> tuple[OutcomeValue | None] | None:
        """What the batch came to here, None in a tuple where it has no outcome; None while it is computed."""
        if name in self._results:
            return (self._results[name],)
        under_way = any(one.name == name for one in self._runs.values())
        return (None,) if name in self._attempts and not under_way else None

    def forget(self, market: int, before: int) -> None:
        """All batches of the market below ``before`` have ended in the log."""
        ended = {name for name in self._attempts if name[0] == market and name[1] < before}
        self._attempts -= ended - {one.name for one in self._runs.values()}
        self._results = {name: value for name, value in self._results.items() if name not in ended}

    def end(self) -> None:
        """The epoch is over: nothing is computed any more."""
        self._closed.extend(self._runs)
        self._runs.clear()
        self._queue.clear()
        for held in self._early:
            held.clear()

    # --- messages -----------------------------------------------------------------------------------------------
    def heard(self, node: int, message: DarkShares) -> None:
        """Take a member's message. Raises ProtocolError with nothing changed."""
        if message.party != node:
            raise ProtocolError("member.sender", "DarkShares.party", message.party, node)
        if message.session in self._closed:
            return
        run = self._runs.get(message.session)
        key = (message.session, message.round)
        held = self._early[node].get(key) if run is None else run.messages.get((message.round, node))
        if held is not None and held.message == message.message:
            return
        self._core.committee.check_signature(node, message.struct_hash(), message.signature, "DarkShares")
        if held is not None:
            first, second = (SaidShares(one.message_hash(), one.signature) for one in (held, message))
            offence = DarkEquivocation(message.session, node, message.round, first, second)
            expected = "one message of a round"
            raise ProtocolError("dark.equivocation", "DarkShares.round", message.round, expected, offence=offence)
        inner: RoundShares = decode(RoundShares, message.message, bytes_max=limits.DARK_SHARES_BYTES_MAX)
        if (inner.session_id, inner.round) != key:
            raise ProtocolError("dark.shares", "DarkShares.message", (inner.session_id.hex(), inner.round), "its round")
        if run is None:
            self._keep_early(node, message)
        else:
            self._take(run, message)

    def _keep_early(self, node: int, message: DarkShares) -> None:
        held = self._early[node]
        held[message.session, message.round] = message
        self._early_bytes[node] += len(message.message)
        while self._early_bytes[node] > limits.DARK_EARLY_BYTES_MAX:
            _, oldest = held.popitem(last=False)
            self._early_bytes[node] -= len(oldest.message)

    def _take(self, run: _Run, message: DarkShares) -> None:
        size = run.heard_bytes.get(message.party, 0) + len(message.message)
        if size > limits.DARK_RUN_BYTES_MAX:
            expected = f"at most {limits.DARK_RUN_BYTES_MAX} bytes of one computation"
            raise ProtocolError("dark.shares", "DarkShares.message", size, expected)
        run.heard_bytes[message.party] = size
        run.messages[message.round, message.party] = message
        self._queue.append((message.session, message))

    def welcome(self, node: int) -> None:
        """A link is up: what this member has said in the runs under way is sent again."""
        own = self._core.node
        for run in self._runs.values():
            said = [run.messages[key] for key in sorted(run.messages) if key[1] == own]
            self._core.effects += [Send(node, message) for message in said]

    # --- steps --------------------------------------------------------------------------------------------------
    def has_work(self) -> bool:
        return bool(self._queue)

    def work(self) -> None:
        """One step of one run."""
        if not self._queue:
            return
        session, step = self._queue.popleft()
        run = self._runs.get(session)
        if run is None:
            return
        match step:
            case "begin":
                effects = run.run.begin()
            case "expire":
                effects = run.run.expire()
            case DarkShares(party=party, message=message):
                effects = run.run.heard(party, message)
            case _:
                effects = run.run.timed_out(step)
        for effect in effects:
            self._follow(session, run, effect)

    def flush(self, now_ms: int) -> None:
        """Clocks that have run out, behind what has come before."""
        for session, run in self._runs.items():
            if run.clock is not None and now_ms >= run.clock[1]:
                self._queue.append((session, run.clock[0]))
                run.clock = None
            if now_ms >= run.expires_ms:
                self._queue.append((session, "expire"))
                run.expires_ms = now_ms + limits.DARK_RUN_LOCAL_MS

    def due_ms(self) -> int | None:
        """When the next clock runs out."""
        clocks = [run.clock[1] for run in self._runs.values() if run.clock is not None]
        return min((*clocks, *(run.expires_ms for run in self._runs.values())), default=None)

    def _follow(self, session: bytes, run: _Run, effect: Effect) -> None:
        """What a run's step leads to."""
        core = self._core
        match effect:
            case Say(number, message):
                unsigned = DarkShares(session, core.node, number, message, NO_SIGNATURE)
                digest = core.committee.digest(unsigned.struct_hash())
                said = replace(unsigned, signature=self._signer.sign_digest(digest))
                run.messages[number, core.node] = said
                core.effects.append(Broadcast(said))
            case Clock(number):
                run.clock = (number, core.now_ms + limits.DARK_ROUND_MS)
            case Blame():
                market, batch = run.name
                detail = f"dark batch {market}.{batch}, round {effect.round} ({effect.step}): {effect.detail}"
                core.effects.append(Fault(effect.party, f"dark.{effect.fault}", detail))
            case Done() | Aborted():
                self._over(session, run, effect)

    def _over(self, session: bytes, run: _Run, how: Effect) -> None:
        core, (market, batch) = self._core, run.name
        self._results[run.name] = run.run.outcome()
        self.finished = True
        if isinstance(how, Aborted):
            detail = f"dark batch {market}.{batch} has no outcome here: {how.code}, round {how.round}: {how.detail}"
            core.effects.append(Fault(core.node, "dark.aborted", detail))
        signatures = {key: message.signature for key, message in run.messages.items()}
        transcript = signed(run.run.transcript(), signatures)
        core.effects += [Append(entry) for entry in entries(core.committee.epoch, market, batch, transcript)]
        del self._runs[session]
        self._closed.append(session)
