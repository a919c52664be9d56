"""What a member checks before it starts: that its keys are the committee's, and what the chain says up to genesis.

The inputs up to genesis never change and the committee file holds the end of their hash chain, so a copy of them is as
good as the chain: a member that loses its data folder takes the one beside node.json, and needs no chain to go on.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from mpc_sequencer.core.codec import decode, encode
from mpc_sequencer.core.errors import ConfigError, ProtocolError
from mpc_sequencer.core.keys import SHARE_PREFIX
from mpc_sequencer.core.signing import Signer
from mpc_sequencer.core.transcript import ChainInput
from mpc_sequencer.core.types import ZERO_HASH, Checkpoint
from mpc_sequencer.node import files, tls
from mpc_sequencer.node.config import CommitteeFile, NodeConfig
from mpc_sequencer.node.keystore import NodeSecrets, read_header
from mpc_sequencer.node.remote_signer import RemoteSigner
from mpc_sequencer.node.share_files import get_share
from mpc_sequencer.node.vault import Vault
from mpc_sequencer.settlement.payloads import next_inputs_hash
from threshold import SecretShare

INPUTS_FILE: Final = "genesis-inputs"
INPUTS_FILE_BYTES_MAX: Final = 64 << 20
_HINT: Final = "point node.json at the keystore and the index that belong together"
_HINT_INPUTS: Final = "remove it: it is read from the chain again"

logger = logging.getLogger("mpc_sequencer.node")



def open_vault(config: NodeConfig, opened: NodeSecrets) -> Vault:
    """The vault beside the keystore. Raises :class:`ConfigError`. Blocking."""
    if opened.vault_key is None:
        raise ConfigError(f"{config.keystore} has no vault key", "make a member's keystore with `mpcseq key import`")
    return Vault(config.vault, opened.vault_key)


def check_signer(config: NodeConfig, file: CommitteeFile, opened: NodeSecrets) -> Signer:
    """What signs for this member: the keystore's consensus key, or the remote signer that node.json names. It must be
    the key the committee file gives this member, and nobody's there where node.json gives it no index; the log key
    likewise. A remote signer is asked once. Raises :class:`ConfigError`."""
    signer = _signer(config, file, opened)
    log_key = tls.log_key(opened.log_seed)
    taken = {one.consensus_key for one in file.genesis.members} | {one.log_key for one in file.genesis.members}
    if config.index is None and (signer.public_key in taken or log_key in taken):
        raise ConfigError(
            "node.json says null for the index, but the keystore's keys are a member's of the committee file",
            "give the member's index, or a new member keys of its own",
        )
    return signer


def _signer(config: NodeConfig, file: CommitteeFile, opened: NodeSecrets) -> Signer:
    if config.index is None:
        expected = read_header(config.keystore).consensus_key
    else:
        expected = file.genesis.members[config.index].consensus_key
    if config.signer_socket is not None:
        remote = RemoteSigner(config.signer_socket, expected)
        remote.check()
        return remote
    if opened.consensus_secret is None:
        raise ConfigError(
            f"{config.keystore} leaves the consensus key to a remote signer, and node.json names none",
            'set "signer" in node.json to {"socket": "<path>"}, and run `mpcseq key serve` there',
        )
    signer = Signer(opened.consensus_secret)
    if signer.public_key != expected:
        raise ConfigError(f"the keystore's consensus key is not that of member {config.index}", _HINT)
    return signer


def check_share(
    config: NodeConfig, file: CommitteeFile, vault: Vault, *, damaged: bool = False
) -> SecretShare | None:
    """The vault's share must be the one the committee file gives this member; None where the first blocks generate the
    key, and the core looks for the share itself, and for who joins later. Where the data folder is ``damaged`` it may
    be a later epoch's, whose committee this member is not in: then it needs none."""
    if config.index is None or not file.genesis.public_key:
        return None
    share = get_share(vault, file.genesis.epoch)
    if share is None and any(name.startswith(SHARE_PREFIX) for name in vault.names()):
        return None  # the key was shared anew, and this share erased
    if share is None and damaged:
        logger.error("the vault %s has no share: this member opens nothing", config.vault)
        return None
    if share is None:
        raise ConfigError(f"the vault {config.vault} has no share of epoch {file.genesis.epoch}", _HINT)
    expected = file.genesis.members[config.index].verification_key
    if share.index != config.index + 1 or share.verification_key() != expected:
        raise ConfigError(f"the vault's threshold share is not that of member {config.index}", _HINT)
    return share


