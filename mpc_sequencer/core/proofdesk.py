"""A member's answers with proofs: what is asked for is taken at the last executed height, and sent once certified.

A result is certified some blocks after its height is executed, and by then the state has moved on: so value and path
are kept from the moment of the question, a few kilobytes each, up to PENDING_MAX of them and CLIENT_PENDING_MAX of one
client. Fills are kept for the last heights, so that a client may ask for those it was told of.

Heads that say a result come with final blocks, a few each; they are kept until the result is certified, and of what
one member says no more than REPORTS_PER_MEMBER_MAX: results that never come about are nobody's but a liar's. A member
that was started anew lacks those of before, and proves again from the next height that is certified after its start.

What a question costs is bounded: a path through the state, or through the fills of a height, whose hashes are kept from
the first question about it on; and questions that wait are looked through when something is certified, not when
another one comes.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from mpc_sequencer.core import domains, limits
from mpc_sequencer.core.chain import FinalBlock
from mpc_sequencer.core.codec import encode
from mpc_sequencer.core.effects import Reply
from mpc_sequencer.core.execution import Executed
from mpc_sequencer.core.merkle import merkle_levels, path_in
from mpc_sequencer.core.messages import ProofQuery, ProofReply
from mpc_sequencer.core.proofs import StateProof
from mpc_sequencer.core.resultproof import (
    ACCOUNT,
    FILL,
    IDENTIFIER_BYTES,
    LINKS_MAX,
    ORDER,
    SHOWN_MAX,
    Certification,
    ResultLink,
    ResultProof,
    Shown,
)
from mpc_sequencer.core.types import Head
from mpc_sequencer.market import Fill

if TYPE_CHECKING:
    from mpc_sequencer.core.node import NodeCore

PENDING_MAX: Final = 4_096
CLIENT_PENDING_MAX: Final = 64
FILLS_KEPT_MAX: Final = 65_536
"""Of the last LINKS_MAX heights; the oldest heights' go first."""
REPORTS_PER_MEMBER_MAX: Final = limits.CERTIFIED_PER_BLOCK_MAX
"""Results of a member's heads that are kept: those of honest ones are of RESULT_LAG_HEIGHTS heights and a few more."""

PROVEN: Final = "proven"
ABSENT: Final = "absent"
UNAVAILABLE: Final = "unavailable"
BUSY: Final = "busy"


@dataclass(frozen=True, slots=True)
class _Fills:
    """The fills of a height, the places of each order's among them, and all hashes over them: made once."""

    fills: tuple[Fill, ...]
    places: dict[bytes, list[int]]
    levels: tuple[tuple[bytes, ...], ...]

    @classmethod
    def of(cls, fills: tuple[Fill, ...]) -> _Fills:
        places: dict[bytes, list[int]] = {}
        for place, fill in enumerate(fills):
            places.setdefault(fill.order_id, []).append(place)
        return cls(fills, places, merkle_levels([domains.FILL_LEAF(encode(one)) for one in fills], domains.FILL_NODE))

    def shown(self, order_id: bytes) -> tuple[Shown, ...]:
        """The first SHOWN_MAX fills of an order."""
        return tuple(
            Shown(encode(self.fills[one]), one, len(self.fills), path_in(self.levels, one))
            for one in self.places.get(order_id, ())[:SHOWN_MAX]
        )


@dataclass(slots=True)
class _Height:
    """An executed height: its roots, the result before it, and its fills while they are kept."""

    link: ResultLink
    previous: bytes
    fills: tuple[Fill, ...] | None
    asked: _Fills | None = field(default=None, repr=False)
    """From the first question about its fills on."""


@dataclass(frozen=True, slots=True)
class _Pending:
    """What is shown to a client once ``height`` is certified; None is shown where there was nothing."""

    client: int
    query: ProofQuery
    height: int
    shown: tuple[Shown, ...]


