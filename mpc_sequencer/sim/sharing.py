"""Pure verdicts computed once for all cores of a process, so that thousands of runs fit into an hour.

Every member of a committee verifies the same signatures, checks the same ciphertexts and hashes the same values. In
one process that is n times the same pure function of the same bytes. While :func:`shared_verdicts` is entered, the
functions below answer from a table by the whole of their arguments: only what succeeded is kept, and a refusal is
computed anew each time. Who signs is known without recovery: the key that signs a digest is the one that recovery gives
back. What an honest core decides *with* a verdict is never shared: ordering, votes, proofs of
shares against suspects, execution and the audit run for each member.

Tables belong to one run and vanish with it. Only the simulator enters this; nothing outside :mod:`mpc_sequencer.sim`
may. That a run is the same with and without it is tested, and :mod:`mpc_sequencer.sim.run` runs one seed in
UNSHARED_EVERY without.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from mpc_sequencer.core import envelopes, reveal, signing
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.types import Bundle, Certificate, Head, KeyMessage, OrderList, Vote
from threshold import CheckedCiphertext, Opening, SealingKey, VerifiedCoinShare, group
from threshold.dkg import deals, result
from threshold.dkg.wire import Deal, Feldman
from threshold.proofs import BundleContext


def _remembered(function: Callable[..., Any]) -> Callable[..., Any]:
    """A method of hashable values without other arguments, each answer computed once."""
    answers: dict[Any, Any] = {}

    def remembered(value: Any) -> Any:
        answer = answers.get(value)
        if answer is None:
            answer = answers[value] = function(value)
        return answer

    return remembered


class _Signatures:
    """Who signed a digest, by digest and signature; the field only words a refusal. What a key of this process signs
    is its owner's without recovery, which gives back the key that signed; a signature that anybody else made is
    recovered, and one of no valid form is refused every time."""

    def __init__(self) -> None:
        self._answers: dict[tuple[bytes, bytes], bytes] = {}

    def recovering(self, honest: Callable[[bytes, bytes, str], bytes]) -> Callable[[bytes, bytes, str], bytes]:
        answers = self._answers

        def recover_address(digest: bytes, signature: bytes, field: str) -> bytes:
            asked = (digest, signature)
            found = answers.get(asked)
            if found is None:
                found = answers[asked] = honest(digest, signature, field)
            return found

        return recover_address

    def noting(self, honest: Callable[[signing.Signer, bytes], bytes]) -> Callable[[signing.Signer, bytes], bytes]:
        answers = self._answers

        def sign_digest(signer: signing.Signer, digest: bytes) -> bytes:
            signature = honest(signer, digest)
            signing.check_encoding(signature, "signature")
            answers[digest, signature] = signer.address
            return signature

        return sign_digest


def _check_value(honest: Callable[[Committee, Any], bytes]) -> Callable[[Committee, Any], bytes]:
    """The deployment and the epoch name the members, their keys and what all signatures are bound to. Who joins in the
    next epoch is named by the log, which one member may know further than another."""
    answers: dict[Any, bytes] = {}

    def check_value(committee: Committee, value: Any) -> bytes:
        if isinstance(value, KeyMessage) and value.node >= committee.n:
            return honest(committee, value)
        asked = (committee.genesis_id, committee.epoch, value)
        found = answers.get(asked)
        if found is None:
            found = answers[asked] = honest(committee, value)
        return found

    return check_value


def _check(honest: Callable[..., CheckedCiphertext]) -> Callable[..., CheckedCiphertext]:
    answers: dict[Any, CheckedCiphertext] = {}

    def check(key: SealingKey, label: bytes, ciphertext: bytes, *, buckets: tuple[int, ...]) -> CheckedCiphertext:
        asked = (key.key_id, label, ciphertext, buckets)
        if asked not in answers:
            answers[asked] = honest(key, label, ciphertext, buckets=buckets)
        return answers[asked]

    return check


def _combine(honest: Callable[[Mapping[int, bytes], int], bytes]) -> Callable[[Mapping[int, bytes], int], bytes]:
    answers: dict[Any, bytes] = {}

    def combine(shares: Mapping[int, bytes], t: int) -> bytes:
        asked = (tuple(sorted(shares.items())), t)
        if asked not in answers:
            answers[asked] = honest(shares, t)
        return answers[asked]

    return combine


def _open(honest: Callable[..., Opening]) -> Callable[..., Opening]:
    answers: dict[Any, Opening] = {}

    def open_ciphertext(key: SealingKey, checked: CheckedCiphertext, point: bytes) -> Opening:
        asked = (key.key_id, checked.label_encoded, checked.encoded, point)
        if asked not in answers:
            answers[asked] = honest(key, checked, point)
        return answers[asked]

    return open_ciphertext


def _coin(honest: Callable[..., VerifiedCoinShare]) -> Callable[..., VerifiedCoinShare]:
    answers: dict[Any, VerifiedCoinShare] = {}

    def verify_coin_share(key: bytes, context: BundleContext, data: bytes) -> VerifiedCoinShare:
        asked = (key, context, data)
        if asked not in answers:
            answers[asked] = honest(key, context, data)
        return answers[asked]

    return verify_coin_share


def _schnorr(honest: Callable[[Any, bytes, bytes], bool]) -> Callable[[Any, bytes, bytes], bool]:
    """By the point's encoding: points compare by identity."""
    good: set[tuple[bytes, bytes, bytes]] = set()

    def schnorr_verify(point: Any, statement: bytes, proof: bytes) -> bool:
        asked = (group.encode_point(point), statement, proof)
        if asked not in good and honest(point, statement, proof):
            good.add(asked)
        return asked in good

    return schnorr_verify


