"""Members as real processes go over to another committee: in place, under load, killed amid it, late, and from nothing.

The chain is not part of this: what nodes would read from it before their first start is given to them.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from epoch_net import Rotating

from mpc_sequencer.devnet.layout import propose_committee
from mpc_sequencer.node.config import load_node_config
from mpc_sequencer.node.keystore import open_keystore
from mpc_sequencer.node.vault import Vault

MEMBERS = [0, 1, 2, 3]


def vault_names(net: Rotating, number: int) -> tuple[str, ...]:
    """What the vault of a node that does not run holds."""
    options = load_node_config(net.home(number))
    passphrase = (net.folder / "passphrase").read_text().strip()
    key = open_keystore(options.keystore, passphrase).vault_key
    assert key is not None
    with contextlib.closing(Vault(options.vault, key)) as vault:
        return vault.names()


@pytest.fixture
def net(tmp_path: Path) -> Iterator[Rotating]:
    made = Rotating(tmp_path, 1)
    try:
        made.start_signer()
        for number in (*MEMBERS, 4):
            made.start(number)
        made.wait("members and a joiner are up", lambda: len(made.states([*MEMBERS, 4])) == 5)
        yield made
    finally:
        for number in list(made.processes):
            made.end(number, signal.SIGKILL)
        made.end_signer()


def test_four_members_become_five_under_load_and_one_is_killed_amid_the_cutover(net: Rotating) -> None:
    everybody = [*MEMBERS, 4]
    assert {one.epoch for one in net.states(everybody)} == {0}
    with net.trickle([0, 3]):
        propose_committee(net.devnet, everybody)
        net.wait("somebody goes over", lambda: any("epoch 1:" in net.said(number) for number in everybody))
        assert net.end(1, signal.SIGKILL) == -signal.SIGKILL
        net.start(1)
        net.wait("all are in the next epoch", lambda: net.in_epoch(1, everybody))
    net.wait("no order with a receipt is lost", lambda: net.level(everybody))
    assert sorted(one.node for one in net.states(everybody)) == [0, 1, 2, 3, 4]
    assert net.trade([4]) == 1, "the new member gives receipts"
    net.wait("its orders are executed", lambda: net.level(everybody))
    assert net.end(4, signal.SIGKILL) == -signal.SIGKILL
    assert net.end(2, signal.SIGTERM) == 0
    for number in (2, 4):
        net.start(number)
    net.wait("they come back into the epoch they were in", lambda: net.in_epoch(1, everybody))
    net.trade(everybody)
    net.wait("and go on", lambda: net.level(everybody))
    for number in everybody:
        said = net.said(number)
        assert "Traceback" not in said and "damaged" not in said and "CRITICAL" not in said
        assert net.end(number, signal.SIGTERM) == 0
        assert vault_names(net, number) == ("share-1",)
        assert (net.home(number) / "next-committee-of-epoch-0.json").exists()


def test_a_member_that_missed_the_cutover_catches_up_and_one_that_is_replaced_goes_with_status_0(net: Rotating) -> None:
    following = [0, 1, 2, 4]
    assert net.end(2, signal.SIGTERM) == 0
    propose_committee(net.devnet, following)
    net.wait("three go over without the fourth", lambda: net.in_epoch(1, [0, 1, 3, 4]))
    assert net.trade([0, 1]) == 2
    assert net.trade([3]) == 0, "who has no place gives no receipts"
    net.start(2)
    net.wait("it follows the others' logs into their epoch", lambda: net.in_epoch(1, following))
    net.wait("and has what they have", lambda: net.level(following))
    (left,) = net.states([3])
    assert left.node == 4 and "no place in the committee" in net.said(3)
    assert net.end(3, signal.SIGTERM) == 0
    assert not vault_names(net, 3)
    net.start(3)
    net.wait("it may be started again, to serve its log", lambda: net.in_epoch(1, [3]))
    assert net.end(3, signal.SIGTERM) == 0
    assert net.trade(following) == 4
    net.wait("without it as well", lambda: net.level(following))
    for number in following:
        assert "Traceback" not in net.said(number) and "CRITICAL" not in net.said(number)
