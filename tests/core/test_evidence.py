"""Evidence: each offence convicts its member and nobody else; what is legal or another's convicts nobody.

Long, as it is two tables: each offence beside the near misses of it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest
from core_kit import (
    make_certificate,
    make_claim,
    make_commit,
    make_commit_share,
    make_list,
    make_share,
    make_vote,
    refused,
    sign,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.signing import SigningKey
from offences_kit import Revealed, assert_a_changed_byte_convicts_nobody_else, reveal

from mpc_sequencer.core.codec import encode
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.errors import ConfigError
from mpc_sequencer.core.evidence import MAGIC, decode_file, encode_file, file_name, verify, verify_file
from mpc_sequencer.core.lognote import log_origin
from mpc_sequencer.core.messages import CommitShare, DarkShares
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
    SaidShares,
    SealedBytes,
    accused,
)
from mpc_sequencer.core.types import (
    FINALIZE,
    NO_SIGNATURE,
    NOTARIZE,
    NULLIFY,
    ZERO_HASH,
    Bundle,
    OrderList,
    Receipt,
)
from mpc_sequencer.node.evidence_files import read_evidence, write_evidence
from mpc_sequencer.node.translog import TreeHead, sign_checkpoint
from mpc_sequencer.sim import Cluster, make_deployment
from threshold import deal

GUILTY, OTHER = 1, 2
LOG_KEYS = [SigningKey(bytes((i,)) * 32) for i in range(1, 5)]
X, Y = b"\x0a" * 32, b"\x0b" * 32
IDS = [bytes((i,)) * 32 for i in range(1, 9)]
WRONG_POINT = deal(4, 3, secret=None, entropy=bytes(32)).public_key


def with_log_keys() -> Any:
    """A deployment whose log keys the tests hold."""
    d = make_deployment(4)
    members = tuple(
        msgspec.structs.replace(one, log_key=bytes(key.verify_key))
        for one, key in zip(d.committee.genesis.members, LOG_KEYS, strict=True)
    )
    committee = Committee(msgspec.structs.replace(d.committee.genesis, members=members))
    return type(d)(committee, d.signers, d.shares, d.inputs, d.traders, d.seed)


D = with_log_keys()
replace = msgspec.structs.replace


@cache
def revealed() -> Revealed:
    """An honest bundle of member GUILTY with its block and the batch's orders, three of them."""
    cluster = Cluster(D)
    cluster.run(50)
    return reveal(cluster, GUILTY, 3)


# --- offences -----------------------------------------------------------------------------------------------------
def a_list(node: int = GUILTY, number: int = 3, entries: tuple[bytes, ...] = (IDS[0],), **terms: Any) -> OrderList:
    return sign(D, node, replace(make_list(D, node, number, X, entries), **terms))


def a_receipt(order_id: bytes = IDS[5], node: int = GUILTY, number: int = 3, **terms: Any) -> Receipt:
    return sign(D, node, replace(Receipt(0, 0, order_id, node, number, 7, NO_SIGNATURE), **terms))


def bad_shares(bundle: Bundle | None = None, **terms: Any) -> BadShares:
    honest, block, orders = revealed()
    if bundle is None:
        bundle = sign(D, GUILTY, replace(honest, shares=(WRONG_POINT, *honest.shares[1:])))
    return replace(BadShares(bundle, block.header, block.batch, orders), **terms)


def signed_bundle(**terms: Any) -> Bundle:
    return sign(D, GUILTY, replace(revealed()[0], **terms))


def a_note(size: int = 5, root: bytes = X, node: int = GUILTY, key: int = GUILTY) -> bytes:
    origin = log_origin(D.committee.genesis_id, D.committee.genesis.members[node].log_key)
    return sign_checkpoint(TreeHead(size, root), origin, LOG_KEYS[key])


def a_share(first: int = 1, last: int = 64, node: int = GUILTY, **terms: Any) -> Any:
    return make_share(D, node, make_claim(first, last, **terms))


def a_commit(height: int = 64, node: int = GUILTY, **terms: Any) -> CommitShare:
    return make_commit_share(D, node, make_commit(height, **terms))


