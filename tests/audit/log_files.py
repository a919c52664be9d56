"""A log as it lies on disk: C2SP tiles, entry bundles and a signed checkpoint, written plainly."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path

from nacl.signing import SigningKey

from tests.audit.audited_deployment import Deployment, deployment


def hash_leaf(data: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + data).digest()


def merkle(hashes: Sequence[bytes]) -> bytes:
    if len(hashes) == 1:
        return hashes[0]
    split = 1
    while split * 2 < len(hashes):
        split *= 2
    return hashlib.sha256(b"\x01" + merkle(hashes[:split]) + merkle(hashes[split:])).digest()


def tile_name(level: str, number: int, width: int) -> str:
    text = f"{number:03d}"
    if len(text) % 3:
        text = text.zfill(len(text) + 3 - len(text) % 3)
    groups = [text[i : i + 3] for i in range(0, len(text), 3)]
    path = "/".join([f"x{group}" for group in groups[:-1]] + groups[-1:])
    return f"tile/{level}/{path}" + ("" if width == 256 else f".p/{width}")


def signed_note(
    leaves: Sequence[bytes], node: int, key: SigningKey | None = None, house: Deployment | None = None
) -> bytes:
    house = house or deployment()
    key = key or house.log_keys[node]
    log_key = house.committee.genesis.members[node].log_key
    origin = f"mpc_sequencer/{house.committee.genesis_id.hex()}/{log_key.hex()[:16]}"
    text = f"{origin}\n{len(leaves)}\n{b64encode(merkle(leaves)).decode()}\n"
    name = hashlib.sha256(origin.encode() + b"\n\x01" + bytes(key.verify_key)).digest()[:4]
    signature = b64encode(name + key.sign(text.encode()).signature).decode()
    return f"{text}\n— {origin} {signature}\n".encode()


def write_log(
    folder: Path,
    entries: Sequence[bytes],
    node: int,
    key: SigningKey | None = None,
    house: Deployment | None = None,
) -> None:
    """Tiles, entry bundles and a signed checkpoint."""
    leaves = [hash_leaf(entry) for entry in entries]
    files: dict[str, bytes] = {"checkpoint": signed_note(leaves, node, key, house)}
    for at in range(0, len(entries), 256):
        chunk = entries[at : at + 256]
        data = b"".join(len(entry).to_bytes(2, "big") + entry for entry in chunk)
        files[tile_name("entries", at // 256, len(chunk))] = data
    level, hashes = 0, leaves
    while hashes:
        for at in range(0, len(hashes), 256):
            chunk = hashes[at : at + 256]
            files[tile_name(str(level), at // 256, len(chunk))] = b"".join(chunk)
        hashes = [merkle(hashes[at : at + 256]) for at in range(0, len(hashes) - 255, 256)]
        level += 1
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
