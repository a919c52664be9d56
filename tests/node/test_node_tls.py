"""Who gets in: exactly the members as peers, anybody without a certificate as a client, over TLS 1.3 and
mpcseq/1.
"""

from __future__ import annotations

import datetime
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import pytest
import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mpc_sequencer.core.messages import StatusQuery
from mpc_sequencer.node import tls
from mpc_sequencer.node.transport import LinkError, NodeTransport, open_client


@asynccontextmanager
async def serving(house: Any, node: int) -> AsyncIterator[NodeTransport]:
    transport = NodeTransport(house.file, node, house.seeds[node])
    await transport.bind(*house.file.endpoints[node])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(transport.run)
        yield transport
        nursery.cancel_scope.cancel()


async def is_cut_off(house: Any, node: int, context: ssl.SSLContext | None) -> bool:
    """Whether a connection with ``context`` (``None``: plaintext) ends before the member says anything."""
    stream: Any = await trio.open_tcp_stream(*house.file.endpoints[node])
    if context is not None:
        stream = trio.SSLStream(stream, context, https_compatible=True)
    with trio.fail_after(5):
        try:
            await stream.send_all(b"\0\0\0\1x")
            return await stream.receive_some(1) == b""
        except trio.BrokenResourceError:
            return True
        finally:
            await trio.aclose_forcefully(stream)


def test_a_certificate_is_a_function_of_the_seed(house: Any) -> None:
    first, again = (tls.member_certificate(house.seeds[0]) for _ in range(2))
    assert first == again != tls.member_certificate(house.seeds[1])
    assert tls.certificate_key(first) == tls.log_key(house.seeds[0])


def test_a_certificate_not_signed_by_its_own_key_is_refused(house: Any) -> None:
    certificate = tls.member_certificate(house.seeds[0])
    with pytest.raises(ValueError, match="not signed by its own"):
        tls.certificate_key(certificate[:-1] + bytes([certificate[-1] ^ 1]))
    with pytest.raises(ValueError):
        tls.certificate_key(b"\x30\x00")
    with pytest.raises(ValueError, match="at most"):
        tls.certificate_key(certificate + bytes(tls.CERTIFICATE_BYTES_MAX))


def other_kind_of_certificate() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")])
    start = datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)
    builder = x509.CertificateBuilder(
        name, name, key.public_key(), 1, start, start + datetime.timedelta(days=9000)
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def test_a_certificate_of_another_algorithm_is_refused() -> None:
    with pytest.raises(ValueError, match="Ed25519"):
        tls.certificate_key(other_kind_of_certificate())


@pytest.mark.trio
async def test_a_client_without_certificate_gets_in(house: Any) -> None:
    endpoint, certificate = house.file.endpoints[2], house.file.certificates[2]
    async with serving(house, 2) as transport, open_client(*endpoint, certificate) as link:
        await link.send(StatusQuery(4))
        with trio.fail_after(5):
            event = await transport.clients.events.receive()
        assert event.request == StatusQuery(4)


@pytest.mark.trio
async def test_a_plaintext_client_is_refused(house: Any) -> None:
    async with serving(house, 2) as transport:
        assert await is_cut_off(house, 2, None)
        assert transport.counters.handshakes_failed == 1


@pytest.mark.trio
async def test_tls_1_2_is_refused(house: Any) -> None:
    context = tls.client_context(house.file.certificates)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    async with serving(house, 2) as transport:
        assert await is_cut_off(house, 2, context)
        assert transport.counters.handshakes_failed == 1
        assert transport.clients.connected == 0


@pytest.mark.trio
@pytest.mark.parametrize("protocols", [None, ["h2"]])
async def test_no_alpn_or_another_is_refused(house: Any, protocols: list[str] | None) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(cadata=b"".join(house.file.certificates))
    if protocols:
        context.set_alpn_protocols(protocols)
    async with serving(house, 2) as transport:
        assert await is_cut_off(house, 2, context)
        assert transport.counters.handshakes_failed == 1
        assert transport.counters.client_links == 0


@pytest.mark.trio
async def test_a_certificate_of_a_stranger_is_refused(house: Any) -> None:
    context = tls.peer_context(b"\x77" * 32, house.file.certificates)
    async with serving(house, 2) as transport:
        assert await is_cut_off(house, 2, context)
        assert transport.counters.handshakes_failed == 1
        assert transport.counters.client_links == transport.counters.peer_links == 0


@pytest.mark.trio
async def test_a_members_certificate_without_its_key_is_refused(house: Any, monkeypatch: Any) -> None:
    """A stranger that claims member 0's name and serial, signed with its own key."""
    stolen = tls.member_certificate(house.seeds[0])
    forged = stolen[:-64] + bytes(64)
    with pytest.raises(ValueError):
        tls.certificate_key(forged)
    monkeypatch.setattr(tls, "member_certificate", lambda seed: stolen)
    with pytest.raises(Exception, match="TLS identity"):
        tls.peer_context(b"\x77" * 32, house.file.certificates)


@pytest.mark.trio
@pytest.mark.parametrize("other", [1, 3])
async def test_a_client_refuses_another_member_than_the_pinned_one(house: Any, other: int) -> None:
    async with serving(house, 2):
        with pytest.raises(LinkError):
            async with open_client(*house.file.endpoints[2], house.file.certificates[other]):
                raise AssertionError("connected to another member")


@pytest.mark.trio
async def test_the_pin_holds_even_where_the_trust_store_has_both(house: Any) -> None:
    async with serving(house, 2):
        tcp = await trio.open_tcp_stream(*house.file.endpoints[2])
        stream = trio.SSLStream(tcp, tls.client_context(house.file.certificates), https_compatible=True)
        await stream.do_handshake()
        assert tls.check_pin(stream, house.file.certificates[2])
        assert not tls.check_pin(stream, house.file.certificates[1])
        await trio.aclose_forcefully(stream)


@pytest.mark.trio
async def test_nobody_listening_is_a_link_error(house: Any) -> None:
    with pytest.raises(LinkError, match="can be reached"):
        async with open_client(*house.file.endpoints[1], house.file.certificates[1]):
            raise AssertionError("connected to nothing")


@pytest.mark.trio
async def test_a_client_refuses_a_server_that_does_not_speak_the_protocol(house: Any) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls._load_identity(context, house.seeds[2])
    host, port = house.file.endpoints[2]

    async def hold(stream: Any) -> None:
        with suppress(trio.BrokenResourceError):
            await stream.receive_some(1)

    async with trio.open_nursery() as nursery:
        await nursery.start(partial(trio.serve_ssl_over_tcp, hold, port, context, host=host))
        with pytest.raises(LinkError, match="not the member"):
            async with open_client(host, port, house.file.certificates[2]):
                raise AssertionError("connected without the protocol's name")
        nursery.cancel_scope.cancel()
