"""One thing wrong in an envelope, or in which of them a log holds, is exactly one finding of its own code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mpc_sequencer.core.actions import SELL
from tests.audit.audited_deployment import replace
from tests.audit.log_builder import LogBuilder
from tests.audit.log_samples import codes, first_batch


def test_an_envelope_without_its_sponsors_signature_is_found(tmp_path: Path) -> None:
    log = LogBuilder()
    order_id = log.order("alice", SELL, 100, 1)
    other = log.envelopes[log.order("alice", SELL, 101, 1)]
    log.envelopes[order_id] = replace(log.envelopes[order_id], sponsor_signature=other.sponsor_signature)
    log.list_all(order_id)
    log.block()
    assert codes(log, tmp_path) == ["envelope.sponsor"]


def test_an_order_lifted_without_its_envelope_is_found(tmp_path: Path) -> None:
    log = LogBuilder()
    first_batch(log, edit_envelopes=lambda envelopes: envelopes[:1], finality=False)
    assert codes(log, tmp_path) == ["block.body"]


def test_an_envelope_nobody_needs_is_found(tmp_path: Path) -> None:
    log = LogBuilder()
    spare = log.envelopes[log.order("carol", SELL, 300, 1)]
    first_batch(log, edit_envelopes=lambda envelopes: [*envelopes, spare])
    assert codes(log, tmp_path) == ["envelope.unneeded"]


@pytest.mark.parametrize(
    "changes",
    [
        {"chain_id": 1},
        {"settlement": b"\x12" * 20},
        {"key_id": b"\x12" * 32},
        {"size_bucket": 512},
        {"valid_until_ms": 9_000_000},
    ],
)
def test_a_label_for_another_deployment_size_or_span_is_found(
    changes: dict[str, Any], tmp_path: Path
) -> None:
    log = LogBuilder()
    good = log.envelopes[log.order("alice", SELL, 100, 1)]
    order_id = log.envelope(log.label(**changes), good.ciphertext).order_id()
    log.list_all(order_id)
    log.block(finality=False)
    assert codes(log, tmp_path) == ["envelope.label", "block.body"]


def test_a_ciphertext_whose_proof_fails_is_found_although_nobody_opened_it(tmp_path: Path) -> None:
    log = LogBuilder()
    good = log.envelopes[log.order("alice", SELL, 100, 1)]
    order_id = log.envelope(log.label(valid_until_ms=1_500_000), good.ciphertext).order_id()
    log.list_all(order_id)
    log.block()
    assert codes(log, tmp_path) == ["envelope.ciphertext"]
