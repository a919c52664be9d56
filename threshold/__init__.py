"""Threshold cryptography on secp256k1: sealing to a committee, of which any t members open together.

The construction is TDH2 (see `tdh2`); keys are Shamir shares (`shamir`); a bundle of decryption shares
carries one proof (`proofs`); t members' shares of a block's coin combine to 32 random bytes (`coin`). Keys
are generated and shared anew without a dealer by the subpackage `dkg`. Encodings are in `wire`, causes of
refusal in `errors`, hash domains in `tags`. Nothing here knows of trading, networks, disks, clocks or sources
of randomness: random bytes are arguments.
"""

from threshold.coin import (
    COIN_SHARE_BYTES,
    VerifiedCoinShare,
    coin_share,
    combine_coin,
    verify_coin_share,
)
from threshold.errors import CODES, ThresholdError, UsageError
from threshold.hash_to_curve import hash_to_curve, second_generator
from threshold.proofs import (
    BUNDLE_SHARES_MAX,
    PROOF_BYTES,
    BatchProof,
    BundleContext,
    prove_bundle,
    verify_bundle,
)
from threshold.shamir import Dealing, deal, lagrange_at_zero
from threshold.tags import REGISTERED, Tag
from threshold.tdh2 import (
    CheckedCiphertext,
    Opening,
    SealingKey,
    SecretShare,
    check,
    combine,
    open_ciphertext,
    seal,
    share,
    verify_opening,
)
from threshold.wire import LABEL_BYTES, Ciphertext, Label, ciphertext_bytes

__all__ = [
    "BUNDLE_SHARES_MAX",
    "CODES",
    "COIN_SHARE_BYTES",
    "LABEL_BYTES",
    "PROOF_BYTES",
    "REGISTERED",
    "BatchProof",
    "BundleContext",
    "CheckedCiphertext",
    "Ciphertext",
    "Dealing",
    "Label",
    "Opening",
    "SealingKey",
    "SecretShare",
    "Tag",
    "ThresholdError",
    "UsageError",
    "VerifiedCoinShare",
    "check",
    "ciphertext_bytes",
    "coin_share",
    "combine",
    "combine_coin",
    "deal",
    "hash_to_curve",
    "lagrange_at_zero",
    "open_ciphertext",
    "prove_bundle",
    "seal",
    "second_generator",
    "share",
    "verify_bundle",
    "verify_coin_share",
    "verify_opening",
]
