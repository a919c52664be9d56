"""The chain client against the embedded chain: deposit, post, claim; and what it does with nodes that lie or
hang.
"""

from __future__ import annotations

import hashlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from mpc_sequencer.core.eip712 import domain_separator
from mpc_sequencer.settlement import ethrpc
from mpc_sequencer.settlement.chain import Bond, ChainClient, Deposit
from mpc_sequencer.settlement.devchain import DEV_ADDRESS, DEV_SECRET
from mpc_sequencer.settlement.embedded import EmbeddedChain
from mpc_sequencer.settlement.errors import (
    ChainMismatch,
    ChainUnreachable,
    ReceiptTimeout,
    TransactionRejected,
    TransactionReverted,
)
from mpc_sequencer.settlement.payloads import (
    INPUT_BOND,
    INPUT_DEPOSIT,
    Delta,
    batch_result_digest,
    check_signed,
)

if TYPE_CHECKING:
    from tests.settlement.deployed_kit import Deployment

GENESIS_ROOT = hashlib.sha256(b"genesis").digest()


def test_deposit_post_result_and_claim(deployment: Deployment) -> None:
    chain, (alice, bob) = deployment.chain, deployment.traders
    deltas = (Delta(alice, 0, -100, 0), Delta(bob, 0, 100, 0), Delta(alice, 1, -300, 300))
    signed = deployment.result(1, 4, GENESIS_ROOT, *deltas)
    separator = domain_separator(chain.chain_id(), chain.settlement or b"")
    check_signed(signed, separator, *chain.signers())
    assert chain.result_digest(signed.result) == batch_result_digest(separator, signed.result)
    transaction = chain.post_result(signed, DEV_SECRET)
    receipt = chain.wait_receipt(transaction)
    assert receipt.status == 1 and 50_000 < receipt.gas_used < 300_000
    last = chain.last_posted()
    assert (last.epoch, last.last_height, last.state_root) == (0, 4, signed.result.state_root)
    assert chain.balance(alice, 0) == (900, 0) and chain.balance(bob, 0) == (1_100, 0)
    assert chain.balance(alice, 1) == (700, 300)
    (posted,) = chain.results()
    assert (posted.first_height, posted.last_height, posted.transaction_hash) == (1, 4, transaction)
    assert posted.state_root == signed.result.state_root and posted.fills_root == signed.result.fills_root
    chain.claim(DEV_SECRET, 1, alice)
    assert chain.balance(alice, 1) == (700, 0) and chain.token_balance(deployment.tokens[1], alice) == 300
    with pytest.raises(TransactionReverted, match="claim: nothing to claim"):
        chain.claim(DEV_SECRET, 1, alice)
    with pytest.raises(TransactionReverted) as error:
        chain.post_result(signed, DEV_SECRET)
    assert error.value.reason == "result: wrong first height"


def test_inputs_and_checkpoint_agree(deployment: Deployment) -> None:
    chain = deployment.chain
    block = chain.block_number()
    inputs = chain.inputs(block)
    assert [entry.kind for entry in inputs] == [INPUT_DEPOSIT] * 4 + [INPUT_BOND] * 2
    assert [(entry.account, entry.asset, entry.amount) for entry in inputs[:2]] == [
        (deployment.traders[0], 0, 1_000),
        (deployment.traders[0], 1, 1_000),
    ]
    checkpoint = chain.checkpoint(block)
    assert (checkpoint.inputs_count, checkpoint.inputs_hash) == (6, inputs[-1].inputs_hash)
    assert checkpoint.hash == chain.block_hash(block)
    chain.bond(DEV_SECRET, deployment.traders[0], 5)
    assert chain.bond_of(deployment.traders[0]) == 10**15 + 5
    assert chain.checkpoint(block) == checkpoint and len(chain.inputs(block)) == 6
    later = chain.inputs(chain.block_number())
    assert later[:6] == inputs and later[6].amount == 5
    with pytest.raises(ChainMismatch):
        chain.checkpoint(block + 1_000)


def test_forty_accounts_are_funded_quickly(deployment: Deployment) -> None:
    chain = deployment.chain
    accounts = [bytes([7]) * 19 + bytes([index]) for index in range(40)]
    started = time.monotonic()
    chain.fund(
        DEV_SECRET,
        [Deposit(account, asset, 10**9) for account in accounts for asset in (0, 1)],
        [Bond(account, 10**18) for account in accounts],
    )
    # About 2 s on an idle core; the bound is wide as cores are shared.
    assert time.monotonic() - started < 20
    assert all(chain.balance(account, asset) == (10**9, 0) for account in accounts[::13] for asset in (0, 1))
    assert chain.checkpoint(chain.block_number()).inputs_count == 6 + 120


def test_a_failing_transaction_in_a_batch_names_the_contracts_reason(deployment: Deployment) -> None:
    with pytest.raises(TransactionReverted) as error:
        deployment.chain.fund(DEV_SECRET, [Deposit(bytes(20), 0, 5)], [])
    assert error.value.reason == "deposit: zero account"


def test_connect_refuses_what_is_not_the_settlement_contract(deployment: Deployment) -> None:
    url, token = deployment.chain.url, deployment.tokens[0]
    assert ChainClient(url, deployment.chain.settlement).connect() == 31337
    with pytest.raises(ChainMismatch, match="no contract"):
        ChainClient(url, b"\x01" * 20).connect()
    with pytest.raises((ChainMismatch, TransactionReverted)):
        ChainClient(url, token).connect()
    with pytest.raises(ChainMismatch, match="no settlement contract"):
        ChainClient(url).last_posted()


