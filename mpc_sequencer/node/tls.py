"""TLS 1.3 between members and from clients, with pinned keys and no certificate authority.

A member's TLS identity is its log key (Ed25519). Its certificate is self-signed and a pure function of that
key: fixed validity, a serial number hashed from the public key, Ed25519's deterministic signature. So a
certificate names a key and nothing else, and never expires by surprise. The committee file carries every first
member's certificate, a rotation those of its members; the trust store of every context holds exactly those
(:func:`trust` adds to it), and after the handshake the peer's certificate is compared with the pinned one, byte by
byte.

The server asks for a client certificate without demanding one: who presents a member's certificate is a peer,
who presents none is a client, any other certificate fails the handshake. ALPN must be ``mpcseq/1``: OpenSSL
lets a handshake without it pass, hence :func:`check_alpn`. Session tickets are off, so that every connection
proves its key.
"""

from __future__ import annotations

import datetime
import hashlib
import os
import secrets
import ssl
import tempfile
from collections.abc import Sequence
from typing import Final

import trio
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from mpc_sequencer.core.errors import ConfigError
from mpc_sequencer.core.messages import ALPN

CERTIFICATE_BYTES_MAX: Final = 2_048
SEED_BYTES: Final = 32
_SERIAL_BYTES: Final = 16
_VALID_FROM: Final = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
_VALID_UNTIL: Final = datetime.datetime(9999, 12, 31, 23, 59, 59, tzinfo=datetime.UTC)  # RFC 5280: no expiry
_KEY_USAGE: Final = x509.KeyUsage(True, False, False, False, False, False, False, False, False)


def log_key(log_seed: bytes) -> bytes:
    """The Ed25519 public key (32 bytes) of a 32-byte seed."""
    return Ed25519PrivateKey.from_private_bytes(log_seed).public_key().public_bytes_raw()


def member_certificate(log_seed: bytes) -> bytes:
    """The certificate (DER) of the member whose log seed (32 bytes) this is; the same bytes every time."""
    key = Ed25519PrivateKey.from_private_bytes(log_seed)
    public_key = key.public_key()
    raw = public_key.public_bytes_raw()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, raw.hex())])
    serial = int.from_bytes(hashlib.sha256(raw).digest()[:_SERIAL_BYTES], "big") | 1
    usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    builder = (
        x509.CertificateBuilder(
            subject_name=name, issuer_name=name, public_key=public_key, serial_number=serial
        )
        .not_valid_before(_VALID_FROM)
        .not_valid_after(_VALID_UNTIL)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_KEY_USAGE, critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    )
    return builder.sign(key, None).public_bytes(serialization.Encoding.DER)


def certificate_key(certificate: bytes) -> bytes:
    """The Ed25519 public key (32 bytes) a self-signed certificate (DER) carries and is signed with.

    Raises ``ValueError`` where it is anything else.
    """
    if len(certificate) > CERTIFICATE_BYTES_MAX:
        raise ValueError(
            f"a certificate of {len(certificate)} bytes, expected at most {CERTIFICATE_BYTES_MAX}"
        )
    try:
        parsed = x509.load_der_x509_certificate(certificate)
        key = parsed.public_key()
        if not isinstance(key, Ed25519PublicKey):
            raise ValueError("a certificate without an Ed25519 key")
        key.verify(parsed.signature, parsed.tbs_certificate_bytes)
        if parsed.issuer != parsed.subject:
            raise ValueError("a certificate that another issued")
    except (InvalidSignature, UnsupportedAlgorithm) as error:
        raise ValueError("a certificate that is not signed by its own Ed25519 key") from error
    return key.public_bytes_raw()


def server_context(log_seed: bytes, certificates: Sequence[bytes]) -> ssl.SSLContext:
    """For the listening side of a member; ``certificates`` (DER) are the members'."""
    context = _context(ssl.PROTOCOL_TLS_SERVER, certificates)
    context.verify_mode = ssl.CERT_OPTIONAL
    context.num_tickets = 0
    _load_identity(context, log_seed)
    return context


def peer_context(log_seed: bytes, certificates: Sequence[bytes]) -> ssl.SSLContext:
    """For a member dialling another; follow the handshake with :func:`check_pin`."""
    context = client_context(certificates)
    _load_identity(context, log_seed)
    return context


def client_context(certificates: Sequence[bytes]) -> ssl.SSLContext:
    """For a client dialling a member; follow the handshake with :func:`check_pin`."""
    context = _context(ssl.PROTOCOL_TLS_CLIENT, certificates)
    context.check_hostname = False  # the pinned certificate is the identity; addresses prove nothing
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def trust(context: ssl.SSLContext, certificates: Sequence[bytes]) -> None:
    """Let the handshakes to come prove ``certificates`` (DER) as well. None is ever taken out: who is who is decided
    after the handshake."""
    if certificates:
        context.load_verify_locations(cadata=b"".join(certificates))


def check_alpn(stream: trio.SSLStream[trio.SocketStream]) -> bool:
    """Whether the finished handshake agreed on this protocol."""
    return bool(stream.selected_alpn_protocol() == ALPN)


def peer_certificate(stream: trio.SSLStream[trio.SocketStream]) -> bytes | None:
    """The certificate (DER) the other side proved to own, or ``None`` from a client."""
    certificate: bytes | None = stream.getpeercert(binary_form=True)
    return certificate


def check_pin(stream: trio.SSLStream[trio.SocketStream], certificate: bytes) -> bool:
    """Whether the other side proved to own exactly ``certificate`` and speaks this protocol."""
    return check_alpn(stream) and peer_certificate(stream) == certificate


def _context(protocol: int, certificates: Sequence[bytes]) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols([ALPN])
    context.load_verify_locations(cadata=b"".join(certificates))
    return context


def _load_identity(context: ssl.SSLContext, log_seed: bytes) -> None:
    """Give ``context`` the member's key. OpenSSL reads it from a file only, so the file holds it encrypted
    under a password that never leaves this function, and is gone when it returns.
    """
    password = secrets.token_bytes(32).hex().encode()
    key = Ed25519PrivateKey.from_private_bytes(log_seed).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(password),
    )
    certificate = ssl.DER_cert_to_PEM_cert(member_certificate(log_seed)).encode()
    try:
        descriptor, path = tempfile.mkstemp(prefix="mpcseq-tls-")
    except OSError as error:
        raise ConfigError(
            f"cannot write a temporary file: {error.strerror}", "free space or set TMPDIR"
        ) from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(key + certificate)
        context.load_cert_chain(path, password=password)
    except OSError as error:
        raise ConfigError(
            f"cannot load the TLS identity: {error}", "check the log seed in the keystore"
        ) from error
    finally:
        os.unlink(path)
