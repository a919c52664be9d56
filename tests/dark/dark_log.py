"""What the tests of a batch's log share: a log with the parties that follow it, and what its parties say."""

from __future__ import annotations

from collections.abc import Iterable

from dark_kit import NOW_MS, Committee, committee, order, secret, trader

from mpc_sequencer.core.types import NO_SIGNATURE
from mpc_sequencer.dark.bundles import PreparedOrder, seal_bundles, unseal
from mpc_sequencer.dark.inputs import BAD, Acknowledgement, Complaint
from mpc_sequencer.dark.intake import (
    Fixed,
    Intake,
    LogItem,
    Phase,
    fixed_orders,
)
from mpc_sequencer.dark.layout import Layout

C = committee()
CONTEXT = C.context
COLUMNS = Layout.of(CONTEXT.params).columns
ORDERS, COMPLAINTS, DELIVERIES, OBJECTIONS, OPENINGS = Phase


class Log:
    """A log with the parties that follow it."""

    def __init__(self, of: Committee = C) -> None:
        self.of = of
        self.items: list[tuple[Phase, LogItem]] = []
        self.doors = [Intake(of.context, party, of.secrets[party], of.signers[party]) for party in range(5)]

    def put(self, phase: Phase, *items: LogItem) -> None:
        for item in items:
            self.items.append((phase, item))
            for door in self.doors:
                door.logged(phase, item)

    def deliver(self, prepared: PreparedOrder, parties: Iterable[int] = range(5)) -> None:
        for party in parties:
            self.doors[party].deliver(prepared.deliveries[party])

    def acknowledge(self, phase: Phase = ORDERS, parties: Iterable[int] = range(5)) -> None:
        for party in parties:
            said = self.doors[party].acknowledge()
            if said is not None:
                self.put(phase, said)

    def complain(self, phase: Phase, parties: Iterable[int] = range(5)) -> list[Complaint]:
        said = [one for party in parties for one in self.doors[party].complaints()]
        self.put(phase, *said)
        return said

    def fixed(self, time_ms: int = NOW_MS) -> Fixed:
        return fixed_orders(self.of.context, self.items, time_ms)


def ids(*prepared: PreparedOrder) -> tuple[bytes, ...]:
    return tuple(one.order.order_id() for one in prepared)


def acknowledged(party: int, *order_ids: bytes, of: Committee = C) -> Acknowledgement:
    fields = (of.context.epoch, of.context.batch, of.context.market, party, order_ids)
    digest = of.context.digest(Acknowledgement(*fields, NO_SIGNATURE).struct_hash())
    return Acknowledgement(*fields, of.signers[party].sign_digest(digest))


def complained(party: int, order_id: bytes, kind: int, of: Committee = C) -> Complaint:
    fields = (of.context.epoch, of.context.batch, of.context.market, party, order_id, kind)
    digest = of.context.digest(Complaint(*fields, NO_SIGNATURE).struct_hash())
    return Complaint(*fields, of.signers[party].sign_digest(digest))


def bad_for(prepared: PreparedOrder, *parties: int) -> PreparedOrder:
    """The order, its trader dealing garbage to ``parties`` and signing for it."""
    plaintexts = [unseal(C.secrets[party], prepared.deliveries[party].sealed) for party in range(5)]
    for party in parties:
        plaintexts[party] = b"\xc1garbage"
    return seal_bundles(CONTEXT, trader(), prepared.order.terms, tuple(plaintexts), secret("bad"))


def missealed_for(prepared: PreparedOrder, party: int) -> PreparedOrder:
    """The order with a good bundle of ``party`` in a box that another party opens."""
    keys = list(CONTEXT.sealing_keys)
    keys[party] = keys[(party + 1) % 5]
    other = committee()
    object.__setattr__(other.context, "sealing_keys", tuple(keys))
    plaintexts = tuple(unseal(C.secrets[each], prepared.deliveries[each].sealed) for each in range(5))
    return seal_bundles(other.context, trader(), prepared.order.terms, plaintexts, secret("missealed"))


def answered_log() -> tuple[Log, PreparedOrder, Complaint]:
    """A log in which party 4's complaint of a bad bundle is open."""
    log, one = Log(), order(CONTEXT)
    log.put(ORDERS, one.order)
    log.deliver(one)
    log.acknowledge(parties=range(4))
    said = complained(4, ids(one)[0], BAD)
    log.put(COMPLAINTS, said)
    return log, one, said
