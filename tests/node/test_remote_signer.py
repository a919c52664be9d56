"""Remote signer: its signatures are the key's own, its failures are loud and bounded, its socket is one user's."""

from __future__ import annotations

import contextlib
import copy
import os
import pickle
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trio

from mpc_sequencer.core.errors import ConfigError
from mpc_sequencer.core.signing import Signer
from mpc_sequencer.node import remote_signer
from mpc_sequencer.node.keystore import NodeSecrets, create
from mpc_sequencer.node.remote_signer import REQUEST_BYTES, RESPONSE_BYTES, RemoteSigner, SignerFailed, serve_signer

LOCAL = Signer(b"\x42" * 32)
DIGESTS = [bytes((number,)) * 32 for number in range(5)]


@pytest.fixture
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("s") / "s"


class Served:
    """`mpcseq key serve` as a process."""

    def __init__(self, path: Path) -> None:
        keystore, passphrase = path.with_name("k.json"), path.with_name("pass")
        create(keystore, NodeSecrets(b"\x42" * 32, b"\1" * 32, b"\2" * 32), "words", profile="minimum")
        passphrase.write_text("words")
        passphrase.chmod(0o600)
        options = ["--keystore", keystore, "--socket", path, "--passphrase-file", passphrase, "--json"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mpc_sequencer.cli", "key", "serve", *map(str, options)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        self.started = self.process.stdout.readline().decode()

    def end(self, number: int) -> tuple[int, str]:
        """Its exit status after a signal, and what it logged."""
        self.process.send_signal(number)
        _, said = self.process.communicate(timeout=20)
        return self.process.returncode, said.decode()


@pytest.fixture
def served(path: Path) -> Iterator[Served]:
    one = Served(path)
    try:
        yield one
    finally:
        one.process.kill()
        one.process.communicate()


def test_a_remote_signature_is_the_keys_own(served: Served, path: Path) -> None:
    remote = RemoteSigner(path, LOCAL.public_key)
    remote.check()
    assert remote.address == LOCAL.address
    assert [remote.sign_digest(digest) for digest in DIGESTS] == [LOCAL.sign_digest(digest) for digest in DIGESTS]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    remote.close()
    status, said = served.end(signal.SIGTERM)
    assert (status, said.count("\n")) == (0, 1) and f"signing for 0x{LOCAL.address.hex()} at {path}" in said
    assert not path.exists()
    assert LOCAL.address.hex() in served.started and "4242" not in served.started + said


def test_a_killed_signer_is_an_error_at_once_and_a_new_one_is_found_again(served: Served, path: Path) -> None:
    remote = RemoteSigner(path, LOCAL.public_key)
    remote.check()
    served.end(signal.SIGKILL)
    began = time.monotonic()
    with pytest.raises(SignerFailed, match="is gone: Connection refused") as caught:
        remote.sign_digest(DIGESTS[0])
    assert time.monotonic() - began < 1
    assert "mpcseq key serve" in caught.value.hint
    path.with_name("k.json").unlink()
    again = Served(path)  # over the socket that the killed one left
    try:
        assert remote.sign_digest(DIGESTS[0]) == LOCAL.sign_digest(DIGESTS[0])
    finally:
        again.end(signal.SIGTERM)
        remote.close()


# --- hostile servers ----------------------------------------------------------------------------------------
def serving(path: Path, answer: Callable[[bytes, socket.socket], bytes]) -> threading.Thread:
    """One connection, one request, one answer."""
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(path))
    listening.listen()

    def run() -> None:
        with listening:
            connected, _ = listening.accept()
            with connected:
                request = connected.recv(REQUEST_BYTES)
                data = answer(request, connected)
                if data:
                    connected.sendall(data)
                connected.recv(1)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def signed(request: bytes, by: Signer = LOCAL) -> bytes:
    return b"\x01" + by.sign_digest(request[1:])


def high_s(request: bytes) -> bytes:
    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
    good = signed(request)
    s = (order - int.from_bytes(good[33:65], "big")).to_bytes(32, "big")
    return good[:33] + s + bytes((55 - good[65],))


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (lambda request: b"\x02" + signed(request)[1:], "version 2"),
        (lambda request: signed(request, Signer(b"\x43" * 32)), "does not sign as this member: signature.signer"),
        (lambda request: signed(request[:1] + DIGESTS[1]), "does not sign as this member: signature.signer"),
        (high_s, "does not sign as this member: signature.encoding"),
        (lambda request: b"\x01" + bytes(65), "does not sign as this member: signature.encoding"),
        (lambda request: signed(request) + b"\0", f"more than {RESPONSE_BYTES} bytes"),
        (lambda request: signed(request)[:-1], "no answer in time"),
        (lambda request: b"", "no answer in time"),
    ],
)
def test_an_answer_that_is_not_this_members_signature_is_refused(
    path: Path, answer: Callable[[bytes], bytes], cause: str
) -> None:
    thread = serving(path, lambda request, _: answer(request))
    remote = RemoteSigner(path, LOCAL.public_key, timeout_s=0.3)
    began = time.monotonic()
    with pytest.raises(SignerFailed, match=cause):
        remote.sign_digest(DIGESTS[0])
    assert time.monotonic() - began < 2
    thread.join(5)
    assert not thread.is_alive()  # the connection is closed, so that no late answer meets the next request


