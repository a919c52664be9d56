"""``mpcseq account``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mpc_sequencer.cli.options import (
    COMMITTEE_DEFAULT,
    AsJson,
    CommitteePath,
    TimeoutS,
    output_exists,
    read_committee,
)
from mpc_sequencer.cli.output import console, print_fields, print_json, table

if TYPE_CHECKING:
    from mpc_sequencer.client.proofs import Proven, ProvenState
    from mpc_sequencer.client.units import AssetUnits

app = typer.Typer(no_args_is_help=True)
Address = Annotated[str, typer.Argument(metavar="ADDRESS", help="The account: 40 hex digits, with or without 0x.")]
Name = Annotated[
    str, typer.Argument(metavar="NAME", help="An account (40 hex digits), an order id (64), or a market's symbol.")
]


@app.callback()
def _group() -> None:
    """Accounts, orders and fills as q members certified them, with proofs that need no trust in who shows them."""


@app.command("show")
def show(
    address: Address,
    committee: CommitteePath = COMMITTEE_DEFAULT,
    timeout: TimeoutS = 30.0,
    as_json: AsJson = False,
) -> None:
    """Ask a member for an account with its proof, verify it, and show the balances. Waits for the certified result."""
    import trio

    from mpc_sequencer.client.proofs import encode_proof, verify_file
    from mpc_sequencer.client.queries import ask_proof
    from mpc_sequencer.core.resultproof import ACCOUNT

    file = read_committee(committee)
    present, proof = trio.run(ask_proof, file, ACCOUNT, _hex(address, 20, "an address"), 0, timeout)
    _show(verify_file(encode_proof(proof, present), file.committee), committee, as_json)


@app.command("prove")
def prove(
    name: Name,
    out: Annotated[Path, typer.Option(help="Where to write the proof.")],
    fills_of: Annotated[
        int | None, typer.Option("--fills-of", min=1, help="Prove the order's fills of this height instead.")
    ] = None,
    committee: CommitteePath = COMMITTEE_DEFAULT,
    timeout: TimeoutS = 30.0,
    force: Annotated[bool, typer.Option("--force", help="Overwrite --out.")] = False,
    as_json: AsJson = False,
) -> None:
    """Ask a member for the proof of an account, an open order, a market or an order's fills; verify and keep it."""
    import trio

    from mpc_sequencer.client.proofs import encode_proof, verify_file
    from mpc_sequencer.client.queries import ask_proof
    from mpc_sequencer.node import files

    file = read_committee(committee)
    output_exists(out, force)
    kind, identifier = _named(name, fills_of, committee)
    present, proof = trio.run(ask_proof, file, kind, identifier, fills_of or 0, timeout)
    data = encode_proof(proof, present)
    proven = verify_file(data, file.committee)
    files.write_atomically(out, data, mode=0o644)
    _show(proven, committee, as_json, {"file": str(out), "bytes": len(data)})


@app.command("verify")
def verify(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="A proof that `mpcseq account prove` wrote.")],
    committee: CommitteePath = COMMITTEE_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Judge a proof by the committee file alone, without any member, and show what it proves. Exit status 2 where it
    proves nothing."""
    from mpc_sequencer.client.proofs import PROOF_FILE_BYTES_MAX, verify_file
    from mpc_sequencer.node import files

    data = files.read_bounded(path, PROOF_FILE_BYTES_MAX, "give a proof that `mpcseq account prove` wrote")
    _show(verify_file(data, read_committee(committee).committee), committee, as_json)


def _named(name: str, fills_of: int | None, committee: Path) -> tuple[int, bytes]:
    """What a name on the command line names."""
    from mpc_sequencer.cli.sealing import find_market
    from mpc_sequencer.core.errors import ConfigError
    from mpc_sequencer.core.resultproof import ACCOUNT, FILL, MARKET, ORDER

    digits = name.removeprefix("0x")
    if fills_of is not None or len(digits) == 64:
        return (ORDER if fills_of is None else FILL), _hex(name, 32, "an order id")
    if len(digits) == 40:
        return ACCOUNT, _hex(name, 20, "an address")
    try:
        market = find_market(read_committee(committee).committee, name)
    except ValueError:
        cause = f"{name!r} is no account, order id or market"
        raise ConfigError(cause, "give 40 or 64 hex digits, or a symbol") from None
    return MARKET, market.id.to_bytes(4, "big")


def _hex(text: str, size: int, what: str) -> bytes:
    from mpc_sequencer.core.errors import ConfigError

    try:
        value = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        value = b""
    if len(value) != size:
        raise ConfigError(f"{text!r} is not {what}", f"give {2 * size} hex digits")
    return value


def _show(proven: ProvenState, committee: Path, as_json: bool, written: dict[str, Any] | None = None) -> None:
    from mpc_sequencer.client.keys import load_assets
    from mpc_sequencer.core.resultproof import KIND_NAMES

    path = committee.parent / "assets.json"
    assets = load_assets(path) if path.exists() else {}
    head = {
        "proven": KIND_NAMES[proven.kind],
        "name": "0x" + proven.identifier.hex(),
        "height": proven.height,
        "certified_ms": proven.certified_ms,
        "epoch": proven.epoch,
        **(written or {}),
    }
    values = [_fields(value, assets) for value in proven.values]
    if as_json:
        print_json({**head, "values": values})
        return
    print_fields(console(), list(head.items()))
    for fields in values:
        balances = fields.pop("balances", None)
        print_fields(console(), list(fields.items()))
        if balances is not None:
            columns = ("asset", "free", "locked", "free_units", "locked_units")
            rows = [[row.get(column, "") for column in columns] for row in balances]
            console().print(table("balances", columns, rows))


def _fields(value: Proven, assets: dict[int, AssetUnits]) -> dict[str, Any]:
    """A proven value as JSON values; amounts in base units, and as decimals where the assets file names the asset."""
    import msgspec

    from mpc_sequencer.market.types import AccountValue

    if not isinstance(value, AccountValue):
        fields = msgspec.structs.asdict(value)
        return {
            name: int.from_bytes(one, "big") if name == "fee" else "0x" + one.hex() if isinstance(one, bytes) else one
            for name, one in fields.items()
        }
    balances = []
    for asset, free_bytes, locked_bytes in value.balances:
        free, locked = int.from_bytes(free_bytes, "big"), int.from_bytes(locked_bytes, "big")
        row: dict[str, Any] = {"asset": asset, "free_units": free, "locked_units": locked}
        if (units := assets.get(asset)) is not None:
            row |= {"asset": units.symbol, "free": units.show(free), "locked": units.show(locked)}
        balances.append(row)
    return {"highest_nonce": value.highest_nonce, "client_ids": list(value.client_ids), "balances": balances}