def read_inputs(config: NodeConfig, file: CommitteeFile) -> tuple[ChainInput, ...]:
    """The chain inputs up to the genesis checkpoint, checked against it. Blocking."""
    # web3 takes half a second to import: only where a chain is spoken to
    from mpc_sequencer.settlement.chain import ChainClient
    from mpc_sequencer.settlement.errors import ChainError
    from mpc_sequencer.settlement.queue import read_queue

    if config.chain_url is None:
        raise ConfigError(
            "node.json names no chain", "set chain_url to the JSON-RPC endpoint of a chain node"
        )
    genesis = file.genesis
    try:
        client = ChainClient(config.chain_url, genesis.settlement)
        if client.connect() != genesis.chain_id:
            raise ConfigError(
                f"the chain at {config.chain_url} is not chain {genesis.chain_id}", "correct chain_url"
            )
        queue = read_queue(client, 0, ZERO_HASH, 0, genesis.checkpoint.number)
    except ChainError as error:
        raise ConfigError(str(error), "start the chain's node, or correct chain_url in node.json") from None
    seen, expected = queue.checkpoint, genesis.checkpoint
    if (seen.hash, seen.inputs_count, seen.inputs_hash) != (
        expected.block_hash,
        expected.inputs_count,
        expected.inputs_hash,
    ):
        raise ConfigError(
            f"block {expected.number} of the chain is not the genesis checkpoint",
            "use the committee file that was written for this chain",
        )
    return tuple(
        ChainInput(one.kind, one.account, one.asset, one.amount.to_bytes(32, "big"), one.envelope)
        for one in queue.inputs
    )


def lead_to(inputs: Sequence[ChainInput], checkpoint: Checkpoint) -> bool:
    """Whether these are all inputs up to the checkpoint: the contract chains them by hash."""
    inputs_hash = ZERO_HASH
    for one in inputs:
        amount = int.from_bytes(one.amount, "big")
        inputs_hash = next_inputs_hash(inputs_hash, one.kind, one.account, one.asset, amount)
    return (len(inputs), inputs_hash) == (checkpoint.inputs_count, checkpoint.inputs_hash)


def kept_inputs(folder: Path, checkpoint: Checkpoint) -> tuple[ChainInput, ...] | None:
    """The inputs out of the copy in the member's folder; None where there is none, or not of this genesis."""
    path = folder / INPUTS_FILE
    if not path.exists():
        return None
    try:
        data = files.read_bounded(path, INPUTS_FILE_BYTES_MAX, _HINT_INPUTS)
        inputs: tuple[ChainInput, ...] = decode(tuple[ChainInput, ...], data, bytes_max=INPUTS_FILE_BYTES_MAX)
    except (ConfigError, ProtocolError) as error:
        logger.error("the copy of the chain inputs does not read: %s", error)
        return None
    if not lead_to(inputs, checkpoint):
        logger.error("%s is not of this genesis: the chain inputs are read from the chain", path)
        return None
    return inputs


def keep_inputs(folder: Path, inputs: Sequence[ChainInput]) -> None:
    """Leave a copy in the member's folder; one that cannot be written is only logged."""
    try:
        files.write_atomically(folder / INPUTS_FILE, encode(tuple(inputs)), mode=0o600)
    except ConfigError as error:
        logger.warning("no copy of the chain inputs is kept: %s", error)
