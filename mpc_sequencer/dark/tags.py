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

# --- inputs -----------------------------------------------------------------------------------------------------------
ORDER_SEED: Final = Tag("MPCSEQ/v1/dark/order-seed")  # seed 32 || length u32 || terms || what is shared
ORDER_SECRET: Final = Tag("MPCSEQ/v1/dark/order-secret")  # order seed 32 || party u16 || purpose: salts, ephemeral keys
BUNDLE: Final = Tag("MPCSEQ/v1/dark/bundle")  # canonical encoding of a bundle, salt included
BUNDLE_LEAF: Final = Tag("MPCSEQ/v1/dark/bundle-leaf")  # bundle's hash || SHA256(sealed bundle)
BUNDLE_NODE: Final = Tag("MPCSEQ/v1/dark/bundle-node")
ACKNOWLEDGED: Final = Tag("MPCSEQ/v1/dark/acknowledged")  # order ids
DEGREE: Final = Tag("MPCSEQ/v1/dark/degree")  # coin 32: seed of the weights that degrees are checked with
DEGREE_SHARES: Final = Tag("MPCSEQ/v1/dark/degree-shares")  # a party's shares, 12 bytes each, in the batch's order
