"""A peer to measure beside: ferveo of `nucypher-core`, publicly verifiable key generation and threshold decryption.

It is a Rust library on the pairing curve BLS12-381, where every deal carries its own public check (Schoenmakers'
PVSS), so that no complaints are needed and decryption shares verify by pairings. It is a development dependency only;
where it is not installed, measurements name it as absent.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from time import process_time
from typing import Any, Final

PACKAGE: Final = "nucypher-core"
MEMBERS: Final = 4
THRESHOLD: Final = 3
ROUNDS: Final = 3
MESSAGE_BYTES: Final = 200
STEPS: Final = ("encrypt", "check_share", "combine", "open")
_RITUAL: Final = 1
_AAD: Final = b"label"


@dataclass(frozen=True, slots=True)
class _Ritual:
    """A key generation of the peer: one view per member, the members' key pairs, and the aggregate each derived."""

    views: list[Any]
    keypairs: list[Any]
    aggregates: list[Any]


def _ferveo() -> Any | None:
    try:
        return importlib.import_module("nucypher_core.ferveo")
    except ImportError:
        return None


def peer_name() -> str:
    """The package and, where it is installed, its version."""
    try:
        return f"{PACKAGE} {importlib.metadata.version(PACKAGE)}"
    except importlib.metadata.PackageNotFoundError:
        return PACKAGE


def _generate(ferveo: Any) -> _Ritual:
    keypairs = [ferveo.Keypair.random() for _ in range(MEMBERS)]
    addresses = [f"0x{index:040x}" for index in range(MEMBERS)]
    validators = [
        ferveo.Validator(address, keypair.public_key(), index)
        for index, (address, keypair) in enumerate(zip(addresses, keypairs, strict=True))
    ]
    views = [ferveo.Dkg(_RITUAL, MEMBERS, THRESHOLD, validators, me) for me in validators]
    messages = [
        ferveo.ValidatorMessage(me, view.generate_transcript()) for me, view in zip(validators, views, strict=True)
    ]
    aggregates = []
    for view in views:
        aggregate = view.aggregate_transcripts(messages)
        if not aggregate.verify(MEMBERS, messages):
            raise RuntimeError("the peer refuses its own transcripts")
        aggregates.append(aggregate)
    return _Ritual(views, keypairs, aggregates)


def measure_generation() -> dict[str, Any]:
    """`{"name", "n", "t", "cpu_ms"}`: CPU of all `MEMBERS` members together, each dealing and verifying all deals.

    `{"name", "absent": true}` where the package is not installed.
    """
    ferveo = _ferveo()
    if ferveo is None:
        return {"name": peer_name(), "absent": True}
    spent_ms = []
    for _ in range(ROUNDS):
        began_s = process_time()
        _generate(ferveo)
        spent_ms.append((process_time() - began_s) * 1e3)
    return {"name": peer_name(), "n": MEMBERS, "t": THRESHOLD, "cpu_ms": round(median(spent_ms), 1)}


def measure_decryption(rounds: int) -> dict[str, Any]:
    """`{"name", "n", "t", "us": {step: us}}` per order: one member's share (with the check of the ciphertext that the
    peer does in it), combining t shares, opening. `{"name", "absent": true}` where the package is not installed.

    CPU time, not wall time: a step is longer than a scheduler's time slice, and would count what else the machine does.
    """
    ferveo = _ferveo()
    if ferveo is None:
        return {"name": peer_name(), "absent": True}
    ritual = _generate(ferveo)
    message = bytes(MESSAGE_BYTES)
    public_key = ritual.aggregates[0].public_key
    ciphertext = ferveo.encrypt(message, _AAD, public_key)

    def share(member: int) -> Any:
        return ritual.aggregates[member].create_decryption_share_simple(
            ritual.views[member], ciphertext.header, _AAD, ritual.keypairs[member]
        )

    shares = [share(member) for member in range(THRESHOLD)]
    secret = ferveo.combine_decryption_shares_simple(shares)
    if bytes(ferveo.decrypt_with_shared_secret(ciphertext, _AAD, secret)) != message:
        raise RuntimeError("the peer does not open what it sealed")
    steps: dict[str, Callable[[], object]] = {
        "encrypt": lambda: ferveo.encrypt(message, _AAD, public_key),
        "check_share": lambda: share(0),
        "combine": lambda: ferveo.combine_decryption_shares_simple(shares),
        "open": lambda: ferveo.decrypt_with_shared_secret(ciphertext, _AAD, secret),
    }
    us: dict[str, list[float]] = {step: [] for step in STEPS}
    for _ in range(rounds):
        for step in STEPS:
            began_s = process_time()
            steps[step]()
            us[step].append((process_time() - began_s) * 1e6)
    medians = {step: round(median(values), 1) for step, values in us.items()}
    return {"name": peer_name(), "n": MEMBERS, "t": THRESHOLD, "us": medians}
