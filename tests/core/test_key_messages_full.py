"""Who is asked for a key message of an author that says too much is not blamed for it."""

from __future__ import annotations

from mpc_sequencer.core import limits
from mpc_sequencer.core.effects import Fault, FromPeer
from mpc_sequencer.core.messages import KeyBodies
from mpc_sequencer.core.rotation import Approval, encode_payload
from mpc_sequencer.core.types import NO_SIGNATURE, KeyMessage, with_signature
from mpc_sequencer.sim import Cluster, make_deployment

AUTHOR, ASKED = 2, 3


def test_a_message_beyond_its_authors_room_is_refused_without_a_word_against_who_brings_it() -> None:
    d = make_deployment(4, joiners=1)
    core = Cluster(d).cores[0]
    target = d.next_committee((0, 1, 2, 4), 3)

    def approval(number: int) -> KeyMessage:
        payload = encode_payload(Approval(target, number))
        unsigned = KeyMessage(0, core.succession.topic, AUTHOR, payload, NO_SIGNATURE)
        return with_signature(unsigned, d.signers[AUTHOR].sign_digest(d.committee.digest(unsigned.struct_hash())))

    room = limits.KEY_MESSAGES_PER_MEMBER_MAX
    for number in range(1, room + 1):
        core.keybook.add(approval(number), running=core.keygen.live)
    last = approval(room + 1)
    core.fetcher.want_body(last.message_id(), ASKED, core.now_ms)
    effects = core.step(FromPeer(ASKED, KeyBodies((last,))), core.now_ms)
    assert not [one for one in effects if isinstance(one, Fault)]
    assert last.message_id() not in core.keybook
    assert core.fetcher.wants_body(last.message_id())