def said_shares(message: bytes = b"shares", *, number: int = 3, node: int = GUILTY, signer: int = GUILTY) -> SaidShares:
    """A member's signature over a message of a round of the computation ``X``."""
    shares = DarkShares(X, node, number, message, NO_SIGNATURE)
    return SaidShares(shares.message_hash(), D.signers[signer].sign_digest(D.committee.digest(shares.struct_hash())))


CONVICTING: dict[str, Callable[[], Offence]] = {
    "two lists of one number": lambda: ListEquivocation(a_list(), a_list(entries=(IDS[1],))),
    "two lists that differ only in their predecessor": lambda: ListEquivocation(a_list(), a_list(prev_hash=Y)),
    "two lists of a later incarnation": lambda: ListEquivocation(
        a_list(incarnation=2), a_list(incarnation=2, entries=(IDS[1],))
    ),
    "two notarize votes": lambda: NotarizeEquivocation(
        make_vote(D, GUILTY, NOTARIZE, 9, X), make_vote(D, GUILTY, NOTARIZE, 9, Y)
    ),
    "two finalize votes": lambda: FinalizeEquivocation(
        make_vote(D, GUILTY, FINALIZE, 9, X), make_vote(D, GUILTY, FINALIZE, 9, Y)
    ),
    "nullify and finalize": lambda: NullifyAndFinalize(
        make_vote(D, GUILTY, NULLIFY, 9), make_vote(D, GUILTY, FINALIZE, 9, Y)
    ),
    "a receipt and its list without the order": lambda: BrokenReceipt(a_receipt(), a_list()),
    "a bundle under a certificate of another block": lambda: FalseFinality(
        signed_bundle(certificate=make_certificate(D, FINALIZE, 9, X))
    ),
    "a bundle under a notarization": lambda: FalseFinality(
        signed_bundle(path=(), certificate=make_certificate(D, NOTARIZE, 9, revealed()[0].block_id))
    ),
    "a bundle under a forged vote": lambda: FalseFinality(
        signed_bundle(
            path=(),
            certificate=replace(
                c := make_certificate(D, FINALIZE, 9, revealed()[0].block_id),
                votes=(replace(c.votes[0], signature=c.votes[1].signature), *c.votes[1:]),
            ),
        )
    ),
    "a bundle under too few votes": lambda: FalseFinality(
        signed_bundle(path=(), certificate=make_certificate(D, FINALIZE, 9, revealed()[0].block_id, nodes=(0, 1)))
    ),
    "a wrong share": bad_shares,
    "a share that is no point": lambda: bad_shares(signed_bundle(shares=(b"\x05" * 33, *revealed()[0].shares[1:]))),
    "two good shares swapped": lambda: bad_shares(signed_bundle(shares=revealed()[0].shares[::-1])),
    "a proof that is none": lambda: bad_shares(signed_bundle(proof=bytes(98))),
    "a proof cut short": lambda: bad_shares(signed_bundle(proof=revealed()[0].proof[:-1])),
    "a share too few": lambda: bad_shares(signed_bundle(shares=revealed()[0].shares[1:])),
    "shares under another height": lambda: bad_shares(signed_bundle(height=99)),
    "two order commits of one height": lambda: CommitEquivocation(a_commit(), a_commit(ciphertext_root=Y)),
    "two order commits of one height with other forced heads": lambda: CommitEquivocation(
        a_commit(), a_commit(forced_head=1)
    ),
    "two results of one first height": lambda: ResultEquivocation(a_share(), a_share(state_root=Y)),
    "two results of one first height and other ends": lambda: ResultEquivocation(a_share(), a_share(last=65)),
    "two roots of one log": lambda: LogFork(GUILTY, a_note(), a_note(root=Y)),
    "a wrong coin share": lambda: BadCoinShare(signed_bundle(coin_share=WRONG_POINT + revealed()[0].coin_share[33:])),
    "two messages of one round of a dark batch's computation": lambda: DarkEquivocation(
        X, GUILTY, 3, said_shares(), said_shares(b"others")
    ),
    "a coin share that is none": lambda: BadCoinShare(signed_bundle(coin_share=bytes(97))),
}


