"""A settlement contract in an in-memory EVM, and a committee that signs results for it."""

from __future__ import annotations

import hashlib
from dataclasses import astuple, dataclass, field, replace
from pathlib import Path
from typing import Any

import boa

from mpc_sequencer.core.eip712 import digest, domain_separator, keccak256
from mpc_sequencer.core.signing import Signer
from mpc_sequencer.settlement.payloads import (
    BATCH_RESULT,
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

    def mine(self, blocks: int = 1) -> int:
        """Let ``blocks`` blocks pass; returns the number of the block in which the next call runs."""
        boa.env.time_travel(blocks=blocks)
        return self.block

    @property
    def block(self) -> int:
        return int(boa.env.evm.patch.block_number)

    def signed(self, struct_hash: bytes, *indices: int, members: list[Signer] | None = None) -> tuple[int, bytes]:
        """(bitmap, signatures) of members, the first of a quorum where none are named."""
        chosen = indices or tuple(range(self.quorum))
        final = digest(self.separator, struct_hash)
        signatures = b"".join((members or self.members)[index].sign_digest(final) for index in chosen)
        return sum(1 << index for index in chosen), signatures

    def commit(self, **changes: Any) -> Commit:
        """The commit for the next range, as an honest committee would sign it."""
        epoch, height, last_hash, l1_head, forced_head = self.contract.last_commit()
        head = self.block - 1
        while self.contract.forced_entry(forced_head)[2] and self.contract.forced_entry(forced_head)[2] <= head:
            forced_head += 1
        fields = {
            "epoch": max(epoch, self.contract.last_posted()[0]),
            "height": max(height, self.height) + 3,
            "prev_hash": last_hash,
            "ciphertext_root": hashlib.sha256(b"orders %d" % height).digest(),
            "l1_head": max(head, l1_head),
            "forced_head": forced_head,
        }
        return Commit(**{**fields, **changes})

    def post_commit(self, commit: Commit, *indices: int, members: list[Signer] | None = None) -> None:
        self.contract.post_commit(commit.fields, *self.signed(commit.struct_hash, *indices, members=members))

    def force(self, envelope: bytes = b"sealed", fee: int = TERMS.forced_fee_wei) -> None:
        self.contract.force(envelope, value=fee)

    def freeze(self) -> None:
        """Nobody covers a forced entry: freeze as soon as that may be done."""
        self.force()
        due = self.contract.forced_entry(self.contract.forced_count() - 1)[2]
        self.mine(due + TERMS.grace_blocks + 1 - self.block)
        self.contract.freeze()

    def sign_parts(self, result: BatchResult, parts: list[bytes], *indices: int) -> tuple[int, bytes]:
        """Signatures over a result in parts: its deltas hash is that of the parts' hashes."""
        hashes = b"".join(hashlib.sha256(part).digest() for part in parts)
        struct_hash = BATCH_RESULT(*header(result), hashlib.sha256(hashes).digest())
        return self.signed(struct_hash, *indices)

    def begin(self, result: BatchResult, parts: list[bytes], *indices: int) -> None:
        hashes = [hashlib.sha256(part).digest() for part in parts]
        self.contract.begin_result(header(result), hashes, *self.sign_parts(result, parts, *indices))

    def rotate(self, rotation: Rotation, *indices: int, members: list[Signer] | None = None) -> None:
        signed = self.signed(rotation.struct_hash, *indices, members=members)
        self.council.rotate(*rotation.arguments, *signed)

    def balance(self, account: bytes, asset: int) -> tuple[int, int]:
        return self.contract.balance_of(asset, as_address(account))


@dataclass(frozen=True)
class Commit:
    """An OrderCommit, and its digest worked out here by hand."""

    epoch: int
    height: int
    prev_hash: bytes
    ciphertext_root: bytes
    l1_head: int
    forced_head: int

    @property
    def fields(self) -> tuple[Any, ...]:
        return astuple(self)

    @property
    def struct_hash(self) -> bytes:
        kind = (
            "OrderCommit(uint64 epoch,uint64 height,bytes32 prevHash,bytes32 ciphertextRoot,"
            "uint64 l1Head,uint64 forcedHead)"
        )
        return keccak256(keccak256(kind.encode()) + b"".join(word(one) for one in self.fields))


@dataclass(frozen=True)
class Rotation:
    """A Rotation, and its digest worked out here by hand."""

    epoch: int
    signers: tuple[bytes, ...]
    threshold: int = 2
    committee: bytes = bytes([7]) * 32
    sharing: bytes = bytes([8]) * 32

    @property
    def struct_hash(self) -> bytes:
        kind = "Rotation(uint64 epoch,bytes32 signers,uint64 threshold,bytes32 committee,bytes32 sharing)"
        signers = keccak256(b"".join(word(int.from_bytes(one, "big")) for one in self.signers))
        rest = (self.epoch, signers, self.threshold, self.committee, self.sharing)
        return keccak256(keccak256(kind.encode()) + b"".join(word(one) for one in rest))

    @property
    def arguments(self) -> tuple[Any, ...]:
        signers = [as_address(one) for one in self.signers]
        return (self.epoch, signers, self.threshold, self.committee, self.sharing)


def word(value: int | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.to_bytes(32, "big")


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
