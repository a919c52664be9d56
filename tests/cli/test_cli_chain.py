"""``mpcseq chain`` against a node: status, money in and out, and errors with hints."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from mpc_sequencer.cli.app import run
from mpc_sequencer.client.keys import write_account_key
from mpc_sequencer.settlement.devchain import DEV_SECRET
from mpc_sequencer.settlement.embedded import start_embedded
from tests.settlement.deployed_kit import Deployment, deploy


@pytest.fixture(scope="module")
def deployed() -> Iterator[Deployment]:
    with start_embedded() as chain:
        made = deploy(chain.url)
        yield made
        made.chain.close()


@pytest.fixture
def arguments(deployed: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """Options of every command, for a committee file that names the deployed contract."""
    from mpc_sequencer.cli import chain as cli_chain
    from mpc_sequencer.sim import make_deployment

    genesis = msgspec.structs.replace(
        make_deployment(4).committee.genesis, settlement=deployed.chain.settlement, chain_id=deployed.chain.chain_id()
    )
    monkeypatch.setattr(cli_chain, "read_committee", lambda path: type("File", (), {"genesis": genesis}))
    write_account_key(tmp_path / "key", DEV_SECRET)
    return ("--url", deployed.chain.url, "--committee", str(tmp_path / "committee.json"))


def key(tmp_path: Path) -> tuple[str, str]:
    return ("--key", str(tmp_path / "key"))


def said(capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


def test_status_tells_how_the_contract_stands(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["chain", "status", *arguments, "--json"]) == 0
    told = said(capsys)
    assert (told["state"], told["result_height"], told["epoch"]) == ("open", 0, 0)
    assert run(["chain", "status", *arguments]) == 0
    assert "result height" in capsys.readouterr().out


def test_a_deposit_reaches_the_contract(
    arguments: tuple[str, ...], deployed: Deployment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    account = deployed.traders[0]
    before = deployed.chain.balance(account, 0)[0]
    deployed.chain.mint(DEV_SECRET, deployed.tokens[0], deployer(), 50)
    words = ["chain", "deposit", "0", "50", *arguments, *key(tmp_path), "--account", "0x" + account.hex(), "--json"]
    assert run(words) == 0
    assert said(capsys)["amount"] == 50
    assert deployed.chain.balance(account, 0)[0] == before + 50


def deployer() -> bytes:
    from mpc_sequencer.core.signing import Signer

    return Signer(DEV_SECRET).address


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        (("claim", "0"), "claim: nothing to claim"),
        (("freeze",), "freeze: nothing is late"),
        (("exit", "0"), "exit: not frozen"),
        (("deposit", "9", "5"), "asset 9 is not listed"),
        (("claim", "0", "--account", "0x12"), "account is 0x12"),
    ],
)
def test_what_cannot_be_done_says_why(
    words: tuple[str, ...],
    cause: str,
    arguments: tuple[str, ...],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["chain", *words, *arguments, *key(tmp_path)]) != 0
    shown = capsys.readouterr().err
    assert shown.startswith("error: ") and cause in shown and "hint: " in shown


def test_a_chain_of_another_id_is_refused(
    arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from mpc_sequencer.cli import chain as cli_chain

    file = cli_chain.read_committee(Path())
    other = msgspec.structs.replace(file.genesis, chain_id=5)
    monkeypatch.setattr(cli_chain, "read_committee", lambda path: type("File", (), {"genesis": other}))
    assert run(["chain", "status", *arguments]) != 0
    assert "not chain 5" in capsys.readouterr().err
