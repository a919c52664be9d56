"""What this member is missing and whom it asks: bodies, lists, blocks, bundles, each asked again after FETCH_RETRY_MS.

The first to be asked is whoever named the thing; later tries go round the committee, so that one silent peer costs
one try. Wants are bounded and go when the thing arrives or nobody needs it any more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from mpc_sequencer.core import limits
from mpc_sequencer.core.effects import Effect, Send
from mpc_sequencer.core.messages import FetchBlock, FetchBodies, FetchBundle, FetchInputs, FetchLists
from mpc_sequencer.core.types import ZERO_HASH

WANTS_MAX: Final = 50_000
WANTS_PER_MEMBER_MAX: Final = 4_096  # bodies that one member's lists name; invented ids crowd out its own orders only
TRIES_MAX: Final = 40
BODY_SCAN_MS: Final = limits.FETCH_RETRY_MS // 2


@dataclass(slots=True)
class _Want:
    source: int
    due_ms: int
    tries: int = 0
    needed: bool = False
    """A block waits for it; without it, only gossip does."""


class Fetcher:
    """Wants of five kinds: bodies by id, list ranges by author, blocks by id, bundles by block and member, chain inputs
    by the hash they lead up to."""

    def __init__(self, members: int, node: int) -> None:
        self._members = members
        self._node = node
        self._bodies: dict[bytes, _Want] = {}
        self._gossiped = [0] * members
        self._fresh: list[bytes] = []
        self._scan_ms = 0
        self._lists: dict[int, tuple[int, int, bytes, _Want]] = {}
        self._blocks: dict[bytes, _Want] = {}
        self._bundles: dict[tuple[bytes, int], _Want] = {}
        self._inputs: dict[bytes, _Want] = {}
        self._inputs_counts: dict[bytes, int] = {}

    def want_body(self, key: bytes, source: int, now_ms: int, *, needed: bool = False) -> None:
        """An order id that a list of ``source`` names, or (``needed``) an id or envelope hash a block waits for."""
        held = self._bodies.get(key)
        if held is not None:
            if not needed or held.needed:
                return
            self._drop_body(key)
        elif not needed and self._gossiped[source] >= WANTS_PER_MEMBER_MAX:
            return
        if len(self._bodies) - sum(self._gossiped) >= WANTS_MAX:
            return
        self._bodies[key] = _Want(source, now_ms, needed=needed)
        self._gossiped[source] += not needed
        self._fresh.append(key)

    def _drop_body(self, key: bytes) -> None:
        want = self._bodies.pop(key, None)
        if want is not None and not want.needed:
            self._gossiped[want.source] -= 1

    def needs_body(self, *keys: bytes) -> bool:
        """Whether a block waits for one of ``keys``."""
        return any(want.needed for key in keys if (want := self._bodies.get(key)) is not None)

    def want_lists(
        self, author: int, first: int, last: int, source: int, now_ms: int, last_hash: bytes = ZERO_HASH
    ) -> None:
        """Lists ``first..last``; with ``last_hash``, those that lead to that list, which a block names."""
        if last_hash == ZERO_HASH:
            last = min(last, first + limits.LISTS_PER_MEMBER_MAX - 1)
        held = self._lists.get(author)
        if held is not None and (held[0], held[2]) == (first, last_hash):
            if held[1] < last:
                self._lists[author] = (first, last, last_hash, held[3])
        elif held is None or last_hash != ZERO_HASH or held[2] == ZERO_HASH:
            self._lists[author] = (first, last, last_hash, _Want(source, now_ms))

    def want_block(self, block_id: bytes, source: int, now_ms: int) -> None:
        """A block; of more than VIEWS_AHEAD_MAX those wanted first give way: who lacks so many takes them from logs."""
        if block_id not in self._blocks:
            if len(self._blocks) >= limits.VIEWS_AHEAD_MAX:
                del self._blocks[next(iter(self._blocks))]
            self._blocks[block_id] = _Want(source, now_ms)

    def want_bundle(self, block_id: bytes, node: int, now_ms: int) -> None:
        if len(self._bundles) < WANTS_MAX:
            self._bundles.setdefault((block_id, node), _Want(node, now_ms))

    def want_inputs(self, count: int, inputs_hash: bytes, source: int, now_ms: int) -> None:
        """Chain inputs that lead up to a hash, the queue's of ``count`` inputs; of more than VIEWS_AHEAD_MAX those
        wanted first give way."""
        if inputs_hash not in self._inputs:
            if len(self._inputs) >= limits.VIEWS_AHEAD_MAX:
                self.got_inputs(next(iter(self._inputs)))
            self._inputs[inputs_hash] = _Want(source, now_ms)
            self._inputs_counts[inputs_hash] = count

    def wanted_count(self, inputs_hash: bytes) -> int | None:
        """How many inputs the queue has at a hash that is wanted; None where it is not."""
        return self._inputs_counts.get(inputs_hash)

    def got_inputs(self, inputs_hash: bytes) -> None:
        self._inputs.pop(inputs_hash, None)
        self._inputs_counts.pop(inputs_hash, None)

    def got_body(self, *keys: bytes) -> None:
        for key in keys:
            self._drop_body(key)

    def got_lists(self, author: int, through: int) -> None:
        """The author's chain of lists is held up to ``through``."""
        held = self._lists.get(author)
        if held is None or held[2] != ZERO_HASH:
            return
        if through >= held[1]:
            del self._lists[author]
        elif through >= held[0]:
            self._lists[author] = (through + 1, held[1], held[2], held[3])

    def got_list(self, author: int, list_hash: bytes) -> None:
        """A list that a block names by its hash is held."""
        held = self._lists.get(author)
        if held is not None and held[2] == list_hash:
            del self._lists[author]

    def got_block(self, block_id: bytes) -> None:
        self._blocks.pop(block_id, None)

    def got_bundle(self, block_id: bytes, node: int) -> None:
        self._bundles.pop((block_id, node), None)

    def done_with_bundles(self, block_id: bytes) -> None:
        for key in [key for key in self._bundles if key[0] == block_id]:
            del self._bundles[key]

    def wants_block(self, block_id: bytes) -> bool:
        return block_id in self._blocks

    def wants_body(self, *keys: bytes) -> bool:
        return any(key in self._bodies for key in keys)

    def next_due_ms(self) -> int | None:
        """When the next request is due; None where nothing is wanted."""
        times: list[int] = []
        for wants in (self._blocks, self._bundles, self._inputs):
            if wants:
                times.append(min(want.due_ms for want in wants.values()))
        if self._lists:
            times.append(min(want.due_ms for _, _, _, want in self._lists.values()))
        if self._bodies:
            fresh = (want.due_ms for key in self._fresh if (want := self._bodies.get(key)) is not None)
            times.append(min(fresh, default=self._scan_ms))
        return min(times, default=None)

    def _try(self, want: _Want, now_ms: int) -> int | None:
        """The peer to ask now; None where it is not due."""
        if want.due_ms > now_ms:
            return None
        peer = (want.source + want.tries) % self._members
        if peer == self._node:
            peer = (peer + 1) % self._members
        want.tries += 1
        want.due_ms = now_ms + limits.FETCH_RETRY_MS
        return peer

    def _due_bodies(self, now_ms: int) -> list[bytes]:
        """Bodies to ask for or to give up: new wants when they are first due, all of them every BODY_SCAN_MS."""
        due: list[bytes] = []
        if self._fresh:
            waiting: list[bytes] = []
            for key in self._fresh:
                want = self._bodies.get(key)
                if want is not None:
                    (waiting if want.due_ms > now_ms else due).append(key)
            self._fresh = waiting
        if now_ms < self._scan_ms:
            return due
        self._scan_ms = now_ms + BODY_SCAN_MS
        wants = self._bodies.items()
        return [key for key, want in wants if want.due_ms <= now_ms or want.tries >= TRIES_MAX]

    def requests(self, now_ms: int) -> list[Effect]:
        """Requests that are due, bodies of one peer together."""
        effects: list[Effect] = []
        by_peer: dict[int, list[bytes]] = {}
        for order_id in self._due_bodies(now_ms):
            want = self._bodies.get(order_id)
            if want is None:
                continue
            if want.tries >= TRIES_MAX:
                self._drop_body(order_id)
                continue
            peer = self._try(want, now_ms)
            if peer is not None:
                by_peer.setdefault(peer, []).append(order_id)
        for peer, ids in by_peer.items():
            for start in range(0, len(ids), limits.FETCH_IDS_MAX):
                effects.append(Send(peer, FetchBodies(tuple(ids[start : start + limits.FETCH_IDS_MAX]))))
        for author, (first, last, last_hash, want) in list(self._lists.items()):
            if want.tries >= TRIES_MAX:
                del self._lists[author]
            elif (peer := self._try(want, now_ms)) is not None:
                effects.append(Send(peer, FetchLists(author, first, last, last_hash)))
        for block_id, want in list(self._blocks.items()):
            if want.tries >= TRIES_MAX:
                del self._blocks[block_id]
            elif (peer := self._try(want, now_ms)) is not None:
                effects.append(Send(peer, FetchBlock(block_id)))
        for inputs_hash, want in list(self._inputs.items()):
            if want.tries >= TRIES_MAX:
                self.got_inputs(inputs_hash)
            elif (peer := self._try(want, now_ms)) is not None:
                effects.append(Send(peer, FetchInputs(inputs_hash)))
        for (block_id, node), want in list(self._bundles.items()):
            if want.due_ms <= now_ms:
                want.due_ms = now_ms + limits.FETCH_RETRY_MS
                effects.append(Send(node, FetchBundle(block_id)))
        return effects
