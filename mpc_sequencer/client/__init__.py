"""The trader's SDK: build and seal orders (pure), submit them and hold the members to their receipts.

``build``, ``units``, ``wallet`` and ``inspection`` are pure; ``sequencer`` (trio) and ``sync`` talk to the
members; ``committee_key`` judges and keeps the threshold key; ``receipts`` keeps what proves a broken promise.
"""

from mpc_sequencer.client.build import (
    SealedOrder,
    account_digest,
    check_action,
    limit_order,
    make_label,
    seal_order,
    sign_action,
    validity_window,
    withdrawal,
)
from mpc_sequencer.client.committee_key import CommitteeKey, load_key, save_key
from mpc_sequencer.client.errors import ClientError, KeyPending, MemberFault, NotConnected, TimedOut, TooManyOrders
from mpc_sequencer.client.inspection import Inspection, inspect_envelope, parse_envelope
from mpc_sequencer.client.receipts import ReceiptStore, StoredReceipt, check_receipt, read_receipts
from mpc_sequencer.client.tracker import OrderRecord, OrderTracker
from mpc_sequencer.client.units import AssetUnits, MarketUnits
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
    "OrderTracker",
    "ReceiptStore",
    "SealedOrder",
    "StoredReceipt",
    "TimedOut",
    "TooManyOrders",
    "account_digest",
    "check_action",
    "check_receipt",
    "inspect_envelope",
    "limit_order",
    "load_key",
    "make_label",
    "parse_envelope",
    "parse_wallet_signature",
    "read_receipts",
    "save_key",
    "seal_order",
    "sign_action",
    "typed_data",
    "validity_window",
    "withdrawal",
]
