"""Judging proofs of accounts, orders, markets and fills: pure, by the committee's public keys alone.

A proof holds or is refused, with one code per cause. Nothing of it is believed for who sent it: a member, a file, a
stranger. What it shows is the state *after* a height that q members certified; it says nothing about later heights, and
nothing about what is not there.

A proof of a later epoch than the committee file's is judged by that epoch's committee, which the
:class:`~mpc_sequencer.core.types.EpochStart` values that lead to it prove: a portable file carries them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Final

from msgspec import Meta

from mpc_sequencer.core import domains
from mpc_sequencer.core.codec import decode, encode
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.errors import ConfigError, ProtocolError
from mpc_sequencer.core.evidence import EVIDENCE_STARTS_MAX, check_certified
from mpc_sequencer.core.proofs import FillProof, StateProof, fills_root_of, state_root_of
from mpc_sequencer.core.resultproof import (
    ACCOUNT,
    FILL,
    IDENTIFIER_BYTES,
    ORDER,
    Certification,
    ResultProof,
    Shown,
)
from mpc_sequencer.core.rotation import follow
from mpc_sequencer.core.types import EpochStart, Hash32, Uint, Value
from mpc_sequencer.market import Fill, OrderValue
from mpc_sequencer.market.types import AccountValue, AmountBytes, AssetId, PriceTicks
from threshold import ThresholdError

MAGIC: Final = b"mpcseq state proof, version 1\n"
PROOF_FILE_BYTES_MAX: Final = 1 << 25
_ARRAY_OF_THREE: Final = 0x93
_ARRAY_OF_ONE: Final = 0x91
_ARRAY_OF_FOUR: Final = 0x94

CommitteeOf = Callable[[int], Committee | None]
"""The committee of an epoch, or None where it is not proven."""


class MarketValue(Value, frozen=True):
    """The value in the state of a market that is not dark; ``sequence`` is 0 under AUCTION, where none is kept."""

    reference_price_ticks: PriceTicks
    sequence: Uint


class DarkMarketValue(Value, frozen=True):
    """A dark market's value in the state: the last batch that was closed, the id of the keys that orders are sealed to
    (32 zero bytes: none are agreed on), and a hash of the orders and batches under way."""

    reference_price_ticks: PriceTicks
    batch: Uint
    keys: Hash32
    hash: Hash32


class _PlainAccount(Value, frozen=True):
    balances: tuple[tuple[AssetId, AmountBytes, AmountBytes], ...]
    highest_nonce: Uint
    window: Annotated[bytes, Meta(min_length=128, max_length=128)]


class _AuctionMarket(Value, frozen=True):
    reference_price_ticks: PriceTicks


Proven = AccountValue | OrderValue | MarketValue | DarkMarketValue | Fill


@dataclass(frozen=True, slots=True)
class ProvenState:
    """What a proof shows: the values (several only where they are fills of one order), the height after which they held
    or in which they came about, the block time at which that was certified, and the epoch that certified it."""

    kind: int
    identifier: bytes
    height: int
    certified_ms: int
    epoch: int
    values: tuple[Proven, ...]


class ProofFile(Value, frozen=True):
    """A proof with what proves the committees between the first and the one that judges it."""

    proof: ResultProof
    starts: Annotated[tuple[EpochStart, ...], Meta(max_length=EVIDENCE_STARTS_MAX)]


def verify(proof: ResultProof, genesis_id: bytes, committee_of: CommitteeOf) -> ProvenState:
    """Judge a decoded proof of the deployment ``genesis_id``; what it shows. Raises :class:`ProtocolError`, each cause
    with a code of its own: ``proof.*``, ``certificate.*``, ``epoch.unknown``, ``signature.*``."""
    if proof.genesis != genesis_id:
        raise ProtocolError("proof.genesis", "ResultProof.genesis", proof.genesis, genesis_id.hex())
    if len(proof.identifier) != IDENTIFIER_BYTES[proof.kind]:
        expected = f"{IDENTIFIER_BYTES[proof.kind]} bytes"
        raise ProtocolError("proof.identifier", "ResultProof.identifier", len(proof.identifier), expected)
    values = tuple(_read(proof, shown) for shown in proof.shown)
    if proof.kind == FILL:
        _check_fills(proof)
    else:
        _check_state(proof)
    at, result = _follow_results(proof)
    committee = _committee(proof.certification, committee_of)
    _check_certified(proof.certification, at, result)
    _check_final(proof.certification, committee)
    _check_heads(proof.certification, committee, at, result)
    header = proof.certification.header
    return ProvenState(proof.kind, proof.identifier, proof.height, header.time_ms, header.epoch, values)


def encode_proof(proof: ResultProof, committee: Committee) -> bytes:
    """A portable file: ``proof`` and what proves ``committee``, the newest that the writer knows."""
    return MAGIC + encode(ProofFile(proof, committee.starts))


def verify_file(data: bytes, first: Committee) -> ProvenState:
    """Judge a portable file by the committee file's ``first`` committee alone. Raises :class:`ProtocolError`, with
    ``proof.file`` for what is none, ``proof.starts`` where its epochs do not follow."""
    if not data.startswith(MAGIC):
        raise ProtocolError("proof.file", "file", data[:16], "a file that `mpcseq account prove` wrote")
    file: ProofFile = decode(ProofFile, data[len(MAGIC) :], bytes_max=PROOF_FILE_BYTES_MAX)
    if file.proof.genesis != first.genesis_id:
        raise ProtocolError("proof.genesis", "ResultProof.genesis", file.proof.genesis, first.genesis_id.hex())
    known = {first.epoch: first}
    newest = first
    for start in file.starts:
        try:
            newest = known[start.epoch] = follow(newest, start)
        except (ProtocolError, ThresholdError, ConfigError) as error:
            expected = f"a start of epoch {newest.epoch + 1}"
            raise ProtocolError("proof.starts", "ProofFile.starts", str(error), expected) from None
    return verify(file.proof, first.genesis_id, known.get)


# --- the value ----------------------------------------------------------------------------------------------------
def _read(proof: ResultProof, shown: Shown) -> Proven:
    """The value itself, in its only encoding."""
    value = shown.value
    try:
        if proof.kind == ACCOUNT:
            return _account(value)
        if proof.kind == ORDER:
            return decode(OrderValue, value)
        if proof.kind == FILL:
            return decode(Fill, value)
        if value[0] == _ARRAY_OF_ONE:
            auction: _AuctionMarket = decode(_AuctionMarket, value)
            return MarketValue(auction.reference_price_ticks, 0)
        if value[0] == _ARRAY_OF_FOUR:
            return decode(DarkMarketValue, value)
        return decode(MarketValue, value)
    except ProtocolError as error:
        raise ProtocolError("proof.value", error.field, error.seen, error.expected) from None


def _account(value: bytes) -> AccountValue:
    if value[0] == _ARRAY_OF_THREE:
        plain: _PlainAccount = decode(_PlainAccount, value)
        return AccountValue(plain.balances, plain.highest_nonce, plain.window, ())
    account: AccountValue = decode(AccountValue, value)
    if not account.client_ids:
        raise ProtocolError("wire.canonical", "AccountValue.client_ids", "none", "no field where there are none")
    return account


def _check_state(proof: ResultProof) -> None:
    if len(proof.shown) != 1 or proof.shown[0].place or proof.shown[0].count:
        raise ProtocolError("proof.shown", "ResultProof.shown", len(proof.shown), "one value, without a place")
    shown, expected = proof.shown[0], proof.links[0].state_root
    root = state_root_of(proof.kind, proof.identifier, StateProof(shown.value, shown.siblings))
    if root != expected:
        raise ProtocolError("proof.path", "Shown.siblings", root, expected.hex())


def _check_fills(proof: ResultProof) -> None:
    places = [shown.place for shown in proof.shown]
    if any(first >= second for first, second in pairwise(places)):
        raise ProtocolError("proof.shown", "Shown.place", places[:8], "ascending places")
    for shown in proof.shown:
        fill: Fill = decode(Fill, shown.value)
        if fill.order_id != proof.identifier:
            raise ProtocolError("proof.value", "Fill.order_id", fill.order_id, proof.identifier.hex())
        if fill.height != proof.height:
            raise ProtocolError("proof.value", "Fill.height", fill.height, proof.height)
        try:
            root = fills_root_of(FillProof(shown.value, shown.place, shown.count, shown.siblings))
        except ValueError as error:
            raise ProtocolError("proof.path", "Shown.siblings", str(error), "one sibling a level") from None
        if root != proof.links[0].fills_root:
            raise ProtocolError("proof.path", "Shown.siblings", root, proof.links[0].fills_root.hex())


# --- the result ---------------------------------------------------------------------------------------------------
def _follow_results(proof: ResultProof) -> tuple[int, bytes]:
    """The last link's height and result."""
    result, height = proof.previous, 0
    for link in proof.links:
        if link.height <= height:
            raise ProtocolError("proof.links", "ResultLink.height", link.height, f"above {height}")
        height = link.height
        result = domains.RESULT(result, height.to_bytes(8, "big"), link.state_root, link.fills_root)
    return height, result


