"""Every bound of the protocol, its unit last in its name. A value here is consensus-critical where so marked:
members with different values would disagree about the validity of a block."""

from __future__ import annotations

from typing import Final

# --- identities ---------------------------------------------------------------------------------------------------
COMMITTEE_MEMBERS_MIN: Final = 4
COMMITTEE_MEMBERS_MAX: Final = 40  # a block with all their heads and a full batch is one entry of the audit log
UINT_MAX: Final = (1 << 63) - 1  # integers on the wire; larger ones are refused by the decoder

# --- sealed orders (consensus) ------------------------------------------------------------------------------------
SIZE_BUCKETS_BYTES: Final = (256,)
VALIDITY_MS_MAX: Final = 10 * 60 * 1000  # a label's span, and the life of a listing
CLIENT_CLOCK_SLACK_MS: Final = 5_000  # how far a client may be ahead of a member when it picks a label's window
ENVELOPE_BYTES_MAX: Final = 58_368  # holds the largest of DARK_SIZE_BUCKETS_BYTES, sealed and signed
FORCED_BYTES_MAX: Final = 1_024  # of an envelope in the chain's queue: it is forced in where it is no larger
ORDER_CHARGE_WEI: Final = 10**12  # on a sponsor's bond, per batched order and 256 bytes of its bucket, never refunded

# --- lists, heads, blocks (consensus) -----------------------------------------------------------------------------
LIST_ENTRIES_MAX: Final = 1_024
LISTS_PER_MEMBER_MAX: Final = 256  # lists outside finalized blocks; past it a member admits nothing
LISTINGS_PER_MEMBER_MAX: Final = 65_536  # live listings of a member for ids that are not lifted
LISTS_PER_BLOCK_MAX: Final = 2 * LISTS_PER_MEMBER_MAX * COMMITTEE_MEMBERS_MAX  # more than all honest members may hold
INCARNATIONS_MAX: Final = 1  # new incarnations of a member in an epoch
BATCH_ORDERS_MAX: Final = 512
BATCH_LARGE_BYTES_MAX: Final = 3 << 20  # buckets of a batch's large orders; BODIES_KEPT_HEIGHTS of them are in memory
RECEIVE_WINDOW_ORDERS: Final = 1_024  # solid orders, and as many shaded ones, compared at a time
BLOCK_TIME_SKEW_MS_MAX: Final = 2_000
INPUTS_PER_BLOCK_MAX: Final = 256  # chain inputs; the rest of what a checkpoint covers is carried
RESULT_LAG_HEIGHTS: Final = 64  # uncertified counting heights past which batches are empty
HEAD_RESULTS_MAX: Final = 8  # the lowest uncertified heights; the next follow when these are certified
CERTIFIED_PER_BLOCK_MAX: Final = 128

# --- key sessions (consensus) -------------------------------------------------------------------------------------
KEY_PAYLOAD_BYTES_MAX: Final = 36_864  # an approval of 40 members may have 34 kB; a deal among them has some 9
ENDPOINT_CHARS_MAX: Final = 255
TLS_CERTIFICATE_BYTES_MAX: Final = 512
ROTATION_MESSAGES_LISTED_MAX: Final = 32  # of one author in one epoch, which may last for years: so many approvals
KEY_WINDOW_HEIGHTS: Final = 4  # a phase of a session waits for members so many blocks and so long, whichever is more
KEY_WINDOW_MS: Final = 10_000
KEY_RETRY_MS: Final = 60_000  # until the key is shared anew after a session that did not serve all
KEY_REFRESH_MS_MIN: Final = 5_000  # of a genesis that names an interval; a session takes a second or two
# 16 sharings made every KEY_REFRESH_MS_MIN go back 80 s, and snapshots come every 60 s at the latest: a member that
# comes back knows the sharing of every batch it has not opened. Real intervals are hours, and batches open in a second.
SHARINGS_KEPT: Final = 16

