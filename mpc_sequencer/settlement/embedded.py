"""The embedded chain: a :class:`DevChain` behind JSON-RPC over HTTP on loopback, and the handle that starts
one.

    python -m mpc_sequencer.settlement.embedded --port 0 --json

prints one line ``{"url", "chain_id"}`` when it serves and stops on SIGTERM or SIGINT. With
``--until-stdin-closes`` it also stops when its standard input ends, so that a killed parent leaves no process
behind. It binds 127.0.0.1 only and refuses requests a web page could make. Devnets and tests only.
"""

from __future__ import annotations

import argparse
import json
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import FrameType, TracebackType
from typing import Any, Final

from mpc_sequencer.settlement.errors import EmbeddedChainFailed

HOST: Final = "127.0.0.1"
BODY_BYTES_MAX: Final = 4 << 20
CONNECTIONS_MAX: Final = 128
CONNECTION_IDLE_S_MAX: Final = 60.0
START_S_MAX: Final = 60.0
STOP_S_MAX: Final = 10.0
THREAD_STACK_BYTES: Final = 128 << 20
"""The EVM recurses in Python once per nested call, 1,024 deep; the usual stack of a thread does not hold
that.
"""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # A port another process listens on must be refused, not shared.
    allow_reuse_port = False
    request_queue_size = 128

    def __init__(self, port: int, rpc: Any) -> None:
        self.rpc = rpc
        self._slots = threading.BoundedSemaphore(CONNECTIONS_MAX)
        super().__init__((HOST, port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._slots.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._slots.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A client that goes away in the middle of an answer is its own business.
        return


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "mpc_sequencer"
    sys_version = ""
    timeout = CONNECTION_IDLE_S_MAX
    disable_nagle_algorithm = True
    wbufsize = 1 << 16
    server: _Server

    def do_POST(self) -> None:
        if self.headers.get("Origin") is not None:
            self._refuse(403, "requests from web pages are refused")
            return
        length = self.headers.get("Content-Length", "")
        if "Transfer-Encoding" in self.headers or not (length.isascii() and length.isdigit()):
            self._refuse(411, "expected a Content-Length")
            return
        if len(length) > 10 or int(length) > BODY_BYTES_MAX:
            self._refuse(413, f"body is above {BODY_BYTES_MAX} bytes")
            return
        body = self.rfile.read(int(length))
        if len(body) != int(length):
            self.close_connection = True
            return
        answer = self.server.rpc.handle(body)
        self.send_response(200 if answer else 204)
        self.send_header("Content-Type", "application/json")
        if answer:
            self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def do_GET(self) -> None:
        self._refuse(405, "send JSON-RPC by POST")

    def _refuse(self, status: int, reason: str) -> None:
        self.close_connection = True
        body = json.dumps({"error": reason}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        return


def serve(port: int, chain_id: int | None, as_json: bool, until_stdin_closes: bool) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit status."""
    # Importing the EVM takes a second; the handle side of this module must not pay it.
    from mpc_sequencer.settlement.devchain import DEV_CHAIN_ID, DevChain
    from mpc_sequencer.settlement.jsonrpc import JsonRpc

    threading.stack_size(THREAD_STACK_BYTES)
    chain = DevChain(DEV_CHAIN_ID if chain_id is None else chain_id)
    try:
        server = _Server(port, JsonRpc(chain))
    except OSError as error:
        print(f"error: cannot listen on {HOST}:{port}: {error.strerror}", file=sys.stderr)
        print("hint: choose another --port, or 0 for any free one", file=sys.stderr)
        return 2

    def stop(number: int, frame: FrameType | None) -> None:
        # shutdown() waits for serve_forever, which runs in this very thread.
        threading.Thread(target=server.shutdown, daemon=True).start()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    if until_stdin_closes:
        threading.Thread(target=_stop_at_end_of_stdin, args=(server,), daemon=True).start()
    url = f"http://{HOST}:{server.server_address[1]}"
    if as_json:
        print(json.dumps({"url": url, "chain_id": chain.chain_id}), flush=True)
    else:
        print(f"embedded chain {chain.chain_id} at {url}", flush=True)
    try:
        server.serve_forever(poll_interval=0.1)
    finally:
        server.server_close()
    return 0


def _stop_at_end_of_stdin(server: _Server) -> None:
    # The descriptor, not sys.stdin: its buffer's lock would be held while the interpreter shuts down.
    while os.read(0, 4096):
        pass
    server.shutdown()


class EmbeddedChain:
    """A running embedded chain in a child process. Close it, or use it as a context manager."""

    def __init__(self, process: subprocess.Popen[bytes], url: str, chain_id: int) -> None:
        self._process = process
        self.url = url
        self.chain_id = chain_id

    @property
    def pid(self) -> int:
        """Process id of the child."""
        return self._process.pid

    def alive(self) -> bool:
        """Whether the child still runs."""
        return self._process.poll() is None

    def close(self) -> None:
        """Stop the child and wait for its end; harmless when it has ended."""
        _end(self._process)

    def __enter__(self) -> EmbeddedChain:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def start_embedded(port: int = 0, chain_id: int | None = None) -> EmbeddedChain:
    """Start an embedded chain as a child process and wait until it serves (about 2 s).

    Raises EmbeddedChainFailed when it ends or stays silent for START_S_MAX seconds.
    """
    command = [sys.executable, "-m", "mpc_sequencer.settlement.embedded", "--json", "--until-stdin-closes"]
    command += ["--port", str(port)]
    if chain_id is not None:
        command += ["--chain-id", str(chain_id)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    line = _first_line(process)
    try:
        ready = json.loads(line)
        url, served_id = str(ready["url"]), int(ready["chain_id"])
    except (ValueError, KeyError, TypeError):
        _end(process)
        said = (
            process.stderr.read(2000).decode("utf-8", "replace").strip() if process.poll() is not None else ""
        )
        process.stderr.close()
        raise EmbeddedChainFailed(
            said.splitlines()[0] if said else "the embedded chain did not start"
        ) from None
    # Nothing reads it from now on; the child writes nothing there but a traceback when it dies.
    threading.Thread(target=process.stderr.read, daemon=True).start()
    return EmbeddedChain(process, url, served_id)


def _first_line(process: subprocess.Popen[bytes]) -> bytes:
    assert process.stdout is not None
    deadline = time.monotonic() + START_S_MAX
    received = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while not received.endswith(b"\n") and time.monotonic() < deadline:
            if not selector.select(timeout=deadline - time.monotonic()):
                break
            chunk = os.read(process.stdout.fileno(), 4096)
            if not chunk:
                break
            received += chunk
    return received


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()


def main(arguments: list[str]) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="mpc_sequencer.settlement.embedded", description="Devnet chain on loopback."
    )
    parser.add_argument("--port", type=int, default=0, help="TCP port, 0 for any free one")
    parser.add_argument("--chain-id", type=int, default=None, help="EIP-155 chain id")
    parser.add_argument("--json", action="store_true", help="print one JSON line when ready")
    parser.add_argument(
        "--until-stdin-closes", action="store_true", help="also stop when standard input ends"
    )
    options = parser.parse_args(arguments)
    if not 0 <= options.port <= 65535:
        parser.error(f"--port is {options.port}, expected 0 to 65535")
    if options.chain_id is not None and not 0 < options.chain_id < 1 << 63:
        parser.error(f"--chain-id is {options.chain_id}, expected 1 to 2^63-1")
    return serve(options.port, options.chain_id, options.json, options.until_stdin_closes)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
