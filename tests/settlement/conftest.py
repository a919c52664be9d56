"""An embedded chain for the whole session of the settlement tests, a node of its own where one is needed, and a fresh
deployment on either."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mpc_sequencer.core.signing import Signer
from mpc_sequencer.settlement.devchain import DEV_SECRET
from mpc_sequencer.settlement.embedded import EmbeddedChain, start_embedded
from tests.anvil_node import Anvil, anvil
from tests.settlement.deployed_kit import Deployment, deploy


@pytest.fixture(scope="session")
def embedded() -> Iterator[EmbeddedChain]:
    with start_embedded() as chain:
        yield chain


@pytest.fixture
def deployment(embedded: EmbeddedChain) -> Iterator[Deployment]:
    """Results need no order commits here."""
    made = deploy(embedded.url, commits_required=False)
    yield made
    made.chain.close()


@pytest.fixture
def bound(embedded: EmbeddedChain) -> Iterator[Deployment]:
    """Results need order commits here."""
    made = deploy(embedded.url)
    yield made
    made.chain.close()


@pytest.fixture
def anvil_node() -> Iterator[Anvil]:
    """A node of its own for a test that takes blocks back or stops them."""
    with anvil("--slots-in-an-epoch", "1") as node:
        node.give(Signer(DEV_SECRET).address, 10**24)
        yield node


@pytest.fixture
def on_anvil(anvil_node: Anvil) -> Iterator[Deployment]:
    made = deploy(anvil_node.url, rotation_delay_blocks=3)
    yield made
    made.chain.close()