def test_sending_the_same_signed_transaction_again_is_harmless(deployment: Deployment) -> None:
    chain = deployment.chain
    prepared = chain.prepare_result(deployment.result(1, 2, GENESIS_ROOT), DEV_SECRET)
    chain.broadcast([prepared])
    first = chain.wait_receipt(prepared.transaction_hash)
    chain.broadcast([prepared])
    assert chain.wait_receipt(prepared.transaction_hash) == first
    with pytest.raises(TransactionRejected, match="nonce too low"):
        chain.broadcast([replace(prepared, transaction_hash=b"\x00" * 32)])
    assert len(chain.results()) == 1


def test_a_missing_receipt_times_out(deployment: Deployment) -> None:
    with pytest.raises(ReceiptTimeout):
        deployment.chain.wait_receipt(b"\x99" * 32, timeout_s=0.1)


# --------------------------------------------------------------------------------------- nodes that misbehave


@contextmanager
def node(answer: Callable[[dict[str, Any]], bytes]) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_closed_port_is_unreachable_with_a_hint() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    with pytest.raises(ChainUnreachable) as error:
        ChainClient(f"http://127.0.0.1:{port}").connect()
    assert str(port) in str(error.value) and error.value.hint


@pytest.mark.parametrize("url", ["", "127.0.0.1:1", "ftp://127.0.0.1", "http://[", "http://127.0.0.1:99999"])
def test_an_unusable_url_is_unreachable(url: str) -> None:
    with pytest.raises(ChainUnreachable):
        ChainClient(url).connect()


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b"[" * 50_000, b"\xff", b"5", b'{"id": 1}'])
def test_a_node_that_does_not_speak_json_rpc(body: bytes) -> None:
    with node(lambda request: body) as url, pytest.raises(ChainUnreachable):
        ChainClient(url).connect()


@pytest.mark.parametrize("result", [None, "x", "0xzz", [], {}, 5])
def test_a_node_that_answers_nonsense(result: object) -> None:
    answer = json.dumps({"jsonrpc": "2.0", "id": 0, "result": result}).encode()
    with node(lambda request: answer) as url:
        client = ChainClient(url, b"\x01" * 20)
        for ask in (
            client.connect,
            client.last_posted,
            lambda: client.checkpoint(1),
            lambda: client.inputs(1),
        ):
            if result == [] and ask is not client.connect:
                continue
            with pytest.raises(ChainMismatch):
                ask()


def test_an_endless_answer_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ethrpc, "ANSWER_BYTES_MAX", 10_000)
    with (
        node(lambda request: b" " * 100_000) as url,
        pytest.raises(ChainUnreachable, match="more than 10000"),
    ):
        ChainClient(url).connect()


def test_a_node_that_never_answers_costs_a_bounded_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ethrpc, "REQUEST_S_MAX", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        started = time.monotonic()
        with pytest.raises(ChainUnreachable):
            ChainClient(f"http://127.0.0.1:{silent.getsockname()[1]}").connect()
        assert time.monotonic() - started < 5


def test_a_dripping_node_costs_a_bounded_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ethrpc, "REQUEST_S_MAX", 0.5)
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
                while not stop.wait(0.05):
                    try:
                        connection.sendall(b" ")
                    except OSError:
                        return

        thread = threading.Thread(target=drip)
        thread.start()
        started = time.monotonic()
        with pytest.raises(ChainUnreachable, match="did not answer within"):
            ChainClient(f"http://127.0.0.1:{server.getsockname()[1]}").connect()
        stop.set()
        thread.join()
        assert time.monotonic() - started < 5


def test_an_invented_deposit_is_noticed(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that changes one amount in its logs, or leaves one out, is caught by the hash chain."""
    chain = deployment.chain
    real = chain._provider._post
    block = chain.block_number()

    def lie(change: Callable[[list[Any]], list[Any]]) -> None:
        def post(body: bytes) -> Any:
            answer = real(body)
            return {**answer, "result": change(answer["result"])} if b"eth_getLogs" in body else answer

        monkeypatch.setattr(chain._provider, "_post", post)
        with pytest.raises(ChainMismatch):
            chain.inputs(block)

    def inflate(logs: list[Any]) -> list[Any]:
        word = f"{1_001:064x}"
        return [{**logs[0], "data": logs[0]["data"].replace(f"{1_000:064x}", word)}, *logs[1:]]

    assert len(chain.inputs(block)) == 6
    lie(inflate)
    lie(lambda logs: logs[1:])
    lie(lambda logs: logs[:-1])
    lie(lambda logs: [])
    lie(lambda logs: [*logs, logs[-1]])


def test_secrets_are_not_shown(deployment: Deployment) -> None:
    prepared = deployment.chain.prepare_result(deployment.result(1, 2, GENESIS_ROOT), DEV_SECRET)
    assert DEV_SECRET.hex() not in repr(prepared)
    assert DEV_SECRET not in prepared.raw
    assert deployment.chain.balance_wei(DEV_ADDRESS) > 0


def test_many_threads_share_a_client(embedded: EmbeddedChain, deployment: Deployment) -> None:
    failures: list[BaseException] = []

    def read() -> None:
        try:
            for _ in range(10):
                assert deployment.chain.balance(deployment.traders[0], 0) == (1_000, 0)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not failures
