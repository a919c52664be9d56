"""The generated key: one view of it, shares that fit, culprits that are, secrets that stay secret.

The promise to an honest member. It is *timely* where it keeps its secrets and is never away for as long as a window
lasts. Where at most f members are not timely, the first attempt gives a key; every timely member is among its dealers,
none is named for anything, and each holds the share that its verification key says, so that n - f honest ones, t of
whom suffice, hold theirs. Who is not timely may be named as silent, and may be left without a share; it says so
(``key.no_share``), and follows the log all the same. Where more than f are not timely an attempt may be void, and
another one begins. In no case are there two views of a sharing. Who has none of the generation's gets one of a refresh.
"""

from __future__ import annotations

from typing import Final

from mpc_sequencer.core import eip712, signing
from mpc_sequencer.core.codec import encode
from mpc_sequencer.core.effects import (
    Append,
    Broadcast,
    Effect,
    Fault,
    KeepSecret,
    KeyRecord,
    Persist,
    Reply,
    Send,
)
from mpc_sequencer.core.errors import ProtocolError
from mpc_sequencer.core.keys import SEED_PREFIX, decode_share, seed_name, session_id, session_plan, share_name
from mpc_sequencer.core.transcript import KeyEntry
from mpc_sequencer.core.types import KeyCertificate, KeyMessage
from mpc_sequencer.sim.checkers.base import Checker, Watched
from mpc_sequencer.sim.generation import untimely
from mpc_sequencer.sim.host import Host
from mpc_sequencer.sim.simulation import Simulation
from threshold import SecretShare, check, combine, group, open_ciphertext, seal, share, tags
from threshold.dkg import MessageType, Participant, Plan, Result
from threshold.dkg.wire import encode_ready
from threshold.shamir import evaluate_secret

CULPRIT_CODES: Final = ("dkg.", "point.", "scalar.", "key.repeated")
"""What a session names its culprits by begins so."""
GENERATION: Final = "key session 0."
ATTEMPTS_KNOWN: Final = 8


