"""What crosses the seam between a member and an outside matching engine: canonical JSON, one text frame a value.

An object has exactly the fields below in this order, no white space, ids and hashes as lower-case hex; numbers are
integers. Who decodes encodes again and compares, so every value has one encoding and one hash.

A :class:`FairBatch` is what one height brings to the markets: the orders that execution admitted (signature, nonce,
terms, balance), in the order that is fair in their market: by draw, and where a market orders by receipt in that order;
and the orders of earlier heights that were cancelled, replaced or have expired. An :class:`Answer` is what the engine
makes of it. The engine must be a function of the batches: every member runs its own, and their answers must be equal.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, Protocol

import msgspec
from msgspec import Meta

from mpc_sequencer.core import limits
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.nesting import hold_nesting

FRAME_BYTES_MAX: Final = 4 << 20
BATCH_BYTES_MAX: Final = 256 << 20
"""Of what a member sends: a batch names every order that ends with its height, and any number may expire at once."""
FILLS_MAX: Final = 16_384
"""Rows of one answer."""
PROTOCOL_VERSION: Final = 1

OrderIdHex = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
HashHex = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
AddressHex = Annotated[str, Meta(pattern="^[0-9a-f]{40}$")]
Number = Annotated[int, Meta(ge=0, le=limits.UINT_MAX)]
Ticks = Annotated[int, Meta(ge=1, le=limits.PRICE_TICKS_MAX)]
Lots = Annotated[int, Meta(ge=1, le=limits.QUANTITY_LOTS_MAX)]
Text = Annotated[str, Meta(max_length=256)]


class Frame(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of all that crosses the seam."""


class OrderRow(Frame, frozen=True):
    """A new order; terms as in :class:`~mpc_sequencer.core.actions.Order`. ``quantity_lots`` is what may be filled."""

    order_id: OrderIdHex
    account: AddressHex
    market: Number
    side: Annotated[int, Meta(ge=1, le=2)]
    kind: Annotated[int, Meta(ge=1, le=4)]
    time_in_force: Annotated[int, Meta(ge=1, le=4)]
    post_only: Annotated[int, Meta(ge=0, le=1)]
    self_trade: Annotated[int, Meta(ge=0, le=3)]
    price_ticks: Ticks
    stop_ticks: Number
    quantity_lots: Lots
    display_lots: Number
    expires_ms: Number


class FairBatch(Frame, frozen=True, tag_field="type", tag="batch"):
    """One height. ``coin`` is its public randomness, which nobody knew before the batch was final."""

    height: Number
    time_ms: Number
    coin: HashHex
    orders: Annotated[tuple[OrderRow, ...], Meta(max_length=limits.BATCH_ORDERS_MAX)]
    ended: tuple[OrderIdHex, ...]


class FillRow(Frame, frozen=True):
    """What one order traded at one price, as maker (1) or taker (0)."""

    order_id: OrderIdHex
    price_ticks: Ticks
    quantity_lots: Lots
    maker: Annotated[int, Meta(ge=0, le=1)]


class Ended(Frame, frozen=True):
    """An order that is not open any more though it is not wholly filled, and the outcome code that says why."""

    order_id: OrderIdHex
    code: Text


class Answer(Frame, frozen=True, tag_field="type", tag="fills"):
    """What an engine makes of the batch of ``height``: fills by order id, then price, then as taker before as maker;
    and the orders that end, by order id. What is neither filled nor ended stays open."""

    height: Number
    fills: Annotated[tuple[FillRow, ...], Meta(max_length=FILLS_MAX)]
    ended: Annotated[tuple[Ended, ...], Meta(max_length=FILLS_MAX)]


class Hello(Frame, frozen=True, tag_field="type", tag="hello"):
    """A member's first frame: the deployment, the first height that it can send, and the first without an accepted
    answer (0 where all have one)."""

    version: Literal[1]
    genesis: HashHex
    first_height: Number
    open_height: Number


class Resume(Frame, frozen=True, tag_field="type", tag="resume"):
    """The engine's first frame: send the batches of ``from_height`` on."""

    from_height: Number


class AnswerAccepted(Frame, frozen=True, tag_field="type", tag="accepted"):
    """The answer keeps the rules; ``answers_hash`` covers it and all before it, for members to compare."""

    height: Number
    answers_hash: HashHex


class AnswerRefused(Frame, frozen=True, tag_field="type", tag="refused"):
    """The answer breaks a rule, and changed nothing; another one for this height may follow."""

    height: Number
    code: Text
    field: Text
    seen: Text
    expected: Text


FromEngine = Resume | Answer
FromMember = Hello | FairBatch | AnswerAccepted | AnswerRefused


class MatchingEngine(Protocol):
    """An outside engine, as far as this side is concerned: a deterministic function of the batches it was given."""

    def match(self, batch: FairBatch) -> Answer:
        """The fills and ends of one height; heights come in order, each once."""
        ...


_ENCODER: Final = msgspec.json.Encoder()


def to_text(value: Frame) -> str:
    """The one encoding of a value."""
    return _ENCODER.encode(value).decode()


def from_text(kind: Any, text: str | bytes, *, bytes_max: int = FRAME_BYTES_MAX) -> Any:
    """Decode a frame as ``kind``, strictly. Raises :class:`ProtocolError`: ``match.size`` or ``match.frame``."""
    data = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    if len(data) > bytes_max:
        raise ProtocolError("match.size", "frame", f"{len(data)} bytes", f"at most {bytes_max} bytes")
    hold_nesting()
    try:
        value = msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError("match.frame", "frame", str(error), "one frame of this protocol") from None
    if _ENCODER.encode(value) != data:
        raise ProtocolError("match.frame", "frame", data[:80].decode("utf-8", "replace"), "its canonical encoding")
    return value