@pytest.mark.parametrize("name", CONVICTING)
def test_an_offence_convicts_its_member(name: str) -> None:
    offence = CONVICTING[name]()
    verdict = verify(offence, D.committee)
    assert (verdict.node, verdict.kind) == (GUILTY, KIND_NAMES[type(offence)])
    assert accused(offence) == GUILTY and verdict.detail


def test_every_kind_is_convicted_of_here() -> None:
    """But for those of key sessions, which test_key_evidence.py has."""
    elsewhere = {BadDeal, FalseComplaint, CopiedDeal}
    assert {type(make()) for make in CONVICTING.values()} == set(KIND_NAMES) - elsewhere
    assert len(set(KIND_NAMES.values())) == len(KIND_NAMES)


# --- near misses --------------------------------------------------------------------------------------------------
NEAR_MISSES: dict[str, tuple[Callable[[], Offence], str]] = {
    # lists
    "one list twice": (lambda: ListEquivocation(a_list(), a_list()), "evidence.same"),
    "lists of two numbers": (
        lambda: ListEquivocation(a_list(), a_list(number=4, entries=(IDS[1],))),
        "evidence.unrelated",
    ),
    "lists of two incarnations": (
        lambda: ListEquivocation(a_list(), a_list(incarnation=1, entries=(IDS[1],))),
        "evidence.unrelated",
    ),
    "lists of two epochs": (
        lambda: ListEquivocation(a_list(), a_list(epoch=1, entries=(IDS[1],))),
        "evidence.unrelated",
    ),
    "lists of another epoch than the committee's": (
        lambda: ListEquivocation(a_list(epoch=1), a_list(epoch=1, entries=(IDS[1],))),
        "evidence.epoch",
    ),
    "lists of two members": (
        lambda: ListEquivocation(a_list(), a_list(OTHER, entries=(IDS[1],))),
        "evidence.unrelated",
    ),
    "a second list signed by another": (
        lambda: ListEquivocation(a_list(), replace(sign(D, OTHER, a_list(entries=(IDS[1],))), node=GUILTY)),
        "evidence.signature",
    ),
    "a second list made from the first": (
        lambda: ListEquivocation(a_list(), replace(a_list(), entries=(IDS[1],))),
        "evidence.signature",
    ),
    "a list of nobody": (
        lambda: ListEquivocation(replace(a_list(), node=9), replace(a_list(entries=(IDS[1],)), node=9)),
        "evidence.member",
    ),
    # votes
    "one vote twice": (
        lambda: NotarizeEquivocation(*[make_vote(D, GUILTY, NOTARIZE, 9, X)] * 2),
        "evidence.same",
    ),
    "votes of two views": (
        lambda: NotarizeEquivocation(make_vote(D, GUILTY, NOTARIZE, 9, X), make_vote(D, GUILTY, NOTARIZE, 8, Y)),
        "evidence.unrelated",
    ),
    "votes of two members": (
        lambda: NotarizeEquivocation(make_vote(D, GUILTY, NOTARIZE, 9, X), make_vote(D, OTHER, NOTARIZE, 9, Y)),
        "evidence.unrelated",
    ),
    "notarize and finalize of one block": (
        lambda: NotarizeEquivocation(make_vote(D, GUILTY, NOTARIZE, 9, X), make_vote(D, GUILTY, FINALIZE, 9, Y)),
        "evidence.legal",
    ),
    "notarize, then nullify": (
        lambda: NullifyAndFinalize(make_vote(D, GUILTY, NULLIFY, 9), make_vote(D, GUILTY, NOTARIZE, 9, X)),
        "evidence.legal",
    ),
    "notarize in place of nullify": (
        lambda: NullifyAndFinalize(make_vote(D, GUILTY, NOTARIZE, 9, Y), make_vote(D, GUILTY, FINALIZE, 9, Y)),
        "evidence.legal",
    ),
    "nullify and finalize of two views": (
        lambda: NullifyAndFinalize(make_vote(D, GUILTY, NULLIFY, 8), make_vote(D, GUILTY, FINALIZE, 9, Y)),
        "evidence.unrelated",
    ),
    "notarize votes called finalize votes": (
        lambda: FinalizeEquivocation(
            replace(make_vote(D, GUILTY, NOTARIZE, 9, X), kind=FINALIZE),
            replace(make_vote(D, GUILTY, NOTARIZE, 9, Y), kind=FINALIZE),
        ),
        "evidence.signature",
    ),
    "a nullify vote that names a block": (
        lambda: NullifyAndFinalize(
            replace(make_vote(D, GUILTY, NULLIFY, 9), block_id=X), make_vote(D, GUILTY, FINALIZE, 9, Y)
        ),
        "evidence.unrelated",
    ),
    # receipts
    "a receipt that is kept": (lambda: BrokenReceipt(a_receipt(IDS[0]), a_list()), "evidence.legal"),
    "a receipt for another list": (lambda: BrokenReceipt(a_receipt(number=4), a_list()), "evidence.unrelated"),
    "a receipt of an earlier incarnation": (
        lambda: BrokenReceipt(a_receipt(), a_list(incarnation=1)),
        "evidence.unrelated",
    ),
    "a receipt of another member": (lambda: BrokenReceipt(a_receipt(node=OTHER), a_list()), "evidence.unrelated"),
    "a receipt somebody made up": (
        lambda: BrokenReceipt(replace(sign(D, OTHER, a_receipt()), node=GUILTY), a_list()),
        "evidence.signature",
    ),
    "a receipt with another order put in": (
        lambda: BrokenReceipt(replace(a_receipt(), order_id=IDS[6]), a_list()),
        "evidence.signature",
    ),
    # finality
    "an honest bundle": (lambda: FalseFinality(revealed()[0]), "evidence.legal"),
    "an honest bundle with a false certificate put in": (
        lambda: FalseFinality(replace(revealed()[0], certificate=make_certificate(D, FINALIZE, 9, X))),
        "evidence.signature",
    ),
    "an honest bundle with another path put in": (
        lambda: FalseFinality(replace(revealed()[0], path=(revealed()[1].header,))),
        "evidence.signature",
    ),
    "an honest bundle with a vote taken out": (
        lambda: FalseFinality(
            replace(b := revealed()[0], certificate=replace(b.certificate, votes=b.certificate.votes[1:]))
        ),
        "evidence.signature",
    ),
    # shares
    "an honest bundle's shares": (lambda: bad_shares(revealed()[0]), "evidence.legal"),
    "an honest bundle with a share put in": (
        lambda: bad_shares(replace(revealed()[0], shares=(WRONG_POINT, *revealed()[0].shares[1:]))),
        "evidence.signature",
    ),
    "an honest bundle with another proof put in": (
        lambda: bad_shares(replace(revealed()[0], proof=bytes(98))),
        "evidence.signature",
    ),
    "an honest bundle beside another block": (
        lambda: bad_shares(revealed()[0], header=replace(revealed()[1].header, time_ms=1)),
        "evidence.pinned",
    ),
    "an honest bundle beside a batch in another order": (
        lambda: bad_shares(revealed()[0], batch=revealed()[1].batch[::-1], orders=revealed()[2][::-1]),
        "evidence.pinned",
    ),
    "an honest bundle beside a shorter batch": (
        lambda: bad_shares(revealed()[0], batch=revealed()[1].batch[:2], orders=revealed()[2][:2]),
        "evidence.pinned",
    ),
    "an honest bundle beside other orders": (
        lambda: bad_shares(
            revealed()[0],
            orders=(replace(revealed()[2][0], ciphertext=revealed()[2][1].ciphertext), *revealed()[2][1:]),
        ),
        "evidence.pinned",
    ),
    "an honest bundle beside too few orders": (
        lambda: bad_shares(revealed()[0], orders=revealed()[2][:2]),
        "evidence.pinned",
    ),
    # coin
    "an honest coin share": (lambda: BadCoinShare(revealed()[0]), "evidence.legal"),
    "an honest bundle with a coin share put in": (
        lambda: BadCoinShare(replace(revealed()[0], coin_share=bytes(97))),
        "evidence.signature",
    ),
    "an honest bundle called another member's": (
        lambda: BadCoinShare(replace(revealed()[0], node=OTHER)),
        "evidence.signature",
    ),
    # settlement
    "one result twice": (lambda: ResultEquivocation(a_share(), a_share()), "evidence.same"),
    "results of two ranges": (lambda: ResultEquivocation(a_share(), a_share(65, 128)), "evidence.unrelated"),
    "results of two epochs": (lambda: ResultEquivocation(a_share(), a_share(epoch=1)), "evidence.unrelated"),
    "results of another epoch than the committee's": (
        lambda: ResultEquivocation(a_share(epoch=1), a_share(epoch=1, state_root=Y)),
        "evidence.epoch",
    ),
    "results of two members": (
        lambda: ResultEquivocation(a_share(), a_share(node=OTHER, state_root=Y)),
        "evidence.unrelated",
    ),
    "a result with a root put in": (
        lambda: ResultEquivocation(a_share(), replace(a_share(), claim=make_claim(1, 64, state_root=Y))),
        "evidence.signature",
    ),
    "one order commit twice": (lambda: CommitEquivocation(a_commit(), a_commit()), "evidence.same"),
    "order commits of two heights": (lambda: CommitEquivocation(a_commit(), a_commit(128)), "evidence.unrelated"),
    "order commits of two epochs": (lambda: CommitEquivocation(a_commit(), a_commit(epoch=1)), "evidence.unrelated"),
    "order commits of another epoch than the committee's": (
        lambda: CommitEquivocation(a_commit(epoch=1), a_commit(epoch=1, l1_head=2)),
        "evidence.epoch",
    ),
    "order commits of two members": (
        lambda: CommitEquivocation(a_commit(), a_commit(node=OTHER, l1_head=2)),
        "evidence.unrelated",
    ),
    "an order commit with a root put in": (
        lambda: CommitEquivocation(a_commit(), replace(a_commit(), commit=make_commit(64, ciphertext_root=Y))),
        "evidence.signature",
    ),
    # dark batches
    "one message of a round twice": (
        lambda: DarkEquivocation(X, GUILTY, 3, said_shares(), said_shares()),
        "evidence.same",
    ),
    "messages of two rounds": (
        lambda: DarkEquivocation(X, GUILTY, 3, said_shares(), said_shares(b"others", number=4)),
        "evidence.signature",
    ),
    "messages of two computations": (
        lambda: DarkEquivocation(Y, GUILTY, 3, said_shares(), said_shares(b"others")),
        "evidence.signature",
    ),
    "a message that another member signed": (
        lambda: DarkEquivocation(X, GUILTY, 3, said_shares(), said_shares(b"others", signer=OTHER)),
        "evidence.signature",
    ),
    # log
    "one checkpoint twice": (lambda: LogFork(GUILTY, a_note(), a_note()), "evidence.same"),
    "a log that grew": (lambda: LogFork(GUILTY, a_note(), a_note(6, Y)), "evidence.unrelated"),
    "a checkpoint of another member's log": (
        lambda: LogFork(GUILTY, a_note(), a_note(root=Y, node=OTHER, key=OTHER)),
        "evidence.signature",
    ),
    "a checkpoint signed by another": (
        lambda: LogFork(GUILTY, a_note(), a_note(root=Y, key=OTHER)),
        "evidence.signature",
    ),
    "a checkpoint with another root put in": (
        lambda: LogFork(GUILTY, a_note(), a_note().replace(a_note().split(b"\n")[2], a_note(root=Y).split(b"\n")[2])),
        "evidence.signature",
    ),
    "a checkpoint that is none": (lambda: LogFork(GUILTY, a_note(), b"\xff\n\n"), "evidence.signature"),
    "a log of nobody": (lambda: LogFork(9, a_note(), a_note(root=Y)), "evidence.member"),
}


