"""The space-time diagram of a run as SVG: time to the right, a line per member, messages as arrows.

Proposals and votes are drawn all, lists and bundles as faint lines; certificates, heads and fetches are left out, as
they would hide the rest. A message that a broken link lost ends in a cross half way.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from html import escape
from typing import Final

from mpc_sequencer.core.effects import Append, Broadcast, Effect, Persist, VoteRecord
from mpc_sequencer.core.messages import BundleMessage, HeadMessage, ListMessage, PeerMessage, Proposal, VoteMessage
from mpc_sequencer.core.transcript import BlockEntry
from mpc_sequencer.core.types import FINALIZE, NOTARIZE, NULLIFY
from mpc_sequencer.sim.deployment import START_MS
from mpc_sequencer.sim.host import Host
from mpc_sequencer.sim.network import FaultPlan, LinkFault, Pair
from mpc_sequencer.sim.rotated import RotatedHarness
from mpc_sequencer.sim.run import Harness, RunReport
from mpc_sequencer.sim.simulation import Sent

SPAN_MS_MAX: Final = 6_000
WIDTH: Final = 1_800
ROW: Final = 130
LEFT: Final = 190
TOP: Final = 118
RIGHT: Final = 30

KINDS: Final = {
    # kind: (colour, stroke width, opacity, name in the legend)
    "list": ("#8a8f98", 0.7, 0.35, "list"),
    "bundle": ("#d97706", 0.9, 0.55, "shares"),
    "notarize": ("#15803d", 1.0, 0.75, "notarize vote"),
    "finalize": ("#7c3aed", 1.0, 0.75, "finalize vote"),
    "nullify": ("#dc2626", 1.2, 0.8, "nullify vote"),
    "proposal": ("#1d4ed8", 2.0, 0.95, "proposal"),
}
VOTE_KINDS: Final = {NOTARIZE: "notarize", FINALIZE: "finalize", NULLIFY: "nullify"}


def draw_run(
    seed: int,
    nodes: int,
    faults: frozenset[str],
    *,
    from_ms: int = 0,
    until_ms: int = 600,
    generated: bool = False,
    rotated: bool = False,
) -> tuple[str, RunReport]:
    """Run a seed and draw ``from_ms .. until_ms`` after its start; the SVG and the run's report. ``generated`` and
    ``rotated`` as of the run: where the committee is replaced, joiners have lines as well."""
    if not 0 < until_ms - from_ms <= SPAN_MS_MAX:
        raise ValueError(f"a span of {until_ms - from_ms} ms, expected 1 .. {SPAN_MS_MAX}")
    trace = _Trace(from_ms, until_ms)
    if rotated:
        harness: Harness = RotatedHarness(seed, nodes, faults, trace=trace.sent)
    else:
        harness = Harness(seed, nodes, faults, trace=trace.sent, generated=generated)
    harness.observers.append(trace.effect)
    harness.begun.append(trace.begun)
    report = harness.run()
    people = len(harness.watched.deployment.signers) + len(harness.watched.deployment.joiners)
    return _Drawing(trace, harness.plan, people, f"seed {seed}, {nodes} members: {report.faults}").svg(), report


def _kind(message: PeerMessage) -> str | None:
    match message:
        case Proposal():
            return "proposal"
        case VoteMessage(vote):
            return VOTE_KINDS[vote.kind]
        case ListMessage():
            return "list"
        case BundleMessage():
            return "bundle"
    return None


@dataclass(slots=True)
class _Trace:
    """What is to be drawn. Times are ms after the start of the run."""

    from_ms: int
    until_ms: int
    arrows: list[tuple[str, Sent]] = field(default_factory=list)
    views: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    """By member: (time, view) of each view it entered."""
    marks: list[tuple[int, int, str, str]] = field(default_factory=list)
    """(time, member, kind, text)"""
    epochs: list[tuple[int, int, int, str]] = field(default_factory=list)
    """(time, member, epoch, its place there) of each epoch that a member has begun."""

    def begun(self, now_ms: int, host: Host) -> None:
        """A member has begun an epoch: it is another one of its committee now, or none."""
        committee = host.core.committee
        place = f"{host.core.node} of {committee.n}" if host.core.node < committee.n else "left"
        at_ms = now_ms - START_MS
        if self.from_ms <= at_ms <= self.until_ms:
            self.epochs.append((at_ms, host.place, host.epoch, place))

    def sent(self, sent: Sent) -> None:
        kind = _kind(sent.message)
        end_ms = (sent.sent_ms if sent.arrival_ms is None else sent.arrival_ms) - START_MS
        if kind is not None and sent.sent_ms - START_MS < self.until_ms and end_ms >= self.from_ms:
            self.arrows.append((kind, sent))

    def effect(self, now_ms: int, node: int, effect: Effect) -> None:
        at_ms = now_ms - START_MS
        if isinstance(effect, Broadcast) and isinstance(effect.message, HeadMessage):
            entered = self.views.setdefault(node, [])
            view = effect.message.head.view
            if not entered or entered[-1][1] != view:
                entered.append((at_ms, view))
        elif isinstance(effect, Persist) and isinstance(effect.record, VoteRecord):
            self._mark(at_ms, node, VOTE_KINDS[effect.record.vote.kind], "")
        elif isinstance(effect, Append) and isinstance(effect.entry, BlockEntry):
            block = effect.entry.block
            orders = f"+{len(block.batch)}" if block.batch else ""
            self._mark(at_ms, node, "final", f"{block.header.height}{orders}")

    def _mark(self, at_ms: int, node: int, kind: str, text: str) -> None:
        if self.from_ms <= at_ms <= self.until_ms:
            self.marks.append((at_ms, node, kind, text))


class _Drawing:
    def __init__(self, trace: _Trace, plan: FaultPlan, nodes: int, title: str) -> None:
        self._trace = trace
        self._plan = plan
        self._nodes = nodes
        self._title = title
        span_ms = trace.until_ms - trace.from_ms
        self._scale = WIDTH / span_ms
        self._width = LEFT + WIDTH + RIGHT
        self._height = TOP + ROW * (nodes - 1) + 70

    def _x(self, at_ms: float) -> float:
        clipped = min(max(at_ms, self._trace.from_ms), self._trace.until_ms)
        return round(LEFT + (clipped - self._trace.from_ms) * self._scale, 1)

    def _y(self, node: float) -> float:
        return round(TOP + ROW * node, 1)

    def svg(self) -> str:
        """The whole document."""
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{self._width}" height="{self._height}" '
            f'viewBox="0 0 {self._width} {self._height}" font-family="Helvetica, Arial, sans-serif" font-size="12">',
            '<rect width="100%" height="100%" fill="#ffffff"/>',
            *self._heading(),
            *self._faults(),
            *self._axis(),
            *(part for node in range(self._nodes) for part in self._line(node)),
            *self._arrows(),
            *self._marks(),
            *self._epochs(),
            "</svg>",
        ]
        return "\n".join(parts) + "\n"

    def _heading(self) -> Iterable[str]:
        heads = "".join(
            f'<marker id="{kind}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
            f'markerUnits="userSpaceOnUse" orient="auto"><path d="M0,1 L8,4 L0,7 z" fill="{colour}"/></marker>'
            for kind, (colour, _, _, _) in KINDS.items()
        )
        yield f"<defs>{heads}</defs>"
        yield f'<text x="16" y="26" font-size="16" font-weight="bold">{escape(self._title)}</text>'
        x = 16
        for colour, width, _, name in KINDS.values():
            yield f'<line x1="{x}" y1="48" x2="{x + 26}" y2="48" stroke="{colour}" stroke-width="{width + 0.8}"/>'
            yield f'<text x="{x + 32}" y="52">{name}</text>'
            x += 50 + 7 * len(name)
        yield f'<circle cx="{x + 6}" cy="48" r="6" fill="#7c3aed"/>'
        yield f'<text x="{x + 18}" y="52">final: height+orders</text>'
        yield f'<rect x="{x + 150}" y="42" width="20" height="12" fill="#fecaca"/>'
        yield f'<text x="{x + 176}" y="52">link broken</text>'
        yield f'<rect x="{x + 260}" y="42" width="20" height="12" fill="#fde68a"/>'
        yield f'<text x="{x + 286}" y="52">stalled</text>'
        yield f'<rect x="{x + 340}" y="42" width="20" height="12" fill="#fed7aa"/>'
        yield f'<text x="{x + 366}" y="52">cut one way</text>'

    def _axis(self) -> Iterable[str]:
        span_ms = self._trace.until_ms - self._trace.from_ms
        step_ms = next(step for step in (10, 50, 100, 200, 500, 1_000) if span_ms / step <= 20)
        bottom = self._y(self._nodes - 1) + 40
        first_ms = -(-self._trace.from_ms // step_ms) * step_ms
        for at_ms in range(first_ms, self._trace.until_ms + 1, step_ms):
            x = self._x(at_ms)
            yield f'<line x1="{x}" y1="{TOP - 34}" x2="{x}" y2="{bottom}" stroke="#e5e7eb"/>'
            yield f'<text x="{x}" y="{bottom + 16}" fill="#6b7280" text-anchor="middle">{at_ms} ms</text>'

    def _line(self, node: int) -> Iterable[str]:
        y, trace = self._y(node), self._trace
        names = dict(self._plan.behaviours)
        crash_ms = dict(self._plan.crashes).get(node, trace.until_ms + 1)
        colour = "#dc2626" if node in self._plan.faulty else "#111827"
        what = names.get(node) or ("crashes" if node in dict(self._plan.crashes) else "")
        what = what or ("clock off" if node in self._plan.beyond_skew else "")
        yield f'<text x="16" y="{y - 2}" font-size="14" font-weight="bold" fill="{colour}">member {node}</text>'
        second = ", ".join(part for part in (what, self._plan.regions[node] if self._plan.regions else "") if part)
        yield f'<text x="16" y="{y + 14}" fill="{colour}">{escape(second)}</text>'
        yield from self._views(node, y)
        yield f'<line x1="{LEFT}" y1="{y}" x2="{self._x(crash_ms)}" y2="{y}" stroke="{colour}" stroke-width="1.5"/>'
        if crash_ms <= trace.until_ms:
            x = self._x(crash_ms)
            yield (
                f'<line x1="{x}" y1="{y}" x2="{self._x(trace.until_ms)}" y2="{y}" stroke="{colour}" '
                'stroke-dasharray="3 6"/>'
            )
            yield _cross(x, y, 7, colour)

    def _views(self, node: int, y: float) -> Iterable[str]:
        entered = self._trace.views.get(node, [])
        ends = [at_ms for at_ms, _ in entered[1:]] + [self._trace.until_ms]
        for (at_ms, view), end_ms in zip(entered, ends, strict=True):
            if end_ms <= self._trace.from_ms or at_ms >= self._trace.until_ms:
                continue
            x, width = self._x(at_ms), self._x(end_ms) - self._x(at_ms)
            shade = "#dbeafe" if view % 2 else "#eff6ff"
            yield f'<rect x="{x}" y="{y - 26}" width="{round(width, 1)}" height="13" fill="{shade}" stroke="#bfdbfe"/>'
            if width > 18:
                middle = round(x + width / 2, 1)
                yield f'<text x="{middle}" y="{y - 16}" font-size="10" text-anchor="middle">{view}</text>'

    def _faults(self) -> Iterable[str]:
        for faults, colour in (
            (self._plan.stalls, "#fde68a"),
            (self._plan.one_ways, "#fed7aa"),
            (self._plan.breaks, "#fecaca"),
        ):
            for fault in faults:
                yield from self._fault(fault, colour)

    def _fault(self, fault: LinkFault, colour: str) -> Iterable[str]:
        if fault.until_ms <= self._trace.from_ms or fault.at_ms >= self._trace.until_ms:
            return
        x, end = self._x(fault.at_ms), self._x(fault.until_ms)
        rows = sorted({node for pair in fault.pairs for node in pair})
        top, height = self._y(rows[0]), self._y(rows[-1]) - self._y(rows[0])
        yield (
            f'<rect x="{x}" y="{top}" width="{round(end - x, 1)}" height="{height}" fill="{colour}" opacity="0.45"/>'
        )
        yield f'<text x="{x + 4}" y="{top + 14}" font-size="10" fill="#7f1d1d">{escape(_named(fault.pairs))}</text>'

    def _arrows(self) -> Iterable[str]:
        order = list(KINDS)
        for kind, sent in sorted(self._trace.arrows, key=lambda one: order.index(one[0])):
            colour, width, opacity, _ = KINDS[kind]
            sent_ms = sent.sent_ms - START_MS
            x, y = self._x(sent_ms), self._y(sent.sender)
            style = f'stroke="{colour}" stroke-width="{width}" opacity="{opacity}"'
            if sent.arrival_ms is None:
                middle = self._y((sent.sender + sent.receiver) / 2)
                yield f'<line x1="{x}" y1="{y}" x2="{x + 6}" y2="{middle}" stroke-dasharray="2 3" {style}/>'
                yield _cross(x + 6, middle, 3, colour)
                continue
            arrival_ms = sent.arrival_ms - START_MS
            marker = f' marker-end="url(#{kind})"' if arrival_ms <= self._trace.until_ms and kind != "list" else ""
            end_y = self._y(sent.receiver)
            if arrival_ms > self._trace.until_ms:  # leaves the drawing on its way
                end_y = round(y + (end_y - y) * (self._trace.until_ms - sent_ms) / (arrival_ms - sent_ms), 1)
            yield f'<line x1="{x}" y1="{y}" x2="{self._x(arrival_ms)}" y2="{end_y}" {style}{marker}/>'

    def _marks(self) -> Iterable[str]:
        for at_ms, node, kind, text in self._trace.marks:
            x, y = self._x(at_ms), self._y(node)
            if kind == "final":
                yield f'<circle cx="{x}" cy="{y}" r="6" fill="#7c3aed" stroke="#ffffff"/>'
                yield (
                    f'<text x="{x}" y="{y + 21}" font-size="11" font-weight="bold" fill="#5b21b6" '
                    f'text-anchor="middle">{text}</text>'
                )
            else:
                yield f'<rect x="{x - 2}" y="{y - 6}" width="4" height="12" fill="{KINDS[kind][0]}"/>'

    def _epochs(self) -> Iterable[str]:
        """Where each member begins an epoch: a bar across its line, with its place in that epoch's committee."""
        for at_ms, node, epoch, place in self._trace.epochs:
            x, y = self._x(at_ms), self._y(node)
            yield f'<line x1="{x}" y1="{y - 44}" x2="{x}" y2="{y + 44}" stroke="#0f766e" stroke-width="3"/>'
            yield f'<text x="{x + 5}" y="{y + 42}" font-size="11" fill="#0f766e">epoch {epoch}: {place}</text>'


def _cross(x: float, y: float, size: float, colour: str) -> str:
    return (
        f'<path d="M{x - size},{y - size} L{x + size},{y + size} M{x - size},{y + size} L{x + size},{y - size}" '
        f'stroke="{colour}" stroke-width="2"/>'
    )


def _named(pairs: tuple[Pair, ...]) -> str:
    if len(pairs) == 1:
        return f"{pairs[0][0]}-{pairs[0][1]}"
    return f"{len(pairs)} links"
