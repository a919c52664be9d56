"""Receipts: a member's signed promise that an order is in exactly one of its lists, and where a trader
keeps them.

A receipt is worth something only if it is this deployment's, this member's, about this order, and signed. A
member that answers with anything else has broken the protocol. The store keeps each receipt beside the
envelope it is about: the two and the member's signed list are all that proves a broken promise later, to
anybody, without the member's help.

A receipt names its epoch. What proves the members of later epochs than the first stands beside the receipt file, in a
file of the same name and ``.epochs`` (:mod:`mpc_sequencer.client.epochs_file`): so a receipt of an epoch that is long
over is still verified with the first committee's file alone.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final

from mpc_sequencer.client.epochs_file import beside, load_epochs, save_epochs
from mpc_sequencer.client.errors import MemberFault
from mpc_sequencer.core.codec import decode, encode
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.errors import ConfigError, ProtocolError
from mpc_sequencer.core.nesting import hold_nesting
from mpc_sequencer.core.types import Envelope, Receipt

RECEIPTS_VERSION: Final = 1
LINE_BYTES_MAX: Final = 16_384
_FIELDS: Final = {"version", "genesis", "envelope", "receipt"}


def check_receipt(committee: Committee, receipt: Receipt, order_id: bytes, node: int) -> None:
    """Refuse a receipt that is not member ``node``'s signed promise about ``order_id``
    (:class:`MemberFault`).
    """
    try:
        if receipt.order_id != order_id:
            raise ProtocolError("wire.bound", "Receipt.order_id", receipt.order_id, order_id.hex())
        if receipt.node != node:
            raise ProtocolError("member.sender", "Receipt.node", receipt.node, node)
        if receipt.list_number < 1:
            raise ProtocolError("list.number", "Receipt.list_number", receipt.list_number, "1 or more")
        committee.check_value(receipt)
    except ProtocolError as refusal:
        raise MemberFault(node, refusal) from None


@dataclass(frozen=True, slots=True)
class StoredReceipt:
    """One line of a receipt file."""

    genesis: bytes
    envelope: Envelope
    receipt: Receipt


class ReceiptStore:
    """An append-only file of receipts, one JSON object per line, created with mode 0600. Not safe for
    threads.
    """

    def __init__(self, path: Path, committee: Committee) -> None:
        self.path = path
        self._genesis = committee.genesis_id.hex()
        self._epoch = max(load_epochs(beside(path), committee)) if committee.origin is None else committee.epoch
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigError(
                f"cannot open the receipt file {path}: {error.strerror}", "choose a writable path"
            ) from None
        self._file = os.fdopen(descriptor, "ab")

    def follow(self, committee: Committee) -> None:
        """Keep what proves ``committee`` beside the receipts, where that is news. Raises :class:`ConfigError`."""
        if committee.epoch > self._epoch:
            save_epochs(beside(self.path), committee)
            self._epoch = committee.epoch

    def append(self, pairs: Iterable[tuple[Envelope, Receipt]]) -> None:
        """Append receipts with the envelopes they are about, on disk when it returns."""
        lines = [
            json.dumps(
                {
                    "version": RECEIPTS_VERSION,
                    "genesis": self._genesis,
                    "envelope": encode(envelope).hex(),
                    "receipt": encode(receipt).hex(),
                }
            )
            for envelope, receipt in pairs
        ]
        if not lines:
            return
        self._file.write(("\n".join(lines) + "\n").encode())
        self._file.flush()
        os.fdatasync(self._file.fileno())

    def close(self) -> None:
        """Close the file; harmless when closed."""
        self._file.close()

    def __enter__(self) -> ReceiptStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_receipts(path: Path) -> Iterator[StoredReceipt]:
    """Read a receipt file, strictly. A last line without its end (a crash while writing) is passed over.

    Raises :class:`ConfigError` naming the line for anything else that is no stored receipt.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise ConfigError(
            f"cannot read the receipt file {path}: {error.strerror}", "check the path"
        ) from None
    with file:
        number = 0
        while line := file.readline(LINE_BYTES_MAX + 1):
            number += 1
            if not line.endswith(b"\n") and len(line) <= LINE_BYTES_MAX:
                return
            yield _parse_line(path, number, line)


def _parse_line(path: Path, number: int, line: bytes) -> StoredReceipt:
    try:
        if len(line) > LINE_BYTES_MAX:
            raise ValueError(f"the line is longer than {LINE_BYTES_MAX} bytes")
        hold_nesting()
        fields = json.loads(line)
        if not isinstance(fields, dict) or set(fields) != _FIELDS:
            raise ValueError(f"expected exactly the fields {sorted(_FIELDS)}")
        if fields["version"] != RECEIPTS_VERSION:
            raise ValueError(f"version is {fields['version']!r}, expected {RECEIPTS_VERSION}")
        genesis = bytes.fromhex(fields["genesis"])
        envelope: Envelope = decode(Envelope, bytes.fromhex(fields["envelope"]))
        receipt: Receipt = decode(Receipt, bytes.fromhex(fields["receipt"]))
        if len(genesis) != 32 or receipt.order_id != envelope.order_id():
            raise ValueError("the receipt is not about the envelope beside it")
    except (ValueError, TypeError, RecursionError) as error:
        raise ConfigError(
            f"line {number} of the receipt file {path} is no receipt: {error}", "restore the file from a copy"
        ) from None
    return StoredReceipt(genesis, envelope, receipt)
