"""What a member holds of one view: votes by kind, certificates, its own votes.

A round counts at most one vote of a kind per member; a vote is verified only while its certificate is still missing.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.messages import Proposal
from mpc_sequencer.core.offences import (
    FinalizeEquivocation,
    NotarizeEquivocation,
    NullifyAndFinalize,
    Offence,
)
from mpc_sequencer.core.types import (
    FINALIZE,
    NOTARIZE,
    NULLIFY,
    ZERO_HASH,
    Certificate,
    CertificateVote,
    Vote,
)


@dataclass(slots=True)
class Round:
    """One view's votes and certificates."""

    view: int
    proposal: Proposal | None = None
    proposal_rejected: bool = False
    votes: dict[int, dict[int, Vote]] = field(
        default_factory=lambda: {NOTARIZE: {}, NULLIFY: {}, FINALIZE: {}}
    )
    certificates: dict[int, Certificate] = field(default_factory=dict)
    proposed: bool = False
    voted_notarize: bytes | None = None
    voted_nullify: bool = False
    voted_finalize: bool = False

    def add(self, vote: Vote, committee: Committee) -> Certificate | None:
        """Count a verified vote; the certificate where it completes one."""
        votes = self.votes[vote.kind]
        votes.setdefault(vote.node, vote)
        same = sorted(
            (v.node, v.signature) for v in votes.values() if v.block_id == vote.block_id
        )
        if len(same) < committee.q:
            return None
        return Certificate(
            kind=vote.kind,
            epoch=vote.epoch,
            view=vote.view,
            block_id=vote.block_id,
            votes=tuple(CertificateVote(node, signature) for node, signature in same[: committee.q]),
        )

    def held_vote(self, kind: int, node: int) -> Vote | None:
        """A member's verified vote of a kind, by itself or out of a certificate."""
        vote = self.votes[kind].get(node)
        certificate = self.certificates.get(kind)
        if vote is None and certificate is not None:
            signer = next((one for one in certificate.votes if one.node == node), None)
            vote = vote_of(certificate, signer) if signer is not None else None
        return vote

    def offence(self, vote: Vote) -> Offence | None:
        """What ``vote`` proves against its member together with a vote held; None where it contradicts none.
        Notarize and then nullify is legal."""
        held = self.held_vote(vote.kind, vote.node)
        if held is not None and held.block_id != vote.block_id:
            kind = NotarizeEquivocation if vote.kind == NOTARIZE else FinalizeEquivocation
            return kind(held, vote)
        other = {NULLIFY: FINALIZE, FINALIZE: NULLIFY}.get(vote.kind)
        against = self.held_vote(other, vote.node) if other is not None else None
        if against is None:
            return None
        return NullifyAndFinalize(vote, against) if vote.kind == NULLIFY else NullifyAndFinalize(against, vote)

    def nullify_votes(self) -> int:
        return len(self.votes[NULLIFY])

    @property
    def notarized(self) -> bytes | None:
        """The block this view notarized (a finalization says so too)."""
        certificate = self.certificates.get(NOTARIZE) or self.certificates.get(FINALIZE)
        return certificate.block_id if certificate else None

    @property
    def nullified(self) -> bool:
        return NULLIFY in self.certificates

    def own_votes(self, node: int) -> list[Vote]:
        """This member's votes in the round, to send again to a peer whose link was down."""
        return [votes[node] for votes in self.votes.values() if node in votes]


class Rounds(dict[int, Round]):
    """The rounds that are kept, by view."""

    def __init__(self, anchor_id: bytes) -> None:
        super().__init__()
        self._anchor_id = anchor_id

    def at(self, view: int) -> Round:
        """The view's round, begun where there is none."""
        found = self.get(view)
        if found is None:
            found = self[view] = Round(view)
        return found

    def forget_before(self, view: int) -> None:
        for old in [kept for kept in self if kept < view]:
            del self[old]

    def extendable(self, view: int) -> tuple[int, bytes] | None:
        """The notarized view and block that a proposal of ``view`` extends, all views between being nullified."""
        for earlier in range(view - 1, 0, -1):
            here = self.get(earlier)
            if here is None:
                return None
            block_id = here.notarized
            if block_id is not None:
                return earlier, block_id
            if not here.nullified:
                return None
        return 0, self._anchor_id

    def nullified_down_to(self, view: int, parent_id: bytes) -> bool:
        """Whether all views between ``view`` and the one that notarized ``parent_id`` are nullified."""
        for earlier in range(view - 1, -1, -1):
            if earlier == 0:
                return parent_id == self._anchor_id
            here = self.get(earlier)
            if here is None:
                return False
            if here.notarized == parent_id:
                return True
            if not here.nullified:
                return False
        return False


def vote_of(certificate: Certificate, signer: CertificateVote) -> Vote:
    """A vote a certificate is made of, as its member sent it."""
    c = certificate
    return Vote(c.kind, c.epoch, c.view, c.block_id, signer.node, signer.signature)


def block_id_fits(kind: int, block_id: bytes) -> bool:
    """A nullify vote names no block, the others name one."""
    return (block_id == ZERO_HASH) == (kind == NULLIFY)
