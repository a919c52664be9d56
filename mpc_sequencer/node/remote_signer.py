"""A consensus key in another process, reached over a Unix domain socket.

The node asks for a signature over a digest and gets it; the secret never enters the process that faces the network::

    request     version u8 = 1 || digest (32 bytes)
    response    version u8 = 1 || signature r || s || v (65 bytes)

Requests follow one another on one connection, one at a time. There is no other request and no error response: a
server that does not like what it reads closes the connection. The client checks each signature against the member's
address before use, so a signer with the wrong key is noticed at once.

Signing blocks the core for the round trip (some 0.2 ms on one machine), for a core's step is one piece. It is bounded:
no answer within ANSWER_S_MAX ends in :class:`SignerFailed`, and the member stops before anything of that step is
written or sent. A connection that broke between two requests is made once more; to ask for the same digest twice is
harmless, since the nonces of RFC 6979 give the same signature.

The signer sees digests only. It keeps the key from being copied, not from being used: whoever controls the node can
have anything signed, for as long as it does. Both ends check that the other belongs to the same user (or root).
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import stat
import struct
import time
from pathlib import Path
from typing import Final, NoReturn

import trio

from mpc_sequencer.core.errors import ConfigError, ProtocolError
from mpc_sequencer.core.signing import SIGNATURE_BYTES, Signer, address_of, check_signer

SIGNER_VERSION: Final = 1
DIGEST_BYTES: Final = 32
REQUEST_BYTES: Final = 1 + DIGEST_BYTES
RESPONSE_BYTES: Final = 1 + SIGNATURE_BYTES
ANSWER_S_MAX: Final = 2.0
CONNECTIONS_MAX: Final = 8
SOCKET_PATH_BYTES_MAX: Final = 107  # sockaddr_un holds 108 with the final zero
_CREDENTIALS: Final = struct.Struct("iII")  # struct ucred: pid, uid, gid
_HINT: Final = "start it with `mpcseq key serve`, and name its socket in node.json"

logger = logging.getLogger("mpc_sequencer.signer")


class SignerFailed(ConfigError):
    """The remote signer does not answer, or not with this member's signature: the member must stop."""


class RemoteSigner(Signer):
    """A :class:`Signer` whose secret is elsewhere. ``public_key`` (33 bytes) is the member's consensus key.

    Connects at the first signature; :meth:`check` does at once. Every failure is :class:`SignerFailed`.
    """

    __slots__ = ("_path", "_socket", "_timeout_s")

    def __init__(self, path: Path, public_key: bytes, *, timeout_s: float = ANSWER_S_MAX) -> None:
        self.public_key = public_key
        self.address = address_of(public_key)
        self._path = check_socket_path(path)
        self._timeout_s = timeout_s
        self._socket: socket.socket | None = None

    def __repr__(self) -> str:
        return f"RemoteSigner(0x{self.address.hex()})"

    def check(self) -> None:
        """Have a digest signed that nothing else uses. Raises :class:`SignerFailed`."""
        self.sign_digest(bytes(DIGEST_BYTES))

    def sign_digest(self, digest: bytes) -> bytes:
        """``r || s || v`` over a 32-byte digest, checked to be the member's. Blocks for at most ANSWER_S_MAX."""
        if len(digest) != DIGEST_BYTES:
            raise ValueError(f"a digest of {len(digest)} bytes, expected {DIGEST_BYTES}")
        deadline = time.monotonic() + self._timeout_s
        request = bytes((SIGNER_VERSION,)) + digest
        kept = self._socket is not None
        try:
            try:
                response = self._ask(request, deadline)
            except ConnectionError:
                self.close()
                if not kept:  # a fresh connection that breaks is the signer's refusal
                    raise
                response = self._ask(request, deadline)
        except OSError as error:
            late = isinstance(error, TimeoutError)
            self._fail("gives no answer in time" if late else f"is gone: {error.strerror or error}")
        if response[0] != SIGNER_VERSION:
            self._fail(f"answers with version {response[0]}, expected {SIGNER_VERSION}")
        try:
            check_signer(digest, response[1:], self.address, "signature")
        except ProtocolError as error:
            self._fail(f"does not sign as this member: {error}")
        return response[1:]

    def close(self) -> None:
        """Close the connection; the next signature makes another."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _fail(self, how: str) -> NoReturn:
        self.close()
        raise SignerFailed(f"the remote signer at {self._path} {how}", _HINT)

    def _ask(self, request: bytes, deadline: float) -> bytes:
        connected = self._socket = self._socket or self._connect(deadline)
        self._limit(connected, deadline)
        connected.sendall(request)
        response = b""
        while len(response) < RESPONSE_BYTES:
            self._limit(connected, deadline)
            part = connected.recv(RESPONSE_BYTES + 1 - len(response))
            if not part:
                raise ConnectionResetError("it closed the connection")
            response += part
        if len(response) > RESPONSE_BYTES:
            self._fail(f"answers with more than {RESPONSE_BYTES} bytes")
        return response

    def _connect(self, deadline: float) -> socket.socket:
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            self._limit(made, deadline)
            made.connect(str(self._path))
            if not is_same_user(made):
                self._fail("belongs to another user")
        except BaseException:
            made.close()
            raise
        return made

    @staticmethod
    def _limit(connected: socket.socket, deadline: float) -> None:
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("no time is left")
        connected.settimeout(left_s)


def check_socket_path(path: Path) -> Path:
    """Refuse a path that no socket can have. Raises :class:`ConfigError`."""
    if len(os.fsencode(path)) > SOCKET_PATH_BYTES_MAX:
        raise ConfigError(
            f"the socket's path has {len(os.fsencode(path))} bytes", f"use one of at most {SOCKET_PATH_BYTES_MAX}"
        )
    return path


def is_same_user(connected: socket.socket | trio.socket.SocketType) -> bool:
    """Whether the process at the other end runs as this user, or as root."""
    raw = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return _CREDENTIALS.unpack(raw)[1] in (0, os.geteuid())


# --- the server ---------------------------------------------------------------------------------------------
async def serve_signer(
    signer: Signer, path: Path, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Sign what comes in at a socket of mode 0600 until cancelled; the socket is removed then.

    Raises :class:`ConfigError` where it cannot be made, or another process answers there. ``task_status`` tells that
    it listens.
    """
    listening = _listen(check_socket_path(path))
    identity = os.lstat(path)
    try:
        logger.info("signing for 0x%s at %s", signer.address.hex(), path)
        task_status.started()
        limiter = trio.Semaphore(CONNECTIONS_MAX)
        async with trio.open_nursery() as nursery:
            while True:
                await limiter.acquire()
                connected, _ = await listening.accept()
                nursery.start_soon(_serve_one, signer, connected, limiter)
    finally:
        listening.close()
        _remove(path, identity)


