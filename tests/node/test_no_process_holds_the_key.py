"""Real members generate the threshold key: none of their processes ever holds it, nor another member's share of it.

The test puts the key together itself, from copies of all vaults, and searches what each process has in memory while it
runs. That the search would find it is shown by each member's own share, which is there.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from node_net import NODES, WAIT_S, Net

from mpc_sequencer.node.config import vault_of
from mpc_sequencer.node.share_files import get_share
from mpc_sequencer.node.vault import Vault
from threshold import SecretShare
from threshold.group import N, encode_point, generator_point_secret
from threshold.shamir import lagrange_at_zero


@pytest.fixture
def net(tmp_path: Path) -> Iterator[Net]:
    made = Net(tmp_path, generated=True)
    try:
        made.start_signer()
        for node in NODES:
            made.start(node)
        yield made
    finally:
        for node in list(made.processes):
            made.end(node, signal.SIGKILL)
        made.end_signer()


def share_of(net: Net, node: int, spare: Path) -> SecretShare | None:
    """The member's share, out of a copy of its vault."""
    shutil.rmtree(spare, ignore_errors=True)
    try:
        shutil.copytree(vault_of(net.home(node) / "keystore.json"), spare, ignore=shutil.ignore_patterns("lock"))
        with contextlib.closing(Vault(spare, net.vault_keys[node])) as vault:
            return get_share(vault, 0)
    except Exception:
        return None  # copied amid a change


def memory_of(pid: int) -> Iterator[bytes]:
    """All that the process may write to, region by region."""
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", buffering=0) as mem:
        for line in maps:
            first, last, rights = re.match(r"([0-9a-f]+)-([0-9a-f]+) (\S+)", line).groups()  # type: ignore[union-attr]
            if rights.startswith("rw"):
                mem.seek(int(first, 16))
                with contextlib.suppress(OSError):
                    yield mem.read(int(last, 16) - int(first, 16))


def holds(pid: int, secrets: dict[str, bytes]) -> set[str]:
    """Which secrets are in the process's memory: their bytes, their hex digits, or turned round as integers are."""
    found: set[str] = set()
    for region in memory_of(pid):
        for name, secret in secrets.items():
            if any(form in region for form in (secret, secret[::-1], secret.hex().encode())):
                found.add(name)
    return found


def test_no_process_holds_the_key_or_another_member_s_share(net: Net, tmp_path: Path) -> None:
    shares: dict[int, SecretShare] = {}
    until = time.monotonic() + WAIT_S
    while len(shares) < len(NODES):
        assert time.monotonic() < until, "the members generate their key"
        time.sleep(0.2)
        for node in NODES:
            if node not in shares and (share := share_of(net, node, tmp_path / f"spare-{node}")) is not None:
                shares[node] = share
    chosen = (1, 2, 3)
    factors = lagrange_at_zero(chosen)
    parts = (int.from_bytes(shares[i - 1].export(), "big") * by for i, by in zip(chosen, factors, strict=True))
    key = (sum(parts) % N).to_bytes(32, "big")
    public = encode_point(generator_point_secret(key))
    secrets = {f"share {node}": share.export() for node, share in shares.items()} | {"key": key}
    for node in NODES:
        assert holds(net.processes[node].pid, secrets) == {f"share {node}"}
        contents = {path: path.read_bytes() for path in net.home(node).rglob("*") if path.is_file()}
        assert any(public in content for path, content in contents.items() if path.parent.name == "journal")
        for path, content in contents.items():
            assert not any(secret in content or secret.hex().encode() in content for secret in secrets.values()), path
