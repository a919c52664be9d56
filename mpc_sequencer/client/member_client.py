"""A connection to the committee that asks: persistent links to its members, their states, the threshold key, and the
epochs. :class:`~mpc_sequencer.client.sequencer.SequencerClient` adds orders to it.

What members say is theirs alone until it is proven or f+1 of them say the same. Whoever breaks the protocol is among
:attr:`MemberClient.faults`, and its connection is closed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import trio

from mpc_sequencer.client.committee_key import CommitteeKey, KeyProofs, own_committee
from mpc_sequencer.client.errors import MemberFault, NotConnected, NothingThere, Refusal
from mpc_sequencer.client.keysearch import KEY_S_MAX, KeySearch, Progress
from mpc_sequencer.client.link import Connector, Newcomers
from mpc_sequencer.client.membership import Membership
from mpc_sequencer.client.proofs import verify
from mpc_sequencer.client.questions import REPLY_S_MAX, Answer
from mpc_sequencer.client.verdicts import closing_refusal
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.errors import ConfigError, ProtocolError
from mpc_sequencer.core.messages import (
    ClientReply,
    DarkKeysQuery,
    DarkKeysReply,
    EpochsQuery,
    EpochsReply,
    KeyQuery,
    KeyReply,
    MarketQuery,
    MarketReply,
    OrderQuery,
    OrderReply,
    ProofQuery,
    ProofReply,
    Refused,
    StatusQuery,
    StatusReply,
)
from mpc_sequencer.core.resultproof import ResultProof
from mpc_sequencer.core.types import KeyCertificate
from threshold import ThresholdError

if TYPE_CHECKING:
    from mpc_sequencer.client.dark_keys import DarkKeys

FAULTS_KEPT_MAX: Final = 256
PROOF_S_MAX: Final = 30.0
_NOTHING: Final = {
    "absent": "nothing is kept under that name now: check it, or whether the order has ended",
    "unavailable": "the member cannot prove that height: ask another one, or again after the next trade",
    "busy": "ask again in a moment, or ask another member",
}


class MemberClient:
    """Links to members of ``committee``, the first that the client knows, and of those that follow it."""

    def __init__(
        self, committee: Committee, connector: Connector, nodes: Sequence[int] | None, newcomers: Newcomers
    ) -> None:
        first = own_committee(committee)
        self._members = Membership(
            *(first, connector, nodes, newcomers),
            connected=self._on_connected,
            deliver=self._on_reply,
            changed=self._on_committee,
        )
        self.roster = self._members.roster
        """The committees that are proven, and members' indexes in them."""
        self.known: CommitteeKey | None = None
        """The key that a member proved."""
        self._proofs = {first.epoch: KeyProofs(first)}
        self._dark_keys: DarkKeys | None = None
        self.faults: list[MemberFault] = []
        """Proven misbehaviour of members, the first FAULTS_KEPT_MAX."""
        self._links = self._members.links
        self._questions = self._members.questions
        self._changed = trio.Event()

    # ----------------------------------------------------------------------------------------------- lifetime

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep all links up until cancelled."""
        await self._members.run(task_status=task_status)

    @property
    def committee(self) -> Committee:
        """The newest that is known. Seal with it: it learns the threshold key, which the first one may not have."""
        return self.roster.newest

    @property
    def nodes(self) -> tuple[int, ...]:
        """The members that the client talks to."""
        return tuple(self._links)

    def connected(self) -> list[int]:
        """Members the client is connected to now."""
        return self._members.up()

    def failure(self, node: int) -> str | None:
        """Why the last connection to ``node``, or attempt at one, ended; None while there was none."""
        link = self._links.get(node)
        return "it has left the committee" if link is None else link.failure

    def told(self, node: int) -> EpochsReply | None:
        """What a member that is connected said of the epochs last, and of the rotation under way (unproven)."""
        return self._members.heard.get(node)

    async def wait_connected(self, count: int, timeout_s: float = REPLY_S_MAX) -> list[int]:
        """Wait until ``count`` members are connected; raises :class:`NotConnected`."""
        with trio.move_on_after(timeout_s):
            while len(self.connected()) < count:
                await self._wait_change(0.05)
        up = self.connected()
        if len(up) < count:
            down = [node for node, link in self._links.items() if not link.up.is_set()]
            why = f"; node {down[0]}: {self._links[down[0]].failure or 'no answer yet'}" if down else ""
            raise NotConnected(
                f"reached {len(up)} of the {count} members needed{why}",
                "check that the nodes run (`mpcseq node status`) and that the committee file is theirs",
            )
        return up

    # ------------------------------------------------------------------------------------------------ queries

    async def status(self, node: int, timeout_s: float = REPLY_S_MAX) -> StatusReply:
        """A member's view of itself; raises :class:`NotConnected` or :class:`TimedOut`."""
        reply = await self._questions.ask(node, StatusQuery(self._questions.next_number()), timeout_s)
        if not isinstance(reply, StatusReply):
            raise self._fault(node, ProtocolError("member.sender", "StatusReply", type(reply).__name__, "StatusReply"))
        await self._learn(node, reply.epoch, timeout_s)
        index = self.roster.index(node, reply.epoch)
        if index is None or reply.node != index:
            raise self._fault(node, ProtocolError("member.sender", "StatusReply.node", reply.node, index))
        return reply

    async def epochs(self, node: int, timeout_s: float = REPLY_S_MAX) -> EpochsReply:
        """What a member says of the epochs after the newest that is known, and of the rotation under way. Proofs in it
        are taken; one that does not hold closes the connection. Raises :class:`NotConnected` or :class:`TimedOut`."""
        question = EpochsQuery(self._questions.next_number(), self.committee.epoch)
        reply = await self._questions.ask(node, question, timeout_s)
        if not isinstance(reply, EpochsReply):
            raise self._fault(node, ProtocolError("member.sender", "EpochsReply", type(reply).__name__, "EpochsReply"))
        return reply

    async def _learn(self, node: int, epoch: int, timeout_s: float) -> None:
        """Have a member prove ``epoch``, of which it spoke. Raises :class:`MemberFault` where it does not."""
        while epoch > self.committee.epoch:
            before = self.committee.epoch
            await self.epochs(node, timeout_s)
            if self.committee.epoch == before:
                raise self._fault(node, ProtocolError("epoch.unknown", "epoch", epoch, f"one it proves after {before}"))

    async def order(self, node: int, order_id: bytes, timeout_s: float = REPLY_S_MAX) -> OrderReply:
        """What a member says of an order; raises :class:`NotConnected` or :class:`TimedOut`."""
        reply = await self._questions.ask(node, OrderQuery(self._questions.next_number(), order_id), timeout_s)
        if not isinstance(reply, OrderReply) or reply.order_id != order_id:
            raise self._fault(node, ProtocolError("member.sender", "OrderReply.order_id", "another order", order_id))
        return reply

    async def market(self, node: int, market: int, levels: int = 20, timeout_s: float = REPLY_S_MAX) -> MarketReply:
        """A market's terms, prices and book as a member has them, unproven; raises :class:`NotConnected` or
        :class:`TimedOut`."""
        reply = await self._questions.ask(node, MarketQuery(self._questions.next_number(), market, levels), timeout_s)
        if not isinstance(reply, MarketReply) or reply.market != market:
            raise self._fault(node, ProtocolError("member.sender", "MarketReply.market", "another market", market))
        return reply

    async def prove(
        self, node: int, kind: int, identifier: bytes, height: int = 0, timeout_s: float = PROOF_S_MAX
    ) -> ResultProof:
        """The proof of an account, an open order, a market (as they are now) or an order's fills of ``height``, judged:
        :func:`~mpc_sequencer.client.proofs.verify` says what it shows. Waits until the height is certified.

        Raises :class:`NothingThere` where the member has nothing under that name (its word alone),
        :class:`NotConnected`, :class:`TimedOut`, and :class:`MemberFault` for a proof that does not hold."""
        question = ProofQuery(self._questions.next_number(), kind, identifier, height)
        reply = await self._questions.ask(node, question, timeout_s)
        if not isinstance(reply, ProofReply):
            raise self._fault(node, ProtocolError("member.sender", "ProofReply", type(reply).__name__, "ProofReply"))
        if reply.proof is None:
            raise NothingThere(f"member {node}: {reply.state}", _NOTHING.get(reply.state, "ask another member"))
        proof = reply.proof
        await self._learn(node, proof.certification.header.epoch, timeout_s)
        try:
            if (proof.kind, proof.identifier) != (kind, identifier) or (height and proof.height != height):
                raise ProtocolError("member.sender", "ResultProof.identifier", proof.identifier, identifier.hex())
            verify(proof, self.committee.genesis_id, self.roster.committee)
        except ProtocolError as refusal:
            raise self._fault(node, refusal) from None
        return proof

    async def key(self, timeout_s: float = KEY_S_MAX, progress: Progress | None = None) -> CommitteeKey:
        """The threshold key, proven by q members' signatures; :attr:`committee` seals and checks with it from then on.

        Waits while its generation goes on, and tells ``progress`` the phase that it waits for. A member whose
        certificate does not hold is among :attr:`faults`, and the others are asked. Raises :class:`~.errors.KeyPending`
        after ``timeout_s``, and :class:`MemberFault` where all members lied. Cancelled, it changes nothing.
        """
        return await KeySearch(self, progress).run(timeout_s)

    async def key_reply(self, node: int, timeout_s: float = REPLY_S_MAX) -> KeyReply:
        """What a member says of the key, unproven. Raises :class:`NotConnected` or :class:`TimedOut`."""
        reply = await self._questions.ask(node, KeyQuery(self._questions.next_number()), timeout_s)
        if not isinstance(reply, KeyReply):
            raise self._fault(node, ProtocolError("member.sender", "KeyReply", type(reply).__name__, "KeyReply"))
        if reply.certificate is not None:
            await self._learn(node, reply.certificate.epoch, timeout_s)
        return reply

    async def dark_keys_reply(self, node: int, timeout_s: float = REPLY_S_MAX) -> DarkKeysReply:
        """What a member says of the keys that dark orders are sealed to, unproven. Raises :class:`NotConnected` or
        :class:`TimedOut`."""
        reply = await self._questions.ask(node, DarkKeysQuery(self._questions.next_number()), timeout_s)
        if not isinstance(reply, DarkKeysReply):
            raise self._fault(node, ProtocolError("member.sender", "DarkKeysReply", type(reply).__name__, "keys"))
        await self._learn(node, reply.epoch, timeout_s)
        return reply

    async def dark_keys(self, timeout_s: float = 60.0, *, again: bool = False) -> DarkKeys:
        """The keys that dark orders are sealed to in this epoch, proven by a certified result; kept until the epoch
        ends, and fetched anew where ``again`` says that they were refused (``dark_keys``).

        Waits while the members agree on them. Raises :class:`~.errors.DarkKeysPending` after ``timeout_s``, and
        :class:`ProtocolError` ``dark.none`` where no market is dark."""
        from mpc_sequencer.client.dark_keys import DarkKeySearch

        if again or self._dark_keys is None or self._dark_keys.epoch != self.committee.epoch:
            self._dark_keys = await DarkKeySearch(self).run(timeout_s)
        return self._dark_keys

    def check_key(self, node: int, certificate: KeyCertificate) -> CommitteeKey:
        """Check a certificate that member ``node`` sent. Raises :class:`MemberFault` naming the member."""
        try:
            return self._proofs_of(certificate).check(certificate)
        except (ProtocolError, ThresholdError) as refusal:
            raise self._fault(node, refusal) from None

    def _proofs_of(self, certificate: KeyCertificate) -> KeyProofs:
        """What judges certificates of its epoch; of one that is not known, the newest, which refuses it."""
        committee = self.roster.committee(certificate.epoch) or self.committee
        return self._proofs.setdefault(committee.epoch, KeyProofs(committee))

    def take_key(self, node: int, certificate: KeyCertificate) -> CommitteeKey:
        """As :meth:`check_key`, and use its key from now on where none is known."""
        key = self.check_key(node, certificate)
        if self.committee.keys is None:
            self.known = self._proofs_of(certificate).take(certificate)
        return key

    # ------------------------------------------------------------------------------------------- what arrives

    def _on_connected(self, node: int) -> None:
        self._notify()

    def _on_committee(self) -> None:
        """Another committee is proven."""
        self._notify()

    def _on_reply(self, node: int, reply: ClientReply) -> None:
        if isinstance(reply, Answer | Refused):
            self._on_answer(node, reply)
        self._notify()

    def _on_answer(self, node: int, reply: Answer | Refused) -> None:
        if isinstance(reply, Refused):
            raise self._fault(node, closing_refusal(reply))
        if not isinstance(reply, EpochsReply):
            self._questions.answered(node, reply)
            return
        try:
            self._members.told(node, reply)
        except (ProtocolError, ThresholdError) as refusal:
            raise self._fault(node, refusal) from None
        except ConfigError as wrong:  # q members signed a committee that none of them can run
            unsafe = ProtocolError("rotation.committee", "EpochStart", wrong.cause, wrong.hint)
            raise self._fault(node, unsafe) from None

    async def _wait_change(self, poll_s: float) -> None:
        with trio.move_on_after(poll_s):
            await self._changed.wait()

    def _fault(self, node: int, refusal: Refusal) -> MemberFault:
        fault = MemberFault(node, refusal)
        if len(self.faults) < FAULTS_KEPT_MAX:
            self.faults.append(fault)
        return fault

    def _notify(self) -> None:
        self._changed.set()
        self._changed = trio.Event()
