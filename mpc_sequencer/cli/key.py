"""``mpcseq key``. Secrets go from file to file; what is printed is public."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mpc_sequencer.cli.options import (
    AsJson,
    Kdf,
    KdfOrSame,
    NewPassphraseFile,
    PassphraseFile,
    output_exists,
    parse_kdf,
    read_committee,
)
from mpc_sequencer.cli.output import console, print_fields, print_json

if TYPE_CHECKING:
    from mpc_sequencer.node.keystore import KeystoreHeader

app = typer.Typer(no_args_is_help=True)

KeystorePath = Annotated[Path, typer.Argument(metavar="KEYSTORE", help="A member's keystore.")]
NewKeystorePath = Annotated[Path, typer.Argument(metavar="KEYSTORE", help="A new file; one that exists is refused.")]
ExportPath = Annotated[Path, typer.Argument(metavar="EXPORT", help="A file that `mpcseq key export` wrote.")]


@app.callback()
def _group() -> None:
    """Make, show, move and serve a member's keys. No command prints a secret."""


@app.command("new")
def new(
    keystore: NewKeystorePath,
    consensus_key: Annotated[
        str | None,
        typer.Option(
            "--consensus-key",
            metavar="HEX",
            help="Public key of a remote signer: then the keystore gets no consensus secret of its own.",
        ),
    ] = None,
    kdf: Kdf = "moderate",
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Make a member's consensus key and log key, and write its keystore."""
    from mpc_sequencer.node.keystore import NodeSecrets, create, new_secrets
    from mpc_sequencer.node.passphrases import read_passphrase

    profile, remote_key = parse_kdf(kdf), _parse_key(consensus_key)
    _refuse_existing(keystore, vault=True)
    passphrase = read_passphrase(file=passphrase_file, prompt=True, twice=True)
    made = new_secrets()
    if remote_key is not None:
        made = NodeSecrets(None, made.log_seed, made.vault_key)
    header = create(keystore, made, passphrase, profile=profile, consensus_key=remote_key)
    _show(keystore, header, as_json)


@app.command("show")
def show(keystore: KeystorePath, as_json: AsJson = False) -> None:
    """Print the public keys a keystore or an export names. Asks no passphrase; `check` proves what they say."""
    from mpc_sequencer.node.keystore import read_header

    _show(keystore, read_header(keystore), as_json)


@app.command("check")
def check(
    keystore: KeystorePath,
    committee: Annotated[
        Path | None, typer.Option("--committee", help="Also find the member of this committee file.")
    ] = None,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Open a keystore: the passphrase is right, the file whole, its public keys those of its secrets."""
    from mpc_sequencer.core.errors import ConfigError
    from mpc_sequencer.node.keystore import open_keystore, read_header
    from mpc_sequencer.node.passphrases import read_passphrase

    header = read_header(keystore)
    file = None if committee is None else read_committee(committee)
    open_keystore(keystore, read_passphrase(file=passphrase_file, prompt=True))
    more: dict[str, Any] = {"opens": True}
    if file is not None:
        own = [header.consensus_key, header.log_key]
        keys = [[member.consensus_key, member.log_key] for member in file.genesis.members]
        if own not in keys:
            raise ConfigError(
                f"{keystore} is of no member of {committee}", "give the committee file the keys of `mpcseq key show`"
            )
        more["member"] = keys.index(own)
    _show(keystore, header, as_json, more)


@app.command("identity")
def identity(
    keystore: Annotated[Path, typer.Option("--keystore", help="The keystore of the member that is to join.")],
    endpoint: Annotated[str, typer.Option("--endpoint", help="Where it listens for members and clients: host:port.")],
    out: Annotated[Path, typer.Option("--out", help="The file for the operators. It holds no secret.")],
    passphrase_file: PassphraseFile = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite --out.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write who a new member is: public keys, endpoint and TLS certificate, for `mpcseq committee propose --add`."""
    from mpc_sequencer.node import tls
    from mpc_sequencer.node.config import format_endpoint, parse_endpoint
    from mpc_sequencer.node.keystore import open_keystore, read_header
    from mpc_sequencer.node.next_committee import next_member, save_member
    from mpc_sequencer.node.passphrases import read_passphrase

    listens = format_endpoint(parse_endpoint(endpoint, "--endpoint"))
    output_exists(out, force)
    header = read_header(keystore)
    held = open_keystore(keystore, read_passphrase(file=passphrase_file, prompt=True))
    member = next_member(header.consensus_key, header.log_key, listens, tls.member_certificate(held.log_seed))
    save_member(out, member)
    _show(out, header, as_json, {"endpoint": listens})


@app.command("export")
def export(
    keystore: KeystorePath,
    out: Annotated[Path, typer.Argument(metavar="EXPORT", help="A new file; one that exists is refused.")],
    kdf: Kdf = "moderate",
    passphrase_file: PassphraseFile = None,
    new_passphrase_file: NewPassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Write a member's identity keys to a portable file, encrypted under a passphrase of its own.

    Threshold shares are not in it: a member that lost its own gets one at the next refresh.
    """
    from mpc_sequencer.node.keystore import NodeSecrets, create, open_keystore, read_header
    from mpc_sequencer.node.passphrases import read_passphrase

    profile = parse_kdf(kdf)
    _refuse_existing(out)
    held = open_keystore(keystore, read_passphrase(file=passphrase_file, prompt=True))
    exported = NodeSecrets(held.consensus_secret, held.log_seed, None)
    remote_key = read_header(keystore).consensus_key if held.consensus_secret is None else None
    passphrase = _new_passphrase(new_passphrase_file)
    header = create(out, exported, passphrase, profile=profile, kind="export", consensus_key=remote_key)
    _show(out, header, as_json)


@app.command("import")
def import_(
    exported: ExportPath,
    keystore: NewKeystorePath,
    remote_signer: Annotated[
        bool,
        typer.Option("--remote-signer", help="Leave the consensus secret out: a remote signer holds it."),
    ] = False,
    kdf: Kdf = "moderate",
    passphrase_file: PassphraseFile = None,
    new_passphrase_file: NewPassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Make a member's keystore of an export, with a new, empty vault's key."""
    from mpc_sequencer.node.keystore import NodeSecrets, create, new_secrets, open_keystore, read_header
    from mpc_sequencer.node.passphrases import read_passphrase

    profile = parse_kdf(kdf)
    _refuse_existing(keystore, vault=True)
    held = open_keystore(exported, read_passphrase(file=passphrase_file, prompt=True), kind="export")
    leave_out = remote_signer or held.consensus_secret is None
    kept = NodeSecrets(None if leave_out else held.consensus_secret, held.log_seed, new_secrets().vault_key)
    remote_key = read_header(exported).consensus_key if leave_out else None
    passphrase = _new_passphrase(new_passphrase_file)
    header = create(keystore, kept, passphrase, profile=profile, consensus_key=remote_key)
    _show(keystore, header, as_json)


@app.command("passphrase")
def passphrase(
    keystore: KeystorePath,
    kdf: KdfOrSame = None,
    passphrase_file: PassphraseFile = None,
    new_passphrase_file: NewPassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Change a keystore's passphrase. Copies made before still open with the old one."""
    from mpc_sequencer.node.keystore import create, open_keystore, read_header
    from mpc_sequencer.node.passphrases import read_passphrase

    header = read_header(keystore)
    profile = (header.opslimit, header.memlimit_bytes) if kdf is None else parse_kdf(kdf)
    held = open_keystore(keystore, read_passphrase(file=passphrase_file, prompt=True))
    remote_key = header.consensus_key if held.consensus_secret is None else None
    fresh = _new_passphrase(new_passphrase_file)
    header = create(keystore, held, fresh, profile=profile, consensus_key=remote_key, replace=True)
    _show(keystore, header, as_json)


@app.command("serve")
def serve(
    keystore: Annotated[Path, typer.Option("--keystore", help="The keystore with the consensus secret.")],
    socket: Annotated[Path, typer.Option("--socket", help="The Unix domain socket to make, mode 0600.")],
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Sign for a node of this user until SIGTERM or Ctrl-C. It signs any digest it is given."""
    import logging

    import trio

    from mpc_sequencer.core.errors import ConfigError
    from mpc_sequencer.core.signing import Signer
    from mpc_sequencer.node.keystore import open_keystore
    from mpc_sequencer.node.passphrases import read_passphrase
    from mpc_sequencer.node.remote_signer import serve_signer, until_signal

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    held = open_keystore(keystore, read_passphrase(file=passphrase_file, prompt=True))
    if held.consensus_secret is None:
        raise ConfigError(f"{keystore} has no consensus secret", "give the keystore of the key that is to sign")
    signer = Signer(held.consensus_secret)

    async def run() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(until_signal, nursery.cancel_scope)
            await nursery.start(serve_signer, signer, socket)
            serving = {"socket": str(socket), "address": "0x" + signer.address.hex()}
            if as_json:
                print_json(serving)
            else:
                console().print(f"signing for {serving['address']} at {socket}", markup=False, soft_wrap=True)

    trio.run(run)


def _new_passphrase(file: Path | None) -> str:
    from mpc_sequencer.node.passphrases import NEW_PASSPHRASE_ENVIRONMENT, read_passphrase

    return read_passphrase(NEW_PASSPHRASE_ENVIRONMENT, file, prompt=True, label="New passphrase: ", twice=True)


def _refuse_existing(path: Path, *, vault: bool = False) -> None:
    """Before anybody types a passphrase. Raises :class:`ConfigError`."""
    import os

    from mpc_sequencer.core.errors import ConfigError
    from mpc_sequencer.node.config import vault_of

    if os.path.lexists(path):
        raise ConfigError(f"{path} exists already", "move it away first; it may hold a member's only keys")
    if vault and os.path.lexists(vault_of(path)):
        raise ConfigError(
            f"{vault_of(path)} is the vault of another keystore", "no new keystore opens it: move it away first"
        )


def _parse_key(text: str | None) -> bytes | None:
    """A consensus key in hex. Raises :class:`ConfigError`."""
    from mpc_sequencer.core.errors import ConfigError

    if text is None:
        return None
    try:
        key = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        key = b""
    if len(key) == 32:
        # somebody may have pasted the secret; it is not repeated
        raise ConfigError("--consensus-key has 32 bytes, a public key has 33", "never give a secret on a command line")
    if not key:
        raise ConfigError("--consensus-key is not hex", "take consensus_key from `mpcseq key show`")
    return key


def _show(path: Path, header: KeystoreHeader, as_json: bool, more: dict[str, Any] | None = None) -> None:
    shown: dict[str, Any] = {
        "file": str(path),
        "kind": header.kind,
        "address": "0x" + header.address().hex(),
        "consensus_key": "0x" + header.consensus_key.hex(),
        "signer": header.signer,
        "log_key": "0x" + header.log_key.hex(),
        "kdf_passes": header.opslimit,
        "kdf_memory_bytes": header.memlimit_bytes,
        **(more or {}),
    }
    if as_json:
        print_json(shown)
    else:
        print_fields(console(), list(shown.items()))
