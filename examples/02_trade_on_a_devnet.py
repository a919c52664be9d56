"""Two traders meet on a running devnet: sealed orders, verified receipts, one price.

    mpcseq devnet init /tmp/devnet && mpcseq devnet up /tmp/devnet     # in another terminal
    python examples/02_trade_on_a_devnet.py /tmp/devnet

A sells, B buys above A's limit; both orders are in one batch or in two, and trade at one price either way.
Each run uses fresh nonces (the time in seconds, modulo what an account may use ahead).
"""

from __future__ import annotations

import secrets
import sys
import time
from pathlib import Path

from mpc_sequencer.client import (
    ReceiptStore,
    SealedOrder,
    limit_order,
    make_label,
    seal_order,
    sign_action,
    validity_window,
)
from mpc_sequencer.client.keys import read_account_key
from mpc_sequencer.client.link import connector_to
from mpc_sequencer.client.sync import SyncSequencerClient
from mpc_sequencer.core.actions import BUY, GTC, IOC, SELL
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.signing import Signer
from mpc_sequencer.devnet.layout import open_devnet


def order(
    committee: Committee, trader: Signer, side: int, price_ticks: int, time_in_force: int
) -> SealedOrder:
    label = make_label(committee, trader.address, validity_window(time.time_ns() // 1_000_000))
    action = limit_order(
        committee,
        label,
        account=trader.address,
        nonce=int(time.time()) % 1_000_000,
        market=0,
        side=side,
        time_in_force=time_in_force,
        price_ticks=price_ticks,
        quantity_lots=100,
    )
    return seal_order(
        committee, label, sign_action(committee, action, trader), trader, sigma=secrets.token_bytes(32)
    )


def main(folder: Path) -> None:
    devnet = open_devnet(folder)
    seller, buyer = (read_account_key(path, str) for path in devnet.account_keys()[:2])
    with (
        ReceiptStore(folder / "receipts.jsonl", devnet.file.committee) as store,
        SyncSequencerClient(devnet.file.committee, connector_to(devnet.file), receipts=store) as client,
    ):
        client.wait_connected(client.committee.n)
        key = client.key()  # believed for the signatures of a quorum, whichever member sends it
        print(f"orders are sealed to the key {key.key_id.hex()[:16]}, any {key.threshold} members open it")
        sell = order(client.committee, seller, SELL, 618_000, GTC)
        buy = order(client.committee, buyer, BUY, 618_050, IOC)
        for submission in client.submit([sell.envelope, buy.envelope]):
            print(
                f"order {submission.order_id.hex()[:16]}: receipts of members {sorted(submission.receipts)}"
            )
        for record in client.wait_executed([sell.order_id, buy.order_id], timeout_s=30):
            height, outcome, lots, price_ticks, _ = record.executed or (0, "", 0, 0, 0)
            print(f"height {height}: {outcome}, {lots} lots at {price_ticks} ticks")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python examples/02_trade_on_a_devnet.py FOLDER")
    main(Path(sys.argv[1]))
