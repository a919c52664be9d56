"""Seal one order with no network at all, look at what anybody can see of it, and see a changed byte refused.

    python examples/01_seal_and_inspect_offline.py [FOLDER]

FOLDER is one that `mpcseq demo --folder FOLDER` or `mpcseq devnet up FOLDER` left: it holds the committee file, and the
key file with q members' proof of the threshold key (`mpcseq committee key --out` fetches it). Without FOLDER a
committee is made up in memory, and its key dealt by this process. Then the example makes a limit order, seals it, and
runs every check a member would make; and it flips one bit of the ciphertext.
"""

from __future__ import annotations

import secrets
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from mpc_sequencer.client import (
    MarketUnits,
    inspect_envelope,
    limit_order,
    load_key,
    make_label,
    seal_order,
    sign_action,
    typed_data,
    validity_window,
)
from mpc_sequencer.client.keys import load_assets
from mpc_sequencer.core.actions import BUY, GTC
from mpc_sequencer.core.codec import encode
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.signing import Signer
from mpc_sequencer.devnet.layout import Devnet, init_devnet, open_devnet
from threshold import deal


def known_committee(devnet: Devnet) -> Committee:
    """The committee with the key that its members generated, proven by the key file."""
    committee = devnet.file.committee
    if not committee.genesis.public_key:
        key = load_key(devnet.folder / "key.json", committee)
        print(f"key {key.key_id.hex()[:16]}: signed by members {key.signers}, dealt by {key.qualified}")
    return committee


def made_up_committee(folder: Path) -> tuple[Committee, Devnet]:
    """A committee whose key one process has dealt, and so has seen: for trying things out."""
    ports = [7700, 7701, 7702, 7703]
    devnet = init_devnet(
        folder, nodes=4, threshold=None, accounts=1, deployer=bytes(20), ports=ports, chain_url=None
    )
    genesis = devnet.file.genesis
    dealing = deal(4, genesis.threshold, secret=None, entropy=secrets.token_bytes(32))
    members = tuple(
        msgspec.structs.replace(member, verification_key=key)
        for member, key in zip(genesis.members, dealing.verification_keys, strict=True)
    )
    return Committee(msgspec.structs.replace(genesis, public_key=dealing.public_key, members=members)), devnet


def main(given: Path | None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        if given is not None:
            devnet = open_devnet(given)
            committee = known_committee(devnet)
        else:
            committee, devnet = made_up_committee(Path(folder) / "devnet")
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
    main(Path(sys.argv[1]) if len(sys.argv) == 2 else None)
