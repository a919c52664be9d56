"""Rules of the reveal: bundles bound to a finalization, one verdict per order, openings by re-encryption.

A bundle counts when its member signed it, its certificate finalizes its block, and it has one share per
order of the batch and a valid share of the block's coin, which members verify before they log it. A bad
share of an order beside a good opening is no fault of the log: the opening is judged by sealing it again. A
malformed verdict is judged by the shares it names: t bundles whose proofs hold and whose combination does
not open. The coin follows from any t members' coin shares. All of these are the members of the height's epoch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from mpc_sequencer.audit.blocks import Blocks
from mpc_sequencer.audit.envelopes import Envelopes
from mpc_sequencer.audit.epochs import Epoch, Epochs
from mpc_sequencer.audit.execution import OpenedOrder
from mpc_sequencer.audit.report import Recorder
from mpc_sequencer.core import domains
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.types import Block, Bundle, Opened, Unopenable
from threshold import (
    BatchProof,
    BundleContext,
    CheckedCiphertext,
    ThresholdError,
    VerifiedCoinShare,
    combine,
    combine_coin,
    open_ciphertext,
    verify_bundle,
    verify_coin_share,
    verify_opening,
)

PADDING_LENGTH_BYTES: Final = 4


@dataclass(slots=True)
class Revealed:
    """A height's batch, the bundles logged for it by member, and each order's plaintext (None: malformed)."""

    block_id: bytes
    order_ids: tuple[bytes, ...]
    bundles: dict[int, list[Bundle]] = field(default_factory=dict)
    coin_shares: dict[int, VerifiedCoinShare] = field(default_factory=dict)
    verdicts: dict[bytes, bytes | None] = field(default_factory=dict)
    proven: dict[int, Bundle | None] = field(default_factory=dict)
    """Per member: a bundle whose proof holds, or None where none does; filled when a verdict needs it."""


class Reveal:
    """Bundles and verdicts of the heights that are not executed yet."""

    def __init__(
        self,
        epochs: Epochs,
        recorder: Recorder,
        blocks: Blocks,
        envelopes: Envelopes,
    ) -> None:
        self._epochs = epochs
        self._recorder = recorder
        self._blocks = blocks
        self._envelopes = envelopes
        self._heights: dict[int, Revealed] = {}
        self._batch_sizes: list[int] = [0]

    def add_block(self, block: Block, counts: bool) -> None:
        """Expect the openings of a block's batch; a height that ``counts`` without one is open at once."""
        order_ids = tuple(entry.order_id for entry in block.batch)
        self._batch_sizes.append(len(order_ids))
        if counts:
            self._heights[block.header.height] = Revealed(block.header.block_id(), order_ids)

    # --- bundles ----------
    def add_bundle(self, bundle: Bundle) -> None:
        """Judge whether a bundle counts. Who gave shares for a block after an epoch's last one has opened orders of a
        batch that never was."""
        height = bundle.height
        if self._epochs.is_beyond(bundle.epoch, height):
            return self._recorder.fail(
                "bundle.beyond", f"member {bundle.node}, {len(bundle.shares)} shares", height=height
            )
        if not 1 <= height < len(self._blocks.refs) or bundle.block_id != self._blocks.refs[height].block_id:
            return self._recorder.fail("bundle.block", f"block {bundle.block_id.hex()}", height=height)
        where = f"member {bundle.node}"
        epoch = self._epochs.at(height)
        if bundle.node >= epoch.committee.n or bundle.epoch != epoch.number:
            return self._recorder.fail("bundle.member", f"{where}, epoch {bundle.epoch}", height=height)
        self._recorder.done("bundles")
        signed = epoch.signatures.is_members(bundle.node, bundle.struct_hash(), bundle.signature)
        if not signed:
            self._recorder.fail("bundle.signature", where, height=height)
        problem = epoch.signatures.check_finality(self._blocks.refs[height], bundle.certificate, bundle.path)
        if problem is not None:
            return self._recorder.fail(
                "bundle.certificate", f"{where}: {problem[0]}: {problem[1]}", height=height
            )
        if not self._blocks.remember_final(bundle.path, epoch):
            self._recorder.fail("finality.fork", f"{where}'s path leads over another block", height=height)
        size = self._batch_sizes[height]
        if len(bundle.shares) != size or bool(bundle.proof) != bool(size):
            shares = (
                f"{where}: {len(bundle.shares)} shares, proof of {len(bundle.proof)} bytes, {size} orders"
            )
            return self._recorder.fail("bundle.shares", shares, height=height)
        if size and not _is_of_its_sharing(bundle, epoch):
            return self._recorder.fail("bundle.sharing", f"{where}: {bundle.sharing.hex()}", height=height)
        if height in self._heights:
            self._heights[height].bundles.setdefault(bundle.node, []).append(bundle)
        if size:
            self._add_coin_share(bundle, epoch, signed)
        return None

    def _add_coin_share(self, bundle: Bundle, epoch: Epoch, signed: bool) -> None:
        """Count a valid coin share, which proves itself; a bad one is its member's fault only if it signed."""
        key = epoch.committee.verification_key(bundle.node, bundle.sharing)
        self._recorder.done("coin_shares")
        try:
            context = _context(epoch, bundle.block_id, bundle.node)
            verified = verify_coin_share(key, context, bundle.coin_share)
        except ThresholdError as error:
            if signed:
                self._recorder.fail("bundle.coin", f"member {bundle.node}: {error}", height=bundle.height)
            return
        if bundle.height in self._heights:
            self._heights[bundle.height].coin_shares.setdefault(bundle.node, verified)

    def _threshold(self, height: int) -> int:
        """How many members' shares open a height."""
        return self._epochs.at(height).committee.t

    # --- verdicts ----------
    def _expects(self, height: int, order_id: bytes) -> Revealed | None:
        revealed = self._heights.get(height)
        if revealed is None or order_id not in revealed.order_ids:
            begun = self._epochs.current
            beyond = begun.proven_by is not None and self._blocks.last.height < begun.first_height <= height
            code = "opening.beyond" if beyond else "opening.order"
            self._recorder.fail(code, f"order {order_id.hex()}", height=height)
            return None
        if order_id in revealed.verdicts:
            self._recorder.fail("opening.repeated", f"order {order_id.hex()}", height=height)
            return None
        if self._blocks.finalized_height < height:
            self._recorder.fail("opening.early", "the block's finality is not in the log yet", height=height)
        elif len(revealed.bundles) < self._threshold(height):
            detail = f"bundles of {len(revealed.bundles)} members, {self._threshold(height)} needed"
            self._recorder.fail("opening.early", detail, height=height)
        return revealed

    def add_opened(self, height: int, opened: Opened) -> None:
        """Judge an opening by sealing it again."""
        revealed = self._expects(height, opened.order_id)
        if revealed is None:
            return
        order = self._envelopes.orders[opened.order_id]
        self._recorder.done("openings")
        if not verify_opening(
            self._epochs.at(height).committee.sealing_key,
            order.label_bytes,
            order.ciphertext or b"",
            opened.sigma,
            opened.padded,
        ):
            self._recorder.fail("opening.wrong", f"order {opened.order_id.hex()}", height=height)
        revealed.verdicts[opened.order_id] = unpadded(opened.padded)

    def add_unopenable(self, height: int, unopenable: Unopenable) -> None:
        """Judge a malformed verdict by the shares it names."""
        revealed = self._expects(height, unopenable.order_id)
        if revealed is None:
            return
        self._recorder.done("malformed_verdicts")
        revealed.verdicts[unopenable.order_id] = None
        nodes, epoch = unopenable.nodes, self._epochs.at(height)
        if (
            len(nodes) != epoch.committee.t
            or len(set(nodes)) != len(nodes)
            or not set(nodes) <= set(revealed.bundles)
        ):
            detail = f"members {list(nodes)}, bundles of {sorted(revealed.bundles)}"
            return self._recorder.fail("malformed.members", detail, height=height)
        checked = [self._envelopes.checked(order_id) for order_id in revealed.order_ids]
        ciphertexts = [ciphertext for ciphertext in checked if ciphertext is not None]
        if len(ciphertexts) < len(checked):
            return None
        position = revealed.order_ids.index(unopenable.order_id)
        shares: dict[int, bytes] = {}
        for node in nodes:
            bundle = self._proven(revealed, epoch, node, ciphertexts)
            if bundle is None:
                return self._recorder.fail("malformed.proof", f"member {node}", height=height)
            shares[node + 1] = bundle.shares[position]
        if _opens(epoch, shares, ciphertexts[position]):
            self._recorder.fail("malformed.opens", f"order {unopenable.order_id.hex()}", height=height)

    def _proven(
        self, revealed: Revealed, epoch: Epoch, node: int, ciphertexts: list[CheckedCiphertext]
    ) -> Bundle | None:
        """A bundle of the member whose proof holds."""
        if node not in revealed.proven:
            context = _context(epoch, revealed.block_id, node)
            revealed.proven[node] = None
            for bundle in revealed.bundles[node]:
                key = epoch.committee.verification_key(node, bundle.sharing)
                self._recorder.done("bundle_proofs")
                try:
                    us = [ciphertext.u_point for ciphertext in ciphertexts]
                    verify_bundle(key, context, us, bundle.shares, BatchProof.decode(bundle.proof))
                except ThresholdError:
                    continue
                revealed.proven[node] = bundle
                break
        return revealed.proven[node]

    # --- what execution takes ----------
    def waiting_heights(self) -> list[int]:
        """Counting heights not executed yet, ascending."""
        return sorted(self._heights)

    def is_open(self, height: int) -> bool:
        """Whether every order of the height has a verdict, and its coin follows from the log."""
        revealed = self._heights[height]
        return not revealed.order_ids or (
            len(revealed.verdicts) == len(revealed.order_ids)
            and len(revealed.coin_shares) >= self._threshold(height)
        )

    def lack(self, height: int) -> tuple[str, str]:
        """The finding's code and detail for a height that has a result and is not open."""
        revealed = self._heights[height]
        if len(revealed.verdicts) < len(revealed.order_ids):
            return "opening.missing", "not every order of the batch has a verdict"
        detail = f"valid coin shares of members {sorted(revealed.coin_shares)}, {self._threshold(height)} needed"
        return "coin.missing", detail

    def coin(self, height: int) -> bytes:
        """The coin of an open height; of one without a batch a hash of its block's id."""
        if not self._heights[height].order_ids:
            return domains.BARE_COIN(self._heights[height].block_id)
        threshold = self._threshold(height)
        shares = sorted(self._heights[height].coin_shares.items())[:threshold]
        return combine_coin([verified for _, verified in shares], threshold)

    def take(self, height: int) -> list[OpenedOrder]:
        """The opened batch, which is then forgotten."""
        revealed = self._heights.pop(height)
        batch = []
        for order_id in revealed.order_ids:
            batch.append(
                OpenedOrder(
                    order_id, self._envelopes.orders[order_id].label_bytes, revealed.verdicts[order_id]
                )
            )
            self._envelopes.executed(order_id)
        return batch


def _context(epoch: Epoch, block_id: bytes, node: int) -> BundleContext:
    return BundleContext(epoch.committee.sealing_key.key_id, epoch.number, block_id, node + 1)


def _is_of_its_sharing(bundle: Bundle, epoch: Epoch) -> bool:
    """Whether a bundle names the sharing that its height is opened with, which is long forgotten for old ones."""
    try:
        return bundle.sharing == epoch.committee.sharing_at(bundle.height).name
    except ProtocolError:
        return False


def _opens(epoch: Epoch, shares: dict[int, bytes], ciphertext: CheckedCiphertext) -> bool:
    committee = epoch.committee
    try:
        opening = open_ciphertext(committee.sealing_key, ciphertext, combine(shares, committee.t))
    except ThresholdError:
        return False
    return unpadded(opening.padded) is not None


def unpadded(padded: bytes) -> bytes | None:
    """The message behind its u32 length; None where the length does not fit or the padding is not zero."""
    if len(padded) < PADDING_LENGTH_BYTES:
        return None
    end = PADDING_LENGTH_BYTES + int.from_bytes(padded[:PADDING_LENGTH_BYTES], "big")
    return padded[PADDING_LENGTH_BYTES:end] if end <= len(padded) and not any(padded[end:]) else None