class Keys(Checker):
    """The promise above."""

    name = "keys"
    sees = frozenset({Persist, Fault, Append})

    def __init__(self, watched: Watched) -> None:
        super().__init__(watched)
        self.untimely = untimely(watched.plan)
        self.timely = watched.honest - self.untimely
        self.certificate: KeyCertificate | None = None
        """The generation's, as the first honest member kept it."""
        self.refreshed: dict[int, KeyCertificate] = {}
        """Those of later sharings."""
        self.culprits: dict[int, set[tuple[int, str]]] = {}
        """(culprit, code) by the member that names it."""
        self.void = 0
        """Attempts that came to nothing."""
        self._answered: set[bytes] = set()
        """Sessions of which an answer is in a log."""
        self.shareless: set[int] = set()
        """Members that said that they have no share."""

    def on_effect(self, node: int, effect: Effect) -> None:
        if isinstance(effect, Persist):
            if isinstance(effect.record, KeyRecord):
                self._key(node, effect.record.certificate)
        elif isinstance(effect, Append):
            if isinstance(effect.entry, KeyEntry):
                self._logged(effect.entry.message)
        elif isinstance(effect, Fault):
            if effect.code == "key.aborted" and GENERATION in effect.detail:
                self._void(node, effect)
            elif effect.code == "key.no_share" and "sharing 0" in effect.detail:
                self.shareless.add(node)
                if node in self.timely:
                    self.report(0, f"member {node}, timely, has no share")
            elif effect.code.startswith(CULPRIT_CODES) and GENERATION in effect.detail:
                self._culprit(node, effect)

    def _logged(self, message: KeyMessage) -> None:
        """Feldman's commitments follow the answers: before, they would tell liars what to make of the key."""
        if message.payload[0] == MessageType.ANSWER:
            self._answered.add(message.session)
            return
        early = message.payload[0] == MessageType.FELDMAN and message.session not in self._answered
        if early and message.node in self.watched.honest:
            self.report(0, f"member {message.node} shows its part of the key before anybody has answered the deals")

    def _key(self, node: int, certificate: KeyCertificate) -> None:
        if certificate.sharing:
            if self.refreshed.setdefault(certificate.sharing, certificate) != certificate:
                self.report(0, f"member {node} has another view of sharing {certificate.sharing} than the others")
        elif self.certificate is None:
            self.certificate = certificate
            fault = self._certificate_fault(certificate)
            if fault is not None:
                self.report(0, f"member {node} has a key whose certificate is none: {fault}")
        elif certificate != self.certificate:
            self.report(0, f"member {node} has another view of the key, or of who stands for it, than the others")

    def _certificate_fault(self, certificate: KeyCertificate) -> str | None:
        """From digests and addresses alone."""
        committee = self.committee
        payload = encode_ready(Result.decode(certificate.result).hash())
        session = session_id(committee, certificate.sharing, certificate.attempt)
        signers = set()
        for ready in certificate.ready:
            said = KeyMessage(committee.epoch, session, ready.node, payload, ready.signature)
            digest = eip712.digest(committee.separator, said.struct_hash())
            try:
                signer = signing.recover_address(digest, ready.signature, "ready")
            except ProtocolError:
                return f"the word of member {ready.node} is no signature"
            if signer != committee.addresses[ready.node]:
                return f"the word of member {ready.node} is not its own"
            signers.add(ready.node)
        return None if len(signers) >= committee.q else f"{len(signers)} signers, {committee.q} needed"

    def _void(self, node: int, effect: Fault) -> None:
        self.void += 1
        if len(self.untimely) <= self.committee.f:
            self.report(0, f"member {node}: {effect.detail}, with {len(self.untimely)} members that are not timely")

    def _culprit(self, node: int, effect: Fault) -> None:
        self.culprits.setdefault(node, set()).add((effect.node, effect.code))
        silent = effect.code == "dkg.silent"
        if effect.node in self.timely or (effect.node in self.watched.honest and not silent):
            self.report(0, f"member {node} names member {effect.node}, honest: {effect.code}, {effect.detail}")

    def at_end(self, simulation: Simulation) -> None:
        if self.certificate is None:
            return
        result = Result.decode(self.certificate.result)
        missing = {node for node in self.timely if node + 1 not in result.qualified}
        if missing:
            self.report(0, f"members {sorted(missing)} dealt in time and do not qualify")
        newest = max(core.keygen.number for core in simulation.cores) - 1
        held = {node: self._share(simulation, node) for node in sorted(self.watched.honest)}
        shares = [one for node, (number, one) in held.items() if one is not None and number == newest]
        if not newest and len(self.untimely) <= self.committee.f and len(shares) < self.committee.t:
            self.report(0, f"{len(shares)} honest members have shares, {self.committee.t} are needed")
        elif len(shares) >= self.committee.t:
            check_opens(self, simulation, shares[-self.committee.t :])
        views = {node: said for node, said in self.culprits.items() if node in self.timely}
        if len({frozenset(said) for said in views.values()} | {frozenset()}) > 2 or 0 < len(views) < len(self.timely):
            self.report(0, f"timely members name different culprits: {views}")

    def _share(self, simulation: Simulation, node: int) -> tuple[int, SecretShare | None]:
        """The newest sharing that the member knows of, and its share of it as its vault has it, or None."""
        host = simulation.hosts[node]
        core = host.core
        number = core.keygen.number - 1
        kept = host.disk.vault.get(share_name(number))
        if host.up and core.keygen.certificate is not None:
            left = seeds_left(host)
            if left:
                self.report(0, f"member {node} has the key and its vault still holds {left}")
            if (number in core.reveal.secrets) != (kept is not None) and node not in self.watched.plan.robbed:
                self.report(0, f"member {node} uses another share than its vault holds")
        elif node in self.watched.correct:
            self.report(0, f"member {node} never learned the key")
        if kept is None:
            if node in self.timely and not number:
                self.report(0, f"the vault of member {node}, timely, has no share")
            return number, None
        found = decode_share(kept)
        if found.verification_key() != core.committee.sharing(number).verification_keys[node]:
            self.report(0, f"the share of member {node} is not that of its verification key")
        return number, found


