"""Members as real processes: killed under load, out of disk space, ended in order; each comes back.

The chain is not part of this: what members would read from it before their first start is given to them.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator

import msgspec
import pytest
from node_net import NODES, REMOTE, WAIT_S, Net

from mpc_sequencer.node.process import EXIT_DISK, EXIT_SIGNER


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Net]:
    made = Net(tmp_path_factory.mktemp("net"))
    try:
        made.start_signer()
        for node in NODES:
            made.start(node)
        made.settled()
        yield made
    finally:
        for node in list(made.processes):
            made.end(node, signal.SIGKILL)
        made.end_signer()


def test_a_member_killed_under_load_comes_back_with_its_receipts(net: Net) -> None:
    rng = random.Random(1)
    first = net.orders(rng, 30)
    given = net.submit(list(NODES), first)
    assert net.end(2, signal.SIGKILL) == -signal.SIGKILL
    net.submit([0, 1, 3], net.orders(rng, 30))
    net.start(2)
    found = net.settled()
    assert {one.orders_sequenced for one in found.values()} == {60}
    again = net.submit([2], first)
    both = [(before.receipts.get(2), after.receipts.get(2)) for before, after in zip(given, again, strict=True)]
    kept = [(before, after) for before, after in both if before is not None]
    assert kept and all(before == after for before, after in kept)
    assert "Traceback" not in net.said(2) and "damaged" not in net.said(2)


def test_a_member_knows_what_became_of_orders_before_its_snapshot(net: Net) -> None:
    sent = net.orders(random.Random(3), 10)
    net.submit(list(NODES), sent)
    net.settled()
    before = [net.order(1, one.order_id()) for one in sent]
    assert {one.state for one in before} == {"executed"}
    assert net.end(1, signal.SIGTERM) == 0
    net.start(1)
    net.settled()
    again = [net.order(1, one.order_id()) for one in sent]
    assert [msgspec.structs.replace(one, request=0) for one in again] == [
        msgspec.structs.replace(one, request=0) for one in before
    ]
    assert net.order(1, bytes(32)).state == "unknown"


def test_a_start_tells_its_parts(net: Net) -> None:
    net.submit(list(NODES), net.orders(random.Random(4), 5))
    net.settled()
    for part in ("imports", "keys", "disk", "state", "links", "even"):
        assert f" {part} " in net.said(0).split("ready after", 1)[1].splitlines()[0]


def test_an_orderly_end_leaves_a_snapshot_and_a_quick_start(net: Net) -> None:
    before = net.settled()[1]
    assert net.end(1, signal.SIGTERM) == 0
    assert (net.home(1) / "data" / "snapshot").exists()
    net.start(1)
    after = net.settled()[1]
    assert after.orders_sequenced == before.orders_sequenced
    assert "Traceback" not in net.said(1)


def test_a_member_whose_remote_signer_dies_stops_with_status_6_and_comes_back(net: Net) -> None:
    sequenced = net.settled()[REMOTE].orders_sequenced
    net.end_signer()
    net.submit([1, 2, 3], net.orders(random.Random(3), 5))
    assert net.end(REMOTE, 0) == EXIT_SIGNER
    said = net.said(REMOTE)
    assert "cannot sign: the remote signer at" in said and "Traceback" not in said
    net.start(REMOTE)
    assert net.end(REMOTE, 0) == 2  # it does not even start without
    assert "hint: start it with `mpcseq key serve`" in net.said(REMOTE)
    net.start_signer()
    net.start(REMOTE)
    assert {one.orders_sequenced for one in net.settled().values()} == {sequenced + 5}
    assert "Traceback" not in net.said(REMOTE) and "damaged" not in net.said(REMOTE)


def test_a_member_without_disk_space_stops_with_status_4_and_comes_back(net: Net) -> None:
    rng = random.Random(2)
    assert net.end(3, signal.SIGTERM) == 0
    net.start(3, file_bytes_max=200_000)
    sequenced = net.settled()[0].orders_sequenced
    deadline = time.monotonic() + WAIT_S
    sent = 0
    while net.processes[3].poll() is None and time.monotonic() < deadline:
        net.submit([0, 1, 2], net.orders(rng, 50))
        sent += 50
    assert net.end(3, 0) == EXIT_DISK
    assert "CRITICAL" in net.said(3) and "Traceback" not in net.said(3)
    net.start(3)
    found = net.settled()
    assert {one.orders_sequenced for one in found.values()} == {sequenced + sent}
    assert "starts damaged" not in net.said(3) and os.path.exists(net.home(3) / "data" / "snapshot")
