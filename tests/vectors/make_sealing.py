"""Writes sealing.json beside this file, from the plain-integer reference and fixed seeds.

    python tests/vectors/make_sealing.py            write the file
    python tests/vectors/make_sealing.py --check    compare only; exit status 1 when it differs

The reference in tests/threshold makes every vector, so the library under test has no part in its own answers;
the expected error codes are written here by hand. The format is described in README.md.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "threshold")]

import reference as ref  # noqa: E402
from vector_files import write_or_check  # noqa: E402

CHAIN_ID = 31337
SETTLEMENT = bytes(range(0xA0, 0xB4))
SPONSOR = bytes(range(0x10, 0x24))
BUCKETS = [64, 256]
THRESHOLD = 3
MEMBERS = 4


def seeded(name: str) -> bytes:
    return hashlib.sha256(b"sealing vectors: " + name.encode()).digest()


def scalar(name: str) -> int:
    return int.from_bytes(seeded(name), "big") % ref.N


POLYNOMIAL = [scalar(f"coefficient {degree}") for degree in range(THRESHOLD)]
SECRETS = {i: sum(a * i**k for k, a in enumerate(POLYNOMIAL)) % ref.N for i in range(1, MEMBERS + 1)}
PUBLIC_KEY = ref.compress(ref.multiply(POLYNOMIAL[0], ref.G))
KEY_ID = ref.key_id(PUBLIC_KEY, CHAIN_ID, SETTLEMENT)
LABEL_FIELDS: dict[str, Any] = {
    "chain_id": CHAIN_ID,
    "settlement": SETTLEMENT,
    "key": KEY_ID,
    "sponsor": SPONSOR,
    "valid_from_ms": 1_700_000_000_000,
    "valid_until_ms": 1_700_000_060_000,
    "bucket": 64,
}
LABEL = ref.label(**LABEL_FIELDS)
SIGMA = seeded("sigma")
PADDED = ref.pad(b"an order", 64)
SEALED = ref.seal_padded(PUBLIC_KEY, LABEL, PADDED, SIGMA)
U, V, E, Z, C = ref.split(SEALED)
R, S = ref.exponents(SIGMA, LABEL, PADDED)


def relabelled(**changes: Any) -> bytes:
    return ref.label(**{**LABEL_FIELDS, **changes})


def with_parts(u: bytes = U, v: bytes = V, e: int = E, z: int = Z, c: bytes = C) -> bytes:
    return b"\1" + u + v + e.to_bytes(32, "big") + z.to_bytes(32, "big") + c


def shifted(point: bytes) -> bytes:
    """Another valid point: the given one plus G."""
    return ref.compress(ref.add(ref.decompress(point), ref.G))


def valid_vectors() -> list[dict[str, Any]]:
    cases = [
        ("short message", LABEL_FIELDS, ref.pad(b"an order", 64)),
        ("empty message", LABEL_FIELDS, ref.pad(b"", 64)),
        ("message that fills its bucket", LABEL_FIELDS, ref.pad(b"\xff" * 60, 64)),
        ("larger bucket", {**LABEL_FIELDS, "bucket": 256}, ref.pad(bytes(range(200)), 256)),
        (
            "widest validity",
            {**LABEL_FIELDS, "valid_from_ms": 0, "valid_until_ms": 2**64 - 1},
            ref.pad(b"x", 64),
        ),
        ("malformed: length prefix beyond the bucket", LABEL_FIELDS, (61).to_bytes(4, "big") + bytes(60)),
        ("malformed: largest length prefix", LABEL_FIELDS, b"\xff" * 4 + bytes(60)),
        ("malformed: padding not zero", LABEL_FIELDS, ref.pad(b"an order", 64)[:-1] + b"\1"),
        ("malformed: padding not zero at its start", LABEL_FIELDS, ref.pad(b"", 64)[:4] + b"\1" + bytes(59)),
    ]
    return [valid_vector(name, fields, padded) for name, fields, padded in cases]


def valid_vector(name: str, fields: dict[str, Any], padded: bytes) -> dict[str, Any]:
    label, sigma = ref.label(**fields), seeded(name)
    ciphertext = ref.seal_padded(PUBLIC_KEY, label, padded, sigma)
    shares = {i: ref.share(x, ciphertext) for i, x in SECRETS.items()}
    point = ref.combine({i: shares[i] for i in (1, 2, 4)})
    assert ref.check(label, ciphertext) and ref.open_point(PUBLIC_KEY, label, ciphertext, point) == (
        sigma,
        padded,
    )
    length = int.from_bytes(padded[:4], "big")
    good = not name.startswith("malformed")
    assert good == (4 + length <= len(padded) and not any(padded[4 + length :]))
    return {
        "name": name,
        "label_fields": {k: v.hex() if isinstance(v, bytes) else v for k, v in fields.items()},
        "label": label.hex(),
        "sigma": sigma.hex(),
        "padded": padded.hex(),
        "message": padded[4 : 4 + length].hex() if good else None,
        "ciphertext": ciphertext.hex(),
        "shares": {str(i): data.hex() for i, data in shares.items()},
        "point": point.hex(),
    }


def refused_labels() -> list[tuple[str, str, bytes, bytes]]:
    other_key = ref.key_id(PUBLIC_KEY, CHAIN_ID + 1, SETTLEMENT)
    return [
        ("label one byte short", "label.length", LABEL[:-1], SEALED),
        ("label with a trailing byte", "label.length", LABEL + b"\0", SEALED),
        ("empty label", "label.length", b"", SEALED),
        ("label version 0", "label.version", b"\0" + LABEL[1:], SEALED),
        ("label version 2", "label.version", b"\2" + LABEL[1:], SEALED),
        ("another chain", "label.chain", relabelled(chain_id=CHAIN_ID + 1), SEALED),
        ("another settlement contract", "label.settlement", relabelled(settlement=bytes(20)), SEALED),
        ("another key", "label.key", relabelled(key=other_key), SEALED),
        (
            "key id with one bit flipped",
            "label.key",
            relabelled(key=KEY_ID[:-1] + bytes([KEY_ID[-1] ^ 1])),
            SEALED,
        ),
        ("another sponsor", "tdh2.proof", relabelled(sponsor=SPONSOR[::-1]), SEALED),
        (
            "valid from one millisecond later",
            "tdh2.proof",
            relabelled(valid_from_ms=1_700_000_000_001),
            SEALED,
        ),
        (
            "valid until one millisecond later",
            "tdh2.proof",
            relabelled(valid_until_ms=1_700_000_060_001),
            SEALED,
        ),
        ("validity of no length", "label.validity", relabelled(valid_until_ms=1_700_000_000_000), SEALED),
        ("validity backwards", "label.validity", relabelled(valid_until_ms=1_699_999_999_999), SEALED),
        ("unlisted bucket", "label.bucket", relabelled(bucket=65), SEALED),
        ("bucket 0", "label.bucket", relabelled(bucket=0), SEALED),
        ("largest bucket", "label.bucket", relabelled(bucket=2**32 - 1), SEALED),
        ("listed bucket that is not the ciphertext's", "ciphertext.length", relabelled(bucket=256), SEALED),
    ]


def refused_ciphertexts() -> list[tuple[str, str, bytes]]:
    off_curve = b"\2" + (5).to_bytes(32, "big")
    beyond = b"\2" + ref.P.to_bytes(32, "big")
    other_v = ref.compress(ref.multiply(R + 1, ref.G2))
    forged_e = ref.challenge(
        LABEL, U, other_v, ref.compress(ref.multiply(S, ref.G)), ref.compress(ref.multiply(S, ref.G2)), C
    )
    return [
        ("empty", "ciphertext.length", b""),
        ("one byte short", "ciphertext.length", SEALED[:-1]),
        ("trailing byte", "ciphertext.length", SEALED + b"\0"),
        ("version 0", "ciphertext.version", b"\0" + SEALED[1:]),
        ("version 2", "ciphertext.version", b"\2" + SEALED[1:]),
        ("u of the other parity", "tdh2.proof", with_parts(u=bytes([U[0] ^ 1]) + U[1:])),
        ("u moved by G", "tdh2.proof", with_parts(u=shifted(U))),
        ("v of the other parity", "tdh2.proof", with_parts(v=bytes([V[0] ^ 1]) + V[1:])),
        ("v moved by G", "tdh2.proof", with_parts(v=shifted(V))),
        ("u and v swapped", "tdh2.proof", with_parts(u=V, v=U)),
        ("u in place of v", "tdh2.proof", with_parts(v=U)),
        (
            "v with another exponent, the rest honest",
            "tdh2.proof",
            with_parts(U, other_v, forged_e, (S + R * forged_e) % ref.N),
        ),
        ("e with its lowest bit flipped", "tdh2.proof", with_parts(e=E ^ 1)),
        ("e with its highest bit flipped", "tdh2.proof", with_parts(e=E ^ 1 << 255)),
        ("z with its lowest bit flipped", "tdh2.proof", with_parts(z=Z ^ 1)),
        ("z negated", "tdh2.proof", with_parts(z=ref.N - Z)),
        ("e and z swapped", "tdh2.proof", with_parts(e=Z, z=E)),
        ("commitments at infinity: z = r e", "tdh2.proof", with_parts(z=R * E % ref.N)),
        ("c with its first bit flipped", "tdh2.proof", with_parts(c=bytes([C[0] ^ 1]) + C[1:])),
        ("c with its last bit flipped", "tdh2.proof", with_parts(c=C[:-1] + bytes([C[-1] ^ 1]))),
        ("u off the curve", "point.off_curve", with_parts(u=off_curve)),
        ("v off the curve", "point.off_curve", with_parts(v=off_curve)),
        ("u at infinity", "point.infinity", with_parts(u=bytes(33))),
        ("v at infinity", "point.infinity", with_parts(v=bytes(33))),
        ("u's x is the field's prime", "point.encoding", with_parts(u=beyond)),
        ("v's x is the field's prime", "point.encoding", with_parts(v=beyond)),
        ("u with prefix 04", "point.encoding", with_parts(u=b"\4" + U[1:])),
        ("v with prefix 00", "point.encoding", with_parts(v=b"\0" + V[1:])),
        ("e = 0", "scalar.range", with_parts(e=0)),
        ("e = N", "scalar.range", with_parts(e=ref.N)),
        ("e = 2^256 - 1", "scalar.range", with_parts(e=2**256 - 1)),
        ("z = 0", "scalar.range", with_parts(z=0)),
        ("z = N", "scalar.range", with_parts(z=ref.N)),
        ("z = 2^256 - 1", "scalar.range", with_parts(z=2**256 - 1)),
    ]


def refused_vectors() -> list[dict[str, Any]]:
    cases = refused_labels() + [
        (f"ciphertext: {name}", code, LABEL, data) for name, code, data in refused_ciphertexts()
    ]
    for name, code, label, data in cases:
        if code == "tdh2.proof":
            assert not ref.check(label, data), name
    return [
        {"name": name, "label": label.hex(), "ciphertext": data.hex(), "error": code}
        for name, code, label, data in cases
    ]


def unopenable_vectors() -> list[dict[str, Any]]:
    """Ciphertexts that pass check and must fail to open under the true point, each for one reason."""
    r, s = scalar("dishonest r"), scalar("dishonest s")
    u, v = ref.compress(ref.multiply(r, ref.G)), ref.compress(ref.multiply(r, ref.G2))
    point = ref.compress(ref.multiply(r, ref.decompress(PUBLIC_KEY)))
    k = ref.tagged("MPCSEQ/v1/kem", point + u)
    true_point = ref.compress(ref.multiply(R, ref.decompress(PUBLIC_KEY)))
    bent_point = shifted(true_point)
    bent_key = ref.tagged("MPCSEQ/v1/kem", bent_point + U)
    bent_c = ref.aead_encrypt(bent_key, LABEL + U + V, SIGMA + PADDED)
    cases = [
        ("c is garbage", ref.proven(LABEL, u, v, r, s, seeded("garbage") * 3 + bytes(16)), point),
        (
            "r is not the hash",
            ref.proven(LABEL, u, v, r, s, ref.aead_encrypt(k, LABEL + u + v, SIGMA + PADDED)),
            point,
        ),
        ("s is not the hash", ref.proven(LABEL, U, V, R, s, C), true_point),
        (
            "c is under a bent point, opened with the true one",
            ref.proven(LABEL, U, V, R, S, bent_c),
            true_point,
        ),
        ("c is under a bent point, opened with that one", ref.proven(LABEL, U, V, R, S, bent_c), bent_point),
        ("honest, opened with another point", SEALED, bent_point),
    ]
    for name, ciphertext, tried in cases:
        assert (
            ref.check(LABEL, ciphertext) and ref.open_point(PUBLIC_KEY, LABEL, ciphertext, tried) is None
        ), name
    return [
        {"name": name, "label": LABEL.hex(), "ciphertext": ciphertext.hex(), "point": tried.hex()}
        for name, ciphertext, tried in cases
    ]


def bundle_vectors() -> list[dict[str, Any]]:
    block_id, epoch, index, entropy = seeded("block"), 7, 2, seeded("entropy")
    context = KEY_ID + epoch.to_bytes(8, "big") + block_id + index.to_bytes(2, "big")
    vectors = []
    for count in (1, 3):
        us = [ref.compress(ref.multiply(scalar(f"u {count} {j}"), ref.G)) for j in range(count)]
        shares = [ref.compress(ref.multiply(SECRETS[index], ref.decompress(u))) for u in us]
        proof = ref.prove_bundle(SECRETS[index], context, us, shares, entropy)
        key = ref.compress(ref.multiply(SECRETS[index], ref.G))
        assert ref.verify_bundle(key, context, us, shares, proof)
        vectors.append(
            {
                "name": f"{count} shares",
                "epoch": epoch,
                "block_id": block_id.hex(),
                "index": index,
                "verification_key": key.hex(),
                "entropy": entropy.hex(),
                "us": [u.hex() for u in us],
                "shares": [data.hex() for data in shares],
                "proof": proof.hex(),
            }
        )
    return vectors


def document() -> str:
    vectors = {
        "format": 1,
        "second_generator": ref.compress(ref.G2).hex(),
        "chain_id": CHAIN_ID,
        "settlement": SETTLEMENT.hex(),
        "buckets": BUCKETS,
        "n": MEMBERS,
        "t": THRESHOLD,
        "public_key": PUBLIC_KEY.hex(),
        "key_id": KEY_ID.hex(),
        "secret_shares": {str(i): x.to_bytes(32, "big").hex() for i, x in SECRETS.items()},
        "valid": valid_vectors(),
        "refused": refused_vectors(),
        "unopenable": unopenable_vectors(),
        "bundles": bundle_vectors(),
    }
    return json.dumps(vectors, indent=1) + "\n"


def main(arguments: list[str]) -> int:
    return write_or_check({"sealing.json": document()}, arguments, __doc__)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
