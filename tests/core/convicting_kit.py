"""Offences of member GUILTY, of every kind but those of key sessions, and what they are made of, really signed."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import msgspec
from core_kit import (
    make_certificate,
    make_claim,
    make_commit,
    make_commit_share,
    make_list,
    make_share,
    make_vote,
    sign,
)
from nacl.signing import SigningKey
from offences_kit import Revealed, reveal

from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.lognote import log_origin
from mpc_sequencer.core.messages import CommitShare, DarkShares
from mpc_sequencer.core.offences import (
    BadCoinShare,
    BadShares,
    BrokenReceipt,
    CommitEquivocation,
    DarkEquivocation,
    FalseFinality,
    FinalizeEquivocation,
    ListEquivocation,
    LogFork,
    NotarizeEquivocation,
    NullifyAndFinalize,
    Offence,
    ResultEquivocation,
    SaidShares,
)
from mpc_sequencer.core.types import FINALIZE, NO_SIGNATURE, NOTARIZE, NULLIFY, Bundle, OrderList, Receipt
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
