"""A chain node's answer that is nested without end is refused; it ends no process."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys, threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from mpc_sequencer.settlement.errors import ChainUnreachable
from mpc_sequencer.settlement.ethrpc import EthClient

class Nested(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))  # what is unread when it closes would reset the connection
        body = b"[" * 400_000
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        pass

server = HTTPServer(("127.0.0.1", 0), Nested)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(sys.getrecursionlimit() > 50_000)
try:
    EthClient(f"http://127.0.0.1:{server.server_port}").block_number()
except ChainUnreachable as error:
    print(str(error).endswith("does not speak JSON-RPC"), error)
"""


def test_a_nested_answer_of_a_chain_node_is_refused() -> None:
    found = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False, timeout=60)
    assert (found.returncode, found.stdout.split()[:2]) == (0, ["True", "True"]), found.stdout + found.stderr