# --- timing (local) -----------------------------------------------------------------------------------------------
LIST_INTERVAL_MS_MIN: Final = 20
LIST_INTERVAL_LOADED_MS: Final = 110  # after a list of LIST_LOADED_ENTRIES or more
LIST_LOADED_ENTRIES: Final = 4
BLOCK_INTERVAL_MS_MIN: Final = 60  # a leader waits this long after entering the view before its own
BLOCK_INTERVAL_LOADED_MS: Final = 200  # while BLOCK_LOADED_ORDERS wait, or came with the last block: a view and wait
BLOCK_LOADED_WAIT_MS_MAX: Final = 170  # in its own view
BLOCK_LOADED_WAIT_INACTIVE_MS_MAX: Final = 100  # below VIEW_TIMEOUT_INACTIVE_MS, or waiting would nullify it again
BLOCK_LOADED_ORDERS: Final = 24
VIEW_TIMEOUT_MS: Final = 1_500
VIEW_TIMEOUT_INACTIVE_MS: Final = 150  # for a leader whose last turn was nullified
VIEW_TIMEOUT_DOUBLINGS_MAX: Final = 6
HEARTBEAT_MS: Final = 5_000
FETCH_RETRY_MS: Final = 250
FETCH_DELAY_MS: Final = 15  # a client that reaches all members brings a listed body itself about now

# --- agreement (local memory) -------------------------------------------------------------------------------------
VIEWS_AHEAD_MAX: Final = 64  # votes for views further ahead than this are dropped
BLOCKS_KEPT_HEIGHTS: Final = 256  # finalized blocks kept in memory to serve peers
BODIES_KEPT_HEIGHTS: Final = 64  # bodies of their orders; who lacks more than a few blocks reads logs
HEADER_PATH_MAX: Final = 128  # blocks between a finalized block and the certificate that finalizes it

# --- intake (local memory) ----------------------------------------------------------------------------------------
PENDING_ORDERS_MAX: Final = 50_000
PENDING_ORDERS_PER_SPONSOR_MAX: Final = 5_000
PENDING_LARGE_BYTES_MAX: Final = 16 << 20  # buckets of large orders, which are those above SIZE_BUCKETS_BYTES
PENDING_LARGE_BYTES_PER_SPONSOR_MAX: Final = 4 << 20
KEY_MESSAGES_PER_MEMBER_MAX: Final = 16  # of one author, held and in no list of this member
KEY_MESSAGES_LISTED_MAX: Final = 12  # of one author in one session: each of six types, and one more
ORPHAN_LISTS_MAX: Final = 512  # lists of a member that arrived before their predecessor

# --- chain inputs (local) -----------------------------------------------------------------------------------------
INPUTS_KEPT: Final = 4_096  # taken ones that are kept to serve peers; who lags further reads logs
CHECKPOINTS_KEPT: Final = 256  # of this member's own chain, to hold a block's checkpoint against

# --- messages -----------------------------------------------------------------------------------------------------
FRAME_BYTES_MAX: Final = 4 << 20
SUBMIT_ENVELOPES_MAX: Final = 512
SUBMIT_BYTES_MAX: Final = 512 << 10  # of envelopes that a client sends in one request
FETCH_IDS_MAX: Final = 1_024
EPOCH_STARTS_MAX: Final = 8  # in one answer to a client; the largest take some 600 kB
FETCH_BODIES_BYTES_MAX: Final = 2 << 20
LOG_SLICE_ENTRIES_MAX: Final = 4_096
LOG_SLICE_BYTES_MAX: Final = 1 << 20  # and one entry more
LOG_ENTRY_BYTES_MAX: Final = 65_535  # C2SP tlog-tiles: an entry's length is a u16
PEER_QUEUE_MESSAGES_MAX: Final = 20_000
CLIENT_QUEUE_MESSAGES_MAX: Final = 10_000
CLIENTS_MAX: Final = 256
CLIENT_WATCH_ORDERS_MAX: Final = 100_000
BOOK_LEVELS_MAX: Final = 256  # of a side, in one answer to a client
UPDATES_MAX: Final = 256  # of an order, in one answer to a client

