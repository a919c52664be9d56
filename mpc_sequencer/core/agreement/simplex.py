"""Simplex (Chan and Pass, TCC 2023): one block or none per view, three kinds of votes, rotating leaders.

Theory of operation. A member is in one view. The view ends for it with a notarization (q notarize votes: the block
exists) or a nullification (q nullify votes: the view passes without effect). Leaving by a notarization it votes to
finalize, unless it had voted to nullify; q finalize votes therefore exclude a nullification of that view, so every
later block descends from the finalized one.

==============  ======================================  ==================================================
in view v       on                                      does
==============  ======================================  ==================================================
waiting         leader's valid proposal                 vote notarize (once; not after nullify)
waiting         time-out with work, or f+1 nullify      vote nullify (not after finalize)
any             notarization of w >= v                  vote finalize(w) unless nullified w; enter w+1
any             nullification of w >= v                 enter w+1
any             finalization of w                       finalize block and ancestors; enter w+1 if w >= v
==============  ======================================  ==================================================

Departures from the paper: nothing is proposed and no timer runs without work, so an idle committee is quiet; f+1
nullify votes make a member join without waiting for its own timer (a nullify vote is safe unless it voted to
finalize); the time-out of a leader whose last view was nullified is short until it succeeds again, but not shorter
than twice what views take here, or a leader far away would never succeed again; and consecutive nullifications double
all time-outs, so that a slow network is waited for.

Rejected input leaves the state as it was: every handler checks before it changes anything.

This module is longer than others: the table above is one machine, whose safety rests on what each of its votes rules
out for the others, and it is to be read and reviewed as one.
"""

from __future__ import annotations

from typing import Final

from mpc_sequencer.core import limits
from mpc_sequencer.core.agreement.engine import Accepted, Application, Rejected
from mpc_sequencer.core.agreement.rounds import Round, Rounds, block_id_fits, vote_of
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.effects import Broadcast, CertificateRecord, Effect, Persist, Send, VoteRecord
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.messages import CertificateMessage, Proposal, VoteMessage
from mpc_sequencer.core.offences import Offence
from mpc_sequencer.core.signing import Signer
from mpc_sequencer.core.types import (
    FINALIZE,
    NO_SIGNATURE,
    NOTARIZE,
    NULLIFY,
    ZERO_HASH,
    Certificate,
    Vote,
    with_signature,
)

INACTIVE_PACES: Final = 2
PACE_FADES: Final = 16  # of what the slowest view took, this part is forgotten with each view


