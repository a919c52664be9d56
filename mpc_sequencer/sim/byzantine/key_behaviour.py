"""What Byzantine behaviours of a key generation share: a real core whose words in key sessions are bent before it signs
them.

The member's :class:`threshold.dkg.Participant` makes what it owes from its own seed; :meth:`KeyBehaviour.say` decides
what goes into the log instead. It knows the member's own secrets and the session as everybody knows it, and beside
that what its core holds of others that is in no final block yet.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import replace

from mpc_sequencer.core.node import NodeCore
from mpc_sequencer.sim.byzantine.base import Behaviour
from mpc_sequencer.sim.deployment import Deployment
from threshold import SecretShare, group
from threshold.dkg import Participant, Plan, Session, deals
from threshold.dkg.wire import Deal, MessageType, SealedShare, decode_deal, message_type
from threshold.shamir import evaluate_secret


class BentParticipant(Participant):
    """A participant whose behaviour has the last word. It goes on whatever the log holds of it."""

    __slots__ = ("_behaviour",)

    def __init__(
        self,
        behaviour: KeyBehaviour,
        plan: Plan,
        seed: bytes,
        dealer: int | None,
        receiver: int | None,
        old_share: SecretShare | None,
    ) -> None:
        super().__init__(plan, seed, dealer, receiver, old_share)
        self._behaviour = behaviour

    def messages(self, session: Session) -> tuple[bytes, ...]:
        return tuple(self._behaviour.say(self, session, super().messages(session)))

    def _is_its_own(self, session: Session) -> bool:
        return True

    # --- tools ----------------------------------------------------------------------------------------------------
    @property
    def index(self) -> int:
        """The member's index as a dealer."""
        assert self.dealer_index is not None
        return self.dealer_index

    @property
    def receiver(self) -> int:
        """The member's index as a receiver: the same, unless the key goes to another committee."""
        assert self.receiver_index is not None
        return self.receiver_index

    def other_deal(self, session: Session, seed: bytes) -> bytes:
        """A deal of this member's for ``session`` that derives from another seed."""
        other = Participant(session.plan, seed, self.dealer_index, self.receiver_index, self._old_share)
        return other._fresh_deal(session, self.index).encode()

    def resealed(self, session: Session, payload: bytes, values: Mapping[int, list[bytes]]) -> bytes:
        """The deal with other values for some receivers, by index, well sealed and proved."""
        deal = self.own_deal(session, payload)
        committed = deals.commitments_hash(self.plan.session, self.index, deal.commitments)
        sealed: dict[int, SealedShare] = dict(deal.sealed)
        for j, wrong in values.items():
            sealed[j] = self._seal(session.keys[j], self.index, j, wrong, committed)
        return Deal(deal.commitments, sealed, deal.points).encode()

    def own_deal(self, session: Session, payload: bytes) -> Deal:
        """What this member's own deal says."""
        return decode_deal(payload, self.plan.kind, session.receivers, self.plan.threshold)

    def values_for(self, receiver: int) -> list[bytes]:
        """What the member's own polynomials give a receiver."""
        return [evaluate_secret(polynomial, receiver) for polynomial in self._polynomials(self.index)]


class KeyBehaviour(Behaviour):
    """Keeps to the protocol outside key sessions, and in them says what :meth:`say` makes of what it owes."""

    def __init__(self, node: int, core: NodeCore, deployment: Deployment, rng: random.Random) -> None:
        super().__init__(node, core, deployment, rng)
        self._bent: dict[bytes, tuple[bytes, ...]] = {}
        """What it says instead, by payload: the same each time it is asked."""
        self._take_part(core)

    def rebind(self, core: NodeCore) -> None:
        super().rebind(core)
        self._take_part(core)

    def _take_part(self, core: NodeCore) -> None:
        core.keygen.voice.participant_of = self._participant_of
        core.keygen.voice.forget_participant()

    def _participant_of(
        self, plan: Plan, seed: bytes, dealer: int | None, receiver: int | None, old_share: SecretShare | None
    ) -> Participant:
        return BentParticipant(self, plan, seed, dealer, receiver, old_share)

    def say(self, participant: BentParticipant, session: Session, owed: tuple[bytes, ...]) -> Iterable[bytes]:
        """The payloads to sign in this state of the session, given those that the rules ask for."""
        for payload in owed:
            if payload not in self._bent:
                self._bent[payload] = tuple(self.bend(participant, session, message_type(payload), payload))
            yield from self._bent[payload]

    def bend(
        self, participant: BentParticipant, session: Session, kind: MessageType, payload: bytes
    ) -> Iterable[bytes]:
        """What to say instead of one payload."""
        return (payload,)

    # --- tools ----------------------------------------------------------------------------------------------------
    def some_others(self, session: Session, index: int) -> list[int]:
        """Receivers of a deal, at least one and not all, without the member itself."""
        others = [j for j in session.receivers if j != index]
        return sorted(self.rng.sample(others, self.rng.randint(1, max(1, len(others) - 1))))

    def others_deals(self, session: Session) -> dict[int, bytes]:
        """Deals of others that this member knows of, by dealer: the log's, and those that no block lifts yet."""
        return {
            one.message.node + 1: one.message.payload
            for one in self.core.keybook.kept()
            if one.message.node != self.node
            and one.message.session == session.plan.session
            and message_type(one.message.payload) is MessageType.DEAL
        }


def other_scalar(scalar: bytes, by: int = 1) -> bytes:
    """Another scalar in [1, N-1]."""
    return group.reduce_scalar(((int.from_bytes(scalar, "big") + by) % group.N or 1).to_bytes(32, "big"))


def elsewhere(session: Session, name: bytes) -> Session:
    """The session as one of another name would stand, with the same keys."""
    return replace(session, plan=replace(session.plan, session=name))
