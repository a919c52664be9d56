"""One member through all epochs: its core for any of them, the step from one to the next, what each leaves on disk.

An epoch begins with a snapshot of its own, which is on disk before anything of the epoch is kept or sent
(:mod:`mpc_sequencer.node.storage`), so a member that crashes is in one epoch or in the other. The first epoch's
committee is that of the committee file; the snapshot has what proves those after it
(:class:`~mpc_sequencer.core.types.EpochStart`), so a start needs nothing but the folder.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path

from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.cutover import starts_of, succession
from mpc_sequencer.core.errors import ConfigError, ProtocolError
from mpc_sequencer.core.execution import ResultMismatch
from mpc_sequencer.core.node import NodeCore
from mpc_sequencer.core.recovery import restore
from mpc_sequencer.core.rotation import follow_all
from mpc_sequencer.core.signing import Signer
from mpc_sequencer.core.transcript import ChainInput
from mpc_sequencer.node.evidence_files import read_evidence
from mpc_sequencer.node.vault import Vault
from threshold import SecretShare, ThresholdError


class Cores:
    """Makes this member's cores. ``share`` is its share where the committee file has the threshold key."""

    def __init__(
        self,
        first: Committee,
        signer: Signer,
        log_key: bytes,
        inputs: Sequence[ChainInput],
        vault: Vault,
        share: SecretShare | None,
    ) -> None:
        self.first = first
        self._signer = signer
        self._log_key = log_key
        self._inputs = inputs
        self._vault = vault
        self._share = share
        self.feeding = False
        """Whether its cores feed an outside matching engine."""

    def make(self, committee: Committee) -> NodeCore:
        """A core that remembers nothing but what the vault holds. Blocking. Raises :class:`ConfigError` where the vault
        is damaged."""
        keys = [member.consensus_key for member in committee.genesis.members]
        own = self._signer.public_key
        core = NodeCore(
            committee,
            keys.index(own) if own in keys else committee.n,
            self._signer,
            self._share if committee.origin is None else None,
            self._inputs,
            entropy=secrets.token_bytes(32),
            secrets={name: bytes(self._vault.get(name) or b"") for name in self._vault.names()},
            log_key=self._log_key,
        )
        core.execution.feeds = committee.genesis.markets if self.feeding else None
        return core

    def follow(self, core: NodeCore, now_ms: int) -> tuple[NodeCore, bytes]:
        """The core of the epoch after that of ``core``, which is over here, and the snapshot it begins with. Blocking.

        Raises :class:`ResultMismatch` where q members handed over to another committee than this member's log leads to,
        and as :meth:`make` does.
        """
        try:
            committee, snapshot = succession(core)
        except (ProtocolError, ThresholdError) as error:
            raise ResultMismatch(f"the next epoch does not follow from this member's log: {error}") from error
        following = self.make(committee)
        restore(following, snapshot, (), now_ms)
        if following.committee.keys is not None:
            following.committee.sealing_key.prepare()  # tables that would hold up the first round otherwise
        return following, snapshot


def committee_of(first: Committee, snapshot: bytes | None) -> Committee:
    """The committee of the epoch that a member's snapshot is of; the first one's without a snapshot. Raises
    :class:`ConfigError` where the snapshot is not of this deployment."""
    try:
        return first if snapshot is None else follow_all(first, starts_of(snapshot))
    except (ValueError, ThresholdError) as error:
        hint = "point node.json at this member's own data folder, or run the version that wrote it"
        raise ConfigError(f"the data folder does not fit this member: {error}", hint) from error


# --- evidence -------------------------------------------------------------------------------------------------------
def evidence_folder(folder: Path, committee: Committee) -> Path:
    """Where evidence against members of the committee is kept: ``folder`` for the first one's, one in it for each later
    epoch, for numbers change."""
    return folder if committee.origin is None else folder / f"epoch-{committee.epoch}"


def recall_convictions(core: NodeCore, folder: Path) -> None:
    """Tell a core whom the evidence files of its epoch convict. Blocking. Raises as :func:`read_evidence`."""
    for path in sorted(evidence_folder(folder, core.committee).glob("*.evidence")):
        core.convictions.recall(read_evidence(path))
