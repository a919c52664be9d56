"""The hash tags of the dark batch, one each, as in :mod:`mpc_sequencer.core.domains`."""

from __future__ import annotations

from typing import Final

from threshold.tags import Tag

SHARE_STREAM: Final = Tag("MPCSEQ/v1/dark/share-stream")  # seed 32 || label: a client's polynomial coefficients
PRSS_STREAM: Final = Tag("MPCSEQ/v1/dark/prss-stream")  # key 32 || context hash 32 || kind, bits, count || label
PRSS_CONTEXT: Final = Tag("MPCSEQ/v1/dark/prss-context")  # session 32 || epoch u64 || batch u64 || attempt u32
PRSS_KEY: Final = Tag("MPCSEQ/v1/dark/prss-key")  # session 32 || subset || the members' contributions in order
PRSS_FINGERPRINT: Final = Tag("MPCSEQ/v1/dark/prss-fingerprint")  # session 32 || subset || key 32
