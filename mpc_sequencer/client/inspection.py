"""Everything an envelope says, and the verdict of each check a member would make.

The checks are those of :mod:`mpc_sequencer.core.envelopes`, run one by one so that a reader sees all that
is wrong, not only the first. A check that needs something an earlier one could not establish is
``skipped``, and so is one that needs the threshold key where ``committee`` does not know it yet. Credit,
duplicates and a member's own bounds are the member's to judge and not among them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

from mpc_sequencer.client.errors import Refusal
from mpc_sequencer.core import domains, envelopes, limits
from mpc_sequencer.core.codec import decode
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.types import Envelope
from threshold import Ciphertext, Label, ThresholdError, check

ENVELOPE_FILE_BYTES_MAX: Final = 4 * limits.ENVELOPE_BYTES_MAX
HEX_PREFIX: Final = b"0x"

Verdict = Literal["ok", "refused", "skipped"]


@dataclass(frozen=True, slots=True)
class Check:
    """One check's verdict; ``refusal`` is set exactly where it is ``refused``."""

    name: str
    verdict: Verdict
    refusal: Refusal | None = None


@dataclass(frozen=True, slots=True)
class Inspection:
    """What an envelope's bytes hold as far as they decode, and the checks in a member's order."""

    envelope: Envelope | None
    label: Label | None
    ciphertext: Ciphertext | None
    checks: tuple[Check, ...]

    @property
    def valid(self) -> bool:
        """Whether every check passed."""
        return all(check.verdict == "ok" for check in self.checks)

    @property
    def first_refusal(self) -> Refusal | None:
        """The refusal a member would answer with."""
        return next((check.refusal for check in self.checks if check.refusal is not None), None)


def parse_envelope(data: bytes) -> Envelope:
    """The envelope of a file: canonical bytes, or the same as one line of hex starting with 0x.

    Raises :class:`ProtocolError` with a ``wire.*`` code.
    """
    if len(data) > ENVELOPE_FILE_BYTES_MAX:
        raise ProtocolError(
            "wire.size", "Envelope", f"{len(data)} bytes", f"at most {ENVELOPE_FILE_BYTES_MAX} bytes"
        )
    if data.startswith(HEX_PREFIX):
        try:
            data = bytes.fromhex(data[2:].decode("ascii").removesuffix("\n"))
        except ValueError:
            raise ProtocolError("wire.malformed", "Envelope", "no hex after 0x", "hex digits only") from None
    envelope: Envelope = decode(Envelope, data, bytes_max=ENVELOPE_FILE_BYTES_MAX)
    return envelope


def inspect_envelope(committee: Committee, data: bytes, now_ms: int) -> Inspection:
    """Decode ``data`` and run every check against ``committee`` at ``now_ms``. Never raises on bad data."""
    checks: list[Check] = []

    def run(name: str, function: Callable[[], Any], *needs: object) -> Any:
        if any(need is None for need in needs):
            checks.append(Check(name, "skipped"))
            return None
        try:
            value = function()
        except (ProtocolError, ThresholdError) as refusal:
            checks.append(Check(name, "refused", refusal))
            return None
        checks.append(Check(name, "ok"))
        return value

    envelope = run("encoding", lambda: parse_envelope(data))
    label = run("label", lambda: Label.decode(envelope.label), envelope)
    keys = None if label is None else committee.keys
    run("deployment", lambda: envelopes.check_deployment(committee, label), keys)
    run("window", lambda: envelopes.check_window(label, now_ms), label)
    run("span", lambda: envelopes.check_span(label), label)
    ciphertext = run("ciphertext", lambda: Ciphertext.decode(envelope.ciphertext, label.size_bucket), label)
    run("sealing proof", lambda: _check_sealing(committee, envelope), ciphertext, keys)
    run("sponsor signature", lambda: _check_sponsor(committee, envelope, label), label)
    return Inspection(envelope, label, ciphertext, tuple(checks))


def _check_sealing(committee: Committee, envelope: Envelope) -> object:
    key = committee.sealing_key
    return check(key, envelope.label, envelope.ciphertext, buckets=committee.size_buckets)


def _check_sponsor(committee: Committee, envelope: Envelope, label: Label) -> None:
    order_id = envelope.order_id()
    envelopes.check_sponsor(committee, order_id, label.sponsor, envelope.sponsor_signature)


def describe(inspection: Inspection) -> dict[str, Any]:
    """The inspection as plain JSON values: every field, label and ciphertext also as hex, every verdict."""
    envelope, label, ciphertext = inspection.envelope, inspection.label, inspection.ciphertext
    return {
        "order_id": envelope.order_id().hex() if envelope else None,
        "envelope_hash": envelope.envelope_hash().hex() if envelope else None,
        "version": envelope.version if envelope else None,
        "label": None if label is None else _label_fields(label),
        "label_hex": envelope.label.hex() if envelope else None,
        "label_hash": domains.LABEL_HASH(envelope.label).hex() if envelope else None,
        "ciphertext": None if ciphertext is None else _ciphertext_fields(ciphertext),
        "ciphertext_hex": envelope.ciphertext.hex() if envelope else None,
        "sponsor_signature": envelope.sponsor_signature.hex() if envelope else None,
        "checks": [_check_fields(check) for check in inspection.checks],
        "valid": inspection.valid,
    }


def _label_fields(label: Label) -> dict[str, Any]:
    return {
        "chain_id": label.chain_id,
        "settlement": "0x" + label.settlement.hex(),
        "key_id": label.key_id.hex(),
        "sponsor": "0x" + label.sponsor.hex(),
        "valid_from_ms": label.valid_from_ms,
        "valid_until_ms": label.valid_until_ms,
        "size_bucket_bytes": label.size_bucket,
    }


def _ciphertext_fields(ciphertext: Ciphertext) -> dict[str, Any]:
    return {
        "u": ciphertext.u.hex(),
        "v": ciphertext.v.hex(),
        "e": ciphertext.e.hex(),
        "z": ciphertext.z.hex(),
        "c_bytes": len(ciphertext.c),
        "c_sha256": hashlib.sha256(ciphertext.c).hexdigest(),
    }


def _check_fields(check: Check) -> dict[str, Any]:
    fields: dict[str, Any] = {"check": check.name, "verdict": check.verdict}
    if check.refusal is not None:
        refusal = check.refusal
        fields |= {
            "code": refusal.code,
            "field": refusal.field,
            "seen": refusal.seen,
            "expected": refusal.expected,
        }
    return fields
