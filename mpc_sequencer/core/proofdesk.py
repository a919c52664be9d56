"""A member's answers with proofs: what is asked for is taken at the last executed height, and sent once certified.

A result is certified some blocks after its height is executed, and by then the state has moved on: so value and path
are kept from the moment of the question, a few kilobytes each, up to PENDING_MAX of them and CLIENT_PENDING_MAX of one
client. Fills are kept for the last heights, so that a client may ask for those it was told of.

Heads that say a result come with final blocks, a few each; they are kept until the result is certified. A member that
was started anew lacks those of before, and proves again from the next height that is certified after its start.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from mpc_sequencer.core import domains
from mpc_sequencer.core.chain import FinalBlock
from mpc_sequencer.core.codec import encode
from mpc_sequencer.core.effects import Reply
from mpc_sequencer.core.execution import Executed
from mpc_sequencer.core.merkle import merkle_path
from mpc_sequencer.core.messages import ProofQuery, ProofReply
from mpc_sequencer.core.proving import state_proof
from mpc_sequencer.core.resultproof import (
    FILL,
    IDENTIFIER_BYTES,
    LINKS_MAX,
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

PROVEN: Final = "proven"
ABSENT: Final = "absent"
UNAVAILABLE: Final = "unavailable"
BUSY: Final = "busy"


@dataclass(slots=True)
class _Height:
    """An executed height: its roots, the result before it, and its fills while they are kept."""

    link: ResultLink
    previous: bytes
    fills: tuple[Fill, ...] | None


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
        proof = state_proof(self._core.execution.engine, query.kind, query.identifier)
        if proof is None:
            self._answer(client, query, ABSENT)
            return
        self._keep(client, query, self._heights[-1].link.height, (Shown(proof.value, 0, 0, proof.siblings),))

    def _ask_fill(self, client: int, query: ProofQuery) -> None:
        found = next((one for one in self._heights if one.link.height == query.height), None)
        if found is None or found.fills is None:
            self._answer(client, query, UNAVAILABLE)
            return
        places = [place for place, fill in enumerate(found.fills) if fill.order_id == query.identifier][:SHOWN_MAX]
        if not places:
            self._answer(client, query, ABSENT)
            return
        leaves = [domains.FILL_LEAF(encode(fill)) for fill in found.fills]
        shown = tuple(
            Shown(encode(found.fills[one]), one, len(leaves), merkle_path(leaves, one, domains.FILL_NODE))
            for one in places
        )
        self._keep(client, query, query.height, shown)

    def _keep(self, client: int, query: ProofQuery, height: int, shown: tuple[Shown, ...]) -> None:
        self._of_client[client] += 1
        self._pending.append(_Pending(client, query, height, shown))
        self._serve()

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
            one.fills = None

    def final(self, final: FinalBlock) -> None:
        """A block is final, with the heads it names and the results it certifies."""
        block = final.entry.block
        for head in block.heads:
            for ref in head.results:
                self._reports.setdefault((ref.height, ref.result), {}).setdefault(head.node, head)
        if not block.certified:
            return
        ref = block.certified[-1]
        heads = self._reports.get((ref.height, ref.result), {})
        self._reports = {key: said for key, said in self._reports.items() if key[0] > ref.height}
        quorum = self._core.committee.q
        if len(heads) < quorum:
            return  # some came before this member's start
        said = tuple(heads[node] for node in sorted(heads)[:quorum])
        finality = final.finality
        certification = Certification(block.certified, block.header, finality.path, finality.certificate, said)
        self._newest.append((ref.height, certification))
        self._serve()

    # --- answers ------------------------------------------------------------------------------------------------
    def _serve(self) -> None:
        """Answer what is certified by now."""
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