@pytest.mark.parametrize("name", NEAR_MISSES)
def test_a_near_miss_convicts_nobody(name: str) -> None:
    make, code = NEAR_MISSES[name]
    offence = make()
    with refused(code):
        verify(offence, D.committee)


def test_the_same_words_of_another_deployment_convict_nobody() -> None:
    other = make_deployment(4, seed=3)
    for name in ("two lists of one number", "two notarize votes", "two results of one first height"):
        with refused("evidence.signature"):
            verify(CONVICTING[name](), other.committee)


def test_a_verification_key_that_is_no_point_convicts_nobody() -> None:
    """No committee file may have one; whoever comes by one otherwise judges nobody by it."""
    broken = D.committee.own()
    sharing = broken.sharing(0)
    keys = list(sharing.verification_keys)
    keys[GUILTY] = b"\x02" + b"\xff" * 32
    broken.sharings[0] = dataclasses.replace(sharing, verification_keys=tuple(keys))
    for name in ("a wrong share", "a wrong coin share"):
        with refused("evidence.pinned"):
            verify(CONVICTING[name](), broken)


@settings(max_examples=150, deadline=None)
@given(name=st.sampled_from(sorted(CONVICTING)), at=st.integers(0, 1 << 20), flip=st.integers(1, 255))
def test_no_change_of_a_byte_convicts_another_member(name: str, at: int, flip: int) -> None:
    offence = CONVICTING[name]()
    assert accused(offence) == GUILTY
    assert_a_changed_byte_convicts_nobody_else(offence, D.committee, at, flip)


