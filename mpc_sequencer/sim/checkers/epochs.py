"""What must hold across epochs: one chain of committees, one key, no order lost, nothing of an old sharing left."""

from __future__ import annotations

from bisect import insort

from mpc_sequencer.core.effects import Append, Broadcast, Effect, Send
from mpc_sequencer.core.keys import SHARE_PREFIX, decode_share, share_name
from mpc_sequencer.core.messages import BundleMessage, HeadMessage
from mpc_sequencer.core.node import NodeCore
from mpc_sequencer.core.transcript import BlockEntry, OpenedEntry
from mpc_sequencer.core.types import Block
from mpc_sequencer.sim.checkers.base import Checker, Watched
from mpc_sequencer.sim.checkers.keys import check_opens, seeds_left
from mpc_sequencer.sim.checkers.lives import own_list
from mpc_sequencer.sim.checkers.promises import Inclusion
from mpc_sequencer.sim.generation import untimely
from mpc_sequencer.sim.host import Host
from mpc_sequencer.sim.simulation import Simulation
from mpc_sequencer.sim.workload import POOR_TRADERS
from threshold import SecretShare

Start = tuple[object, ...]
"""What everybody in an epoch has in common."""


def _start_of(core: NodeCore) -> Start:
    committee = core.committee
    origin = committee.origin
    name = b"" if origin is None else origin.sharing.name
    return committee.genesis.members, committee.t, committee.anchor_id, committee.anchor_height, name


class Epochs(Checker):
    """An epoch has one committee, which operators wanted, and its blocks are those between its first and its last
    height. The key is one for ever."""

    name = "epochs"
    sees = frozenset({Append})

    def __init__(self, watched: Watched) -> None:
        super().__init__(watched)
        self._starts: dict[int, Start] = {}
        self._heights: dict[int, tuple[int, int]] = {}
        """By epoch: the lowest and the highest height that anybody has as final."""
        self._key = b""

    def on_effect(self, node: int, effect: Effect) -> None:
        if isinstance(effect, Append) and isinstance(effect.entry, BlockEntry):
            header = effect.entry.block.header
            low, high = self._heights.get(header.epoch, (header.height, header.height))
            self._heights[header.epoch] = (min(low, header.height), max(high, header.height))

    def at_interval(self, simulation: Simulation) -> None:
        for node in sorted(self.watched.honest):
            host = simulation.hosts[node]
            start = _start_of(host.core)
            if self._starts.setdefault(host.epoch, start) != start:
                self.report(host.core.chain.final_height, f"member {node} has another committee of epoch {host.epoch}")
            keys = host.core.committee.keys
            if keys is not None:
                self._key = self._key or keys.public_key
                if keys.public_key != self._key:
                    self.report(0, f"member {node} has another key in epoch {host.epoch} than there was before")

    def at_end(self, simulation: Simulation) -> None:
        self.at_interval(simulation)
        for epoch, (low, high) in sorted(self._heights.items()):
            here, after = self.watched.committee(epoch), self.watched.committee(epoch + 1)
            if here is None or low <= here.anchor_height:
                self.report(low, f"a block of epoch {epoch} is final before the epoch began")
            if after is not None and high > after.anchor_height:
                self.report(high, f"a block of epoch {epoch} is final after the epoch's last, {after.anchor_height}")


