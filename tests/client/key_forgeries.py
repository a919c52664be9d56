"""Near misses of a certificate of the threshold key, each wrong in one thing, with the code that it is refused with.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import msgspec
from client_key_kit import Signers, certify, generated

from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.types import KeyCertificate

Bend = Callable[[Committee, Signers], KeyCertificate]


def of_fewer(committee: Committee, signers: Signers) -> KeyCertificate:
    return certify(committee, signers, by=range(committee.q - 1))


def of_one_member_twice(committee: Committee, signers: Signers) -> KeyCertificate:
    return certify(committee, signers, by=(0, 1, 1))


def of_members_out_of_order(committee: Committee, signers: Signers) -> KeyCertificate:
    return certify(committee, signers, by=(1, 0, 2))


def of_a_member_that_is_none(committee: Committee, signers: Signers) -> KeyCertificate:
    return certify(committee, (*signers, signers[0]), by=(0, 1, 4))


def with_a_bent_signature(committee: Committee, signers: Signers) -> KeyCertificate:
    good = certify(committee, signers)
    bent = bytearray(good.ready[1].signature)
    bent[40] ^= 1  # in s: the signature stays one, of somebody else
    ready = (good.ready[0], msgspec.structs.replace(good.ready[1], signature=bytes(bent)), good.ready[2])
    return msgspec.structs.replace(good, ready=ready)


def with_another_member_s_signature(committee: Committee, signers: Signers) -> KeyCertificate:
    good = certify(committee, signers)
    ready = (*good.ready[:2], msgspec.structs.replace(good.ready[2], node=3))
    return msgspec.structs.replace(good, ready=ready)


def with_a_bent_result(committee: Committee, signers: Signers) -> KeyCertificate:
    other = generated(committee, 1).public_key
    bent = replace(generated(committee), public_key=other).encode()
    return msgspec.structs.replace(certify(committee, signers), result=bent)


def with_a_bent_verification_key(committee: Committee, signers: Signers) -> KeyCertificate:
    made = generated(committee)
    keys = {**made.verification_keys, 2: made.verification_keys[1]}
    bent = replace(made, verification_keys=keys).encode()
    return msgspec.structs.replace(certify(committee, signers), result=bent)


def with_a_key_that_is_no_point(committee: Committee, signers: Signers) -> KeyCertificate:
    made = generated(committee)
    bent = replace(made, public_key=b"\x02" + bytes(31) + b"\x05").encode()  # 5^3 + 7 is no square
    return msgspec.structs.replace(certify(committee, signers), result=bent)


def with_bytes_behind_the_result(committee: Committee, signers: Signers) -> KeyCertificate:
    good = certify(committee, signers)
    return msgspec.structs.replace(good, result=good.result + b"\0")


def of_another_epoch(committee: Committee, signers: Signers) -> KeyCertificate:
    return msgspec.structs.replace(certify(committee, signers), epoch=1)


def under_another_session(committee: Committee, signers: Signers) -> KeyCertificate:
    """The result of one session, passed off as that of another."""
    return msgspec.structs.replace(certify(committee, signers), attempt=1)


def of_another_sharing(committee: Committee, signers: Signers) -> KeyCertificate:
    return msgspec.structs.replace(certify(committee, signers), sharing=1)


def of_a_deployment_on_another_chain(committee: Committee, signers: Signers) -> KeyCertificate:
    other = Committee(msgspec.structs.replace(committee.genesis, chain_id=1))
    return certify(other, signers)


def of_a_deployment_of_the_same_members_and_contract(committee: Committee, signers: Signers) -> KeyCertificate:
    """Only the committee file differs: the signatures alone do not tell the two apart."""
    other = Committee(msgspec.structs.replace(committee.genesis, time_ms=1))
    return certify(other, signers)


def at_another_threshold(committee: Committee, signers: Signers) -> KeyCertificate:
    other = Committee(msgspec.structs.replace(committee.genesis, threshold=2))
    return certify(other, signers)


def signed_at_another_threshold(committee: Committee, signers: Signers) -> KeyCertificate:
    return certify(committee, signers, result=replace(generated(committee), threshold=2).encode())


def signed_without_a_member_s_verification_key(committee: Committee, signers: Signers) -> KeyCertificate:
    made = generated(committee)
    keys = {index: key for index, key in made.verification_keys.items() if index != 4}
    return certify(committee, signers, result=replace(made, verification_keys=keys).encode())


NEAR_MISSES: Sequence[tuple[Bend, str]] = (
    (of_fewer, "key.quorum"),
    (of_one_member_twice, "key.quorum"),
    (of_members_out_of_order, "key.quorum"),
    (of_a_member_that_is_none, "member.unknown"),
    (with_a_bent_signature, "signature.signer"),
    (with_another_member_s_signature, "signature.signer"),
    (with_a_bent_result, "signature.signer"),
    (with_a_bent_verification_key, "signature.signer"),
    (with_a_key_that_is_no_point, "point.off_curve"),
    (with_bytes_behind_the_result, "dkg.length"),
    (of_another_epoch, "epoch.unknown"),
    (under_another_session, "key.result"),
    (of_another_sharing, "key.result"),
    (of_a_deployment_on_another_chain, "key.result"),
    (of_a_deployment_of_the_same_members_and_contract, "key.result"),
    (at_another_threshold, "key.result"),
    (signed_at_another_threshold, "key.result"),
    (signed_without_a_member_s_verification_key, "key.result"),
)
