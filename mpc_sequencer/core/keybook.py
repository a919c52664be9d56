"""Messages of key sessions that a member holds, from the moment they are signed or fetched.

A key message travels like an order: its author lists it, others fetch its body, check it and list it too, and the
block in which f+1 members' listings meet lifts it. States here: *held* (in no final block), *included* (in one).

What an attacker tries: a message in another's name (the signature is checked before it is held), messages without end
(KEY_MESSAGES_PER_MEMBER_MAX held of one author beside those listed, of which what no running session waits for gives
way to what comes, or an honest author's late ones would shut it out; what a block lifts is held whatever the bound
says), two messages where one is due (both may be lifted; the session counts the first), filling the log, which nobody
pays for (a member lists messages of the running session only, KEY_MESSAGES_LISTED_MAX of one author). What a member
has listed it keeps until a block includes it, or until its session is over and its listing counts no more: others may
need it from nobody else. Included messages are kept as long as blocks are, for members that fetch them, and the running
session's as long as it runs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mpc_sequencer.core import limits
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.rotation import Handover, read_payload, topic
from mpc_sequencer.core.types import KeyMessage

if TYPE_CHECKING:
    from mpc_sequencer.dark.messages import Place

KEPT_HEIGHTS: Final = limits.BLOCKS_KEPT_HEIGHTS
WORDS_KEPT_HEIGHTS: Final = limits.BODIES_KEPT_HEIGHTS
"""Of included words of dark markets, whose session runs as long as the epoch: who lacks older ones reads logs."""


@dataclass(slots=True)
class HeldKeyMessage:
    """One message and where it is."""

    message: KeyMessage
    list_number: int = 0
    """The member's own list it is in; 0 where it is in none."""
    on_disk: bool = False
    """Whether the journal holds it."""
    included_height: int = 0
    lifted_height: int = 0
    """The newest block that this member has accepted and that lifts it, final or not; 0 where there is none."""
    handover: bytes = b""
    """The handover that its author gives its word for; empty where the message does no such thing."""
    place: Place | None = None
    """What it is about where it is a word of dark markets; None where it is none."""
    over_ms: int | None = None
    """The block time at which its session was known not to run, and its listing to count since then at the latest."""


