"""Waiting for the threshold key, as a step that a person can follow, and keeping it for what comes after."""

from __future__ import annotations

from typing import Final

from mpc_sequencer.client.committee_key import KEY_FILE_NAME, CommitteeKey, save_key
from mpc_sequencer.client.keysearch import follow_key
from mpc_sequencer.client.sequencer import SequencerClient
from mpc_sequencer.demo.screen import Screen
from mpc_sequencer.devnet.layout import Devnet

KEY_S_MAX: Final = 300.0
"""Several phases that wait for a silent member, and a busy machine."""
KEY_ID_DIGITS_SHOWN: Final = 16


async def wait_key(client: SequencerClient, devnet: Devnet, screen: Screen) -> CommitteeKey:
    """The key, as :meth:`SequencerClient.key` gives it, in a step of ``screen`` where the members generate it; then in
    the devnet's folder too, so that orders can be sealed there offline."""
    if client.committee.keys is not None:
        return await client.key()
    with screen.step("key generation") as step:
        key = await follow_key(client, KEY_S_MAX, step.say)
        step.note = f"key {key.key_id.hex()[:KEY_ID_DIGITS_SHOWN]} of {len(key.qualified)} dealers"
        keep_key(key, devnet)
    return key


def keep_key(key: CommitteeKey, devnet: Devnet) -> None:
    """Write the key file beside the committee file, where commands look for it."""
    if key.certificate is not None:
        save_key(devnet.folder / KEY_FILE_NAME, devnet.file.committee, key.certificate)
