"""Node processes of a development network: started, watched, ended, never left behind.

Each runs `mpcseq node run` in a session of its own, so that Ctrl-C reaches the parent alone, which then
ends its children in order. A node also ends when its standard input closes: if the parent is killed, the
nodes go too.
"""

from __future__ import annotations

import contextlib
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final

from mpc_sequencer.core.errors import ConfigError
from mpc_sequencer.devnet.layout import HOST, Devnet

STOP_S_MAX: Final = 15.0
LOG_TAIL_LINES: Final = 5
LOG_TAIL_BYTES: Final = 4_096
STEADY_PORT_MIN: Final = 10_000


def free_ports(count: int) -> list[int]:
    """Ports on loopback that are free now."""
    with contextlib.ExitStack() as stack:
        sockets = [
            stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) for _ in range(count)
        ]
        for held in sockets:
            held.bind((HOST, 0))
        return [int(held.getsockname()[1]) for held in sockets]


def steady_ports(count: int) -> list[int]:
    """Ports on loopback that are free now and that no outgoing connection gets as its local port, so that a node that
    is down for a while finds its port free again. Raises :class:`ConfigError`."""
    low, high = _outgoing_ports()
    candidates = [port for port in range(STEADY_PORT_MIN, 1 << 16) if not low <= port <= high]
    found: list[int] = []
    for port in random.sample(candidates, len(candidates)):
        if len(found) == count:
            break
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe, contextlib.suppress(OSError):
            probe.bind((HOST, port))
            found.append(port)
    if len(found) < count:
        raise ConfigError(f"only {len(found)} of {count} ports are free", "end what listens on this machine")
    return found


def _outgoing_ports() -> tuple[int, int]:
    """The first and last local port of outgoing connections; the range of RFC 6335 where the system does not say."""
    try:
        low, high = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
        return int(low), int(high)
    except (OSError, ValueError):
        return 49_152, 65_535


class NodeProcess:
    """One running node. Its process id is in ``pid`` and its output in ``node.log`` of its folder."""

    def __init__(self, devnet: Devnet, node: int) -> None:
        self.node = node
        self.folder = devnet.node_folder(node)
        self.log_path = self.folder / "node.log"
        command = [sys.executable, "-m", "mpc_sequencer.cli", "node", "run", str(self.folder)]
        command += ["--passphrase-file", str(devnet.passphrase_file), "--until-stdin-closes"]
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True
            )
        (self.folder / "pid").write_text(f"{self._process.pid}\n")

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def check_started(self) -> None:
        """Raise :class:`ConfigError` with the last lines of its log where the process has ended."""
        status = self._process.poll()
        if status is None:
            return
        said = log_tail(self.log_path)
        raise ConfigError(
            f"node {self.node} ended with status {status}" + (f": {said}" if said else ""),
            f"read {self.log_path}",
        )

    def terminate(self) -> None:
        """Ask it to end (SIGTERM): it writes its last checkpoint."""
        if self.alive():
            self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once (SIGKILL): it gets no chance to write anything."""
        self._process.kill()

    def reap(self, timeout_s: float) -> int:
        """Wait for its end, killing it after ``timeout_s``; returns its exit status."""
        try:
            status = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()
        with contextlib.suppress(FileNotFoundError):
            (self.folder / "pid").unlink()
        return status


class NodeProcesses:
    """All nodes of a devnet; leaving the ``with`` block ends and reaps every one."""

    def __init__(self, devnet: Devnet) -> None:
        self._devnet = devnet
        self.nodes: list[NodeProcess] = []

    def start(self) -> None:
        """Start every node; returns at once."""
        for node in range(self._devnet.file.committee.n):
            self.nodes.append(NodeProcess(self._devnet, node))

    def join(self, nodes: Sequence[int]) -> None:
        """Start nodes whose folders were added since; returns at once. Numbers go on from those that run."""
        for node in nodes:
            if node != len(self.nodes):
                raise ValueError(f"node {node} starts as number {len(self.nodes)}")
            self.nodes.append(NodeProcess(self._devnet, node))

    def alive(self) -> list[int]:
        """Members whose processes run."""
        return [process.node for process in self.nodes if process.alive()]

    def kill(self, nodes: Sequence[int]) -> list[int]:
        """Kill nodes' processes (SIGKILL), all before the first is reaped; returns those that had ended before."""
        ended = [node for node in nodes if not self.nodes[node].alive()]
        for node in nodes:
            self.nodes[node].kill()
        for node in nodes:
            self.nodes[node].reap(STOP_S_MAX)
        return ended

    def restart(self, node: int) -> None:
        """Start a node whose process was reaped again: the same folder, the same command."""
        self.nodes[node] = NodeProcess(self._devnet, node)

    def check_started(self) -> None:
        """Raise :class:`ConfigError` where a node ended while starting."""
        for process in self.nodes:
            process.check_started()

    def stop(self) -> dict[int, int]:
        """End all nodes, at most STOP_S_MAX seconds; returns exit statuses by member."""
        for process in self.nodes:
            process.terminate()
        deadline = time.monotonic() + STOP_S_MAX
        return {process.node: process.reap(max(0.1, deadline - time.monotonic())) for process in self.nodes}

    def __enter__(self) -> NodeProcesses:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def log_tail(path: Path) -> str:
    """The last lines of a log, joined."""
    try:
        with path.open("rb") as log:
            log.seek(0, 2)
            log.seek(max(0, log.tell() - LOG_TAIL_BYTES))
            text = log.read().decode("utf-8", "replace")
    except OSError:
        return ""
    return " | ".join(line.strip() for line in text.splitlines()[-LOG_TAIL_LINES:] if line.strip())


def check_ports_free(endpoints: Sequence[tuple[str, int]]) -> None:
    """Raise :class:`ConfigError` for the first endpoint on which another process listens."""
    for node, (host, port) in enumerate(endpoints):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                raise ConfigError(
                    f"node {node} cannot listen on {host}:{port}: {error.strerror}",
                    "end what uses the port, or write the devnet with another --base-port",
                ) from None
