"""Measure what posting a result costs and write docs/gas.md.

    python contracts/gas_report.py           write docs/gas.md python contracts/gas_report.py --check   write
    nothing; exit status 1 when the file differs from a new measurement

The measurements run on the development chain (py-evm, Prague rules) through the chain client, each on a fresh
contract, so they include the transaction's base cost and calldata. Accounts and keys are fixed: the table is
reproducible.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from mpc_sequencer.core.eip712 import domain_separator  # noqa: E402
from mpc_sequencer.core.signing import Signer  # noqa: E402
from mpc_sequencer.settlement.chain import ChainClient, Deposit  # noqa: E402
from mpc_sequencer.settlement.devchain import DEV_SECRET, TRANSACTION_GAS_MAX  # noqa: E402
from mpc_sequencer.settlement.embedded import start_embedded  # noqa: E402
from mpc_sequencer.settlement.payloads import (  # noqa: E402
    RESULT_DELTAS_MAX,
    BatchResult,
    Delta,
    SignedResult,
    batch_result_digest,
)

REPORT: Final = ROOT / "docs" / "gas.md"
FUNDED_ACCOUNTS: Final = 42
SIZES: Final = (2, 20, 40)


def _address(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()[:20]


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


class _Bench:
    """A fresh contract with funded accounts; posts chained results and returns the gas each used."""

    def __init__(self, chain: ChainClient, members: int, quorum: int) -> None:
        self.chain = chain
        keys = [Signer(_hash(f"member {index}")) for index in range(members)]
        self.members = sorted(keys, key=lambda member: member.address)
        self.quorum = quorum
        token = chain.deploy_token(DEV_SECRET, "token", "TOK", 6)
        chain.deploy(DEV_SECRET, [member.address for member in self.members], quorum, [token])
        self.accounts = sorted(_address(f"account {index}") for index in range(FUNDED_ACCOUNTS))
        chain.fund(DEV_SECRET, [Deposit(account, 0, 10**12) for account in self.accounts], [])
        self.root = _hash("genesis")
        chain.start(DEV_SECRET, self.root, FUNDED_ACCOUNTS)
        self.checkpoint = chain.checkpoint(chain.block_number())
        self.height = 0

    def post(self, deltas: list[Delta]) -> int:
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
            deltas=tuple(sorted(deltas, key=lambda delta: delta.account)),
        )
        self.root = result.state_root
        assert self.chain.settlement is not None
        digest = batch_result_digest(domain_separator(self.chain.chain_id(), self.chain.settlement), result)
        pairs = tuple((index, self.members[index].sign_digest(digest)) for index in range(self.quorum))
        transaction = self.chain.post_result(SignedResult(result, pairs), DEV_SECRET)
        receipt = self.chain.wait_receipt(transaction)
        if receipt.status != 1:
            raise RuntimeError("a measured result reverted")
        return receipt.gas_used

    def existing(self, count: int) -> list[Delta]:
        return [
            Delta(account, 0, 7 - 14 * (place % 2), 0) for place, account in enumerate(self.accounts[:count])
        ]

    def fresh(self, count: int) -> list[Delta]:
        new = [Delta(_address(f"new {self.height} {index}"), 0, 7, 0) for index in range(count)]
        return [*new, Delta(self.accounts[0], 0, -7 * count, 0)]


def _committee_rows(chain: ChainClient) -> list[str]:
    rows = []
    for members, quorum in ((4, 3), (7, 5), (31, 21)):
        bench = _Bench(chain, members, quorum)
        # The first result also pays for storage that every later one only overwrites.
        bench.post([])
        gas = [bench.post([]), *(bench.post(bench.existing(size)) for size in SIZES)]
        per_account = (gas[-1] - gas[1]) // (SIZES[-1] - SIZES[0])
        cells = " | ".join(f"{used:,}" for used in gas)
        rows.append(f"| {quorum} of {members} | {cells} | {per_account:,} |")
    return rows


def report_text() -> str:
    """The whole report."""
    with start_embedded() as embedded:
        chain = ChainClient(embedded.url)
        rows = _committee_rows(chain)
        bench = _Bench(chain, 4, 3)
        bench.post([])
        fresh_gas = (bench.post(bench.fresh(301)) - bench.post(bench.fresh(101))) // 200
        existing_gas = (bench.post(bench.existing(42)) - bench.post(bench.existing(2))) // 40
        base = bench.post([])
    head = " | ".join(f"{size} balances" for size in SIZES)
    fits = (TRANSACTION_GAS_MAX - base) // fresh_gas
    spare = TRANSACTION_GAS_MAX - base - RESULT_DELTAS_MAX * existing_gas
    return "\n".join(
        [
            "# Gas of settlement",
            "",
            "Written by `python contracts/gas_report.py`; measured on py-evm with the Prague rules.",
            "Gas of one `post_result` transaction, calldata and base cost included.",
            "A balance is one (asset, account).",
            "",
            f"| signatures | empty | {head} | each further balance |",
            "| --- | --- | --- | --- | --- | --- |",
            *rows,
            "",
            f"- A balance that was never written before costs {fresh_gas:,} instead of {existing_gas:,}.",
            f"- A transaction may use {TRANSACTION_GAS_MAX:,} (EIP-7825): {fits:,} new balances fit, or",
            f"  {RESULT_DELTAS_MAX:,} existing ones with {spare:,} to spare.",
            "",
        ]
    )


def main(arguments: list[str]) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description="Measure the gas of posting results.")
    parser.add_argument("--check", action="store_true", help="write nothing, fail when docs/gas.md differs")
    options = parser.parse_args(arguments)
    text = report_text()
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
