"""Sealing a second time: slow, in plain integers, from the protocol's text alone.

Nothing here imports `threshold` or a cryptographic library: the curve, hashing to it, ChaCha20-Poly1305 and
TDH2 are written out, and hashlib's SHA-256 is the one primitive borrowed. It exists to disagree with the
library when the library is wrong. It is not constant-time and judges no input.
"""

from __future__ import annotations

import hashlib
import struct

P = 2**256 - 2**32 - 977
N = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
G = (
    0x79BE667EF9DCBBAC55A06295CE870B07029BFCDB2DCE28D959F2815B16F81798,
    0x483ADA7726A3C4655DA4FBFC0E1108A8FD17B448A68554199C47D08FFB10D4B8,
)
Affine = tuple[int, int] | None  # None is infinity


# -- the curve: y^2 = x^3 + ax + 7 with a = 0, affine, one inversion per addition ---------------------------


def add(p: Affine, q: Affine, a: int = 0) -> Affine:
    if p is None or q is None:
        return q if p is None else p
    if p[0] == q[0]:
        if (p[1] + q[1]) % P == 0:
            return None
        slope = (3 * p[0] * p[0] + a) * pow(2 * p[1], -1, P)
    else:
        slope = (q[1] - p[1]) * pow(q[0] - p[0], -1, P)
    x = (slope * slope - p[0] - q[0]) % P
    return x, (slope * (p[0] - x) - p[1]) % P


def negate(p: Affine) -> Affine:
    return None if p is None else (p[0], -p[1] % P)


def multiply(k: int, p: Affine) -> Affine:
    result: Affine = None
    for bit in bin(k % N)[2:]:
        result = add(result, result)
        if bit == "1":
            result = add(result, p)
    return result


def compress(p: Affine) -> bytes:
    assert p is not None, "infinity has no encoding"
    return bytes([2 + p[1] % 2]) + p[0].to_bytes(32, "big")


