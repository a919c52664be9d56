"""The object that ``mpcseq bench pipeline --json`` prints, from a run's summary and measured floors."""

from __future__ import annotations

import pytest

from mpc_sequencer.bench.beside import Floor
from mpc_sequencer.bench.pipeline import WARM_STEPS, figures

LATENCY = {name: {"p50": 1.0, "p99": 2.0} for name in ("receipt", "final", "fill")}
SIZE = {
    "us": {"encrypt": 1_000.0, **dict.fromkeys(WARM_STEPS, 20.0)},
    "floor_us": {"encrypt": 1_000.0, **dict.fromkeys(WARM_STEPS, 10.0)},
}


def summary(cpu_us: int | None, batches: int = 10) -> dict[str, object]:
    return {
        "nodes": 4,
        "orders_sealed": 400,
        "orders_final": 400,
        "batches": batches,
        "latency_ms": LATENCY,
        "cpu_us_per_order_per_node": cpu_us,
        "audit": "pass",
        "key_ms": 2_500,
    }


@pytest.mark.parametrize(("cpu_us", "ratios"), [(125, (2.0, 2.5, 2.5)), (None, (None, None, None))])
def test_a_member_s_cpu_is_held_against_what_it_cannot_do_without(
    cpu_us: int | None, ratios: tuple[float | None, ...]
) -> None:
    during, after = Floor({"check": 30.0, "share": 20.0}, {"sign": 500.0}), Floor({"check": 40.0}, {"sign": 400.0})
    result = figures(summary(cpu_us), SIZE, during, after, rate_per_s=20.0, duration_s=20.0)
    assert result["orders_per_batch"] == 40.0
    assert (result["floor_us"], result["floor_idle_us"]) == (62.5, 50.0), "a batch's part is shared by its orders"
    assert (result["floor_warm_us"], result["crypto_warm_us"]) == (50.0, 100.0), "sealing is the client's"
    assert (result["ratio"], result["ratio_idle"], result["ratio_warm"]) == ratios
    assert result["orders_per_s"] == 20.0
    assert result["latency_ms"] == LATENCY


def test_without_a_floor_beside_the_run_there_is_no_ratio_to_it() -> None:
    result = figures(summary(125), SIZE, None, None, rate_per_s=20.0, duration_s=20.0)
    assert result["floor_us"] is result["ratio"] is result["floor_idle_us"] is result["ratio_idle"] is None


def test_a_run_in_which_nothing_became_final_has_a_floor_all_the_same() -> None:
    nothing = summary(125, batches=0) | {"orders_final": 0}
    floor = Floor({"check": 50.0}, {"sign": 500.0})
    assert figures(nothing, SIZE, floor, None, rate_per_s=20.0, duration_s=20.0)["floor_us"] == 550.0
