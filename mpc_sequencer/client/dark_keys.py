"""The keys that dark orders are sealed to: asked of members, believed for what a certified result says.

A member tells all of what the epoch's parties agreed on (:class:`~mpc_sequencer.dark.keys.AgreedKeys`), unproven. Its
id hashes everything of it, the deployment and the epoch included, and the id is in the leaf of every dark market: so
keys are believed where a proof of that leaf, under a result that q members certified, names their id. Wrong keys would
hand the order to whoever has their secrets; hence no key is used on members' word alone, however many say the same.

Keys are agreed once in an epoch and kept until it ends, so they are fetched once, and again in another epoch, or where
an order is refused with ``dark_keys``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import trio

from mpc_sequencer.client.errors import ClientError, DarkKeysPending, MemberFault
from mpc_sequencer.client.proofs import DarkMarketValue, ProvenState, verify
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.resultproof import MARKET
from mpc_sequencer.dark.keys import AgreedKeys
from threshold import ThresholdError, group

if TYPE_CHECKING:
    from mpc_sequencer.client.member_client import MemberClient
    from mpc_sequencer.core.committee import Committee
    from mpc_sequencer.core.messages import DarkKeysReply

DARK_KEYS_S_MAX: Final = 60.0
"""Members agree within seconds of the epoch's first blocks; each phase that waits for a silent one takes
DARK_WINDOW_MS more."""
POLL_S: Final = 0.25
REPLY_S_MAX: Final = 5.0
PROOF_S_MAX: Final = 15.0
PHASES: Final = frozenset({"keys", "deals", "answers", "done", "failed"})


@dataclass(frozen=True, slots=True)
class DarkKeys:
    """Keys that are proven: what was agreed on, its id, and the epoch and height of the state that names it."""

    agreed: AgreedKeys
    id: bytes
    epoch: int
    height: int

    @property
    def parties(self) -> tuple[int, ...]:
        """The members that have a key; the others' boxes stay empty, and they take no part in the batches."""
        return tuple(party for party, key in enumerate(self.agreed.box_keys) if key)


def judge_keys(committee: Committee, reply: DarkKeysReply, shown: ProvenState) -> DarkKeys:
    """The keys of a member's reply, judged by what a proof of a dark market shows. Raises :class:`ProtocolError`:
    ``dark.none``, ``epoch.unknown``, ``dark.keys``."""
    value = shown.values[0]
    if committee.dark_topic is None or not isinstance(value, DarkMarketValue):
        raise ProtocolError("dark.none", "MarketValue", type(value).__name__, "the value of a dark market")
    if reply.epoch != committee.epoch:
        raise ProtocolError("epoch.unknown", "DarkKeysReply.epoch", reply.epoch, committee.epoch)
    if len(reply.box_keys) != committee.n:
        expected = f"one for each of {committee.n} members"
        raise ProtocolError("dark.keys", "DarkKeysReply.box_keys", len(reply.box_keys), expected)
    try:
        for key in reply.box_keys:
            if key:
                group.parse_point(key, "DarkKeysReply.box_keys")
    except ThresholdError as error:
        raise ProtocolError("dark.keys", error.field, error.seen, error.expected) from None
    agreed = AgreedKeys(committee.dark_topic, reply.attempt, reply.box_keys, reply.rest_hash)
    named = agreed.id
    if named != value.keys:
        raise ProtocolError("dark.keys", "DarkKeysReply", named, value.keys.hex())
    return DarkKeys(agreed, named, committee.epoch, shown.height)


class DarkKeySearch:
    """One search by one client: all members are asked, and the first proof that holds is enough."""

    def __init__(self, client: MemberClient) -> None:
        self._client = client
        self._said: dict[int, str] = {}
        self._found: DarkKeys | None = None
        markets = [market.id for market in client.committee.genesis.markets if market.dark is not None]
        if not markets:
            raise ProtocolError("dark.none", "markets", "none dark", "a deployment with a dark market")
        self._market = markets[0].to_bytes(4, "big")

    async def run(self, timeout_s: float) -> DarkKeys:
        """As :meth:`MemberClient.dark_keys`."""
        with trio.move_on_after(timeout_s):
            async with trio.open_nursery() as nursery:
                for node in self._client.nodes:
                    nursery.start_soon(self._ask, node, nursery.cancel_scope)
        if self._found is not None:
            return self._found
        said = "; ".join(words for _, words in sorted(self._said.items()))
        raise DarkKeysPending(
            f"no member proved the keys of the dark markets within {timeout_s:g} s; {said or 'no answer yet'}",
            "the members agree on them in an epoch's first blocks: look at `mpcseq market show`, then wait longer",
        )

    async def _ask(self, node: int, scope: trio.CancelScope) -> None:
        while True:
            try:
                found = await self._try(node)
            except MemberFault as fault:
                self._said[node] = f"member {node} showed what does not hold ({fault.refusal.code})"
                return
            except ClientError as error:
                self._said[node] = error.cause
            else:
                if found is not None:
                    self._found = found
                    scope.cancel()
                    return
            await trio.sleep(POLL_S)

    async def _try(self, node: int) -> DarkKeys | None:
        """What a member proves now; None where it has nothing yet. Raises :class:`ClientError`."""
        client = self._client
        reply = await client.dark_keys_reply(node, REPLY_S_MAX)
        if not reply.box_keys:
            phase = reply.phase if reply.phase in PHASES else "a phase that nobody knows"
            self._said[node] = f"member {node} waits for {phase}"
            return None
        proof = await client.prove(node, MARKET, self._market, timeout_s=PROOF_S_MAX)
        shown = verify(proof, client.committee.genesis_id, client.roster.committee)
        try:
            return judge_keys(client.committee, reply, shown)
        except ProtocolError as refusal:  # no fault: the state that was proven may be older than the keys, or the epoch
            self._said[node] = f"member {node} has keys that its certified state does not name ({refusal.code})"
            return None
