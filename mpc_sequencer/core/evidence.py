"""Evidence: what a member signed, put together so that it convicts the member and nobody else.

One kind per offence (:mod:`mpc_sequencer.core.offences`), each with all that is needed but the committee file:
:func:`verify` either names the guilty member or raises :class:`ProtocolError` with an ``evidence.*`` code. Three rules
keep the honest safe, whoever composes the evidence:

* Every byte that matters is under a signature of the accused, or pinned by a hash under one. What is not (the order
  of the two halves, votes beside the point) cannot change the verdict.
* Both halves name one thing (one epoch, incarnation and number; one view; one first height), and what makes them an
  offence is decided by a function that an honest member has applied to its own words before it signed them.
* What is legal stays legal: the same words signed twice, notarize and then nullify, an order in exactly its list.

Shares are judged by the threshold key. Where the committee file does not have it, a file carries the key that the
first blocks generated with q members' word for it; :mod:`mpc_sequencer.core.shareoffences` says what more that takes.

A member's index means something in its epoch alone. Evidence of a later epoch than the first carries the chain of
proofs (:class:`~mpc_sequencer.core.types.EpochStart`) that leads there, so the first committee's file is all it takes.

A file is the line ``mpc_sequencer evidence v1`` and the canonical encoding of :class:`EvidenceFile`. The genesis id in
it tells a reader which committee file to take; it is no part of the proof, the signatures bind chain and contract.
"""

from __future__ import annotations

import hashlib
from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import Annotated, Final

from msgspec import Meta

from mpc_sequencer.core import domains
from mpc_sequencer.core.codec import decode, encode
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.errors import ConfigError, ProtocolError
from mpc_sequencer.core.keyoffences import KeyOffence, judge_deal
from mpc_sequencer.core.keys import establish, session_plan
from mpc_sequencer.core.lognote import LogNote, open_note
from mpc_sequencer.core.messages import CommitShare, SettlementShare
from mpc_sequencer.core.offences import (
    KIND_NAMES,
    BadCoinShare,
    BadDeal,
    BadShares,
    BrokenReceipt,
    CommitEquivocation,
    CopiedDeal,
    DarkEquivocation,
    FalseComplaint,
    FalseFinality,
    FinalizeEquivocation,
    ListEquivocation,
    LogFork,
    NotarizeEquivocation,
    NullifyAndFinalize,
    Offence,
    ResultEquivocation,
    accused,
)
from mpc_sequencer.core.rotation import follow_all
from mpc_sequencer.core.shareoffences import judge_coin_share, judge_shares
from mpc_sequencer.core.types import (
    FINALIZE,
    NOTARIZE,
    NULLIFY,
    VOTE_NAMES,
    ZERO_HASH,
    BlockHeader,
    Bundle,
    Certificate,
    EpochStart,
    Hash32,
    KeyCertificate,
    KeyMessage,
    OrderList,
    Receipt,
    Value,
    Vote,
)
from mpc_sequencer.settlement.claims import OrderCommit, ResultClaim
from threshold import (
    ThresholdError,
)

MAGIC: Final = b"mpc_sequencer evidence v1\n"
EVIDENCE_BYTES_MAX: Final = 1 << 24
"""The largest offence, bad shares of a full batch with all its ciphertexts, is some 4 MB at the largest ciphertexts;
an epoch's proof takes some 3 kB among 4 members, and ten times that among 40."""
EVIDENCE_STARTS_MAX: Final = 1_024


class EvidenceFile(Value, frozen=True):
    """What a file holds after its first line."""

    genesis: Hash32
    offence: Offence
    key: KeyCertificate | None
    """Where a threshold key decides that neither the committee file nor ``starts`` has, the key."""
    starts: Annotated[tuple[EpochStart, ...], Meta(max_length=EVIDENCE_STARTS_MAX)] = ()
    """What leads from the committee file's epoch to the offence's."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A conviction: the member, the kind of offence (a value of KIND_NAMES), a sentence for people."""

    node: int
    kind: str
    detail: str


