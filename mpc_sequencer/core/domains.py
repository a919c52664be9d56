"""The domain registry: every tagged hash and every EIP-712 type the sequencer signs, each in one place, once.

Hash tags of the sealing library are in :mod:`threshold.tags`; both kinds of registry refuse a second use of one name,
and ``tests/core/test_domains.py`` lists the union. A tag is ``MPCSEQ/v1/<what>``; its hash is the BIP-340 tagged hash
``SHA256(SHA256(tag) || SHA256(tag) || x)``.
"""

from __future__ import annotations

from typing import Final

from mpc_sequencer.core.eip712 import StructType
from threshold.tags import Tag

# --- hashes -----------------------------------------------------------------------------------------------------
ORDER_ID: Final = Tag("MPCSEQ/v1/order")  # label || SHA256(ciphertext)
LABEL_HASH: Final = Tag("MPCSEQ/v1/label")  # label; what the account signature binds
ENVELOPE_HASH: Final = Tag("MPCSEQ/v1/envelope")  # order_id || sponsor signature: one signature variant
LIST_ENTRIES: Final = Tag("MPCSEQ/v1/list-entries")  # order ids in receive order
HEAD_RESULTS: Final = Tag("MPCSEQ/v1/head-results")  # canonical encoding of a head's results
CHECKPOINT: Final = Tag("MPCSEQ/v1/chain-checkpoint")  # canonical encoding of a chain checkpoint
GENESIS: Final = Tag("MPCSEQ/v1/genesis")  # canonical encoding of what a deployment fixes for ever
BLOCK_ID: Final = Tag("MPCSEQ/v1/block")  # canonical encoding of a block header
BLOCK_INPUTS: Final = Tag("MPCSEQ/v1/block-inputs")  # struct hashes of the heads, then of the lists
CARRY: Final = Tag("MPCSEQ/v1/carry")  # inputs_root || order_id: place in the queue after an overflow
BARE_COIN: Final = Tag("MPCSEQ/v1/bare-coin")  # block id: the coin of a counting height without a batch
BATCH_LEAF: Final = Tag("MPCSEQ/v1/batch-leaf")  # order_id || envelope_hash
BATCH_NODE: Final = Tag("MPCSEQ/v1/batch-node")
CERTIFIED: Final = Tag("MPCSEQ/v1/certified")  # canonical encoding of the results a block certifies
BUNDLE_FINALITY: Final = Tag("MPCSEQ/v1/bundle-finality")  # canonical encodings of a bundle's certificate, then path
BUNDLE_SHARES: Final = Tag("MPCSEQ/v1/bundle-shares")  # shares || proof || coin share of a bundle
KEY_SESSION: Final = Tag("MPCSEQ/v1/key-session")  # genesis id || epoch u64 || sharing u32 || attempt u32
ROTATION_TOPIC: Final = Tag("MPCSEQ/v1/rotation-topic")  # genesis id || epoch u64: session of votes on the next epoch
ROTATION_SESSION: Final = Tag("MPCSEQ/v1/rotation-session")  # session name of that attempt || committee's hash
NEXT_COMMITTEE: Final = Tag("MPCSEQ/v1/next-committee")  # canonical encoding of a proposed committee
KEY_PAYLOAD: Final = Tag("MPCSEQ/v1/key-payload")  # payload of a key message
KEY_MESSAGE: Final = Tag("MPCSEQ/v1/key-message")  # struct hash of a key message: its id
KEY_SEED: Final = Tag("MPCSEQ/v1/key-seed")  # entropy for seeds || session: a member's secret seed of the session
KEY_ENTROPY: Final = Tag("MPCSEQ/v1/key-entropy")  # boot entropy, then the last value: entropy for the next seed
ENTROPY: Final = Tag("MPCSEQ/v1/entropy")  # boot entropy || counter: randomness handed to the core as a value
DARK_BOXES: Final = Tag("MPCSEQ/v1/dark-boxes")  # SHA256 of each of an order's boxes, in party order
DARK_TOPIC: Final = Tag("MPCSEQ/v1/dark-topic")  # genesis id || epoch u64: session of what members say of dark markets
DARK_SEED: Final = Tag("MPCSEQ/v1/dark-seed")  # boot entropy || dark topic: a member's secret seed of the epoch's words
DRAW: Final = Tag("MPCSEQ/v1/draw")  # coin || order_id: a batch's random priorities
STATE_KEY: Final = Tag("MPCSEQ/v1/state-key")  # kind u8 || identifier: a leaf's place in the state tree
STATE_LEAF: Final = Tag("MPCSEQ/v1/state-leaf")  # key || value
STATE_NODE: Final = Tag("MPCSEQ/v1/state-node")  # left || right
FILL_LEAF: Final = Tag("MPCSEQ/v1/fill-leaf")  # canonical encoding of a fill
FILL_NODE: Final = Tag("MPCSEQ/v1/fill-node")
RESULT: Final = Tag("MPCSEQ/v1/result")  # previous result || height u64 || state_root || fills_root
ANSWERS: Final = Tag("MPCSEQ/v1/outside-answers")  # hash so far || canonical JSON of an outside engine's answer
RANGE_FILLS: Final = Tag("MPCSEQ/v1/range-fills")  # fills roots of a settlement range in height order
RANGE_DATA: Final = Tag("MPCSEQ/v1/range-data")  # block ids of a settlement range in height order
RANGE_ORDERS: Final = Tag("MPCSEQ/v1/range-orders")  # batch roots of a range's counting heights in height order

