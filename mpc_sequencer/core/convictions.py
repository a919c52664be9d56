"""Members that evidence convicts, and what is still taken from them.

A convicted member is cut off: nothing it says in its own name counts here any more. Its lists, heads, proposals,
votes and settlement signatures are dropped on arrival, and so are its requests. That costs no progress: with at most
f such members the n-f others are a quorum for heads, votes and results, and enough for every opening. Bad shares and
bad coin shares convict too but do not cut off: their cause may be one spoilt key file, what the member lists and votes
is judged by itself, and its bundles are verified before use from then on.

Still taken, because progress or agreement with members that do not know of the offence needs it:

* certificates, blocks, bodies and others' lists it sends: each proves itself, whoever hands it over;
* its votes inside certificates, and its heads and lists inside blocks: whether these are valid must not depend on
  what one member happens to know, or honest members would judge one block differently. Its lists that a block names
  are fetched from others;
* its bundles: an opening judges shares, a proof judges coin shares, and who has few others at hand may need them.

What a convicted member did before stays counted. Convictions outlast a restart by their files.
"""

from __future__ import annotations

from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.effects import Effect, Evidence, Fault
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.evidence import EvidenceFile, Verdict, verify, verify_file
from mpc_sequencer.core.messages import (
    BlockMessage,
    Bodies,
    BundleMessage,
    CertificateMessage,
    ListMessage,
    LogSlice,
    PeerMessage,
)
from mpc_sequencer.core.offences import KIND_NAMES, Offence, accused

JUDGED_APART = frozenset({"bad-shares", "bad-coin-share"})
SELF_PROVING = (CertificateMessage, BlockMessage, Bodies, BundleMessage, LogSlice)


class Convictions:
    """Takes each kind of offence of a member once, verifies it, and remembers the member."""

    def __init__(self, committee: Committee) -> None:
        self._committee = committee
        self._kinds: set[tuple[int, str]] = set()
        self.nodes: set[int] = set()
        self.cut_off: set[int] = set()
        self.dropped = 0
        """Messages of convicted members that were not processed."""

    def take(self, offence: Offence) -> list[Effect]:
        """The evidence to keep, where it is the first of its kind against the member."""
        node, kind = accused(offence), KIND_NAMES[type(offence)]
        if (node, kind) in self._kinds:
            return []
        try:
            verdict = verify(offence, self._committee)
        except ProtocolError as error:
            return [Fault(node, error.code, f"no evidence of {kind}: {error}")]
        self._convict(verdict)
        return [Evidence(node, kind, verdict.detail, offence)]

    def recall(self, file: EvidenceFile) -> None:
        """Evidence that this member kept on disk before it stopped. What does not convict is passed over."""
        try:
            verdict = verify_file(file, self._committee)
        except ProtocolError:
            return
        self._convict(verdict)

    def _convict(self, verdict: Verdict) -> None:
        self._kinds.add((verdict.node, verdict.kind))
        self.nodes.add(verdict.node)
        if verdict.kind not in JUDGED_APART:
            self.cut_off.add(verdict.node)

    def drops(self, node: int, message: PeerMessage) -> bool:
        """Whether a message of ``node`` is passed over, which is counted."""
        if node not in self.cut_off or isinstance(message, SELF_PROVING):
            return False
        if isinstance(message, ListMessage) and message.order_list.node != node:
            return False
        self.dropped += 1
        return True
