"""Order commits and rotations as a committee signs them, for the tests that post them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from mpc_sequencer.core import domains
from mpc_sequencer.core.eip712 import digest, domain_separator, keccak256
from mpc_sequencer.core.signing import Signer
from mpc_sequencer.settlement.claims import OrderCommit, SignedCommit
from mpc_sequencer.settlement.payloads import ZERO_HASH, SignedResult
from mpc_sequencer.settlement.steps import Rotation


def separator(deployment: Any) -> bytes:
    return domain_separator(deployment.chain.chain_id(), deployment.chain.settlement)


def signed_commits(
    deployment: Any, results: Sequence[SignedResult], later: Mapping[int, Sequence[Signer]] | None = None
) -> list[SignedCommit]:
    """The order commits of the ranges of ``results``; ``later`` are members of later epochs."""
    made, prev_hash = [], ZERO_HASH
    l1_head = deployment.chain.block_number() - 1
    for signed in results:
        result = signed.result
        root = hashlib.sha256(b"orders %d" % result.last_height).digest()
        commit = OrderCommit(result.epoch, result.last_height, prev_hash, root, l1_head, 0)
        prev_hash = commit.struct_hash()
        members = (later or {}).get(result.epoch, deployment.members)
        said = digest(separator(deployment), commit.struct_hash())
        made.append(SignedCommit(commit, tuple((node, members[node].sign_digest(said)) for node in (0, 2, 3))))
    return made


def signed_rotation(deployment: Any, epoch: int) -> tuple[Rotation, list[Signer]]:
    """The next committee of four, in the old members' words."""
    successors = sorted(
        (Signer(hashlib.sha256(b"successor %d" % i).digest()) for i in range(4)), key=lambda one: one.address
    )
    signers = tuple(one.address for one in successors)
    committee, sharing = hashlib.sha256(b"committee").digest(), hashlib.sha256(b"sharing").digest()
    hashed = keccak256(b"".join(one.rjust(32, b"\x00") for one in signers))
    said = digest(separator(deployment), domains.ROTATION_TYPE(epoch, hashed, 2, committee, sharing))
    signatures = tuple((node, deployment.members[node].sign_digest(said)) for node in (0, 1, 3))
    return Rotation(epoch, signers, 2, committee, sharing, signatures), successors
