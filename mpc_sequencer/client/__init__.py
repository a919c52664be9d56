"""The trader's SDK: build and seal orders (pure), submit them and hold the members to their receipts.

``build``, ``units``, ``wallet`` and ``inspection`` are pure; ``sequencer`` (trio) and ``sync`` talk to the
members; ``committee_key`` judges and keeps the threshold key; ``receipts`` keeps what proves a broken promise.
``account`` places orders in any market, and does what a dark one takes (``dark_keys``, ``dark_terms``,
``dark_orders``).
"""

from mpc_sequencer.client.build import (
    SealedOrder,
    account_digest,
    cancel,
    cancel_all,
    limit_order,
    make_label,
    place_order,
    replace_order,
    seal_order,
    sign_action,
    validity_window,
    withdrawal,
)
from mpc_sequencer.client.committee_key import CommitteeKey, load_key, save_key
from mpc_sequencer.client.errors import ClientError, KeyPending, MemberFault, NotConnected, TimedOut, TooManyOrders
from mpc_sequencer.client.inspection import Inspection, inspect_envelope, parse_envelope
from mpc_sequencer.client.receipts import ReceiptStore, StoredReceipt, check_receipt, read_receipts
from mpc_sequencer.client.terms import (
    OrderTerms,
    check_action,
    limit_terms,
    market_terms,
    stop_limit_terms,
    stop_terms,
)
from mpc_sequencer.client.tracker import OrderRecord, OrderTracker
from mpc_sequencer.client.units import AssetUnits, MarketUnits, protection_ticks
from mpc_sequencer.client.wallet import parse_wallet_signature, typed_data

__all__ = [
    "AssetUnits",
    "ClientError",
    "CommitteeKey",
    "Inspection",
    "KeyPending",
    "MarketUnits",
    "MemberFault",
    "NotConnected",
    "OrderRecord",
    "OrderTerms",
    "OrderTracker",
    "ReceiptStore",
    "SealedOrder",
    "StoredReceipt",
    "TimedOut",
    "TooManyOrders",
    "account_digest",
    "cancel",
    "cancel_all",
    "check_action",
    "check_receipt",
    "inspect_envelope",
    "limit_order",
    "limit_terms",
    "load_key",
    "make_label",
    "market_terms",
    "parse_envelope",
    "parse_wallet_signature",
    "place_order",
    "protection_ticks",
    "read_receipts",
    "replace_order",
    "save_key",
    "seal_order",
    "sign_action",
    "stop_limit_terms",
    "stop_terms",
    "typed_data",
    "validity_window",
    "withdrawal",
]
