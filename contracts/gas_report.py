"""Measure what settlement costs and write docs/gas.md.

    python contracts/gas_report.py           write docs/gas.md
    python contracts/gas_report.py --check   write nothing; exit status 1 when the file differs from a new measurement

The measurements run on the development chain (py-evm, Prague rules) through the chain client, each committee on a
fresh contract, so they include a transaction's base cost and its calldata. Accounts and keys are fixed: the tables are
reproducible. tests/contracts/test_gas_report.py measures again, compares, and holds the aims against it.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from web3 import Web3  # noqa: E402

from mpc_sequencer.core.eip712 import digest, domain_separator, keccak256  # noqa: E402
from mpc_sequencer.core.signing import Signer  # noqa: E402
from mpc_sequencer.settlement.chain import ChainClient, Deposit  # noqa: E402
from mpc_sequencer.settlement.compiled import load_artifact  # noqa: E402
from mpc_sequencer.settlement.devchain import DEV_ADDRESS, DEV_SECRET, TRANSACTION_GAS_MAX  # noqa: E402
from mpc_sequencer.settlement.embedded import start_embedded  # noqa: E402
from mpc_sequencer.settlement.ethrpc import Call  # noqa: E402
from mpc_sequencer.settlement.payloads import (  # noqa: E402
    BATCH_RESULT,
    RESULT_DELTAS_MAX,
    BatchResult,
    Delta,
    pack_deltas,
)
from mpc_sequencer.settlement.terms import Terms  # noqa: E402

REPORT: Final = ROOT / "docs" / "gas.md"
COMMITTEES: Final = ((4, 3), (7, 5), (16, 11), (31, 21))
FUNDED_ACCOUNTS: Final = 42
SIZES: Final = (2, 20, 40)
FRESH_ROWS: Final = (50, 150)
ENVELOPE: Final = bytes(range(1, 201)) * 2
TERMS: Final = Terms(
    forced_delay_blocks=2,
    grace_blocks=3,
    pause_blocks=1,
    timelock_blocks=7,
    forced_fee_wei=1,
    bond_min_wei=1,
    governor=DEV_ADDRESS,
    guardian=DEV_ADDRESS,
    commits_required=True,
)
AIMS: Final = {"commit": 60_000, "balance": 8_000, "exit": 60_000}
"""Gas at most: a commit at 3 of 4, a further balance that exists, an exit of a token, to a new holder as well (who costs
17,000 more; the coin to an account that the chain has never seen costs 25,000 more by the chain's own rule)."""

Commit = tuple[int, int, bytes, bytes, int, int]


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _address(text: str) -> bytes:
    return _hash(text)[:20]


def _word(value: int | bytes) -> bytes:
    return value.rjust(32, b"\x00") if isinstance(value, bytes) else value.to_bytes(32, "big")


def _type_hash(kind: str) -> bytes:
    return keccak256(kind.encode())


ORDER_COMMIT: Final = _type_hash(
    "OrderCommit(uint64 epoch,uint64 height,bytes32 prevHash,bytes32 ciphertextRoot,uint64 l1Head,uint64 forcedHead)"
)
ROTATION: Final = _type_hash(
    "Rotation(uint64 epoch,bytes32 signers,uint64 threshold,bytes32 committee,bytes32 sharing)"
)


@dataclass
class Bench:
    """A fresh contract with funded accounts; sends what a committee signs and returns the gas it used."""

    chain: ChainClient
    size: int
    quorum: int
    height: int = 0
    last_commit: bytes = bytes(32)
    root: bytes = field(default_factory=lambda: _hash("genesis"))

    def __post_init__(self) -> None:
        keys = [Signer(_hash(f"member {index}")) for index in range(self.size)]
        self.members = sorted(keys, key=lambda member: member.address)
        token = self.chain.deploy_token(DEV_SECRET, "token", "TOK", 6)
        addresses = [member.address for member in self.members]
        self.address = self.chain.deploy(DEV_SECRET, addresses, self.quorum, [token, bytes(20)], TERMS)
        self.contract: Any = Web3().eth.contract(abi=list(load_artifact("Settlement").abi))
        self.council: Any = Web3().eth.contract(abi=list(load_artifact("Council").abi))
        self.separator = domain_separator(self.chain.chain_id(), self.address)
        self.accounts = sorted(_address(f"account {index}") for index in range(FUNDED_ACCOUNTS))
        self.chain.fund(DEV_SECRET, [Deposit(account, 0, 10**12) for account in self.accounts], [])
        self.chain.start(DEV_SECRET, self.root, FUNDED_ACCOUNTS)
        self.checkpoint = self.chain.checkpoint(self.chain.block_number())

    # --- sending --------------------------------------------------------------------------------------------------
    def send(self, function: str, *arguments: object, wei: int = 0, council: bytes | None = None) -> int:
        """Gas of one transaction to the settlement contract, or to its council."""
        abi = self.contract if council is None else self.council
        data = bytes.fromhex(abi.encode_abi(function, args=arguments)[2:])
        (receipt,) = self.chain.transact(DEV_SECRET, [Call(council or self.address, data, wei, 0)])
        return receipt.gas_used

    def signatures(self, struct_hash: bytes) -> tuple[int, bytes]:
        """(bitmap, signatures) of a quorum."""
        final = digest(self.separator, struct_hash)
        return (1 << self.quorum) - 1, b"".join(one.sign_digest(final) for one in self.members[: self.quorum])

    # --- what is signed -------------------------------------------------------------------------------------------
    def commit(self) -> tuple[object, ...]:
        """The arguments of the commit for the next height."""
        l1_head = self.chain.block_number()
        fields: Commit = (0, self.height + 1, self.last_commit, _hash(f"orders {self.height}"), l1_head, 0)
        self.last_commit = keccak256(ORDER_COMMIT + b"".join(_word(one) for one in fields))
        return (fields, *self.signatures(self.last_commit))

    def _header(self, deltas: tuple[Delta, ...]) -> tuple[BatchResult, tuple[object, ...]]:
        self.height += 1
        result = BatchResult(
            epoch=0,
            first_height=self.height,
            last_height=self.height,
            prev_state_root=self.root,
            state_root=_hash(f"state {self.height}"),
            fills_root=_hash("fills"),
            data_hash=_hash("data"),
            inputs_count=self.checkpoint.inputs_count,
            inputs_hash=self.checkpoint.inputs_hash,
            deltas=deltas,
        )
        self.root = result.state_root
        names = ("epoch", "first_height", "last_height", "prev_state_root", "state_root", "fills_root")
        names += ("data_hash", "inputs_count", "inputs_hash")
        return result, tuple(getattr(result, name) for name in names)

    def result(self, deltas: list[Delta]) -> tuple[object, ...]:
        """The arguments of the next result."""
        result, header = self._header(tuple(sorted(deltas, key=lambda delta: delta.account)))
        packed = pack_deltas(result.deltas)
        signed = self.signatures(BATCH_RESULT(*header, hashlib.sha256(packed).digest()))
        return (header, *signed, packed)

    def post(self, deltas: list[Delta]) -> int:
        """Gas of a result alone; its commit is sent before."""
        self.send("post_commit", *self.commit())
        return self.send("post_result", *self.result(deltas))

    def parts(self, deltas: list[Delta]) -> tuple[int, int, int]:
        """Gas of a result in two parts: to begin it, to check its first part, to apply its first part."""
        self.send("post_commit", *self.commit())
        rows = tuple(sorted(deltas, key=lambda delta: delta.account))
        packed, cut = pack_deltas(rows), len(rows) // 2 * 54
        pieces = [packed[:cut], packed[cut:]]
        hashes = [hashlib.sha256(piece).digest() for piece in pieces]
        _, header = self._header(rows)
        signed = self.signatures(BATCH_RESULT(*header, hashlib.sha256(b"".join(hashes)).digest()))
        begin = self.send("begin_result", header, hashes, *signed)
        checks = [self.send("stage_part", index, piece) for index, piece in enumerate(pieces)]
        applies = [self.send("apply_part", index, piece, 1_000) for index, piece in enumerate(pieces)]
        return begin, checks[0], applies[0]

    def rotate(self) -> int:
        """Gas of a rotation to another committee of this size."""
        council = self.chain_council()
        signers = sorted(_address(f"joiner {index}") for index in range(self.size))
        words = keccak256(b"".join(_word(one) for one in signers))
        fields = (1, words, 2, _hash("next"), _hash("sharing"))
        struct_hash = keccak256(ROTATION + b"".join(_word(one) for one in fields))
        names = [Web3.to_checksum_address(one) for one in signers]
        rest = (2, _hash("next"), _hash("sharing"), *self.signatures(struct_hash))
        return self.send("rotate", 1, names, *rest, council=council)

    def chain_council(self) -> bytes:
        """The council's address."""
        return self.chain.council()

    # --- deltas ---------------------------------------------------------------------------------------------------
    def existing(self, count: int) -> list[Delta]:
        """Changes of balances that are not zero."""
        return [Delta(account, 0, 7 - 14 * (place % 2), 0) for place, account in enumerate(self.accounts[:count])]

    def fresh(self, count: int) -> list[Delta]:
        """Changes of balances that were never written."""
        new = [Delta(_address(f"new {self.height} {index}"), 0, 7, 0) for index in range(count)]
        return [*new, Delta(self.accounts[0], 0, -7 * count, 0)]


@dataclass(frozen=True)
class Gas:
    """All measurements, in gas."""

    by_committee: dict[tuple[int, int], dict[str, int]]
    single: dict[str, int]


def measure() -> Gas:
    """Measure everything on a fresh chain."""
    with start_embedded() as embedded:
        chain = ChainClient(embedded.url)
        by_committee = {sizes: _by_committee(Bench(chain, *sizes)) for sizes in COMMITTEES}
        return Gas(by_committee, _single(chain))


def _by_committee(bench: Bench) -> dict[str, int]:
    # The first commit and result also pay for storage that every later one only overwrites.
    bench.post([])
    gas = {"commit": bench.send("post_commit", *bench.commit())}
    gas["result"] = bench.send("post_result", *bench.result([]))
    for size in SIZES:
        gas[f"result {size}"] = bench.post(bench.existing(size))
    both = bench.commit()
    gas["both"] = bench.send("post_both", *both, *bench.result([]))
    gas["balance"] = (gas[f"result {SIZES[-1]}"] - gas[f"result {SIZES[0]}"]) // (SIZES[-1] - SIZES[0])
    gas["begin"] = bench.parts(bench.existing(40))[0]
    gas["rotate"] = bench.rotate()
    return gas


def _single(chain: ChainClient) -> dict[str, int]:
    bench = Bench(chain, 4, 3)
    bench.post([])
    few, many = FRESH_ROWS
    gas = {"fresh": (bench.post(bench.fresh(many)) - bench.post(bench.fresh(few))) // (many - few)}
    gas["balance"] = (bench.post(bench.existing(42)) - bench.post(bench.existing(2))) // 40
    gas["base"] = bench.post([])
    (_, check_20, apply_20), (_, check_10, apply_10) = bench.parts(bench.existing(40)), bench.parts(bench.existing(20))
    gas["check row"], gas["apply row"] = (check_20 - check_10) // 10, (apply_20 - apply_10) // 10
    one, two, three = (Web3.to_checksum_address(account) for account in bench.accounts[:3])
    chain.fund(DEV_SECRET, [Deposit(bench.accounts[0], 0, 5)], [])
    chain.mint(DEV_SECRET, chain.asset_tokens()[0], DEV_ADDRESS, 100)
    chain.approve(DEV_SECRET, chain.asset_tokens()[0], 100)
    gas["deposit"] = bench.send("deposit", 0, 5, one)
    bench.send("deposit_native", 1, one, wei=5)
    gas["deposit_native"] = bench.send("deposit_native", 1, one, wei=5)
    bench.send("bond", one, wei=5)
    gas["bond"] = bench.send("bond", one, wei=5)
    moved = [Delta(account, 0, -5, 5) for account in bench.accounts[:3]]
    bench.post(moved)
    gas["claim"] = bench.send("claim", 0, one)
    gas["claim of two more"] = bench.send("claim_many", [(0, two), (0, three)])
    bench.post(moved)
    gas["claim again"] = bench.send("claim", 0, one)
    bench.send("force", ENVELOPE, wei=1)
    gas["force"] = bench.send("force", ENVELOPE, wei=1)
    for _ in range(TERMS.forced_delay_blocks + TERMS.grace_blocks):
        bench.send("bond", one, wei=1)
    gas["freeze"] = bench.send("freeze")
    gas["exit"] = bench.send("exit", 0, one)
    gas["exit to a new holder"] = bench.send("exit", 0, Web3.to_checksum_address(bench.accounts[5]))
    gas["exit of the coin"] = bench.send("exit", 1, one)
    return gas


def report_text(gas: Gas) -> str:
    """The whole report."""
    columns = list(gas.by_committee)
    single, rows = gas.single, []
    labels = {
        "commit": "`post_commit`",
        "result": "`post_result`, nothing changed",
        **{f"result {size}": f"`post_result`, {size} balances" for size in SIZES},
        "balance": "each further balance",
        "both": "`post_both`, nothing changed",
        "begin": "`begin_result`, two parts",
        "rotate": "`rotate`, to as many",
    }
    for key, label in labels.items():
        cells = " | ".join(f"{gas.by_committee[sizes][key]:,}" for sizes in columns)
        rows.append(f"| {label} | {cells} |")
    fits = (TRANSACTION_GAS_MAX - single["base"]) // single["fresh"]
    spare = TRANSACTION_GAS_MAX - single["base"] - RESULT_DELTAS_MAX * single["balance"]
    names = ("deposit", "deposit_native", "bond", "force", "claim", "claim again", "claim of two more", "freeze")
    names += ("exit", "exit to a new holder", "exit of the coin")
    four = gas.by_committee[4, 3]
    return "\n".join(
        [
            "# Gas of settlement",
            "",
            "Written by `python contracts/gas_report.py`; measured on py-evm with the Prague rules, again by a test.",
            "Gas of one transaction, calldata and base cost included. A balance is one (asset, account).",
            "",
            "| | " + " | ".join(f"{quorum} of {size}" for size, quorum in columns) + " |",
            "| --- |" + " --- |" * len(columns),
            *rows,
            "",
            f"A range costs one `post_both` and {four['balance']:,} for each balance that it changed, however often it",
            "traded. A fill between two accounts that trade nothing else in the range changes four balances, so it is",
            f"{4 * four['balance']:,}; a thousand fills among twenty accounts in two assets change forty, so each is",
            f"{(four['both'] + 40 * four['balance']) // 1_000:,} with everything.",
            "",
            "| by anyone | gas |",
            "| --- | --- |",
            *(f"| {name} | {single[name]:,} |" for name in names),
            "",
            f"- A balance that was never written before costs {single['fresh']:,} instead of {single['balance']:,}.",
            f"- A transaction may use {TRANSACTION_GAS_MAX:,} (EIP-7825): {fits:,} new balances fit, or",
            f"  {RESULT_DELTAS_MAX:,} existing ones with {spare:,} to spare.",
            f"- In parts, a balance costs {single['check row']:,} to check and {single['apply row']:,} to apply.",
            f"- `force` is measured with an envelope of {len(ENVELOPE)} bytes; `claim again` and `exit` pay an account",
            "  that holds some of the token already.",
            "",
        ]
    )


def main(arguments: list[str]) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description="Measure the gas of settlement.")
    parser.add_argument("--check", action="store_true", help="write nothing, fail when docs/gas.md differs")
    options = parser.parse_args(arguments)
    text = report_text(measure())
    if options.check:
        current = REPORT.read_text(encoding="utf-8") if REPORT.is_file() else ""
        if current != text:
            print("error: docs/gas.md differs from the measurement", file=sys.stderr)
            print("hint: run python contracts/gas_report.py", file=sys.stderr)
            return 1
        return 0
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text(text, encoding="utf-8")
    print("wrote docs/gas.md")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
