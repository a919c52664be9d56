"""What shows a stranger a part of the state, or a fill: the values of a proof (docs/trading.md, "Proofs").

A proof leads from a value up to what q members signed, and every step of it is a hash or a signature:

* the value and its siblings give the state root (or, of a fill, the fills root) of a height;
* the roots with the result before give that height's result, and so on along ``links`` up to a height that a block
  certifies: a result covers all before it;
* the block's ``certified`` rows are those its header names; a finalization certificate over the header, or over one
  that the headers of ``path`` lead to, makes it final;
* heads of q members, each signed, say that very result.

Only the committee's public keys are needed to judge it: :mod:`mpc_sequencer.client.proofs`.
"""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta

from mpc_sequencer.core import limits
from mpc_sequencer.core.types import BlockHeader, Certificate, Hash32, Head, ResultRef, Uint, Value

ACCOUNT: Final = 1
ORDER: Final = 2
MARKET: Final = 3
FILL: Final = 4
KIND_NAMES: Final = {ACCOUNT: "account", ORDER: "order", MARKET: "market", FILL: "fill"}
IDENTIFIER_BYTES: Final = {ACCOUNT: 20, ORDER: 32, MARKET: 4, FILL: 32}
"""Of an address, an order id, a market id (u32, big-endian), and the order id of fills."""

VALUE_BYTES_MAX: Final = 8_192
SIBLINGS_MAX: Final = 256
SHOWN_MAX: Final = 512
LINKS_MAX: Final = 256

Identifier = Annotated[bytes, Meta(min_length=4, max_length=32)]
ProofKind = Annotated[int, Meta(ge=1, le=4)]


class Shown(Value, frozen=True):
    """A value and its siblings, the lowest first; of a fill also its place among the ``count`` fills of its height."""

    value: Annotated[bytes, Meta(min_length=1, max_length=VALUE_BYTES_MAX)]
    place: Uint
    count: Uint
    siblings: Annotated[tuple[Hash32, ...], Meta(max_length=SIBLINGS_MAX)]


class ResultLink(Value, frozen=True):
    """The roots of one counting height."""

    height: Uint
    state_root: Hash32
    fills_root: Hash32


class Certification(Value, frozen=True):
    """What makes a height's result certain: the final block that certifies it, and heads of q members that say it."""

    certified: Annotated[tuple[ResultRef, ...], Meta(min_length=1, max_length=limits.CERTIFIED_PER_BLOCK_MAX)]
    header: BlockHeader
    path: Annotated[tuple[BlockHeader, ...], Meta(max_length=limits.HEADER_PATH_MAX)]
    certificate: Certificate
    heads: Annotated[tuple[Head, ...], Meta(min_length=1, max_length=limits.COMMITTEE_MEMBERS_MAX)]


class ResultProof(Value, frozen=True):
    """The proof of what is ``shown``: one value of the state after the first of ``links``, or fills of that height.
    ``previous`` is the result of the counting height before it."""

    genesis: Hash32
    kind: ProofKind
    identifier: Identifier
    shown: Annotated[tuple[Shown, ...], Meta(min_length=1, max_length=SHOWN_MAX)]
    previous: Hash32
    links: Annotated[tuple[ResultLink, ...], Meta(min_length=1, max_length=LINKS_MAX)]
    certification: Certification

    @property
    def height(self) -> int:
        """The height whose state, or fills, this is about."""
        return self.links[0].height