class Handovers(Checker):
    """Batches are empty once the handover is agreed, and all results are certified when the epoch ends. Shares
    leave for orders of final batches only: what an epoch's end has skipped is not opened before a block of the next
    one batches it."""

    name = "handover"
    sees = frozenset({Append, Broadcast, Send})

    def __init__(self, watched: Watched) -> None:
        super().__init__(watched)
        self._blocks: dict[int, Block] = {}
        self._handed: dict[int, int] = {}
        """Epoch -> the height with which its handover is agreed."""
        self._opened: dict[bytes, tuple[int, int]] = {}
        """Order -> (member, height)."""
        self._bundles: dict[tuple[bytes, int], int] = {}
        """(block, height) -> a member that sent shares for it."""

    def on_effect(self, node: int, effect: Effect) -> None:
        if isinstance(effect, Append):
            if isinstance(effect.entry, BlockEntry):
                self._block(node, effect.entry.block)
            elif isinstance(effect.entry, OpenedEntry):
                self._opened.setdefault(effect.entry.opened.order_id, (node, effect.entry.height))
        elif isinstance(effect, Broadcast | Send) and isinstance(effect.message, BundleMessage):
            bundle = effect.message.bundle
            self._bundles.setdefault((bundle.block_id, bundle.height), node)

    def _block(self, node: int, block: Block) -> None:
        header = block.header
        if header.height in self._blocks:
            return
        self._blocks[header.height] = block
        if header.epoch in self._handed and block.batch:
            self.report(header.height, f"a batch of {len(block.batch)} orders after the handover is agreed")
        state = self.watched.state_after(node, header.block_id())
        if state is not None and state.handover:
            self._handed.setdefault(header.epoch, header.height)
        if state is not None and state.ended and state.counting:
            self.report(header.height, f"the epoch ends and results of {state.counting} are not certified")

    def at_end(self, simulation: Simulation) -> None:
        batched = {one.order_id: height for height, block in self._blocks.items() for one in block.batch}
        for order_id, (node, height) in self._opened.items():
            if batched.get(order_id) != height:
                self.report(height, f"member {node} opened order {order_id.hex()}, which no final batch there holds")
        for (block_id, height), node in self._bundles.items():
            block = self._blocks.get(height)
            if block is None or block.header.block_id() != block_id:
                self.report(height, f"member {node} sent shares for {block_id.hex()}, which is not final at its height")


class Kept(Checker):
    """What all correct members of an epoch hold at a time is batched in the end, in that epoch or a later one,
    unless it has expired or its sponsor has no credit."""

    name = "kept"
    sees = frozenset({Append})

    def __init__(self, watched: Watched) -> None:
        super().__init__(watched)
        self._batched: set[bytes] = set()
        self._held: set[bytes] = set()
        poor = watched.deployment.traders[-POOR_TRADERS:]
        self._uncredited = frozenset(trader.address for trader in poor)

    def on_effect(self, node: int, effect: Effect) -> None:
        if isinstance(effect, Append) and isinstance(effect.entry, BlockEntry):
            self._batched.update(entry.order_id for entry in effect.entry.block.batch)

    def at_interval(self, simulation: Simulation) -> None:
        hosts = [simulation.hosts[node] for node in sorted(self.watched.correct)]
        oldest = min(host.epoch for host in hosts)
        members = [host for host in hosts if host.epoch == oldest and host.core.node < host.core.committee.n]
        if members:
            self._held |= set.intersection(*({*host.core.pool.ids()} for host in members))

    def at_end(self, simulation: Simulation) -> None:
        hosts = [simulation.hosts[node] for node in sorted(self.watched.correct)]
        newest = max(host.core.chain.final_state.time_ms for host in hosts)
        for order_id in sorted(self._held - self._batched):
            envelope = self.watched.sent.get(order_id)
            if envelope is None:
                continue
            label = envelope.decoded_label()
            if label.sponsor in self._uncredited or not label.valid_from_ms <= newest < label.valid_until_ms:
                continue
            self.report(0, f"order {order_id.hex()} was held by all correct members of an epoch and is in no batch")


class Vaults(Checker):
    """When all is over, the vault of an honest member holds its share of its epoch's newest sharing, the one that
    its verification key says, and nothing else: no older share, and no seed but a running session's. Who has no
    place in the newest epoch holds nothing. So a thief of all vaults recovers no older share and opens no older
    deal. Every timely member has its share, or where the resharing waits for a quorum only, t honest ones have; and
    t shares of the new members open what is sealed to the key."""

    name = "vaults"

    def at_end(self, simulation: Simulation) -> None:
        newest = max(simulation.hosts[node].epoch for node in self.watched.honest)
        shares: list[SecretShare] = []
        for node in sorted(self.watched.honest):
            host = simulation.hosts[node]
            if host.epoch == newest and host.up:
                shares += self._vault(host)
        committee = self.watched.committee(newest)
        if committee is None or not newest:
            return
        places = {host.place for host in simulation.hosts if host.epoch == newest and host.core.node < committee.n}
        timely = places & (self.watched.honest - untimely(self.watched.plan) - self.watched.late)
        held = {one.index for one in shares}
        missing = [node for node in sorted(timely) if simulation.hosts[node].core.node + 1 not in held]
        away = places - timely
        if committee.t > committee.n - 2 * committee.f and missing:  # else a resharing waits for a quorum only
            self.report(0, f"members {missing}, timely, have no share in epoch {newest}")
        if len(away) <= committee.f and len(shares) < committee.t:
            self.report(0, f"{len(shares)} honest members have shares in epoch {newest}, {committee.t} are needed")
        if len(shares) >= committee.t:
            check_opens(self, simulation, shares[: committee.t])

    def _vault(self, host: Host) -> list[SecretShare]:
        core, vault = host.core, host.disk.vault
        member = core.node < core.committee.n
        number = max(core.committee.sharings, default=0)
        left = seeds_left(host)
        wanted = {share_name(number)} if member else set()
        if core.committee.genesis.key_refresh_ms:  # one that has just been replaced goes when the log is durable
            wanted |= {share_name(one) for one in core.committee.sharings}
        left += [name for name in vault if name.startswith(SHARE_PREFIX) and name not in wanted]
        if left:
            self.report(0, f"the vault of member {host.place} holds {sorted(left)} in epoch {host.epoch}")
        kept = vault.get(share_name(number))
        if not member or kept is None:
            return []
        found = decode_share(kept)
        if found.verification_key() != core.committee.sharing(number).verification_keys[core.node]:
            self.report(0, f"the share of member {host.place} is not that of its verification key")
            return []
        return [found]


