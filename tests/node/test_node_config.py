"""Committee file and node.json: read strictly, written so that they read back, every fault named by its
field.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mpc_sequencer.core.errors import ConfigError
from mpc_sequencer.node import config
from mpc_sequencer.node.config import NodeConfig, SubmitterConfig


@pytest.fixture
def saved(house: Any, tmp_path: Path) -> Path:
    path = tmp_path / "committee.json"
    config.save_committee(path, house.file)
    return path


def rewritten(path: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    return path


def test_a_committee_file_reads_back(house: Any, saved: Path) -> None:
    read = config.load_committee(saved)
    assert read.genesis == house.file.genesis
    assert read.committee.genesis_id == house.file.committee.genesis_id
    assert read.endpoints == house.file.endpoints
    assert read.certificates == house.file.certificates
    assert saved.stat().st_mode & 0o777 == 0o644
    assert [path.name for path in saved.parent.iterdir()] == ["committee.json"]


def test_every_field_of_the_committee_file_is_needed(saved: Path) -> None:
    document = json.loads(saved.read_text())

    def paths(node: Any, prefix: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        if isinstance(node, list):
            return [path for i, item in enumerate(node) for path in paths(item, (*prefix, i))]
        if isinstance(node, dict):
            return [
                path for key, item in node.items() for path in [(*prefix, key), *paths(item, (*prefix, key))]
            ]
        return []

    every = paths(document)
    assert len(every) > 30
    for path in every:
        changed = copy.deepcopy(document)
        at = changed
        for step in path[:-1]:
            at = at[step]
        del at[path[-1]]
        saved.write_text(json.dumps(changed))
        with pytest.raises(ConfigError) as caught:
            config.load_committee(saved)
        assert str(path[-1]) in caught.value.cause


def set_in(*path: Any, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        at: Any = document
        for step in path[:-1]:
            at = at[step]
        at[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (set_in("version", value=2), "version is 2"),
        (set_in("version", value=True), "version is True"),
        (set_in("extra", value=1), "extra is not a known field"),
        (set_in("members", 1, "extra", value=1), r"members\[1\]\.extra is not a known field"),
        (set_in("markets", 0, "extra", value=1), r"markets\[0\]\.extra is not a known field"),
        (set_in("chain_id", value="1337"), "chain_id is '1337', expected an integer"),
        (set_in("chain_id", value=True), "chain_id is True, expected an integer"),
        (set_in("chain_id", value=1.0), r"1\.0 is not an integer"),
        (set_in("chain_id", value=-1), "chain_id is -1"),
        (set_in("chain_id", value=1 << 63), "chain_id is"),
        (set_in("chain_id", value=1 << 70), "chain_id"),
        (set_in("settlement", value="0x33"), "settlement is"),
        (set_in("settlement", value="33" * 20), "settlement is .* expected 0x"),
        (set_in("settlement", value="0x" + "AA" * 20), "lower-case"),
        (set_in("public_key", value="0x02" + "00" * 32), "point.off_curve: public_key"),
        (set_in("public_key", value="0x02"), "point.encoding: public_key: seen 1 bytes"),
        (set_in("public_key", value="0x" + "02" * 32), "point.encoding: public_key: seen 32 bytes"),
        (set_in("public_key", value="0x" + "02" * 34), "public_key is .* expected"),
        (set_in("members", 3, "verification_key", value="0x02"), r"members\[3\]\.verification_key: seen 1 bytes"),
        (set_in("members", 3, "verification_key", value="0x" + "02" * 32), r"members\[3\]\.verification_key: seen 32"),
        (set_in("members", 3, "verification_key", value="0x" + "02" * 34), r"members\[3\]\.verification_key is"),
        (set_in("members", 3, "verification_key", value="0x02" + "00" * 32), r"members\[3\]\.verification_key"),
        (set_in("members", 0, "consensus_key", value="0x02" + "ff" * 32), "consensus key"),
        (set_in("members", value={}), "members is {}"),
        (set_in("members", 0, value=7), r"members\[0\] is 7"),
        (set_in("members", value=[]), "committee of 0 members is unsafe"),
        (set_in("members", 2, "endpoint", value="nowhere"), r"members\[2\]\.endpoint"),
        (set_in("members", 2, "endpoint", value="127.0.0.1:0"), r"members\[2\]\.endpoint"),
        (set_in("members", 2, "endpoint", value="127.0.0.1:65536"), "port 65536"),
        (set_in("members", 2, "endpoint", value=7000), r"members\[2\]\.endpoint"),
        (set_in("members", 2, "tls_certificate", value="0x3000"), r"members\[2\]\.tls_certificate"),
        (set_in("threshold", value=1), "threshold of 1 is unsafe"),
        (set_in("threshold", value=4), "threshold of 4 is unsafe"),
        (set_in("time_ms", value=None), "time_ms is None"),
        (set_in("markets", 0, "symbol", value="\ud800"), r"markets\[0\]\.symbol"),
        (set_in("markets", 0, "symbol", value=7), r"markets\[0\]\.symbol is 7, expected text"),
    ],
)
def test_a_wrong_committee_file_names_what_is_wrong(
    saved: Path, change: Callable[[dict[str, Any]], None], cause: str
) -> None:
    with pytest.raises(ConfigError, match=cause) as caught:
        config.load_committee(rewritten(saved, change))
    assert caught.value.hint


def test_n_out_of_range_is_refused(saved: Path) -> None:
    with pytest.raises(ConfigError, match="committee of 3 members is unsafe"):
        config.load_committee(rewritten(saved, lambda d: d["members"].pop()))


def test_members_must_not_share_what_is_theirs(saved: Path) -> None:
    def endpoint(document: dict[str, Any]) -> None:
        document["members"][1]["endpoint"] = document["members"][0]["endpoint"]

    def certificate(document: dict[str, Any]) -> None:
        document["members"][1]["tls_certificate"] = document["members"][0]["tls_certificate"]

    original = saved.read_text()
    with pytest.raises(ConfigError, match="two members have one endpoint"):
        config.load_committee(rewritten(saved, endpoint))
    saved.write_text(original)
    with pytest.raises(ConfigError, match=r"members\[1\]\.tls_certificate is not of the member's log key"):
        config.load_committee(rewritten(saved, certificate))


def test_repeated_fields_and_broken_json_are_refused(saved: Path) -> None:
    text = saved.read_text()
    for broken, cause in [
        (text.replace('"epoch": 0,', '"epoch": 0, "epoch": 0,'), "epoch is there twice"),
        (text[:-3], "not JSON"),
        ("[" * 100_000, "nested more than"),
        ('{"a' + "[" * 100_000 + ']"', "not JSON"),
        ("[]", "expected an object"),
        (text.replace('"epoch": 0', '"epoch": NaN'), "NaN is not an integer"),
        (text + " " * config.FILE_BYTES_MAX, "larger than"),
    ]:
        saved.write_text(broken)
        with pytest.raises(ConfigError, match=cause):
            config.load_committee(saved)
    saved.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="UTF-8"):
        config.load_committee(saved)


def test_a_missing_committee_file_has_a_hint(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file") as caught:
        config.load_committee(tmp_path / "none.json")
    assert "mpcseq devnet init" in caught.value.hint
    with pytest.raises(ConfigError):
        config.load_committee(tmp_path)


def test_members_in_another_order_are_refused(saved: Path) -> None:
    with pytest.raises(ConfigError, match="ascending order"):
        config.load_committee(rewritten(saved, lambda d: d["members"].reverse()))


@pytest.mark.parametrize("endpoint", [("127.0.0.1", 1), ("node-3.example", 65_535), ("::1", 7000)])
def test_endpoints_read_back(endpoint: tuple[str, int]) -> None:
    assert config.parse_endpoint(config.format_endpoint(endpoint), "endpoint") == endpoint


@pytest.mark.parametrize(
    "text", ["", ":7000", "host", "host:", "host:07", "a b:1", "::1:7000", "[::1]", "h:1\n"]
)
def test_endpoints_that_are_none(text: str) -> None:
    with pytest.raises(ConfigError, match="endpoint"):
        config.parse_endpoint(text, "endpoint")


# --- node.json ----------------------------------------------------------------------------------------------
@pytest.fixture
def node_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "node-1"
    folder.mkdir()
    config.save_node_config(folder / "node.json", node_config(folder))
    return folder


def node_config(folder: Path) -> NodeConfig:
    return NodeConfig(
        index=1,
        listen_host="127.0.0.1",
        listen_port=7001,
        committee=folder.parent / "committee.json",
        keystore=folder / "keystore.json",
        data=folder / "data",
        chain_url="http://127.0.0.1:8545",
        submitter=SubmitterConfig(True, folder / "submitter.key"),
        signer_socket=folder / "signer.sock",
    )


def test_node_json_reads_back_from_file_or_folder(node_folder: Path) -> None:
    assert config.load_node_config(node_folder) == node_config(node_folder)
    assert config.load_node_config(node_folder / "node.json") == node_config(node_folder)


def test_node_json_moves_with_its_folder(node_folder: Path, tmp_path: Path) -> None:
    moved = node_folder.rename(tmp_path / "elsewhere")
    assert config.load_node_config(moved).keystore == moved / "keystore.json"
    assert config.load_node_config(moved).vault == moved / "keystore.vault"
    assert config.load_node_config(moved).signer_socket == moved / "signer.sock"
    assert config.load_node_config(moved).committee == tmp_path / "committee.json"


def test_a_node_may_have_no_remote_signer(node_folder: Path) -> None:
    rewritten(node_folder / "node.json", set_in("signer", value=None))
    assert config.load_node_config(node_folder).signer_socket is None


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (set_in("version", value=0), "version is 0"),
        (set_in("index", value=-1), "index is -1"),
        (set_in("index", value="1"), "index is '1'"),
        (set_in("listen", value="127.0.0.1"), "listen is"),
        (set_in("keystore", value=""), "keystore is ''"),
        (set_in("data", value=None), "data is None"),
        (set_in("chain_url", value="ftp://x"), "chain_url is"),
        (set_in("chain_url", value="http://a b"), "chain_url is"),
        (set_in("data", value="a\0b"), "data is"),
        (set_in("submitter", value=None), "submitter is None"),
        (set_in("submitter", "enabled", value=1), r"submitter\.enabled is 1"),
        (set_in("submitter", "extra", value=1), r"submitter\.extra is not a known field"),
        (set_in("extra", value=1), "extra is not a known field"),
        (set_in("signer", value="signer.sock"), "signer is 'signer.sock', expected an object or null"),
        (set_in("signer", "socket", value=""), r"signer\.socket is ''"),
        (set_in("signer", "extra", value=1), r"signer\.extra is not a known field"),
        (lambda d: d["signer"].pop("socket"), r"signer\.socket is missing"),
        (lambda d: d.pop("signer"), "signer is missing"),
        (lambda d: d.pop("chain_url"), "chain_url is missing"),
        (lambda d: d["submitter"].pop("key_file"), r"submitter\.key_file is missing"),
    ],
)
def test_a_wrong_node_json_names_what_is_wrong(
    node_folder: Path, change: Callable[[dict[str, Any]], object], cause: str
) -> None:
    rewritten(node_folder / "node.json", change)
    with pytest.raises(ConfigError, match=cause):
        config.load_node_config(node_folder)


def test_who_joins_has_no_index(house: Any, node_folder: Path) -> None:
    rewritten(node_folder / "node.json", set_in("index", value=None))
    joining = config.load_node_config(node_folder)
    assert joining.index is None
    config.check_index(joining, house.file)
    config.save_node_config(node_folder / "node.json", joining)
    assert config.load_node_config(node_folder) == joining


def test_an_index_outside_the_committee_is_refused(house: Any, node_folder: Path) -> None:
    good = config.load_node_config(node_folder)
    config.check_index(good, house.file)
    rewritten(node_folder / "node.json", set_in("index", value=4))
    with pytest.raises(ConfigError, match="index 4 is not in the committee of 4"):
        config.check_index(config.load_node_config(node_folder), house.file)


def test_committee_additions_are_checked_when_built_too(house: Any) -> None:
    file = house.file
    with pytest.raises(ConfigError, match="not every member"):
        config.committee_file(file.genesis, file.endpoints[:3], file.certificates)
    with pytest.raises(ConfigError, match="threshold of 5"):
        config.committee_file(
            msgspec.structs.replace(file.genesis, threshold=5), file.endpoints, file.certificates
        )
