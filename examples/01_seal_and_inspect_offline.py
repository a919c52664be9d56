"""Seal one order with no network at all, look at what anybody can see of it, and see a changed byte refused.

    python examples/01_seal_and_inspect_offline.py

It writes a devnet's keys into a temporary folder (an order is sealed to a committee's key), makes a limit
order, seals it, and runs every check a member would make. Then it flips one bit of the ciphertext.
"""

from __future__ import annotations

import secrets
import tempfile
import time
from pathlib import Path

import msgspec

from mpc_sequencer.client import (
    MarketUnits,
    inspect_envelope,
    limit_order,
    make_label,
    seal_order,
    sign_action,
    typed_data,
    validity_window,
)
from mpc_sequencer.client.keys import load_assets
from mpc_sequencer.core.actions import BUY, GTC
from mpc_sequencer.core.codec import encode
from mpc_sequencer.core.signing import Signer
from mpc_sequencer.devnet.layout import init_devnet


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        devnet = init_devnet(
            Path(folder) / "devnet",
            nodes=4,
            threshold=None,
            accounts=1,
            deployer=bytes(20),
            ports=[7700, 7701, 7702, 7703],
            chain_url=None,
        )
        committee = devnet.file.committee
        assets = load_assets(devnet.assets_path)
        market = committee.genesis.markets[0]
        units = MarketUnits(market, assets[market.base_asset], assets[market.quote_asset])

        trader = Signer(secrets.token_bytes(32))
        now_ms = time.time_ns() // 1_000_000
        label = make_label(committee, trader.address, validity_window(now_ms))
        action = limit_order(
            committee,
            label,
            account=trader.address,
            nonce=1,
            market=market.id,
            side=BUY,
            time_in_force=GTC,
            price_ticks=units.price_ticks("61800.3"),
            quantity_lots=units.quantity_lots("0.25"),
        )
        print("a wallet would show:", typed_data(committee, action)["message"])
        signed = sign_action(committee, action, trader)
        sealed = seal_order(committee, label, signed, trader, sigma=secrets.token_bytes(32))
        print("order id:", sealed.order_id.hex())

        for check in inspect_envelope(committee, encode(sealed.envelope), now_ms).checks:
            print(f"  {check.name:<18} {check.verdict}")

        ciphertext = bytearray(sealed.envelope.ciphertext)
        ciphertext[-1] ^= 1
        changed = msgspec.structs.replace(sealed.envelope, ciphertext=bytes(ciphertext))
        print("with one bit of the ciphertext changed:")
        print(" ", inspect_envelope(committee, encode(changed), now_ms).first_refusal)


if __name__ == "__main__":
    main()
