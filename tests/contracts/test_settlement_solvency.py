"""Whatever is deposited, posted and claimed in whatever order: the contract holds what it owes, nothing
leaves twice.
"""

from __future__ import annotations

from dataclasses import replace

import boa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from settlement_house import ROOT, TOKENS, as_address, deploy_house, load

from mpc_sequencer.settlement.payloads import AMOUNT_MAX, Delta

ACCOUNTS = [bytes([index]) * 20 for index in (0x11, 0x22, 0x33)]
ASSETS = (0, 1)
accounts = st.sampled_from(range(len(ACCOUNTS)))
assets = st.sampled_from(ASSETS)
amounts = st.one_of(st.integers(1, 1_000), st.sampled_from([1, 2**127, 2**128 - 1]))
shares = st.lists(st.integers(-1_000, 1_000), min_size=6, max_size=6)


class Solvency(RuleBasedStateMachine):
    """Asset 0 is a plain token, asset 1 keeps a fee of every transfer. The model is a dictionary of what is
    owed.
    """

    @initialize()
    def deploy(self) -> None:
        self.anchor = boa.env.anchor()
        self.anchor.__enter__()
        plain = load(ROOT / "contracts" / "TestToken.vy", "plain", "TOK", 6)
        self.house = deploy_house(tokens=[plain, load(TOKENS / "FeeToken.vy")])
        self.house.start()
        self.owed = {(asset, who): [0, 0] for asset in ASSETS for who in range(len(ACCOUNTS))}
        self.paid = {(asset, who): 0 for asset in ASSETS for who in range(len(ACCOUNTS))}

    @rule(asset=assets, who=accounts, amount=amounts)
    def deposit(self, asset: int, who: int, amount: int) -> None:
        arrives = amount - (amount // 100 if asset == 1 else 0)
        # Deposits go through one funding account, so its own tokens bound nothing here but the 128-bit range.
        if self.owed[asset, who][0] + arrives > 2**128 - 1 or sum(self.held(asset)) + amount > 2**129:
            return
        self.house.fund(ACCOUNTS[who], asset, amount)
        self.owed[asset, who][0] += arrives

    def held(self, asset: int) -> list[int]:
        return [sum(owed) for (of, _), owed in self.owed.items() if of == asset]

    @rule(asset=assets, parts=shares)
    def post(self, asset: int, parts: list[int]) -> None:
        """Any zero-sum change: accepted exactly when every resulting amount is in range."""
        parts[-1] = -sum(parts[:-1])
        changes = [(parts[2 * who], parts[2 * who + 1]) for who in range(len(ACCOUNTS))]
        deltas = [Delta(ACCOUNTS[who], asset, *change) for who, change in enumerate(changes) if any(change)]
        after = {
            who: [self.owed[asset, who][half] + change[half] for half in (0, 1)]
            for who, change in enumerate(changes)
        }
        signed = self.house.sign(self.house.result(*deltas))
        if all(0 <= amount < 2**128 for pair in after.values() for amount in pair):
            self.house.post(signed)
            for who, pair in after.items():
                self.owed[asset, who] = pair
        else:
            with boa.reverts():
                self.house.post(signed)

    @rule(asset=assets, who=accounts, tenths=st.integers(0, 10))
    def withdraw(self, asset: int, who: int, tenths: int) -> None:
        amount = min(
            self.owed[asset, who][0] * tenths // 10, 2**127 - 1, 2**128 - 1 - self.owed[asset, who][1]
        )
        if amount:
            self.house.post(self.house.sign(self.house.result(Delta(ACCOUNTS[who], asset, -amount, amount))))
            self.owed[asset, who][0] -= amount
            self.owed[asset, who][1] += amount

    @rule(asset=assets, who=accounts)
    def mint_out_of_nothing(self, asset: int, who: int) -> None:
        from test_settlement_results import pack, post_packed

        full = self.owed[asset, who][0] == AMOUNT_MAX  # the balance's own bound is met before the sum
        cause = "result: balance above 2^128-1" if full else "result: deltas do not sum to zero"
        with boa.reverts(cause):
            post_packed(self.house, pack((Delta(ACCOUNTS[who], asset, 1, 0),)))

    @rule(asset=assets, who=accounts)
    def claim(self, asset: int, who: int) -> None:
        amount = self.owed[asset, who][1]
        if amount == 0:
            with boa.reverts("claim: nothing to claim"):
                self.house.contract.claim(asset, as_address(ACCOUNTS[who]))
            return
        self.house.contract.claim(asset, as_address(ACCOUNTS[who]))
        self.owed[asset, who][1] = 0
        self.paid[asset, who] += amount - (amount // 100 if asset == 1 else 0)

    @rule()
    def replay_the_last_result(self) -> None:
        if self.house.posted:
            with boa.reverts("result: wrong first height"):
                self.house.contract.post_result(*self.raw(self.house.posted[-1]))

    def raw(self, result: object) -> tuple[object, ...]:
        from settlement_house import header

        from mpc_sequencer.settlement.payloads import pack_deltas, signature_fields

        signed = self.house.sign(replace(result))  # type: ignore[type-var]
        return (header(signed.result), *signature_fields(signed), pack_deltas(signed.result.deltas))

    @invariant()
    def ledger_is_the_model_and_covered(self) -> None:
        for asset in ASSETS:
            tokens = self.house.tokens[asset]
            owed = 0
            for who, account in enumerate(ACCOUNTS):
                assert list(self.house.balance(account, asset)) == self.owed[asset, who]
                assert tokens.balanceOf(as_address(account)) == self.paid[asset, who]
                owed += sum(self.owed[asset, who])
            assert tokens.balanceOf(self.house.contract.address) == owed

    def teardown(self) -> None:
        if hasattr(self, "anchor"):
            self.anchor.__exit__(None, None, None)


TestSolvency = Solvency.TestCase
TestSolvency.settings = settings(
    max_examples=12,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
