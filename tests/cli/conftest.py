"""A written devnet that orders can be sealed to, and a way to run commands in this process, as its script does."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "client"))
sys.path.insert(0, str(Path(__file__).parent))
from client_key_kit import certify

from mpc_sequencer.cli.app import run
from mpc_sequencer.client import save_key
from mpc_sequencer.core.signing import Signer
from mpc_sequencer.devnet.layout import Devnet, init_devnet
from mpc_sequencer.node.keystore import open_keystore


@dataclass(frozen=True)
class Ran:
    """What a command left: exit status and both outputs."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The last line of standard output as JSON."""
        return json.loads(self.out.splitlines()[-1])

    def error(self) -> tuple[str, str]:
        """The cause and the hint; fails unless standard error is exactly these two lines and the status 2."""
        assert self.status == 2, (self.status, self.err)
        lines = self.err.splitlines()
        assert len(lines) == 2 and lines[0].startswith("error: ") and lines[1].startswith("hint: "), self.err
        assert "Traceback" not in self.err + self.out
        return lines[0].removeprefix("error: "), lines[1].removeprefix("hint: ")


@pytest.fixture
def mpcseq(capfd: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    def call(*arguments: object) -> Ran:
        capfd.readouterr()
        status = run([str(argument) for argument in arguments])
        captured = capfd.readouterr()
        return Ran(status, captured.out, captured.err)

    return call


@pytest.fixture(scope="session")
def devnet(tmp_path_factory: pytest.TempPathFactory) -> Devnet:
    folder: Path = tmp_path_factory.mktemp("cli") / "devnet"
    ports = [17_931, 17_932, 17_933, 17_934]
    written = init_devnet(
        folder,
        nodes=4,
        threshold=None,
        accounts=2,
        deployer=bytes(20),
        ports=ports,
        chain_url="http://127.0.0.1:9",
    )
    committee = written.file.committee
    if committee.keys is None:  # where the members are to generate the key, a key file as their certificate gives it
        passphrase = written.passphrase_file.read_text().strip()
        keystores = [written.node_folder(node) / "keystore.json" for node in range(committee.n)]
        secrets = [open_keystore(path, passphrase).consensus_secret for path in keystores]
        certificate = certify(committee, [Signer(secret) for secret in secrets if secret is not None])
        save_key(folder / "key.json", committee, certificate)
    return written


@pytest.fixture
def sealed(mpcseq: Callable[..., Ran], devnet: Devnet, tmp_path: Path) -> Path:
    """A freshly sealed envelope."""
    out = tmp_path / "order.bin"
    key = devnet.account_keys()[0]
    ran = mpcseq(
        *("order", "seal", "--committee", devnet.committee_path, "--key-file", key, "--out", out),
        *("--side", "buy", "--price", "61800.3", "--quantity", "0.25", "--nonce", 1, "--json"),
    )
    assert ran.status == 0, ran.err
    return out
