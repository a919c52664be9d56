"""Rotation: the old committee names the new one; each epoch's results by its own committee, in order."""

from __future__ import annotations

from dataclasses import replace

import boa
import pytest
from settlement_house import ALICE, BOB, GENESIS_ROOT, TERMS, House, Rotation, as_address, committee, deploy_house

from mpc_sequencer.core.signing import Signer
from mpc_sequencer.settlement.payloads import Delta, batch_result_digest, pack_deltas

TRADE = (Delta(ALICE, 0, -100, 0), Delta(BOB, 0, 100, 0))
NEW = committee(11)[4:]  # seven, none of the first four


def to_new(epoch: int = 1) -> Rotation:
    return Rotation(epoch, tuple(member.address for member in NEW))


def as_new(house: House, epoch: int = 1) -> House:
    """The house with the new committee's keys, from the last posted result on."""
    return replace(house, members=NEW, quorum=5)


def test_rotation_takes_the_new_signers_after_the_delay(house: House) -> None:
    rotation = to_new()
    assert house.council.signers_of(1) == [] and not house.council.is_serving(as_address(NEW[0].address))
    with boa.env.prank(as_address(BOB)):
        house.rotate(rotation, 1, 2, 3)
    (event,) = [log for log in house.council.get_logs() if type(log).__name__ == "Rotated"]
    assert (event.epoch, event.quorum, event.usable_block) == (1, 5, house.block + TERMS.rotation_delay_blocks)
    assert (event.threshold, event.committee, event.sharing) == (2, rotation.committee, rotation.sharing)
    assert [bytes.fromhex(one[2:]) for one in house.council.signers_of(1)] == list(rotation.signers)
    assert house.contract.quorum_of(1) == 5 and house.council.usable_block_of(1) == event.usable_block
    assert house.council.is_serving(as_address(NEW[0].address))
    assert house.council.is_serving(as_address(house.members[0].address))

    # The old committee's results come first, and may until the new one has posted.
    house.post(house.sign(house.result(*TRADE)))
    new = as_new(house)
    house.mine(TERMS.rotation_delay_blocks - 1)
    early = new.sign(new.result(*TRADE, epoch=1))
    with boa.reverts("signatures: signers not usable yet"):
        new.post(early)
    with boa.reverts("signatures: signers not usable yet"):
        new.post_commit(new.commit(epoch=1))
    house.mine()
    new.post(early)
    assert house.contract.last_posted()[:2] == (1, 6)
    with boa.reverts("result: wrong epoch"):
        house.post(house.sign(replace(new.result(*TRADE), epoch=0)))
    with boa.reverts("signatures: bad signature"):
        house.post(house.sign(replace(new.result(*TRADE), epoch=1)))
    with boa.reverts("signatures: no quorum"):
        new.post(new.sign(new.result(epoch=1), 0, 1, 2, 3))
    assert not house.council.is_serving(as_address(house.members[0].address))


def test_the_old_epochs_results_are_posted_first(house: House) -> None:
    house.rotate(to_new())
    house.mine(TERMS.rotation_delay_blocks)
    new = as_new(house)
    ahead = new.sign(new.result(*TRADE, epoch=1, first_height=4, last_height=6))
    with boa.reverts("result: wrong first height"):
        new.post(ahead)


def test_commits_go_over_with_the_committee(house: House) -> None:
    house.post_commit(house.commit())
    house.rotate(to_new())
    house.mine(TERMS.rotation_delay_blocks)
    new = as_new(house)
    first = new.commit(epoch=1)
    assert first.prev_hash == house.contract.last_commit()[2] != bytes(32)
    new.post_commit(first)
    assert house.contract.last_commit()[:2] == (1, 6)
    # From then on the old committee's word for orders is void, while its results still come.
    with boa.reverts("commit: wrong epoch"):
        house.post_commit(house.commit(epoch=0))
    house.post(house.sign(house.result(*TRADE)))
    with boa.reverts("commit: wrong epoch"):
        house.post_commit(house.commit(epoch=0))


