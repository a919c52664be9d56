"""Evidence: each offence convicts its member and nobody else; what is legal or another's convicts nobody."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import msgspec
import pytest
from convicting_kit import (
    CONVICTING,
    GUILTY,
    IDS,
    OTHER,
    WRONG_POINT,
    D,
    X,
    Y,
    a_commit,
    a_list,
    a_note,
    a_receipt,
    a_share,
    bad_shares,
    revealed,
    said_shares,
)
from core_kit import make_certificate, make_claim, make_commit, make_vote, refused, sign
from hypothesis import given, settings
from hypothesis import strategies as st
from offences_kit import assert_a_changed_byte_convicts_nobody_else

from mpc_sequencer.core.evidence import verify
from mpc_sequencer.core.offences import (
    KIND_NAMES,
    BadCoinShare,
    BadDeal,
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
from mpc_sequencer.core.types import FINALIZE, NOTARIZE, NULLIFY
from mpc_sequencer.sim import make_deployment

replace = msgspec.structs.replace


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
