"""A proof of a later epoch is judged by that epoch's committee, which the file itself proves from the first one on."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from epoch_kit import Era, first_era, next_era, person, resigned
from msgspec.structs import replace

from mpc_sequencer.client.proofs import MAGIC, MarketValue, ProofFile, verify_file
from mpc_sequencer.core import domains
from mpc_sequencer.core.codec import encode
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.resultproof import MARKET, Certification, ResultLink, ResultProof, Shown
from mpc_sequencer.core.types import (
    FINALIZE,
    NO_SIGNATURE,
    BlockHeader,
    Certificate,
    CertificateVote,
    Checkpoint,
    EpochStart,
    Head,
    ResultRef,
    with_signature,
)

NAME = (3).to_bytes(4, "big")
CHECKPOINT = Checkpoint(0, bytes(32), 0, bytes(32))


def state() -> tuple[Shown, bytes]:
    """A market's value beside two other leaves, and the root, by the documented rule alone: the set is split by the
    key's bits, most significant first, a lone leaf stands for its subtree, an empty half is 32 zero bytes."""
    values = {domains.STATE_KEY(b"\x03", NAME): encode((618_000,))}
    values |= {domains.STATE_KEY(b"\x01", bytes((one,)) * 20): b"value" for one in range(9)}
    target = domains.STATE_KEY(b"\x03", NAME)

    def root(keys: Sequence[bytes], depth: int) -> bytes:
        if len(keys) < 2:
            return domains.STATE_LEAF(keys[0], values[keys[0]]) if keys else bytes(32)
        halves = [[key for key in keys if key[depth // 8] >> (7 - depth % 8) & 1 == bit] for bit in (0, 1)]
        return domains.STATE_NODE(root(halves[0], depth + 1), root(halves[1], depth + 1))

    siblings, keys, depth = [], sorted(values), 0
    while len(keys) > 1:
        bit = target[depth // 8] >> (7 - depth % 8) & 1
        halves = [[key for key in keys if key[depth // 8] >> (7 - depth % 8) & 1 == one] for one in (0, 1)]
        siblings.append(root(halves[1 - bit], depth + 1))
        keys, depth = halves[bit], depth + 1
    return Shown(values[target], 0, 0, tuple(reversed(siblings))), root(sorted(values), 0)


def proven(era: Era) -> ResultProof:
    """A proof that the members of ``era`` certified: two counting heights, and two headers up to the certificate."""
    committee = era.committee
    shown, root = state()
    links = (ResultLink(700, root, bytes(32)), ResultLink(703, b"\x05" * 32, b"\x06" * 32))
    result = b"\x04" * 32
    for link in links:
        result = domains.RESULT(result, link.height.to_bytes(8, "big"), link.state_root, link.fills_root)
    certified = (ResultRef(703, result),)
    root_of = domains.CERTIFIED(encode(certified))
    epoch, zero = committee.epoch, bytes(32)
    header = BlockHeader(1, epoch, 705, 900, zero, 1_234, zero, zero, root_of, CHECKPOINT)
    child = BlockHeader(1, epoch, 706, 901, header.block_id(), 1_300, zero, zero, zero, CHECKPOINT)
    digest = committee.digest(domains.FINALIZE_TYPE(epoch, 901, child.block_id()))
    votes = tuple(CertificateVote(index, era.signer(index).sign_digest(digest)) for index in range(committee.q))
    certificate = Certificate(FINALIZE, epoch, 901, child.block_id(), votes)
    heads = []
    for index in range(committee.q):
        head = Head(epoch, 0, index, 900, 1_200, 0, zero, (*certified,), CHECKPOINT, 0, NO_SIGNATURE)
        heads.append(with_signature(head, era.signer(index).sign_digest(committee.digest(head.struct_hash()))))
    certification = Certification(certified, header, (child,), certificate, tuple(heads))
    return ResultProof(committee.genesis_id, MARKET, NAME, (shown,), b"\x04" * 32, links, certification)


@pytest.fixture(scope="module")
def eras() -> tuple[Era, Era, Era, tuple[EpochStart, ...]]:
    first = first_era([person(one) for one in range(4)], 3)
    second, begun = next_era(first, [person(one) for one in range(1, 6)], 3)
    third, again = next_era(second, [person(one) for one in range(2, 6)], 3)
    return first, second, third, (begun, again)


def file_of(proof: ResultProof, starts: tuple[EpochStart, ...]) -> bytes:
    return MAGIC + encode(ProofFile(proof, starts))


def refusal(data: bytes, era: Era) -> str:
    with pytest.raises(ProtocolError) as caught:
        verify_file(data, era.committee)
    return caught.value.code


def test_a_proof_of_any_epoch_is_judged_by_the_first_committee_s_file(
    eras: tuple[Era, Era, Era, tuple[EpochStart, ...]],
) -> None:
    first, second, third, starts = eras
    for era in (first, second, third):
        shown = verify_file(file_of(proven(era), starts), first.committee)
        assert shown.values == (MarketValue(618_000, 0),)
        assert (shown.epoch, shown.height, shown.certified_ms) == (era.committee.epoch, 700, 1_234)
    assert verify_file(file_of(proven(second), starts[:1]), first.committee).epoch == 1


def test_an_epoch_that_is_not_proven_judges_nothing(eras: tuple[Era, Era, Era, tuple[EpochStart, ...]]) -> None:
    first, second, third, starts = eras
    assert refusal(file_of(proven(second), ()), first) == "epoch.unknown"
    assert refusal(file_of(proven(third), starts[:1]), first) == "epoch.unknown"
    assert refusal(file_of(proven(third), starts[1:]), first) == "proof.starts"
    forged = resigned(first, starts[0], range(first.committee.q - 1))
    assert refusal(file_of(proven(second), (forged,)), first) == "proof.starts"


def test_members_that_left_certify_nothing_in_the_epoch_after(
    eras: tuple[Era, Era, Era, tuple[EpochStart, ...]],
) -> None:
    first, second, _, starts = eras
    late = proven(second)
    digest = second.committee.digest(late.certification.certificate.struct_hash())
    votes = tuple(CertificateVote(one, first.signer(one).sign_digest(digest)) for one in range(second.committee.q - 1))
    bent = replace(late.certification.certificate, votes=(*votes, late.certification.certificate.votes[-1]))
    forged = replace(late, certification=replace(late.certification, certificate=bent))
    assert refusal(file_of(forged, starts), first) == "signature.signer"


def test_heights_between_are_covered_by_the_result_that_is_certified(
    eras: tuple[Era, Era, Era, tuple[EpochStart, ...]],
) -> None:
    first = eras[0]
    proof = proven(first)
    assert refusal(file_of(replace(proof, links=proof.links[:1]), ()), first) == "proof.height"
    dropped = replace(proof, links=(replace(proof.links[0], height=703),))
    assert refusal(file_of(dropped, ()), first) == "proof.result"
    bent = (proof.links[0], replace(proof.links[1], state_root=bytes(32)))
    assert refusal(file_of(replace(proof, links=bent), ()), first) == "proof.result"
    child = proof.certification.path[0]
    for change, code in (
        ({"parent_id": bytes(32)}, "proof.chain"),
        ({"height": 707}, "proof.chain"),
        ({"epoch": 1}, "proof.chain"),
        ({"time_ms": 1}, "proof.finality"),
    ):
        certification = replace(proof.certification, path=(replace(child, **change),))
        assert refusal(file_of(replace(proof, certification=certification), ()), first) == code