class KeyBook:
    """Key messages by id."""

    def __init__(self, committee: Committee) -> None:
        self._committee = committee
        self._held: dict[bytes, HeldKeyMessage] = {}
        self._topic = topic(committee)
        self.wanted: Callable[[bytes, KeyMessage], bool] = _never
        """Whether an honest member may list a word of dark markets now, by id and message: by the state of the markets
        here, which differs from member to member for as long as they execute."""
        self._unlisted: dict[int, int] = defaultdict(int)
        """By author: messages that neither a list of this member names nor a final block includes."""
        self._open: dict[bytes, HeldKeyMessage] = {}
        """Messages that no final block includes, in the order in which they came."""
        self._listed: dict[_Counted, int] = {}

    def get(self, message_id: bytes) -> HeldKeyMessage | None:
        return self._held.get(message_id)

    def __contains__(self, message_id: bytes) -> bool:
        return message_id in self._held

    def __len__(self) -> int:
        return len(self._held)

    def waiting(self, running: Collection[bytes]) -> bool:
        """Whether a message that a ``running`` session waits for is held that no final block includes."""
        return any(self._awaited(message_id, held, running) for message_id, held in self._open.items())

    def _awaited(self, message_id: bytes, held: HeldKeyMessage, running: Collection[bytes]) -> bool:
        """Whether a message is of a ``running`` session; of dark markets, whether it is wanted now as well."""
        message = held.message
        return message.session in running and (held.place is None or self.wanted(message_id, message))

    def to_list(self, running: Collection[bytes]) -> list[tuple[bytes, HeldKeyMessage]]:
        """Messages that this member's lists should name and do not, in the order in which they came."""
        if not self._open:
            return []
        found: list[tuple[bytes, HeldKeyMessage]] = []
        room: dict[_Counted, int] = {}
        for message_id, held in self._open.items():
            if held.list_number or not self._awaited(message_id, held, running):
                continue
            place = _counted(held)
            most = limits.ROTATION_MESSAGES_LISTED_MAX if place[0] == self._topic else limits.KEY_MESSAGES_LISTED_MAX
            most = most if held.place is None else limits.DARK_WORDS_LISTED_MAX
            left = room.get(place, most - self._listed.get(place, 0))
            if left > 0:
                found.append((message_id, held))
            room[place] = left - 1
        return found

    def note_listed(self, message_id: bytes, list_number: int) -> None:
        """A list of this member names the message, which is held."""
        held = self._held[message_id]
        if not held.list_number:
            self._unlisted[held.message.node] -= not held.included_height
            place = _counted(held)
            self._listed[place] = self._listed.get(place, 0) + 1
        held.list_number = list_number

    def note_lifted(self, message_ids: Iterable[bytes], height: int) -> None:
        """A block of ``height`` that this member has accepted lifts these messages, which are held: they stay."""
        for message_id in message_ids:
            held = self._held[message_id]
            held.lifted_height = max(held.lifted_height, height)

    def words(self, message_ids: Iterable[bytes]) -> tuple[tuple[int, bytes], ...]:
        """The words of dark markets among these messages, which are held: their authors and payloads, in order."""
        held = [self._held[message_id] for message_id in message_ids]
        return tuple((one.message.node, one.message.payload) for one in held if one.place is not None)

    def kept(self) -> tuple[HeldKeyMessage, ...]:
        """All messages held, in the order in which they came."""
        return tuple(self._held.values())

    def add(
        self,
        message: KeyMessage,
        *,
        message_id: bytes | None = None,
        needed: bool = False,
        running: Collection[bytes] = (),
    ) -> HeldKeyMessage:
        """Hold a message; the one held where it is known. Raises ProtocolError, and then holds nothing new.

        ``needed``: a block lifts it, so the bound does not matter. At the bound the author's oldest message that no
        ``running`` session waits for gives way.
        """
        message_id = message_id or message.message_id()
        held = self._held.get(message_id)
        if held is not None:
            return held
        waiting = self._unlisted.get(message.node, 0)  # who is refused leaves no trace
        full = waiting >= limits.KEY_MESSAGES_PER_MEMBER_MAX and not needed
        oldest = self._oldest(message.node, running) if full else None
        if full and oldest is None:
            expected = f"fewer than {limits.KEY_MESSAGES_PER_MEMBER_MAX}"
            raise ProtocolError("key.full", "KeyMessage.node", waiting, expected)
        self._committee.check_value(message)
        said = read_payload(self._committee, message) if message.session == self._topic else None
        place = self._read_word(message) if message.session == self._committee.dark_topic else None
        if oldest is not None:
            self._drop(oldest)
        held = self._held[message_id] = self._open[message_id] = HeldKeyMessage(message)
        held.handover = said.digest if isinstance(said, Handover) else b""
        held.place = place
        self._unlisted[message.node] += 1
        return held

    def _read_word(self, message: KeyMessage) -> Place:
        """What a word of dark markets is about. Raises ProtocolError where it says nothing that may count."""
        from mpc_sequencer.dark.messages import decode_word, place  # with numpy: only where a market is dark

        if message.node >= self._committee.n:
            raise ProtocolError("member.unknown", "KeyMessage.node", message.node, f"0 .. {self._committee.n - 1}")
        return place(decode_word(message.payload))

    def _oldest(self, node: int, running: Collection[bytes]) -> bytes | None:
        """The oldest message of an author that nobody waits for, as far as this member knows."""
        for message_id, held in self._open.items():
            if held.message.node != node or held.list_number or held.lifted_height:
                continue
            if not self._awaited(message_id, held, running):
                return message_id
        return None

    def _drop(self, message_id: bytes) -> None:
        """Forget a message that no final block includes."""
        held = self._held.pop(message_id)
        del self._open[message_id]
        self._unlisted[held.message.node] -= not held.list_number

    def include(self, message_id: bytes, height: int) -> KeyMessage:
        """A final block lifts the message, which is held."""
        held = self._held[message_id]
        if not held.included_height:
            held.included_height = height
            del self._open[message_id]
            self._unlisted[held.message.node] -= not held.list_number
        return held.message

    def forget_promises(self) -> None:
        """No held message is in a list of this member any more: its incarnation is over."""
        for held in self._open.values():
            self._unlisted[held.message.node] += bool(held.list_number)
            held.list_number = 0
        self._listed.clear()

    def prune(self, final_height: int, time_ms: int, running: Collection[bytes], listed_through: int) -> None:
        """Forget messages included KEPT_HEIGHTS ago, but those of ``running`` sessions, and how many were listed of
        sessions before; and messages that are awaited no more and that this member's lists name, once the listing
        counts no more. Included words of dark markets go after WORDS_KEPT_HEIGHTS, though their session runs on.
        ``time_ms``: of the final block; ``listed_through``: the number of this member's last list in final blocks."""
        for message_id in [one for one, held in self._held.items() if _is_old(held, final_height, running)]:
            del self._held[message_id]
        held_places = {_counted(held) for held in self._held.values() if held.place is not None}
        self._listed = {
            place: count
            for place, count in self._listed.items()
            if place[0] in running and (place[0] != self._committee.dark_topic or place in held_places)
        }
        for message_id, held in list(self._open.items()):
            awaited = held.lifted_height or self._awaited(message_id, held, running)
            if awaited or not 0 < held.list_number <= listed_through:
                held.over_ms = None
            elif held.over_ms is None:
                held.over_ms = time_ms
            elif time_ms >= held.over_ms + limits.VALIDITY_MS_MAX:
                self._drop(message_id)


_Counted = tuple[bytes, int, "bool | Place"]
"""What a member's listings are counted by: session, author, and for words of dark markets what they are about. A
handover has room beside its author's approvals."""


def _counted(held: HeldKeyMessage) -> _Counted:
    return held.message.session, held.message.node, bool(held.handover) if held.place is None else held.place


def _is_old(held: HeldKeyMessage, final_height: int, running: Collection[bytes]) -> bool:
    """Whether a message was included, and lifted by blocks here, so long ago that nobody asks for it any more."""
    if not held.included_height or (held.place is None and held.message.session in running):
        return False
    kept = KEPT_HEIGHTS if held.place is None else WORDS_KEPT_HEIGHTS
    return max(held.included_height, held.lifted_height) < final_height - kept


def _never(message_id: bytes, message: KeyMessage) -> bool:
    """What is wanted of dark markets where there are none."""
    return False
