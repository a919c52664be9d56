"""What an audit says: findings, what was checked how often, and what no log can prove.

A finding has one code per cause (:data:`CODES`), the height and the log entry where it shows, and a
sentence with what was seen and what the rules give. Where a rule is broken the audit goes on with what the
log says, so that one fault is one finding; it stops only where the rest cannot be judged, or after
:data:`FINDINGS_MAX` findings.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, NoReturn

from mpc_sequencer.audit.dark_report import DarkReport

FINDINGS_MAX: Final = 100
DETAIL_CHARACTERS_MAX: Final = 400

CODES: Final[Mapping[str, str]] = {
    "log.checkpoint": "the checkpoint is missing or is no signed note of three lines",
    "log.origin": "the checkpoint belongs to another deployment, or to a key that the log does not give",
    "log.signature": "the checkpoint is not signed by the member's log key",
    "log.tile": "a hash tile is missing, cut or not the hash of what lies under it",
    "log.root": "the tiles do not hash to the checkpoint's root",
    "log.entries": "an entry bundle is missing or cut",
    "log.leaf": "an entry is not the one its leaf hash commits to",
    "log.forked": "the log does not extend a checkpoint the member signed earlier",
    "log.entry": "an entry is not the canonical encoding of a log entry",
    "log.order": "an entry stands where the order of entries does not allow it",
    "log.genesis": "the log does not start with the committee's genesis and the key that signs it",
    "log.keeper": "the log's key is no member's of any of its epochs, and no joiner's",
    "inputs.chain": "the chain inputs are not those that a checkpoint commits to",
    "inputs.amount": "a deposit names an unknown asset, or an asset's deposits exceed 2^127 - 1",
    "list.member": "a list or receipt names another member, epoch or incarnation",
    "list.signature": "a list is not signed by its member",
    "list.equivocation": "a member signed two lists of one number",
    "list.repeated": "a list is in the log twice",
    "list.skipped": "a member's list is missing before this one",
    "list.chain": "a list does not name the hash of its predecessor",
    "list.duplicate": "a list names an order twice",
    "envelope.label": "an envelope's label does not decode, or is for another key, chain or size",
    "envelope.sponsor": "an envelope is not signed by its label's sponsor",
    "envelope.ciphertext": "a ciphertext's proof does not hold under its label",
    "envelope.unneeded": "an envelope is neither of an order the block lifts nor a variant its batch names",
    "envelope.early": "an envelope stands before the threshold key is there",
    "key.member": "a key message is by no member and nobody who is to join, or of another epoch",
    "key.signature": "a key message is not signed by its author",
    "key.unneeded": "a key message is not one that the next block lifts",
    "rotation.message": "a message about the next epoch is by no member, or does not decode",
    "rotation.committee": "an approval names a committee that may not follow",
    "rotation.signature": "a handover is not signed by its member",
    "rotation.handover": "an epoch ends with a handover that is not the one its log leads to",
    "head.count": "a block names fewer heads than n - f",
    "head.order": "a block's heads are not ascending by member",
    "head.member": "a head is by no member, or of another epoch or incarnation",
    "head.view": "a head is neither of the block's view nor of the one before",
    "head.signature": "a head is not signed by its member",
    "head.stale": "a head goes back behind the lists of the block's ancestors",
    "head.list_hash": "a head's list hash is not the hash of the last list it includes",
    "block.chain": "a block does not extend the block before it, in its epoch and a later view",
    "block.beyond": "a block of an epoch comes after the epoch's last one",
    "block.lists": "the lists before a block are not those its heads include",
    "block.lists_count": "a block includes more lists than allowed",
    "block.time": "a block's time is not the lower median of its heads' clocks, or below its parent's",
    "block.inputs_root": "a block's inputs root is not that of its heads, lists and chain inputs",
    "block.checkpoint": "a block's chain checkpoint is not the highest that f+1 of its heads name alike",
    "block.certified": "a block does not certify exactly the results that q members have reported",
    "block.certified_root": "a block's certified root is not that of its certified results",
    "block.body": "an id that is lifted has neither an envelope nor a key message in the log",
    "block.lag": "a block has a batch although too many results are uncertified",
    "block.handover": "a block has a batch although its epoch's handover is agreed",
    "block.forced": "a batch does not begin with the forced orders that are due",
    "block.unlisted": "a batch holds an order that is not in the queue",
    "block.not_yet_valid": "a batch holds an order before its validity",
    "block.unsettled": "a batch holds an order whose place by receipt is not settled",
    "block.credit": "a batch holds an order its sponsor's bond does not cover",
    "block.overfull": "a batch holds an order behind the batch limit",
    "block.repeated": "a batch holds an order twice",
    "block.skipped": "a batch leaves out an order whose turn it was",
    "block.batch_order": "a batch's orders are not in the order of the queue",
    "block.batch_root": "a block's batch root is not that of its batch",
    "block.variant": "a batch names a signature variant that is not in the log",
    "finality.missing": "a block is followed by another one without what finalizes it",
    "finality.block": "a finalization is for another block",
    "finality.path": "a finalization's path does not lead from the block to the certified one",
    "finality.quorum": "a finalization certificate has fewer than q distinct signers in ascending order",
    "finality.signature": "a vote of a finalization certificate is not signed by its member",
    "finality.fork": "two different blocks of one height are final",
    "bundle.block": "a bundle is for no block of the log",
    "bundle.beyond": "a bundle is for a block after its epoch's last one: shares of what never became final",
    "bundle.member": "a bundle is by no member, or of another epoch",
    "bundle.signature": "a bundle is not signed by its member",
    "bundle.sharing": "a bundle is of another sharing of the key than its height is opened with",
    "bundle.certificate": "a bundle's certificate does not finalize its block: shares before finality",
    "bundle.shares": "a bundle does not hold one share per order of the batch and one proof",
    "bundle.coin": "a bundle's coin share is not its member's for the block",
    "opening.order": "an opening is for no order of that height's batch",
    "opening.beyond": "an opening is for a height after an epoch's last block, which no batch of it has",
    "opening.repeated": "an order has two openings",
    "opening.early": "an opening stands before the bundles of t members or before finality",
    "opening.wrong": "an opening does not seal to the order's ciphertext",
    "opening.missing": "a height has a result although an order of its batch is not opened",
    "coin.missing": "a height has a result before the log has valid coin shares of t members",
    "malformed.members": "a malformed verdict does not name t members with bundles in the log",
    "malformed.proof": "a malformed verdict rests on shares whose proof does not hold",
    "malformed.opens": "an order called malformed opens with the shares named",
    "result.order": "results are not in the order of the counting heights",
    "result.state_root": "a result's state root is not the one execution gives",
    "result.fills_root": "a result's fills root is not the one execution gives: a fill is wrong",
    "result.hash": "a result is not the hash of its predecessor and roots",
    "result.certified": "a certified result is not the one execution gives",
    "commit.range": "an order commit is for no range of the log",
    "commit.repeated": "a range has two order commits",
    "commit.epoch": "an order commit is of another epoch than its range ends in",
    "commit.prev_hash": "an order commit does not build on that of the range before",
    "commit.ciphertext_root": "an order commit's root is not that of its range's batches",
    "commit.l1_head": "an order commit's chain block is not the one that its range's last header names",
    "commit.forced_head": "an order commit does not name the forced entries that are consumed by its range's end",
    "commit.quorum": "an order commit has fewer than q distinct signers in ascending order",
    "commit.signature": "an order commit's signature is not its member's",
    "settlement.uncommitted": "a range is settled before the log has its order commit",
    "settlement.range": "a settlement is for no range of the log",
    "settlement.repeated": "a range is settled twice",
    "settlement.uncertified": "a range is settled before its last result is certified",
    "settlement.unexecuted": "a range is settled before the log has its results",
    "settlement.state_root": "a settlement's state roots are not those of its range",
    "settlement.fills_root": "a settlement's fills root is not that of its range",
    "settlement.data_hash": "a settlement's data hash is not that of its range's blocks",
    "settlement.inputs": "a settlement's chain inputs are not those that its range's last block has taken",
    "settlement.deltas": "a settlement's balance changes are not those of its range",
    "settlement.quorum": "a settlement has fewer than q distinct signers in ascending order",
    "settlement.signature": "a settlement's signature is not its member's",
    "dark.part": "a part of a dark transcript does not follow the part before it",
    "dark.transcript": "a dark transcript does not decode, or holds what its computation does not send",
    "dark.batch": "a dark transcript is of no batch that the log has computed, or a second one",
    "dark.session": "a dark transcript is of another computation than its batch's",
    "dark.signature": "a message of a dark transcript is not signed by its member",
    "dark.outcome": "a dark transcript does not lead to what its keeper has said, or its batch was settled by",
    "settled.range": "a posting is noted for a range that is not settled in the log",
    "receipt.member": "a receipt is by another member than the log's, or of another epoch or incarnation",
    "receipt.signature": "a receipt is not signed by the log's member",
    "receipt.broken": "a receipt's order is not in the list it promises",
    "chain.signers": "the contract's signers or quorum are not the committee's",
    "chain.inputs": "the chain's inputs up to the genesis checkpoint are not those of the committee file",
    "chain.result": "the chain holds a result that is not the one of its range",
    "chain.missing": "a posting noted in the log is not on the chain",
    "chain.balance": "a balance on the chain is not the sum of its deposits and settled changes",
}

NOT_PROVABLE: Final = (
    "That no t members combined their shares privately before a block was final: it leaves no trace.",
    "That a view's leader proposed a block and skipped views were nullified: the log lacks these votes.",
    "That a block's time was within the allowed skew of the members' clocks.",
    "That a member listed every order it received: only its receipts can show that.",
    "That lists which no block of their epoch includes held what receipts promised: their holders can ask for them.",
    "That this is the only log its member signed: compare checkpoints, audit other members' logs.",
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One broken rule: a key of :data:`CODES`, where it shows, and what was seen there."""

    code: str
    height: int | None
    entry_index: int | None
    detail: str


