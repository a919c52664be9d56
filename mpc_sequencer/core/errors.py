"""Two families of errors, as h11 draws the line: a peer's fault and our own misuse.

:class:`ProtocolError` is a peer's or a client's fault. It carries one ``code`` per cause, the field, the value seen
and what was expected, and never a secret; handlers turn it into a refusal and leave their state as it was.
:class:`threshold.ThresholdError` has the same shape for sealed data. :class:`ConfigError` is the operator's: it is
shown as ``error:`` and ``hint:``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

SEEN_CHARACTERS_MAX: Final = 120

CODES: Final[Mapping[str, str]] = {
    "wire.malformed": "the bytes are not one complete canonical MessagePack value",
    "wire.type": "a field has another type than the message's",
    "wire.bound": "a field is outside its length or range",
    "wire.canonical": "the value has another, canonical encoding",
    "wire.size": "the message is larger than its bound",
    "label.validity": "the label's window is empty or longer than allowed",
    "label.expired": "the label's window has ended",
    "label.not_yet_valid": "the label's window starts too far ahead",
    "label.chain": "the label names another chain",
    "label.settlement": "the label names another settlement contract",
    "label.key": "the label names another threshold key",
    "key.pending": "the committee's threshold key is still being generated",
    "key.result": "a key certificate's result is none, or of another session",
    "key.quorum": "fewer than q members say that a key session's result is theirs",
    "key.full": "the author has as many unsequenced key messages as it may",
    "sponsor.signature": "the sponsor's signature does not recover to the label's sponsor",
    "signature.encoding": "a signature is not r || s || v with low s and v of 27 or 28",
    "signature.signer": "a signature recovers to another signer",
    "credit.exhausted": "the sponsor's bond does not cover another order",
    "intake.duplicate": "the order was admitted before; the first receipt comes with this code",
    "intake.full": "the member holds as many pending orders as it may",
    "intake.sponsor_full": "the sponsor has as many pending orders as it may",
    "intake.bytes_full": "the member holds as many bytes of large pending orders as it may",
    "intake.sponsor_bytes_full": "the sponsor has as many bytes of large pending orders as it may",
    "intake.lists_full": "the member has too many lists outside finalized blocks",
    "intake.recovering": "the member lost its journal and gives no receipts yet",
    "intake.cutover": "the epoch is over and the next one begins here in a moment",
    "intake.sequenced": "the order has been sequenced already",
    "intake.leaving": "the member is not in the next committee and gives no receipts any more",
    "member.unknown": "no such member in the committee",
    "member.visitor": "one without a place in the committee sent what only members send",
    "member.sender": "the message names another member than its sender",
    "epoch.unknown": "the message belongs to another epoch or incarnation",
    "rotation.committee": "the proposed committee may not follow this one",
    "rotation.spent": "the member has said as often in this epoch as it may whom it wants to follow",
    "rotation.quorum": "fewer than q members of the epoch before signed the handover",
    "rotation.handover": "the handover that q members agreed on is not what the log leads to",
    "incarnation.unknown": "the member has not started that incarnation",
    "incarnation.spent": "the member lost its journal more often than an epoch allows",
    "standing.rolled_back": "the member met a signature of its own that its journal does not know",
    "list.number": "the list does not continue its author's lists",
    "list.chain": "the list's predecessor hash is not its author's last list",
    "list.duplicate": "the list names an order twice",
    "list.equivocation": "a second, different list of one number",
    "vote.kind": "the vote's kind or block does not fit",
    "vote.equivocation": "the vote contradicts another vote of the member in its view",
    "certificate.quorum": "the certificate has fewer signers than the quorum",
    "certificate.order": "the certificate's signers are not strictly ascending",
    "block.leader": "the proposal is not by its view's leader",
    "block.heads": "the block names too few heads, or heads out of order or of another view",
    "block.lists": "the block's heads go back behind lists of its ancestors",
    "block.derived": "a derived part of the block is not the function of its inputs",
    "block.checkpoint": "the block takes up a chain checkpoint that the member's own chain does not have",
    "block.time": "the block's time is too far from the member's clock",
    "chain.step": "the chain block's number is no multiple of the deployment's step",
    "chain.number": "the chain block is not above the last one told of",
    "chain.body": "an input's body is not what its amount is the hash of",
    "chain.inputs": "the inputs do not lead to the hash that they are for",
    "chain.terms": "a forced order is due earlier on the chain than the genesis' terms allow",
    "bundle.sharing": "the bundle is of another sharing of the key than its height's",
    "bundle.block": "the bundle is for another block or has another number of shares",
    "bundle.path": "the bundle's certificate does not finalize its block",
    "settlement.equivocation": "a second, different result of one first height",
    "commit.equivocation": "a second, different order commit of one height",
    "log.size": "the log has more entries before a block than a block can need",
    "log.order": "the log's finality entry does not follow its block",
    "log.gap": "the log's block does not continue the chain",
    "log.incomplete": "the log lacks lists or bodies its block needs",
    "evidence.file": "not an evidence file of this version",
    "evidence.genesis": "the evidence is about another committee than the committee file's",
    "evidence.starts": "the evidence does not prove the committee of its epoch",
    "evidence.member": "the evidence accuses nobody of the committee",
    "evidence.epoch": "the evidence is about another epoch",
    "evidence.signature": "a part of the evidence is not signed by the member it accuses",
    "evidence.unrelated": "the parts of the evidence are not about one and the same thing",
    "evidence.same": "both parts of the evidence say the same",
    "evidence.pinned": "what the evidence carries beside the signed parts is not what they name",
    "evidence.key": "the threshold key that decides is missing from the evidence, or not proven, or not needed",
    "evidence.legal": "what the member signed is within the rules",
    "action.account_signature": "the plaintext is not signed by its account",
    "action.label": "the plaintext names another label",
    "nonce.too_high": "the account's nonce is too far ahead",
    "market.unknown": "no such market",
    "market.dark": "a dark market takes dark orders alone, and no other market takes them",
    "order.side": "the side is neither buy nor sell",
    "order.kind": "the kind is none of limit, market, stop and stop-limit",
    "order.time_in_force": "the time in force is none that the kind of order allows",
    "order.expiry": "a GTD order names no expiry, or another order names one",
    "order.expired": "the order's expiry is past",
    "order.post_only": "post-only is for limit orders that may rest",
    "order.self_trade": "no such mode of self-trade prevention",
    "order.price": "the price is zero, above its bound or no plain decimal number",
    "order.price_tick": "the price is not a whole number of ticks",
    "order.protection": "a market order or stop names no worst price, or one that cannot be",
    "order.stop_price": "the stop price is missing or out of its bounds, or the order is no stop",
    "order.quantity": "the quantity is zero or no plain decimal number",
    "order.quantity_lot": "the quantity is not a whole number of lots",
    "order.dust": "the quantity is less than one lot",
    "order.quantity_min": "the quantity is below the market's least",
    "order.quantity_max": "the quantity is above the market's most",
    "order.display": "the display quantity is out of its bounds, or the order cannot rest",
    "order.client_id": "the client order id names another order already",
    "order.nonce": "the nonce is another order's already",
    "order.unknown": "this client tracks no such order",
    "order.account": "the order is another account's than the desk's",
    "order.resealed": "what was sealed anew has another nonce or other terms",
    "order.unended": "the order is open, or its outcome is not known: it is not forgotten",
    "order.ended": "the order has ended: it is not sent again",
    "proof.file": "not a state proof file of this version",
    "proof.starts": "the proof does not prove the committee of its epoch",
    "proof.genesis": "the proof is of another deployment",
    "proof.identifier": "the name of what is proven has another length than its kind's",
    "proof.value": "the value is not what its kind's encoding gives, or about something else",
    "proof.shown": "the proof shows not one value of the state, or fills out of order",
    "proof.path": "the path from the value does not lead to the height's root",
    "proof.links": "the heights that lead to the certified one do not ascend",
    "proof.certified": "the certified results are not those that the block's header names",
    "proof.height": "the block does not certify the height that the proof leads to",
    "proof.result": "the roots do not give the result that is certified",
    "proof.chain": "the headers do not follow each other",
    "proof.finality": "the certificate does not finalize the last header",
    "proof.heads": "fewer heads than a quorum's, or out of order",
    "proof.head_result": "a head does not say the certified result",
    "match.size": "the frame is larger than its bound",
    "match.frame": "not a canonical frame of the matching protocol",
    "match.height": "not the height that is to be answered",
    "match.repeated": "another answer to this height was accepted before",
    "match.market": "the order names a market that is not known",
    "match.order": "rows of the answer are out of order, or twice",
    "match.unknown_order": "no such open order",
    "match.limit": "a fill is worse than its order's limit",
    "match.quantity": "an order is filled beyond its open lots",
    "match.conservation": "at a price not as many lots are bought as sold",
    "match.at_once": "an order that may not rest stays open, or a FOK is filled in part",
    "match.solvency": "a fill costs more than is locked for it",
    "match.end": "an order ends with no code of an engine, or is filled wholly",
    "match.consumer": "another engine is connected",
    "match.refused": "the member refused the engine's answer with a code that is not known here",
    "dark.equivocation": "a second, different message of one round of a dark batch's computation",
    "dark.shares": "a message of a dark batch's computation is another round's, or more than one computation takes",
    "dark.none": "no market of this deployment is dark",
    "dark.length": "a vector of field elements has another length than its place",
    "dark.element": "a field element is not below the prime",
    "dark.transcript": "a transcript's rounds are not the program's, or out of order",
    "cancel.target": "an action cannot cancel or replace itself",
    "dark.deposit": "a dark order's deposit is out of its market's bounds",
    "dark.balance": "the free balance does not cover deposits that hide the side; those of one asset show it",
    "dark.boxes": "a dark order's boxes are not one of the right size for each member",
    "dark.keys": "the keys of the dark markets are not those that the certified state names",
    "dark.unfunded": "a dark order's deposit does not cover it",
    "asset.unknown": "no such asset",
    "withdrawal.amount": "the amount is zero or above its bound",
}


def _show(value: object) -> str:
    text = value.hex() if isinstance(value, bytes) else str(value)
    return text if len(text) <= SEEN_CHARACTERS_MAX else text[: SEEN_CHARACTERS_MAX - 1] + "…"


class ProtocolError(ValueError):
    """What a peer or client sent breaks a rule: ``code`` (in :data:`CODES`), ``field``, ``seen``, ``expected``.

    ``offence`` is the evidence (:data:`mpc_sequencer.core.evidence.Offence`) where what was sent convicts its signer.
    """

    def __init__(
        self, code: str, field: str, seen: object, expected: object, *, offence: object | None = None
    ) -> None:
        if code not in CODES:
            raise KeyError(code)
        self.code = code
        self.field = field
        self.seen = _show(seen)
        self.expected = _show(expected)
        self.offence = offence
        super().__init__(f"{code}: {field} is {self.seen}, expected {self.expected}")


class ConfigError(Exception):
    """The operator's configuration or surroundings do not allow to start; shown with a hint, exit status 2."""

    def __init__(self, cause: str, hint: str) -> None:
        super().__init__(cause)
        self.cause = cause
        self.hint = hint
