"""When a member takes itself for loaded: orders wait, or the last final block held many."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from mpc_sequencer.core import limits
from mpc_sequencer.core.application import NodeApplication
from mpc_sequencer.core.node import NodeCore

MANY = limits.BLOCK_LOADED_ORDERS


@pytest.mark.parametrize(
    ("pending", "last_batch", "loaded"), [(MANY - 1, MANY - 1, False), (MANY, 0, True), (0, MANY, True), (0, 0, False)]
)
def test_blocks_fill_while_many_wait_and_right_after_a_large_block(pending: int, last_batch: int, loaded: bool) -> None:
    core: Any = SimpleNamespace(pool=SimpleNamespace(pending=pending), last_batch_orders=last_batch)
    assert NodeApplication(cast(NodeCore, core)).loaded() is loaded
