"""Committees with and without a key of their own, and certificates as members make them: a whole key generation in
memory, signed by real consensus keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import msgspec

from mpc_sequencer.core.committee import Committee, Genesis
from mpc_sequencer.core.keygen import generation_plan
from mpc_sequencer.core.signing import Signer
from mpc_sequencer.core.types import NO_SIGNATURE, KeyCertificate, KeyMessage, KeyReady
from threshold import deal
from threshold.dkg import Message, Participant, Phase, Result, Session
from threshold.dkg.wire import encode_ready


def without_key(genesis: Genesis) -> Genesis:
    """The same deployment with its key still to be generated."""
    members = tuple(msgspec.structs.replace(member, verification_key=b"") for member in genesis.members)
    return msgspec.structs.replace(genesis, public_key=b"", members=members)


def with_key(genesis: Genesis) -> Genesis:
    """The same deployment with a key that the committee file gives."""
    dealing = deal(len(genesis.members), genesis.threshold, secret=None, entropy=b"\x77" * 32)
    members = tuple(
        msgspec.structs.replace(member, verification_key=key)
        for member, key in zip(genesis.members, dealing.verification_keys, strict=True)
    )
    return msgspec.structs.replace(genesis, public_key=dealing.public_key, members=members)


@cache
def _result(genesis: Genesis, attempt: int) -> Result:
    plan = generation_plan(Committee(genesis), attempt)
    people = [Participant(plan, bytes((7, i)) * 16, dealer_index=i, receiver_index=i) for i in plan.receivers]
    session = Session.begin(plan, 0, 0)
    while not session.ended:
        said = [Message(one.receiver_index or 0, payload) for one in people for payload in one.messages(session)]
        session = session.block(session.height + 1, session.time_ms + 1_000, said)
    assert session.phase is Phase.DONE and session.result is not None
    return session.result


def generated(committee: Committee, attempt: int = 0) -> Result:
    """What the committee's key generation ends with."""
    return _result(committee.genesis, attempt)


def certify(
    committee: Committee,
    signers: Sequence[Signer],
    *,
    attempt: int = 0,
    by: Sequence[int] | None = None,
    result: bytes | None = None,
) -> KeyCertificate:
    """The certificate that members ``by`` (a quorum by default) make of the result; of other bytes, where given."""
    made = generated(committee, attempt)
    encoded = made.encode() if result is None else result
    hashed = made.hash() if result is None else Result.decode(result).hash()
    ready = []
    for node in range(committee.q) if by is None else by:
        message = KeyMessage(committee.epoch, made.session, node, encode_ready(hashed), NO_SIGNATURE)
        ready.append(KeyReady(node, signers[node].sign_digest(committee.digest(message.struct_hash()))))
    return KeyCertificate(committee.epoch, made.session, encoded, tuple(ready))
