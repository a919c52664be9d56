"""Whatever anybody does, in whatever order: what is held covers what is owed, nothing leaves twice, nothing moves
without a quorum, everybody gets out of a frozen contract, no pause stops money on its way out.

The model is a dictionary of what is owed, the forced entries with their blocks, and the pauses.
"""

from __future__ import annotations

from dataclasses import replace

import boa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from settlement_house import GUARDIAN, ROOT, TERMS, TOKENS, House, as_address, deploy_house, header, load
from test_settlement_parts import pack

from mpc_sequencer.settlement.payloads import Delta, pack_deltas, signature_fields

ACCOUNTS = [bytes([index]) * 20 for index in (0x11, 0x22, 0x33)]
PLAIN, FEE, COIN = ASSETS = (0, 1, 2)
accounts = st.sampled_from(range(len(ACCOUNTS)))
assets = st.sampled_from(ASSETS)
changes = st.lists(st.integers(-300, 300), min_size=6, max_size=6)
SPONSOR = bytes([0x44]) * 20


class Ledger(RuleBasedStateMachine):
    """Asset 0 is a plain token, asset 1 keeps a fee of every transfer, asset 2 is the chain's coin."""

    house: House

    @initialize()
    def deploy(self) -> None:
        self.anchor = boa.env.anchor()
        self.anchor.__enter__()
        plain = load(ROOT / "contracts" / "TestToken.vy", "plain", "TOK", 6)
        terms = replace(TERMS, commits_required=True)
        self.house = deploy_house(tokens=[plain, load(TOKENS / "FeeToken.vy")], terms=terms, native=True)
        self.owed = {(asset, who): [0, 0] for asset in ASSETS for who in range(len(ACCOUNTS))}
        self.paid = {(asset, who): 0 for asset in ASSETS for who in range(len(ACCOUNTS))}
        self.bond_wei = self.fees_wei = self.sponsor_wei = 0
        self.entries: list[tuple[int, int]] = []  # block of queueing, due block
        self.covered = 0
        self.pauses: list[tuple[int, int]] = []
        self.frozen = False
        self.parts: list[bytes] = []
        self.part_changes: list[tuple[int, int, tuple[int, int]]] = []
        self.begun = self.checked = self.applied = 0
        for who in range(len(ACCOUNTS)):
            for asset in ASSETS:
                self._fund(asset, who, 500)
        self.house.start()

    # --------------------------------------------------------------------------------------------------- the model

    def _paused(self, since: int) -> int:
        now = self.house.block
        return sum(max(0, min(end, now) - max(begin, since)) for begin, end in self.pauses)

    @property
    def paused(self) -> bool:
        return bool(self.pauses) and self.house.block < self.pauses[-1][1]

    @property
    def staging(self) -> bool:
        return bool(self.parts)

    @property
    def late(self) -> bool:
        now, grace = self.house.block, TERMS.grace_blocks
        entry_late = False
        if self.covered < len(self.entries):
            queued, due = self.entries[self.covered]
            entry_late = due + grace + self._paused(queued) < now
        return entry_late or (self.staging and self.begun + grace + self._paused(self.begun) < now)

    def _fund(self, asset: int, who: int, amount: int) -> None:
        if asset == COIN:
            self.house.contract.deposit_native(COIN, as_address(ACCOUNTS[who]), value=amount)
        else:
            self.house.fund(ACCOUNTS[who], asset, amount)
        self.owed[asset, who][0] += amount - (amount // 100 if asset == FEE else 0)

    def _pay(self, asset: int, who: int, amount: int) -> None:
        self.paid[asset, who] += amount - (amount // 100 if asset == FEE else 0)

    # ---------------------------------------------------------------------------------------------------- money in

    @rule(asset=assets, who=accounts, amount=st.integers(1, 500))
    def deposit(self, asset: int, who: int, amount: int) -> None:
        if self.frozen or self.staging:
            with boa.reverts("settlement: frozen" if self.frozen else "settlement: result under way"):
                self._fund(asset, who, amount)
        else:
            self._fund(asset, who, amount)

    @rule(amount=st.integers(1, 50))
    def bond(self, amount: int) -> None:
        if self.frozen:
            with boa.reverts("settlement: frozen"):
                self.house.contract.bond(as_address(SPONSOR), value=amount)
        else:
            self.house.contract.bond(as_address(SPONSOR), value=amount)
            self.bond_wei += amount

    @precondition(lambda self: not self.frozen)
    @rule()
    def force(self) -> None:
        now = self.house.block
        if sum(queued == now for queued, _ in self.entries) >= TERMS.forced_per_block_max:
            with boa.reverts("force: block full"):
                self.house.force()
            return
        self.house.force()
        due = now + TERMS.forced_delay_blocks
        if self.entries:
            due = max(due, self.entries[-1][1] + TERMS.forced_spacing_blocks)
        self.entries.append((now, due))
        self.fees_wei += TERMS.forced_fee_wei

    # -------------------------------------------------------------------------------------------- commits, results

    def _commit(self) -> None:
        commit = self.house.commit()
        if self.frozen or self.paused:
            with boa.reverts("settlement: frozen" if self.frozen else "settlement: paused"):
                self.house.post_commit(commit)
            return
        for bent in (replace(commit, l1_head=self.house.block), replace(commit, prev_hash=b"\x01" * 32)):
            with boa.reverts():
                self.house.post_commit(bent)
        with boa.reverts("signatures: no quorum"):
            self.house.post_commit(commit, 0, 1)
        self.house.post_commit(commit)
        self.covered = commit.forced_head

    @rule()
    def commit(self) -> None:
        self._commit()

    @rule(asset=assets, parts=changes)
    def result(self, asset: int, parts: list[int]) -> None:
        """Any zero-sum change: accepted exactly when every resulting amount is in range, once it is committed to."""
        parts[-1] = -sum(parts[:-1])
        rows = [(who, (parts[2 * who], parts[2 * who + 1])) for who in range(len(ACCOUNTS))]
        deltas = [Delta(ACCOUNTS[who], asset, *change) for who, change in rows if any(change)]
        height = self.house.contract.last_commit()[1]
        if height <= self.house.height:
            self._commit()
            height = self.house.contract.last_commit()[1]
        if height <= self.house.height:
            return
        signed = self.house.sign(self.house.result(*deltas, last_height=height))
        fits = all(self.owed[asset, who][half] + change[half] >= 0 for who, change in rows for half in (0, 1))
        if not fits or self.frozen or self.paused or self.staging:
            with boa.reverts():
                self.house.post(signed)
            return
        with boa.reverts("signatures: no quorum"):
            self.house.post(self.house.sign(signed.result, 1, 2))
        self.house.post(signed)
        for who, change in rows:
            for half in (0, 1):
                self.owed[asset, who][half] += change[half]

    @precondition(lambda self: not (self.frozen or self.paused or self.staging))
    @rule(asset=assets, amount=st.integers(1, 400))
    def begin_parts(self, asset: int, amount: int) -> None:
        """One moves all it can to the next one's withdrawable half, a row a part."""
        amount = min(amount, self.owed[asset, 0][0])
        if not amount:
            return
        if self.house.contract.last_commit()[1] <= self.house.height:
            self._commit()
        rows = [(0, (-amount, 0)), (1, (0, amount))]
        parts = [pack(Delta(ACCOUNTS[who], asset, *change)) for who, change in rows]
        result = self.house.result(last_height=self.house.contract.last_commit()[1])
        with boa.reverts("signatures: no quorum"):
            self.house.begin(result, parts, 0, 3)
        self.house.begin(result, parts)
        self.parts, self.begun, self.checked, self.applied = parts, self.house.block, 0, 0
        self.part_changes = [(asset, who, change) for who, change in rows]
        self.staged_result = result

    @precondition(lambda self: self.staging)
    @rule()
    def next_part(self) -> None:
        if self.checked < len(self.parts):
            with boa.reverts("result: none to apply"):
                self.house.contract.apply_part(0, self.parts[0], 1)
            if self.paused:
                return
            self.house.contract.stage_part(self.checked, self.parts[self.checked])
            self.checked += 1
            return
        self.house.contract.apply_part(self.applied, self.parts[self.applied], 1)
        asset, who, change = self.part_changes[self.applied]
        for half in (0, 1):
            self.owed[asset, who][half] += change[half]
        self.applied += 1
        if self.applied == len(self.parts):
            self.parts = []
            self.house.height = self.staged_result.last_height
            self.house.state_root = self.staged_result.state_root

    @rule()
    def replay_the_last_result(self) -> None:
        if self.house.posted:
            signed = self.house.sign(self.house.posted[-1])
            with boa.reverts():
                self.house.contract.post_result(
                    header(signed.result), *signature_fields(signed), pack_deltas(signed.result.deltas)
                )

    @precondition(lambda self: not (self.frozen or self.paused))
    @rule()
    def both_with_one_bad_half(self) -> None:
        """A result that cannot be posted undoes the commit that came with it."""
        commit, signed = self.house.commit(), self.house.sign(self.house.result(state_root=b"\x05" * 32))
        before = self.house.contract.last_commit()
        with boa.reverts():
            self.house.contract.post_both(
                commit.fields,
                *self.house.signed(commit.struct_hash),
                header(replace(signed.result, state_root=b"\x06" * 32)),
                *signature_fields(signed),
                b"",
            )
        assert self.house.contract.last_commit() == before

    # --------------------------------------------------------------------------------------------------- money out

    @rule(asset=assets, who=accounts, many=st.booleans())
    def claim(self, asset: int, who: int, many: bool) -> None:
        amount = self.owed[asset, who][1]
        row = (asset, as_address(ACCOUNTS[who]))

        def act() -> None:
            if many:
                self.house.contract.claim_many([row])
            else:
                self.house.contract.claim(*row)

        if self.staging or not amount:
            with boa.reverts("settlement: result under way" if self.staging else "claim: nothing to claim"):
                act()
            return
        act()
        self.owed[asset, who][1] = 0
        self._pay(asset, who, amount)
        with boa.reverts("claim: nothing to claim"):
            act()

    @rule(asset=assets, who=accounts)
    def exit(self, asset: int, who: int) -> None:
        amount = sum(self.owed[asset, who])
        if not self.frozen or not amount:
            with boa.reverts("exit: nothing to pay" if self.frozen else "exit: not frozen"):
                self.house.contract.exit(asset, as_address(ACCOUNTS[who]))
            return
        self.house.contract.exit(asset, as_address(ACCOUNTS[who]))
        self.owed[asset, who] = [0, 0]
        self._pay(asset, who, amount)

    @precondition(lambda self: self.frozen and self.bond_wei)
    @rule()
    def exit_bond(self) -> None:
        self.house.contract.exit_bond(as_address(SPONSOR))
        self.sponsor_wei += self.bond_wei
        self.bond_wei = 0

    # ------------------------------------------------------------------------------------------- time, pause, freeze

    @rule(blocks=st.sampled_from([1, 2, 9, 35]))
    def pass_time(self, blocks: int) -> None:
        self.house.mine(blocks)

    @precondition(lambda self: not self.frozen)
    @rule()
    def pause(self) -> None:
        now = self.house.block
        with boa.env.prank(as_address(GUARDIAN)):
            if self.pauses and now < self.pauses[-1][1] + TERMS.pause_blocks:
                with boa.reverts("pause: too soon after the last"):
                    self.house.contract.pause()
                return
            self.house.contract.pause()
        self.pauses.append((now, now + TERMS.pause_blocks))
        if self.checked < len(self.parts):
            self.parts = []

    @precondition(lambda self: not self.frozen)
    @rule()
    def freeze(self) -> None:
        if self.staging and self.checked == len(self.parts):
            with boa.reverts("settlement: result under way"):
                self.house.contract.freeze()
        elif not self.late:
            with boa.reverts("freeze: nothing is late"):
                self.house.contract.freeze()
        else:
            self.house.contract.freeze()
            self.frozen, self.parts = True, []

    # ---------------------------------------------------------------------------------------------------- invariants

    @invariant()
    def ledger_is_the_model_and_covered(self) -> None:
        contract = self.house.contract
        for asset in ASSETS:
            # a result in parts that is applied in part has taken from one what it has yet to give to another
            applied = self.part_changes[: self.applied] if self.parts else []
            moving = -sum(sum(change) for moved, _, change in applied if moved == asset)
            owed = moving + sum(sum(self.owed[asset, who]) for who in range(len(ACCOUNTS)))
            for who, account in enumerate(ACCOUNTS):
                address = as_address(account)
                assert list(self.house.balance(account, asset)) == self.owed[asset, who]
                held = boa.env.get_balance(address) if asset == COIN else self.house.tokens[asset].balanceOf(address)
                assert held == self.paid[asset, who]
            if asset == COIN:
                assert boa.env.get_balance(contract.address) == owed + self.bond_wei + self.fees_wei
            else:
                assert self.house.tokens[asset].balanceOf(contract.address) == owed
        assert contract.bonds(as_address(SPONSOR)) == self.bond_wei
        assert boa.env.get_balance(as_address(SPONSOR)) == self.sponsor_wei
        status = contract.status()
        assert tuple(status[:4]) == (True, self.frozen, self.paused, self.staging)
        assert contract.last_posted()[1] == self.house.height

    def teardown(self) -> None:
        """Whatever has happened, with no member left: everybody ends up with all that was owed."""
        if not hasattr(self, "anchor"):
            return
        try:
            self._leave()
        finally:
            self.anchor.__exit__(None, None, None)

    def _leave(self) -> None:
        while self.staging and self.checked == len(self.parts):
            self.next_part()
        if not self.frozen:
            self.house.mine()
            self.force()
            self.house.mine(max(due for _, due in self.entries) + TERMS.grace_blocks + 20 - self.house.block)
            self.freeze()
        assert self.frozen
        for asset in ASSETS:
            for who in range(len(ACCOUNTS)):
                self.exit(asset, who)
        if self.bond_wei:
            self.exit_bond()
        self.ledger_is_the_model_and_covered()
        assert boa.env.get_balance(self.house.contract.address) == self.fees_wei


TestLedger = Ledger.TestCase
TestLedger.settings = settings(
    max_examples=12,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
