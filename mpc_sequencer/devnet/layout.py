"""A development network's folder: everything `mpcseq devnet init` writes.

    committee.json   assets.json   passphrase (mode 0600, opens every keystore)
    accounts/account-00.key ..     traders' keys, 64 hex digits (mode 0600)
    node-0/ ..                     node.json, keystore.json, keystore.vault/ (its share, once the key is there),
                                   submitter.key; at run time data/, node.log, pid
    node-4/ ..                     who may join (`add_joiners`): the same without a share, and member.json, its public
                                   identity; next-committee.json in a folder is that node's approval

Only identity keys are made here: the members generate the threshold key in their first blocks. The contracts get their
addresses from the deployer and its transaction count, so the committee file names them before they exist
and orders can be sealed offline at once; `mpcseq devnet up` deploys, checks the addresses, and puts the
chain's checkpoint of the deposits into the file.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from mpc_sequencer.client.keys import save_assets, write_account_key
from mpc_sequencer.client.units import AssetUnits
from mpc_sequencer.core import limits
from mpc_sequencer.core.committee import Genesis, Member, faults_tolerated
from mpc_sequencer.core.eip712 import keccak256
from mpc_sequencer.core.errors import ConfigError, ProtocolError
from mpc_sequencer.core.rotation import check_next
from mpc_sequencer.core.signing import Signer
from mpc_sequencer.core.types import Checkpoint, NextCommittee, NextMember
from mpc_sequencer.market import AUCTION, Market
from mpc_sequencer.market.types import DARK, DarkGrid
from mpc_sequencer.node import config, files, next_committee, tls
from mpc_sequencer.node.keystore import NodeSecrets, Profile, create, new_secrets
from mpc_sequencer.node.startup import INPUTS_FILE
from mpc_sequencer.node.storage import mark_never_started

CHAIN_ID: Final = 31337
ACCOUNTS_MAX: Final = 1_000
BASE_PORT_DEFAULT: Final = 7700
HOST: Final = "127.0.0.1"
DARK_MEMBERS_MIN: Final = 5
"""So that one liar's shares are corrected: 4t+1 members with t = 1."""

ASSETS: Final = (AssetUnits(0, "BTC", 8), AssetUnits(1, "USDT", 6))
BTCUSDT: Final = Market(
    id=0,
    base_asset=0,
    quote_asset=1,
    base_units_per_lot=100_000,  # 0.001 BTC
    quote_units_per_tick_lot=100,  # 0.1 USDT per BTC
    reference_price_ticks=618_000,
    symbol="BTCUSDT",
    policy=AUCTION,
)

DARK_GRID: Final = DarkGrid(
    ticks=32,  # 61,725 .. 61,880 USDT
    price_first_ticks=617_250,
    price_step_ticks=50,  # 5 USDT
    quantity_bits=10,  # up to 1.023 BTC
    slack_bits=40,
    orders_max=64,
    interval_ms=3_000,
)
"""Of the market where it is dark. Narrow: every price is two columns of every order."""


@dataclass(frozen=True, slots=True)
class Devnet:
    """A written folder and what it holds."""

    folder: Path
    file: config.CommitteeFile
    passphrase_file: Path

    @property
    def committee_path(self) -> Path:
        return self.folder / "committee.json"

    @property
    def assets_path(self) -> Path:
        return self.folder / "assets.json"

    def node_folder(self, node: int) -> Path:
        """Where member ``node`` keeps its files."""
        return self.folder / f"node-{node}"

    def account_keys(self) -> list[Path]:
        """The traders' key files, in order."""
        return sorted((self.folder / "accounts").glob("account-*.key"))


def contract_address(deployer: bytes, transactions_sent: int) -> bytes:
    """The address of a contract deployed by ``deployer``'s transaction number ``transactions_sent`` (0 ..
    127).
    """
    if not 0 <= transactions_sent < 0x80:
        raise ValueError("only the first 128 transactions are predicted")
    nonce = bytes((transactions_sent or 0x80,))  # RLP writes zero as the empty string
    return keccak256(b"\xd6\x94" + deployer + nonce)[12:]


