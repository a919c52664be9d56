"""What a member checks before it starts: that its keys are the committee's, and what the chain says up to genesis."""

from __future__ import annotations

from mpc_sequencer.core.errors import ConfigError
from mpc_sequencer.core.keys import SHARE_PREFIX
from mpc_sequencer.core.signing import Signer
from mpc_sequencer.core.transcript import ChainInput
from mpc_sequencer.node.config import CommitteeFile, NodeConfig
from mpc_sequencer.node.keystore import NodeSecrets
from mpc_sequencer.node.remote_signer import RemoteSigner
from mpc_sequencer.node.share_files import get_share
from mpc_sequencer.node.vault import Vault
from threshold import SecretShare

_HINT = "point node.json at the keystore and the index that belong together"


def open_vault(config: NodeConfig, opened: NodeSecrets) -> Vault:
    """The vault beside the keystore. Raises :class:`ConfigError`. Blocking."""
    if opened.vault_key is None:
        raise ConfigError(f"{config.keystore} has no vault key", "make a member's keystore with `mpcseq key import`")
    return Vault(config.vault, opened.vault_key)


def check_signer(config: NodeConfig, file: CommitteeFile, opened: NodeSecrets) -> Signer:
    """What signs for this member: the keystore's consensus key, or the remote signer that node.json names. It must be
    the key the committee file gives this member. A remote signer is asked once. Raises :class:`ConfigError`."""
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


def check_share(config: NodeConfig, file: CommitteeFile, vault: Vault) -> SecretShare | None:
    """The vault's share must be the one the committee file gives this member; None where the first blocks generate the
    key, and the core looks for the share itself."""
    if not file.genesis.public_key:
        return None
    share = get_share(vault, file.genesis.epoch)
    if share is None and any(name.startswith(SHARE_PREFIX) for name in vault.names()):
        return None  # the key was shared anew, and this share erased
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
        seen = client.checkpoint(genesis.checkpoint.number)
        inputs = client.inputs(genesis.checkpoint.number)
    except ChainError as error:
        raise ConfigError(str(error), "start the chain's node, or correct chain_url in node.json") from None
    expected = genesis.checkpoint
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
        ChainInput(one.kind, one.account, one.asset, one.amount.to_bytes(32, "big")) for one in inputs
    )
