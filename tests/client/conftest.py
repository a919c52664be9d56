"""A small deployment for the client's tests: real keys, no processes."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from client_key_kit import OrderMaker, Signers, certify, with_key, without_key
from epoch_world import World, two_epochs

from mpc_sequencer.client import SealedOrder, membership
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.signing import Signer
from mpc_sequencer.core.types import NO_SIGNATURE, KeyCertificate, Receipt, with_signature
from mpc_sequencer.devnet.layout import Devnet, init_devnet
from mpc_sequencer.node.keystore import open_keystore

NOW_MS = 1_700_000_000_000


@pytest.fixture(scope="session")
def devnet(tmp_path_factory: pytest.TempPathFactory) -> Devnet:
    folder: Path = tmp_path_factory.mktemp("client") / "devnet"
    return init_devnet(
        folder,
        nodes=4,
        threshold=None,
        accounts=2,
        deployer=bytes(20),
        ports=[7801, 7802, 7803, 7804],
        chain_url=None,
    )


@pytest.fixture(scope="session")
def committee(devnet: Devnet) -> Committee:
    """With a key that the committee file gives."""
    return Committee(with_key(devnet.file.genesis))


@pytest.fixture
def keyless(devnet: Devnet) -> Committee:
    """The same members, their key still to be generated."""
    return Committee(without_key(devnet.file.genesis))


@pytest.fixture(scope="session")
def member_signers(devnet: Devnet) -> Signers:
    passphrase = devnet.passphrase_file.read_text().strip()
    return tuple(
        Signer(open_keystore(devnet.node_folder(node) / "keystore.json", passphrase).consensus_secret)
        for node in range(4)
    )


@pytest.fixture
def certificate(keyless: Committee, member_signers: Signers) -> KeyCertificate:
    return certify(keyless, member_signers)


@pytest.fixture(scope="session")
def trader() -> Signer:
    return Signer(b"\x11" * 32)


@pytest.fixture
def make_order(committee: Committee, trader: Signer) -> OrderMaker:
    return OrderMaker(committee, trader)


@pytest.fixture
def sealed_for(trader: Signer) -> Callable[[Committee], SealedOrder]:
    """An order, valid now, for a committee of the test's own."""
    return lambda committee: OrderMaker(committee, trader)(time.time_ns() // 1_000_000)


class ReceiptMaker:
    """Receipts as the members sign them."""

    def __init__(self, committee: Committee, signers: Signers) -> None:
        self._committee = committee
        self._signers = signers

    def __call__(
        self,
        order_id: bytes,
        node: int,
        *,
        signed_by: int | None = None,
        list_number: int = 1,
        epoch: int = 0,
        incarnation: int = 0,
    ) -> Receipt:
        receipt = Receipt(
            epoch=epoch,
            incarnation=incarnation,
            order_id=order_id,
            node=node,
            list_number=list_number,
            received_ms=NOW_MS,
            signature=NO_SIGNATURE,
        )
        signer = self._signers[node if signed_by is None else signed_by]
        return with_signature(receipt, signer.sign_digest(self._committee.digest(receipt.struct_hash())))


@pytest.fixture
def make_receipt(committee: Committee, member_signers: Signers) -> ReceiptMaker:
    return ReceiptMaker(committee, member_signers)


@pytest.fixture
def world() -> World:
    return two_epochs()


@pytest.fixture
def quick_poll(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(membership, "EPOCH_POLL_S", 0.05)
    monkeypatch.setattr(membership, "EPOCH_POLL_DOWN_S", 0.02)


@pytest.fixture
def no_poll(quick_poll: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what members say, or new links, make the client ask."""
    monkeypatch.setattr(membership, "EPOCH_POLL_S", 1e6)
    monkeypatch.setattr(membership, "EPOCH_POLL_DOWN_S", 1e6)
