"""A written devnet: files only their owner reads, keys that fit the committee, addresses known ahead."""

from __future__ import annotations

import contextlib
import stat
import sys
import time
from pathlib import Path

import pytest
import rlp

from mpc_sequencer.core.eip712 import keccak256
from mpc_sequencer.core.errors import ConfigError
from mpc_sequencer.core.signing import Signer
from mpc_sequencer.devnet.layout import (
    Devnet,
    add_joiners,
    contract_address,
    init_devnet,
    nodes_of,
    open_devnet,
    propose_committee,
)
from mpc_sequencer.devnet.processes import NodeProcesses, free_ports, log_tail
from mpc_sequencer.market import RECEIVE, SHUFFLE
from mpc_sequencer.node.config import load_committee, load_node_config
from mpc_sequencer.node.keystore import open_keystore
from mpc_sequencer.node.next_committee import NEXT_COMMITTEE_NAME, load_member, load_next
from mpc_sequencer.node.startup import INPUTS_FILE, check_share, check_signer, open_vault
from mpc_sequencer.node.storage import NEVER_STARTED


@pytest.fixture(scope="module")
def devnet(tmp_path_factory: pytest.TempPathFactory) -> Devnet:
    folder = tmp_path_factory.mktemp("layout") / "devnet"
    return init_devnet(
        folder,
        nodes=7,
        threshold=3,
        accounts=3,
        deployer=b"\x07" * 20,
        ports=range(7801, 7808),
        chain_url=None,
    )


def test_contract_addresses_follow_the_creation_rule() -> None:
    for sent in (0, 1, 2, 127):
        expected = keccak256(rlp.encode([b"\x07" * 20, sent]))[12:]
        assert contract_address(b"\x07" * 20, sent) == expected
    with pytest.raises(ValueError, match="128"):
        contract_address(b"\x07" * 20, 128)


def test_seven_members_tolerate_two_and_each_keystore_is_its_members(devnet: Devnet) -> None:
    committee = load_committee(devnet.committee_path).committee
    assert (committee.n, committee.f, committee.q, committee.t) == (7, 2, 5, 3)
    assert open_devnet(devnet.folder).file.committee.genesis_id == committee.genesis_id
    passphrase = devnet.passphrase_file.read_text().strip()
    for node, member in enumerate(committee.genesis.members):
        opened = open_keystore(devnet.node_folder(node) / "keystore.json", passphrase)
        assert Signer(opened.consensus_secret).public_key == member.consensus_key
        config = load_node_config(devnet.node_folder(node))
        with contextlib.closing(open_vault(config, opened)) as vault:
            assert vault.names() == () and check_share(config, devnet.file, vault) is None
        assert member.verification_key == b"" and committee.genesis.public_key == b""
        assert (config.index, config.listen_port) == (node, 7801 + node)


def test_who_joins_gets_a_folder_with_keys_of_its_own_and_no_index(tmp_path: Path) -> None:
    devnet = written(tmp_path / "devnet", 4, SHUFFLE)
    (devnet.node_folder(0) / INPUTS_FILE).write_bytes(b"inputs")
    added = add_joiners(devnet, 2, (7901, 7902))
    assert nodes_of(devnet) == [0, 1, 2, 3, 4, 5]
    passphrase = devnet.passphrase_file.read_text().strip()
    for node, member in enumerate(added, 4):
        folder = devnet.node_folder(node)
        options = load_node_config(folder)
        assert (options.index, options.listen_port, options.submitter.enabled) == (None, 7897 + node, False)
        opened = open_keystore(options.keystore, passphrase)
        assert check_signer(options, devnet.file, opened).public_key == member.consensus_key
        assert load_member(folder / "member.json") == member and member.endpoint == f"127.0.0.1:{7897 + node}"
        assert (folder / INPUTS_FILE).read_bytes() == b"inputs" and (options.data / NEVER_STARTED).exists()
    for count, ports in ((0, ()), (1, (7901, 7902)), (1, (0,))):
        with pytest.raises(ConfigError):
            add_joiners(devnet, count, ports)
    assert nodes_of(devnet) == [0, 1, 2, 3, 4, 5]


def test_a_proposal_goes_to_the_folders_of_those_who_approve_it(tmp_path: Path) -> None:
    devnet = written(tmp_path / "devnet", 4, SHUFFLE)
    (joiner,) = add_joiners(devnet, 1, (7901,))
    target = propose_committee(devnet, [4, 0, 1, 3], approving=[0, 1, 2])
    assert target.threshold == 3 and joiner in target.members and len(target.members) == 4
    for node in range(5):
        path = devnet.node_folder(node) / NEXT_COMMITTEE_NAME
        assert path.exists() == (node < 3)
        assert node >= 3 or load_next(path) == target
    for people, threshold in (([0, 1, 2], None), ([0, 1, 2, 2], None), ([0, 1, 2, 9], None), ([0, 1, 2, 4], 1)):
        with pytest.raises(ConfigError):
            propose_committee(devnet, people, threshold)
    assert load_next(devnet.node_folder(0)) == target


def written(folder: Path, nodes: int, policy: int) -> Devnet:
    return init_devnet(
        folder,
        nodes=nodes,
        threshold=None,
        accounts=1,
        deployer=b"\x07" * 20,
        ports=range(7801, 7801 + nodes),
        chain_url=None,
        policy=policy,
    )


@pytest.mark.parametrize(("policy", "f"), [(SHUFFLE, 2), (RECEIVE, 1)])
def test_the_markets_policy_decides_how_many_faults_seven_members_tolerate(tmp_path: Path, policy: int, f: int) -> None:
    committee = load_committee(written(tmp_path / "net", 7, policy).committee_path).committee
    assert [market.policy for market in committee.genesis.markets] == [policy]
    assert (committee.f, committee.q, committee.t) == (f, 7 - f, 7 - f)


def test_four_members_are_too_few_to_order_by_receipt_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="orders by receipt") as refusal:
        written(tmp_path / "net", 4, RECEIVE)
    assert refusal.value.hint == "use 5 or more"
    assert not (tmp_path / "net").exists()


def test_nobody_else_can_read_a_secret(devnet: Devnet) -> None:
    secret_files = [devnet.passphrase_file, *devnet.account_keys()]
    for node in range(7):
        secret_files += [devnet.node_folder(node) / name for name in ("keystore.json", "submitter.key")]
        secret_files += list((devnet.node_folder(node) / "keystore.vault").iterdir())
    assert len(secret_files) == 4 + 7 * 2 + 7 * 2, "a vault that was opened once has a key file and a lock"
    for path in secret_files:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_free_ports_are_distinct() -> None:
    assert len(set(free_ports(16))) == 16


def test_processes_are_always_reaped_and_a_dead_node_is_named(
    devnet: Devnet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with NodeProcesses(devnet) as processes:
        processes.start()
        pids = [(devnet.node_folder(node) / "pid").read_text() for node in range(7)]
        assert pids == [f"{process.pid}\n" for process in processes.nodes]
        deadline = time.monotonic() + 10
        while processes.alive() and time.monotonic() < deadline:
            time.sleep(0.01)
        with pytest.raises(ConfigError, match="node 0 ended with status 1"):
            processes.check_started()
    assert processes.stop() == dict.fromkeys(range(7), 1)
    assert not any((devnet.node_folder(node) / "pid").exists() for node in range(7))


def test_the_tail_of_a_log_is_short(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("".join(f"line {number}\n" for number in range(5_000)))
    assert log_tail(tmp_path / "log") == " | ".join(f"line {number}" for number in range(4_995, 5_000))
    assert log_tail(tmp_path / "missing") == ""