class ProofDesk:
    """Executed heights, what certifies them, and questions that wait for it."""

    def __init__(self, core: NodeCore) -> None:
        self._core = core
        self._heights: deque[_Height] = deque(maxlen=LINKS_MAX)
        self._fills_kept = 0
        self._reports: dict[tuple[int, bytes], dict[int, Head]] = {}
        """Heads of final blocks, by the result they say and their member."""
        self._reports_of: Counter[int] = Counter()
        self._newest: deque[tuple[int, Certification]] = deque(maxlen=LINKS_MAX)
        self._unasked: list[tuple[int, ProofQuery]] = []
        """Questions that wait for the next executed height: the state has moved on from the last one."""
        self._pending: list[_Pending] = []
        self._of_client: Counter[int] = Counter()

    def inherit(self, before: ProofDesk) -> None:
        """Go on with what the epoch before has executed and certified, and with its clients."""
        self._heights, self._newest, self._fills_kept = before._heights, before._newest, before._fills_kept
        self._unasked, self._pending, self._of_client = before._unasked, before._pending, before._of_client

    # --- questions ----------------------------------------------------------------------------------------------
    def ask(self, client: int, query: ProofQuery) -> None:
        """Take a client's question; its answer leaves now or later."""
        if len(query.identifier) != IDENTIFIER_BYTES[query.kind] or not self._heights:
            self._answer(client, query, UNAVAILABLE)
        elif len(self._pending) + len(self._unasked) >= PENDING_MAX or self._of_client[client] >= CLIENT_PENDING_MAX:
            self._answer(client, query, BUSY)
        elif query.kind == FILL:
            self._ask_fill(client, query)
        elif self._core.execution.engine.state_root() != self._heights[-1].link.state_root:
            self._of_client[client] += 1
            self._unasked.append((client, query))
        else:
            self._ask_state(client, query)

    def _ask_state(self, client: int, query: ProofQuery) -> None:
        proof = self._state_proof(query)
        if proof is None:
            self._answer(client, query, ABSENT)
            return
        self._keep(client, query, self._heights[-1].link.height, (Shown(proof.value, 0, 0, proof.siblings),))

    def _state_proof(self, query: ProofQuery) -> StateProof | None:
        engine = self._core.execution.engine
        if query.kind == ACCOUNT:
            return engine.prove_account(query.identifier)
        if query.kind == ORDER:
            return engine.prove_order(query.identifier)
        return engine.prove_market(int.from_bytes(query.identifier, "big"))

    def _ask_fill(self, client: int, query: ProofQuery) -> None:
        found = next((one for one in self._heights if one.link.height == query.height), None)
        if found is None or found.fills is None:
            self._answer(client, query, UNAVAILABLE)
            return
        if found.asked is None:
            found.asked = _Fills.of(found.fills)
        shown = found.asked.shown(query.identifier)
        if not shown:
            self._answer(client, query, ABSENT)
            return
        self._keep(client, query, query.height, shown)

    def _keep(self, client: int, query: ProofQuery, height: int, shown: tuple[Shown, ...]) -> None:
        """Answer at once what is certified already, and keep the rest."""
        one = _Pending(client, query, height, shown)
        proof = self._proof(one)
        if proof is not None:
            self._answer(client, query, PROVEN, proof)
            return
        self._of_client[client] += 1
        self._pending.append(one)

    def gone(self, client: int) -> None:
        """A client left: its questions go."""
        if self._of_client.pop(client, 0):
            self._pending = [one for one in self._pending if one.client != client]
            self._unasked = [one for one in self._unasked if one[0] != client]

    # --- what comes of heights ----------------------------------------------------------------------------------
    def executed(self, executed: Executed) -> None:
        """A height is executed."""
        outcome = executed.outcome
        link = ResultLink(outcome.height, outcome.state_root, outcome.fills_root)
        if len(self._heights) == LINKS_MAX:
            self._forget_fills(self._heights[0])
        self._heights.append(_Height(link, executed.previous, outcome.fills))
        self._fills_kept += len(outcome.fills)
        for one in self._heights:
            if self._fills_kept <= FILLS_KEPT_MAX:
                break
            self._forget_fills(one)
        unasked, self._unasked = self._unasked, []
        for client, query in unasked:
            self._of_client[client] -= 1
            self.ask(client, query)
        self._serve()

    def _forget_fills(self, one: _Height) -> None:
        if one.fills is not None:
            self._fills_kept -= len(one.fills)
            one.fills = one.asked = None

    def final(self, final: FinalBlock) -> None:
        """A block is final, with the heads it names and the results it certifies."""
        block = final.entry.block
        for head in block.heads:
            self._report(head)
        if not block.certified:
            return
        ref = block.certified[-1]
        heads = self._reports.get((ref.height, ref.result), {})
        self._reports = {key: said for key, said in self._reports.items() if key[0] > ref.height}
        self._reports_of = Counter(node for said in self._reports.values() for node in said)
        quorum = self._core.committee.q
        if len(heads) < quorum:
            return  # some came before this member's start
        said = tuple(heads[node] for node in sorted(heads)[:quorum])
        finality = final.finality
        certification = Certification(block.certified, block.header, finality.path, finality.certificate, said)
        self._newest.append((ref.height, certification))
        self._serve()

    def _report(self, head: Head) -> None:
        """Keep what a head of a final block says, within its member's share."""
        for ref in head.results:
            key = (ref.height, ref.result)
            if head.node in self._reports.get(key, ()) or self._reports_of[head.node] >= REPORTS_PER_MEMBER_MAX:
                continue
            self._reports.setdefault(key, {})[head.node] = head
            self._reports_of[head.node] += 1

    # --- answers ------------------------------------------------------------------------------------------------
    def _serve(self) -> None:
        """Answer what is certified by now."""
        if not self._pending:
            return
        waiting = []
        for one in self._pending:
            proof = self._proof(one)
            if proof is None and one.height >= self._heights[0].link.height:
                waiting.append(one)
                continue
            self._of_client[one.client] -= 1
            self._answer(one.client, one.query, UNAVAILABLE if proof is None else PROVEN, proof)
        self._pending = waiting

    def _proof(self, one: _Pending) -> ResultProof | None:
        """The proof, by the first certification at or above the height; None while there is none."""
        if not self._newest or self._newest[-1][0] < one.height:
            return None
        found = next(((at, said) for at, said in self._newest if at >= one.height), None)
        if found is None:
            return None
        at, certification = found
        rows = [row for row in self._heights if one.height <= row.link.height <= at]
        if not rows or rows[0].link.height != one.height or rows[-1].link.height != at:
            return None  # this member has not executed so far
        assert all(first.link.height < second.link.height for first, second in pairwise(rows))
        return ResultProof(
            genesis=self._core.committee.genesis_id,
            kind=one.query.kind,
            identifier=one.query.identifier,
            shown=one.shown,
            previous=rows[0].previous,
            links=tuple(row.link for row in rows),
            certification=certification,
        )

    def _answer(self, client: int, query: ProofQuery, state: str, proof: ResultProof | None = None) -> None:
        self._core.effects.append(Reply(client, ProofReply(query.request, state, proof)))
