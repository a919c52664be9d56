"""A settlement contract in an in-memory EVM, and a committee that signs results for it."""

from __future__ import annotations

import hashlib
from dataclasses import astuple, dataclass, field, replace
from pathlib import Path
from typing import Any

import boa

from mpc_sequencer.core.eip712 import domain_separator
from mpc_sequencer.core.signing import Signer
from mpc_sequencer.settlement.payloads import (
    BatchResult,
    Delta,
    SignedResult,
    batch_result_digest,
    pack_deltas,
    signature_fields,
)
from mpc_sequencer.settlement.terms import Terms

ROOT = Path(__file__).resolve().parents[2]
COUNCIL = ROOT / "contracts" / "Council.vy"
TOKENS = Path(__file__).resolve().parent / "tokens"
GENESIS_ROOT = hashlib.sha256(b"genesis").digest()
ALICE = bytes.fromhex("a1" * 20)
BOB = bytes.fromhex("b0" * 20)
CAROL = bytes.fromhex("ca" * 20)


ZERO_ADDRESS = "0x" + "00" * 20
GOVERNOR = bytes.fromhex("60" * 20)
GUARDIAN = bytes.fromhex("61" * 20)
TERMS = Terms(
    forced_delay_blocks=10,
    forced_spacing_blocks=2,
    grace_blocks=20,
    rotation_delay_blocks=5,
    pause_blocks=8,
    timelock_blocks=40,
    forced_fee_wei=1_000,
    forced_per_block_max=2,
    bond_min_wei=100,
    quorum_divisor=3,
    governor=GOVERNOR,
    guardian=GUARDIAN,
    commits_required=False,
)


def as_address(account: bytes) -> str:
    return "0x" + account.hex()


def committee(n: int) -> list[Signer]:
    members = [Signer(hashlib.sha256(b"member %d" % index).digest()) for index in range(n)]
    return sorted(members, key=lambda member: member.address)


@dataclass
class House:
    """One deployment with its committee; builds, signs and posts results that follow the chain of results."""

    members: list[Signer]
    quorum: int
    tokens: list[Any]
    contract: Any
    council: Any
    height: int = 0
    state_root: bytes = GENESIS_ROOT
    posted: list[BatchResult] = field(default_factory=list)

    @property
    def separator(self) -> bytes:
        return domain_separator(boa.env.evm.patch.chain_id, bytes.fromhex(self.contract.address[2:]))

    def fund(self, account: bytes, asset: int, amount: int) -> None:
        token = self.tokens[asset]
        token.mint(boa.env.eoa, amount)
        if hasattr(token, "approve"):
            token.approve(self.contract.address, amount)
        self.contract.deposit(asset, amount, as_address(account))

    def start(self) -> None:
        self.contract.start(GENESIS_ROOT, self.contract.inputs_count())

    def result(self, *deltas: Delta, **changes: Any) -> BatchResult:
        count = self.contract.inputs_count()
        result = BatchResult(
            epoch=0,
            first_height=self.height + 1,
            last_height=self.height + 3,
            prev_state_root=self.state_root,
            state_root=hashlib.sha256(b"state %d" % (self.height + 3)).digest(),
            fills_root=hashlib.sha256(b"fills").digest(),
            data_hash=hashlib.sha256(b"data").digest(),
            inputs_count=count,
            inputs_hash=self.contract.inputs_hash_at(count),
            deltas=deltas,
        )
        return replace(result, **changes)

    def sign(self, result: BatchResult, *indices: int, separator: bytes | None = None) -> SignedResult:
        digest = batch_result_digest(separator or self.separator, result)
        chosen = indices or tuple(range(self.quorum))
        return SignedResult(
            result, tuple((index, self.members[index].sign_digest(digest)) for index in chosen)
        )

    def post(self, signed: SignedResult) -> None:
        bitmap, signatures = signature_fields(signed)
        self.post_raw(signed.result, bitmap, signatures, pack_deltas(signed.result.deltas))
        self.height = signed.result.last_height
        self.state_root = signed.result.state_root
        self.posted.append(signed.result)

    def post_raw(self, result: BatchResult, bitmap: int, signatures: bytes, deltas: bytes) -> None:
        self.contract.post_result(header(result), bitmap, signatures, deltas)

    def balance(self, account: bytes, asset: int) -> tuple[int, int]:
        return self.contract.balance_of(asset, as_address(account))


def header(result: BatchResult) -> tuple[Any, ...]:
    return (
        result.epoch,
        result.first_height,
        result.last_height,
        result.prev_state_root,
        result.state_root,
        result.fills_root,
        result.data_hash,
        result.inputs_count,
        result.inputs_hash,
    )


_DEPLOYERS: dict[Path, Any] = {}


def load(path: Path, *arguments: Any) -> Any:
    return load_deployer(path).deploy(*arguments)


def creation_code(path: Path) -> bytes:
    load_deployer(path)
    return bytes(_DEPLOYERS[path].compiler_data.bytecode)


def load_deployer(path: Path) -> Any:
    if path not in _DEPLOYERS:
        _DEPLOYERS[path] = boa.load_partial(str(path))
    return _DEPLOYERS[path]


def terms_fields(terms: Terms) -> tuple[Any, ...]:
    return tuple(as_address(one) if isinstance(one, bytes) else one for one in astuple(terms))


def deploy_contract(signers: list[str], quorum: int, tokens: list[str], terms: Terms = TERMS) -> Any:
    return load(
        ROOT / "contracts" / "Settlement.vy", signers, quorum, tokens, terms_fields(terms), creation_code(COUNCIL)
    )


def deploy_house(
    n: int = 4, quorum: int = 3, tokens: list[Any] | None = None, terms: Terms = TERMS, native: bool = False
) -> House:
    """A deployment; where ``native`` is set the chain's coin is its last asset."""
    if tokens is None:
        tokens = [load(ROOT / "contracts" / "TestToken.vy", f"token {i}", "TOK", 6) for i in range(2)]
    members = committee(n)
    boa.env.set_balance(boa.env.eoa, 10**30)
    contract = deploy_contract(
        [as_address(member.address) for member in members],
        quorum,
        [token.address for token in tokens] + [ZERO_ADDRESS] * native,
        terms,
    )
    council = load_deployer(COUNCIL).at(contract.council())
    return House(members, quorum, tokens, contract, council)