def test_a_signer_that_closes_the_connection_is_an_error(path: Path) -> None:
    def close(request: bytes, connected: socket.socket) -> bytes:
        connected.shutdown(socket.SHUT_RDWR)
        return b""

    serving(path, close)
    with pytest.raises(SignerFailed, match="is gone"):
        RemoteSigner(path, LOCAL.public_key, timeout_s=1).sign_digest(DIGESTS[0])


def test_no_socket_is_an_error_with_what_to_do(path: Path) -> None:
    with pytest.raises(SignerFailed, match="No such file") as caught:
        RemoteSigner(path, LOCAL.public_key).check()
    assert "mpcseq key serve" in caught.value.hint
    with pytest.raises(ConfigError, match="path has 200 bytes"):
        RemoteSigner(Path("/" + "a" * 199), LOCAL.public_key)
    with pytest.raises(ValueError, match="31 bytes"):
        RemoteSigner(path, LOCAL.public_key).sign_digest(bytes(31))


def test_another_users_process_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left, right = socket.socketpair(socket.AF_UNIX)
    with left, right:
        assert remote_signer.is_same_user(left)
        mine = os.geteuid()
        monkeypatch.setattr(os, "geteuid", lambda: mine + 1)
        assert remote_signer.is_same_user(left) is (mine == 0)
    monkeypatch.setattr(remote_signer, "is_same_user", lambda connected: False)
    serving(path, lambda request, _: b"")
    with pytest.raises(SignerFailed, match="another user"):
        RemoteSigner(path, LOCAL.public_key, timeout_s=1).sign_digest(DIGESTS[0])


# --- hostile clients ----------------------------------------------------------------------------------------
async def ask(path: Path, data: bytes) -> bytes:
    """All that a connection brings until the server closes it."""
    stream = await trio.open_unix_socket(str(path))
    async with stream:
        await stream.send_all(data)
        got = b""
        while part := await stream.receive_some(1000):
            got += part
        return got


async def test_a_request_that_is_none_gets_no_signature(path: Path) -> None:
    good = b"\x01" + DIGESTS[0]
    async with trio.open_nursery() as nursery:
        await nursery.start(serve_signer, LOCAL, path)
        with trio.fail_after(10):
            for request in (b"\x02" + DIGESTS[0], b"\x00" * REQUEST_BYTES):
                assert await ask(path, request) == b""
            assert await ask(path, good + b"\x02" + bytes(32)) == signed(good)
            assert await ask(path, good[:5]) == b""  # cut off after ANSWER_S_MAX
        nursery.cancel_scope.cancel()
    assert not path.exists()


async def test_connections_that_say_nothing_do_not_end_the_server(path: Path) -> None:
    async with trio.open_nursery() as nursery:
        await nursery.start(serve_signer, LOCAL, path)
        idle = [await trio.open_unix_socket(str(path)) for _ in range(remote_signer.CONNECTIONS_MAX)]
        waiting = await trio.open_unix_socket(str(path))
        await waiting.send_all(b"\x01" + DIGESTS[0])
        with trio.move_on_after(0.2) as scope:
            await waiting.receive_some(100)
        assert scope.cancelled_caught  # bounded: it waits for a place
        await idle[0].aclose()
        with trio.fail_after(5):
            assert await waiting.receive_some(100) == signed(b"\x01" + DIGESTS[0])
        nursery.cancel_scope.cancel()


async def test_another_users_client_gets_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_signer, "is_same_user", lambda connected: False)
    async with trio.open_nursery() as nursery:
        await nursery.start(serve_signer, LOCAL, path)
        with trio.fail_after(5), contextlib.suppress(trio.BrokenResourceError):
            assert await ask(path, b"\x01" + DIGESTS[0]) == b""
        nursery.cancel_scope.cancel()


async def test_a_socket_in_use_and_a_file_in_its_place_are_refused(path: Path) -> None:
    async with trio.open_nursery() as nursery:
        await nursery.start(serve_signer, LOCAL, path)
        listening = await trio.open_unix_socket(str(path))
        with pytest.raises(ConfigError, match="another process answers"):
            await trio.to_thread.run_sync(remote_signer._remove_stale, path)
        await listening.aclose()
        nursery.cancel_scope.cancel()
    path.write_text("a file")
    with pytest.raises(ConfigError, match="is no socket"):
        await serve_signer(LOCAL, path)
    assert path.read_text() == "a file"


def test_a_remote_signer_is_neither_shown_nor_copied(path: Path) -> None:
    remote = RemoteSigner(path, LOCAL.public_key)
    assert repr(remote) == f"RemoteSigner(0x{LOCAL.address.hex()})"
    for action in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            action(remote)