class EpochInclusion(Inclusion):
    """Inclusion within each epoch, until its handover is agreed."""

    def __init__(self, watched: Watched) -> None:
        super().__init__(watched)
        self._epoch = 0
        self._over: set[int] = set()
        """Epochs whose handover is agreed."""
        self._lists: dict[int, dict[bytes, dict[int, int]]] = {}
        self._views: dict[int, dict[int, list[tuple[int, int]]]] = {}
        self._members: frozenset[int] = frozenset()
        self._turn_to(0)

    def _turn_to(self, epoch: int) -> None:
        """Judge blocks of that epoch, by what its correct members said in it."""
        committee = self.watched.committee(epoch)
        assert committee is not None, "who has blocks of an epoch is in it"
        self._epoch = epoch
        self._members = frozenset(self.watched.people_of(committee)) & self.watched.correct
        self._listed = self._lists.setdefault(epoch, {})
        self._heads = self._views.setdefault(epoch, {})

    def on_effect(self, node: int, effect: Effect) -> None:
        if isinstance(effect, Append) and isinstance(effect.entry, BlockEntry):
            block = effect.entry.block
            if block.header.height == self._height + 1:
                self._height += 1
                if block.header.epoch != self._epoch:
                    self._turn_to(block.header.epoch)
                self._final(block)
                if self.watched.handed_over(node, block.header.block_id()) is not False:
                    self._over.add(self._epoch)
        number = self.watched.number(node)
        if (cut := own_list(number, effect)) is not None:
            lists = self._lists.setdefault(cut.epoch, {})
            for order_id in cut.entries:
                lists.setdefault(order_id, {}).setdefault(node, cut.number)
        elif isinstance(effect, Broadcast | Send) and isinstance(effect.message, HeadMessage):
            head = effect.message.head
            if head.node == number:
                insort(self._views.setdefault(head.epoch, {}).setdefault(node, []), (head.view, head.list_number))

    def _due(self, order_id: bytes, numbers: dict[int, int], view: int, time_ms: int) -> bool:
        if self._epoch in self._over or not self._members <= numbers.keys():
            return False
        if order_id in self._sequenced or not self._batchable(order_id, time_ms):
            return False
        return all(self._listed_before(node, numbers[node], view - 1) for node in self._members)

    def _listed_before(self, node: int, number: int, view: int) -> bool:
        self._heads.setdefault(node, [])
        return super()._listed_before(node, number, view)


class Together(Checker):
    """In the end every correct member of the newest epoch has executed what the others have, and lists orders."""

    name = "together"

    def at_end(self, simulation: Simulation) -> None:
        hosts = [simulation.hosts[node] for node in sorted(self.watched.correct)]
        newest = max(host.epoch for host in hosts)
        members = [host for host in hosts if host.epoch == newest and host.core.node < host.core.committee.n]
        executed = max((host.core.execution.executed_height for host in members), default=0)
        for host in members:
            standing = host.core.standing
            if standing.muted or not standing.may_list():
                self.report(0, f"member {host.place} does not list in epoch {newest}")
            if host.core.execution.executed_height < executed:
                own = host.core.execution.executed_height
                self.report(executed, f"member {host.place} has executed {own} only")