ROTATION_MISSES = [
    ({"epoch": 0}, "rotate: not the next epoch"),
    ({"epoch": 2}, "rotate: not the next epoch"),
    ({"epoch": 2**64 - 1}, "rotate: not the next epoch"),
    ({"signers": to_new().signers[:3]}, "rotate: too few signers"),
    ({"signers": to_new().signers[::-1]}, "signers: not ascending"),
    ({"signers": (*to_new().signers[:1], *to_new().signers)}, "signers: not ascending"),
    ({"signers": (bytes(20), *to_new().signers)}, "signers: not ascending"),
]


@pytest.mark.parametrize(("changes", "reason"), ROTATION_MISSES)
def test_rotation_near_misses(house: House, changes: dict[str, object], reason: str) -> None:
    with boa.reverts(reason):
        house.rotate(replace(to_new(), **changes))  # type: ignore[arg-type]
    assert house.contract.quorum_of(1) == 0


def test_a_rotation_is_what_was_signed(house: House) -> None:
    good = to_new()
    signed = house.signed(good.struct_hash)
    for bent in (
        replace(good, threshold=3),
        replace(good, committee=bytes(32)),
        replace(good, sharing=bytes(32)),
        replace(good, signers=good.signers[:-1]),
    ):
        with boa.reverts("signatures: bad signature"):
            house.council.rotate(*bent.arguments, *signed)
    with boa.reverts("signatures: no quorum"):
        house.rotate(good, 0, 1)
    with boa.reverts("signatures: bad signature"):
        house.rotate(good, 0, 1, 2, members=NEW)
    house.rotate(good)
    with boa.reverts("rotate: not the next epoch"):
        house.rotate(replace(good, signers=good.signers[:5]))


def test_nobody_but_the_council_sets_signers_or_assets(house: House) -> None:
    with boa.reverts("rotate: not the council"):
        house.contract.take_signers(1, 1)
    with boa.reverts("asset: not the council"):
        house.contract.list_asset(house.tokens[0].address)


def test_no_rotation_after_a_freeze(house: House) -> None:
    house.freeze()
    with boa.reverts("settlement: frozen"):
        house.rotate(to_new())


@pytest.mark.parametrize(
    ("divisor", "members", "quorum"), [(3, 4, 3), (3, 5, 4), (3, 6, 5), (3, 7, 5), (4, 5, 4), (4, 9, 7), (4, 8, 7)]
)
def test_the_quorum_of_the_new_set(divisor: int, members: int, quorum: int) -> None:
    with boa.env.anchor():
        house = deploy_house(terms=replace(TERMS, quorum_divisor=divisor))
        house.start()
        new = committee(members)
        house.rotate(Rotation(1, tuple(member.address for member in new)))
        assert house.contract.quorum_of(1) == quorum and 3 * quorum > 2 * members


def test_the_handover_that_members_sign_is_the_contracts() -> None:
    """The struct hash of core.rotation, over the very fields that the contract is given."""
    from coincurve import PrivateKey

    from mpc_sequencer.core.rotation import handover_hash
    from mpc_sequencer.core.types import NextCommittee, NextMember

    with boa.env.anchor():
        house = deploy_house()
        house.start()
        secrets = sorted(
            (PrivateKey(bytes([7]) * 31 + bytes([index])) for index in range(1, 5)),
            key=lambda key: Signer(key.secret).address,
        )
        joined = tuple(
            NextMember(key.public_key.format(), bytes([index]) * 32, f"member{index}:1", b"")
            for index, key in enumerate(secrets)
        )
        target = NextCommittee(threshold=2, members=joined)
        sharing = bytes([3]) * 32
        struct_hash = handover_hash(1, target, sharing)
        signers = [as_address(Signer(key.secret).address) for key in secrets]
        arguments = (1, signers, 2, target.committee_hash(), sharing)
        house.council.rotate(*arguments, *house.signed(struct_hash))
        assert [one.lower() for one in house.council.signers_of(1)] == signers


