"""One TCP port per member: authenticated links to the other members, and service for clients (TLS 1.3,
mpcseq/1).

Who connects with the certificate of a member, of whatever epoch, or of a joiner is that peer
(:mod:`mpc_sequencer.node.peer_network`), who connects with none is a client
(:mod:`mpc_sequencer.node.client_server`), any other certificate fails the handshake.

Every bound is per connection: a peer or client that is slow, silent, flooding or wrong loses its own link and
nothing else. Peers and clients report on channels of their own, so that no crowd of clients delays agreement;
a full channel holds back the readers that feed it.
"""

from __future__ import annotations

import errno
import socket
from collections import OrderedDict
from typing import Final

import trio

from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.errors import ConfigError
from mpc_sequencer.node import tls
from mpc_sequencer.node.client_link import ClientLink, LinkError, open_client
from mpc_sequencer.node.client_server import ClientServer
from mpc_sequencer.node.config import CommitteeFile
from mpc_sequencer.node.directory import Directory
from mpc_sequencer.node.link_events import (
    ClientEvent,
    ClientGone,
    ClientRequestEvent,
    PeerAhead,
    PeerDown,
    PeerEvent,
    PeerMessage,
    PeerUp,
    TransportCounters,
)
from mpc_sequencer.node.peer_network import PeerNetwork, handshake

__all__ = [
    "ClientEvent",
    "ClientGone",
    "ClientLink",
    "ClientRequestEvent",
    "ClientServer",
    "LinkError",
    "NodeTransport",
    "PeerAhead",
    "PeerDown",
    "PeerEvent",
    "PeerMessage",
    "PeerNetwork",
    "PeerUp",
    "TransportCounters",
    "open_client",
]

HANDSHAKES_MAX: Final = 256  # under way at once; a further one pushes the oldest out
LISTEN_BACKLOG: Final = 1_024


class NodeTransport:
    """A member's port: its :class:`PeerNetwork` and its :class:`ClientServer`.

    The runner awaits :meth:`bind`, then starts :meth:`run` and reads ``peers.events`` and ``clients.events``.
    """

    def __init__(self, file: CommitteeFile, index: int | None, log_seed: bytes) -> None:
        """``index`` is the member's in the committee file; None where it has no place there."""
        own_key = tls.log_key(log_seed)
        if index is not None and not 0 <= index < file.committee.n:
            raise ConfigError(
                f"index {index} is not in the committee of {file.committee.n} members",
                f"use the member's index, 0 .. {file.committee.n - 1}",
            )
        if index is not None and own_key != file.committee.genesis.members[index].log_key:
            raise ConfigError(
                f"the keystore's log key is not that of member {index}",
                "point node.json at the keystore and the index that belong together",
            )
        self.counters = TransportCounters()
        self._directory = Directory(file, own_key)
        self.peers = PeerNetwork(file.committee.genesis_id, self._directory, log_seed, self.counters)
        self.clients = ClientServer(self.counters)
        self._context = tls.server_context(log_seed, self._directory.certificates)
        self._handshakes: OrderedDict[int, trio.CancelScope] = OrderedDict()
        self._next_handshake = 0
        self._listeners: list[trio.SocketListener] = []

    def enter(self, committee: Committee) -> list[PeerEvent]:
        """This member is in the epoch of ``committee``, its core's own, from now on: what its standing links are to
        it."""
        events = self.peers.enter(committee)
        tls.trust(self._context, self._directory.certificates)
        return events

    def know_joiners(self) -> None:
        """Let those in whom a rotation of this epoch has named since the last call."""
        self.peers.know_joiners()
        tls.trust(self._context, self._directory.certificates)

    async def bind(self, host: str, port: int) -> int:
        """Start to listen at ``host:port`` (0 picks a free port) and return the port.

        Raises :class:`ConfigError` where that is not possible. Connections wait in the backlog until
        :meth:`run`.
        """
        self._listeners = await _listen(host, port)
        bound: int = self._listeners[0].socket.getsockname()[1]
        return bound

    async def run(self) -> None:
        """Serve what connects and dial the other members, until cancelled; call :meth:`bind` first."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.serve_listeners, self._handle, self._listeners)
            await self.peers.run()

    async def _handle(self, transport: trio.SocketStream) -> None:
        stream = trio.SSLStream(transport, self._context, server_side=True, https_compatible=True)
        number, self._next_handshake = self._next_handshake, self._next_handshake + 1
        accepted = False
        with trio.CancelScope() as scope:
            self._handshakes[number] = scope
            if len(self._handshakes) > HANDSHAKES_MAX:
                # honest handshakes take milliseconds: the oldest is the likeliest to be a held-open one
                self._handshakes.popitem(last=False)[1].cancel()
            try:
                accepted = await handshake(stream) and tls.check_alpn(stream)
            finally:
                self._handshakes.pop(number, None)
        if not accepted:
            self.counters.handshakes_failed += 1
            await trio.aclose_forcefully(stream)
            return
        certificate = tls.peer_certificate(stream)
        peer = None if certificate is None else self._directory.of_certificate(certificate)
        if certificate is None:
            await self.clients.accept(stream)
        elif peer is not None:
            await self.peers.accept(stream, peer.log_key)
        else:
            await trio.aclose_forcefully(stream)


async def _listen(host: str, port: int) -> list[trio.SocketListener]:
    hint = "stop what uses the port, or set another listen address in node.json and in the committee file"
    try:
        return await trio.open_tcp_listeners(port, host=host, backlog=LISTEN_BACKLOG)
    except socket.gaierror as error:
        raise ConfigError(
            f"cannot listen at {host}:{port}: unknown host", "use an address of this machine"
        ) from error
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ConfigError(f"port {port} at {host} is in use", hint) from error
        raise ConfigError(f"cannot listen at {host}:{port}: {error.strerror or error}", hint) from error
