"""Four members as real processes, with their folders. The chain is not part of it: what members would read from it
before their first start is given to them."""

from __future__ import annotations

import contextlib
import random
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import trio

from mpc_sequencer.client.link import connector_to
from mpc_sequencer.client.queries import ask_status
from mpc_sequencer.client.sequencer import open_sequencer
from mpc_sequencer.client.tracker import Submission
from mpc_sequencer.core.codec import encode
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.messages import OrderReply, StatusReply
from mpc_sequencer.core.signing import Signer
from mpc_sequencer.core.types import Envelope
from mpc_sequencer.devnet.processes import free_ports
from mpc_sequencer.node import config, tls
from mpc_sequencer.node.keystore import NodeSecrets, create
from mpc_sequencer.node.share_files import put_share
from mpc_sequencer.node.storage import mark_never_started
from mpc_sequencer.node.vault import Vault
from mpc_sequencer.sim import Deployment, make_deployment
from mpc_sequencer.sim.deployment import _draw

SEED = 21
PASSPHRASE = "a passphrase of the tests"
NODES = range(4)
REMOTE = 0
"""This member's consensus key is in another process."""
WAIT_S = 40.0
RUN = """
import resource, sys
from pathlib import Path
from mpc_sequencer.cli.app import run
from mpc_sequencer.core.codec import decode
from mpc_sequencer.core.transcript import ChainInput
from mpc_sequencer.node import process
inputs = decode(tuple[ChainInput, ...], Path(sys.argv[2]).read_bytes())
process.read_inputs = lambda config, file: inputs
if int(sys.argv[4]):
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[4]), int(sys.argv[4])))
sys.exit(run(["node", "run", sys.argv[1], "--passphrase-file", sys.argv[3], *sys.argv[5:]]))
"""


class Net:
    """Four members' folders and processes. ``generated``: they have no key from the start."""

    def __init__(self, folder: Path, *, generated: bool = False) -> None:
        self.folder = folder
        d = make_deployment(4, seed=SEED, generated=generated)
        seeds = [_draw(SEED, "log seed", i) for i in NODES]
        secrets = sorted((_draw(SEED, "consensus", i) for i in NODES), key=lambda secret: Signer(secret).address)
        genesis = d.committee.genesis
        rows = zip(genesis.members, seeds, strict=True)
        members = tuple(msgspec.structs.replace(one, log_key=tls.log_key(seed)) for one, seed in rows)
        genesis = msgspec.structs.replace(genesis, members=members)
        ports = free_ports(4)
        certificates = [tls.member_certificate(seed) for seed in seeds]
        self.file = config.committee_file(genesis, [("127.0.0.1", port) for port in ports], certificates)
        self.deployment: Deployment = d
        self.committee: Committee = self.file.committee
        config.save_committee(folder / "committee.json", self.file)
        (folder / "inputs").write_bytes(encode(d.inputs))
        (folder / "passphrase").write_text(PASSPHRASE)
        (folder / "passphrase").chmod(0o600)
        self.processes: dict[int, subprocess.Popen[bytes]] = {}
        self.vault_keys: dict[int, bytes] = {}
        for node in NODES:
            home = self.home(node)
            home.mkdir()
            remote = node == REMOTE
            kept = NodeSecrets(None if remote else secrets[node], seeds[node], _draw(SEED, "vault", node))
            remote_key = Signer(secrets[node]).public_key if remote else None
            create(home / "keystore.json", kept, PASSPHRASE, profile="interactive", consensus_key=remote_key)
            if remote:
                held = NodeSecrets(secrets[node], seeds[node], _draw(SEED, "vault", node))
                create(folder / "signer.json", held, PASSPHRASE, profile="interactive")
            mark_never_started(home / "data")
            options = config.NodeConfig(
                index=node,
                listen_host="127.0.0.1",
                listen_port=ports[node],
                committee=folder / "committee.json",
                keystore=home / "keystore.json",
                data=home / "data",
                chain_url=None,
                submitter=config.SubmitterConfig(False, None),
                signer_socket=folder / "s" if remote else None,
            )
            config.save_node_config(home / "node.json", options)
            self.vault_keys[node] = kept.vault_key or b""
            if not generated:
                with contextlib.closing(Vault(options.vault, self.vault_keys[node])) as vault:
                    put_share(vault, 0, d.shares[node])
        self.signer: subprocess.Popen[bytes] | None = None

    def home(self, node: int) -> Path:
        return self.folder / f"node-{node}"

    def start(self, node: int, *options: str, file_bytes_max: int = 0) -> None:
        arguments = [self.home(node), self.folder / "inputs", self.folder / "passphrase", str(file_bytes_max), *options]
        with (self.home(node) / "node.log").open("ab") as log:
            self.processes[node] = subprocess.Popen(
                [sys.executable, "-c", RUN, *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def start_signer(self) -> None:
        command = ["key", "serve", "--keystore", "signer.json", "--socket", "s", "--passphrase-file", "passphrase"]
        self.signer = subprocess.Popen(
            [sys.executable, "-m", "mpc_sequencer.cli", *command, "--json"],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert self.signer.stdout is not None and self.signer.stdout.readline()

    def end_signer(self) -> None:
        if self.signer is not None:
            self.signer.kill()
            self.signer.communicate()
            self.signer = None

    def end(self, node: int, number: int) -> int:
        """The exit status after a signal (0: none is sent)."""
        process = self.processes.pop(node)
        if number:
            process.send_signal(number)
        try:
            return process.wait(WAIT_S)
        finally:
            process.kill()

    def said(self, node: int) -> str:
        return (self.home(node) / "node.log").read_text()

    def status(self) -> dict[int, StatusReply]:
        answers = trio.run(ask_status, self.file, list(self.processes), 5.0)
        return {node: answer for node, answer in answers.items() if isinstance(answer, StatusReply)}

    def settled(self) -> dict[int, StatusReply]:
        """Everybody's status once all stand at one executed height, with nothing pending."""
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            found = self.status()
            places = {(one.height_final, one.height_executed, one.orders_sequenced) for one in found.values()}
            if len(found) == len(self.processes) and len(places) == 1 and not any(
                one.orders_pending for one in found.values()
            ):
                return found
            time.sleep(0.2)
        raise AssertionError(f"members do not come together: {self.status()}")

    def orders(self, rng: random.Random, count: int) -> list[Envelope]:
        d = self.deployment
        now_ms = time.time_ns() // 1_000_000
        prices = [618_000 + rng.randint(-3, 3) for _ in range(count)]
        return [d.order(rng.choice(d.traders), now_ms, side=rng.choice((1, 2)), price_ticks=p) for p in prices]

    def order(self, node: int, order_id: bytes) -> OrderReply:
        async def ask() -> OrderReply:
            async with open_sequencer(self.committee, connector_to(self.file), [node]) as client:
                await client.wait_connected(1, WAIT_S)
                return await client.order(node, order_id, WAIT_S)

        return trio.run(ask)

    def submit(self, nodes: list[int], envelopes: list[Envelope]) -> list[Submission]:
        async def ask() -> list[Submission]:
            async with open_sequencer(self.committee, connector_to(self.file), nodes) as client:
                await client.wait_connected(len(nodes), WAIT_S)
                return await client.submit(envelopes, WAIT_S)

        return trio.run(ask)