def init_devnet(
    folder: Path,
    *,
    nodes: int,
    threshold: int | None,
    accounts: Sequence[bytes] | int,
    deployer: bytes,
    ports: Sequence[int],
    chain_url: str | None,
    policy: int = AUCTION,
    demonstration: bool = False,
    kdf: Profile = "interactive",
    key_refresh_ms: int = 0,
    chain_id: int = CHAIN_ID,
) -> Devnet:
    """Write a new folder: ``nodes`` members (4 or more; 5 where the market's order ``policy`` is RECEIVE, or DARK
    without ``demonstration``), traders' keys (given secrets, or a number of new ones). ``kdf`` is what a guess of the
    keystores' passphrase costs, and what each start of a node does. The threshold key is shared anew every
    ``key_refresh_ms`` (0: never).

    Raises :class:`ConfigError` for unsafe sizes and for a folder that is not empty; then nothing is written.
    """
    market = devnet_market(policy, nodes, demonstration)
    f = faults_tolerated(nodes, (market,))
    t = nodes - f if threshold is None else threshold
    _check_sizes(nodes, t, f, accounts, ports)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(
            f"{folder} is not an empty folder", "choose another folder, or remove this one first"
        )
    signers = sorted(
        (secrets.token_bytes(32) for _ in range(nodes)), key=lambda secret: Signer(secret).address
    )
    log_seeds = [secrets.token_bytes(32) for _ in range(nodes)]
    members = tuple(
        Member(Signer(secret).public_key, tls.log_key(seed), b"")
        for secret, seed in zip(signers, log_seeds, strict=True)
    )
    genesis = Genesis(
        version=1,
        chain_id=chain_id,
        settlement=contract_address(deployer, len(ASSETS)),
        epoch=0,
        threshold=t,
        public_key=b"",
        members=members,
        assets=tuple(contract_address(deployer, number) for number in range(len(ASSETS))),
        markets=(market,),
        checkpoint=Checkpoint(0, bytes(32), 0, bytes(32)),
        time_ms=0,
        key_refresh_ms=key_refresh_ms,
    )
    certificates = [tls.member_certificate(seed) for seed in log_seeds]
    file = config.committee_file(genesis, [(HOST, port) for port in ports], certificates)
    devnet = Devnet(folder, file, folder / "passphrase")
    _write_shared(devnet, accounts)
    passphrase = devnet.passphrase_file.read_text().strip()
    for node in range(nodes):
        node_secrets = NodeSecrets(signers[node], log_seeds[node], secrets.token_bytes(32))
        create(devnet.node_folder(node) / "keystore.json", node_secrets, passphrase, profile=kdf)
        _write_node(devnet, node, chain_url)
    return devnet


def devnet_market(policy: int, nodes: int, demonstration: bool = False) -> Market:
    """The market of a devnet of so many members, by its order ``policy``. Raises :class:`ConfigError` for a dark one
    that they could only demonstrate, unless that is asked for, and for a demonstration of anything else."""
    if policy != DARK:
        if demonstration:
            raise ConfigError("--demonstration is for dark markets", "leave it out, or use --policy dark")
        return msgspec.structs.replace(BTCUSDT, policy=policy)
    if nodes < DARK_MEMBERS_MIN and not demonstration:
        raise ConfigError(
            f"{nodes} members only detect lies about a dark batch: one liar can abort any, after it has seen the price",
            f"use {DARK_MEMBERS_MIN} or more nodes, or --demonstration where that does not matter",
        )
    grid = msgspec.structs.replace(DARK_GRID, demonstration=int(demonstration))
    return msgspec.structs.replace(BTCUSDT, policy=DARK, dark=grid)


def add_joiners(devnet: Devnet, count: int, ports: Sequence[int], *, kdf: Profile = "interactive") -> list[NextMember]:
    """Write folders of ``count`` new nodes that have no place in the committee, to be started and then rotated in;
    their public identities. Their folders take the next numbers. They read the chain where node 0 does, and get its
    copy of the genesis inputs where it has one.

    Raises :class:`ConfigError` for bad counts and ports; then nothing is written.
    """
    first = len(nodes_of(devnet))
    if not 1 <= count <= limits.COMMITTEE_MEMBERS_MAX or len(ports) != count:
        raise ConfigError(f"{count} nodes with {len(ports)} ports cannot join", "give every new node a port")
    if not all(1 <= port <= 65_535 for port in ports):
        raise ConfigError("the new nodes' ports are not all between 1 and 65535", "choose other ports")
    passphrase = devnet.passphrase_file.read_text().strip()
    model = config.load_node_config(devnet.node_folder(0))
    inputs = devnet.node_folder(0) / INPUTS_FILE
    added = []
    for node, port in enumerate(ports, first):
        folder = devnet.node_folder(node)
        folder.mkdir()
        header = create(folder / "keystore.json", made := new_secrets(), passphrase, profile=kdf)
        endpoint = config.format_endpoint((HOST, port))
        certificate = tls.member_certificate(made.log_seed)
        member = next_committee.next_member(header.consensus_key, header.log_key, endpoint, certificate)
        next_committee.save_member(folder / "member.json", member)
        if inputs.exists():
            files.write_atomically(folder / INPUTS_FILE, inputs.read_bytes(), mode=0o600)
        no_submitter = config.SubmitterConfig(False, None)
        _save_node_config(devnet, folder, None, (HOST, port), model.chain_url, no_submitter)
        mark_never_started(folder / "data")
        added.append(member)
    return added


def nodes_of(devnet: Devnet) -> list[int]:
    """The numbers of all node folders: the committee file's members, then those who may join."""
    count = devnet.file.committee.n
    while devnet.node_folder(count).exists():
        count += 1
    return list(range(count))


