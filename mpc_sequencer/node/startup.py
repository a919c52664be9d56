"""What a member checks before it starts: that its keys are the committee's, and what the chain says up to genesis."""

from __future__ import annotations

from mpc_sequencer.core.errors import ConfigError
from mpc_sequencer.core.signing import Signer
from mpc_sequencer.core.transcript import ChainInput
from mpc_sequencer.node.config import CommitteeFile, NodeConfig
from mpc_sequencer.node.keystore import NodeSecrets
from threshold import SecretShare


def check_identity(
    config: NodeConfig, file: CommitteeFile, opened: NodeSecrets
) -> tuple[Signer, SecretShare]:
    """The keystore's keys must be those the committee file gives this member."""
    hint = "point node.json at the keystore and the index that belong together"
    member = file.genesis.members[config.index]
    signer = Signer(opened.consensus_secret)
    if signer.public_key != member.consensus_key:
        raise ConfigError(f"the keystore's consensus key is not that of member {config.index}", hint)
    share = SecretShare(opened.share_index, opened.share_secret)
    if opened.share_index != config.index + 1 or share.verification_key() != member.verification_key:
        raise ConfigError(f"the keystore's threshold share is not that of member {config.index}", hint)
    return signer, share


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
