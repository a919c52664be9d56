"""The step in which the demo, the devnet and the chaos run wait for the committee's key."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from client_key_kit import Answering, build_house, certify, generated, status_reply, with_key
from rich.console import Console

from mpc_sequencer.client import load_key
from mpc_sequencer.client.errors import KeyPending
from mpc_sequencer.client.sequencer import open_sequencer
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.messages import ClientReply, ClientRequest, KeyQuery, KeyReply, StatusQuery
from mpc_sequencer.demo import key as key_step
from mpc_sequencer.demo.key import wait_key
from mpc_sequencer.demo.screen import Screen
from mpc_sequencer.devnet.layout import Devnet
from mpc_sequencer.node.config import CommitteeFile

HOUSE = build_house([7701, 7702, 7703, 7704])
STEPS = [("waiting", 0), ("deals", 3), ("deals", 4), ("ready", 1)]


def generating(steps: list[tuple[str, int]]) -> Answering:
    """Members whose generation goes a step on with each question for the state; after the last the key is there."""
    certificate = certify(HOUSE.file.committee, HOUSE.signers)
    left = list(steps)

    def answer(node: int, request: ClientRequest) -> list[ClientReply]:
        if isinstance(request, StatusQuery):
            phase, heard = left[0] if left else ("done", 0)
            del left[:1]
            expected = 4 if phase != "done" else 0
            return [status_reply(node, request.request, key_phase=phase, key_heard=heard, key_expected=expected)]
        if isinstance(request, KeyQuery):
            return [KeyReply(request.request, None if left else certificate, left[0][0] if left else "done")]
        return []

    return Answering(answer)


def devnet_of(folder: Path, file: CommitteeFile = HOUSE.file) -> Devnet:
    return Devnet(folder, file, folder / "passphrase")


async def test_the_step_tells_how_far_the_generation_is_and_leaves_the_key_beside_the_committee_file(
    tmp_path: Path,
) -> None:
    written = io.StringIO()
    screen = Screen(Console(file=written, width=160))
    async with open_sequencer(HOUSE.file.committee, generating(STEPS).connector) as client:
        await client.wait_connected(4, 5)
        key = await wait_key(client, devnet_of(tmp_path), screen)
    lines = written.getvalue().splitlines()
    told = ["waiting 0 of 4", "deals 3 of 4", "deals 4 of 4", "ready 1 of 4"]
    assert lines[:4] == [f"key generation: {words}" for words in told]
    assert lines[-1].startswith(f"key generation: key {key.key_id.hex()[:16]} of 4 dealers (")
    assert load_key(tmp_path / "key.json", Committee(HOUSE.file.genesis)).public_key == generated(
        HOUSE.file.committee
    ).public_key


async def test_a_committee_file_with_a_key_is_no_step_and_writes_nothing(tmp_path: Path) -> None:
    written = io.StringIO()
    committee = Committee(with_key(HOUSE.file.genesis))
    async with open_sequencer(committee, generating([]).connector) as client:
        key = await wait_key(client, devnet_of(tmp_path), Screen(Console(file=written)))
    assert key.certificate is None and written.getvalue() == "" and not list(tmp_path.iterdir())


async def test_a_generation_that_takes_too_long_ends_the_step_with_what_members_wait_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_step, "KEY_S_MAX", 0.4)
    async with open_sequencer(HOUSE.file.committee, generating([("deals", 3)] * 99).connector) as client:
        await client.wait_connected(4, 5)
        with pytest.raises(KeyPending, match="member 0 waits for deals"):
            await wait_key(client, devnet_of(tmp_path), Screen(Console(file=io.StringIO())))
    assert not (tmp_path / "key.json").exists()
