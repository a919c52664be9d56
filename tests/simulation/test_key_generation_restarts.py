"""One member loses power or its process at each record and secret it writes during a key generation, and comes back."""

from __future__ import annotations

import pytest
from keys_kit import Generation, outage, with_outages

NODE = 2
DOWN_MS = 120


@pytest.mark.parametrize("part", range(4))
def test_a_crash_at_any_record_of_a_generation_costs_nothing(part: int) -> None:
    whole = Generation(4)
    assert whole.run().violations == ()
    assert whole.simulation is not None
    writes = whole.simulation._writes[NODE]
    assert writes > 80
    for number in range(1 + part, writes - 30, 4):
        cause = ("power", "kill")[number // 4 % 2]
        struck = outage(NODE, 0, DOWN_MS, moment="writing", cause=cause, write_number=number)
        run = Generation(4, settle_ms=250, **with_outages(struck))
        assert run.run().violations == (), (number, cause)
        assert run.named() == set() and run.result.qualified == (1, 2, 3, 4)
        assert run.simulation is not None
        assert run.simulation.hosts[NODE].disk.vault.keys() == {"share-0"}
