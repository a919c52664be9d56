"""The measurement of the cryptography has the promised shape; its figures are the machine's."""

import pytest

from mpc_sequencer.bench.crypto import STEPS, measure


def test_a_measurement_has_every_step_beside_its_floor() -> None:
    (size,) = measure([(4, 3)], 1)["sizes"]
    assert set(size) == {"n", "t", "us", "floor_us", "ratio"} and (size["n"], size["t"]) == (4, 3)
    for figures in (size["us"], size["floor_us"]):
        assert tuple(figures) == STEPS and all(value > 0 for value in figures.values())
    with pytest.raises(ValueError):
        measure([(4, 3)], 0)
