"""What each party of a dark batch saw, out of the nodes' own folders once they have stopped.

Two sources. A member's audit log has the batch's computation, every message signed: it is replayed without any share,
and must come to the fills that the members reported. And each member's vault has the seed that opens *its* boxes: so
the shares that it held are shown as it saw them. This demo wrote all keystores and may open them all; a member has one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mpc_sequencer.audit.reader import LogReader
from mpc_sequencer.audit.report import Recorder, Stop
from mpc_sequencer.client.dark_keys import DarkKeys
from mpc_sequencer.client.tracker import OrderRecord
from mpc_sequencer.core.actions import DarkOrder
from mpc_sequencer.core.codec import decode
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.darkvoice import dark_seed_name
from mpc_sequencer.core.errors import ConfigError, ProtocolError
from mpc_sequencer.core.limits import LOG_ENTRY_BYTES_MAX
from mpc_sequencer.core.transcript import DarkEntry, LogEntry
from mpc_sequencer.dark.facts import BatchFacts, price_of
from mpc_sequencer.dark.field import ELEMENT_BYTES
from mpc_sequencer.dark.keyparty import KeyParty
from mpc_sequencer.dark.layout import Deposit
from mpc_sequencer.dark.messages import OutcomeValue
from mpc_sequencer.dark.orders import open_box, params_of
from mpc_sequencer.dark.run import replay_batch
from mpc_sequencer.dark.signed import SignedTranscript, joined
from mpc_sequencer.devnet.layout import Devnet
from mpc_sequencer.node.config import vault_of
from mpc_sequencer.node.keystore import open_keystore
from mpc_sequencer.node.vault import Vault

SHOWN_ELEMENTS: Final = 2
"""Of a party's shares of one order: so many are shown, the first."""


@dataclass(frozen=True, slots=True)
class SentOrder:
    """An order of the demo: what everybody sees of it once it is final, and what members reported."""

    action: DarkOrder
    record: OrderRecord


@dataclass(frozen=True, slots=True)
class PartyView:
    """What one party held of a batch: its shares of one order (hex, the first SHOWN_ELEMENTS elements of ``elements``),
    and the part of ones among all bits of its shares of all orders."""

    party: int
    order_id: bytes
    shares: tuple[str, ...]
    elements: int
    ones: float


@dataclass(frozen=True, slots=True)
class BatchView:
    """A batch: its number and orders, in the computation's order; what was opened to everybody, and what it came to by
    replay; ``reported`` says whether that is what the members reported."""

    batch: int
    session: bytes
    order_ids: tuple[bytes, ...]
    deposits: tuple[Deposit, ...]
    """What each order locks, for all to see."""
    rounds: int
    opened: int
    outcome: OutcomeValue
    price_ticks: int | None
    liars: tuple[int, ...]
    reported: bool
    parties: tuple[PartyView, ...]


def read_transcripts(log: Path, committee: Committee) -> dict[int, SignedTranscript]:
    """The computations in a member's log by batch, of a deployment with one dark market; each message is signed by its
    party. Raises :class:`ConfigError` where the log or one of them is not whole."""
    parts: dict[int, list[DarkEntry]] = {}
    recorder = Recorder()
    try:
        for _, data in LogReader(log, committee, recorder).entries():
            entry: LogEntry = decode(LogEntry, data, bytes_max=LOG_ENTRY_BYTES_MAX)
            if isinstance(entry, DarkEntry):
                parts.setdefault(entry.batch, []).append(entry)
        found = {batch: joined(rows) for batch, rows in sorted(parts.items())}
        for transcript in found.values():
            transcript.check(committee.check_signature)
    except Stop:
        raise ConfigError(f"{log}: {recorder.findings[-1].detail}", "see the member's node.log") from None
    except ProtocolError as error:
        raise ConfigError(f"{log}: {error}", "see the member's node.log") from None
    return found


def view_batches(
    devnet: Devnet, log: Path, keys: DarkKeys, sent: Mapping[bytes, SentOrder]
) -> tuple[list[BatchView], list[str]]:
    """Every batch that a log computes, and what is wrong with any of them, in words."""
    committee, problems, views = devnet.file.committee, list[str](), list[BatchView]()
    batches = _ended_together(sent)
    for batch, transcript in read_transcripts(log, committee).items():
        facts = next((one for ids in batches if (one := _facts(committee, keys, batch, transcript, ids, sent))), None)
        if facts is None:
            problems.append(f"batch {batch}: the log's computation is of no batch that the members reported")
            continue
        views.append(_view(devnet, keys, facts, transcript, sent))
    problems += [f"batch {one.batch}: the replay gives other fills than reported" for one in views if not one.reported]
    problems += [f"batch {one.batch}: members {list(one.liars)} opened wrong shares" for one in views if one.liars]
    return views, problems


