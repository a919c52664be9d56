"""Members' shares of a computation as they come over the wire: whose they are, how many are kept, what is refused."""

from __future__ import annotations

import pytest
from core_kit import picture, refused
from dark_cluster_kit import resigned

from mpc_sequencer.core import limits
from mpc_sequencer.core.codec import encode
from mpc_sequencer.core.darkside import DarkAttemptRecord
from mpc_sequencer.core.effects import FromPeer, Persist
from mpc_sequencer.core.messages import DarkShares
from mpc_sequencer.core.node import NodeCore
from mpc_sequencer.core.recovery import dump, recover
from mpc_sequencer.dark.transcript import PAYLOAD_BYTES_MAX, RoundShares
from mpc_sequencer.sim import make_deployment
from mpc_sequencer.sim.deployment import DARK_MARKET, START_MS

D = make_deployment(5, seed=33, dark=DARK_MARKET)
SESSION = b"\x07" * 32


@pytest.fixture
def core() -> NodeCore:
    made = D.first_core(0, b"\x01" * 32)
    made.start(START_MS)
    return made


def shares(number: int = 0, *, party: int = 1, payload: bytes = b"\x01" * 12, session: bytes = SESSION) -> DarkShares:
    """A party's message of a round, as it should be."""
    unsigned = DarkShares(session, party, number, b"x", bytes(65))
    return resigned(D, unsigned, encode(RoundShares(session, number, payload)))


def take(core: NodeCore, node: int, message: DarkShares) -> None:
    core.peers.handle(node, message, START_MS)


def kept(core: NodeCore, node: int) -> list[DarkShares]:
    return list(core.dark_voice.runs._early[node].values())


def test_what_comes_before_its_computation_has_begun_is_kept(core: NodeCore) -> None:
    take(core, 1, shares())
    take(core, 1, shares(1))
    take(core, 2, shares(party=2))
    take(core, 1, shares())
    assert len(kept(core, 1)) == 2 and len(kept(core, 2)) == 1


@pytest.mark.parametrize(
    ("code", "node", "message"),
    [
        ("member.sender", 2, shares),
        ("signature.signer", 1, lambda: resigned(D, shares(), shares().message, signer=3)),
        ("dark.shares", 1, lambda: resigned(D, shares(1), shares(2).message)),
        ("dark.shares", 1, lambda: resigned(D, shares(), shares(session=b"\x08" * 32).message)),
        ("wire.malformed", 1, lambda: resigned(D, shares(), b"\xc1")),
    ],
)
def test_a_message_in_anothers_name_or_of_another_round_changes_nothing(code, node, message, core) -> None:  # type: ignore[no-untyped-def]
    take(core, 1, shares(5))
    before = picture(core)
    with refused(code):
        take(core, node, message())
    assert picture(core) == before


def test_two_early_messages_of_one_round_convict_and_the_first_one_stays(core: NodeCore) -> None:
    core.step(FromPeer(1, shares()), START_MS)
    core.step(FromPeer(1, shares(payload=b"\x02" * 12)), START_MS)
    assert core.convictions.nodes == {1}
    assert kept(core, 1) == [shares()]
    core.step(FromPeer(1, shares(2)), START_MS)
    assert len(kept(core, 1)) == 1, "who is convicted is not heard any more"


def test_a_flood_of_early_shares_costs_no_more_than_its_bound_and_none_of_anothers(core: NodeCore) -> None:
    take(core, 2, shares(party=2))
    large = bytes(PAYLOAD_BYTES_MAX - PAYLOAD_BYTES_MAX % 12)
    for number in range(12):
        take(core, 1, shares(number, payload=large))
    runs = core.dark_voice.runs
    held = kept(core, 1)
    assert sum(len(one.message) for one in held) == runs._early_bytes[1] <= limits.DARK_EARLY_BYTES_MAX
    assert [one.round for one in held] == list(range(12 - len(held), 12)), "the newest stay"
    assert len(kept(core, 2)) == 1


def test_an_attempt_outlives_a_snapshot_and_the_journal(core: NodeCore) -> None:
    core.dark_voice.runs.give_up((1, 4))
    records = [one.record for one in core.collect() if isinstance(one, Persist)]
    assert DarkAttemptRecord(0, 1, 4) in records
    snapshot, _ = dump(core)
    for parts in ((snapshot, []), (None, [encode(DarkAttemptRecord(0, 1, 4))])):
        again = D.first_core(0, b"\x02" * 32)
        recover(again, *parts, [], START_MS)
        assert again.dark_voice.runs.result((1, 4)) == (None,)
        assert again.dark_voice.runs.result((1, 5)) is None
    again.dark_voice.runs.forget(1, 5)
    assert not again.dark_voice.runs.records()


def test_seeds_of_epochs_before_are_erased_at_a_start_and_later_ones_are_not() -> None:
    from mpc_sequencer.core.darkvoice import _is_older

    assert _is_older("dark-0", 1) and _is_older("dark-2", 3)
    assert not _is_older("dark-1", 1) and not _is_older("dark-2", 1)
    assert not _is_older("share-0", 1) and not _is_older("session-00", 1)
