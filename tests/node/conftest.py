"""A committee of four with its certificates, and members' ports on loopback."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from mpc_sequencer.core.committee import Genesis

sys.path.insert(0, str(Path(__file__).parent.parent / "core"))  # `core_kit`, for the tests of the disk
sys.path.insert(0, str(Path(__file__).parent))  # `node_net`

from house_kit import MEMBERS, House, make_genesis, make_house
from storage_kit import Driven


@pytest.fixture
def house() -> Iterator[House]:
    """Four members at free ports. The ports stay bound, without SO_REUSEPORT, only while they are picked."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(MEMBERS)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        ports = [one.getsockname()[1] for one in sockets]
    yield make_house(ports)


@pytest.fixture
def genesis() -> Genesis:
    return make_genesis()


@pytest.fixture
def driven(tmp_path: Path) -> Iterator[Driven]:
    made = Driven(tmp_path / "data")
    yield made
    made.close()