def decompress(data: bytes) -> tuple[int, int]:
    x = int.from_bytes(data[1:], "big")
    y = pow(x**3 + 7, (P + 1) // 4, P)
    assert len(data) == 33 and data[0] in (2, 3) and x < P and (y * y - x**3 - 7) % P == 0, "not a point"
    return x, y if y % 2 == data[0] % 2 else P - y


# -- hash to curve, RFC 9380, with the straight-line forms of its appendices --------------------------------

A_ISO = 0x3F8731ABDD661ADCA08A5558F0F5D272E953D363CB6F0E5D405447C01A444533
B_ISO = 1771
K = [
    [
        0x8E38E38E38E38E38E38E38E38E38E38E38E38E38E38E38E38E38E38DAAAAA8C7,
        0x7D3D4C80BC321D5B9F315CEA7FD44C5D595D2FC0BF63B92DFFF1044F17C6581,
        0x534C328D23F234E6E2A413DECA25CAECE4506144037C40314ECBD0B53D9DD262,
        0x8E38E38E38E38E38E38E38E38E38E38E38E38E38E38E38E38E38E38DAAAAA88C,
    ],
    [
        0xD35771193D94918A9CA34CCBB7B640DD86CD409542F8487D9FE6B745781EB49B,
        0xEDADC6F64383DC1DF7C4B2D51B54225406D36B641F5E41BBC52A56612A8C6D14,
        1,
    ],
    [
        0x4BDA12F684BDA12F684BDA12F684BDA12F684BDA12F684BDA12F684B8E38E23C,
        0xC75E0C32D5CB7C0FA9D0A54B12A0A6D5647AB046D686DA6FDFFC90FC201D71A3,
        0x29A6194691F91A73715209EF6512E576722830A201BE2018A765E85A9ECEE931,
        0x2F684BDA12F684BDA12F684BDA12F684BDA12F684BDA12F684BDA12F38E38D84,
    ],
    [
        0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEFFFFF93B,
        0x7A06534BB8BDB49FD5E9E6632722C2989467C1BFC8E8D978DFB425D2685C2573,
        0x6484AA716545CA2CF3A70C3FA8FE337E0A3D21162F0D6299A7BF8192BFD2A76F,
        1,
    ],
]


def hash_to_curve(msg: bytes, dst: bytes) -> Affine:
    dst_prime = dst + bytes([len(dst)])
    b = [hashlib.sha256(bytes(64) + msg + b"\0\x60" + b"\0" + dst_prime).digest()]
    for i in (1, 2, 3):
        mixed = bytes(32) if i == 1 else b[-1]
        b.append(
            hashlib.sha256(
                bytes(x ^ y for x, y in zip(b[0], mixed, strict=True)) + bytes([i]) + dst_prime
            ).digest()
        )
    uniform = b"".join(b[1:])
    return add(*(map_to_curve(int.from_bytes(part, "big") % P) for part in (uniform[:48], uniform[48:])))


def map_to_curve(u: int) -> Affine:
    tv1 = -11 * u**2 % P
    tv2 = (tv1**2 + tv1) % P
    x_num, x_den = B_ISO * (tv2 + 1) % P, A_ISO * (-tv2 if tv2 else P - 11) % P
    x = x_num * pow(x_den, P - 2, P) % P
    gx = (x**3 + A_ISO * x + B_ISO) % P
    if pow(gx, (P - 1) // 2, P) not in (0, 1):
        x = tv1 * x % P
        gx = (x**3 + A_ISO * x + B_ISO) % P
    y = pow(gx, (P + 1) // 4, P)
    y = y if y % 2 == u % 2 else -y % P
    values = [sum(k * x**i for i, k in enumerate(poly)) % P for poly in K]
    return values[0] * pow(values[1], P - 2, P) % P, y * values[2] * pow(values[3], P - 2, P) % P


G2 = hash_to_curve(b"", b"MPCSEQ-V1-SECOND-GENERATOR")


# -- ChaCha20-Poly1305, RFC 8439 ----------------------------------------------------------------------------


def chacha20_block(key: bytes, counter: int, nonce: bytes) -> bytes:
    start = [0x61707865, 0x3320646E, 0x79622D32, 0x6B206574]
    start += [*struct.unpack("<8I", key), counter, *struct.unpack("<3I", nonce)]
    x = start[:]

    def quarter(a: int, b: int, c: int, d: int) -> None:
        for target, other, mixed, bits in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
            x[target] = (x[target] + x[other]) & 0xFFFFFFFF
            x[mixed] ^= x[target]
            x[mixed] = (x[mixed] << bits | x[mixed] >> (32 - bits)) & 0xFFFFFFFF

    for _ in range(10):
        for i in range(4):
            quarter(i, 4 + i, 8 + i, 12 + i)
        for i in range(4):
            quarter(i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4)
    return struct.pack("<16I", *((a + b) & 0xFFFFFFFF for a, b in zip(x, start, strict=True)))


def chacha20(key: bytes, nonce: bytes, data: bytes) -> bytes:
    stream = b"".join(chacha20_block(key, 1 + i, nonce) for i in range(-(-len(data) // 64)))
    return bytes(a ^ b for a, b in zip(data, stream, strict=False))


def poly1305_tag(key: bytes, nonce: bytes, ad: bytes, encrypted: bytes) -> bytes:
    one_time = chacha20_block(key, 0, nonce)[:32]
    r = int.from_bytes(one_time[:16], "little") & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
    text = b"".join(part + bytes(-len(part) % 16) for part in (ad, encrypted))
    text += struct.pack("<QQ", len(ad), len(encrypted))
    accumulator = 0
    for i in range(0, len(text), 16):
        accumulator = (accumulator + int.from_bytes(text[i : i + 16] + b"\1", "little")) * r % (2**130 - 5)
    return ((accumulator + int.from_bytes(one_time[16:], "little")) % 2**128).to_bytes(16, "little")


def aead_encrypt(key: bytes, ad: bytes, plaintext: bytes) -> bytes:
    encrypted = chacha20(key, bytes(12), plaintext)
    return encrypted + poly1305_tag(key, bytes(12), ad, encrypted)


def aead_decrypt(key: bytes, ad: bytes, c: bytes) -> bytes | None:
    if poly1305_tag(key, bytes(12), ad, c[:-16]) != c[-16:]:
        return None
    return chacha20(key, bytes(12), c[:-16])


# -- the sealed order ---------------------------------------------------------------------------------------


def tagged(tag: str, data: bytes) -> bytes:
    digest = hashlib.sha256(tag.encode()).digest()
    return hashlib.sha256(digest + digest + data).digest()


def tagged_scalar(tag: str, data: bytes) -> int:
    return int.from_bytes(tagged(tag, data), "big") % N


def key_id(public_key: bytes, chain_id: int, settlement: bytes) -> bytes:
    return tagged("MPCSEQ/v1/key", public_key + chain_id.to_bytes(8, "big") + settlement)


def label(
    chain_id: int,
    settlement: bytes,
    key: bytes,
    sponsor: bytes,
    valid_from_ms: int,
    valid_until_ms: int,
    bucket: int,
) -> bytes:
    return (
        b"\1" + chain_id.to_bytes(8, "big") + settlement + key + sponsor
        + valid_from_ms.to_bytes(8, "big") + valid_until_ms.to_bytes(8, "big") + bucket.to_bytes(4, "big")
    )  # fmt: skip


def pad(message: bytes, bucket: int) -> bytes:
    padded = len(message).to_bytes(4, "big") + message
    return padded + bytes(bucket - len(padded))


def exponents(sigma: bytes, label_bytes: bytes, padded: bytes) -> tuple[int, int]:
    d = sigma + label_bytes + hashlib.sha256(padded).digest()
    return tagged_scalar("MPCSEQ/v1/r", d), tagged_scalar("MPCSEQ/v1/s", d)


def challenge(
    label_bytes: bytes, u: bytes, v: bytes, w: bytes, w2: bytes, c: bytes
) -> int:
    return tagged_scalar("MPCSEQ/v1/tdh2", label_bytes + u + v + w + w2 + hashlib.sha256(c).digest())


def seal_padded(public_key: bytes, label_bytes: bytes, padded: bytes, sigma: bytes) -> bytes:
    r, s = exponents(sigma, label_bytes, padded)
    u, v = compress(multiply(r, G)), compress(multiply(r, G2))
    k = tagged("MPCSEQ/v1/kem", compress(multiply(r, decompress(public_key))) + u)
    c = aead_encrypt(k, label_bytes + u + v, sigma + padded)
    return proven(label_bytes, u, v, r, s, c)


def proven(
    label_bytes: bytes, u: bytes, v: bytes, r: int, s: int, c: bytes
) -> bytes:
    """A ciphertext around (u, v, c) with an honest proof of r: what a dishonest encryptor builds on as
    well."""
    e = challenge(label_bytes, u, v, compress(multiply(s, G)), compress(multiply(s, G2)), c)
    return b"\1" + u + v + e.to_bytes(32, "big") + ((s + r * e) % N).to_bytes(32, "big") + c


def split(ciphertext: bytes) -> tuple[bytes, bytes, int, int, bytes]:
    u, v, e, z = ciphertext[1:34], ciphertext[34:67], ciphertext[67:99], ciphertext[99:131]
    return u, v, int.from_bytes(e, "big"), int.from_bytes(z, "big"), ciphertext[131:]


def check(label_bytes: bytes, ciphertext: bytes) -> bool:
    u, v, e, z, c = split(ciphertext)
    w = add(multiply(z, G), negate(multiply(e, decompress(u))))
    w2 = add(multiply(z, G2), negate(multiply(e, decompress(v))))
    return (
        w is not None and w2 is not None and challenge(label_bytes, u, v, compress(w), compress(w2), c) == e
    )


def share(x: int, ciphertext: bytes) -> bytes:
    return compress(multiply(x, decompress(ciphertext[1:34])))


def lagrange(i: int, indexes: list[int]) -> int:
    value = 1
    for j in indexes:
        if j != i:
            value = value * j * pow(j - i, -1, N) % N
    return value


def combine(shares: dict[int, bytes]) -> bytes:
    total: Affine = None
    for i, data in shares.items():
        total = add(total, multiply(lagrange(i, list(shares)), decompress(data)))
    return compress(total)


def open_point(
    public_key: bytes, label_bytes: bytes, ciphertext: bytes, point: bytes
) -> tuple[bytes, bytes] | None:
    """(sigma, padded message), or None where opening must fail."""
    u, v, e, z, c = split(ciphertext)
    plaintext = aead_decrypt(tagged("MPCSEQ/v1/kem", point + u), label_bytes + u + v, c)
    if plaintext is None:
        return None
    sigma, padded = plaintext[:32], plaintext[32:]
    r, s = exponents(sigma, label_bytes, padded)
    good = compress(multiply(r, G)) == u and compress(multiply(r, decompress(public_key))) == point
    return (sigma, padded) if good and z == (s + r * e) % N else None


# -- the batch proof of a bundle ----------------------------------------------------------------------------


def bundle_parts(
    context: bytes, verification_key: bytes, us: list[bytes], shares: list[bytes]
) -> tuple[bytes, Affine, Affine]:
    """(seed, U, S); context = key_id || epoch u64 || block_id || index u16."""
    seed = tagged(
        "MPCSEQ/v1/bundle/seed",
        context + verification_key + len(us).to_bytes(4, "big") + b"".join(us) + b"".join(shares),
    )
    sums: list[Affine] = [None, None]
    for j, pair in enumerate(zip(us, shares, strict=True), start=1):
        rho = int.from_bytes(tagged("MPCSEQ/v1/bundle/rho", seed + j.to_bytes(4, "big"))[:16], "big")
        for side in (0, 1):
            sums[side] = add(sums[side], multiply(rho, decompress(pair[side])))
    return seed, sums[0], sums[1]


def prove_bundle(x: int, context: bytes, us: list[bytes], shares: list[bytes], entropy: bytes) -> bytes:
    seed, base, image = bundle_parts(context, compress(multiply(x, G)), us, shares)
    a = tagged_scalar("MPCSEQ/v1/bundle/nonce", x.to_bytes(32, "big") + entropy + seed)
    commitments = compress(multiply(a, G)) + compress(multiply(a, base))
    c = tagged_scalar("MPCSEQ/v1/bundle/challenge", seed + compress(base) + compress(image) + commitments)
    return commitments + ((a + c * x) % N).to_bytes(32, "big")


def verify_bundle(
    verification_key: bytes, context: bytes, us: list[bytes], shares: list[bytes], proof: bytes
) -> bool:
    seed, base, image = bundle_parts(context, verification_key, us, shares)
    c = tagged_scalar("MPCSEQ/v1/bundle/challenge", seed + compress(base) + compress(image) + proof[:66])
    z = int.from_bytes(proof[66:], "big")
    return multiply(z, G) == add(
        decompress(proof[:33]), multiply(c, decompress(verification_key))
    ) and multiply(z, base) == add(decompress(proof[33:66]), multiply(c, image))


# -- the coin of a block ------------------------------------------------------------------------------------


def coin_base(context: bytes) -> tuple[int, int]:
    """H; context = key_id || epoch u64 || block_id || index u16."""
    base = hash_to_curve(context[:32] + context[40:72], b"MPCSEQ-V1-COIN")
    assert base is not None
    return base


def coin_challenge(context: bytes, verification_key: bytes, image: bytes, commitments: bytes) -> int:
    statement = context + verification_key + compress(coin_base(context)) + image
    return tagged_scalar(
        "MPCSEQ/v1/coin/challenge", tagged("MPCSEQ/v1/coin/statement", statement) + commitments
    )


def coin_share(x: int, context: bytes, entropy: bytes) -> bytes:
    return proven_coin_share(x, context, compress(multiply(x, coin_base(context))), entropy)


def proven_coin_share(x: int, context: bytes, image: bytes, entropy: bytes) -> bytes:
    """A coin share around `image`, which need not be x H, with a proof made from x as an honest one is."""
    base, key = coin_base(context), compress(multiply(x, G))
    statement = tagged("MPCSEQ/v1/coin/statement", context + key + compress(base) + image)
    a = tagged_scalar("MPCSEQ/v1/coin/nonce", x.to_bytes(32, "big") + entropy + statement)
    c = coin_challenge(context, key, image, compress(multiply(a, G)) + compress(multiply(a, base)))
    return image + c.to_bytes(32, "big") + ((a + c * x) % N).to_bytes(32, "big")


def verify_coin_share(verification_key: bytes, context: bytes, data: bytes) -> bool:
    image, c, z = data[:33], int.from_bytes(data[33:65], "big"), int.from_bytes(data[65:], "big")
    a = add(multiply(z, G), negate(multiply(c, decompress(verification_key))))
    b = add(multiply(z, coin_base(context)), negate(multiply(c, decompress(image))))
    return (
        a is not None
        and b is not None
        and coin_challenge(context, verification_key, image, compress(a) + compress(b)) == c
    )


def coin(shares: dict[int, bytes]) -> bytes:
    """The coin of t coin shares by index."""
    return tagged("MPCSEQ/v1/coin", combine({i: data[:33] for i, data in shares.items()}))