def _ended_together(sent: Mapping[bytes, SentOrder]) -> list[tuple[bytes, ...]]:
    """Order ids of each batch, as far as reports tell: those that ended at one height, in the computation's order."""
    by_height: dict[int, list[tuple[int, bytes]]] = {}
    for order_id, one in sent.items():
        history = one.record.history()
        if one.record.end is not None and len(history) > 1:
            by_height.setdefault(history[-1].height, []).append((history[0].height, order_id))
    return [tuple(order_id for _, order_id in sorted(rows)) for _, rows in sorted(by_height.items())]


def _facts(
    committee: Committee,
    keys: DarkKeys,
    batch: int,
    transcript: SignedTranscript,
    order_ids: tuple[bytes, ...],
    sent: Mapping[bytes, SentOrder],
) -> BatchFacts | None:
    """The public facts of a computation of these orders; None where they are not those of ``transcript``: its name
    hashes them."""
    action = sent[order_ids[0]].action
    market = next(one for one in committee.genesis.markets if one.id == action.market)
    assert market.dark is not None, "orders with boxes are a dark market's"
    actions = [sent[order_id].action for order_id in order_ids]
    facts = BatchFacts(
        params=params_of(market.dark, committee.n, committee.f),
        topic=keys.agreed.topic,
        epoch=keys.epoch,
        keys_id=keys.id,
        market=market.id,
        batch=batch,
        participants=tuple(sorted({one.party for one in transcript.said})),
        order_ids=order_ids,
        deposits=tuple(Deposit(one.quote_tick_lots, one.base_lots) for one in actions),
    )
    return facts if facts.session_id() == transcript.session_id else None


def _view(
    devnet: Devnet,
    keys: DarkKeys,
    facts: BatchFacts,
    transcript: SignedTranscript,
    sent: Mapping[bytes, SentOrder],
) -> BatchView:
    outcome, liars = replay_batch(facts, transcript.plain())
    sizes = {one.round: len(one.payload) // ELEMENT_BYTES for one in transcript.said}
    price_ticks = price_of(facts.params, outcome)
    filled = {facts.order_ids[fill.order]: (fill.lots, price_ticks) for fill in outcome.fills}
    reported = {
        order_id: (last.filled_lots, last.price_ticks)
        for order_id in facts.order_ids
        if (last := sent[order_id].record.history()[-1]).filled_lots
    }
    idle = [order_id for order_id in facts.order_ids if order_id not in filled]
    shown = (idle or list(facts.order_ids))[0]
    return BatchView(
        batch=facts.batch,
        session=facts.session_id(),
        order_ids=facts.order_ids,
        deposits=facts.deposits,
        rounds=len(sizes),
        opened=sum(sizes.values()),
        outcome=outcome,
        price_ticks=price_ticks,
        liars=tuple(sorted(liars)),
        reported=filled == reported,
        parties=tuple(_party_views(devnet, keys, facts, shown, sent)),
    )


def _party_views(
    devnet: Devnet, keys: DarkKeys, facts: BatchFacts, shown: bytes, sent: Mapping[bytes, SentOrder]
) -> Iterable[PartyView]:
    for party in facts.participants:
        secret = box_secret(devnet, party, keys)
        rows = {
            order_id: open_box(facts.params, sent[order_id].action, party, secret, keys.agreed.box_keys[party]) or b""
            for order_id in facts.order_ids
        }
        elements = _elements(rows[shown])
        yield PartyView(party, shown, tuple(elements[:SHOWN_ELEMENTS]), len(elements), _ones(rows.values()))


def box_secret(devnet: Devnet, node: int, keys: DarkKeys) -> bytes:
    """The secret of a stopped member's box key, out of its vault. Raises :class:`ConfigError`."""
    keystore = devnet.node_folder(node) / "keystore.json"
    opened = open_keystore(keystore, devnet.passphrase_file.read_text().strip())
    assert opened.vault_key is not None, "a member's keystore has the key of its vault"
    vault = Vault(vault_of(keystore), opened.vault_key)
    try:
        seed = vault.get(dark_seed_name(keys.epoch))
    finally:
        vault.close()
    if seed is None:
        raise ConfigError(f"{keystore}: the vault has no seed of epoch {keys.epoch}", "it is erased with its epoch")
    return KeyParty(seed, node).box_secret(keys.agreed.topic, keys.agreed.attempt)


def _elements(row: bytes) -> list[str]:
    return [row[at : at + ELEMENT_BYTES].hex() for at in range(0, len(row), ELEMENT_BYTES)]


def _ones(rows: Iterable[bytes]) -> float:
    """The part of ones among all bits but each element's two highest, which are 0 below 2^94."""
    data = b"".join(rows)
    bits = len(data) // ELEMENT_BYTES * (8 * ELEMENT_BYTES - 2)
    return int.from_bytes(data, "big").bit_count() / bits if bits else 0.0


def orders_of(views: Sequence[BatchView]) -> int:
    """Orders in all of these batches."""
    return sum(len(view.order_ids) for view in views)
