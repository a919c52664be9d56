"""One member's shares of the threshold key: which it has, and how long.

The life of a share. It is *made* when its session is done, and goes into the vault before anything is opened with it;
where the committee file gives the key, share 0 is there from the start. It is *held* in memory, in
``core.reveal.secrets``, while a height may still have to be opened with it: from the session's end, or after a restart
out of the vault, and then only if it is the share that the others know of. It is *retired* when this member has opened
everything that was for it: overwritten in memory at once, while the vault's copy goes when the log that shows the
opened batches is durable. If all members lost what opened a batch, only these shares could open it again.

An epoch's shares *end* with it: the epoch is over here when all its heights are open here, so its core overwrites what
it holds, and the next one's retires what the vault still has of them, at the cutover and, should a crash have come
between, at the next start.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from mpc_sequencer.core.effects import Fault, KeepSecret, RetireSecret
from mpc_sequencer.core.keys import SHARE_PREFIX, decode_share, encode_share, share_name
from threshold import SecretShare

if TYPE_CHECKING:
    from mpc_sequencer.core.node import NodeCore


class KeyShares:
    """This member's shares by number of the sharing. ``secrets`` are the vault's, by name; ``given`` is the share where
    the committee file gives the key."""

    def __init__(self, core: NodeCore, secrets: Mapping[str, bytes], given: SecretShare | None) -> None:
        self._core = core
        self._kept = {
            int(name.removeprefix(SHARE_PREFIX)): secret
            for name, secret in secrets.items()
            if name.startswith(SHARE_PREFIX)
        }
        """The vault's, as this core found it and as it has put there for the next epoch."""
        if given is not None:
            core.reveal.secrets[0] = given

    def held(self, number: int) -> SecretShare | None:
        """This member's share of a sharing, where it may still be used."""
        return self._core.reveal.secrets.get(number)

    def made(self, number: int, share: SecretShare | None) -> None:
        """A session is done, and this is what it gave this member: None where it came too late to be dealt to, or has
        lost its seed."""
        if share is not None:
            self._core.effects.append(KeepSecret(share_name(number), encode_share(share)))
        self._use(number, share)

    def made_for_later(self, number: int, share: SecretShare | None) -> None:
        """A resharing to the next epoch's committee is done; nothing is opened with this share before that epoch."""
        if share is not None:
            self._kept[number] = encode_share(share)
            self._core.effects.append(KeepSecret(share_name(number), self._kept[number]))

    def use_kept(self) -> None:
        """Hold the vault's shares of the sharings that are known, after a restart."""
        for number in self._core.committee.sharings:
            if number not in self._core.reveal.secrets:
                self._use(number, None)

    def retire(self) -> None:
        """Erase shares of sharings that nothing is opened with any more, those of epochs before among them."""
        core = self._core
        held, sharings = core.reveal.secrets, core.committee.sharings
        if not sharings or min((*held, *self._kept), default=max(sharings)) >= max(sharings):
            return
        opening = core.reveal.first_height()
        height = core.chain.final_height + 1 if opening is None else opening
        opens = core.committee.known_sharing_at(height)
        current = min(core.committee.sharings) if opens is None else opens.number
        for number in sorted(one for one in {*held, *self._kept} if one < current):
            if number in held:
                held.pop(number).erase()
            self._kept.pop(number, None)
            core.effects.append(RetireSecret(share_name(number)))

    def end(self) -> None:
        """The epoch is over, and all that was for its shares is open: overwrite them."""
        held = self._core.reveal.secrets
        for number in list(held):
            held.pop(number).erase()
        self._kept.clear()

    def _use(self, number: int, share: SecretShare | None) -> None:
        core = self._core
        share = share or self._known_to_others(number)
        if share is not None:
            core.reveal.secrets[number] = share
        elif number == max(core.committee.sharings) and core.node < core.committee.n:
            detail = f"this member has no share of sharing {number}: it helps to open nothing until the next refresh"
            core.effects.append(Fault(core.node, "key.no_share", detail))

    def _known_to_others(self, number: int) -> SecretShare | None:
        """The vault's share, where it is the one that the others know of."""
        kept = self._kept.get(number)
        if kept is None or self._core.node >= self._core.committee.n:
            return None
        share = decode_share(kept)
        fits = share.verification_key() == self._core.committee.sharing(number).verification_keys[self._core.node]
        return share if fits else None
