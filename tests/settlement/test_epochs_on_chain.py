"""Which epochs' words the contract takes, as the submitter sees it, and when it tells the contract of a further one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mpc_sequencer.core.signing import Signer
from mpc_sequencer.settlement.contract import SettlementContract
from mpc_sequencer.settlement.devchain import DEV_SECRET
from mpc_sequencer.settlement.embedded import EmbeddedChain
from mpc_sequencer.settlement.ethrpc import Call
from mpc_sequencer.settlement.steps import UNSETTLED_EPOCHS_MAX, ContractView, Kind, Range, Rotation, Step, next_step
from tests.settlement.deployed_kit import GENESIS_ROOT, deploy
from tests.settlement.settled_kit import signed_rotation
from tests.settlement.submitter_kit import commit, result

DELAY_BLOCKS = 3


def test_the_view_follows_epochs_that_settle_nothing(
    embedded: EmbeddedChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = deploy(embedded.url, commits_required=False, rotation_delay_blocks=DELAY_BLOCKS)
    chain = SettlementContract(embedded.url, house.chain.settlement)

    def epochs() -> tuple[int, int, int]:
        view = chain.view_at(chain.block_number())
        return view.settled_epoch, view.epoch, max(0, view.usable_block - view.block)

    def wait(blocks: int) -> None:
        for _ in range(blocks):
            chain.transact(DEV_SECRET, [Call(Signer(DEV_SECRET).address, b"", 0, 21_000)])

    assert epochs() == (0, 0, 0)
    for epoch in (1, 2, 3):
        rotation, house.members = signed_rotation(house, epoch)
        chain.transact(DEV_SECRET, [chain.call_of(Step(Kind.ROTATE, epoch), None, None, rotation)])
        assert epochs() == (0, epoch - 1, DELAY_BLOCKS)
        wait(DELAY_BLOCKS - 1)
        assert epochs() == (0, epoch - 1, 1)
        wait(1)
        assert epochs() == (0, epoch, 0)
    chain.post_result(house.result(1, 4, GENESIS_ROOT, epoch=2), DEV_SECRET)
    assert epochs() == (2, 3, 0)

    # A node that answers as it likes ends the look after as many questions as any other.
    asked: list[str] = []

    def lie(function: str, *arguments: object, block: int | str = "latest") -> int:
        asked.append(function)
        assert len(asked) < 10, "no end"
        return 1

    monkeypatch.setattr(chain, "council_view", lie)
    chain.view_at(chain.block_number())


def test_a_rotation_that_the_contract_cannot_take_yet_does_not_hold_up_results() -> None:
    """Sixty-four epochs settled nothing while the chain was away: the next one's signers come after a result."""
    epoch = UNSETTLED_EPOCHS_MAX + 7
    ranges = [Range(1, epoch, 10, commit(1).signed, result(1).signed)]
    rotations = {epoch + 1: Rotation(epoch + 1, (), 2, b"", b"", ())}
    view = ContractView(5, epoch, 0, 0, 0, settled_epoch=7)
    assert next_step(ranges, rotations, view, alone=False) == Step(Kind.BOTH, 10)
    assert next_step([], rotations, view, alone=False) is None
    for settled in (8, epoch):
        after = replace(view, settled_epoch=settled)
        assert next_step(ranges, rotations, after, alone=False) == Step(Kind.ROTATE, epoch + 1)
