"""``mpcseq order seal``: one action, signed and sealed, offline but for the keys of a dark market."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mpc_sequencer.cli.options import (
    COMMITTEE_DEFAULT,
    AsJson,
    CommitteePath,
    KeyFile,
    PassphraseFile,
    TimeoutS,
    no_key,
    output_exists,
    read_committee,
    use_key,
)
from mpc_sequencer.cli.output import console, print_fields, print_json

if TYPE_CHECKING:
    from mpc_sequencer.core.signing import Signer

Text = str | None
Number = int | None


def seal(
    out: Annotated[Path, typer.Option(help="Where to write the envelope.")],
    nonce: Annotated[int, typer.Option(min=0, help="The account's nonce; each can be used once.")],
    side: Annotated[Text, typer.Option(help="buy or sell.")] = None,
    kind: Annotated[
        str, typer.Option(help="limit, market, stop (a market order once triggered) or stop_limit.")
    ] = "limit",
    price: Annotated[
        Text, typer.Option(help="Limit price, such as 61800.3; of a market order or stop the worst price it takes.")
    ] = None,
    quantity: Annotated[Text, typer.Option(help="Quantity, such as 0.25; a multiple of the lot.")] = None,
    market: Annotated[str, typer.Option(help="The market's symbol or id.")] = "0",
    time_in_force: Annotated[
        Text,
        typer.Option(
            "--time-in-force",
            "--tif",
            help="GTC: the rest stays in the book. GTD: until --expires-ms. IOC: the rest lapses. FOK: all or nothing."
            " Default: GTC, of market orders and stops IOC.",
        ),
    ] = None,
    price_ticks: Annotated[Number, typer.Option(help="The price in ticks, instead of --price.")] = None,
    quantity_lots: Annotated[Number, typer.Option(help="The quantity in lots, instead of --quantity.")] = None,
    reference_price: Annotated[
        Text, typer.Option(help="With --slippage, instead of --price: what the market trades at.")
    ] = None,
    slippage: Annotated[
        Text, typer.Option(help="How much worse than --reference-price it may trade: 0.005 is half a percent.")
    ] = None,
    stop_price: Annotated[Text, typer.Option(help="Where a stop triggers.")] = None,
    stop_ticks: Annotated[Number, typer.Option(help="The same in ticks.")] = None,
    display: Annotated[Text, typer.Option(help="An iceberg: the quantity that the book shows at a time.")] = None,
    display_lots: Annotated[Number, typer.Option(help="The same in lots.")] = None,
    post_only: Annotated[bool, typer.Option("--post-only", help="End it rather than trade on arrival.")] = False,
    self_trade: Annotated[
        str,
        typer.Option(help="Against orders of the same account: allowed, cancel_maker, cancel_taker or cancel_both."),
    ] = "allowed",
    client_id: Annotated[int, typer.Option(min=0, help="The account's own name for the order; 0 for none.")] = 0,
    expires_ms: Annotated[int, typer.Option(min=0, help="Unix ms at which a GTD order ends.")] = 0,
    cancel: Annotated[Number, typer.Option(min=0, help="Cancel the order of this nonce instead of trading.")] = None,
    cancel_all: Annotated[
        Text, typer.Option(help="Cancel all open orders in this market (symbol or id), or in `every` one.")
    ] = None,
    replace: Annotated[
        Number,
        typer.Option(min=0, help="Replace the order of this nonce; the quantity is the total, its fills included."),
    ] = None,
    withdraw: Annotated[Text, typer.Option(help="Withdraw this asset (symbol or id) instead of trading.")] = None,
    amount: Annotated[Text, typer.Option(help="Amount to withdraw, such as 12.5.")] = None,
    deposit: Annotated[
        str,
        typer.Option(
            help="In a dark market, what the order locks for all to see. hide: both assets, rounded up, so that nobody"
            " sees its side; side: the asset that it pays with; QUOTE:BASE: these amounts of the two assets."
        ),
    ] = "hide",
    timeout: TimeoutS = 30.0,
    lifetime: Annotated[float, typer.Option(help="Seconds for which the envelope is valid, at most 600.")] = 60.0,
    key_file: Annotated[
        Path | None, typer.Option(help="The account's key (hex or a wallet's JSON). Else MPCSEQ_ACCOUNT_KEY.")
    ] = None,
    sponsor_key_file: Annotated[
        Path | None, typer.Option(help="The sponsor's key, who pays for ordering. Default: the account itself.")
    ] = None,
    passphrase_file: PassphraseFile = None,
    assets: Annotated[
        Path | None,
        typer.Option(help="Names and decimals of assets. Default: assets.json beside the committee file."),
    ] = None,
    committee: CommitteePath = COMMITTEE_DEFAULT,
    key: KeyFile = None,
    as_hex: Annotated[bool, typer.Option("--hex", help="Write 0x and hex digits instead of bytes.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite --out.")] = False,
    as_json: AsJson = False,
) -> None:
    """Sign and seal one order, cancellation, replacement or withdrawal, offline. Nobody can read it before its place is
    final, and one in a dark market never: its keys are asked of the members (and the balance, where --deposit is hide).
    """
    from mpc_sequencer.cli.sealing import SealOptions, dark_order_of, dark_terms_of, seal_options
    from mpc_sequencer.core.actions import DarkOrder
    from mpc_sequencer.core.codec import encode
    from mpc_sequencer.node import files

    file = read_committee(committee)
    output_exists(out, force)
    use_key(file, key, committee)
    if file.committee.keys is None:
        raise no_key()
    account = _signer(key_file, passphrase_file)
    sponsor = account if sponsor_key_file is None else _signer(sponsor_key_file, passphrase_file)
    options = SealOptions(
        nonce=nonce,
        lifetime_s=lifetime,
        side=side,
        kind=kind,
        market=market,
        time_in_force=time_in_force,
        price=price,
        quantity=quantity,
        price_ticks=price_ticks,
        quantity_lots=quantity_lots,
        reference_price=reference_price,
        slippage=slippage,
        stop_price=stop_price,
        stop_ticks=stop_ticks,
        display=display,
        display_lots=display_lots,
        post_only=post_only,
        self_trade=self_trade,
        client_id=client_id,
        expires_ms=expires_ms,
        cancel=cancel,
        cancel_all=cancel_all,
        replace=replace,
        withdraw=withdraw,
        amount=amount,
    )
    assets_path = committee.parent / "assets.json" if assets is None else assets
    dark = dark_order_of(file.committee, options)
    if dark is None:
        sealed = seal_options(file.committee, options, account, sponsor, assets_path)
    else:
        from mpc_sequencer.cli.sealing_dark import DarkSealOptions, parse_deposit, seal_dark

        terms, units = dark_terms_of(file.committee, dark, options, assets_path)
        picked = parse_deposit(deposit, units)
        sealed = seal_dark(
            file, DarkSealOptions(account, sponsor, round(lifetime * 1_000), picked), terms, nonce, timeout
        )
    data = encode(sealed.envelope)
    files.write_atomically(out, b"0x" + data.hex().encode() + b"\n" if as_hex else data, mode=0o644)
    label = sealed.envelope.decoded_label()
    written: dict[str, Any] = {
        "order_id": sealed.order_id.hex(),
        "action": type(sealed.signed.action).__name__.lower(),
        "file": str(out),
        "bytes": len(data),
        "account": "0x" + account.address.hex(),
        "sponsor": "0x" + sponsor.address.hex(),
        "nonce": nonce,
        "valid_from_ms": label.valid_from_ms,
        "valid_until_ms": label.valid_until_ms,
    }
    if isinstance(sealed.signed.action, DarkOrder):
        written |= {
            "quote_tick_lots_locked": sealed.signed.action.quote_tick_lots,
            "base_lots_locked": sealed.signed.action.base_lots,
            "keys": sealed.signed.action.keys.hex(),
        }
    if as_json:
        print_json(written)
    else:
        print_fields(console(), list(written.items()))
        console().print(f"next: mpcseq order submit {out} --committee {committee}", markup=False)


def _signer(path: Path | None, passphrase_file: Path | None) -> Signer:
    from mpc_sequencer.client.keys import read_account_key
    from mpc_sequencer.node.passphrases import read_passphrase

    return read_account_key(path, lambda: read_passphrase(file=passphrase_file, prompt=True))
