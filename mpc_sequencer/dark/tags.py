"""The hash tags of the dark batch, one each, as in :mod:`mpc_sequencer.core.domains`."""

from __future__ import annotations

from typing import Final

from threshold.tags import Tag

SHARE_STREAM: Final = Tag("MPCSEQ/v1/dark/share-stream")  # seed 32 || label: a client's polynomial coefficients
PRSS_STREAM: Final = Tag("MPCSEQ/v1/dark/prss-stream")  # key 32 || context hash 32 || kind, bits, count || label
PRSS_CONTEXT: Final = Tag("MPCSEQ/v1/dark/prss-context")  # session 32, epoch u64, market u32, batch u64, attempt u32
PRSS_KEY: Final = Tag("MPCSEQ/v1/dark/prss-key")  # keys' id 32 || subset || its dealers' contributions, ascending
VALIDITY: Final = Tag("MPCSEQ/v1/dark/validity")  # coin 32: seed of the weights that orders are tested with
TRANSCRIPT: Final = Tag("MPCSEQ/v1/dark/transcript")  # canonical encoding of a transcript

# --- orders -----------------------------------------------------------------------------------------------------------
ORDER_SEED: Final = Tag("MPCSEQ/v1/dark/order-seed")  # seed 32 || length u32 || terms || what is shared
ORDER_SECRET: Final = Tag("MPCSEQ/v1/dark/order-secret")  # order seed 32 || party u16: an ephemeral key

# --- batches ----------------------------------------------------------------------------------------------------------
DEGREE: Final = Tag("MPCSEQ/v1/dark/degree")  # keys id 32 || market u32 || batch u64 || order ids: seed of the weights
SESSION: Final = Tag("MPCSEQ/v1/dark/session")  # topic 32 || market u32 || batch u64 || participants u64 || order ids
COIN: Final = Tag("MPCSEQ/v1/dark/coin")  # session id 32 || the elements that were opened, 12 bytes each
PRIORITY: Final = Tag("MPCSEQ/v1/dark/priority")  # coin 32 || order id 32: who is served first, ascending
HELD: Final = Tag("MPCSEQ/v1/dark/held")  # height u64 || order id 32, of each order that is held
DESK: Final = Tag("MPCSEQ/v1/dark/desk")  # the agreement's digest || a book's
BOOK: Final = Tag("MPCSEQ/v1/dark/book")  # canonical encoding of a book's state, long parts by their hash

# --- keys of an epoch -------------------------------------------------------------------------------------------------
DARK_BOX: Final = Tag("MPCSEQ/v1/dark/box")  # keys' id 32 || market u32 || account 20 || nonce u64 || party u16
DARK_DEAL: Final = Tag("MPCSEQ/v1/dark/deal")  # topic 32 || attempt u64 || dealer u16 || receiver u16
KEYS_ID: Final = Tag("MPCSEQ/v1/dark/keys")  # topic 32 || attempt u64 || box keys' hash || rest's hash
KEYS_BOXES: Final = Tag("MPCSEQ/v1/dark/keys-boxes")  # length u8 || box key, of each party
KEYS_REST: Final = Tag("MPCSEQ/v1/dark/keys-rest")  # dealer u16 || commitments' hash, of each qualified dealer
KEY_POSSESSION: Final = Tag("MPCSEQ/v1/dark/key-possession")  # topic 32 || attempt u64 || party u16 || key 33
COMMITMENT: Final = Tag("MPCSEQ/v1/dark/commitment")  # topic 32 || attempt u64 || dealer u16 || subset || contribution
COMMITMENTS: Final = Tag("MPCSEQ/v1/dark/commitments")  # a dealer's commitments in subset order
AGREEMENT: Final = Tag("MPCSEQ/v1/dark/agreement")  # canonical encoding of an agreement's state, deals hashed
AGREEMENT_DEAL: Final = Tag("MPCSEQ/v1/dark/agreement-deal")  # canonical encoding of a deal
PARTY_KEY: Final = Tag("MPCSEQ/v1/dark/party-key")  # seed 32 || topic 32 || attempt u64: secret of the box key
PARTY_EPHEMERAL: Final = Tag("MPCSEQ/v1/dark/party-ephemeral")  # seed 32 || topic 32 || attempt u64 || receiver u16
PARTY_CONTRIBUTION: Final = Tag("MPCSEQ/v1/dark/party-contribution")  # seed 32 || topic 32 || attempt u64 || subset
PARTY_NONCE: Final = Tag("MPCSEQ/v1/dark/party-nonce")  # seed 32 || topic 32 || attempt u64: seed of proofs' nonces
