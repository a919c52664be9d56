"""Builds logs of one member with real keys (n = 4, t = 3), valid or with one thing wrong.

A :class:`LogBuilder` feeds what it appends to an audit of its own, so that it knows what the next valid entry is; the
`edit` arguments change a value before it is signed, as q colluding members or the log's keeper could.

One class, as each kind of entry is made of what the ones before it left.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

from mpc_sequencer.audit import Report, ordering, verify_log
from mpc_sequencer.audit.report import Stop
from mpc_sequencer.audit.settlement import Range, pack, packed_hash
from mpc_sequencer.audit.verify import Audit
from mpc_sequencer.core import domains, transcript
from mpc_sequencer.core.actions import GTC, Withdrawal, label_hash, plain_order, with_account_signature
from mpc_sequencer.core.codec import encode
from mpc_sequencer.core.signing import Signer
from mpc_sequencer.core.types import (
    FINALIZE,
    NO_SIGNATURE,
    ZERO_HASH,
    BatchEntry,
    Block,
    BlockHeader,
    Bundle,
    Certificate,
    CertificateVote,
    Envelope,
    Head,
    Opened,
    OrderList,
    Receipt,
    ResultRef,
    Unopenable,
    vote_struct_hash,
    with_signature,
)
from mpc_sequencer.settlement.claims import OrderCommit
from mpc_sequencer.settlement.payloads import BATCH_RESULT
from tests.audit.audited_deployment import START_MS, Deployment, deployment, replace, secret
from tests.audit.log_files import write_log
from threshold import BundleContext, Label, check, coin_share, prove_bundle, seal, share

BUCKET = 256
Edit = Callable[[Any], Any]


class LogBuilder:
    """Appends the entries of member 0's log (or another's)."""

    def __init__(
        self,
        node: int = 0,
        *,
        inputs: Sequence[transcript.ChainInput] | None = None,
        house: Deployment | None = None,
    ) -> None:
        self.house = house or deployment()
        self.committee = self.house.committee
        self.node = node
        self.entries: list[Any] = []
        self.audit = Audit(self.committee)
        self.now_ms = START_MS
        self.view = 0
        self.nonces: dict[str, int] = {}
        self.envelopes: dict[bytes, Envelope] = {}
        self.lists: list[list[OrderList]] = [[] for _ in range(4)]
        self.included = [0] * 4
        self.blocks: dict[int, Block] = {}
        self.append(transcript.GenesisEntry(self.committee.genesis_id, self.committee.genesis.members[node].log_key))
        self.append(transcript.InputsEntry(first_index=0, inputs=tuple(inputs or self.house.inputs)))

    def append(self, entry: Any) -> None:
        self.entries.append(entry)
        with suppress(Stop):
            self.audit.add(entry)

    def sign(self, node: int, struct_hash: bytes) -> bytes:
        return self.house.signers[node].sign_digest(self.committee.digest(struct_hash))

    def signed(self, value: Any) -> Any:
        return with_signature(value, self.sign(value.node, value.struct_hash()))

    # --- orders ----------
    def label(self, sponsor: str = "relay", **changes: Any) -> Label:
        key = self.committee.sealing_key
        fields: dict[str, Any] = {
            "chain_id": key.chain_id,
            "settlement": key.settlement,
            "key_id": key.key_id,
            "sponsor": self.house.traders[sponsor].address,
            "valid_from_ms": START_MS,
            "valid_until_ms": START_MS + 600_000,
            "size_bucket": BUCKET,
        }
        return Label(**(fields | changes))

    def envelope(self, label: Label, ciphertext: bytes, sponsor: str = "relay") -> Envelope:
        """Sign and keep."""
        unsigned = Envelope(1, label.encode(), ciphertext, NO_SIGNATURE)
        digest = self.committee.digest(domains.SPONSOR_TYPE(unsigned.order_id()))
        envelope = replace(unsigned, sponsor_signature=self.house.traders[sponsor].sign_digest(digest))
        self.envelopes[envelope.order_id()] = envelope
        return envelope

    def sealed(self, message: bytes, sponsor: str = "relay", **label_changes: Any) -> bytes:
        """Seal any message; the order id."""
        label = self.label(sponsor, **label_changes)
        sigma = secret(f"sigma {len(self.envelopes)}")
        ciphertext = seal(self.committee.sealing_key, label, message, sigma=sigma)
        return self.envelope(label, ciphertext, sponsor).order_id()

    def nonce(self, trader: str) -> int:
        self.nonces[trader] = self.nonces.get(trader, 0) + 1
        return self.nonces[trader]

    def order(
        self,
        trader: str,
        side: int,
        price: int,
        lots: int,
        tif: int = GTC,
        market: int = 0,
        sponsor: str = "relay",
        **label_changes: Any,
    ) -> bytes:
        """Seal a limit order; its id."""
        account = self.house.traders[trader]
        label = self.label(sponsor, **label_changes)
        bound = label_hash(label.encode())
        action = plain_order(
            account.address,
            self.nonce(trader),
            bound,
            market=market,
            side=side,
            time_in_force=tif,
            price_ticks=price,
            quantity_lots=lots,
        )
        return self.sealed(self.plaintext(action, account), sponsor, **label_changes)

    def withdrawal(self, trader: str, asset: int, amount: int) -> bytes:
        account = self.house.traders[trader]
        bound = label_hash(self.label().encode())
        action = Withdrawal(account.address, self.nonce(trader), bound, asset, amount.to_bytes(16, "big"))
        return self.sealed(self.plaintext(action, account))

    def plaintext(self, action: Any, account: Signer) -> bytes:
        return encode(
            with_account_signature(action, account.sign_digest(self.committee.digest(action.struct_hash())))
        )

    # --- lists, blocks ----------
    def list(self, node: int, *order_ids: bytes, edit: Edit = lambda value: value) -> OrderList:
        """Member ``node``'s next list, to be included by the next block."""
        own = self.lists[node]
        made = OrderList(
            0, 0, node, len(own) + 1, own[-1].struct_hash() if own else ZERO_HASH, order_ids, NO_SIGNATURE
        )
        signed = self.signed(edit(made))
        own.append(signed)
        return signed

    def list_all(self, *order_ids: bytes) -> None:
        """Three members list the orders."""
        for node in (0, 1, 2):
            self.list(node, *order_ids)

    def head(self, node: int, view: int, time_ms: int, results: tuple[ResultRef, ...] | None = None) -> Head:
        own = self.lists[node]
        if results is None:
            state = self.audit.ordering
            known = self.audit.results.results
            results = tuple(
                ResultRef(height, known[height]) for height in state.uncertified if height in known
            )
        last_hash = own[-1].struct_hash() if own else ZERO_HASH
        checkpoint = self.committee.genesis.checkpoint
        return Head(0, 0, node, view, time_ms, len(own), last_hash, results, checkpoint, 0, NO_SIGNATURE)

    def block(
        self,
        after_ms: int = 100,
        *,
        nodes: Sequence[int] = (0, 1, 2),
        edit_heads: Edit = lambda heads: heads,
        edit_lists: Edit = lambda lists: lists,
        edit: Edit = lambda block: block,
        edit_envelopes: Edit = lambda envelopes: envelopes,
        finality: bool = True,
        edit_certificate: Edit = lambda certificate: certificate,
        resign_heads: bool = True,
    ) -> Block:
        """Make the next block of the given members' heads and append it with all that goes with it."""
        self.now_ms += after_ms
        self.view += 1
        heads = [self.head(node, self.view, self.now_ms + node) for node in nodes]
        heads = [self.signed(head) if resign_heads else head for head in edit_heads(heads)]
        lists = [
            made
            for head in heads
            for made in self.lists[head.node][self.included[head.node] : head.list_number]
        ]
        for made in edit_lists(lists):
            self.append(transcript.ListEntry(made))
        block, lifted = self.derive(heads, lists)
        block = edit(block)
        named = {entry.envelope_hash for entry in block.batch}
        wanted = {order_id: self.envelopes[order_id] for order_id in lifted if order_id in self.envelopes}
        known = {variant for order in self.audit.envelopes.orders.values() for variant in order.variants}
        extra = [
            e
            for e in self.envelopes.values()
            if e.envelope_hash() in named - known and e not in wanted.values()
        ]
        for envelope in edit_envelopes([*wanted.values(), *extra]):
            self.append(transcript.EnvelopeEntry(envelope))
        self.append(transcript.BlockEntry(block))
        self.blocks[block.header.height] = block
        for head in heads:
            self.included[head.node] = head.list_number
        if finality:
            certificate = edit_certificate(self.certificate(block.header))
            self.append(transcript.FinalityEntry(block.header.block_id(), certificate, ()))
        return block

    def derive(self, heads: list[Head], lists: list[OrderList]) -> tuple[Block, list[bytes]]:
        """The block that follows, and the orders it lifts."""
        state = deepcopy(self.audit.ordering)
        parent = self.audit.blocks.last
        labels = {order_id: envelope.decoded_label() for order_id, envelope in self.envelopes.items()}
        time_ms = ordering.block_time_ms(self.audit.blocks.last_time_ms, heads)
        root = ordering.inputs_root(heads, lists)
        certified = state.report(heads)
        state.certify(certified)
        height = parent.height + 1
        lifted = state.list_orders(height, time_ms, root, lists, labels)
        state.expire(height, time_ms, labels)
        batch = tuple(self.batch_entry(order_id) for order_id in state.batch(time_ms, labels))
        header = BlockHeader(
            version=1,
            epoch=0,
            height=height,
            view=self.view,
            parent_id=parent.block_id,
            time_ms=time_ms,
            inputs_root=root,
            batch_root=ordering.batch_root(batch),
            certified_root=domains.CERTIFIED(encode(certified)),
            checkpoint=self.committee.genesis.checkpoint,
        )
        return Block(header, tuple(heads), batch, certified), lifted

    def batch_entry(self, order_id: bytes) -> BatchEntry:
        return BatchEntry(order_id, self.envelopes[order_id].envelope_hash())

    def certificate(
        self, header: BlockHeader, nodes: Sequence[int] = (0, 1, 3), kind: int = FINALIZE
    ) -> Certificate:
        struct_hash = vote_struct_hash(kind, 0, header.view, header.block_id())
        votes = tuple(CertificateVote(node, self.sign(node, struct_hash)) for node in nodes)
        return Certificate(kind, 0, header.view, header.block_id(), votes)

    # --- reveal, results ----------
    def bundle(self, height: int, node: int, edit: Edit = lambda bundle: bundle) -> Bundle:
        block = self.blocks[height]
        key = self.committee.sealing_key
        checked = [
            check(
                key,
                self.envelopes[entry.order_id].label,
                self.envelopes[entry.order_id].ciphertext,
                buckets=[BUCKET],
            )
            for entry in block.batch
        ]
        shares = tuple(share(self.house.shares[node], each) for each in checked)
        context = BundleContext(key.key_id, 0, block.header.block_id(), node + 1)
        us = [each.u_point for each in checked]
        proof = prove_bundle(self.house.shares[node], context, us, shares, entropy=secret("nonce")).encode()
        coin = coin_share(self.house.shares[node], context, entropy=secret("coin nonce"))
        certificate = self.certificate(block.header)
        made = Bundle(
            0, height, block.header.block_id(), node, bytes(32), certificate, (), shares, proof, coin, NO_SIGNATURE
        )
        return self.signed(edit(made))

    def bundles(self, height: int, nodes: Sequence[int] = (0, 2, 3)) -> None:
        for node in nodes:
            self.append(transcript.BundleEntry(self.bundle(height, node)))

    def opening(self, order_id: bytes) -> Opened:
        """Open with the first three shares."""
        from threshold import combine, open_ciphertext

        key = self.committee.sealing_key
        envelope = self.envelopes[order_id]
        checked = check(key, envelope.label, envelope.ciphertext, buckets=[BUCKET])
        shares = {i + 1: share(self.house.shares[i], checked) for i in range(3)}
        opening = open_ciphertext(key, checked, combine(shares, 3))
        return Opened(order_id, opening.sigma, opening.padded)

    def open(self, height: int, order_id: bytes, edit: Edit = lambda opened: opened) -> None:
        self.append(transcript.OpenedEntry(height, edit(self.opening(order_id))))

    def unopenable(self, height: int, order_id: bytes, nodes: tuple[int, ...] = (0, 2, 3)) -> None:
        self.append(transcript.UnopenableEntry(height, Unopenable(order_id, nodes)))

    def reveal(self, height: int) -> None:
        """Bundles, openings and the result of a height, all valid."""
        self.bundles(height)
        for entry in self.blocks[height].batch:
            self.open(height, entry.order_id)
        self.result(height)

    def result(self, height: int, /, **changes: Any) -> None:
        executed, result = next(row for row in self.audit.results._unlogged if row[0].height == height)
        entry = transcript.ResultEntry(height, executed.state_root, executed.fills_root, result)
        self.append(replace(entry, **changes))

    # --- settlement, receipts ----------
    def range(self, first_height: int = 1) -> Range:
        return self.audit.settlement.ranges[first_height]

    def commit(
        self,
        range_start: int = 1,
        /,
        *,
        nodes: Sequence[int] = (0, 1, 2),
        after: Edit = lambda entry: entry,
        **changes: Any,
    ) -> None:
        """A range's order commit signed by ``nodes`` with ``changes``; ``after`` edits the signed entry."""
        expected = self.audit.settlement.commits.expected[self.range(range_start).last_height]
        commit = OrderCommit(
            epoch=expected.epoch.number,
            height=expected.height,
            prev_hash=expected.prev_hash,
            ciphertext_root=expected.ciphertext_root,
            l1_head=expected.l1_head,
            forced_head=expected.forced_head,
        )
        commit = replace(commit, **changes)
        signatures = tuple((node, self.sign(node, commit.struct_hash())) for node in nodes)
        self.append(after(transcript.CommitEntry(commit, signatures)))

    def settlement(
        self,
        range_start: int = 1,
        /,
        *,
        nodes: Sequence[int] = (0, 1, 2),
        after: Edit = lambda entry: entry,
        committed: bool = True,
        **changes: Any,
    ) -> None:
        """A range's result signed by ``nodes`` with ``changes``, after its order commit; ``after`` edits the signed
        entry."""
        made = self.range(range_start)
        if committed and made.last_height not in self.audit.settlement.commits.seen:
            self.commit(range_start)
        checkpoint = self.committee.genesis.checkpoint
        entry = transcript.SettlementEntry(
            first_height=made.first_height,
            last_height=made.last_height,
            prev_state_root=made.prev_state_root,
            state_root=made.state_root,
            fills_root=made.fills_root,
            data_hash=made.data_hash,
            inputs_count=checkpoint.inputs_count,
            inputs_hash=checkpoint.inputs_hash,
            deltas_hash=packed_hash(pack(made.changes)),
            deltas=pack(made.changes),
            signatures=(),
        )
        entry = replace(entry, **changes)
        if "deltas" in changes:
            entry = replace(entry, deltas_hash=packed_hash(entry.deltas))
        struct_hash = BATCH_RESULT(
            0,
            entry.first_height,
            entry.last_height,
            entry.prev_state_root,
            entry.state_root,
            entry.fills_root,
            entry.data_hash,
            entry.inputs_count,
            entry.inputs_hash,
            entry.deltas_hash,
        )
        signatures = tuple((node, self.sign(node, struct_hash)) for node in nodes)
        self.append(after(replace(entry, signatures=signatures)))

    def receipt(
        self, order_id: bytes, number: int, edit: Edit = lambda receipt: receipt, node: int | None = None
    ) -> None:
        made = Receipt(0, 0, order_id, self.node if node is None else node, number, self.now_ms, NO_SIGNATURE)
        self.append(transcript.ReceiptEntry(edit(self.signed(made))))

    # --- the log on disk ----------
    def write(self, folder: Path) -> Path:
        write_log(folder, [encode(entry) for entry in self.entries], self.node, house=self.house)
        return folder

    def report(self, folder: Path, **options: Any) -> Report:
        return verify_log(self.write(folder), self.committee, **options)