async def until_signal(scope: trio.CancelScope) -> None:
    """Cancel ``scope`` on SIGTERM or SIGINT."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            scope.cancel()
            return


async def _serve_one(signer: Signer, connected: trio.socket.SocketType, limiter: trio.Semaphore) -> None:
    try:
        with connected:
            if not is_same_user(connected):
                return
            while request := await _receive(connected):
                if len(request) != REQUEST_BYTES or request[0] != SIGNER_VERSION:
                    return
                response = bytes((SIGNER_VERSION,)) + signer.sign_digest(request[1:])
                await trio.SocketStream(connected).send_all(response)
    except (OSError, trio.BrokenResourceError):
        pass  # the client is gone, and nothing is owed to it
    finally:
        limiter.release()


async def _receive(connected: trio.socket.SocketType) -> bytes:
    """One request; shorter where the client went away. A client that is slow within a request is cut off."""
    request = await connected.recv(REQUEST_BYTES)
    with trio.move_on_after(ANSWER_S_MAX):
        while 0 < len(request) < REQUEST_BYTES:
            part = await connected.recv(REQUEST_BYTES - len(request))
            if not part:
                break
            request += part
    return request


def _listen(path: Path) -> trio.socket.SocketType:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        _remove_stale(path)
        before = os.umask(0o177)  # the socket must not be open to others for a moment
        try:
            made.bind(str(path))
        finally:
            os.umask(before)
        made.listen(CONNECTIONS_MAX)
        made.setblocking(False)
    except OSError as error:
        made.close()
        raise ConfigError(f"cannot listen at {path}: {error.strerror or error}", "choose another --socket") from error
    except ConfigError:
        made.close()
        raise
    return trio.socket.from_stdlib_socket(made)


def _remove_stale(path: Path) -> None:
    """Remove a socket that a stopped server has left. Raises :class:`ConfigError` for all else that is there."""
    if not os.path.lexists(path):
        return
    if not stat.S_ISSOCK(os.lstat(path).st_mode):
        raise ConfigError(f"{path} is there and is no socket", "choose another --socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as probe:
        probe.settimeout(ANSWER_S_MAX)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            os.unlink(path)
            return
    raise ConfigError(f"another process answers at {path}", "end it first, or choose another --socket")


def _remove(path: Path, identity: os.stat_result) -> None:
    """Remove the socket, unless another has taken its place."""
    if os.path.lexists(path) and os.path.samestat(os.lstat(path), identity):
        os.unlink(path)
