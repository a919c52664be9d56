"""Fixtures of the contract tests; the shared parts are in settlement_house."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import boa
import pytest

# Test folders are no packages; this makes the shared module importable by its name.
sys.path.insert(0, str(Path(__file__).resolve().parent))

from settlement_house import ALICE, BOB, House, deploy_house


@pytest.fixture(scope="module")
def base_house() -> House:
    return deploy_house()


@pytest.fixture
def house(base_house: House) -> Iterator[House]:
    """Two assets, four members, quorum three; Alice and Bob hold 1,000 of each; started. Undone after the
    test.
    """
    with boa.env.anchor():
        fresh = replace(base_house, posted=[])
        for asset in (0, 1):
            for account in (ALICE, BOB):
                fresh.fund(account, asset, 1_000)
        fresh.start()
        yield fresh
