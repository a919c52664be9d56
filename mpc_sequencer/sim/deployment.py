"""A whole deployment made from one seed: member keys, dealt shares, genesis, funded traders.

Everything a real deployment draws at random is derived from the seed here, so that a simulated run can be repeated.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

import msgspec

from mpc_sequencer.core import domains, eip712, limits
from mpc_sequencer.core.actions import BUY, GTC, Action, Order, SignedAction, label_hash, plain_order
from mpc_sequencer.core.codec import encode
from mpc_sequencer.core.committee import Committee, Genesis, Member
from mpc_sequencer.core.node import NodeCore
from mpc_sequencer.core.signing import Signer, address_of
from mpc_sequencer.core.transcript import INPUT_BOND, INPUT_DEPOSIT, ChainInput
from mpc_sequencer.core.types import Checkpoint, Envelope, NextCommittee, NextMember
from mpc_sequencer.market import AUCTION, RECEIVE, Market
from mpc_sequencer.market.types import DARK, DarkGrid, OrderPolicy
from mpc_sequencer.settlement.payloads import next_inputs_hash
from threshold import Label, SecretShare, deal, seal

CHAIN_ID: Final = 131_277_322_940_537
SETTLEMENT: Final = bytes.fromhex("5e771e00000000000000000000000000005e771e")
START_MS: Final = 1_700_000_000_000
BASE_ASSET: Final = 0
QUOTE_ASSET: Final = 1
DEPOSIT_UNITS: Final = 10**15
BOND_WEI: Final = 10**18
POOR_BOND_ORDERS: Final = 3
DEALINGS: Final = 16
"""So many threshold keys are drawn for each size and threshold; seeds share them, and their tables."""
SIZE_BUCKET: Final = 256
FEE_ACCOUNT: Final = b"\xfe" * 20
NOTHING: Final[Mapping[str, bytes]] = MappingProxyType({})
MARKET: Final = Market(
    id=0,
    base_asset=BASE_ASSET,
    quote_asset=QUOTE_ASSET,
    base_units_per_lot=100_000,
    quote_units_per_tick_lot=100,
    reference_price_ticks=618_000,
    symbol="BTCUSDT",
    policy=AUCTION,
)


DARK_MARKET: Final = Market(
    id=1,
    base_asset=BASE_ASSET,
    quote_asset=QUOTE_ASSET,
    base_units_per_lot=100_000,
    quote_units_per_tick_lot=100,
    reference_price_ticks=618_000,
    symbol="BTCUSDT-DARK",
    policy=DARK,
    taker_fee_ppm=250,
    dark=DarkGrid(
        ticks=8,
        price_first_ticks=617_960,
        price_step_ticks=10,
        quantity_bits=4,
        slack_bits=28,
        orders_max=12,
        interval_ms=1_500,
    ),
)


def _draw(seed: int, *what: object) -> bytes:
    return hashlib.sha256(repr((seed, *what)).encode()).digest()


@dataclass(slots=True)
class Trader:
    """An account that signs and seals orders, its own sponsor."""

    signer: Signer
    nonce: int = 0

    @property
    def address(self) -> bytes:
        return self.signer.address


@dataclass(frozen=True, slots=True)
class Deployment:
    """Keys and genesis of a simulated committee."""

    committee: Committee
    signers: tuple[Signer, ...]
    shares: tuple[SecretShare, ...]
    inputs: tuple[ChainInput, ...]
    traders: tuple[Trader, ...]
    seed: int
    joiners: tuple[Signer, ...] = ()
    """Who is no member yet."""
    _drawn: list[int] = field(default_factory=lambda: [0])

    def share(self, node: int) -> SecretShare | None:
        """A copy of the share a member has from the start, for it to erase."""
        return SecretShare(node + 1, self.shares[node].export()) if node < len(self.shares) else None

    def first_core(self, node: int, entropy: bytes, vault: Mapping[str, bytes] = NOTHING) -> NodeCore:
        """A core of member ``node`` in the first epoch that remembers nothing but what its ``vault`` holds."""
        return NodeCore(self.committee, node, self.signers[node], self.share(node), self.inputs, entropy, vault)

    def core(self, person: int, committee: Committee, entropy: bytes, vault: Mapping[str, bytes] = NOTHING) -> NodeCore:
        """A core of any person for the committee of any epoch: who has no place in it follows the log."""
        signer = [*self.signers, *self.joiners][person]
        keys = [member.consensus_key for member in committee.genesis.members]
        node = keys.index(signer.public_key) if signer.public_key in keys else committee.n
        return NodeCore(committee, node, signer, None, self.inputs, entropy, vault, log_key(self.seed, person))

    def next_committee(self, people: Sequence[int], threshold: int) -> NextCommittee:
        """A committee of members and joiners, by person: members have the first numbers, joiners follow."""
        signers = [*self.signers, *self.joiners]
        chosen = sorted((signers[one].address, one) for one in people)
        return NextCommittee(
            threshold,
            tuple(
                NextMember(signers[one].public_key, log_key(self.seed, one), f"127.0.0.1:{7_000 + one}", b"")
                for _, one in chosen
            ),
        )

    def label(
        self, sponsor: bytes, now_ms: int, *, life_ms: int = 120_000, size_bucket: int = SIZE_BUCKET
    ) -> Label:
        return Label(
            chain_id=CHAIN_ID,
            settlement=SETTLEMENT,
            key_id=self.committee.sealing_key.key_id,
            sponsor=sponsor,
            valid_from_ms=now_ms,
            valid_until_ms=now_ms + life_ms,
            size_bucket=size_bucket,
        )

    def sigma(self) -> bytes:
        self._drawn[0] += 1
        return _draw(self.seed, "sigma", self._drawn[0])

    def limit_order(
        self,
        trader: Trader,
        label: Label,
        *,
        side: int = BUY,
        price_ticks: int = 618_000,
        quantity_lots: int = 10,
        time_in_force: int = GTC,
    ) -> Order:
        """An order of ``trader`` with its next nonce."""
        trader.nonce += 1
        return plain_order(
            trader.address,
            trader.nonce,
            label_hash(label.encode()),
            market=MARKET.id,
            side=side,
            time_in_force=time_in_force,
            price_ticks=price_ticks,
            quantity_lots=quantity_lots,
        )

    def plaintext(self, trader: Trader, action: Action) -> bytes:
        digest = eip712.digest(self.committee.separator, action.struct_hash())
        return encode(SignedAction(version=1, action=action, signature=trader.signer.sign_digest(digest)))

    def envelope(self, sponsor: Trader, label: Label, plaintext: bytes) -> Envelope:
        """Seal ``plaintext`` and sign as sponsor."""
        ciphertext = seal(self.committee.sealing_key, label, plaintext, sigma=self.sigma())
        return self.sponsored(sponsor, label.encode(), ciphertext)

    def sponsored(self, sponsor: Trader, label: bytes, ciphertext: bytes) -> Envelope:
        order_id = domains.ORDER_ID(label, hashlib.sha256(ciphertext).digest())
        digest = self.committee.digest(domains.SPONSOR_TYPE(order_id))
        return Envelope(1, label, ciphertext, sponsor.signer.sign_digest(digest))

    def order(self, trader: Trader, now_ms: int, **terms: int) -> Envelope:
        """A sealed limit order of ``trader``."""
        label = self.label(trader.address, now_ms)
        return self.envelope(trader, label, self.plaintext(trader, self.limit_order(trader, label, **terms)))


def make_deployment(
    n: int = 4,
    *,
    seed: int = 0,
    traders: int = 4,
    threshold: int | None = None,
    bond_wei: int = BOND_WEI,
    poor_traders: int = 0,
    policy: OrderPolicy = AUCTION,
    generated: bool = False,
    key_refresh_ms: int = 0,
    joiners: int = 0,
    chain_terms: tuple[int, int, int] = (1, 0, 0),
    fees_ppm: tuple[int, int] = (0, 0),
    dark: Market | None = None,
) -> Deployment:
    """A committee of ``n`` and ``traders`` funded accounts, of which the last ``poor_traders`` have a bond for
    POOR_BOND_ORDERS orders only. ``policy`` is the market's. The members hold a sharing of the threshold key from the
    start, or (``generated``) generate it in the first blocks. ``joiners`` more people have keys and no place yet.
    ``dark`` is another market, whose batches are computed over shares. ``chain_terms`` are the chain's step, and forced
    orders' delay and spacing, in its blocks; ``fees_ppm`` what the market takes of makers and of takers."""
    t = threshold if threshold is not None else n - (n - 1) // (3 if policy != RECEIVE and dark is None else 4)
    dealing = deal(n, t, secret=None, entropy=_draw(seed % DEALINGS, "deal"))
    signers = sorted(
        (Signer(_draw(seed, "consensus", i)) for i in range(n)), key=lambda signer: signer.address
    )
    people = tuple(Trader(Signer(_draw(seed, "trader", i))) for i in range(traders))
    poor_wei = POOR_BOND_ORDERS * limits.ORDER_CHARGE_WEI
    bonds_wei = [bond_wei] * (traders - poor_traders) + [poor_wei] * poor_traders
    inputs = _inputs([one.address for one in people], bonds_wei)
    inputs_hash = bytes(32)
    for one in inputs:
        amount = int.from_bytes(one.amount, "big")
        inputs_hash = next_inputs_hash(inputs_hash, one.kind, one.account, one.asset, amount)
    genesis = Genesis(
        version=1,
        chain_id=CHAIN_ID,
        settlement=SETTLEMENT,
        epoch=0,
        threshold=t,
        public_key=b"" if generated else dealing.public_key,
        members=tuple(
            Member(signer.public_key, log_key(seed, i), b"" if generated else dealing.verification_keys[i])
            for i, signer in enumerate(signers)
        ),
        assets=(address_of(signers[0].public_key), address_of(signers[1].public_key)),
        markets=(
            msgspec.structs.replace(MARKET, policy=policy, maker_fee_ppm=fees_ppm[0], taker_fee_ppm=fees_ppm[1]),
            *(() if dark is None else (dark,)),
        ),
        fee_account=FEE_ACCOUNT if any(fees_ppm) or dark is not None else bytes(20),
        checkpoint=Checkpoint(1, _draw(seed, "chain block"), len(inputs), inputs_hash),
        time_ms=START_MS,
        key_refresh_ms=key_refresh_ms,
        l1_step_blocks=chain_terms[0],
        forced_delay_blocks=chain_terms[1],
        forced_spacing_blocks=chain_terms[2],
    )
    committee = Committee(genesis)
    later = tuple(Signer(_draw(seed, "consensus", n + i)) for i in range(joiners))
    return Deployment(committee, tuple(signers), () if generated else dealing.shares, inputs, people, seed, later)


def log_key(seed: int, person: int) -> bytes:
    """Stands for a person's log key: nothing is signed with it in a simulation."""
    return _draw(seed, "log", person)


def _inputs(accounts: Sequence[bytes], bonds_wei: Sequence[int]) -> tuple[ChainInput, ...]:
    inputs: list[ChainInput] = []
    for account, bond_wei in zip(accounts, bonds_wei, strict=True):
        for asset in (BASE_ASSET, QUOTE_ASSET):
            inputs.append(ChainInput(INPUT_DEPOSIT, account, asset, DEPOSIT_UNITS.to_bytes(32, "big")))
        inputs.append(ChainInput(INPUT_BOND, account, 0, bond_wei.to_bytes(32, "big")))
    return tuple(inputs)
