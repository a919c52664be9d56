"""The object that ``mpcseq bench pipeline --json`` prints, from a run's summary and a measured size."""

from __future__ import annotations

import pytest

from mpc_sequencer.bench.pipeline import MEMBER_STEPS, figures

LATENCY = {name: {"p50": 1.0, "p99": 2.0} for name in ("receipt", "final", "fill")}
SIZE = {
    "us": {"encrypt": 1_000.0, **dict.fromkeys(MEMBER_STEPS, 20.0)},
    "floor_us": {"encrypt": 1_000.0, **dict.fromkeys(MEMBER_STEPS, 10.0)},
}


def summary(cpu_us: int | None) -> dict[str, object]:
    return {
        "nodes": 4,
        "orders_sealed": 400,
        "orders_final": 400,
        "latency_ms": LATENCY,
        "cpu_us_per_order_per_node": cpu_us,
        "audit": "pass",
        "key_ms": 2_500,
    }


@pytest.mark.parametrize(("cpu_us", "ratio"), [(125, 2.5), (None, None)])
def test_the_ratio_is_a_member_s_cpu_over_what_it_cannot_do_without(cpu_us: int | None, ratio: float | None) -> None:
    result = figures(summary(cpu_us), SIZE, 62.5, rate_per_s=20.0, duration_s=20.0)
    assert (result["floor_us_per_order"], result["crypto_us_per_order"]) == (50.0, 100.0), "sealing is the client's"
    assert result["ratio"] == ratio
    assert result["floor_beside_us_per_order"] == 62.5
    assert result["ratio_beside"] == (None if cpu_us is None else 2.0)
    assert result["orders_per_s"] == 20.0
    assert result["latency_ms"] == LATENCY


def test_without_a_floor_beside_the_run_there_is_no_ratio_to_it() -> None:
    result = figures(summary(125), SIZE, None, rate_per_s=20.0, duration_s=20.0)
    assert result["floor_beside_us_per_order"] is result["ratio_beside"] is None
