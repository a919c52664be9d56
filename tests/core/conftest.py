"""Lets tests import the helper modules of this folder."""

import sys
from pathlib import Path

import pytest

from mpc_sequencer.core import limits

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def short_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Members keep few final blocks in memory, so that a late one needs their logs."""
    monkeypatch.setattr(limits, "BLOCKS_KEPT_HEIGHTS", 4)
