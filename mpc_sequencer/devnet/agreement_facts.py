"""Where the facts of :mod:`mpc_sequencer.devnet.agreement` come from: a member's log, and the contract.

The log is audited once more with the members' own engine beside the auditor's execution: both get the same opened
batches, coins and credits, and the two must say the same of every height.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mpc_sequencer.audit.dark_orders import DarkParties
from mpc_sequencer.audit.epochs import Epochs
from mpc_sequencer.audit.execution import Executed, Execution, OpenedOrder
from mpc_sequencer.audit.verify import Audit
from mpc_sequencer.core.committee import Committee
from mpc_sequencer.core.darkwords import parties_of
from mpc_sequencer.devnet.agreement import (
    Changes,
    ContractFacts,
    EngineFacts,
    Place,
    PostedChanges,
    add_amounts,
)
from mpc_sequencer.market import BatchOrder, Engine
from mpc_sequencer.market.types import Precedence
from mpc_sequencer.settlement.chain import PostedResult
from mpc_sequencer.settlement.contract import SettlementContract
from mpc_sequencer.settlement.errors import ChainMismatch
from mpc_sequencer.settlement.payloads import INPUT_DEPOSIT, unpack_deltas


class BothExecutions(Execution):
    """The auditor's execution, and the members' engine beside it."""

    def __init__(self, committee: Committee) -> None:
        genesis = committee.genesis
        assets = len(genesis.assets)
        names = committee.separator, genesis.fee_account
        super().__init__(genesis.markets, assets, *names, DarkParties.of(committee))
        self._engine = Engine(genesis.markets, range(assets), *names, parties_of(committee))
        self.epochs: Epochs | None = None
        """Of the audit that executes with this."""
        self.facts = EngineFacts()

    def credit(self, account: bytes, asset: int, amount: int) -> None:
        super().credit(account, asset, amount)
        self._engine.credit(account, asset, amount)

    def execute(
        self,
        height: int,
        time_ms: int,
        coin: bytes,
        batch: list[OpenedOrder] | Any,
        precedence: Precedence | None = None,
        words: Sequence[tuple[int, bytes]] = (),
        parties: DarkParties | None = None,
    ) -> Executed:
        audited = super().execute(height, time_ms, coin, batch, precedence, words, parties)
        epoch = None if self.epochs is None or parties is None else self.epochs.numbered(parties.epoch)
        known = None if epoch is None else parties_of(epoch.committee)
        orders = [self._engine.prepare(BatchOrder(one.order_id, one.label, one.plaintext)) for one in batch]
        made = self._engine.execute(height, time_ms, coin, orders, precedence, words, known)
        changes: Changes = {(asset, account): (total, out) for account, asset, total, out in made.deltas}
        self.facts.heights[height] = changes
        for name, seen, other in (
            ("changes", changes, audited.deltas),
            ("state root", made.state_root, audited.state_root),
            ("fills root", made.fills_root, audited.fills_root),
        ):
            if seen != other:
                self.facts.differences.append(f"height {height}: another {name} by the auditor's own execution")
        return audited

    def finish(self) -> EngineFacts:
        """The facts, with what accounts hold now."""
        for account in self.state.accounts:
            for asset in range(self.assets):
                total = sum(self._engine.balance(account, asset))
                if total:
                    self.facts.totals[asset, account] = total
        return self.facts


def engine_facts(log: Path, committee: Committee) -> tuple[EngineFacts, list[str]]:
    """What the members' engine makes of a log, and the codes of the audit's findings about it."""
    both = BothExecutions(committee.own())
    audit = Audit(committee, both)
    both.epochs = audit.epochs
    report = audit.run(log, None, None, ())
    return both.finish(), [one.code for one in report.findings]


def contract_facts(chain: SettlementContract) -> ContractFacts:
    """What the contract says now, at a block that holds still. Blocking. Raises ChainError."""
    block = chain.block_number()
    posted = tuple(
        PostedChanges(one.epoch, one.first_height, one.last_height, _changes_of(chain, one, block))
        for one in chain.results(block)
    )
    deposited = add_amounts(
        ((one.asset, one.account), one.amount) for one in chain.inputs(block) if one.kind == INPUT_DEPOSIT
    )
    tokens = chain.asset_tokens()
    places = {place for one in posted for place in one.changes} | deposited.keys()
    places = {(asset, account) for _, account in places for asset in range(len(tokens))}
    balances = {place: chain.balance(place[1], place[0]) for place in sorted(places)}
    held = {asset: chain.token_balance(token, chain.settlement or b"") for asset, token in enumerate(tokens)}
    return ContractFacts(
        posted=posted,
        deposited=deposited,
        claimed=_paid(chain, "Claimed", block),
        exited=_paid(chain, "Exited", block),
        balances={place: amounts for place, amounts in balances.items() if any(amounts)},
        held=held,
    )


def _paid(chain: SettlementContract, event: str, block: int) -> dict[Place, int]:
    rows = (one["args"] for one in chain.events(event, 0, block))
    return add_amounts(((one["asset"], bytes.fromhex(one["account"][2:])), one["amount"]) for one in rows)


def _changes_of(chain: SettlementContract, result: PostedResult, block: int) -> Changes:
    """The changes of a posted result, out of the data of the transactions that carried them."""
    function, arguments = chain.sent_call(result.transaction_hash)
    packed = bytes(arguments.get("deltas", b""))
    if function == "apply_part":
        checked = {
            one["args"]["part"]: bytes(one["transactionHash"])
            for one in chain.events("PartChecked", 0, block)
            if one["args"]["first_height"] == result.first_height
        }
        packed = b"".join(bytes(chain.sent_call(checked[part])[1]["deltas"]) for part in sorted(checked))
    elif function not in ("post_result", "post_both"):
        raise ChainMismatch(f"the result up to height {result.last_height} came by `{function}`")
    return {(one.asset, one.account): (one.free, one.withdrawable) for one in unpack_deltas(packed)}
