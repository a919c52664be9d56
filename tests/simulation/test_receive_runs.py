"""Whole runs under all faults with receive order: the checkers stay silent, the auditor's among them, and what all
honest members agree on is the order of batches and inside them."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from itertools import permutations

import pytest

from mpc_sequencer.core.codec import decode
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.ordering.receive import fair_order
from mpc_sequencer.core.transcript import BlockEntry, EnvelopeEntry, ListEntry, LogEntry
from mpc_sequencer.core.types import Envelope
from mpc_sequencer.market import RECEIVE
from mpc_sequencer.sim import make_deployment, run
from mpc_sequencer.sim.plan import parse_faults
from mpc_sequencer.sim.run import Harness
from threshold import Label

Place = tuple[int, int]


def forced_ids(bodies: Iterable[bytes]) -> set[bytes]:
    """The orders that were queued on the chain: they go first, whoever received them when."""
    found = set()
    for body in bodies:
        with suppress(ProtocolError):
            found.add(decode(Envelope, body).order_id())
    return found


@pytest.mark.parametrize(("seed", "nodes"), [(0, 5), (1, 5), (5, 5), (2, 9)])
def test_faults_bend_nothing_that_honest_members_agree_on(
    seed: int, nodes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "make_deployment", partial(make_deployment, policy=RECEIVE))
    harness = Harness(seed, nodes, parse_faults("all"))
    report = harness.run()
    assert report.violations == ()
    assert report.orders > 10
    assert harness.simulation is not None
    honest, f = harness.watched.honest, harness.watched.deployment.committee.f
    assert f == (nodes - 1) // 4
    pairs = 0
    log = max((harness.simulation.logs[node] for node in sorted(honest)), key=len)
    chains, labels, blocks = listed(log)
    number = {one.order_id: at for at, block in enumerate(blocks) for one in block.block.batch}
    order = receipt_order(blocks, chains, f)
    assert harness.watched.chain is not None
    forced = forced_ids(one.body for one in harness.watched.chain.inputs)
    for a, b in permutations(number.keys() - forced, 2):
        time_ms = blocks[number[b]].block.header.time_ms
        if all(first(chains[node], a, b) for node in honest) and labels[a].valid_from_ms <= time_ms:
            pairs += 1
            assert (number[a], order[a]) < (number[b], order[b])
    assert pairs > len(number)


def listed(log: list[LogEntry]) -> tuple[dict[int, dict[bytes, Place]], dict[bytes, Label], list[BlockEntry]]:
    """Each member's places, the labels of all orders, and the blocks of a log."""
    chains: dict[int, dict[bytes, Place]] = {}
    labels, blocks = {}, []
    for entry in log:
        if isinstance(entry, ListEntry):
            places = chains.setdefault(entry.order_list.node, {})
            for index, order_id in enumerate(entry.order_list.entries):
                places.setdefault(order_id, (entry.order_list.number, index))
        elif isinstance(entry, EnvelopeEntry):
            labels[entry.envelope.order_id()] = entry.envelope.decoded_label()
        elif isinstance(entry, BlockEntry):
            blocks.append(entry)
    return chains, labels, blocks


def receipt_order(blocks: list[BlockEntry], chains: dict[int, dict[bytes, Place]], f: int) -> dict[bytes, int]:
    """Every order's place inside its batch, by what the lists included until then say."""
    included: dict[int, int] = {}
    order = {}
    for entry in blocks:
        included |= {head.node: head.list_number for head in entry.block.heads}
        ids = [one.order_id for one in entry.block.batch]
        told = {
            order_id: tuple(
                (node, *places[order_id])
                for node, places in sorted(chains.items())
                if order_id in places and places[order_id][0] <= included.get(node, 0)
            )
            for order_id in ids
        }
        order |= {order_id: at for at, order_id in enumerate(fair_order(sorted(ids), told, f))}
    return order


def first(places: dict[bytes, Place], a: bytes, b: bytes) -> bool:
    return a in places and (b not in places or places[a] < places[b])
