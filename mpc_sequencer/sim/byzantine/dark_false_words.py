"""Says false words of dark markets: keys it does not prove, deals that do not fit, complaints about good boxes, reports
of other shares, results that nobody computed."""

from __future__ import annotations

from msgspec.structs import replace

from mpc_sequencer.dark.field import ELEMENT_BYTES
from mpc_sequencer.dark.messages import (
    AnswerSaid,
    DealSaid,
    KeySaid,
    OpenedBox,
    OpeningsSaid,
    OutcomeValue,
    ReportSaid,
    ResultSaid,
    Word,
)
from mpc_sequencer.sim.byzantine.dark_behaviour import DarkBehaviour

HONEST = 0.3


class DarkFalseWords(DarkBehaviour):
    name = "dark_false_words"

    def bend(self, word: Word) -> Word | None:
        if self.rng.random() < HONEST:
            return word
        match word:
            case KeySaid():
                return replace(word, proof=self._flipped(word.proof))
            case DealSaid():
                return self._deal(word)
            case AnswerSaid():
                return replace(word, opened=(self._opened(self.committee.n),))
            case ReportSaid():
                return self._report(word)
            case OpeningsSaid():
                return replace(word, opened=(self._opened(8),))
            case ResultSaid():
                return replace(word, outcome=None if self.rng.random() < 0.4 else self._outcome(word.outcome))

    def _flipped(self, data: bytes) -> bytes:
        at = self.rng.randrange(len(data))
        return data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :]

    def _opened(self, indices: int) -> OpenedBox:
        """An opening without a proof."""
        key = self.committee.genesis.members[self.node].consensus_key
        return OpenedBox(self.rng.randrange(indices), key, self.rng.randbytes(32), self.rng.randbytes(32))

    def _deal(self, deal: DealSaid) -> DealSaid:
        kind = self.rng.choice(("commitment", "box", "few"))
        if kind == "commitment" and deal.commitments:
            at = self.rng.randrange(len(deal.commitments))
            others = (*deal.commitments[:at], self.rng.randbytes(32), *deal.commitments[at + 1 :])
            return replace(deal, commitments=others)
        boxes = [at for at, box in enumerate(deal.boxes) if box]
        if kind == "box" and boxes:
            at = self.rng.choice(boxes)
            return replace(deal, boxes=(*deal.boxes[:at], self._flipped(deal.boxes[at]), *deal.boxes[at + 1 :]))
        return replace(deal, boxes=deal.boxes[:-1])

    def _report(self, report: ReportSaid) -> ReportSaid:
        kind = self.rng.choice(("other", "other", "short", "complaint"))
        if kind == "complaint":
            return replace(report, bad=(self._opened(8),))
        if kind == "short" or not report.shares:
            return replace(report, shares=report.shares[:-ELEMENT_BYTES])
        return replace(report, shares=self._flipped(report.shares))

    def _outcome(self, outcome: OutcomeValue | None) -> OutcomeValue:
        if outcome is None or self.rng.random() < 0.3:
            return OutcomeValue(self.rng.randbytes(32), 0, 0, 0, 0, (), (), 0)
        if outcome.fills and self.rng.random() < 0.7:
            return replace(outcome, fills=outcome.fills[1:])
        return replace(outcome, coin=self.rng.randbytes(32))