class Simplex:
    """One member's engine. Effects gather in ``effects`` until the node takes them."""

    def __init__(self, committee: Committee, node: int, signer: Signer, app: Application) -> None:
        self._committee = committee
        self._node = node
        self._signer = signer
        self._app = app
        self._rounds = Rounds(committee.anchor_id)
        self._inactive_leaders: set[int] = set()
        self._nullified_in_a_row = 0
        self._entered_ms = 0
        self._previous_entered_ms = 0
        self._filling_ms = 0
        """How long a loaded leader of this view lets its block fill: views that take long fill them anyway."""
        self._deadline_ms: int | None = None
        self._entered_view = 0
        self._timed_ms = 0
        self._pace_ms = 0
        """What views with work took here until they were notarized: the longest, forgotten slowly."""
        self.view = 0
        self.final_view = 0
        self.effects: list[Effect] = []
        self.offences: list[Offence] = []
        """Offences found in votes inside certificates; the node takes them."""

    # --- recovery -----------------------------------------------------------------------------------------------
    def final_certificate(self) -> Certificate | None:
        """The last finalization; None before the first."""
        here = self._rounds.get(self.final_view)
        return here.certificates.get(FINALIZE) if here else None

    def recall_final(self, certificate: Certificate) -> None:
        """A verified finalization out of a log: views up to its own are over. Nothing is sent."""
        if certificate.view <= self.final_view:
            return
        self.final_view = certificate.view
        self._rounds.at(certificate.view).certificates[FINALIZE] = certificate
        self.view = max(self.view, certificate.view + 1)
        self._rounds.forget_before(self.final_view)

    def recall_vote(self, vote: Vote) -> None:
        """An own vote out of the journal: this member never signs against it."""
        if vote.view < self.final_view:
            return
        here = self._rounds.at(vote.view)
        here.votes[vote.kind].setdefault(self._node, vote)
        if vote.kind == NOTARIZE:
            here.voted_notarize = vote.block_id
            here.proposed = self._committee.leader(vote.view) == self._node
        elif vote.kind == NULLIFY:
            here.voted_nullify = True
        else:
            here.voted_finalize = True
        # a finalize vote is cast on leaving the view
        self.view = max(self.view, vote.view + (vote.kind == FINALIZE))

    def recall_certificate(self, certificate: Certificate) -> None:
        """A certificate out of the journal: what this member did because of it can be shown again."""
        if certificate.kind == FINALIZE:
            self.recall_final(certificate)
        elif certificate.view >= self.final_view:
            self._rounds.at(certificate.view).certificates[certificate.kind] = certificate
            self.view = max(self.view, certificate.view + 1)

    def kept_certificates(self) -> list[Certificate]:
        """Certificates that a snapshot must hold, the last finalization among them."""
        return [one for view in sorted(self._rounds) for _, one in sorted(self._rounds[view].certificates.items())]

    def kept_votes(self) -> list[Vote]:
        """Own votes that a snapshot must hold."""
        return [vote for view in sorted(self._rounds) for vote in self._rounds[view].own_votes(self._node)]

    # --- time ---------------------------------------------------------------------------------------------------
    def start(self, now_ms: int) -> None:
        """Enter the first view, or after a recovery the last one known."""
        self._enter(max(1, self.view), now_ms)

    @property
    def deadline_ms(self) -> int | None:
        """When the view times out; None while no timer runs."""
        return self._deadline_ms

    def propose_at_ms(self) -> int:
        """Earliest time for a proposal in this view: a loaded leader lets blocks fill, for each costs all members the
        same whatever it holds; but one whose last turn was nullified is waited for only shortly."""
        if not self._app.loaded():
            return self._previous_entered_ms + limits.BLOCK_INTERVAL_MS_MIN
        if self._committee.leader(self.view) in self._inactive_leaders:
            return self._entered_ms + min(self._filling_ms, limits.BLOCK_LOADED_WAIT_INACTIVE_MS_MAX)
        return self._entered_ms + self._filling_ms

    def view_age_ms(self, now_ms: int) -> int:
        return now_ms - self._entered_ms

    def _timeout_ms(self) -> int:
        leader = self._committee.leader(self.view)
        inactive = leader in self._inactive_leaders
        base = limits.VIEW_TIMEOUT_MS
        if inactive:
            base = min(base, max(limits.VIEW_TIMEOUT_INACTIVE_MS, INACTIVE_PACES * self._pace_ms))
        doublings = max(0, self._nullified_in_a_row - self._committee.f)
        return base << min(doublings, limits.VIEW_TIMEOUT_DOUBLINGS_MAX)

    def tick(self, now_ms: int) -> None:
        """Run the view's timer, propose where it is our turn, look again at a waiting proposal."""
        if self._entered_view != self.view:
            self._enter(self.view, now_ms)  # a log led past views
        if not self._app.has_work(now_ms):
            self._deadline_ms = None  # what the view was timed for is done: its leader owes nothing
        elif self._deadline_ms is None:
            self._timed_ms = now_ms
            self._deadline_ms = now_ms + self._timeout_ms()
        elif now_ms >= self._deadline_ms:
            self._deadline_ms = now_ms + self._timeout_ms()
            self._vote_nullify(self.view, now_ms)
        if self._rounds.at(self.view).nullify_votes() > self._committee.f:
            self._vote_nullify(self.view, now_ms)  # votes that came before this member entered the view
        self._consider(self.view, now_ms)
        self._propose(now_ms)

    # --- views --------------------------------------------------------------------------------------------------
    def _in_reach(self, view: int) -> bool:
        return self.final_view < view <= self.view + limits.VIEWS_AHEAD_MAX

    def _enter(self, view: int, now_ms: int) -> None:
        left = self._rounds.get(view - 1)
        if left is not None and left.proposal is not None and left.voted_notarize is None and not left.nullified:
            self._app.left_waiting(left.proposal.block, self._committee.leader(view - 1))
        took_ms = now_ms - self._entered_ms - (self._filling_ms if self._app.loaded() else 0)
        filling_ms = limits.BLOCK_INTERVAL_LOADED_MS - max(0, took_ms)
        self._filling_ms = max(0, min(filling_ms, limits.BLOCK_LOADED_WAIT_MS_MAX))
        self._previous_entered_ms = self._entered_ms
        self._entered_ms = now_ms
        self.view = self._entered_view = view
        self._deadline_ms = None
        self._app.entered_view(view, now_ms)

    def _left(self, view: int, nullified: bool, now_ms: int) -> None:
        """Note how a leader's turn ended."""
        leader = self._committee.leader(view)
        if nullified:
            self._inactive_leaders.add(leader)
            self._nullified_in_a_row += 1
        else:
            self._inactive_leaders.discard(leader)
            self._nullified_in_a_row = 0
            if view == self.view and self._deadline_ms is not None:
                faded_ms = self._pace_ms - self._pace_ms // PACE_FADES
                self._pace_ms = max(faded_ms, min(now_ms - self._timed_ms, limits.VIEW_TIMEOUT_MS))

    # --- votes --------------------------------------------------------------------------------------------------
    def _vote(self, kind: int, view: int, block_id: bytes) -> Vote:
        unsigned = Vote(
            kind=kind,  # type: ignore[arg-type]
            epoch=self._committee.epoch,
            view=view,
            block_id=block_id,
            node=self._node,
            signature=NO_SIGNATURE,
        )
        signature = self._signer.sign_digest(self._committee.digest(unsigned.struct_hash()))
        vote = with_signature(unsigned, signature)
        self.effects.append(Persist(VoteRecord(vote)))
        return vote

    def _vote_nullify(self, view: int, now_ms: int) -> None:
        here = self._rounds.at(view)
        if here.voted_nullify or here.voted_finalize or here.certificates or not self._app.may_vote(view):
            return
        here.voted_nullify = True
        vote = self._vote(NULLIFY, view, ZERO_HASH)
        self.effects.append(Broadcast(VoteMessage(vote)))
        self._count(vote, now_ms)

    def on_vote(self, vote: Vote, now_ms: int) -> None:
        """A peer's vote. Raises ProtocolError; a vote that is no longer needed is dropped unverified."""
        if vote.epoch != self._committee.epoch:
            raise ProtocolError("epoch.unknown", "Vote.epoch", vote.epoch, self._committee.epoch)
        if not block_id_fits(vote.kind, vote.block_id):
            raise ProtocolError("vote.kind", "Vote.block_id", vote.block_id, "a block unless it nullifies")
        if not self._in_reach(vote.view):
            return
        self._refuse_equivocation(vote)
        known = self._rounds.get(vote.view)
        if known and (vote.kind in known.certificates or vote.node in known.votes[vote.kind]):
            return
        self._committee.check_value(vote)
        self._count(vote, now_ms)

    def _refuse_equivocation(self, vote: Vote) -> None:
        """Raise ``vote.equivocation`` where a vote contradicts one held of its member."""
        known = self._rounds.get(vote.view)
        offence = known.offence(vote) if known else None
        if offence is not None:
            self._committee.check_value(vote)
            raise ProtocolError(
                "vote.equivocation", "Vote.block_id", vote.block_id, "one that fits the member's other votes",
                offence=offence,
            )

    def _count(self, vote: Vote, now_ms: int) -> None:
        here = self._rounds.at(vote.view)
        certificate = here.add(vote, self._committee)
        if certificate is not None and vote.kind not in here.certificates:
            self._apply(certificate, now_ms)
        elif (
            vote.kind == NULLIFY
            and vote.view == self.view
            and here.nullify_votes() > self._committee.f
        ):
            self._vote_nullify(vote.view, now_ms)

    # --- certificates -------------------------------------------------------------------------------------------
    def on_certificate(self, certificate: Certificate, now_ms: int) -> None:
        """A peer's certificate. Raises ProtocolError."""
        if self._check_certificate(certificate):
            self._apply(certificate, now_ms)

    def _is_news(self, certificate: Certificate) -> bool:
        known = self._rounds.get(certificate.view)
        return certificate.view > self.final_view and not (known and certificate.kind in known.certificates)

    def _check_certificate(self, certificate: Certificate) -> bool:
        """Verify a certificate that is news; False where it is none. Raises ProtocolError."""
        if not block_id_fits(certificate.kind, certificate.block_id):
            raise ProtocolError(
                "vote.kind", "Certificate.block_id", certificate.block_id, "a block unless it nullifies"
            )
        if not self._is_news(certificate):
            return False
        self._committee.check_certificate(certificate)
        return True

    def _apply(self, certificate: Certificate, now_ms: int) -> None:
        view, kind = certificate.view, certificate.kind
        here = self._rounds.at(view)
        own = here.votes[kind].get(self._node)
        signed = any(one.node == self._node for one in certificate.votes)
        if signed and (own is None or own.block_id != certificate.block_id):
            self._app.own_vote_unknown(view)  # before anything is signed because of it
        found = (here.offence(vote_of(certificate, signer)) for signer in certificate.votes)
        self.offences += [offence for offence in found if offence is not None]
        here.certificates[kind] = certificate
        self.effects += [Persist(CertificateRecord(certificate)), Broadcast(CertificateMessage(certificate))]
        if view >= self.view:
            self._left(view, kind == NULLIFY, now_ms)
            if kind == NOTARIZE:
                self._vote_finalize(here, certificate.block_id, now_ms)
        if kind == FINALIZE:
            self._finalize(certificate, now_ms)
        if view >= self.view:
            self._enter(view + 1, now_ms)
        self._consider(self.view, now_ms)

    def _vote_finalize(self, here: Round, block_id: bytes, now_ms: int) -> None:
        if here.voted_nullify or here.voted_finalize or not self._app.may_vote(here.view):
            return
        here.voted_finalize = True
        vote = self._vote(FINALIZE, here.view, block_id)
        self.effects.append(Broadcast(VoteMessage(vote)))
        self._count(vote, now_ms)

    def _finalize(self, certificate: Certificate, now_ms: int) -> None:
        if certificate.view > self.final_view:
            self.final_view = certificate.view
            self._app.finalized(certificate.block_id, certificate, now_ms)
            self._rounds.forget_before(self.final_view)

    # --- proposals ----------------------------------------------------------------------------------------------
    def _propose(self, now_ms: int) -> None:
        view = self.view
        here = self._rounds.at(view)
        if self._committee.leader(view) != self._node or here.proposed or here.voted_nullify:
            return
        if not self._app.may_vote(view):
            return
        if now_ms < self.propose_at_ms():
            return
        parent = self._rounds.extendable(view)
        if parent is None:
            return
        block = self._app.prepare_proposal(parent[1], view, now_ms)
        if block is None:
            return
        here.proposed = True
        block_id = block.header.block_id()
        here.voted_notarize = block_id
        self._app.rely_on(block)
        vote = self._vote(NOTARIZE, view, block_id)
        parent_round = self._rounds.get(parent[0])
        certificates = parent_round.certificates if parent_round else {}
        between = [self._rounds[w].certificates[NULLIFY] for w in range(parent[0] + 1, view)]
        proposal = Proposal(
            block=block,
            parent=certificates.get(NOTARIZE) or certificates.get(FINALIZE),
            nullifications=tuple(between[-limits.VIEWS_AHEAD_MAX :]),
            vote=vote,
        )
        here.proposal = proposal
        self.effects.append(Broadcast(proposal))
        self._count(vote, now_ms)

    def on_proposal(self, proposal: Proposal, sender: int, now_ms: int) -> None:
        """A leader's proposal. Raises ProtocolError."""
        header, vote = proposal.block.header, proposal.vote
        leader = self._committee.leader(header.view)
        if sender != leader or vote.node != leader:
            raise ProtocolError("block.leader", "Proposal.vote.node", vote.node, leader)
        if (vote.kind, vote.view, vote.block_id) != (NOTARIZE, header.view, header.block_id()):
            raise ProtocolError("vote.kind", "Proposal.vote", vote.kind, "a notarize vote for the block")
        if not self._in_reach(header.view):
            return
        self._refuse_equivocation(vote)
        if header.view < self.view:
            return
        known = self._rounds.get(header.view)
        if known and known.proposal is not None:
            return
        self._committee.check_value(vote)
        carried = [c for c in (*proposal.nullifications, proposal.parent) if c and c.view < header.view]
        carried = [certificate for certificate in carried if self._check_certificate(certificate)]
        for certificate in carried:
            if self._is_news(certificate):
                self._apply(certificate, now_ms)
        if self._in_reach(header.view):
            here = self._rounds.at(header.view)
            here.proposal = proposal
            self._count(vote, now_ms)
            self._consider(self.view, now_ms)

    def _consider(self, view: int, now_ms: int) -> None:
        """Vote for the view's proposal where it can be judged now."""
        here = self._rounds.get(view)
        if here is None or here.proposal is None or here.proposal_rejected or view != self.view:
            return
        if here.voted_notarize is not None or here.voted_nullify or not self._app.may_vote(view):
            return
        header = here.proposal.block.header
        parent = self._rounds.extendable(view)
        if parent is None:
            return
        # a parent from before a view that is both notarized and nullified may be extended as well
        if header.parent_id != parent[1] and not self._rounds.nullified_down_to(view, header.parent_id):
            return
        verdict = self._app.process_proposal(
            here.proposal.block, self._committee.leader(view), now_ms, voting=True
        )
        if isinstance(verdict, Rejected):
            here.proposal_rejected = True
            self._vote_nullify(view, now_ms)
        elif isinstance(verdict, Accepted):
            block_id = header.block_id()
            here.voted_notarize = block_id
            self._app.rely_on(here.proposal.block)
            vote = self._vote(NOTARIZE, view, block_id)
            self.effects.append(Broadcast(VoteMessage(vote)))
            self._count(vote, now_ms)

    # --- peers --------------------------------------------------------------------------------------------------
    def resend(self, node: int) -> None:
        """A link is up: send what the peer may have missed, from the last finalization on."""
        for view in sorted(self._rounds):
            here = self._rounds[view]
            if here.proposal is not None and self._committee.leader(view) == self._node and view == self.view:
                self.effects.append(Send(node, here.proposal))
            for certificate in here.certificates.values():
                self.effects.append(Send(node, CertificateMessage(certificate)))
            for vote in here.own_votes(self._node):
                if vote.kind not in here.certificates:
                    self.effects.append(Send(node, VoteMessage(vote)))

    def unfinalized(self) -> bool:
        """Whether a view after the last final one is notarized: a block that waits for finality."""
        return any(
            view > self.final_view and here.notarized is not None for view, here in self._rounds.items()
        )

    def held(self, certificate: Certificate) -> Certificate | None:
        """The certificate held here for the same statement: verified, though maybe by other members' votes."""
        here = self._rounds.get(certificate.view)
        held = here.certificates.get(certificate.kind) if here else None
        return held if held is not None and held.block_id == certificate.block_id else None