def verify(offence: Offence, committee: Committee) -> Verdict:
    """Convict, or raise ProtocolError: ``evidence.member``, ``evidence.epoch``, ``evidence.signature``,
    ``evidence.unrelated``, ``evidence.same``, ``evidence.pinned``, ``evidence.legal``, or ``evidence.key`` where
    ``committee`` does not know the key that decides."""
    node = accused(offence)
    if not 0 <= node < committee.n:
        raise ProtocolError("evidence.member", "node", node, f"0 .. {committee.n - 1}")
    match offence:
        case ListEquivocation():
            detail = _lists(offence, committee)
        case NotarizeEquivocation():
            detail = _votes(offence.first, offence.second, (NOTARIZE, NOTARIZE), committee)
        case FinalizeEquivocation():
            detail = _votes(offence.first, offence.second, (FINALIZE, FINALIZE), committee)
        case NullifyAndFinalize():
            detail = _votes(offence.nullify, offence.finalize, (NULLIFY, FINALIZE), committee)
        case BrokenReceipt():
            detail = _receipt(offence, committee)
        case FalseFinality():
            detail = _false_finality(offence.bundle, committee)
        case BadShares():
            _signed(offence.bundle, committee)
            detail = judge_shares(offence, committee)
        case ResultEquivocation():
            detail = _results(offence, committee)
        case CommitEquivocation():
            detail = _commits(offence, committee)
        case DarkEquivocation():
            detail = _dark_shares(offence, committee)
        case LogFork():
            detail = _log_fork(offence, committee)
        case BadCoinShare():
            _signed(offence.bundle, committee)
            detail = judge_coin_share(offence, committee)
        case BadDeal() | FalseComplaint() | CopiedDeal():
            detail = _key_session(offence, committee)
    return Verdict(node, KIND_NAMES[type(offence)], detail)


# --- what the kinds share -----------------------------------------------------------------------------------------
def _signed(value: Receipt | OrderList | Vote | Bundle | KeyMessage, committee: Committee) -> bytes:
    """The struct hash of a value of this epoch that its member signed."""
    field = type(value).__name__
    if value.epoch != committee.epoch:
        raise ProtocolError("evidence.epoch", f"{field}.epoch", value.epoch, committee.epoch)
    struct_hash = value.struct_hash()
    _check_signature(value.node, struct_hash, value.signature, field, committee)
    return struct_hash


def _check_signature(node: int, struct_hash: bytes, signature: bytes, field: str, committee: Committee) -> None:
    try:
        committee.check_signature(node, struct_hash, signature, field)
    except ProtocolError as error:
        raise ProtocolError("evidence.signature", error.field, error.seen, error.expected) from None


def _same(field: str, first: object, second: object) -> None:
    """Both halves must be about one thing."""
    if first != second:
        raise ProtocolError("evidence.unrelated", field, second, first)


def _differ(field: str, first: bytes, second: bytes) -> None:
    """The halves must contradict each other."""
    if first == second:
        raise ProtocolError("evidence.same", field, second, "another one than the first half's")


# --- lists, receipts, votes ---------------------------------------------------------------------------------------
def _lists(offence: ListEquivocation, committee: Committee) -> str:
    first, second = offence.first, offence.second
    for name in ("node", "epoch", "incarnation", "number"):
        _same(f"OrderList.{name}", getattr(first, name), getattr(second, name))
    first_hash, second_hash = _signed(first, committee), _signed(second, committee)
    _differ("OrderList", first_hash, second_hash)
    return f"lists {first_hash.hex()[:16]} and {second_hash.hex()[:16]}, both with number {first.number}"


def _receipt(offence: BrokenReceipt, committee: Committee) -> str:
    receipt, order_list = offence.receipt, offence.order_list
    for name in ("node", "epoch", "incarnation"):
        _same(f"OrderList.{name}", getattr(receipt, name), getattr(order_list, name))
    _same("OrderList.number", receipt.list_number, order_list.number)
    _signed(receipt, committee)
    _signed(order_list, committee)
    if receipt.order_id in order_list.entries:
        raise ProtocolError("evidence.legal", "OrderList.entries", receipt.order_id, "a list without the order")
    return f"order {receipt.order_id.hex()} has a receipt for list {order_list.number} and is not in it"


def _votes(first: Vote, second: Vote, kinds: tuple[int, int], committee: Committee) -> str:
    for vote, kind in ((first, kinds[0]), (second, kinds[1])):
        if vote.kind != kind:
            raise ProtocolError("evidence.legal", "Vote.kind", VOTE_NAMES[vote.kind], VOTE_NAMES[kind])
        if (vote.block_id == ZERO_HASH) != (kind == NULLIFY):
            raise ProtocolError("evidence.unrelated", "Vote.block_id", vote.block_id, "a block unless it nullifies")
    for name in ("node", "epoch", "view"):
        _same(f"Vote.{name}", getattr(first, name), getattr(second, name))
    _differ("Vote", _signed(first, committee), _signed(second, committee))
    names = " and ".join(
        VOTE_NAMES[vote.kind] + (f" {vote.block_id.hex()[:16]}" if vote.kind != NULLIFY else "")
        for vote in (first, second)
    )
    return f"votes {names} in view {first.view}"


