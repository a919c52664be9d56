"""Attack: bend the incarnations of list numbers. A member announces a new one for another member, to void its receipts;
skips one of its own; or names a list with an announcement, to have two chains at once. As leader it puts such heads
into its block.

A head speaks for its signer only. An incarnation starts one above that of the block's ancestors, without a list, and
once an epoch; everything else has no place in a block, and honest leaders pass over it.

A true announcement shows in the log for ever, with the receipts it breaks.

Evidence: none: the head or the block is refused (`member.sender`, `signature.signer`, `incarnation.unknown`,
`block.heads`), and to announce what nobody may use harms its author only.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest
from core_kit import check_safety, make_list, reproposed, sign, trickle
from evidence_kit import charged, evidence_left

from mpc_sequencer.core.messages import HeadMessage, PeerMessage, Proposal
from mpc_sequencer.core.types import ZERO_HASH, Head
from mpc_sequencer.sim import Cluster, Deployment, make_deployment

LIAR, VICTIM = 2, 0
HONEST = {0, 1, 3}

Bend = Callable[[Deployment, Head], Head]


def _bare(d: Deployment, head: Head, incarnation: int, *, node: int = LIAR, signer: int = LIAR) -> Head:
    terms = {"node": node, "incarnation": incarnation, "list_number": 0, "list_hash": ZERO_HASH}
    return sign(d, signer, msgspec.structs.replace(head, **terms))


def for_another(d: Deployment, head: Head) -> Head:
    return _bare(d, head, 1, node=VICTIM)


def one_skipped(d: Deployment, head: Head) -> Head:
    return _bare(d, head, 2)


def with_a_list(d: Deployment, head: Head) -> Head:
    first = make_list(d, LIAR, 1, ZERO_HASH, (b"\x07" * 32,))
    first = sign(d, LIAR, msgspec.structs.replace(first, incarnation=1))
    terms = {"incarnation": 1, "list_number": 1, "list_hash": first.struct_hash()}
    return sign(d, LIAR, msgspec.structs.replace(head, **terms))


BENDS: dict[str, tuple[Bend, str, str]] = {
    "for another member": (for_another, "member.sender", "signature.signer"),
    "one skipped": (one_skipped, "incarnation.unknown", "block.heads"),
    "with a list": (with_a_list, "", "block.heads"),
}
"""How a head is bent, the code where it is sent as a head ("" where it is taken and never used), and in a block."""


def load(cluster: Cluster, turns: int) -> None:
    trickle(cluster, HONEST, turns, 50)
    cluster.run(1_500)
    check_safety(cluster, honest=HONEST)


def incarnations(cluster: Cluster) -> set[tuple[int, ...]]:
    return {cluster.cores[node].chain.final_state.incarnations for node in HONEST}


@pytest.mark.parametrize("name", BENDS)
def test_such_a_head_has_no_place_in_any_block(name: str) -> None:
    bend, code, _ = BENDS[name]
    d = make_deployment(4)
    cluster = Cluster(d)
    cluster.network.tamper = lambda sender, _, message: (
        HeadMessage(bend(d, message.head)) if sender == LIAR and isinstance(message, HeadMessage) else message
    )
    load(cluster, 14)
    assert incarnations(cluster) == {(0, 0, 0, 0)}
    assert charged(cluster, HONEST) == ({(LIAR, code)} if code else set())
    assert all(
        cluster.cores[VICTIM].own_lists.incarnation == 0 and not cluster.cores[node].standing.muted for node in HONEST
    )
    assert evidence_left(cluster) == set()


@pytest.mark.parametrize("name", BENDS)
def test_a_block_that_names_such_a_head_gets_no_vote(name: str) -> None:
    bend, _, code = BENDS[name]
    d = make_deployment(4)
    cluster = Cluster(d)
    bent: list[Proposal] = []

    def tamper(sender: int, _receiver: int, message: PeerMessage) -> PeerMessage | None:
        if sender != LIAR or not isinstance(message, Proposal):
            return message
        template = next((head for head in message.block.heads if head.node == LIAR), message.block.heads[0])
        made = bend(d, template)
        heads = {head.node: head for head in message.block.heads} | {made.node: made}
        bent.append(reproposed(d, message, heads=tuple(heads[node] for node in sorted(heads))))
        return bent[-1]

    cluster.network.tamper = tamper
    load(cluster, 20)
    assert bent, "the leader did propose it"
    assert charged(cluster, HONEST) == {(LIAR, code)}
    views = {entry.block.header.view for node in HONEST for entry in cluster.cores[node].chain._entries.values()}
    assert not views & {proposal.block.header.view for proposal in bent}
    assert incarnations(cluster) == {(0, 0, 0, 0)}
    assert evidence_left(cluster) == set()


def test_a_true_announcement_starts_the_members_own_lists_anew_and_nobody_elses() -> None:
    """What may be said: one's own next incarnation, without a list. It holds once, and the one after is passed over."""
    d = make_deployment(4)
    cluster = Cluster(d)
    says = [1]
    cluster.network.tamper = lambda sender, _, message: (
        HeadMessage(_bare(d, message.head, says[0]))
        if sender == LIAR and isinstance(message, HeadMessage)
        else message
    )
    load(cluster, 14)
    assert incarnations(cluster) == {(0, 0, 1, 0)}
    says[0] = 3
    load(cluster, 8)
    assert incarnations(cluster) == {(0, 0, 1, 0)}
    assert evidence_left(cluster) == set()
