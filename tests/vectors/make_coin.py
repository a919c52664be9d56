"""Writes coin.json beside this file, from the plain-integer reference and fixed seeds.

    python tests/vectors/make_coin.py            write the file
    python tests/vectors/make_coin.py --check    compare only; exit status 1 when it differs

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
from vector_files import write_or_check  # noqa: E402

THRESHOLD = 3
MEMBERS = 4


def seeded(name: str) -> bytes:
    return hashlib.sha256(b"coin vectors: " + name.encode()).digest()


def scalar(name: str) -> int:
    return int.from_bytes(seeded(name), "big") % ref.N


POLYNOMIAL = [scalar(f"coefficient {degree}") for degree in range(THRESHOLD)]
SECRETS = {i: sum(a * i**k for k, a in enumerate(POLYNOMIAL)) % ref.N for i in range(1, MEMBERS + 1)}
KEYS = {i: ref.compress(ref.multiply(x, ref.G)) for i, x in SECRETS.items()}
KEY_ID = seeded("key id")
BLOCK_ID = seeded("block")
EPOCH = 7
INDEX = 2


def context(
    index: int = INDEX, block_id: bytes = BLOCK_ID, epoch: int = EPOCH, key_id: bytes = KEY_ID
) -> bytes:
    return key_id + epoch.to_bytes(8, "big") + block_id + index.to_bytes(2, "big")


def shifted(point: bytes) -> bytes:
    """Another valid point: the given one plus G."""
    return ref.compress(ref.add(ref.decompress(point), ref.G))


def coin_vectors() -> list[dict[str, Any]]:
    vectors = []
    for name, block_id, epoch in (
        ("a block", BLOCK_ID, EPOCH),
        ("block id of zeros", bytes(32), 0),
        ("last epoch", seeded("another block"), 2**64 - 1),
    ):
        shares = {}
        for index, x in SECRETS.items():
            statement, entropy = context(index, block_id, epoch), seeded(f"{name} {index}")
            data = ref.coin_share(x, statement, entropy)
            assert ref.verify_coin_share(KEYS[index], statement, data)
            shares[index] = (entropy, data)
        coins = {
            ref.coin({i: data for i, (_, data) in shares.items() if i != left_out}) for left_out in SECRETS
        }
        assert len(coins) == 1
        vectors.append(
            {
                "name": name,
                "epoch": epoch,
                "block_id": block_id.hex(),
                "base": ref.compress(ref.coin_base(context(INDEX, block_id, epoch))).hex(),
                "shares": {
                    str(i): {"entropy": entropy.hex(), "share": data.hex()}
                    for i, (entropy, data) in shares.items()
                },
                "coin": coins.pop().hex(),
            }
        )
    return vectors


def refused_vectors() -> list[dict[str, Any]]:
    x, entropy = SECRETS[INDEX], seeded("entropy")
    good = ref.coin_share(x, context(), entropy)
    image, c, z = good[:33], good[33:65], good[65:]
    c_number, z_number = int.from_bytes(c, "big"), int.from_bytes(z, "big")

    def parts(image: bytes = image, c: int = c_number, z: int = z_number) -> bytes:
        return image + c.to_bytes(32, "big") + z.to_bytes(32, "big")

    key_of_another = ref.coin_share(SECRETS[3], context(), entropy)
    cases = [
        ("empty", "coin.length", b""),
        ("one byte short", "coin.length", good[:-1]),
        ("trailing byte", "coin.length", good + b"\0"),
        ("C moved by G", "coin.proof", parts(shifted(image))),
        ("C of the other parity", "coin.proof", parts(bytes([image[0] ^ 1]) + image[1:])),
        (
            "C of another key, its own proof made with the member's",
            "coin.proof",
            ref.proven_coin_share(x, context(), key_of_another[:33], entropy),
        ),
        (
            "C bent by G, its own proof made with the member's key",
            "coin.proof",
            ref.proven_coin_share(x, context(), shifted(image), entropy),
        ),
        ("made with another member's key", "coin.proof", key_of_another),
        ("of another block", "coin.proof", ref.coin_share(x, context(block_id=bytes(32)), entropy)),
        ("of another epoch", "coin.proof", ref.coin_share(x, context(epoch=EPOCH + 1), entropy)),
        ("of another key id", "coin.proof", ref.coin_share(x, context(key_id=bytes(32)), entropy)),
        ("of another index", "coin.proof", ref.coin_share(x, context(index=3), entropy)),
        ("c with its lowest bit flipped", "coin.proof", parts(c=c_number ^ 1)),
        ("z with its lowest bit flipped", "coin.proof", parts(z=z_number ^ 1)),
        ("z negated", "coin.proof", parts(z=ref.N - z_number)),
        ("c and z swapped", "coin.proof", parts(c=z_number, z=c_number)),
        ("commitments at infinity: z = c x", "coin.proof", parts(z=c_number * x % ref.N)),
        ("C at infinity", "share.encoding", parts(bytes(33))),
        ("C off the curve", "share.encoding", parts(b"\2" + (5).to_bytes(32, "big"))),
        ("C's x is the field's prime", "share.encoding", parts(b"\2" + ref.P.to_bytes(32, "big"))),
        ("C with prefix 04", "share.encoding", parts(b"\4" + image[1:])),
        ("c = 0", "scalar.range", parts(c=0)),
        ("c = N", "scalar.range", parts(c=ref.N)),
        ("c = 2^256 - 1", "scalar.range", parts(c=2**256 - 1)),
        ("z = 0", "scalar.range", parts(z=0)),
        ("z = N", "scalar.range", parts(z=ref.N)),
        ("z = 2^256 - 1", "scalar.range", parts(z=2**256 - 1)),
    ]
    for name, code, data in cases:
        if code == "coin.proof":
            assert not ref.verify_coin_share(KEYS[INDEX], context(), data), name
    return [{"name": name, "share": data.hex(), "error": code} for name, code, data in cases]


def document() -> str:
    vectors = {
        "format": 1,
        "n": MEMBERS,
        "t": THRESHOLD,
        "key_id": KEY_ID.hex(),
        "secret_shares": {str(i): x.to_bytes(32, "big").hex() for i, x in SECRETS.items()},
        "verification_keys": {str(i): key.hex() for i, key in KEYS.items()},
        "coins": coin_vectors(),
        "refused_for": {"epoch": EPOCH, "block_id": BLOCK_ID.hex(), "index": INDEX},
        "refused": refused_vectors(),
    }
    return json.dumps(vectors, indent=1) + "\n"


def main(arguments: list[str]) -> int:
    return write_or_check({"coin.json": document()}, arguments, __doc__)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