def _feldman(honest: Callable[[bytes, int, Deal, Feldman], bool]) -> Callable[[bytes, int, Deal, Feldman], bool]:
    good: set[Any] = set()

    def verify_feldman(session: bytes, dealer: int, deal: Deal, feldman: Feldman) -> bool:
        asked = (session, dealer, deal.commitments, feldman.encode())
        if asked not in good and honest(session, dealer, deal, feldman):
            good.add(asked)
        return asked in good

    return verify_feldman


def _evaluate(honest: Callable[[Sequence[Any], int], Any]) -> Callable[[Sequence[Any], int], Any]:
    answers: dict[Any, Any] = {}

    def evaluate_in_exponent(commitments: Sequence[Any], at: int) -> Any:
        asked = (tuple(b"" if one is None else group.encode_point(one) for one in commitments), at)
        if asked not in answers:
            answers[asked] = honest(commitments, at)
        return answers[asked]

    return evaluate_in_exponent


SHARED: tuple[tuple[Any, str, Callable[[Any], Any]], ...] = (
    (Committee, "check_value", _check_value),
    (envelopes, "check", _check),
    (reveal, "combine", _combine),
    (reveal, "open_ciphertext", _open),
    (reveal, "verify_coin_share", _coin),
    (group, "schnorr_verify", _schnorr),
    (deals, "verify_feldman", _feldman),
    (deals, "evaluate_in_exponent", _evaluate),
    (result, "evaluate_in_exponent", _evaluate),
    *((kind, "struct_hash", _remembered) for kind in (Vote, Certificate, Head, OrderList, Bundle, KeyMessage)),
)
"""Where a core finds the function, its name there, and what makes the remembering one of it."""
SIGNATURES: tuple[tuple[Any, str], ...] = ((signing, "recover_address"), (signing.Signer, "sign_digest"))
"""Where recovering and signing are found: they share a table."""


@contextmanager
def shared_verdicts(enabled: bool = True) -> Iterator[None]:
    """Share pure verdicts among all cores of this process until left; nothing is shared where not ``enabled``."""
    replaced: list[tuple[Any, str, Any]] = []
    signatures = _Signatures()
    makers: tuple[Callable[[Any], Any], ...] = (signatures.recovering, signatures.noting)
    both = [(*where, remembering) for where, remembering in zip(SIGNATURES, makers, strict=True)]
    try:
        for place, name, remembering in (*both, *SHARED) if enabled else ():
            found = getattr(place, name)
            replaced.append((place, name, found))
            setattr(place, name, remembering(found))
        yield
    finally:
        for place, name, found in reversed(replaced):
            setattr(place, name, found)
