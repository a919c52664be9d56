"""Reveal: decryption and coin shares after finality, never before; the opening of a batch and its coin.

Per final block with a batch: *sharing* (this member computes its shares, in small steps, and sends its bundle),
*collecting* (bundles of members), *opening* (combine t bundles order by order and let the opening judge), *open*.
Only a block handed over by :meth:`Reveal.final` ever gets a share, and a share is computed only of a
:class:`~mpc_sequencer.core.envelopes.SealedOrder`, so its check has passed.

Optimistic path: bundles are not verified while what they combine to opens. Where an order does not open, the proofs
of all bundles at hand are verified, bad ones are put away for ever (their sender's later bundles are verified first),
and with t valid ones a failure means the order is *malformed*; all members come to the same verdict.

Nothing judges a coin: a wrong one looks like any other. So no bundle counts before its coin share is verified.

What an attacker tries: bent shares (found by the proof), a bundle for a block that is not final (its certificate
says so), too few shares, bundles sent many times or for far heights (one per member and block, a bounded number of
early ones).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

from mpc_sequencer.core import domains, limits
from mpc_sequencer.core.chain import Finality
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.effects import Append, Broadcast, BundleRecord, Effect, Fault, Persist
from mpc_sequencer.core.envelopes import SealedOrder
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.evidence import check_finality
from mpc_sequencer.core.messages import BundleMessage
from mpc_sequencer.core.offences import BadCoinShare, BadShares, FalseFinality, Offence
from mpc_sequencer.core.reveal_task import OpenedBatch, OpenedOrder, RevealTask, bad_coin_share, bad_shares
from mpc_sequencer.core.signing import Signer
from mpc_sequencer.core.transcript import BundleEntry, OpenedEntry, UnopenableEntry
from mpc_sequencer.core.types import (
    NO_SIGNATURE,
    Bundle,
    Certificate,
    Opened,
    Unopenable,
    with_signature,
)
from threshold import (
    BatchProof,
    BundleContext,
    Opening,
    SecretShare,
    ThresholdError,
    VerifiedCoinShare,
    coin_share,
    combine,
    combine_coin,
    open_ciphertext,
    prove_bundle,
    share,
    verify_bundle,
    verify_coin_share,
)

EARLY_BUNDLES_PER_MEMBER_MAX: Final = 64
BUNDLES_STUCK_MS: Final = 3_000


class Reveal:
    """All heights between finality and opening. Effects gather in ``effects``."""

    def __init__(
        self, committee: Committee, node: int, signer: Signer, entropy: bytes
    ) -> None:
        self._committee = committee
        self._node = node
        self._signer = signer
        self.secrets: dict[int, SecretShare] = {}
        """This member's shares by sharing; where it has none it only opens what others' shares open."""
        self._entropy = entropy
        self._drawn = 0
        self._tasks: deque[RevealTask] = deque()
        self._by_block: dict[bytes, RevealTask] = {}
        self._early: dict[int, dict[bytes, Bundle]] = {}
        self._suspects: set[int] = set()
        self._own_bundles: dict[bytes, Bundle] = {}
        self._certified: dict[tuple[int, bytes], set[tuple[int, bytes]]] = {}
        self._last_height = 0
        self.malformed = 0
        self.effects: list[Effect] = []
        self.offences: list[Offence] = []
        """Offences found in bundles taken before; the node takes them."""

    # --- input --------------------------------------------------------------------------------------------------
    def final(self, final: Finality, orders: Sequence[SealedOrder], now_ms: int) -> None:
        """A counting block is final: its orders, in batch order, get their shares now. Where it has no batch only its
        turn is awaited, and its coin is a hash of its id: no trader can foresee it, and no order's place hangs on it
        but those of stops that were triggered before."""
        task = RevealTask(final=final, orders=orders, since_ms=now_ms)
        self._last_height = task.height
        self._tasks.append(task)
        if task.bare:
            task.coin = domains.BARE_COIN(task.block_id)
            return
        self._note_votes(final.certificate)
        self._by_block[task.block_id] = task
        for node in sorted(self._early):
            bundle = self._early[node].pop(task.block_id, None)
            if bundle is not None:
                try:
                    self._take(task, bundle)
                except ProtocolError as error:
                    self._blame(error, bad_shares(task, bundle))

    def _blame(self, error: ProtocolError | ThresholdError, offence: BadShares | BadCoinShare) -> None:
        self.effects.append(Fault(offence.bundle.node, error.code, str(error)))
        self.offences.append(offence)

    def on_bundle(self, bundle: Bundle, known: Certificate | None) -> bool:
        """A member's bundle, its sender checked. Raises ProtocolError; True where it was new and counts or may yet.

        ``known``: the certificate the agreement engine holds for the same statement, whose votes are verified. The
        bundle's own is checked vote by vote all the same: it goes into the log.
        """
        if len(bundle.path) > limits.HEADER_PATH_MAX:
            raise ProtocolError("wire.bound", "Bundle.path", len(bundle.path), limits.HEADER_PATH_MAX)
        task = self._by_block.get(bundle.block_id)
        if task is not None and (bundle.node in task.bundles or bundle.node in task.bad):
            return False
        if task is None and bundle.height <= self._last_height:
            return False  # that height is open: a late bundle is not an early one
        early = self._early.get(bundle.node, {})
        if task is None and (bundle.block_id in early or len(early) >= EARLY_BUNDLES_PER_MEMBER_MAX):
            return False
        self._committee.check_value(bundle)
        self._check_finality(bundle, known)
        if task is None:
            self._early.setdefault(bundle.node, {})[bundle.block_id] = bundle
        else:
            self._take(task, bundle)
        return True

    def _note_votes(self, certificate: Certificate) -> None:
        votes = self._certified.setdefault((certificate.view, certificate.block_id), set())
        votes.update((vote.node, vote.signature) for vote in certificate.votes)

    def _check_finality(self, bundle: Bundle, known: Certificate | None) -> None:
        certificate = bundle.certificate
        verified = set(self._certified.get((certificate.view, certificate.block_id), ()))
        if known is not None:
            verified.update((vote.node, vote.signature) for vote in known.votes)
        try:
            check_finality(bundle, self._committee, verified)
        except ProtocolError as error:
            error.offence = FalseFinality(bundle)
            raise
        self._note_votes(certificate)

    def _take(self, task: RevealTask, bundle: Bundle) -> None:
        if bundle.height != task.height or len(bundle.shares) != len(task.orders):
            raise ProtocolError(
                "bundle.block",
                "Bundle.shares",
                f"{len(bundle.shares)} at height {bundle.height}",
                f"{len(task.orders)} at height {task.height}",
                offence=bad_shares(task, bundle),
            )
        sharing = self._committee.known_sharing_at(task.height)
        if sharing is not None and bundle.sharing != sharing.name:
            raise ProtocolError("bundle.sharing", "Bundle.sharing", bundle.sharing, sharing.name.hex())
        if task.done or sharing is None:
            return  # a batch that stayed closed for SHARINGS_KEPT refreshes: nothing is left to judge shares by
        verified = self._coin_share(task, bundle)
        if verified is None or (bundle.node in self._suspects and not self._valid(task, bundle)):
            return
        task.bundles[bundle.node] = bundle
        task.coin_shares[bundle.node] = verified
        self.effects.append(Append(BundleEntry(bundle)))

    # --- work ---------------------------------------------------------------------------------------------------
    def has_work(self) -> bool:
        """Whether :meth:`work` can do something now."""
        if not self._tasks:
            return False
        return self._tasks[0].done or any(self._owes(task) or self._can_open(task) for task in self._tasks)

    def _owes(self, task: RevealTask) -> bool:
        return not task.bare and task.own is None and self.secret_for(task.height) is not None

    def secret_for(self, height: int) -> SecretShare | None:
        """This member's share of the sharing that opens ``height``; None where it has none, or never had."""
        sharing = self._committee.known_sharing_at(height)
        return None if sharing is None else self.secrets.get(sharing.number)

    def _can_open(self, task: RevealTask) -> bool:
        return not self._owes(task) and not task.done and len(task.bundles) >= self._committee.t

    def work(self) -> list[OpenedBatch]:
        """Some shares or some openings, REVEAL_ORDERS_PER_STEP at most; batches that are open now, in height order."""
        task = next((task for task in self._tasks if self._owes(task)), None)
        secret = self.secret_for(task.height) if task is not None else None
        if task is not None and secret is not None:
            self._share_some(task, secret)
        else:
            task = next((task for task in self._tasks if self._can_open(task)), None)
            if task is not None:
                self._open_some(task)
        opened: list[OpenedBatch] = []
        while self._tasks and self._tasks[0].done:
            first = self._tasks.popleft()
            assert first.coin is not None, "no order opens before the coin is known"
            opened.append(OpenedBatch(first.final, first.coin, tuple(first.opened)))
            self._by_block.pop(first.block_id, None)
        return opened

    def _share_some(self, task: RevealTask, secret: SecretShare) -> None:
        start = len(task.shares)
        for order in task.orders[start : start + limits.REVEAL_ORDERS_PER_STEP]:
            task.shares.append(share(secret, order.checked))
        if len(task.shares) == len(task.orders):
            task.own = self._bundle(task, secret)
            self._own_bundles[task.block_id] = task.own
            if len(self._own_bundles) > limits.BLOCKS_KEPT_HEIGHTS:
                del self._own_bundles[next(iter(self._own_bundles))]
            task.bundles[self._node] = task.own
            task.coin_shares[self._node] = self._verify_coin(task, task.own)
            task.verified.add(self._node)
            self.effects += [
                Persist(BundleRecord(task.height, task.block_id)),
                Append(BundleEntry(task.own)),
                Broadcast(BundleMessage(task.own)),
            ]

    def _context(self, task: RevealTask, node: int) -> BundleContext:
        return BundleContext(self._committee.sealing_key.key_id, self._committee.epoch, task.block_id, node + 1)

    def _draw(self) -> bytes:
        self._drawn += 1
        return domains.ENTROPY(self._entropy, self._drawn.to_bytes(8, "big"))

    def _bundle(self, task: RevealTask, secret: SecretShare) -> Bundle:
        context = self._context(task, self._node)
        points = [order.checked.u_point for order in task.orders]
        proof = prove_bundle(secret, context, points, task.shares, entropy=self._draw())
        unsigned = Bundle(
            epoch=self._committee.epoch,
            height=task.height,
            block_id=task.block_id,
            node=self._node,
            sharing=self._committee.sharing_at(task.height).name,
            certificate=task.final.certificate,
            path=task.final.path,
            shares=tuple(task.shares),
            proof=proof.encode(),
            coin_share=coin_share(secret, context, entropy=self._draw()),
            signature=NO_SIGNATURE,
        )
        digest = self._committee.digest(unsigned.struct_hash())
        return with_signature(unsigned, self._signer.sign_digest(digest))

    # --- opening ------------------------------------------------------------------------------------------------
    def _open_some(self, task: RevealTask) -> None:
        if task.coin is None:
            task.coin = combine_coin(list(task.coin_shares.values())[: self._committee.t], self._committee.t)
        start = len(task.opened)
        for position in range(start, min(start + limits.REVEAL_ORDERS_PER_STEP, len(task.orders))):
            verdict = self._open_one(task, position)
            if verdict is None:
                return
            task.opened.append(verdict)

    def _chosen(self, task: RevealTask) -> list[int]:
        """t members whose bundles to combine: verified ones first, then unsuspected ones."""
        ranked = sorted(
            task.bundles, key=lambda node: (node not in task.verified, node in self._suspects, node)
        )
        return sorted(ranked[: self._committee.t])

    def _open_one(self, task: RevealTask, position: int) -> OpenedOrder | None:
        """The order's verdict; None where t good bundles are not at hand yet."""
        order = task.orders[position]
        chosen = self._chosen(task)
        opening = self._try(task, position, chosen)
        if opening is None and not task.verified.issuperset(chosen):
            for node in list(task.bundles):
                if not self._valid(task, task.bundles[node]):
                    del task.bundles[node]
            if len(task.bundles) < self._committee.t:
                return None
            chosen = self._chosen(task)
            opening = self._try(task, position, chosen)
        if opening is None:
            self.malformed += 1
            entry = Unopenable(order_id=order.order_id, nodes=tuple(chosen))
            self.effects.append(Append(UnopenableEntry(task.height, entry)))
            return OpenedOrder(order, None)
        opened = Opened(order_id=order.order_id, sigma=opening.sigma, padded=opening.padded)
        self.effects.append(Append(OpenedEntry(task.height, opened)))
        if opening.message is None:
            self.malformed += 1
        return OpenedOrder(order, opening.message)

    def _try(self, task: RevealTask, position: int, chosen: Sequence[int]) -> Opening | None:
        shares = {node + 1: task.bundles[node].shares[position] for node in chosen}
        try:
            point = combine(shares, self._committee.t)
            return open_ciphertext(self._committee.sealing_key, task.orders[position].checked, point)
        except ThresholdError:
            return None

    def _valid(self, task: RevealTask, bundle: Bundle) -> bool:
        """Verify a bundle's proof once; a bad one is put away and its sender is suspected from then on."""
        node = bundle.node
        if node in task.verified:
            return True
        key = self._committee.verification_key(node, bundle.sharing)
        points = [order.checked.u_point for order in task.orders]
        try:
            proof = BatchProof.decode(bundle.proof)
            verify_bundle(key, self._context(task, node), points, bundle.shares, proof)
        except ThresholdError as error:
            self._suspects.add(node)
            task.bad.add(node)
            self._blame(error, bad_shares(task, bundle))
            return False
        task.verified.add(node)
        return True

    def _coin_share(self, task: RevealTask, bundle: Bundle) -> VerifiedCoinShare | None:
        """A bundle's coin share, verified; where it is bad the whole bundle is put away."""
        try:
            return self._verify_coin(task, bundle)
        except ThresholdError as error:
            self._suspects.add(bundle.node)
            task.bad.add(bundle.node)
            self._blame(error, bad_coin_share(task, bundle, self._committee))
            return None

    def _verify_coin(self, task: RevealTask, bundle: Bundle) -> VerifiedCoinShare:
        key = self._committee.verification_key(bundle.node, bundle.sharing)
        return verify_coin_share(key, self._context(task, bundle.node), bundle.coin_share)

    def first_height(self) -> int | None:
        """The first height that is final and not open."""
        return self._tasks[0].height if self._tasks else None

    def stuck(self, now_ms: int) -> int | None:
        """That height, where it has lacked bundles for BUNDLES_STUCK_MS."""
        if not self._tasks or self._tasks[0].done or now_ms - self._tasks[0].since_ms < BUNDLES_STUCK_MS:
            return None
        return self._tasks[0].height if len(self._tasks[0].bundles) < self._committee.t else None

    # --- recovery -----------------------------------------------------------------------------------------------
    def finals(self) -> list[Finality]:
        """Blocks whose batches are final and not open."""
        return [task.final for task in self._tasks]

    def is_past(self, height: int) -> bool:
        """Whether this member has no share for ``height`` any more, or never had one."""
        task = next((one for one in self._tasks if one.height == height), None)
        return task is not None and self.secret_for(height) is None

    def restore(self, height: int) -> None:
        """Everything up to ``height`` is open, or is handed over again."""
        self._last_height = height

    # --- peers --------------------------------------------------------------------------------------------------
    def own_bundle(self, block_id: bytes) -> Bundle | None:
        """This member's bundle of a final block, where kept."""
        return self._own_bundles.get(block_id)

    def missing(self, now_ms: int) -> list[tuple[bytes, int]]:
        """(block, member) of bundles that have been awaited for FETCH_RETRY_MS and are still needed."""
        if not self._tasks:
            return []
        return [
            (task.block_id, node)
            for task in self._tasks
            if not task.done
            and len(task.bundles) < self._committee.t
            and now_ms - task.since_ms >= limits.FETCH_RETRY_MS
            for node in range(self._committee.n)
            if node not in task.bundles and node not in task.bad
        ]

    def pending(self) -> int:
        """Heights that are final and not open."""
        return len(self._tasks)

    def seen_certificate(self, certificate: Certificate) -> bool:
        return (certificate.view, certificate.block_id) in self._certified

    def forget_before(self, view: int) -> None:
        """Drop what is known of certificates of long-final views, and early bundles of heights that are open."""
        self._certified = {key: votes for key, votes in self._certified.items() if key[0] >= view}
        for early in self._early.values():
            for block_id in [b for b, bundle in early.items() if bundle.height <= self._last_height]:
                del early[block_id]
