"""A deployment for the settlement tests, and what its committee signs."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from mpc_sequencer.core.eip712 import domain_separator
from mpc_sequencer.core.signing import Signer
from mpc_sequencer.settlement.chain import Bond, ChainClient, Deposit
from mpc_sequencer.settlement.devchain import DEV_SECRET
from mpc_sequencer.settlement.payloads import BatchResult, Delta, SignedResult, batch_result_digest
from mpc_sequencer.settlement.terms import Terms

GENESIS_ROOT = hashlib.sha256(b"genesis").digest()


@dataclass
class Deployment:
    """A started contract with four signers, two assets, two funded traders, and what signs results for it."""

    chain: ChainClient
    members: list[Signer]
    traders: list[bytes]
    tokens: list[bytes]

    def result(
        self,
        first: int,
        last: int,
        previous: bytes,
        *deltas: Delta,
        epoch: int = 0,
        members: list[Signer] | None = None,
    ) -> SignedResult:
        head = self.chain.checkpoint(self.chain.block_number())
        result = BatchResult(
            epoch=epoch,
            first_height=first,
            last_height=last,
            prev_state_root=previous,
            state_root=hashlib.sha256(b"state %d" % last).digest(),
            fills_root=hashlib.sha256(b"fills").digest(),
            data_hash=hashlib.sha256(b"data").digest(),
            inputs_count=head.inputs_count,
            inputs_hash=head.inputs_hash,
            deltas=deltas,
        )
        assert self.chain.settlement is not None
        digest = batch_result_digest(domain_separator(self.chain.chain_id(), self.chain.settlement), result)
        return SignedResult(
            result, tuple((index, (members or self.members)[index].sign_digest(digest)) for index in (0, 2, 3))
        )


def deploy(url: str, *, commits_required: bool = True, **terms: int) -> Deployment:
    """A started contract with funded traders on the chain at ``url``."""
    chain = ChainClient(url)
    chain.connect()
    keys = [Signer(hashlib.sha256(b"member %d" % index).digest()) for index in range(4)]
    members = sorted(keys, key=lambda member: member.address)
    tokens = [chain.deploy_token(DEV_SECRET, name, name, 6) for name in ("BTC", "USDT")]
    deployer = Signer(DEV_SECRET).address
    made = Terms(governor=deployer, guardian=deployer, commits_required=commits_required, **terms)
    chain.deploy(DEV_SECRET, [member.address for member in members], 3, tokens, made)
    traders = [bytes([index]) * 20 for index in (0x51, 0x52)]
    deposits = [Deposit(trader, asset, 1_000) for trader in traders for asset in (0, 1)]
    chain.fund(DEV_SECRET, deposits, [Bond(trader, 10**15) for trader in traders])
    chain.start(DEV_SECRET, GENESIS_ROOT, 6)
    return Deployment(chain, members, traders, tokens)
