"""``--policy``: which one a devnet's market has, who is told, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mpc_sequencer.devnet.layout import Devnet
from mpc_sequencer.market import POLICY_NAMES
from mpc_sequencer.node.config import load_committee

Run = Callable[..., Any]


@pytest.mark.parametrize(("nodes", "policy", "f"), [(4, "auction", 1), (4, "shuffle", 1), (5, "receive", 1)])
def test_a_devnet_is_written_with_the_policy_asked_for(
    mpcseq: Run, tmp_path: Path, nodes: int, policy: str, f: int
) -> None:
    ran = mpcseq("devnet", "init", tmp_path / "net", "--nodes", nodes, "--policy", policy, "--json")
    assert ran.status == 0, ran.err
    assert (ran.json["markets"], ran.json["faults_tolerated"]) == (f"BTCUSDT ({policy})", f)
    (market,) = load_committee(Path(ran.json["committee"])).committee.genesis.markets
    assert POLICY_NAMES[market.policy] == policy


@pytest.mark.parametrize("command", [("devnet", "init", "net"), ("demo", "--folder", "net")])
@pytest.mark.parametrize(
    ("options", "cause", "hint"),
    [
        (("--policy", "fifo"), "no order policy", "use one of auction, shuffle, receive, dark"),
        (("--policy", "receive", "--nodes", "4"), "orders by receipt", "use 5 or more"),
    ],
)
def test_a_policy_that_cannot_be_is_refused_before_anything_is_written(
    mpcseq: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: tuple[str, ...],
    options: tuple[str, ...],
    cause: str,
    hint: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    said, advised = mpcseq(*command, *options).error()
    assert cause in said and advised == hint
    assert not (tmp_path / "net").exists()


def test_an_unknown_market_is_answered_with_the_markets_and_their_policies(
    mpcseq: Run, devnet: Devnet, tmp_path: Path
) -> None:
    ran = mpcseq(
        *("order", "seal", "--committee", devnet.committee_path, "--key-file", devnet.account_keys()[0]),
        *("--out", tmp_path / "o", "--side", "buy", "--price", 1, "--quantity", 1, "--nonce", 1, "--market", "X"),
    )
    assert ran.status != 0 and "BTCUSDT (auction)" in ran.err
