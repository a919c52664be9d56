"""Writes dkg_generation.json and dkg_resharing.json beside this file, from the plain-integer reference and fixed seeds.

    python tests/vectors/make_dkg.py            write the files
    python tests/vectors/make_dkg.py --check    compare only; exit status 1 when one differs

Each file is one session, block by block, with a member that cheats; what it ends with is written here by hand or
computed by the reference in tests/threshold. The format is described in README.md.
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
import reference_dkg as dkg  # noqa: E402
from vector_files import write_or_check  # noqa: E402

FIRST_HEIGHT = 100
FIRST_TIME_MS = 1_700_000_000_000
BLOCK_MS = 2_000
WINDOW_HEIGHTS = 3
WINDOW_MS = 5_000
THRESHOLD = 3

Fields = dict[str, Any]
Block = list[tuple[int, Fields]]


def seeded(name: str) -> bytes:
    return hashlib.sha256(b"key generation vectors: " + name.encode()).digest()


def blocks(steps: list[tuple[Block, str]]) -> list[Fields]:
    return [
        {
            "height": FIRST_HEIGHT + number,
            "time_ms": FIRST_TIME_MS + number * BLOCK_MS,
            "messages": [
                {"author": author, **fields, "payload": dkg.concatenated(fields).hex()} for author, fields in block
            ],
            "phase_after": phase,
        }
        for number, (block, phase) in enumerate(steps, start=1)
    ]


def keys_of(block: Block) -> dict[int, bytes]:
    return {author: bytes.fromhex(fields["key"]) for author, fields in block}


def dealt_part(deals: Block, dealer: int, position: int) -> tuple[bytes, bytes]:
    """The ephemeral point of a deal's part, and its proof."""
    (fields,) = (fields for author, fields in deals if author == dealer)
    sealed = fields["sealed"][position]
    return bytes.fromhex(sealed["ephemeral"]), bytes.fromhex(sealed["proof"])


def no_complaint() -> Fields:
    return {"type": "03", "opened": []}


def ready(result_hash: bytes) -> Fields:
    return {"type": "06", "hash": result_hash.hex()}


def bent(fields: Fields, path: tuple[Any, ...], at: int = -1) -> str:
    """The payload with the lowest bit of a field's byte flipped."""
    copy = json.loads(json.dumps(fields))
    inner = copy
    for step in path[:-1]:
        inner = inner[step]
    data = bytearray.fromhex(inner[path[-1]])
    data[at] ^= 1
    inner[path[-1]] = data.hex()
    return dkg.concatenated(copy).hex()


def header(name: str, story: str, seeds: dict[int, bytes]) -> Fields:
    return {
        "format": 1,
        "story": story,
        "session": seeded(name).hex(),
        "threshold": THRESHOLD,
        "faults": 1,
        "window_heights": WINDOW_HEIGHTS,
        "window_ms": WINDOW_MS,
        "first_height": FIRST_HEIGHT,
        "first_time_ms": FIRST_TIME_MS,
        "seeds": {str(i): seed.hex() for i, seed in seeds.items()},
    }


def ending(culprits: list[tuple[str, int, str]], qualified: list[int], outcome: Any) -> Fields:
    public_key, result_hash, shares = outcome
    return {
        "culprits": [{"role": role, "index": index, "code": code} for role, index, code in culprits],
        "qualified": qualified,
        "public_key": public_key.hex(),
        "verification_keys": {str(j): dkg.base(x).hex() for j, x in shares.items()},
        "result_hash": result_hash.hex(),
        "shares": {str(j): dkg.b32(x).hex() for j, x in shares.items()},
    }


