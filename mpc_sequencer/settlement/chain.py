"""The settlement contract as the sequencer sees it: deployment, deposits, the input queue, results, claims.

What the chain's node says is checked where it can be: :meth:`ChainClient.connect` compares the contract's
EIP-712 domain with ours, :meth:`ChainClient.inputs` recomputes the hash chain of every input, and a
checkpoint reads its block twice. Whether the node is honest about the chain's head no client of one node can
know; the committee's rule that f+1 members name the same checkpoint is what answers that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Any, Final

from mpc_sequencer.core.eip712 import domain_separator
from mpc_sequencer.settlement.compiled import load_artifact
from mpc_sequencer.settlement.errors import ChainError, ChainMismatch
from mpc_sequencer.settlement.ethrpc import (
    ANSWER_ERRORS,
    Call,
    EthClient,
    PreparedTransaction,
    chain_error,
    checksum,
)
from mpc_sequencer.settlement.payloads import (
    INPUT_BOND,
    INPUT_DEPOSIT,
    INPUT_FORCED,
    ZERO_HASH,
    BatchResult,
    Input,
    SignedResult,
    check_result,
    next_inputs_hash,
    pack_deltas,
    signature_fields,
)
from mpc_sequencer.settlement.terms import Terms

LOG_RANGE_BLOCKS_MAX: Final = 5_000
MINT_GAS: Final = 120_000
APPROVE_GAS: Final = 80_000
DEPOSIT_GAS: Final = 250_000
BOND_GAS: Final = 200_000


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The input queue at one block of the chain."""

    number: int
    hash: bytes
    inputs_count: int
    inputs_hash: bytes


@dataclass(frozen=True, slots=True)
class LastPosted:
    """The end of the contract's chain of results; ``state_root`` is zero before start."""

    epoch: int
    last_height: int
    state_root: bytes
    inputs_count: int


@dataclass(frozen=True, slots=True)
class PostedResult:
    """A ResultPosted event and where it is."""

    epoch: int
    first_height: int
    last_height: int
    state_root: bytes
    fills_root: bytes
    data_hash: bytes
    block_number: int
    transaction_hash: bytes


@dataclass(frozen=True, slots=True)
class Deposit:
    """``amount`` base units of asset id ``asset`` for ``account`` (20 bytes)."""

    account: bytes
    asset: int
    amount: int


@dataclass(frozen=True, slots=True)
class Bond:
    """``amount_wei`` for the bond of ``sponsor`` (20 bytes)."""

    sponsor: bytes
    amount_wei: int


