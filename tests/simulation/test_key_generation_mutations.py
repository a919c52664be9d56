"""A broken rule of the key generation is caught: by which checker, and within a few runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from keys_kit import Generation, outage, with_outages

from mpc_sequencer.core import keyvoice, limits
from mpc_sequencer.core.effects import EraseSecret, KeepSecret
from mpc_sequencer.core.keygen import KeySessions
from mpc_sequencer.core.keys import SEED_PREFIX
from mpc_sequencer.core.keyvoice import KeyVoice
from mpc_sequencer.sim import run as sim_run
from threshold import ecies
from threshold.dkg import Participant, Phase, deals, judge, session, wire
from threshold.dkg.wire import MessageType

Patch = pytest.MonkeyPatch


def _takes_any_header(patch: Patch) -> None:
    """Neither proofs of knowledge nor points used before are looked at."""

    def deal(held: Any, dealer: int, payload: bytes) -> Any:
        decoded = wire.decode_deal(payload, held.plan.kind, held.receivers, held.plan.threshold)
        return replace(held, deals={**held.deals, dealer: decoded})

    patch.setitem(judge._JUDGE, MessageType.DEAL, deal)  # type: ignore[arg-type]


def _hears_no_complaint(patch: Patch) -> None:
    patch.setattr(judge, "_complaint", lambda held, receiver, complaint: held)


def _believes_every_complaint(patch: Patch) -> None:
    def complaint(held: Any, receiver: int, opened: Any) -> Any:
        return replace(held, disqualified=held.disqualified | {opened.dealer})

    patch.setattr(judge, "_complaint", complaint)


def _uses_a_culprits_deal(patch: Patch) -> None:
    honest = judge._complaint

    def complaint(held: Any, receiver: int, opened: Any) -> Any:
        return replace(honest(held, receiver, opened), disqualified=held.disqualified)

    patch.setattr(judge, "_complaint", complaint)


def _takes_any_feldman(patch: Patch) -> None:
    patch.setattr(deals, "verify_feldman", lambda name, dealer, deal, feldman: True)


def _shows_feldman_with_the_deal(patch: Patch) -> None:
    honest = Participant.messages

    def messages(self: Participant, held: Any) -> tuple[bytes, ...]:
        owed = honest(self, held)
        own = self.dealer_index
        if held.phase is Phase.DEALS and own in held.deals:
            early = self._make(held, MessageType.FELDMAN, own)
            return owed if early is None else (*owed, early)
        return owed

    patch.setattr(Participant, "messages", messages)


def _keeps_no_seed(patch: Patch) -> None:
    def keep(name: str, secret: bytes) -> KeepSecret | EraseSecret:
        return EraseSecret(name) if name.startswith(SEED_PREFIX) else KeepSecret(name, secret)

    patch.setattr(keyvoice, "KeepSecret", keep)


def _begins_again_without_its_seed(patch: Patch) -> None:
    patch.setattr(KeyVoice, "_has_spoken", lambda self, name: False)


def _closes_keys_on_a_quorum(patch: Patch) -> None:
    def close(held: Any) -> Any:
        enough = len(held.keys) >= held.plan.quorum
        return session._open(held, Phase.DEALS) if enough else held

    patch.setitem(session._CLOSE, Phase.KEYS, close)  # type: ignore[arg-type]


def _hears_in_its_own_order(patch: Patch) -> None:
    honest = KeySessions._take

    def take(self: KeySessions, block: Any, messages: list[Any]) -> None:
        honest(self, block, messages[::-1] if self._core.node % 2 else messages)

    patch.setattr(KeySessions, "_take", take)


def _erases_no_seed(patch: Patch) -> None:
    patch.setattr(keyvoice, "EraseSecret", lambda name: EraseSecret("nothing"))


def _deals_in_the_clear(patch: Patch) -> None:
    patch.setattr(ecies, "_aead_encrypt", lambda values, *rest: values + bytes(16))
    patch.setattr(ecies, "_aead_decrypt", lambda body, *rest: body[:-16])


def _never_gives_up_on_a_window(patch: Patch) -> None:
    patch.setattr(session.Session, "window_passed", property(lambda self: False))


@dataclass(frozen=True)
class Mutation:
    """A broken rule, what it takes to show, and the checker that must notice."""

    name: str
    apply: Callable[[Patch], None]
    checker: str
    liar: str = ""
    plan: dict[str, Any] = field(default_factory=dict)
    seeds: int = 4


KEY_MS_MAX = limits.KEY_WINDOW_MS + 2_000
"""A window and a little: who is broken so that no key comes is not waited for."""
SLOW = with_outages(outage(2, 6, 1_500))
CRASH = with_outages(outage(2, 60, 110))
MUTATIONS = [
    Mutation("takes any header of a deal", _takes_any_header, "secrets", "copied_header"),
    Mutation("hears no complaint", _hears_no_complaint, "keys", "bad_dealer"),
    Mutation("believes every complaint", _believes_every_complaint, "keys", "lying_complainer"),
    Mutation("uses a culprit's deal", _uses_a_culprits_deal, "progress", "bad_dealer"),
    Mutation("takes any Feldman commitments", _takes_any_feldman, "keys", "bad_feldman"),
    Mutation("shows Feldman commitments with the deal", _shows_feldman_with_the_deal, "keys"),
    Mutation("keeps no seed", _keeps_no_seed, "keys", plan=CRASH),
    Mutation(
        "begins again without its seed", _begins_again_without_its_seed, "keys",
        plan=with_outages(outage(2, 40, 90, lost="vault")),
    ),
    Mutation("closes the keys on a quorum", _closes_keys_on_a_quorum, "keys", plan=SLOW),
    Mutation("hears messages in its own order", _hears_in_its_own_order, "keys", "double_dealer", seeds=8),
    Mutation("erases no seed", _erases_no_seed, "keys"),
    Mutation("deals in the clear", _deals_in_the_clear, "secrets"),
    Mutation("waits for silent members for ever", _never_gives_up_on_a_window, "progress", "mute_dealer"),
]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_broken_rule_of_the_key_generation_is_caught(mutation: Mutation, monkeypatch: Patch) -> None:
    monkeypatch.setattr(sim_run, "KEY_MS_MAX", KEY_MS_MAX)
    mutation.apply(monkeypatch)
    noticed: set[str] = set()
    liars = {"behaviours": ((0, mutation.liar),)} if mutation.liar else {}
    for seed in range(mutation.seeds):
        report = Generation(4, seed=seed, settle_ms=2_000, **liars, **mutation.plan).run()
        noticed |= {one.checker for one in report.violations}
        if mutation.checker in noticed:
            return
    pytest.fail(f"{mutation.seeds} runs, noticed only by {sorted(noticed)}")