def generation() -> tuple[Fields, dict[int, int]]:
    """Member 4 complains falsely about dealer 1, then keeps its Feldman commitments back."""
    session = seeded("generation")
    seeds = {i: seeded(f"generation seed {i}") for i in (1, 2, 3, 4)}
    members = {i: dkg.Member(session, THRESHOLD, seed) for i, seed in seeds.items()}
    keys: Block = [(i, member.session_key(i)) for i, member in members.items()]
    deals: Block = [(i, member.deal(i, keys_of(keys))) for i, member in members.items()]
    lie = members[4].opened("03", 4, {1: dealt_part(deals, 1, 3)})
    answers: Block = [(i, no_complaint()) for i in (1, 2, 3)] + [(4, lie)]
    dealt = {author: [bytes.fromhex(c) for c in fields["commitments"]] for author, fields in deals}
    feldman: Block = [(i, members[i].feldman(i, dealt[i])) for i in (1, 2, 3)]
    extracts: Block = [(j, members[j].opened("05", j, {4: dealt_part(deals, 4, j - 1)})) for j in (1, 2, 3)]
    polynomials = {i: member.polynomials(i)[0] for i, member in members.items()}
    outcome = dkg.result(session, THRESHOLD, polynomials, [1, 2, 3, 4], lagranged=False)
    readies: Block = [(j, ready(outcome[1])) for j in (1, 2, 3, 4)]
    story = "Member 4 complains falsely about dealer 1, then keeps its Feldman commitments back and is extracted."
    steps = [
        (keys, "deals"),
        (deals, "answers"),
        (answers, "feldman"),
        (feldman, "feldman"),
        ([], "feldman"),
        ([], "extraction"),
        (extracts, "ready"),
        (readies, "done"),
    ]
    near = [
        ("proof of possession bent", 1, 1, bent(keys[0][1], ("proof",)), "dkg.key_proof"),
        ("commitment of the other parity", 2, 1, bent(deals[0][1], ("commitments", 1), 0), "dkg.deal_proof"),
        ("proof of knowledge bent", 2, 1, bent(deals[0][1], ("sealed", 2, "proof")), "dkg.deal_proof"),
        ("body bent", 2, 1, bent(deals[0][1], ("sealed", 0, "body")), "dkg.deal_proof"),
        ("deal of another dealer", 2, 1, dkg.concatenated(deals[1][1]).hex(), "dkg.deal_proof"),
        ("deal cut short", 2, 1, dkg.concatenated(deals[0][1])[:-1].hex(), "dkg.length"),
        ("complaint's proof bent", 3, 4, bent(lie, ("opened", 0, "z")), "dkg.complaint_proof"),
        ("complaint about nobody", 3, 4, bent(lie, ("opened", 0, "dealer"), 0), "dkg.complaint_dealer"),
        ("commitment bent", 4, 1, bent(feldman[0][1], ("commitments", 0), 0), "dkg.feldman_proof"),
        ("response bent", 4, 1, bent(feldman[0][1], ("z",)), "dkg.feldman_proof"),
        ("extraction's proof bent", 7, 1, bent(extracts[0][1], ("opened", 0, "c")), "dkg.extract_proof"),
        ("another dealer extracted", 7, 1, bent(extracts[0][1], ("opened", 0, "dealer")), "dkg.extract_dealers"),
        ("another result", 8, 1, bent(readies[0][1], ("hash",)), "dkg.ready_hash"),
    ]
    culprits = [("receiver", 4, "dkg.complaint_false"), ("dealer", 4, "dkg.silent")]
    document = {
        **header("generation", story, seeds),
        "members": [1, 2, 3, 4],
        "blocks": blocks(steps),
        **ending(culprits, [1, 2, 3, 4], outcome),
        "refused": refused(near),
    }
    return document, outcome[2]


def refused(near: list[tuple[str, int, int, str, str]]) -> list[Fields]:
    return [
        {"name": name, "height": FIRST_HEIGHT + step, "author": author, "payload": payload, "error": code}
        for name, step, author, payload, code in near
    ]


def resharing(old: dict[int, int], public_key: str) -> Fields:
    """Dealer 1 seals a wrong value to receiver 2, who complains; dealers 2, 3 and 4 count. Receivers are 1 to 5."""
    session, receivers = seeded("resharing"), [1, 2, 3, 4, 5]
    seeds = {i: seeded(f"resharing seed {i}") for i in receivers}
    members = {i: dkg.Member(session, THRESHOLD, seed, old.get(i), pedersen=False) for i, seed in seeds.items()}
    keys: Block = [(j, member.session_key(j)) for j, member in members.items()]
    deals: Block = [(i, members[i].deal(i, keys_of(keys), 2 if i == 1 else None)) for i in old]
    complaint = members[2].opened("03", 2, {1: dealt_part(deals, 1, 1)})
    answers: Block = [(j, complaint if j == 2 else no_complaint()) for j in receivers]
    polynomials = {i: members[i].polynomials(i)[0] for i in (2, 3, 4)}
    outcome = dkg.result(session, THRESHOLD, polynomials, receivers, lagranged=True)
    assert outcome[0].hex() == public_key
    readies: Block = [(j, ready(outcome[1])) for j in receivers]
    # t = n - 2f: the keys of four receivers close the phase, as the first four answers would.
    steps = [(keys, "deals"), (deals, "answers"), (answers, "ready"), (readies, "done")]
    near = [
        ("first commitment of the other parity", 2, 1, bent(deals[0][1], ("commitments", 0), 0), "dkg.deal_constant"),
        ("proof of knowledge bent", 2, 1, bent(deals[0][1], ("sealed", 4, "proof"), 0), "dkg.deal_proof"),
        ("body bent", 2, 2, bent(deals[1][1], ("sealed", 4, "body"), 0), "dkg.deal_proof"),
        ("complaint's proof bent", 3, 2, bent(complaint, ("opened", 0, "c")), "dkg.complaint_proof"),
        ("another result", 4, 5, bent(readies[4][1], ("hash",)), "dkg.ready_hash"),
    ]
    story = "Four members share their key anew among five; dealer 1 seals a wrong value to receiver 2, who complains."
    return {
        **header("resharing", story, seeds),
        "public_key_before": public_key,
        "dealer_threshold": THRESHOLD,
        "dealer_faults": 1,
        "dealer_keys": {str(i): dkg.base(x).hex() for i, x in old.items()},
        "old_shares": {str(i): dkg.b32(x).hex() for i, x in old.items()},
        "receivers": receivers,
        "blocks": blocks(steps),
        **ending([("dealer", 1, "dkg.deal_wrong")], [2, 3, 4], outcome),
        "refused": refused(near),
    }


def documents() -> dict[str, str]:
    first, shares = generation()
    second = resharing(shares, first["public_key"])
    assert max(shares.values()) < ref.N
    return {
        "dkg_generation.json": json.dumps(first, indent=1) + "\n",
        "dkg_resharing.json": json.dumps(second, indent=1) + "\n",
    }


def main(arguments: list[str]) -> int:
    return write_or_check(documents(), arguments, __doc__)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