class ChainClient(EthClient):
    """A node and one settlement contract on its chain (20 bytes), or none yet. Blocking; safe for threads.

    Secrets (32 bytes) sign locally and are not kept. Every method may raise ChainUnreachable and
    ChainMismatch; those that send also TransactionReverted, TransactionRejected and ReceiptTimeout.
    """

    def __init__(self, url: str, settlement: bytes | None = None, from_block: int = 0) -> None:
        """``from_block``: no event of the contract is older than this block."""
        super().__init__(url)
        self._abi: Any = load_artifact("Settlement").abi
        self._token: Any = self._web3.eth.contract(abi=load_artifact("TestToken").abi)
        self._contract: Any = self._web3.eth.contract(abi=self._abi)
        self._from_block = from_block
        self.settlement = settlement
        if settlement is not None:
            self._contract = self._web3.eth.contract(address=checksum(settlement), abi=self._abi)

    def connect(self) -> int:
        """Check that the chain answers and the contract is the one we sign for; returns the chain id."""
        chain_id = self.chain_id()
        if self.settlement is not None:
            if not self.code(self.settlement):
                raise ChainMismatch(f"no contract at 0x{self.settlement.hex()} on chain {chain_id}")
            if self._view("domain_separator") != domain_separator(chain_id, self.settlement):
                raise ChainMismatch(f"0x{self.settlement.hex()} is not this protocol's settlement contract")
        return chain_id

    def _view(self, function: str, *arguments: object, block: int | str = "latest") -> Any:
        if self.settlement is None:
            raise ChainMismatch("no settlement contract is configured")
        try:
            return getattr(self._contract.functions, function)(*arguments).call(block_identifier=block)
        except ChainError:
            raise
        except ANSWER_ERRORS as error:
            raise chain_error(error) from error

    def _call(self, function: str, *arguments: object, value_wei: int = 0, gas: int = 0) -> Call:
        if self.settlement is None:
            raise ChainMismatch("no settlement contract is configured")
        data = bytes.fromhex(self._contract.encode_abi(function, args=arguments)[2:])
        return Call(self.settlement, data, value_wei, gas)

    # --------------------------------------------------------------------------------------------- deployment

    def _deploy(self, secret: bytes, contract: str, *arguments: object) -> tuple[bytes, int]:
        artifact = load_artifact(contract)
        factory: Any = self._web3.eth.contract(abi=artifact.abi, bytecode=artifact.bytecode)
        data = bytes.fromhex(factory.constructor(*arguments).data_in_transaction[2:])
        (receipt,) = self.transact(secret, [Call(b"", data)])
        if receipt.contract is None:
            raise ChainMismatch(f"the deployment of {contract} has no contract address")
        return receipt.contract, receipt.block_number

    def deploy(
        self,
        secret: bytes,
        signers: Sequence[bytes],
        quorum: int,
        tokens: Sequence[bytes],
        terms: Terms | None = None,
    ) -> bytes:
        """Deploy a settlement contract, with its council, and use it from now on; returns its address.

        ``signers``: consensus addresses, strictly ascending. ``tokens``: token contract per asset id, zero for the
        chain's own coin. Without ``terms``: those of a development chain, with the deployer as governor and guardian.
        """
        members = [checksum(signer) for signer in signers]
        assets = [checksum(token) for token in tokens]
        if terms is None:
            deployer = bytes.fromhex(self._web3.eth.account.from_key(secret).address[2:])
            terms = Terms(governor=deployer, guardian=deployer)
        council = load_artifact("Council").bytecode
        self.settlement, self._from_block = self._deploy(
            secret, "Settlement", members, quorum, assets, _terms(terms), council
        )
        self._contract = self._web3.eth.contract(address=checksum(self.settlement), abi=self._abi)
        return self.settlement

    def deploy_token(self, secret: bytes, name: str, symbol: str, decimals: int) -> bytes:
        """Deploy a test token that anyone may mint; returns its address."""
        return self._deploy(secret, "TestToken", name, symbol, decimals)[0]

    def start(self, secret: bytes, genesis_state_root: bytes, genesis_inputs_count: int) -> None:
        """Fix the state that the first result builds on. The deployer's secret."""
        self.transact(secret, [self._call("start", genesis_state_root, genesis_inputs_count)])

    # ----------------------------------------------------------------------------------------------- money in

    def mint(self, secret: bytes, token: bytes, receiver: bytes, amount: int) -> None:
        """Create test tokens."""
        self.transact(secret, [self._token_call(token, "mint", receiver, amount, MINT_GAS)])

    def approve(self, secret: bytes, token: bytes, amount: int) -> None:
        """Let the settlement contract pull ``amount`` base units of the secret's account."""
        if self.settlement is None:
            raise ChainMismatch("no settlement contract is configured")
        self.transact(secret, [self._token_call(token, "approve", self.settlement, amount, APPROVE_GAS)])

    def _token_call(self, token: bytes, function: str, account: bytes, amount: int, gas: int) -> Call:
        data = bytes.fromhex(self._token.encode_abi(function, args=[checksum(account), amount])[2:])
        return Call(token, data, 0, gas)

    def deposit(self, secret: bytes, asset: int, amount: int, account: bytes) -> None:
        """Deposit approved tokens of the secret's account for ``account``."""
        self.transact(secret, [self._call("deposit", asset, amount, checksum(account))])

    def bond(self, secret: bytes, sponsor: bytes, amount_wei: int) -> None:
        """Add to a sponsor's bond."""
        self.transact(secret, [self._call("bond", checksum(sponsor), value_wei=amount_wei)])

    def fund(self, secret: bytes, deposits: Sequence[Deposit], bonds: Sequence[Bond]) -> None:
        """Mint test tokens, approve, deposit and bond for many accounts out of one, in one batch of
        transactions.
        """
        if self.settlement is None:
            raise ChainMismatch("no settlement contract is configured")
        tokens = self.asset_tokens()
        totals: dict[int, int] = {}
        for deposit in deposits:
            totals[deposit.asset] = totals.get(deposit.asset, 0) + deposit.amount
        funder = self._web3.eth.account.from_key(secret).address
        calls = []
        for asset, total in sorted(totals.items()):
            calls.append(self._token_call(tokens[asset], "mint", bytes.fromhex(funder[2:]), total, MINT_GAS))
            calls.append(self._token_call(tokens[asset], "approve", self.settlement, total, APPROVE_GAS))
        calls += [
            self._call("deposit", deposit.asset, deposit.amount, checksum(deposit.account), gas=DEPOSIT_GAS)
            for deposit in deposits
        ]
        calls += [
            self._call("bond", checksum(bond.sponsor), value_wei=bond.amount_wei, gas=BOND_GAS)
            for bond in bonds
        ]
        self.transact(secret, calls)

    # -------------------------------------------------------------------------------------------- input queue

    def inputs(self, up_to_block: int) -> list[Input]:
        """Every input up to a block, in order. Raises ChainMismatch if the hash chain does not hold."""
        inputs: list[Input] = []
        inputs_hash = ZERO_HASH
        for event in self._events("InputQueued", up_to_block):
            fields = event["args"]
            account = bytes.fromhex(fields["account"][2:])
            kind, asset, amount = fields["kind"], fields["asset"], fields["amount"]
            inputs_hash = next_inputs_hash(inputs_hash, kind, account, asset, amount)
            if fields["index"] != len(inputs) or fields["inputs_hash"] != inputs_hash:
                raise ChainMismatch(
                    f"input {fields['index']} does not continue the queue's {len(inputs)} inputs"
                )
            if kind not in (INPUT_DEPOSIT, INPUT_BOND, INPUT_FORCED):
                raise ChainMismatch(f"input {len(inputs)} is of unknown kind {kind}")
            inputs.append(Input(len(inputs), kind, account, asset, amount, inputs_hash))
        # A node that leaves out the newest inputs breaks no link; the contract's own count tells.
        checkpoint = self.checkpoint(up_to_block)
        if (checkpoint.inputs_count, checkpoint.inputs_hash) != (len(inputs), inputs_hash):
            raise ChainMismatch(
                f"{len(inputs)} inputs are logged, the contract counts {checkpoint.inputs_count}"
            )
        return inputs

    def _events(self, name: str, up_to_block: int) -> list[Any]:
        return self.events(name, self._from_block, up_to_block)

    def events(self, name: str, from_block: int, up_to_block: int) -> list[Any]:
        """The contract's events of that name in a range of blocks, both included, in order."""
        found: list[Any] = []
        for first in range(max(from_block, self._from_block), up_to_block + 1, LOG_RANGE_BLOCKS_MAX):
            last = min(first + LOG_RANGE_BLOCKS_MAX - 1, up_to_block)
            try:
                event: Any = self._contract.events[name]
                found += event.get_logs(from_block=first, to_block=last)
            except ChainError:
                raise
            except ANSWER_ERRORS as error:
                raise chain_error(error) from error
        return found

    def checkpoint(self, block: int) -> Checkpoint:
        """The queue at a block. Raises ChainMismatch when the block changes meanwhile."""
        block_hash = self.block_hash(block)
        count = self._view("inputs_count", block=block)
        inputs_hash = bytes(self._view("inputs_hash_at", count, block=block))
        if self.block_hash(block) != block_hash:
            raise ChainMismatch(f"block {block} was replaced while it was read")
        return Checkpoint(block, block_hash, count, inputs_hash)

    # ------------------------------------------------------------------------------------------------ results

    def prepare_result(self, signed: SignedResult, secret: bytes) -> PreparedTransaction:
        """Sign the transaction that posts a result. Raises TransactionReverted when the contract would refuse
        it.
        """
        check_result(signed.result)
        bitmap, signatures = signature_fields(signed)
        call = self._call(
            "post_result", result_header(signed.result), bitmap, signatures, pack_deltas(signed.result.deltas)
        )
        return self.prepare(secret, [call])[0]

    def post_result(self, signed: SignedResult, secret: bytes) -> bytes:
        """Post a result; returns the transaction's hash once it is sent."""
        prepared = self.prepare_result(signed, secret)
        self.broadcast([prepared])
        return prepared.transaction_hash

    def result_digest(self, result: BatchResult) -> bytes:
        """The digest as the contract computes it."""
        return bytes(self._view("result_digest", result_header(result), pack_deltas(result.deltas)))

    def last_posted(self) -> LastPosted:
        """Where the contract's chain of results ends."""
        epoch, last_height, state_root, inputs_count = self._view("last_posted")
        return LastPosted(epoch, last_height, bytes(state_root), inputs_count)

    def results(self, up_to_block: int | None = None) -> list[PostedResult]:
        """Every posted result, in order."""
        last = self.block_number() if up_to_block is None else up_to_block
        return [
            PostedResult(
                event["args"]["epoch"],
                event["args"]["first_height"],
                event["args"]["last_height"],
                bytes(event["args"]["state_root"]),
                bytes(event["args"]["fills_root"]),
                bytes(event["args"]["data_hash"]),
                event["blockNumber"],
                bytes(event["transactionHash"]),
            )
            for event in self._events("ResultPosted", last)
        ]

    # ------------------------------------------------------------------------------------------ state, claims

    def balance(self, account: bytes, asset: int) -> tuple[int, int]:
        """(free, withdrawable) in base units."""
        free, withdrawable = self._view("balance_of", asset, checksum(account))
        return free, withdrawable

    def exits(self, up_to_block: int) -> dict[tuple[bytes, int], int]:
        """What the frozen contract has paid out, by (account, asset), in base units."""
        rows = [event["args"] for event in self._events("Exited", up_to_block)]
        return {(bytes.fromhex(one["account"][2:]), one["asset"]): one["amount"] for one in rows}

    def bond_of(self, sponsor: bytes) -> int:
        """A sponsor's bond in wei."""
        return int(self._view("bonds", checksum(sponsor)))

    def claim(self, secret: bytes, asset: int, account: bytes) -> None:
        """Pay ``account`` its whole withdrawable amount; anyone may."""
        self.transact(secret, [self._call("claim", asset, checksum(account))])

    def token_balance(self, token: bytes, account: bytes) -> int:
        """Base units of a token that an address holds."""
        contract: Any = self._web3.eth.contract(address=checksum(token), abi=load_artifact("TestToken").abi)
        try:
            return int(contract.functions.balanceOf(checksum(account)).call())
        except ChainError:
            raise
        except ANSWER_ERRORS as error:
            raise chain_error(error) from error

    def asset_tokens(self) -> list[bytes]:
        """Token contract of each asset id."""
        return [bytes.fromhex(token[2:]) for token in self._view("asset_tokens")]

    def council(self) -> bytes:
        """The address of the contract's council: rotation, members' bonds, announced changes."""
        return bytes.fromhex(self._view("council")[2:])

    def signers(self, epoch: int = 0) -> tuple[list[bytes], int]:
        """(consensus addresses by signer index, quorum) of an epoch."""
        council: Any = self._web3.eth.contract(checksum(self.council()), abi=load_artifact("Council").abi)
        try:
            members = [bytes.fromhex(signer[2:]) for signer in council.functions.signers_of(epoch).call()]
        except ChainError:
            raise
        except ANSWER_ERRORS as error:
            raise chain_error(error) from error
        return members, int(self._view("quorum_of", epoch))


def _terms(terms: Terms) -> tuple[Any, ...]:
    return tuple(checksum(each) if isinstance(each, bytes) else each for each in astuple(terms))


def result_header(result: BatchResult) -> tuple[int | bytes, ...]:
    """A result as the contract's struct."""
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
