"""`mpcseq evidence`: 0 convicts, 1 does not, 2 cannot be read; a broken receipt becomes a file that convicts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mpc_sequencer.client import ReceiptStore
from mpc_sequencer.core.codec import decode, encode
from mpc_sequencer.core.evidence import encode_file
from mpc_sequencer.core.lognote import log_origin
from mpc_sequencer.core.offences import ListEquivocation
from mpc_sequencer.core.signing import Signer
from mpc_sequencer.core.transcript import GenesisEntry, ListEntry
from mpc_sequencer.core.types import NO_SIGNATURE, ZERO_HASH, Envelope, OrderList, Receipt, with_signature
from mpc_sequencer.devnet.layout import Devnet
from mpc_sequencer.node.keystore import NodeSecrets, open_keystore
from mpc_sequencer.node.translog import TransparencyLog

Run = Callable[..., Any]
GUILTY = 2
OTHER_ID = b"\x07" * 32


@pytest.fixture(scope="module")
def secrets(devnet: Devnet) -> NodeSecrets:
    passphrase = devnet.passphrase_file.read_text().strip()
    return open_keystore(devnet.node_folder(GUILTY) / "keystore.json", passphrase)


class Member:
    """Member GUILTY, who signs what a test wants."""

    def __init__(self, devnet: Devnet, secrets: NodeSecrets) -> None:
        self.committee = devnet.file.committee
        self.secrets = secrets
        self.log_key = self.committee.genesis.members[GUILTY].log_key
        self.signer = Signer(secrets.consensus_secret)

    def sign(self, value: Any) -> Any:
        return with_signature(value, self.signer.sign_digest(self.committee.digest(value.struct_hash())))

    def order_list(self, *entries: bytes, number: int = 1) -> OrderList:
        return self.sign(OrderList(0, 0, GUILTY, number, ZERO_HASH, entries, NO_SIGNATURE))  # type: ignore[no-any-return]

    def receipt(self, order_id: bytes, number: int) -> Receipt:
        return self.sign(Receipt(0, 0, order_id, GUILTY, number, 5, NO_SIGNATURE))  # type: ignore[no-any-return]

    def log(self, folder: Path, *lists: OrderList) -> Path:
        """A log of this member that holds the lists."""
        log = TransparencyLog(folder, log_origin(self.committee.genesis_id, self.log_key), self.secrets.log_seed)
        log.append(encode(GenesisEntry(self.committee.genesis_id, self.log_key)))
        for one in lists:
            log.append(encode(ListEntry(one)))
        log.checkpoint(sync=False)
        return folder


@pytest.fixture
def member(devnet: Devnet, secrets: NodeSecrets) -> Member:
    return Member(devnet, secrets)


def write(path: Path, member: Member, first: OrderList, second: OrderList) -> Path:
    path.write_bytes(encode_file(ListEquivocation(first, second), member.committee))
    return path


def test_evidence_that_convicts(mpcseq: Run, devnet: Devnet, member: Member, tmp_path: Path) -> None:
    path = write(tmp_path / "x.evidence", member, member.order_list(b"\x01" * 32), member.order_list(OTHER_ID))
    ran = mpcseq("evidence", "verify", path, "--committee", devnet.committee_path, "--json")
    assert ran.status == 0, ran.err
    assert ran.json == {
        "verdict": "convicted",
        "kind": "list-equivocation",
        "node": GUILTY,
        "epoch": 0,
        "address": "0x" + member.committee.addresses[GUILTY].hex(),
        "detail": ran.json["detail"],
    }
    assert ran.json["detail"].endswith("both with number 1")
    shown = mpcseq("evidence", "verify", path, "--committee", devnet.committee_path)
    assert shown.status == 0 and "convicted" in shown.out and "list-equivocation" in shown.out


def test_evidence_that_does_not_convict(mpcseq: Run, devnet: Devnet, member: Member, tmp_path: Path) -> None:
    one = member.order_list(OTHER_ID)
    path = write(tmp_path / "x.evidence", member, one, one)
    ran = mpcseq("evidence", "verify", path, "--committee", devnet.committee_path, "--json")
    assert ran.status == 1
    assert (ran.json["verdict"], ran.json["code"]) == ("not convicted", "evidence.same")
    shown = mpcseq("evidence", "verify", path, "--committee", devnet.committee_path)
    assert shown.status == 1 and "not convicted" in shown.out and "both parts" in shown.out


def test_evidence_about_another_committee(mpcseq: Run, devnet: Devnet, member: Member, tmp_path: Path) -> None:
    path = write(tmp_path / "x.evidence", member, member.order_list(b"\x01" * 32), member.order_list(OTHER_ID))
    data = path.read_bytes()
    assert data.count(member.committee.genesis_id) == 1
    path.write_bytes(data.replace(member.committee.genesis_id, bytes(32)))
    ran = mpcseq("evidence", "verify", path, "--committee", devnet.committee_path, "--json")
    assert (ran.status, ran.json["code"]) == (1, "evidence.genesis")


def test_what_is_no_evidence_file(mpcseq: Run, devnet: Devnet, tmp_path: Path) -> None:
    for content, code in ((b"hello", "evidence.file"), (b"mpc_sequencer evidence v1\n\x00", "wire.")):
        (tmp_path / "x").write_bytes(content)
        cause, hint = mpcseq("evidence", "verify", tmp_path / "x", "--committee", devnet.committee_path).error()
        assert cause.startswith(code) and hint
    cause, _ = mpcseq("evidence", "verify", tmp_path / "none", "--committee", devnet.committee_path).error()
    assert "none" in cause


def stored(devnet: Devnet, sealed: Path, member: Member, number: int, path: Path) -> tuple[Path, bytes]:
    envelope: Envelope = decode(Envelope, sealed.read_bytes())
    order_id = envelope.order_id()
    with ReceiptStore(path, devnet.file.committee) as store:
        store.append([(envelope, member.receipt(order_id, number))])
    return path, order_id


def test_a_broken_receipt_becomes_evidence_that_convicts(
    mpcseq: Run, devnet: Devnet, sealed: Path, member: Member, tmp_path: Path
) -> None:
    receipts, order_id = stored(devnet, sealed, member, 1, tmp_path / "receipts")
    log = member.log(tmp_path / "log", member.order_list(OTHER_ID), member.order_list(order_id, number=2))
    arguments = ["evidence", "receipt", "--receipts", receipts, "--log", log, "--out", tmp_path / "out"]
    ran = mpcseq(*arguments, "--committee", devnet.committee_path, "--json")
    assert ran.status == 1, ran.err
    assert (ran.json["kept"], ran.json["open"], ran.json["broken"]) == (0, 0, 1)
    (written,) = ran.json["files"]
    verified = mpcseq("evidence", "verify", written, "--committee", devnet.committee_path, "--json")
    assert (verified.status, verified.json["kind"], verified.json["node"]) == (0, "broken-receipt", GUILTY)
    assert order_id.hex() in verified.json["detail"]


@pytest.mark.parametrize(("number", "expected"), [(2, "kept"), (3, "open")])
def test_a_receipt_that_is_kept_or_not_due_leaves_no_evidence(
    mpcseq: Run, devnet: Devnet, sealed: Path, member: Member, tmp_path: Path, number: int, expected: str
) -> None:
    receipts, order_id = stored(devnet, sealed, member, number, tmp_path / "receipts")
    log = member.log(tmp_path / "log", member.order_list(OTHER_ID), member.order_list(order_id, number=2))
    arguments = ["evidence", "receipt", "--receipts", receipts, "--log", log, "--out", tmp_path / "out"]
    ran = mpcseq(*arguments, "--committee", devnet.committee_path, "--json")
    assert ran.status == 0, ran.err
    assert ran.json == {"kept": 0, "open": 0, "broken": 0, "files": []} | {expected: 1}
    assert not (tmp_path / "out").exists()


def test_a_log_that_is_damaged_is_not_judged_by(
    mpcseq: Run, devnet: Devnet, sealed: Path, member: Member, tmp_path: Path
) -> None:
    receipts, _ = stored(devnet, sealed, member, 1, tmp_path / "receipts")
    log = member.log(tmp_path / "log", member.order_list(OTHER_ID))
    (entries,) = (log / "tile" / "entries").rglob("[0-9]")
    entries.write_bytes(entries.read_bytes()[:-1] + b"\x00")
    arguments = ["evidence", "receipt", "--receipts", receipts, "--log", log]
    cause, _ = mpcseq(*arguments, "--committee", devnet.committee_path).error()
    assert "cannot be read" in cause
    shown = mpcseq(*arguments, "--committee", devnet.committee_path, "--json")
    assert set(json.loads(shown.err)) == {"error", "hint"}
