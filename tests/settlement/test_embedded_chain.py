"""The embedded chain's endpoint: strict JSON-RPC, plain HTTP, transactions that are refused for their own
reason.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import Any
from urllib.parse import urlsplit

import pytest
from eth_account import Account
from web3 import Web3

from mpc_sequencer.settlement.devchain import DEV_ADDRESS, DEV_SECRET, TRANSACTION_GAS_MAX
from mpc_sequencer.settlement.devchain_json import contract_address
from mpc_sequencer.settlement.embedded import BODY_BYTES_MAX, EmbeddedChain, start_embedded
from mpc_sequencer.settlement.errors import EmbeddedChainFailed


def post(url: str, body: bytes, **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=20)
    try:
        connection.request("POST", "/", body, headers)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def rpc(chain: EmbeddedChain, method: str, *params: object) -> Any:
    request = {"jsonrpc": "2.0", "id": 7, "method": method, "params": list(params)}
    status, body = post(chain.url, json.dumps(request).encode())
    assert status == 200
    answer = json.loads(body)
    assert answer["id"] == 7 and answer["jsonrpc"] == "2.0"
    return answer


def raw_transfer(nonce: int, **changes: Any) -> str:
    fields = {
        "to": "0x" + "11" * 20,
        "value": 1,
        "nonce": nonce,
        "gas": 21_000,
        "maxFeePerGas": 3 * 10**9,
        "maxPriorityFeePerGas": 10**9,
        "chainId": 31337,
    }
    return "0x" + bytes(Account.sign_transaction({**fields, **changes}, DEV_SECRET).raw_transaction).hex()


def nonce_of_dev(chain: EmbeddedChain) -> int:
    return int(rpc(chain, "eth_getTransactionCount", "0x" + DEV_ADDRESS.hex(), "latest")["result"], 16)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", -32700),
        (b"{", -32700),
        (b"\xff\xfe", -32700),
        (b'{"id": NaN}', -32700),
        (b"[" * 100_000, -32700),
        (b'{"id": ' + b"9" * 5_000 + b"}", -32700),
        (b"[]", -32600),
        (b"5", -32600),
        (b'{"id": 1, "method": "eth_chainId"}', -32600),
        (b'{"jsonrpc": "2.0", "id": 1, "method": 5}', -32600),
        (b'{"jsonrpc": "2.0", "id": true, "method": "eth_chainId"}', -32600),
        (b'{"jsonrpc": "2.0", "id": 1.5, "method": "eth_chainId"}', -32600),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "eth_chainId", "params": 5}', -32600),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "eth_mine"}', -32601),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "eth_chainId", "params": [1]}', -32602),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "eth_getCode", "params": {"a": 1}}', -32602),
    ],
)
def test_what_is_no_request_gets_its_error_code(embedded: EmbeddedChain, body: bytes, code: int) -> None:
    status, answer = post(embedded.url, body)
    assert status == 200
    assert json.loads(answer)["error"]["code"] == code


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("eth_getBalance", ["0x11", "latest"]),
        ("eth_getBalance", ["11" * 20]),
        ("eth_getBalance", ["0x" + "1 " * 20]),
        ("eth_getBalance", ["0x" + "11" * 20, "newest"]),
        ("eth_getBalance", ["0x" + "11" * 20, "0x01"]),
        ("eth_getBalance", ["0x" + "11" * 20, -1]),
        ("eth_getBlockByNumber", ["latest", 1]),
        ("eth_getBlockByNumber", ["0x" + "f" * 65, False]),
        ("eth_getTransactionReceipt", ["0x00"]),
        ("eth_sendRawTransaction", ["0x1"]),
        ("eth_sendRawTransaction", [7]),
        ("eth_call", [{"too": "0x"}]),
        ("eth_call", [{"to": "0x" + "11" * 20, "data": "0x00", "input": "0x01"}]),
        ("eth_call", ["0x"]),
        ("eth_getLogs", [{"from": "0x1"}]),
        ("eth_getLogs", [{"topics": [None] * 5}]),
        ("eth_getLogs", [{"address": ["0x" + "11" * 20] * 65}]),
        ("eth_getLogs", [{"blockHash": "0x" + "00" * 32, "fromBlock": "0x0"}]),
        ("eth_feeHistory", ["0x0", "latest"]),
        ("eth_feeHistory", [True, "latest"]),
    ],
)
def test_parameters_that_do_not_read(embedded: EmbeddedChain, method: str, params: list[object]) -> None:
    assert rpc(embedded, method, *params)["error"]["code"] == -32602


def test_http_is_bounded_and_not_for_web_pages(embedded: EmbeddedChain) -> None:
    ok = b'{"jsonrpc": "2.0", "id": 1, "method": "eth_chainId"}'
    assert post(embedded.url, ok)[0] == 200
    assert post(embedded.url, ok, Origin="https://example.org")[0] == 403
    connection = http.client.HTTPConnection(urlsplit(embedded.url).netloc, timeout=20)
    for headers, status in (
        ({"Content-Length": str(BODY_BYTES_MAX + 1)}, 413),
        ({"Content-Length": "9" * 40}, 413),
        ({"Content-Length": "-1"}, 411),
        ({"Transfer-Encoding": "chunked"}, 411),
    ):
        connection.putrequest("POST", "/")
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        assert connection.getresponse().status == status
        connection.close()
    connection.request("GET", "/")
    assert connection.getresponse().status == 405
    connection.close()


def test_batches_and_notifications(embedded: EmbeddedChain) -> None:
    call = {"jsonrpc": "2.0", "method": "eth_chainId"}
    _, body = post(embedded.url, json.dumps([{**call, "id": 1}, call, 5, {**call, "id": "x"}]).encode())
    answers = json.loads(body)
    assert [answer["id"] for answer in answers] == [1, None, "x"]
    assert answers[1]["error"]["code"] == -32600
    assert post(embedded.url, json.dumps(call).encode()) == (204, b"")
    _, body = post(embedded.url, json.dumps([{**call, "id": 1}] * 513).encode())
    assert json.loads(body)["error"]["code"] == -32600


def test_transactions_are_refused_for_their_own_reason(embedded: EmbeddedChain) -> None:
    nonce = nonce_of_dev(embedded)
    poor = Account.from_key(b"\x01" * 32)
    unpaid = poor.sign_transaction(
        {"to": poor.address, "value": 0, "nonce": 0, "gas": 21_000, "gasPrice": 10**10, "chainId": 31337}
    )
    good = raw_transfer(nonce)
    for raw, reason in (
        (raw_transfer(nonce + 1), "nonce too high"),
        (raw_transfer(nonce, chainId=1), "for chain 1"),
        (raw_transfer(nonce, gas=TRANSACTION_GAS_MAX + 1), "gas limit"),
        (raw_transfer(nonce, gas=20_000), ""),
        (raw_transfer(nonce, maxFeePerGas=1, maxPriorityFeePerGas=1), ""),
        ("0x" + bytes(unpaid.raw_transaction).hex(), ""),
        ("0x", "does not decode"),
        ("0x02", "does not decode"),
        ("0xc0", "does not decode"),
        (good[:-2], "does not decode"),
        (good + "00", "does not decode"),
        ("0x05" + good[4:], "does not decode"),
    ):
        answer = rpc(embedded, "eth_sendRawTransaction", raw)
        assert answer["error"]["code"] == -32000, raw[:12]
        assert reason in answer["error"]["message"]
    assert nonce_of_dev(embedded) == nonce
    answer = rpc(embedded, "eth_sendRawTransaction", good)
    assert rpc(embedded, "eth_getTransactionReceipt", answer["result"])["result"]["status"] == "0x1"
    assert "nonce too low" in rpc(embedded, "eth_sendRawTransaction", good)["error"]["message"]


def test_a_batch_of_transactions_is_mined_in_few_blocks_with_sane_times(embedded: EmbeddedChain) -> None:
    nonce = nonce_of_dev(embedded)
    before = int(rpc(embedded, "eth_blockNumber")["result"], 16)
    requests = [
        {"jsonrpc": "2.0", "id": i, "method": "eth_sendRawTransaction", "params": [raw_transfer(nonce + i)]}
        for i in range(33)
    ]
    answers = json.loads(post(embedded.url, json.dumps(requests).encode())[1])
    assert len({answer["result"] for answer in answers}) == 33
    after = int(rpc(embedded, "eth_blockNumber")["result"], 16)
    assert after == before + 3
    blocks = [
        rpc(embedded, "eth_getBlockByNumber", hex(number), True)["result"]
        for number in range(before, after + 1)
    ]
    times = [int(block["timestamp"], 16) for block in blocks]
    assert times == sorted(set(times)) and abs(times[-1] - time.time()) < 300
    assert [block["parentHash"] for block in blocks[1:]] == [block["hash"] for block in blocks[:-1]]
    assert [len(block["transactions"]) for block in blocks[1:]] == [16, 16, 1]
    by_hash = rpc(embedded, "eth_getBlockByHash", blocks[-1]["hash"], False)["result"]
    assert by_hash["transactions"] == [blocks[-1]["transactions"][0]["hash"]]


def test_unknown_things_are_null(embedded: EmbeddedChain) -> None:
    unknown = "0x" + "ab" * 32
    for method, params in (
        ("eth_getTransactionReceipt", [unknown]),
        ("eth_getTransactionByHash", [unknown]),
        ("eth_getBlockByHash", [unknown, False]),
        ("eth_getBlockByNumber", ["0xffffff", False]),
    ):
        answer = rpc(embedded, method, *params)
        assert answer["result"] is None


def test_web3_py_uses_it(embedded: EmbeddedChain) -> None:
    web3 = Web3(Web3.HTTPProvider(embedded.url))
    assert web3.eth.chain_id == 31337 and web3.net.version == "31337"
    assert web3.client_version.startswith("mpc_sequencer")
    assert web3.eth.get_balance(Web3.to_checksum_address(DEV_ADDRESS)) > 10**20
    assert web3.eth.get_code(Web3.to_checksum_address(DEV_ADDRESS)) == b""
    assert len(web3.eth.fee_history(2, "latest", [50.0])["baseFeePerGas"]) >= 2
    assert web3.eth.gas_price > 0 and web3.eth.max_priority_fee > 0
    nonce = web3.eth.get_transaction_count(Web3.to_checksum_address(DEV_ADDRESS))
    transaction = web3.eth.send_raw_transaction(raw_transfer(nonce))  # type: ignore[arg-type]
    receipt = web3.eth.wait_for_transaction_receipt(transaction)
    assert receipt["status"] == 1 and receipt["gasUsed"] == 21_000
    assert web3.eth.get_transaction(transaction)["nonce"] == nonce


def test_contract_addresses_are_those_of_the_rule(embedded: EmbeddedChain) -> None:
    from eth_utils import keccak
    from rlp import encode

    for nonce in (0, 1, 127, 128, 255, 256, 70_000):
        assert contract_address(DEV_ADDRESS, nonce) == keccak(encode([DEV_ADDRESS, nonce]))[12:]


def test_concurrent_readers_and_a_silent_connection(embedded: EmbeddedChain) -> None:
    silent = socket.create_connection(("127.0.0.1", urlsplit(embedded.url).port or 0))
    silent.sendall(b"POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\n12")
    failures: list[BaseException] = []

    def read() -> None:
        try:
            for _ in range(20):
                assert rpc(embedded, "eth_chainId")["result"] == hex(31337)
        except BaseException as error:
            failures.append(error)

    readers = [threading.Thread(target=read) for _ in range(8)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join(30)
    silent.close()
    assert not failures


def test_it_stops_on_sigterm_and_refuses_a_used_port(embedded: EmbeddedChain) -> None:
    used = urlsplit(embedded.url).port or 0
    with pytest.raises(EmbeddedChainFailed, match=f"cannot listen on 127.0.0.1:{used}"):
        start_embedded(port=used)
    chain = start_embedded(chain_id=99)
    assert rpc(chain, "eth_chainId")["result"] == hex(99)
    os.kill(chain.pid, signal.SIGTERM)
    chain._process.wait(10)
    assert not chain.alive() and chain._process.returncode == 0
    chain.close()


def test_it_ends_with_its_parent() -> None:
    script = (
        "import os\n"
        "from mpc_sequencer.settlement.embedded import start_embedded\n"
        "chain = start_embedded()\n"
        "print(chain.pid, flush=True)\n"
        "os._exit(1)\n"
    )
    parent = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=60, check=False)
    child = int(parent.stdout)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and _runs(child):
        time.sleep(0.05)
    assert not _runs(child)


def _runs(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_contract_that_calls_itself_to_the_end_leaves_the_chain_alive(embedded: EmbeddedChain) -> None:
    runtime = bytes.fromhex("5f5f5f5f5f305af100")  # call(gas, address, 0, 0, 0, 0, 0); stop
    deployment = b"\x68" + runtime + bytes.fromhex("5f5260096017f3")
    nonce = nonce_of_dev(embedded)
    raw = raw_transfer(nonce, to="", data=deployment, value=0, gas=200_000)
    created = rpc(
        embedded, "eth_getTransactionReceipt", rpc(embedded, "eth_sendRawTransaction", raw)["result"]
    )
    assert created["result"]["contractAddress"] == "0x" + contract_address(DEV_ADDRESS, nonce).hex()
    call = {"to": created["result"]["contractAddress"]}
    assert rpc(embedded, "eth_call", call, "latest")["result"] == "0x"
    assert embedded.alive()