# --- reveal -------------------------------------------------------------------------------------------------------
REVEAL_ORDERS_PER_STEP: Final = 48  # crypto per step of the core, so that a step stays under 20 ms

# --- execution (consensus) ----------------------------------------------------------------------------------------
MARKETS_MAX: Final = 1 << 16
PRICE_TICKS_MAX: Final = (1 << 48) - 1
QUANTITY_LOTS_MAX: Final = (1 << 48) - 1
AMOUNT_MAX: Final = (1 << 127) - 1  # base units of one asset, so that a delta fits an int128
NONCE_WINDOW: Final = 1_024
NONCE_AHEAD_MAX: Final = 1 << 20
FEE_PPM_MAX: Final = 100_000  # a tenth of what is traded
PPM: Final = 1_000_000
CLIENT_IDS_KEPT: Final = 64  # the last accepted client ids of an account, which it may not use again
OPEN_ORDERS_PER_ACCOUNT_MAX: Final = 512
ICEBERG_PARTS_MAX: Final = 64  # displayed parts of an order: else one arrival could be made to trade 2^48 times
FOK_ROUNDS_MAX: Final = 8  # clearings of a market and height that may remove some fill-or-kill orders; then all go
FOK_LEVELS_MAX: Final = 1_024  # price levels an arriving fill-or-kill order looks at
TRIGGERED_PER_HEIGHT_MAX: Final = 1_024  # stops that join a height, over all markets

# --- dark markets (consensus) -------------------------------------------------------------------------------------
DARK_SIZE_BUCKETS_BYTES: Final = (4_096, 8_192, 16_384, 24_576, 32_768, 40_960, 49_152, 57_344)
"""Beside SIZE_BUCKETS_BYTES where a market is dark: an order carries a sealed box for every member."""
DARK_BOX_BYTES_MAX: Final = 16_384
DARK_MARKETS_MAX: Final = 4  # of a deployment: a member that speaks of all has room among KEY_MESSAGES_PER_MEMBER_MAX
DARK_WORDS_LISTED_MAX: Final = 2  # of one author about one thing: the first counts, and one more
DARK_ORDERS_PER_ACCOUNT_MAX: Final = 64  # of an account, in one batch: cover needs no deposit
DARK_WINDOW_MS: Final = 4_000  # block time in which a phase of the log waits for members, whoever is silent
DARK_RUN_MS: Final = 30_000  # block time that a computation has until its batch is void
DARK_RETRY_MS: Final = 10_000  # until keys are agreed on anew after an agreement that failed
DARK_ROUNDS_MAX: Final = 128  # of one computation
DARK_SHARES_BYTES_MAX: Final = (1 << 18) + 64  # a member's shares of one round: 21,845 of them
DARK_TRANSCRIPT_PARTS_MAX: Final = 2_048  # entries of the log that hold one computation's transcript

# --- dark markets (local) -----------------------------------------------------------------------------------------
DARK_ROUND_MS: Final = 1_000  # the others of a round are waited for so long once n-t have spoken
DARK_RUN_LOCAL_MS: Final = 25_000  # a computation that takes longer is given up a little before its batch is void
DARK_EARLY_BYTES_MAX: Final = 1 << 20  # of one member, for computations that have not begun here; the newest stay
DARK_RUN_BYTES_MAX: Final = 2 << 20  # of one member, in one computation: twice what the largest takes
DARK_RUNS_MAX: Final = 8  # computations at a time; a member takes no part in more
DARK_CLOSED_KEPT: Final = 64  # computations that are over, whose late messages are known for what they are

# --- settlement (consensus) ---------------------------------------------------------------------------------------
SETTLEMENT_RANGE_HEIGHTS: Final = 64
SETTLEMENT_RANGE_MS: Final = 4_000
SETTLEMENT_ACCOUNTS_MAX: Final = 1_500