def check_opens(checker: Checker, simulation: Simulation, shares: list[SecretShare]) -> None:
    """What is sealed to the key opens with t of the honest members' ``shares``, or ``checker`` reports it."""
    deployment, key = simulation.deployment, checker.committee.sealing_key
    label = deployment.label(deployment.traders[0].address, simulation.now_ms)
    sealed = seal(key, label, b"opens", sigma=bytes(range(32)))
    checked = check(key, label.encode(), sealed, buckets=(label.size_bucket,))
    points = {one.index: share(one, checked) for one in shares}
    if open_ciphertext(key, checked, combine(points, len(points))).message != b"opens":
        checker.report(0, "what is sealed to the key opens to something else")


def seeds_left(host: Host) -> list[str]:
    """The seeds that the host's vault holds of sessions that are over."""
    core = host.core
    running = "" if core.keygen.running is None else seed_name(core.keygen.running)
    return [name for name in host.disk.vault if name.startswith(SEED_PREFIX) and name != running]


class Secrets(Checker):
    """No seed of an honest member, and no session key, polynomial, ephemeral or share that derives from one, shows in a
    log, a journal or a message; nor does the point that opens what a timely member dealt to an honest one."""

    name = "secrets"
    sees = frozenset({Broadcast, Send, Reply, KeepSecret, Fault})

    def __init__(self, watched: Watched) -> None:
        super().__init__(watched)
        self._kept: set[tuple[int, str, bytes]] = set()
        self._said: set[bytes] = set()
        self._plans = {
            seed_name(session_id(self.committee, 0, attempt)): session_plan(self.committee, 0, attempt)
            for attempt in range(ATTEMPTS_KNOWN)
        }

    def on_effect(self, node: int, effect: Effect) -> None:
        match effect:
            case KeepSecret(name, secret):
                self._kept.add((node, name, secret))
            case Broadcast() | Send() | Reply():
                self._said.add(encode(effect.message))
            case Fault():
                self._said.add(effect.detail.encode())

    def at_interval(self, simulation: Simulation) -> None:
        """A secret that was kept amid an outage shows in the vault only."""
        for node in self.watched.honest:
            vault = simulation.hosts[node].disk.vault
            self._kept.update((node, name, secret) for name, secret in vault.items())

    def at_end(self, simulation: Simulation) -> None:
        self.at_interval(simulation)
        said = self._said
        for node in self.watched.honest:
            disk = simulation.hosts[node].disk
            said.update(encode(one) for one in (*disk.records, *disk.log))
        blob = b"\x00".join(sorted(said))
        text = blob.lower()
        known = [
            (node, what, value)
            for node, name, secret in sorted(self._kept)
            for what, value in self._derived(node, name, secret)
        ]
        for node, what, value in known + self._openings():
            if value in blob or value.hex().encode() in text:
                self.report(0, f"{what} of member {node} shows outside its vault")

    def _derived(self, node: int, name: str, secret: bytes) -> list[tuple[str, bytes]]:
        if name not in self._plans:
            return [(name, secret[-32:])]
        return [("the seed", secret), *_secrets_of(self._plans[name], secret, node + 1)]


    def _openings(self) -> list[tuple[int, str, bytes]]:
        """The points that open deals: nobody has reason to complain about them."""
        away = untimely(self.watched.plan)
        found = []
        for name, plan in self._plans.items():
            members = {node: secret for node, kept, secret in self._kept if kept == name}
            made = {node: Participant(plan, seed, node + 1, node + 1) for node, seed in sorted(members.items())}
            keys = {
                node: group.generator_point_secret(one._session_key(node + 1)) for node, one in made.items()
            }
            for dealer in sorted(made.keys() - away):
                for receiver, key in keys.items():
                    if receiver != dealer:
                        ephemeral = made[dealer]._derive(tags.DKG_SEED_EPHEMERAL, dealer + 1, receiver + 1)
                        found.append((dealer, "a deal's opening", group.multiply_secret(key, ephemeral)))
        return found


def _secrets_of(plan: Plan, seed: bytes, index: int) -> list[tuple[str, bytes]]:
    """All that a participant derives from its seed and never shows."""
    made = Participant(plan, seed, index, index)
    polynomials = made._polynomials(index)
    found = [("the session key", made._session_key(index))]
    for polynomial in polynomials:
        found += [("a coefficient", one) for one in polynomial]
    for j in plan.receivers:
        found.append(("an ephemeral", made._derive(tags.DKG_SEED_EPHEMERAL, index, j)))
        found.append(("a dealt value", evaluate_secret(polynomials[0], j)))
    return found