# --- bundles ------------------------------------------------------------------------------------------------------
def check_finality(bundle: Bundle, committee: Committee, verified: Container[tuple[int, bytes]] = frozenset()) -> None:
    """Refuse a bundle whose certificate and path do not finalize its block (``bundle.path`` or a code of
    :meth:`Committee.check_certificate`). ``verified``: pairs of the certificate's votes that verified before."""
    check_certified(bundle.block_id, bundle.certificate, bundle.path, committee, verified)


def check_certified(
    block_id: bytes,
    certificate: Certificate,
    path: Sequence[BlockHeader],
    committee: Committee,
    verified: Container[tuple[int, bytes]] = frozenset(),
) -> None:
    """Refuse a certificate that does not finalize the last header of ``path``, which leads there from ``block_id``."""
    cursor = block_id
    for header in path:
        if header.parent_id != cursor:
            raise ProtocolError("bundle.path", "path", header.parent_id, cursor.hex())
        cursor = header.block_id()
    if certificate.kind != FINALIZE or certificate.block_id != cursor:
        raise ProtocolError("bundle.path", "certificate", certificate.block_id, cursor.hex())
    committee.check_certificate(certificate, verified)


def _false_finality(bundle: Bundle, committee: Committee) -> str:
    _signed(bundle, committee)
    try:
        check_finality(bundle, committee)
    except ProtocolError as error:
        return f"shares of block {bundle.block_id.hex()[:16]} under a false finality: {error}"
    raise ProtocolError("evidence.legal", "Bundle.certificate", "a finalization of the block", "none")


# --- key sessions -------------------------------------------------------------------------------------------------
def _key_session(offence: KeyOffence, committee: Committee) -> str:
    if committee.genesis.public_key:
        expected = "a committee that generates its key"
        raise ProtocolError("evidence.unrelated", "KeyMessage.session", offence.dealt.deal.session, expected)
    second = offence.copy if isinstance(offence, CopiedDeal) else offence.answer
    for message in (offence.dealt.deal, second):
        _signed(message, committee)
    return judge_deal(offence, session_plan(committee, 0, offence.dealt.attempt))


# --- dark batches -------------------------------------------------------------------------------------------------
def _dark_shares(offence: DarkEquivocation, committee: Committee) -> str:
    party, number = offence.party, offence.round
    for said in (offence.first, offence.second):
        struct_hash = domains.DARK_SHARES_TYPE(offence.session, party, number, said.message_hash)
        _check_signature(party, struct_hash, said.signature, "DarkShares", committee)
    _differ("DarkShares.message", offence.first.message_hash, offence.second.message_hash)
    return f"two messages of round {number} of the computation {offence.session.hex()[:16]}"


# --- settlement and log -------------------------------------------------------------------------------------------
def _results(offence: ResultEquivocation, committee: Committee) -> str:
    first, second = offence.first, offence.second
    _same("SettlementShare.node", first.node, second.node)
    _check_two_words(first, first.claim, second, second.claim, "first_height", committee)
    return f"two results of the range from height {first.claim.first_height}"


def _commits(offence: CommitEquivocation, committee: Committee) -> str:
    first, second = offence.first, offence.second
    _same("CommitShare.node", first.node, second.node)
    _check_two_words(first, first.commit, second, second.commit, "height", committee)
    return f"two order commits at height {first.commit.height}"


def _check_two_words(
    first: SettlementShare | CommitShare,
    one: ResultClaim | OrderCommit,
    second: SettlementShare | CommitShare,
    other: ResultClaim | OrderCommit,
    place: str,
    committee: Committee,
) -> None:
    """Two words for the contract are of one epoch, this committee's, and of one ``place``, each is signed, and they
    differ."""
    words, shares = type(one).__name__, type(first).__name__
    for name in ("epoch", place):
        _same(f"{words}.{name}", getattr(one, name), getattr(other, name))
    if one.epoch != committee.epoch:
        raise ProtocolError("evidence.epoch", f"{words}.epoch", one.epoch, committee.epoch)
    for share, word in ((first, one), (second, other)):
        _check_signature(share.node, word.struct_hash(), share.signature, shares, committee)
    _differ(words, one.struct_hash(), other.struct_hash())