# --- files --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", CONVICTING)
def test_a_file_gives_back_what_was_written_and_convicts_alone(name: str, tmp_path: Path) -> None:
    offence = CONVICTING[name]()
    path = write_evidence(tmp_path / "evidence", offence, D.committee)
    assert path.name == file_name(offence)
    assert path.name.startswith(f"{KIND_NAMES[type(offence)]}-{GUILTY}-") and path.suffix == ".evidence"
    assert path.read_bytes().startswith(MAGIC)
    file = read_evidence(path)
    assert file.offence == offence
    assert verify_file(file, Committee(D.committee.genesis)).node == GUILTY
    before = path.stat().st_mtime_ns
    assert write_evidence(tmp_path / "evidence", offence, D.committee) == path
    assert path.stat().st_mtime_ns == before, "what is there says the same and stays"
    assert [one.name for one in path.parent.iterdir()] == [path.name], "no temporary file is left"


def test_a_file_is_read_strictly(tmp_path: Path) -> None:
    data = encode_file(CONVICTING["two lists of one number"](), D.committee)
    for bad, code in [
        (b"", "evidence.file"),
        (data.replace(b"v1\n", b"v2\n", 1), "evidence.file"),
        (data[len(MAGIC) :], "evidence.file"),
        (data[:-1], "wire.malformed"),
        (data + b"\x00", "wire.malformed"),
        (MAGIC + encode((bytes(32), (99,))), "wire.type"),
    ]:
        (tmp_path / "bad").write_bytes(bad)
        with refused(code):
            read_evidence(tmp_path / "bad")
    (tmp_path / "large").write_bytes(MAGIC + bytes(1 << 25))
    with pytest.raises(ConfigError, match="larger"):
        read_evidence(tmp_path / "large")
    with pytest.raises(ConfigError, match="cannot read"):
        read_evidence(tmp_path / "none")


