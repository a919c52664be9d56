"""Writes boxes.json beside this file, from the plain-integer reference and fixed seeds.

    python tests/vectors/make_boxes.py            write the file
    python tests/vectors/make_boxes.py --check    compare only; exit status 1 when it differs

The reference in tests/threshold makes every vector; the expected error codes are written here by hand. The
format is described in README.md.
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
import reference_boxes as boxes  # noqa: E402
from reference_dkg import b32, base, bip340_sign  # noqa: E402
from vector_files import write_or_check  # noqa: E402


def seeded(name: str) -> bytes:
    return hashlib.sha256(b"box vectors: " + name.encode()).digest()


def scalar(name: str) -> int:
    return int.from_bytes(seeded(name), "big") % ref.N


SECRET = scalar("secret")
KEY = base(SECRET)
NONCE_SEED = seeded("nonce seed")
PLAINTEXT = b"".join(seeded(f"plaintext {number}") for number in range(3))[:84]
EPHEMERAL = scalar("ephemeral")
CONTEXT = seeded("context")
GOOD = boxes.seal(KEY, PLAINTEXT, EPHEMERAL, CONTEXT)


def shifted(point: bytes) -> bytes:
    """Another valid point: the given one plus G."""
    return ref.compress(ref.add(ref.decompress(point), ref.G))


def box_vectors() -> list[dict[str, Any]]:
    vectors = []
    for name, plaintext, k, context in (
        ("a row of shares", PLAINTEXT, EPHEMERAL, CONTEXT),
        ("nothing", b"", scalar("another ephemeral"), seeded("another context")),
        ("context of zeros, E = G", bytes(12), 1, bytes(32)),
        ("E = -G", bytes(64), ref.N - 1, CONTEXT),
    ):
        box = boxes.seal(KEY, plaintext, k, context)
        opened = boxes.prove_opened(SECRET, box, context, NONCE_SEED)
        assert boxes.verify_opened(KEY, box, context, *opened)
        vectors.append(
            {
                "name": name,
                "plaintext": plaintext.hex(),
                "ephemeral": b32(k).hex(),
                "context": context.hex(),
                "box": box.hex(),
                "opened": dict(zip(("point", "c", "z"), (part.hex() for part in opened), strict=True)),
            }
        )
    return vectors


def refused_vectors() -> list[dict[str, Any]]:
    e, proof, body = GOOD[:33], GOOD[33:97], GOOD[97:]
    other = scalar("another ephemeral")
    own_body = boxes.seal(KEY, PLAINTEXT, other, CONTEXT)[97:]

    def flipped(at: int) -> bytes:
        return GOOD[:at] + bytes([GOOD[at] ^ 1]) + GOOD[at + 1 :]

    def proven_with(k: int, context: bytes = CONTEXT) -> bytes:
        return e + bip340_sign(k, boxes.proof_statement(context, e, own_body), bytes(32)) + own_body

    cases: list[tuple[str, str, bytes, bytes]] = [
        ("empty", "box.length", b"", CONTEXT),
        ("no whole body", "box.length", GOOD[:112], CONTEXT),
        ("one byte short", "box.proof", GOOD[:-1], CONTEXT),
        ("trailing byte", "box.proof", GOOD + b"\0", CONTEXT),
        ("of another context", "box.proof", GOOD, bytes(32)),
        ("E of the other parity", "box.proof", flipped(0), CONTEXT),
        ("E moved by G", "box.proof", shifted(e) + proof + body, CONTEXT),
        ("R with its lowest bit flipped", "box.proof", flipped(64), CONTEXT),
        ("s with its lowest bit flipped", "box.proof", flipped(96), CONTEXT),
        ("body with its first bit flipped", "box.proof", flipped(97), CONTEXT),
        ("body with its last bit flipped", "box.proof", flipped(len(GOOD) - 1), CONTEXT),
        ("another's E and proof on a body of one's own", "box.proof", e + proof + own_body, CONTEXT),
        ("another's E, proven with one's own logarithm", "box.proof", proven_with(other), CONTEXT),
        ("proof made for another context", "box.proof", proven_with(EPHEMERAL, bytes(32)), CONTEXT),
        ("E and proof exchanged in order", "box.proof", e + proof[32:] + proof[:32] + body, CONTEXT),
        ("E at infinity", "point.infinity", bytes(33) + proof + body, CONTEXT),
        ("E off the curve", "point.off_curve", b"\2" + (5).to_bytes(32, "big") + proof + body, CONTEXT),
        ("E's x is the field's prime", "point.encoding", b"\2" + ref.P.to_bytes(32, "big") + proof + body, CONTEXT),
        ("E with prefix 04", "point.encoding", b"\4" + GOOD[1:], CONTEXT),
    ]
    return [
        {"name": name, "box": box.hex(), "context": context.hex(), "error": code} for name, code, box, context in cases
    ]


def unproven_vectors() -> list[dict[str, Any]]:
    point, c, z = boxes.prove_opened(SECRET, GOOD, CONTEXT, NONCE_SEED)
    bent = boxes.prove_opened(SECRET, GOOD, CONTEXT, NONCE_SEED, shifted(point))
    another = scalar("another secret")
    of_another = boxes.prove_opened(another, GOOD, CONTEXT, NONCE_SEED)
    elsewhere = boxes.prove_opened(SECRET, GOOD, bytes(32), NONCE_SEED)
    twin = boxes.seal(KEY, b"other", EPHEMERAL, CONTEXT)
    of_twin = boxes.prove_opened(SECRET, twin, CONTEXT, NONCE_SEED)
    assert of_twin[0] == point
    c_number, z_number = int.from_bytes(c, "big"), int.from_bytes(z, "big")
    cases = [
        ("another point, proven as if it were D", KEY, CONTEXT, *bent),
        ("D of another key", KEY, CONTEXT, *of_another),
        ("another key", base(another), CONTEXT, point, c, z),
        ("made for another context", KEY, CONTEXT, *elsewhere),
        ("taken for another context", KEY, bytes(32), point, c, z),
        ("made for another box of the same E", KEY, CONTEXT, *of_twin),
        ("D moved by G", KEY, CONTEXT, shifted(point), c, z),
        ("D of the other parity", KEY, CONTEXT, bytes([point[0] ^ 1]) + point[1:], c, z),
        ("c with its lowest bit flipped", KEY, CONTEXT, point, b32(c_number ^ 1), z),
        ("z with its lowest bit flipped", KEY, CONTEXT, point, c, b32(z_number ^ 1)),
        ("z negated", KEY, CONTEXT, point, c, b32(ref.N - z_number)),
        ("c and z swapped", KEY, CONTEXT, point, z, c),
        ("commitments at infinity: z = c b", KEY, CONTEXT, point, c, b32(c_number * SECRET)),
        ("c = 0", KEY, CONTEXT, point, bytes(32), z),
        ("z = 0", KEY, CONTEXT, point, c, bytes(32)),
        ("c = N", KEY, CONTEXT, point, ref.N.to_bytes(32, "big"), z),
        ("z = N", KEY, CONTEXT, point, c, ref.N.to_bytes(32, "big")),
        ("D at infinity", KEY, CONTEXT, bytes(33), c, z),
        ("D off the curve", KEY, CONTEXT, b"\2" + (5).to_bytes(32, "big"), c, z),
        ("a key that is no point", bytes(33), CONTEXT, point, c, z),
    ]
    for name, *_, d, _c, _z in cases[:2]:
        assert not boxes.verify_opened(KEY, GOOD, CONTEXT, d, _c, _z), name
    fields = "key", "context", "point", "c", "z"
    return [
        {"name": name, **dict(zip(fields, (part.hex() for part in parts), strict=True))} for name, *parts in cases
    ]


def document() -> str:
    vectors = {
        "format": 1,
        "secret": b32(SECRET).hex(),
        "key": KEY.hex(),
        "nonce_seed": NONCE_SEED.hex(),
        "boxes": box_vectors(),
        "refused": refused_vectors(),
        "unproven": unproven_vectors(),
    }
    return json.dumps(vectors, indent=1) + "\n"


def main(arguments: list[str]) -> int:
    return write_or_check({"boxes.json": document()}, arguments, __doc__)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