# --- at rest ----------------------------------------------------------------------------------------------------
KEYSTORE_HEADER: Final = Tag("MPCSEQ/v1/keystore-header")  # canonical encoding of a keystore's public fields
VAULT_KEY: Final = Tag("MPCSEQ/v1/vault-key")  # vault key || a key file's whole veil
VAULT_ENTRY: Final = Tag("MPCSEQ/v1/vault-entry")  # name || 0 || a data file's random id: what a secret is bound to

# --- signatures -------------------------------------------------------------------------------------------------
SPONSOR_TYPE: Final = StructType("Sponsor(bytes32 orderId)")
_ORDER_TERMS: Final = (
    "uint32 market,uint64 clientId,uint8 side,uint8 kind,uint8 timeInForce,uint8 postOnly,uint8 selfTrade,"
    "uint64 priceTicks,uint64 stopTicks,uint64 quantityLots,uint64 displayLots,uint64 expiresMs"
)
ORDER_TYPE: Final = StructType(f"Order(address account,uint64 nonce,bytes32 labelHash,{_ORDER_TERMS})")
WITHDRAWAL_TYPE: Final = StructType(
    "Withdrawal(address account,uint64 nonce,bytes32 labelHash,uint16 asset,uint128 amount)"
)
CANCEL_TYPE: Final = StructType("Cancel(address account,uint64 nonce,bytes32 labelHash,uint64 targetNonce)")
CANCEL_ALL_TYPE: Final = StructType("CancelAll(address account,uint64 nonce,bytes32 labelHash,uint32 market)")
REPLACE_TYPE: Final = StructType(
    f"Replace(address account,uint64 nonce,bytes32 labelHash,uint64 targetNonce,{_ORDER_TERMS})"
)
RECEIPT_TYPE: Final = StructType(
    "Receipt(uint64 epoch,uint64 incarnation,bytes32 orderId,uint16 node,uint64 listNumber,uint64 receivedMs)"
)
LIST_TYPE: Final = StructType(
    "List(uint64 epoch,uint64 incarnation,uint16 node,uint64 number,bytes32 prevHash,bytes32 entriesHash)"
)
HEAD_TYPE: Final = StructType(
    "Head(uint64 epoch,uint64 incarnation,uint16 node,uint64 view,uint64 timeMs,uint64 listNumber,"
    "bytes32 listHash,bytes32 resultsHash,bytes32 checkpointHash,uint64 dueHeight)"
)
KEY_MESSAGE_TYPE: Final = StructType("KeyMessage(uint64 epoch,bytes32 session,uint16 node,bytes32 payloadHash)")
ROTATION_TYPE: Final = StructType(
    "Rotation(uint64 epoch,bytes32 signers,uint64 threshold,bytes32 committee,bytes32 sharing)"
)
"""``signers`` is the Keccak-256 of the new members' addresses in order, a word each, which a contract can make."""
NOTARIZE_TYPE: Final = StructType("Notarize(uint64 epoch,uint64 view,bytes32 blockId)")
NULLIFY_TYPE: Final = StructType("Nullify(uint64 epoch,uint64 view)")
FINALIZE_TYPE: Final = StructType("Finalize(uint64 epoch,uint64 view,bytes32 blockId)")
BUNDLE_TYPE: Final = StructType(
    "Bundle(uint64 epoch,uint64 height,bytes32 blockId,uint16 node,bytes32 sharing,bytes32 finalityHash,"
    "bytes32 sharesHash)"
)
DARK_ORDER_TYPE: Final = StructType(
    "DarkOrder(address account,uint64 nonce,bytes32 labelHash,uint32 market,bytes32 keys,uint64 quoteTickLots,"
    "uint64 baseLots,bytes32 boxesHash)"
)
DARK_SHARES_TYPE: Final = StructType("DarkShares(bytes32 session,uint16 party,uint16 round,bytes32 sharesHash)")
