"""``mpcseq chain``: the settlement contract from a terminal: how it stands, money in and out, and what anyone may do
when the committee does not."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mpc_sequencer.cli.options import AsJson, CommitteePath, read_committee
from mpc_sequencer.cli.output import console, print_json, table

if TYPE_CHECKING:
    from mpc_sequencer.settlement.contract import SettlementContract

app = typer.Typer(no_args_is_help=True)
Url = Annotated[str, typer.Option("--url", help="The chain node's JSON-RPC endpoint.")]
KeyFile = Annotated[Path, typer.Option("--key", help="The file with the account key that sends and pays (hex).")]
Account = Annotated[str, typer.Option(help="The account it is for (0x...). Default: the sender's.")]
Asset = Annotated[int, typer.Argument(help="The asset's number in the committee file.", min=0, max=63)]


@app.callback()
def _group() -> None:
    """Look at the settlement contract, and send to it."""


def _contract(committee: Path, url: str) -> SettlementContract:
    """The deployment's contract on the chain at ``url``. Raises ConfigError, ChainError."""
    from mpc_sequencer.settlement.contract import SettlementContract

    genesis = read_committee(committee).genesis
    contract = SettlementContract(url, genesis.settlement)
    contract.check_chain_id(genesis.chain_id)
    contract.connect()
    return contract


def _account(given: str, secret: bytes) -> bytes:
    from mpc_sequencer.core.errors import ConfigError
    from mpc_sequencer.core.signing import Signer

    if not given:
        return Signer(secret).address
    text = given.removeprefix("0x")
    try:
        account = bytes.fromhex(text)
    except ValueError:
        account = b""
    if len(account) != 20:
        raise ConfigError(f"account is {given}, expected 20 bytes in hex", "give it as 0x and 40 hex digits")
    return account


def _secret(path: Path) -> bytes:
    from mpc_sequencer.node.passphrases import read_key_file

    return read_key_file(path)


def _done(as_json: bool, text: str, **fields: Any) -> None:
    if as_json:
        print_json(fields)
    else:
        console().print(text)


@app.command("status")
def status(url: Url, committee: CommitteePath, as_json: AsJson = False) -> None:
    """How the contract stands: results, commits, forced orders, rotation, and whether it takes anything."""
    contract = _contract(committee, url)
    block = contract.block_number()
    view = contract.view_at(block)
    fields: dict[str, Any] = {
        "block": block,
        "state": view.stopped or "open",
        "epoch": view.epoch,
        "result_height": view.result_height,
        "commit_height": view.commit_height,
        "next_signers_usable_block": view.usable_block or None,
        "inputs": int(contract.queue_count("inputs_count")),
        "forced": int(contract.queue_count("forced_count")),
        "staged_height": None if view.staged is None else view.staged.height,
    }
    if as_json:
        print_json(fields)
    else:
        rows = [(name.replace("_", " "), "-" if value is None else value) for name, value in fields.items()]
        console().print(table("settlement contract", ("", ""), rows))


@app.command("deposit")
def deposit(
    asset: Asset,
    amount: Annotated[int, typer.Argument(help="Base units.", min=1)],
    url: Url,
    committee: CommitteePath,
    key: KeyFile,
    account: Account = "",
    as_json: AsJson = False,
) -> None:
    """Deposit tokens of the sender's account, which are approved first."""
    contract, secret = _contract(committee, url), _secret(key)
    receiver = _account(account, secret)
    tokens = contract.asset_tokens()
    _check_asset(asset, len(tokens))
    contract.approve(secret, tokens[asset], amount)
    contract.deposit(secret, asset, amount, receiver)
    _done(as_json, f"deposited {amount} of asset {asset} for 0x{receiver.hex()}", asset=asset, amount=amount,
          account="0x" + receiver.hex())  # fmt: skip


@app.command("claim")
def claim(
    asset: Asset, url: Url, committee: CommitteePath, key: KeyFile, account: Account = "", as_json: AsJson = False
) -> None:
    """Pay an account what it has withdrawn (`mpcseq order withdraw`); anyone may pay the gas."""
    contract, secret = _contract(committee, url), _secret(key)
    receiver = _account(account, secret)
    _, amount = contract.balance(receiver, asset)
    contract.claim(secret, asset, receiver)
    _done(as_json, f"paid {amount} of asset {asset} to 0x{receiver.hex()}", asset=asset, amount=amount,
          account="0x" + receiver.hex())  # fmt: skip


@app.command("force")
def force(
    envelope: Annotated[Path, typer.Argument(help="A sealed order, as `mpcseq order seal` writes it.")],
    url: Url,
    committee: CommitteePath,
    key: KeyFile,
    as_json: AsJson = False,
) -> None:
    """Queue a sealed order on the chain: the committee must batch it, or anybody can freeze the contract."""
    contract, secret = _contract(committee, url), _secret(key)
    fee_wei = int(contract.council_view("forced_fee_wei"))
    due_block = contract.force(secret, _envelope(envelope), fee_wei)
    _done(as_json, f"queued for {fee_wei} wei, due by block {due_block}", fee_wei=fee_wei, due_block=due_block)


@app.command("freeze")
def freeze(url: Url, committee: CommitteePath, key: KeyFile, as_json: AsJson = False) -> None:
    """End the committee's power where a forced order was not covered in time. There is no way back."""
    contract = _contract(committee, url)
    contract.send(_secret(key), "freeze")
    _done(as_json, "frozen: everybody can take out what the contract holds for them", frozen=True)


@app.command("exit")
def exit_(
    asset: Asset, url: Url, committee: CommitteePath, key: KeyFile, account: Account = "", as_json: AsJson = False
) -> None:
    """Pay an account its whole balance out of a frozen contract."""
    contract, secret = _contract(committee, url), _secret(key)
    receiver = _account(account, secret)
    free, withdrawable = contract.balance(receiver, asset)
    contract.send(secret, "exit", asset, receiver)
    amount = free + withdrawable
    _done(as_json, f"paid {amount} of asset {asset} to 0x{receiver.hex()}", asset=asset, amount=amount,
          account="0x" + receiver.hex())  # fmt: skip


def _check_asset(asset: int, count: int) -> None:
    from mpc_sequencer.core.errors import ConfigError

    if asset >= count:
        raise ConfigError(f"asset {asset} is not listed", f"the contract knows assets 0 to {count - 1}")


def _envelope(path: Path) -> bytes:
    """The bytes that a sealed order's file holds."""
    from mpc_sequencer.core import limits
    from mpc_sequencer.core.codec import decode
    from mpc_sequencer.core.errors import ConfigError, ProtocolError
    from mpc_sequencer.core.types import Envelope
    from mpc_sequencer.node import files

    data = files.read_bounded(path, limits.FORCED_BYTES_MAX, "give a sealed order's file, and no larger one")
    try:
        decode(Envelope, data)
    except ProtocolError as error:
        raise ConfigError(f"{path} is no sealed order: {error}", "write one with `mpcseq order seal`") from None
    return data