def _log_fork(offence: LogFork, committee: Committee) -> str:
    first, second = (_note(note, offence.node, committee) for note in (offence.first, offence.second))
    _same("LogFork.origin", first.origin, second.origin)
    _same("LogFork.size", first.size, second.size)
    _differ("LogFork.root", first.root, second.root)
    return f"roots {first.root.hex()[:16]} and {second.root.hex()[:16]} over {first.size} entries of one log"


def _note(note: bytes, node: int, committee: Committee) -> LogNote:
    key = committee.genesis.members[node].log_key
    try:
        return open_note(note, committee.genesis_id, key)
    except ValueError as error:
        raise ProtocolError("evidence.signature", "LogFork", str(error), f"a checkpoint of member {node}") from None


# --- files --------------------------------------------------------------------------------------------------------
def encode_file(offence: Offence, committee: Committee) -> bytes:
    """The content of an evidence file. ``committee`` is the one of the offence's epoch, and knows its key where the
    offence needs one."""
    key = _certificate(offence, committee) if _needs_key(offence, committee) else None
    return MAGIC + encode(EvidenceFile(committee.genesis_id, offence, key, committee.starts))


def _needs_key(offence: Offence, committee: Committee) -> bool:
    """Whether a sharing of the threshold key decides that neither the committee file nor a proof of its epoch has."""
    if not isinstance(offence, BadShares | BadCoinShare):
        return False
    if committee.origin is not None:
        return offence.bundle.sharing != committee.origin.sharing.name
    return not committee.genesis.public_key or offence.bundle.sharing != ZERO_HASH


def _certificate(offence: Offence, committee: Committee) -> KeyCertificate | None:
    """What proves the sharing that decides, where ``committee`` knows it."""
    assert isinstance(offence, BadShares | BadCoinShare)
    try:
        return committee.sharing_named(offence.bundle.sharing).certificate
    except ProtocolError:
        return None


def decode_file(data: bytes) -> EvidenceFile:
    """Strict inverse of :func:`encode_file`. Raises ProtocolError: ``evidence.file`` or a ``wire.*`` code."""
    if not data.startswith(MAGIC):
        raise ProtocolError("evidence.file", "first line", data[: len(MAGIC)], MAGIC.decode().strip())
    file: EvidenceFile = decode(EvidenceFile, data[len(MAGIC) :], bytes_max=EVIDENCE_BYTES_MAX)
    return file


def verify_file(file: EvidenceFile, committee: Committee) -> Verdict:
    """As :func:`verify`, by the first committee's file (or that of any epoch up to the offence's) and the evidence
    file alone. Raises as :func:`committee_of` does, and ``evidence.key`` where the threshold key it carries, or lacks,
    is not proven."""
    members = committee_of(file, committee)
    if _needs_key(file.offence, members) != (file.key is not None):
        expected = "one where it decides and nothing else has it"
        raise ProtocolError("evidence.key", "EvidenceFile.key", file.key is not None, expected)
    return verify(file.offence, members if file.key is None else _with_key(members, file.key))


def committee_of(file: EvidenceFile, committee: Committee) -> Committee:
    """The committee whose members the file is about, from ``committee`` on. Raises ProtocolError: ``evidence.genesis``
    where it is about another deployment, ``evidence.starts`` where its chain of epochs does not hold."""
    if file.genesis != committee.genesis_id:
        raise ProtocolError("evidence.genesis", "EvidenceFile.genesis", file.genesis, committee.genesis_id.hex())
    try:
        return follow_all(committee, (start for start in file.starts if start.epoch > committee.epoch))
    except (ProtocolError, ThresholdError, ConfigError) as error:
        expected = f"proofs that follow epoch {committee.epoch}"
        raise ProtocolError("evidence.starts", "EvidenceFile.starts", str(error), expected) from None


def _with_key(committee: Committee, certificate: KeyCertificate) -> Committee:
    """The committee with a generated key, whatever key the one at hand knows."""
    with_key = committee.own()
    try:
        establish(with_key, certificate)
    except (ProtocolError, ThresholdError) as error:
        raise ProtocolError("evidence.key", "EvidenceFile.key", str(error), "a key that q members vouch for") from None
    return with_key


def file_name(offence: Offence) -> str:
    """``<kind>-<member>-<first 8 hex digits of the SHA-256 of the encoding>.evidence``."""
    digest = hashlib.sha256(encode(offence)).hexdigest()
    return f"{KIND_NAMES[type(offence)]}-{accused(offence)}-{digest[:8]}.evidence"
