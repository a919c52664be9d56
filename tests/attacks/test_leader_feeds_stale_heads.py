"""Attack: a leader builds its block from old heads, so that orders that everybody listed meanwhile stay out.

Heads are of the block's view or the one before, of at least n-f members, and never go back behind the ancestors.

Evidence: none: the proposal gets no vote (`block.heads`, `block.lists`, `block.time`, `signature.signer`), and each
head was true when it was signed.
"""

from typing import Any

import pytest
from core_kit import make_head, make_list, reproposed, submit
from evidence_kit import evidence_left

from mpc_sequencer.core.agreement import Rejected
from mpc_sequencer.core.messages import Proposal
from mpc_sequencer.core.types import ZERO_HASH
from mpc_sequencer.sim import Cluster, make_deployment


def _proposal(cluster: Cluster) -> Proposal:
    """A real proposal of the present view, caught on the wire and lost."""
    caught: list[Proposal] = []
    cluster.network.tamper = lambda _s, _r, m: caught.append(m) if isinstance(m, Proposal) else m  # type: ignore[func-returns-value]
    submit(cluster, 0, cluster.deployment.order(cluster.deployment.traders[1], cluster.now_ms))
    cluster.run(300)
    return caught[-1]


@pytest.fixture
def running() -> tuple[Cluster, Proposal]:
    cluster = Cluster(make_deployment(4))
    cluster.run(50)
    submit(cluster, 0, cluster.deployment.order(cluster.deployment.traders[0], cluster.now_ms))
    cluster.run(1_000)
    return cluster, _proposal(cluster)


def _verdict(cluster: Cluster, proposal: Proposal) -> Any:
    observer = next(node for node in range(4) if node != proposal.vote.node)
    return cluster.cores[observer].chain.check(proposal.block, cluster.now_ms)


def test_the_caught_proposal_is_good_as_it_is(running: tuple[Cluster, Proposal]) -> None:
    cluster, proposal = running
    assert not isinstance(_verdict(cluster, proposal), Rejected)


@pytest.mark.parametrize(
    ("name", "code", "field"),
    [
        ("two views old", "block.heads", "Head.view"),
        ("of a later view", "block.heads", "Head.view"),
        ("too few", "block.heads", "Block.heads"),
        ("one twice", "block.heads", "Block.heads"),
        ("out of order", "block.heads", "Block.heads"),
        ("behind the ancestors", "block.lists", "Head.list_number"),
        ("another list of that number", "block.lists", "Head.list_number"),
        ("not signed by its member", "signature.signer", "Head.signature"),
    ],
)
def test_a_head_that_does_not_belong_is_refused(
    name: str, code: str, field: str, running: tuple[Cluster, Proposal]
) -> None:
    cluster, proposal = running
    d, block = cluster.deployment, proposal.block
    first, view = block.heads[0], block.header.view
    last = cluster.cores[0].chain.final_state.last_lists[first.node]
    assert last[0] > 0, "the ancestors include a list of this member"
    one = make_list(d, first.node, last[0], ZERO_HASH, (b"\x01" * 32,))
    heads = {
        "two views old": (make_head(d, first.node, view - 2, first.time_ms), *block.heads[1:]),
        "of a later view": (make_head(d, first.node, view + 1, first.time_ms), *block.heads[1:]),
        "too few": block.heads[: d.committee.q - 1],
        "one twice": (first, *block.heads),
        "out of order": block.heads[::-1],
        "behind the ancestors": (make_head(d, first.node, view, first.time_ms), *block.heads[1:]),
        "another list of that number": (make_head(d, first.node, view, first.time_ms, one), *block.heads[1:]),
        "not signed by its member": (_by_another(cluster, first), *block.heads[1:]),
    }[name]
    verdict = _verdict(cluster, reproposed(d, proposal, heads=heads))
    assert isinstance(verdict, Rejected)
    assert (verdict.error.code, verdict.error.field) == (code, field)
    assert evidence_left(cluster) == set()


def _by_another(cluster: Cluster, head: Any) -> Any:
    d = cluster.deployment
    unsigned = type(head)(*(getattr(head, name) for name in head.__struct_fields__[:-1]), head.signature)
    digest = d.committee.digest(unsigned.struct_hash())
    return type(head)(
        *(getattr(head, name) for name in head.__struct_fields__[:-1]),
        d.signers[(head.node + 1) % 4].sign_digest(digest),
    )


def test_a_block_whose_time_is_far_from_the_voter_s_clock_gets_no_vote(running: tuple[Cluster, Proposal]) -> None:
    cluster, proposal = running
    observer = next(node for node in range(4) if node != proposal.vote.node)
    late = cluster.cores[observer].chain.check(proposal.block, proposal.block.header.time_ms + 2_001)
    assert isinstance(late, Rejected)
    assert late.error.code == "block.time"
    assert not isinstance(
        cluster.cores[observer].chain.check(proposal.block, proposal.block.header.time_ms + 2_000), Rejected
    )