def propose_committee(
    devnet: Devnet, nodes: Sequence[int], threshold: int | None = None, *, approving: Sequence[int] | None = None
) -> NextCommittee:
    """Write the proposal that the nodes of these folders follow as the committee, t of them decrypting (None: n-f),
    into the folders of ``approving`` (None: all): running members approve it. It is the committee that was written.

    Raises :class:`ConfigError` where a folder is missing or the committee is unsafe; then nothing is written.
    """
    known = nodes_of(devnet)
    unknown = [node for node in nodes if node not in known]
    if unknown or len(set(nodes)) != len(nodes):
        raise ConfigError(f"there are no such nodes: {unknown or list(nodes)}", f"choose among 0 .. {known[-1]}")
    founders = next_committee.members_of(devnet.file)
    members = [
        founders[node] if node < len(founders) else next_committee.load_member(devnet.node_folder(node) / "member.json")
        for node in nodes
    ]
    t = len(nodes) - faults_tolerated(len(nodes), devnet.file.genesis.markets) if threshold is None else threshold
    target = next_committee.next_committee(t, members)
    try:
        check_next(devnet.file.committee, target)
    except ProtocolError as error:
        cause = f"the proposed committee is unsafe: {error.field} is {error.seen}, expected {error.expected}"
        raise ConfigError(cause, "choose other nodes or another threshold") from None
    for node in known if approving is None else approving:
        next_committee.save_next(devnet.node_folder(node), target)
    return target


def open_devnet(folder: Path) -> Devnet:
    """A folder written before. Raises :class:`ConfigError`."""
    if not (folder / "committee.json").is_file():
        raise ConfigError(f"{folder} holds no devnet", f"write one with `mpcseq devnet init {folder}`")
    return Devnet(folder, config.load_committee(folder / "committee.json"), folder / "passphrase")


def _check_sizes(nodes: int, t: int, f: int, accounts: Sequence[bytes] | int, ports: Sequence[int]) -> None:
    if not limits.COMMITTEE_MEMBERS_MIN <= nodes <= limits.COMMITTEE_MEMBERS_MAX:
        raise ConfigError(
            f"a committee of {nodes} members is unsafe",
            f"use between {limits.COMMITTEE_MEMBERS_MIN} and {limits.COMMITTEE_MEMBERS_MAX} nodes",
        )
    if not f + 1 <= t <= nodes - f:
        raise ConfigError(
            f"a decryption threshold of {t} is unsafe with {nodes} members",
            f"use t between f+1 = {f + 1} and n-f = {nodes - f}",
        )
    count = accounts if isinstance(accounts, int) else len(accounts)
    if not 1 <= count <= ACCOUNTS_MAX:
        raise ConfigError(
            f"{count} accounts are outside the bounds", f"use between 1 and {ACCOUNTS_MAX} accounts"
        )
    if len(ports) != nodes or not all(1 <= port <= 65_535 for port in ports):
        raise ConfigError("the nodes' ports are not all between 1 and 65535", "choose a lower --base-port")


def _write_shared(devnet: Devnet, accounts: Sequence[bytes] | int) -> None:
    keys = [secrets.token_bytes(32) for _ in range(accounts)] if isinstance(accounts, int) else accounts
    try:
        (devnet.folder / "accounts").mkdir(parents=True)
        for node in range(devnet.file.committee.n):
            devnet.node_folder(node).mkdir()
    except OSError as error:
        raise ConfigError(
            f"cannot write {devnet.folder}: {error.strerror}", "choose a writable folder"
        ) from None
    for number, secret in enumerate(keys):
        write_account_key(devnet.folder / "accounts" / f"account-{number:02d}.key", secret)
    files.write_atomically(devnet.passphrase_file, secrets.token_hex(16).encode() + b"\n", mode=0o600)
    save_assets(devnet.assets_path, {asset.asset: asset for asset in ASSETS})
    config.save_committee(devnet.committee_path, devnet.file)


def _write_node(devnet: Devnet, node: int, chain_url: str | None) -> None:
    folder = devnet.node_folder(node)
    write_account_key(folder / "submitter.key", secrets.token_bytes(32))
    write_node_config(devnet, node, chain_url)
    mark_never_started(folder / "data")


def write_node_config(devnet: Devnet, node: int, chain_url: str | None) -> None:
    """Write node.json of member ``node``, posting results to ``chain_url`` (or to no chain)."""
    folder = devnet.node_folder(node)
    submitter = config.SubmitterConfig(chain_url is not None, folder / "submitter.key")
    _save_node_config(devnet, folder, node, devnet.file.endpoints[node], chain_url, submitter)


def _save_node_config(
    devnet: Devnet,
    folder: Path,
    index: int | None,
    endpoint: tuple[str, int],
    chain_url: str | None,
    submitter: config.SubmitterConfig,
) -> None:
    options = config.NodeConfig(
        index=index,
        listen_host=endpoint[0],
        listen_port=endpoint[1],
        committee=devnet.committee_path,
        keystore=folder / "keystore.json",
        data=folder / "data",
        chain_url=chain_url,
        submitter=submitter,
        chain=config.ChainConfig(poll_ms=500, confirmations=0, turn_ms=3_000, stuck_ms=10_000),
    )
    config.save_node_config(folder / "node.json", options)
