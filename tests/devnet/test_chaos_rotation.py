"""A committee replaced under load: which rotations are refused, and what is judged after one."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from mpc_sequencer.cli.app import app
from mpc_sequencer.client.roster import Roster
from mpc_sequencer.core.errors import ConfigError
from mpc_sequencer.core.types import EpochStart, NextCommittee, NextMember, Receipt
from mpc_sequencer.devnet import layout
from mpc_sequencer.devnet.chaos import judge_rotation, last_settled, rotate_at_s
from mpc_sequencer.devnet.chaos_result import ChaosOptions, ChaosResult, Load
from mpc_sequencer.devnet.findings import JudgedReceipts, compare_logs, judge_receipts
from mpc_sequencer.devnet.layout import Devnet, init_devnet
from mpc_sequencer.devnet.logfacts import LastHead, LogFacts
from mpc_sequencer.devnet.rotating import Rotated, check_rotation
from mpc_sequencer.devnet.seats import Seats
from mpc_sequencer.node.config import parse_endpoint

ANCHOR = 20
ORDER = b"\x01" * 32
ROTATED = Rotated(to=7, at_s=10.0, seconds=8.25, epoch=1, anchor_height=ANCHOR, leavers=())


def options(**changed: Any) -> ChaosOptions:
    asked: dict[str, Any] = {"rotate_to": 7} | changed
    return ChaosOptions(folder=None, nodes=4, rate_per_s=1, duration_s=40, every_s=0, down_s=0, seed=1, **asked)


def load(*heights: int, rotated: Rotated | None = ROTATED, settled_through: int = 0) -> Load:
    """A load whose orders were executed at ``heights``."""
    records: Any = {
        bytes((number,)): SimpleNamespace(executed=(height,), final=None, receipts={}, earlier_receipts=[])
        for number, height in enumerate(heights)
    }
    return Load(records=records, rotated=rotated, settled_through=settled_through)


# --- options ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("to", "at_s", "said"),
    [
        (3, None, "a committee of 3 members is unsafe"),
        (41, None, "a committee of 41 members is unsafe"),
        (4, None, "the committee has 4 members already"),
        (7, 40.0, "40 s is not before the load's end"),
        (7, -1.0, "-1 s is not before the load's end"),
        (None, 5.0, "a rotation that nobody asked for"),
    ],
)
def test_a_rotation_that_cannot_be_is_refused(to: int | None, at_s: float | None, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        check_rotation(4, to, at_s, 40.0)
    assert said in refused.value.cause


def test_rotations_that_can_be() -> None:
    check_rotation(4, None, None, 40.0)
    check_rotation(4, 7, 0.0, 40.0)
    check_rotation(7, 4, None, 40.0)
    assert rotate_at_s(options()) == 10.0 and rotate_at_s(options(rotate_at_s=0.0)) == 0.0


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["--rotate-to", "3"], "a committee of 3 members"),
        (["--rotate-at", "3"], "nobody asked for"),
        (["--every", "0.2"], "every 0.2 s"),
    ],
)
def test_the_command_refuses_before_it_writes_anything(asked: list[str], said: str, tmp_path: Path) -> None:
    folder = tmp_path / "devnet"
    ran = CliRunner().invoke(app, ["devnet", "chaos", "--folder", str(folder), *asked])
    assert isinstance(ran.exception, ConfigError) and said in ran.exception.cause
    assert not folder.exists()


# --- what is judged -----------------------------------------------------------------------------------------------
def test_a_rotation_that_nobody_traded_after_shows_nothing() -> None:
    assert judge_rotation(options(), load(5, ANCHOR + 1, settled_through=ANCHOR + 1)) == []
    assert [one.code for one in judge_rotation(options(), load(5, ANCHOR))] == ["rotation.idle"]
    assert judge_rotation(options(rotate_to=None), load(5, rotated=None)) == []


def test_results_of_a_committee_that_the_contract_does_not_know_are_not_settled() -> None:
    found = judge_rotation(options(), load(5, ANCHOR + 1, settled_through=ANCHOR))
    assert [one.code for one in found] == ["rotation.settled"]


def test_the_contract_is_waited_for_up_to_its_own_committees_last_orders() -> None:
    assert last_settled([3, ANCHOR, ANCHOR + 9]) == ANCHOR + 9
    assert last_settled([]) == 0


def test_a_receipt_is_judged_by_the_seat_that_gave_it() -> None:
    """Member 1 of epoch 1 is somebody else than member 1 of epoch 0, whose log went on long after its promise."""
    promised = Receipt(1, 0, ORDER, 1, 4, 1_000, bytes(65))
    facts = LogFacts(0)
    facts.last_heads = {(0, 1): LastHead(90_000, 1, 9)}
    assert judge_receipts([promised], [facts], ()).open == 1
    facts.last_heads[1, 1] = LastHead(90_000, 0, 3)
    assert [one.code for one in judge_receipts([promised], [facts], ()).findings] == ["receipt.overdue"]
    facts.lists = {(0, 0, 1, 4): {b"\x33" * 32: frozenset({ORDER})}}
    assert judge_receipts([promised], [facts], ()).kept == 0, "a list of another epoch keeps nothing"


def test_who_left_holds_the_log_up_to_the_end_of_its_epoch() -> None:
    stays, left = LogFacts(0), LogFacts(3)
    stays.blocks = {height: bytes((height,)) for height in range(1, 6)}
    left.blocks = {height: bytes((height,)) for height in range(1, 4)}
    assert [one.code for one in compare_logs([stays, left], 5)] == ["log.short"]
    assert compare_logs([stays, left], 5, {3: 3}) == []
    assert [one.code for one in compare_logs([stays, left], 5, {3: 4})] == ["log.short"]
    left.blocks[2] = b"another"
    assert [one.code for one in compare_logs([stays, left], 5, {3: 3})] == ["log.block"]


def test_the_figures_tell_of_the_rotation(tmp_path: Path) -> None:
    result = ChaosResult(
        folder=tmp_path,
        nodes=4,
        every_s=0.0,
        load=load(5, ANCHOR, ANCHOR + 1, ANCHOR + 2, settled_through=ANCHOR),
        receipts=JudgedReceipts(0, 0, 0, ()),
        logs=(),
        findings=(),
    )
    figures = result.as_json()
    assert figures["rotation"] == {
        "to": 7,
        "at_s": 10.0,
        "seconds": 8.2,
        "epoch": 1,
        "last_block_of_the_epoch_before": ANCHOR,
        "orders_executed_since": 2,
    }
    assert figures["settled_through"] == ANCHOR


# --- who sits where -----------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> tuple[Devnet, NextCommittee]:
    """A devnet of four with three joiners, and the proposal of nodes 1 .. 6."""
    folder: Path = tmp_path_factory.mktemp("grown") / "devnet"
    ports = [21_000 + number for number in range(7)]
    devnet = init_devnet(
        folder, nodes=4, threshold=None, accounts=1, deployer=bytes(20), ports=ports[:4], chain_url=None
    )
    layout.add_joiners(devnet, 3, ports[4:])
    return devnet, layout.propose_committee(devnet, range(1, 7), approving=range(4))


def test_a_node_keeps_its_folder_whatever_its_index_becomes(
    grown: tuple[Devnet, NextCommittee]
) -> None:
    devnet, target = grown
    roster = Roster(devnet.file.committee)
    client: Any = SimpleNamespace(roster=roster, committee=roster.newest)
    seats = Seats(devnet, client)
    assert seats.folders == (0, 1, 2, 3) and seats.present() == devnet.file
    seats.seat_joiners()
    assert seats.folders == (0, 1, 2, 3) and seats.place(5) is None

    members: tuple[NextMember, ...] = target.members
    genesis: Any = SimpleNamespace(members=members)
    later: Any = SimpleNamespace(epoch=1, genesis=genesis)
    roster._committees[1] = later
    start: Any = SimpleNamespace(committee=target)
    _begin(roster, later, start)
    client.committee = later
    ports = [parse_endpoint(member.endpoint, "endpoint")[1] for member in members]
    assert seats.folders == tuple(port - 21_000 for port in ports), "a folder for each member, by its index"
    assert seats.place(0) is None, "it left"
    assert [seats.place(node) for node in seats.folders] == list(roster.places)
    assert seats.present().endpoints == tuple(parse_endpoint(member.endpoint, "endpoint") for member in members)
    joined = seats.folders[0]
    before = {(0, joined)} if joined < 4 else set()
    assert seats.ever([joined]) == before | {(1, 0)}
    assert seats.ever([0]) == {(0, 0)} and seats.ever([]) == frozenset()


def _begin(roster: Roster, later: Any, start: EpochStart) -> None:
    """What the roster does with a proof that holds."""
    roster.newest = later
    for member in start.committee.members:
        if member.consensus_key not in roster._keys:
            roster._keys.append(member.consensus_key)
        roster._members[roster._keys.index(member.consensus_key)] = member
