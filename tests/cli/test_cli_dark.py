"""Dark markets on the command line: who may write one, what their orders are refused for, what is told of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from client_key_kit import certify

from mpc_sequencer.cli.sealing_dark import parse_deposit
from mpc_sequencer.client import MarketUnits, save_key
from mpc_sequencer.client.dark_terms import DepositRule, Deposits
from mpc_sequencer.core.errors import ConfigError, ProtocolError
from mpc_sequencer.core.signing import Signer
from mpc_sequencer.devnet.layout import ASSETS, DARK_GRID, Devnet, devnet_market, init_devnet
from mpc_sequencer.market.types import DARK
from mpc_sequencer.node.config import load_committee
from mpc_sequencer.node.keystore import open_keystore

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def dark_net(tmp_path_factory: pytest.TempPathFactory) -> Devnet:
    """Five members that nobody runs, and a key file."""
    folder: Path = tmp_path_factory.mktemp("dark") / "net"
    ports = range(17_941, 17_946)
    net = init_devnet(
        folder, nodes=5, threshold=None, accounts=1, deployer=bytes(20), ports=ports, chain_url=None, policy=DARK
    )
    passphrase = net.passphrase_file.read_text().strip()
    keystores = [net.node_folder(node) / "keystore.json" for node in range(5)]
    secrets = [open_keystore(path, passphrase).consensus_secret for path in keystores]
    certificate = certify(net.file.committee, [Signer(secret) for secret in secrets if secret is not None])
    save_key(folder / "key.json", net.file.committee, certificate)
    return net


# --- writing one ----------------------------------------------------------------------------------------------------
def test_five_members_run_a_dark_market(mpcseq: Run, tmp_path: Path) -> None:
    ran = mpcseq("devnet", "init", tmp_path / "net", "--policy", "dark", "--nodes", 5, "--json")
    assert ran.status == 0 and "warning" not in ran.err
    assert (ran.json["markets"], ran.json["faults_tolerated"]) == ("BTCUSDT (dark)", 1)
    (market,) = load_committee(Path(ran.json["committee"])).committee.genesis.markets
    assert market.dark == DARK_GRID


@pytest.mark.parametrize("command", [("devnet", "init", "net", "--policy", "dark"), ("demo", "--dark")])
def test_four_members_are_refused_unless_a_demonstration_is_asked_for(
    mpcseq: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    cause, hint = mpcseq(*command, "--nodes", 4).error()
    assert "one liar can abort any" in cause and "5 or more" in hint and "--demonstration" in hint
    assert not (tmp_path / "net").exists()


def test_a_demonstration_warns_of_what_an_abort_leaks(mpcseq: Run, tmp_path: Path) -> None:
    ran = mpcseq("devnet", "init", tmp_path / "net", "--policy", "dark", "--nodes", 4, "--demonstration", "--json")
    assert ran.status == 0 and ran.json["faults_tolerated"] == 1
    assert ran.err.startswith("warning: 4 members") and "knows by then its price and every fill" in ran.err
    (market,) = load_committee(Path(ran.json["committee"])).committee.genesis.markets
    assert market.dark is not None and market.dark.demonstration == 1


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        (("devnet", "init", "net", "--demonstration"), "--demonstration is for dark markets"),
        (("demo", "--demonstration"), "--demonstration is for dark markets"),
        (("demo", "--dark", "--rate", "5"), "--rate is not for a dark market"),
        (("demo", "--dark", "--policy", "shuffle"), "--dark and --policy shuffle contradict each other"),
    ],
)
def test_options_that_contradict_each_other_are_refused(
    mpcseq: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], cause: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cause in mpcseq(*options).error()[0]
    assert not (tmp_path / "net").exists()


# --- looking at one -------------------------------------------------------------------------------------------------
def test_markets_are_listed_with_their_policies_and_grids(mpcseq: Run, dark_net: Devnet, devnet: Devnet) -> None:
    ran = mpcseq("market", "list", "--committee", dark_net.committee_path, "--json")
    (row,) = ran.json["markets"]
    assert (row["symbol"], row["policy"]) == ("BTCUSDT", "dark")
    assert row["dark"] == {
        "price_first_ticks": 617_250,
        "price_last_ticks": 618_800,
        "price_step_ticks": 50,
        "quantity_max_lots": 1_023,
        "orders_max": 64,
        "interval_ms": 3_000,
        "demonstration": False,
        "price_first": "61725",
        "price_last": "61880",
        "price_step": "5",
        "quantity_max": "1.023",
    }
    text = mpcseq("market", "list", "--committee", dark_net.committee_path).out
    assert "61725 .. 61880 in steps of 5" in text and "dark" in text
    (plain,) = mpcseq("market", "list", "--committee", devnet.committee_path, "--json").json["markets"]
    assert plain["policy"] == "auction" and "dark" not in plain


# --- its orders -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--price", "61796", "--quantity", "0.1"), "order.price_tick"),
        (("--price", "61720", "--quantity", "0.1"), "order.price"),
        (("--price-ticks", "617251", "--quantity", "0.1"), "order.price_tick"),
        (("--price", "61795", "--quantity", "1.024"), "order.quantity_max"),
        (("--price-ticks", "617300", "--quantity-lots", "1024"), "order.quantity_max"),
        (("--price", "61795", "--quantity", "0.1", "--kind", "market"), "order.kind"),
        (("--price", "61795", "--quantity", "0.1", "--tif", "FOK"), "order.time_in_force"),
        (("--price", "61795", "--quantity", "0.1", "--post-only"), "order.post_only"),
        (("--price", "61795", "--quantity", "0.1", "--display", "0.05"), "order.display"),
        (("--price", "61795", "--quantity", "0.1", "--client-id", "7"), "order.client_id"),
        (("--price", "61795", "--quantity", "0.1", "--replace", "3"), "market.dark"),
        (("--price", "61795", "--quantity", "0.1", "--deposit", "1:0.0005"), "dark.deposit"),
    ],
)
def test_what_a_dark_market_does_not_take_is_refused_before_anybody_is_asked(
    mpcseq: Run, dark_net: Devnet, tmp_path: Path, words: tuple[str, ...], code: str
) -> None:
    cause, _ = mpcseq(*_seal(dark_net, tmp_path), *words).error()
    assert cause.startswith(code + ":")
    assert not (tmp_path / "order.bin").exists()


def test_an_order_for_a_dark_market_needs_the_members(mpcseq: Run, dark_net: Devnet, tmp_path: Path) -> None:
    words = ("--price", "61795", "--quantity", "0.1", "--timeout", "0.5")
    cause, hint = mpcseq(*_seal(dark_net, tmp_path), *words).error()
    assert "reached 0 of the 1 members" in cause and "nodes run" in hint
    assert not (tmp_path / "order.bin").exists()


def _seal(net: Devnet, folder: Path) -> list[object]:
    key = net.account_keys()[0]
    words = ["order", "seal", "--committee", net.committee_path, "--key-file", key, "--out", folder / "order.bin"]
    return [*words, "--side", "sell", "--nonce", 1]


def test_deposits_are_a_rule_or_exact_amounts() -> None:
    units = MarketUnits(devnet_market(DARK, 5), *ASSETS)
    assert parse_deposit("hide", units) is DepositRule.HIDE and parse_deposit("side", units) is DepositRule.SIDE
    assert parse_deposit("20000:0.3", units) == Deposits(200_000_000, 300)
    assert parse_deposit("0:0.3", units) == Deposits(0, 300)
    for text in ("both", "", "20000"):
        with pytest.raises(ConfigError):
            parse_deposit(text, units)
    for text in ("20000.00005:0.3", "20000:0.0003", "-1:0.3", "1e5:0.3", ":"):
        with pytest.raises(ProtocolError) as caught:
            parse_deposit(text, units)
        assert caught.value.code == "dark.deposit"
