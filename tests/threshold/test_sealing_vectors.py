"""The library against the published vectors, which the reference made."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
from sealing_kit import refusal

import threshold
from threshold import BatchProof, BundleContext, Label, SealingKey, SecretShare

VECTORS_FOLDER = Path(__file__).parent.parent / "vectors"
FILE: dict[str, Any] = json.loads((VECTORS_FOLDER / "sealing.json").read_text())
KEY = SealingKey(bytes.fromhex(FILE["public_key"]), FILE["chain_id"], bytes.fromhex(FILE["settlement"]))
SECRETS = {int(i): SecretShare(int(i), bytes.fromhex(x)) for i, x in FILE["secret_shares"].items()}


def each(section: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("vector", FILE[section], ids=lambda vector: vector["name"])


def unhex(vector: dict[str, Any], *names: str) -> list[bytes]:
    return [bytes.fromhex(vector[name]) for name in names]


def test_the_file_is_what_its_script_makes() -> None:
    spec = importlib.util.spec_from_file_location("make_sealing", VECTORS_FOLDER / "make_sealing.py")
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert script.main(["--check"]) == 0


def test_constants() -> None:
    assert KEY.key_id.hex() == FILE["key_id"]
    assert threshold.second_generator().hex() == FILE["second_generator"]


@each("valid")
def test_valid(vector: dict[str, Any]) -> None:
    label, sigma, padded, ciphertext, point = unhex(vector, "label", "sigma", "padded", "ciphertext", "point")
    parsed = Label.decode(label)
    assert parsed.encode() == label
    fields = vector["label_fields"]
    assert (parsed.chain_id, parsed.settlement.hex(), parsed.key_id.hex(), parsed.sponsor.hex()) == (
        fields["chain_id"], fields["settlement"], fields["key"], fields["sponsor"],
    )  # fmt: skip
    assert (parsed.valid_from_ms, parsed.valid_until_ms, parsed.size_bucket) == (
        fields["valid_from_ms"], fields["valid_until_ms"], fields["bucket"],
    )  # fmt: skip
    if vector["message"] is not None:
        assert threshold.seal(KEY, parsed, bytes.fromhex(vector["message"]), sigma=sigma) == ciphertext
    checked = threshold.check(KEY, label, ciphertext, buckets=FILE["buckets"])
    shares = {i: threshold.share(secret, checked) for i, secret in SECRETS.items()}
    assert {str(i): data.hex() for i, data in shares.items()} == vector["shares"]
    del shares[2]
    assert threshold.combine(shares, FILE["t"]) == point
    opening = threshold.open_ciphertext(KEY, checked, point)
    assert (opening.sigma, opening.padded) == (sigma, padded)
    assert (None if opening.message is None else opening.message.hex()) == vector["message"]
    assert (opening.malformed_reason is None) == (opening.message is not None)
    assert threshold.verify_opening(KEY, label, ciphertext, sigma, padded)


@each("refused")
def test_refused(vector: dict[str, Any]) -> None:
    label, ciphertext = unhex(vector, "label", "ciphertext")
    with refusal(vector["error"]):
        threshold.check(KEY, label, ciphertext, buckets=FILE["buckets"])


@each("unopenable")
def test_unopenable(vector: dict[str, Any]) -> None:
    label, ciphertext, point = unhex(vector, "label", "ciphertext", "point")
    checked = threshold.check(KEY, label, ciphertext, buckets=FILE["buckets"])
    with refusal("opening.failed"):
        threshold.open_ciphertext(KEY, checked, point)


@each("bundles")
def test_bundles(vector: dict[str, Any]) -> None:
    verification_key, block_id, entropy, proof = unhex(
        vector, "verification_key", "block_id", "entropy", "proof"
    )
    us, shares = ([bytes.fromhex(data) for data in vector[name]] for name in ("us", "shares"))
    context = BundleContext(KEY.key_id, vector["epoch"], block_id, vector["index"])
    secret = SECRETS[vector["index"]]
    assert secret.verification_key() == verification_key
    assert threshold.prove_bundle(secret, context, us, shares, entropy=entropy).encode() == proof
    threshold.verify_bundle(verification_key, context, us, shares, BatchProof.decode(proof))