def _committee(certification: Certification, committee_of: CommitteeOf) -> Committee:
    epoch = certification.header.epoch
    committee = committee_of(epoch)
    if committee is None:
        raise ProtocolError("epoch.unknown", "BlockHeader.epoch", epoch, "an epoch that is proven")
    return committee


def _check_certified(certification: Certification, at: int, result: bytes) -> None:
    root, named = domains.CERTIFIED(encode(certification.certified)), certification.header.certified_root
    if root != named:
        raise ProtocolError("proof.certified", "Certification.certified", root, named.hex())
    said = next((ref.result for ref in certification.certified if ref.height == at), None)
    if said is None:
        heights = [ref.height for ref in certification.certified]
        raise ProtocolError("proof.height", "Certification.certified", heights, f"height {at} among them")
    if said != result:
        raise ProtocolError("proof.result", "ResultProof.links", result, said.hex())


def _check_final(certification: Certification, committee: Committee) -> None:
    header, path = certification.header, certification.path
    for one, two in pairwise((header, *path)):
        if (two.epoch, two.height) != (one.epoch, one.height + 1):
            raise ProtocolError("proof.chain", "Certification.path", two.height, f"{one.height + 1} in its epoch")
    last = path[-1] if path else header
    if certification.certificate.view != last.view:
        raise ProtocolError("proof.finality", "Certificate.view", certification.certificate.view, last.view)
    try:
        check_certified(header.block_id(), certification.certificate, path, committee)
    except ProtocolError as error:
        if error.code == "bundle.path":
            code = "proof.chain" if error.field == "path" else "proof.finality"
            raise ProtocolError(code, f"Certification.{error.field}", error.seen, error.expected) from None
        raise


def _check_heads(certification: Certification, committee: Committee, at: int, result: bytes) -> None:
    nodes = [head.node for head in certification.heads]
    if len(nodes) < committee.q or any(first >= second for first, second in pairwise(nodes)):
        raise ProtocolError("proof.heads", "Certification.heads", nodes, f"{committee.q} or more, ascending")
    for head in certification.heads:
        if not any((ref.height, ref.result) == (at, result) for ref in head.results):
            said = [ref.height for ref in head.results]
            raise ProtocolError("proof.head_result", f"heads[{head.node}].results", said, f"{at}: {result.hex()}")
        committee.check_value(head)
