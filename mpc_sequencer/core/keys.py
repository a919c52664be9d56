"""What names and proves a sharing of the threshold key: sessions, plans, names of secrets in a vault, certificates.

The key Y stays for ever; *sharings* of it follow each other, numbered from 0. Number 0 is generated (or given by the
committee file), each later one is dealt by the holders of the one before to the same members: a *refresh*, after which
old shares, alone or mixed with new ones, are worth nothing.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final

from mpc_sequencer.core import domains, limits
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.types import KeyCertificate, KeyMessage
from threshold import SecretShare
from threshold.dkg import Plan, Result
from threshold.dkg.wire import encode_ready

SEED_PREFIX: Final = "session-"
SHARE_PREFIX: Final = "share-"


def session_id(committee: Committee, number: int, attempt: int) -> bytes:
    """What names an attempt at a sharing: nothing of one counts in another."""
    epoch = committee.epoch.to_bytes(8, "big")
    place = number.to_bytes(4, "big") + attempt.to_bytes(4, "big")
    return domains.KEY_SESSION(committee.genesis_id, epoch, place)


def session_plan(committee: Committee, number: int, attempt: int) -> Plan:
    """The plan of an attempt: member i deals and receives under index i+1. Number 0 is generated; the others are dealt
    by the holders of the sharing before, which must be known."""
    session, members = session_id(committee, number, attempt), range(1, committee.n + 1)
    if not number:
        return Plan.generate(
            session,
            members,
            threshold=committee.t,
            faults=committee.f,
            window_heights=limits.KEY_WINDOW_HEIGHTS,
            window_ms=limits.KEY_WINDOW_MS,
        )
    before = committee.sharing(number - 1)
    return Plan.reshare(
        session,
        dict(zip(members, before.verification_keys, strict=True)),
        members,
        public_key=committee.sealing_key.public_key,
        dealer_threshold=committee.t,
        dealer_faults=committee.f,
        threshold=committee.t,
        faults=committee.f,
        window_heights=limits.KEY_WINDOW_HEIGHTS,
        window_ms=limits.KEY_WINDOW_MS,
    )


def seed_name(session: bytes) -> str:
    """What the vault calls a session's seed."""
    return f"{SEED_PREFIX}{session[:8].hex()}"


def share_name(number: int) -> str:
    """What the vault calls the share of a sharing."""
    return f"{SHARE_PREFIX}{number}"


def encode_share(share: SecretShare) -> bytes:
    """A share as the vault holds it: index u16 || 32 secret bytes."""
    return share.index.to_bytes(2, "big") + share.export()


def decode_share(kept: bytes | bytearray) -> SecretShare:
    """The share that :func:`encode_share` wrote. Raises :class:`threshold.UsageError` or ``ValueError``."""
    return SecretShare(int.from_bytes(kept[:2], "big"), kept[2:])


def check_key_certificate(committee: Committee, certificate: KeyCertificate) -> Result:
    """The sharing that q members of ``committee`` say they have made. Raises ProtocolError or ThresholdError."""
    if certificate.epoch != committee.epoch:
        raise ProtocolError("epoch.unknown", "KeyCertificate.epoch", certificate.epoch, committee.epoch)
    session = session_id(committee, certificate.sharing, certificate.attempt)
    result = Result.decode(certificate.result)
    if result.session != session:
        raise ProtocolError("key.result", "KeyCertificate.result", result.session, session.hex())
    if result.threshold != committee.t or set(result.verification_keys) != set(range(1, committee.n + 1)):
        expected = f"t = {committee.t} of n = {committee.n}"
        raise ProtocolError("key.result", "KeyCertificate.result", result.threshold, expected)
    nodes = [ready.node for ready in certificate.ready]
    if any(a >= b for a, b in pairwise(nodes)) or len(nodes) < committee.q:
        raise ProtocolError("key.quorum", "KeyCertificate.ready", nodes, f"{committee.q} or more, ascending")
    payload = encode_ready(result.hash())
    for ready in certificate.ready:
        committee.check_value(KeyMessage(certificate.epoch, session, ready.node, payload, ready.signature))
    return result


def establish(
    committee: Committee, certificate: KeyCertificate, from_height: int = 0, *, checked: Result | None = None
) -> Result:
    """``committee`` knows the certificate's sharing from now on. Raises as :func:`check_key_certificate` does, whose
    result it gives; ``checked`` is that, where the caller has had this very certificate checked already."""
    result = check_key_certificate(committee, certificate) if checked is None else checked
    keys = [key for _, key in sorted(result.verification_keys.items())]
    committee.establish(
        result.public_key,
        keys,
        number=certificate.sharing,
        from_height=from_height,
        name=result.hash(),
        certificate=certificate,
    )
    return result