def test_two_rotations_one_after_the_other(house: House) -> None:
    house.rotate(to_new())
    new = as_new(house)
    back = Rotation(2, tuple(member.address for member in committee(4)))
    with boa.reverts("signatures: signers not usable yet"):
        new.rotate(back)
    house.mine(TERMS.rotation_delay_blocks)
    new.post(new.sign(new.result(*TRADE, epoch=1)))
    new.rotate(back)
    house.mine(TERMS.rotation_delay_blocks)
    old = replace(new, members=committee(4), quorum=3)
    old.post(old.sign(old.result(epoch=2)))
    assert house.contract.last_posted()[:2] == (2, 6) and house.contract.last_posted()[2] != GENESIS_ROOT


def test_an_epoch_that_settles_nothing_does_not_stop_the_next(house: House) -> None:
    house.rotate(to_new())
    house.mine(TERMS.rotation_delay_blocks)
    new = as_new(house)
    new.rotate(Rotation(2, tuple(member.address for member in committee(4))))
    assert house.council.last_epoch() == 2
    for member in (house.members[0].address, NEW[0].address):
        assert house.council.is_serving(as_address(member)), "its results may still come"
    house.mine(TERMS.rotation_delay_blocks)
    old = replace(new, members=committee(4), quorum=3)
    old.post(old.sign(old.result(*TRADE, epoch=2)))
    assert house.contract.last_posted()[0] == 2
    with boa.reverts("result: wrong epoch"):
        new.post(new.sign(new.result(*TRADE, epoch=1)))
    for former, epoch in ((house, 0), (new, 1)):
        with boa.reverts("commit: wrong epoch"):
            former.post_commit(house.commit(epoch=epoch), members=former.members)
    assert not house.council.is_serving(as_address(NEW[0].address))


def test_sixty_four_epochs_that_settle_nothing(house: House) -> None:
    """Each of their committees may still sign, so none of its members can ask for a bond; there are no more of them."""
    last = committee(15)[11:]
    for epoch in range(1, 65):
        signers = NEW[:4] if epoch < 64 else last
        members = house.members if epoch == 1 else NEW[:4]
        house.rotate(Rotation(epoch, tuple(one.address for one in sorted(signers, key=lambda one: one.address))),
                     members=members)  # fmt: skip
        house.mine(TERMS.rotation_delay_blocks)
    last = sorted(last, key=lambda one: one.address)
    following = Rotation(65, to_new().signers)
    with boa.reverts("rotate: too many epochs without a result"):
        house.rotate(following, members=last)
    for member in (house.members[0], NEW[0], last[0]):
        signer = as_address(member.address)
        house.council.bond_member(signer, value=TERMS.bond_min_wei)
        assert house.council.is_serving(signer)
        with boa.env.prank(signer), boa.reverts("unbond: still a signer"):
            house.council.begin_unbonding()
    assert not house.council.is_serving(as_address(ALICE))
    middle = replace(house, members=NEW[:4], quorum=3)
    middle.post(middle.sign(middle.result(*TRADE, epoch=1)))
    house.rotate(following, members=last)
    assert house.council.last_epoch() == 65


def test_signatures_of_one_epoch_say_nothing_in_another(house: House) -> None:
    """Old epoch: signers of epoch 0 over a header of epoch 1, and over one of epoch 0 with the epoch changed."""
    house.rotate(to_new())
    house.mine(TERMS.rotation_delay_blocks)
    result = house.result(*TRADE)
    digest = batch_result_digest(house.separator, result)
    signatures = b"".join(member.sign_digest(digest) for member in NEW[:5])
    with boa.reverts("signatures: bad signature"):
        house.post_raw(replace(result, epoch=1), 0b11111, signatures, pack_deltas(TRADE))
    with boa.reverts("signatures: unknown signer"):
        house.post_raw(result, 0b11111, signatures, pack_deltas(TRADE))
