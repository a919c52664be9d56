"""Crashes at every step of a rotation, of every member and joiner, and dealers that cheat in it."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rotation_kit import (
    approve,
    batched,
    cluster_of,
    executed,
    handed_over,
    in_epoch,
    promised,
    reshared,
    same_everywhere,
    target_of,
    trade,
    wait,
)

from mpc_sequencer.core.node import NodeCore
from mpc_sequencer.core.rotation import reshare_plan
from mpc_sequencer.sim import Cluster, make_deployment
from threshold import SecretShare
from threshold.dkg import Message, MessageType, Participant, Phase, Role, Session, message_type
from threshold.dkg.wire import SealedShare, SessionKey


def moved(core: NodeCore, *phases: str) -> bool:
    return reshared(core) or (core.succession.target is not None and core.keygen.phase in phases)


STEPS: dict[str, Callable[[NodeCore], bool]] = {
    "agreed": lambda core: reshared(core) or core.succession.target is not None,
    "keys": lambda core: moved(core, "keys", "deals", "answers", "ready"),
    "deals": lambda core: moved(core, "deals", "answers", "ready"),
    "ready": lambda core: moved(core, "ready"),
    "reshared": reshared,
    "handed over": handed_over,
    "ended": lambda core: core.chain.ended or core.committee.epoch > 0,
    "begun": in_epoch(1),
}


def crash(cluster: Cluster, place: int, *, kill: bool) -> None:
    """Power is gone, or (``kill``) only the process is; and back at once."""
    if kill:
        cluster.hosts[place].power_off(random.Random(place), kill=True)
    else:
        cluster.stop(place)
    cluster.run(1)
    cluster.restart(place)


def finish(cluster: Cluster, orders: list[bytes]) -> None:
    wait(cluster, in_epoch(1), 90_000)
    cluster.run(200)
    last = trade(cluster)
    wait(cluster, executed(last), 20_000)
    same_everywhere(cluster)
    assert set(orders) <= set(batched(cluster, 0))
    for host in cluster.hosts:
        batched(cluster, host.place)


@pytest.mark.parametrize("kill", [False, True], ids=["power", "kill"])
@pytest.mark.parametrize("place", range(7))
def test_a_member_or_joiner_that_crashes_at_every_step_goes_on(place: int, kill: bool) -> None:
    cluster = cluster_of()
    approve(cluster, target_of(cluster, range(7)), range(4))
    orders = []
    for name, reached in STEPS.items():
        for _ in range(1_000):
            if cluster.run(15, until=lambda c, reached=reached: reached(c.hosts[place].core)):  # type: ignore[misc]
                break
        assert reached(cluster.hosts[place].core), name
        orders.append(trade(cluster, [one for one in range(4) if one != place]))
        cluster.run(2)
        crash(cluster, place, kill=kill)
    finish(cluster, [order.order_id() for order in orders if promised(cluster, order)])


@pytest.mark.parametrize("name", STEPS)
def test_all_lose_power_at_one_step_and_the_rotation_goes_on(name: str) -> None:
    cluster = cluster_of()
    order = trade(cluster)
    wait(cluster, executed(order), places=range(4))
    approve(cluster, target_of(cluster, range(7)), range(4))
    assert cluster.run(60_000, until=lambda c: any(STEPS[name](host.core) for host in c.hosts))
    for place in range(7):
        cluster.stop(place)
    cluster.run(50)
    for place in range(7):
        cluster.restart(place)
    finish(cluster, [order.order_id()])


# --- dealers that cheat ----------------------------------------------------------------------------------------------
class Mute(Participant):
    """Deals nothing."""

    def messages(self, session: Session) -> tuple[bytes, ...]:
        return tuple(one for one in super().messages(session) if message_type(one) is not MessageType.DEAL)


class Liar(Participant):
    """Deals wrong values to the first two receivers."""

    def _seal(self, key: SessionKey, dealer: int, receiver: int, values: list[bytes], committed: bytes) -> SealedShare:
        wrong = [bytes(31) + b"\x07" for _ in values] if receiver in (1, 2) else values
        return super()._seal(key, dealer, receiver, wrong, committed)


@settings(max_examples=12, deadline=None)
@given(st.dictionaries(st.integers(1, 7), st.sampled_from([Mute, Liar]), max_size=7), st.integers(0, 2**32))
def test_random_sets_of_cheating_dealers_stop_a_resharing_only_where_too_few_are_left(
    cheats: dict[int, type[Participant]], seed: int
) -> None:
    """7 members with t = 3 deal to 5 others: three honest deals make the sharing, whoever else cheats and however."""
    cluster = shape()
    committee = cluster.deployment.committee
    target = target_of(cluster, range(5, 10), 4)
    plan = reshare_plan(committee, target, seed.to_bytes(32, "big"), committee.sharing(0).verification_keys)
    draw = random.Random(seed)
    people: list[Participant] = []
    for index in range(1, 8):
        held = cluster.deployment.share(index - 1)
        assert held is not None
        people.append(cheats.get(index, Participant)(plan, draw.randbytes(32), index, None, held))
    people += [Participant(plan, draw.randbytes(32), None, index, None) for index in range(1, 6)]
    session = Session.begin(plan, 1, 1_000)
    while not session.ended:
        said = [
            Message(one.dealer_index if message_type(p).role is Role.DEALER else one.receiver_index, p)  # type: ignore[arg-type]
            for one in people
            for p in one.messages(session)
        ]
        draw.shuffle(said)
        session = session.block(session.height + 1, session.time_ms + 5_000, said)
    honest = 7 - len(cheats)
    if honest < 3:
        assert session.phase is Phase.ABORTED
        return
    assert session.phase is Phase.DONE and session.result is not None
    assert session.result.public_key == committee.sealing_key.public_key
    assert not {culprit.index for culprit in session.culprits if culprit.role is Role.DEALER} - set(cheats)
    assert not set(session.result.qualified) & set(cheats)
    for one in people[7:]:
        share: SecretShare = one.share(session)
        assert share.verification_key() == session.result.verification_keys[share.index]


def shape(_made: list[Cluster] = []) -> Cluster:  # noqa: B006 - made once
    if not _made:
        _made.append(Cluster(make_deployment(7, seed=3, joiners=3, threshold=3)))
    return _made[0]


@pytest.mark.parametrize("cheater", [0, 3])
def test_a_dealer_that_cheats_in_a_rotation_is_named_and_the_rotation_goes_on(cheater: int) -> None:
    cluster = cluster_of()
    cluster.cores[cheater].keygen.voice.participant_of = Liar
    approve(cluster, target_of(cluster, range(7)), range(4))
    finish(cluster, [])
    named = {(fault.node, fault.code) for _, fault in cluster.faults if fault.code.startswith("dkg.")}
    assert named == {(cheater, "dkg.deal_wrong")}
