"""Hashing to secp256k1: the suite `secp256k1_XMD:SHA-256_SSWU_RO_` of RFC 9380, sections 5.3.1, 6.6.3, 8.7,
E.1.

A message is expanded to two field elements; each is mapped by the simplified SWU map to the curve
E' : y^2 = x^3 + A'x + B', and from there by a 3-isogeny to secp256k1 (which has A = 0, where SWU does not
work); the two points are added. Nobody knows a discrete logarithm of the result, so it serves as an
independent generator.

Deviation, in the way there and not in the result: the RFC finds a square root on E', then applies the
isogeny. Here the isogeny comes first, on x alone and without division, and libsecp256k1's own root on
secp256k1 then tells both whether E' has such a point and, divided by the isogeny's factor, what its y is. One
inversion and one fast root take the place of four inversions and one or two slow roots: 110 us here where it
took 490.

Inputs are public (block identifiers, domain names): plain integers, not constant time.
"""

from __future__ import annotations

import hashlib
from functools import cache
from typing import Final

from threshold import group
from threshold.errors import UsageError
from threshold.group import FIELD_PRIME as P

SECOND_GENERATOR_DST: Final = b"MPCSEQ-V1-SECOND-GENERATOR"
PEDERSEN_GENERATOR_DST: Final = b"MPCSEQ-V1-PEDERSEN"
DST_BYTES_MAX: Final = 255
_OVERSIZE_PREFIX: Final = b"H2C-OVERSIZE-DST-"
_ELEMENT_BYTES: Final = 48  # 256 bits of field and 128 of slack, so that reduction mod P leaves no bias
_SHA256_BLOCK_BYTES: Final = 64

_A: Final = 0x3F8731ABDD661ADCA08A5558F0F5D272E953D363CB6F0E5D405447C01A444533
_B: Final = 1771
_Z: Final = P - 11
# The isogeny's polynomials (RFC 9380 E.1), lowest degree first.
_X_NUMERATOR: Final = (
    0x8E38E38E38E38E38E38E38E38E38E38E38E38E38E38E38E38E38E38DAAAAA8C7,
    0x07D3D4C80BC321D5B9F315CEA7FD44C5D595D2FC0BF63B92DFFF1044F17C6581,
    0x534C328D23F234E6E2A413DECA25CAECE4506144037C40314ECBD0B53D9DD262,
    0x8E38E38E38E38E38E38E38E38E38E38E38E38E38E38E38E38E38E38DAAAAA88C,
)
_X_DENOMINATOR: Final = (
    0xD35771193D94918A9CA34CCBB7B640DD86CD409542F8487D9FE6B745781EB49B,
    0xEDADC6F64383DC1DF7C4B2D51B54225406D36B641F5E41BBC52A56612A8C6D14,
    1,
    0,
)
_Y_NUMERATOR: Final = (
    0x4BDA12F684BDA12F684BDA12F684BDA12F684BDA12F684BDA12F684B8E38E23C,
    0xC75E0C32D5CB7C0FA9D0A54B12A0A6D5647AB046D686DA6FDFFC90FC201D71A3,
    0x29A6194691F91A73715209EF6512E576722830A201BE2018A765E85A9ECEE931,
    0x2F684BDA12F684BDA12F684BDA12F684BDA12F684BDA12F684BDA12F38E38D84,
)
_Y_DENOMINATOR: Final = (
    P - 756,
    0x7A06534BB8BDB49FD5E9E6632722C2989467C1BFC8E8D978DFB425D2685C2573,
    0x6484AA716545CA2CF3A70C3FA8FE337E0A3D21162F0D6299A7BF8192BFD2A76F,
    1,
)


