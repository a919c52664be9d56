"""One member's agreement on its own: what it asks of its application and sends is noted, and others' words are made."""

from __future__ import annotations

from dataclasses import dataclass, field

from core_kit import make_certificate, make_vote

from mpc_sequencer.core.agreement import Accepted, Simplex, Verdict
from mpc_sequencer.core.effects import Persist, VoteRecord
from mpc_sequencer.core.messages import Proposal
from mpc_sequencer.core.types import NOTARIZE, VOTE_NAMES, ZERO_HASH, Block, BlockHeader, Certificate
from mpc_sequencer.sim import make_deployment

D = make_deployment(4)
ME = 0
X, Y = b"\x0a" * 32, b"\x0b" * 32


@dataclass
class App:
    """An application that says what the test tells it to."""

    verdict: Verdict = field(default_factory=Accepted)
    work: bool = False
    busy: bool = False
    block: Block | None = None
    final: list[bytes] = field(default_factory=list)
    views: list[int] = field(default_factory=list)
    parents: list[bytes] = field(default_factory=list)
    forgotten_views: frozenset[int] = frozenset()
    relied: list[bytes] = field(default_factory=list)
    left: list[tuple[Block, int]] = field(default_factory=list)
    unknown_views: list[int] = field(default_factory=list)

    def prepare_proposal(self, parent_id: bytes, view: int, now_ms: int) -> Block | None:
        self.parents.append(parent_id)
        return self.block

    def process_proposal(self, block: Block, source: int, now_ms: int, *, voting: bool) -> Verdict:
        return self.verdict

    def finalized(self, block_id: bytes, certificate: Certificate, now_ms: int) -> None:
        self.final.append(block_id)

    def entered_view(self, view: int, now_ms: int) -> None:
        self.views.append(view)

    def rely_on(self, block: Block) -> None:
        self.relied.append(block.header.block_id())

    def left_waiting(self, block: Block, source: int) -> None:
        self.left.append((block, source))

    def loaded(self) -> bool:
        return self.busy

    def may_vote(self, view: int) -> bool:
        return view not in self.forgotten_views

    def own_vote_unknown(self, view: int) -> None:
        self.unknown_views.append(view)

    def has_work(self, now_ms: int) -> bool:
        return self.work


def engine() -> tuple[Simplex, App]:
    app = App()
    simplex = Simplex(D.committee, ME, D.signers[ME], app)  # type: ignore[arg-type]
    simplex.start(0)
    return simplex, app


def block(view: int, parent_id: bytes = D.committee.genesis_id, height: int = 1) -> Block:
    header = BlockHeader(
        1, 0, height, view, parent_id, 5, ZERO_HASH, ZERO_HASH, ZERO_HASH, D.committee.genesis.checkpoint
    )
    return Block(header, (), (), ())


def proposal(view: int, one: Block | None = None, **carried: object) -> Proposal:
    one = one or block(view)
    vote = make_vote(D, D.committee.leader(view), NOTARIZE, view, one.header.block_id())
    return Proposal(one, carried.get("parent"), carried.get("nullifications", ()), vote)  # type: ignore[arg-type]


def voted(simplex: Simplex) -> list[tuple[str, int]]:
    """(kind, view) of every vote signed since the last call."""
    records = [e.record.vote for e in simplex.effects if isinstance(e, Persist) and isinstance(e.record, VoteRecord)]
    simplex.effects = []
    return [(VOTE_NAMES[vote.kind], vote.view) for vote in records]


def certify(simplex: Simplex, kind: int, view: int, block_id: bytes = ZERO_HASH) -> None:
    simplex.on_certificate(make_certificate(D, kind, view, block_id, nodes=(1, 2, 3)), 0)
