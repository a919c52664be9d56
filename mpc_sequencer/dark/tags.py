"""The hash tags of the dark batch, one each, as in :mod:`mpc_sequencer.core.domains`."""

from __future__ import annotations

from typing import Final

from threshold.tags import Tag

SHARE_STREAM: Final = Tag("MPCSEQ/v1/dark/share-stream")  # seed 32 || label: a client's polynomial coefficients
PRSS_STREAM: Final = Tag("MPCSEQ/v1/dark/prss-stream")  # key 32 || context hash 32 || kind, bits, count || label
PRSS_CONTEXT: Final = Tag("MPCSEQ/v1/dark/prss-context")  # session 32, epoch u64, market u32, batch u64, attempt u32
PRSS_KEY: Final = Tag("MPCSEQ/v1/dark/prss-key")  # session 32 || subset || the members' contributions in order
PRSS_FINGERPRINT: Final = Tag("MPCSEQ/v1/dark/prss-fingerprint")  # session 32 || subset || key 32
VALIDITY: Final = Tag("MPCSEQ/v1/dark/validity")  # coin 32: seed of the weights that orders are tested with
TRANSCRIPT: Final = Tag("MPCSEQ/v1/dark/transcript")  # canonical encoding of a transcript

# --- orders -----------------------------------------------------------------------------------------------------------
ORDER_SEED: Final = Tag("MPCSEQ/v1/dark/order-seed")  # seed 32 || length u32 || terms || what is shared
ORDER_SECRET: Final = Tag("MPCSEQ/v1/dark/order-secret")  # order seed 32 || party u16: an ephemeral key
ORDER_BOX: Final = Tag("MPCSEQ/v1/dark/box")  # keys id 32 || market u32 || account 20 || nonce u64 || party u16

# --- batches ----------------------------------------------------------------------------------------------------------
DEGREE: Final = Tag("MPCSEQ/v1/dark/degree")  # keys id 32 || market u32 || batch u64 || order ids: seed of the weights
SESSION: Final = Tag("MPCSEQ/v1/dark/session")  # topic 32 || market u32 || batch u64 || participants u64 || order ids
COIN: Final = Tag("MPCSEQ/v1/dark/coin")  # session id 32 || the elements that were opened, 12 bytes each
PRIORITY: Final = Tag("MPCSEQ/v1/dark/priority")  # coin 32 || order id 32: who is served first, ascending
OPENING: Final = Tag("MPCSEQ/v1/dark/opening")  # a party's seed of the epoch: secret seed of its proofs' nonces
HELD: Final = Tag("MPCSEQ/v1/dark/held")  # height u64 || order id 32, of each order that is held
BOOK: Final = Tag("MPCSEQ/v1/dark/book")  # canonical encoding of a book's state, long parts by their hash