def expand_message_xmd(msg: bytes, dst: bytes, length: int) -> bytes:
    """`length` uniform bytes (1..8160) from a message under a domain separation tag (RFC 9380, 5.3.1)."""
    if not dst or not 0 < length <= 255 * 32:
        raise UsageError("a domain separation tag is not empty and the output is 1..8160 bytes")
    if len(dst) > DST_BYTES_MAX:
        dst = hashlib.sha256(_OVERSIZE_PREFIX + dst).digest()
    suffix = dst + bytes([len(dst)])
    first = hashlib.sha256(
        bytes(_SHA256_BLOCK_BYTES) + msg + length.to_bytes(2, "big") + b"\0" + suffix
    ).digest()
    block = hashlib.sha256(first + b"\x01" + suffix).digest()
    out = block
    for counter in range(2, -(-length // 32) + 1):
        mixed = bytes(a ^ b for a, b in zip(first, block, strict=True))
        block = hashlib.sha256(mixed + bytes([counter]) + suffix).digest()
        out += block
    return out[:length]


def hash_to_field(msg: bytes, dst: bytes) -> tuple[int, int]:
    """Two field elements, each from 48 bytes of the expansion."""
    expanded = expand_message_xmd(msg, dst, 2 * _ELEMENT_BYTES)
    return (
        int.from_bytes(expanded[:_ELEMENT_BYTES], "big") % P,
        int.from_bytes(expanded[_ELEMENT_BYTES:], "big") % P,
    )


def _evaluate(coefficients: tuple[int, int, int, int], x: int, d: int) -> int:
    """d^3 times the polynomial's value at x / d."""
    c0, c1, c2, c3 = coefficients
    square = d * d % P
    return (((c3 * x + c2 * d) * x + c1 * square) % P * x + c0 * square * d) % P


def map_to_curve(u: int) -> tuple[int, int]:
    """Affine coordinates on secp256k1 of a field element's image."""
    zu2 = _Z * u * u % P
    denominator = (zu2 * zu2 + zu2) % P
    # denominator = 0 is the map's exceptional case; Z was chosen so that B / (Z A) is then the x of a point.
    x, d = (_B * (denominator + 1) % P, -_A * denominator % P) if denominator else (_B, _Z * _A % P)
    image = _isogeny(x, d, u % 2) or _isogeny(zu2 * x % P, d, u % 2)
    if image is None:
        raise ArithmeticError("one of the two SWU candidates is always the x of a point")
    return image


def _isogeny(x: int, d: int, parity: int) -> tuple[int, int] | None:
    """The image of the point of E' with x = x / d and a y of this parity; None where E' has none."""
    x_denominator = _evaluate(_X_DENOMINATOR, x, d)
    if not x_denominator:
        return None  # the kernel's x. E' has N points over F_P, a prime: none of order 3 is among them
    # Not zero: the image would have order 2, or else secp256k1's x^3 + 7 a root; it has neither.
    y_numerator = _evaluate(_Y_NUMERATOR, x, d)
    inverse = pow(x_denominator * y_numerator, -1, P)
    image_x = _evaluate(_X_NUMERATOR, x, d) * y_numerator * inverse % P
    image_y = group.lift_x(image_x)
    if image_y is None:
        return None
    y = image_y * _evaluate(_Y_DENOMINATOR, x, d) * x_denominator * inverse % P
    return image_x, image_y if y % 2 == parity else P - image_y


def hash_to_curve(msg: bytes, dst: bytes) -> bytes:
    """The point for a message under a domain separation tag: 33 bytes, compressed.

    `UsageError` when the result is infinity, which nobody can bring about for a hash they did not choose.
    """
    total = group.add([group.point_from_xy(*map_to_curve(u)) for u in hash_to_field(msg, dst)])
    if total is None:
        raise UsageError("a message hashes to the point at infinity")
    return group.encode_point(total)


@cache
def second_generator() -> bytes:
    """G2, 33 bytes: the generator whose logarithm to G nobody knows, on which TDH2's soundness rests."""
    return hash_to_curve(b"", SECOND_GENERATOR_DST)


@cache
def pedersen_generator() -> bytes:
    """H, 33 bytes: the generator of Pedersen commitments aG + bH, which bind because nobody knows its logarithm."""
    return hash_to_curve(b"", PEDERSEN_GENERATOR_DST)