@dataclass(frozen=True, slots=True)
class KeyCulprit:
    """A member that a key session names for a fault: under a code of :data:`threshold.errors.CODES`, ``times`` in all;
    attempt, height and detail are those of the first time. ``node`` is its number in the epoch: a member's index, or
    n and more for who is to join. No fault of the log, which says so itself."""

    epoch: int
    node: int
    role: str
    code: str
    times: int
    attempt: int
    height: int
    detail: str


@dataclass(frozen=True, slots=True)
class KeyReport:
    """How the threshold key was generated: attempts begun, the phase the log ends in, the members whose deals made the
    key, the block that completed it (None, and no public key, where the log ends before)."""

    attempts: int
    phase: str
    qualified: tuple[int, ...]
    height: int | None
    public_key: bytes | None
    refreshes: int
    """Later sharings of the key among the same members that the log completes."""
    culprits: tuple[KeyCulprit, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        public_key = None if self.public_key is None else self.public_key.hex()
        return {
            "attempts": self.attempts,
            "phase": self.phase,
            "qualified": list(self.qualified),
            "height": self.height,
            "public_key": public_key,
            "refreshes": self.refreshes,
            "culprits": [asdict(culprit) for culprit in self.culprits],
        }


@dataclass(frozen=True, slots=True)
class EpochReport:
    """One epoch of the log: its heights (``last_height`` None while it goes on), its members' consensus addresses by
    index, the threshold, the key session that made its first sharing, and the members of the epoch before that have
    handed over to it (None: the committee file says who they are)."""

    epoch: int
    first_height: int
    last_height: int | None
    members: tuple[bytes, ...]
    threshold: int
    sharing: int
    attempt: int
    proven_by: tuple[int, ...] | None

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        proven_by = None if self.proven_by is None else list(self.proven_by)
        members = ["0x" + address.hex() for address in self.members]
        return {**asdict(self), "members": members, "proven_by": proven_by}


@dataclass(frozen=True, slots=True)
class Report:
    """The result of auditing one member's log.

    ``heights`` counts final blocks, ``orders`` those in batches, ``fills`` rows of fills, ``malformed``
    orders that do not open, ``settlements`` settled ranges. ``checks`` says how often each check was done.
    ``open`` counts what the end of the log leaves open: receipts whose list is not included yet, heights
    without a result yet. ``keeper`` is the key that signs the log, ``node`` its index in the committee file (None for
    who joined later); ``epochs`` are those the log leads through. ``key`` is how the threshold key was generated, None
    where the committee file has it.
    ``stopped_early`` is set where the rest of the log could not be judged.
    """

    verdict: Literal["pass", "fail"]
    node: int | None
    keeper: bytes | None
    entries: int
    heights: int
    orders: int
    fills: int
    malformed: int
    settlements: int
    epochs: tuple[EpochReport, ...]
    key: KeyReport | None
    dark: DarkReport | None
    """None where no market is dark."""
    checks: Mapping[str, int]
    open: Mapping[str, int]
    findings: tuple[Finding, ...]
    stopped_early: bool
    chain: Literal["checked", "not checked"]
    not_provable: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON, findings with the sentence of their code."""
        names = ("verdict", "node", "entries", "heights", "orders", "fills", "malformed", "settlements")
        return {
            **{name: getattr(self, name) for name in names},
            "keeper": None if self.keeper is None else self.keeper.hex(),
            "epochs": [epoch.as_dict() for epoch in self.epochs],
            "key": None if self.key is None else self.key.as_dict(),
            "dark": None if self.dark is None else self.dark.as_dict(),
            "checks": dict(self.checks),
            "open": dict(self.open),
            "findings": [
                {
                    "code": finding.code,
                    "meaning": CODES[finding.code],
                    "height": finding.height,
                    "entry_index": finding.entry_index,
                    "detail": finding.detail,
                }
                for finding in self.findings
            ],
            "stopped_early": self.stopped_early,
            "chain": self.chain,
            "not_provable": list(self.not_provable),
        }


class Stop(Exception):
    """The rest of the log cannot be judged, or enough findings are collected."""


class Recorder:
    """Collects findings and counts checks; knows the entry that is being looked at."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self.checks: Counter[str] = Counter()
        self.entry_index: int | None = None

    def done(self, check: str, times: int = 1) -> None:
        """Count ``times`` checks of a kind."""
        self.checks[check] += times

    def fail(self, code: str, detail: str, *, height: int | None = None) -> None:
        """Record a finding; raises :class:`Stop` once there are :data:`FINDINGS_MAX`."""
        if code not in CODES:
            raise KeyError(code)
        self.findings.append(Finding(code, height, self.entry_index, detail[:DETAIL_CHARACTERS_MAX]))
        if len(self.findings) >= FINDINGS_MAX:
            raise Stop

    def halt(self, code: str, detail: str, *, height: int | None = None) -> NoReturn:
        """Record a finding after which the rest of the log cannot be judged."""
        self.fail(code, detail, height=height)
        raise Stop