def test_a_file_of_another_committee_is_told_apart() -> None:
    offence = CONVICTING["two lists of one number"]()
    file = decode_file(encode_file(offence, D.committee))
    with refused("evidence.genesis"):
        verify_file(file, make_deployment(4, seed=3).committee)
    with refused("evidence.genesis"):
        verify_file(replace(file, genesis=ZERO_HASH), D.committee)


def test_the_largest_evidence_fits_a_file() -> None:
    """Bad shares of a full batch, every ciphertext as large as an envelope may be."""
    from mpc_sequencer.core import limits
    from mpc_sequencer.core.evidence import EVIDENCE_BYTES_MAX

    bundle, block, _ = revealed()
    full = limits.BATCH_ORDERS_MAX
    order = SealedBytes(bytes(101), bytes(limits.ENVELOPE_BYTES_MAX))
    votes = make_certificate(D, FINALIZE, 1, X, nodes=(0,)).votes * limits.COMMITTEE_MEMBERS_MAX
    largest = BadShares(
        replace(
            bundle,
            shares=bundle.shares[:1] * full,
            path=(block.header,) * limits.HEADER_PATH_MAX,
            certificate=replace(bundle.certificate, votes=votes),
        ),
        block.header,
        block.batch[:1] * full,
        (order,) * full,
    )
    assert len(encode_file(largest, D.committee)) < EVIDENCE_BYTES_MAX
