"""The measurements of the cryptography have the promised shape; their figures are the machine's."""

import sys

import pytest

from mpc_sequencer.bench import dkg, peer
from mpc_sequencer.bench.crypto import STEPS, measure


def test_a_measurement_has_every_step_beside_its_floor() -> None:
    result = measure([(4, 3)], 1)
    (size,) = result["sizes"]
    assert set(size) == {"n", "t", "us", "floor_us", "ratio"} and (size["n"], size["t"]) == (4, 3)
    for figures in (size["us"], size["floor_us"]):
        assert tuple(figures) == STEPS and all(value > 0 for value in figures.values())
    with pytest.raises(ValueError):
        measure([(4, 3)], 0)
    assert result["peer"].get("absent") or set(result["peer"]["us"]) == set(peer.STEPS)


def test_a_measurement_of_key_generation_has_each_size_beside_the_peer() -> None:
    result = dkg.measure([(4, 3)], 1)
    (size,) = result["sizes"]
    assert (size["n"], size["t"]) == (4, 3)
    for kind in ("generate", "reshare"):
        assert set(size[kind]) == {"wall_ms", "cpu_ms", "bytes"} and all(value > 0 for value in size[kind].values())
    assert size["generate"]["bytes"] == 98 + (1 + 3 * 33 + 4 * 177) + 1 + (1 + 3 * 33 + 64) + 33
    assert set(result["peer"]) in ({"name", "absent"}, {"name", "n", "t", "cpu_ms"})
    with pytest.raises(ValueError):
        dkg.measure([(4, 3)], 0)


def test_an_absent_peer_is_named_as_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nucypher_core.ferveo", None)
    for found in (peer.measure_generation(), peer.measure_decryption(1)):
        assert found["absent"] is True and found["name"].startswith("nucypher-core")
