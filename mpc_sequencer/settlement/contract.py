"""The settlement contract as the submitter sees it: its state at a block, and the call of every step."""

from __future__ import annotations

from typing import Any, Final

from mpc_sequencer.settlement.chain import ChainClient, result_header
from mpc_sequencer.settlement.claims import OrderCommit, SignedCommit
from mpc_sequencer.settlement.compiled import load_artifact
from mpc_sequencer.settlement.errors import ChainError, ChainMismatch
from mpc_sequencer.settlement.ethrpc import ANSWER_ERRORS, Call, chain_error, checksum
from mpc_sequencer.settlement.payloads import (
    SignedResult,
    delta_parts,
    pack_deltas,
    part_hashes,
    signature_fields,
)
from mpc_sequencer.settlement.steps import APPLY_ROWS, ContractView, Kind, Rotation, Staged, Step

CANCEL_GAS: Final = 21_000


class SettlementContract(ChainClient):
    """A chain client that reads the contract as a whole and makes the call of a step."""

    def __init__(self, url: str, settlement: bytes | None = None, from_block: int = 0) -> None:
        super().__init__(url, settlement, from_block)
        self._council_abi: Any = load_artifact("Council").abi
        self._council: tuple[bytes, Any] | None = None
        self._commits_required: bool | None = None

    def _council_contract(self) -> tuple[bytes, Any]:
        """The council's address and contract, asked once."""
        if self._council is None:
            address = str(self._view("council"))
            contract: Any = self._web3.eth.contract(address=checksum(bytes.fromhex(address[2:])), abi=self._council_abi)
            self._council = bytes.fromhex(address[2:]), contract
        return self._council

    def council_view(self, function: str, *arguments: object, block: int | str = "latest") -> Any:
        """What a view of the council says at a block."""
        _, contract = self._council_contract()
        try:
            return getattr(contract.functions, function)(*arguments).call(block_identifier=block)
        except ChainError:
            raise
        except ANSWER_ERRORS as error:
            raise chain_error(error) from error

    def council_call(self, function: str, *arguments: object, value_wei: int = 0) -> Call:
        """A transaction to the council."""
        address, contract = self._council_contract()
        return Call(address, bytes.fromhex(contract.encode_abi(function, args=arguments)[2:]), value_wei)

    # --- state -----------------------------------------------------------------------------------------------------
    def view_at(self, block: int) -> ContractView:
        """What the contract says at ``block``. Raises ChainMismatch where there is no contract yet."""
        if self._commits_required is None:
            self._commits_required = bool(self.council_view("terms")[-1])
        settled_epoch, result_height, _, _ = self._view("last_posted", block=block)
        _, commit_height, _, _, _ = self._view("last_commit", block=block)
        started, frozen, paused, under_way, _ = self._view("status", block=block)
        staged = None
        if under_way:
            height, _, checked, part, row = self._view("staged", block=block)
            staged = Staged(height, checked, part, row)
        stopped = "frozen" if frozen else "paused" if paused else "" if started else "not started"
        # Only signers that are usable rotate, so of all epochs' signers the newest alone may have to wait.
        epoch = int(self.council_view("last_epoch", block=block))
        usable_block = int(self.council_view("usable_block_of", epoch, block=block))
        epoch, usable_block = (epoch - 1, usable_block) if usable_block > block else (epoch, 0)
        return ContractView(
            block=block,
            epoch=epoch,
            result_height=result_height,
            commit_height=commit_height,
            usable_block=usable_block,
            stopped=stopped,
            staged=staged,
            commits_required=self._commits_required,
            settled_epoch=settled_epoch,
        )

    def sent_call(self, transaction_hash: bytes) -> tuple[str, dict[str, Any]]:
        """The contract's function that a mined transaction called, and its arguments by name. Raises ChainMismatch
        where it called none."""
        sent = self.request("eth_getTransactionByHash", "0x" + transaction_hash.hex())
        try:
            function, arguments = self._contract.decode_function_input(sent["input"])
        except (TypeError, KeyError, ValueError):
            raise ChainMismatch(f"transaction 0x{transaction_hash.hex()} is no call of the contract") from None
        return str(function.fn_name), dict(arguments)

    # --- what anybody may do ---------------------------------------------------------------------------------------
    def queue_count(self, function: str) -> int:
        """``inputs_count`` or ``forced_count``."""
        return int(self._view(function))

    def force(self, secret: bytes, envelope: bytes, fee_wei: int) -> int:
        """Queue an envelope for ``fee_wei``; the block at which it is due."""
        self.transact(secret, [self._call("force", envelope, value_wei=fee_wei)])
        _, _, due_block = self._view("forced_entry", self.queue_count("forced_count") - 1)
        return int(due_block)

    def send(self, secret: bytes, function: str, *arguments: object) -> None:
        """Send a transaction of that name and wait for it; addresses as 20 bytes."""
        shown = [checksum(one) if isinstance(one, bytes) and len(one) == 20 else one for one in arguments]
        self.transact(secret, [self._call(function, *shown)])

    # --- steps -----------------------------------------------------------------------------------------------------
    def call_of(
        self, step: Step, commit: SignedCommit | None, result: SignedResult | None, rotation: Rotation | None
    ) -> Call:
        """The transaction of a step. Raises ChainMismatch where what it is about is not at hand."""
        match step.kind:
            case Kind.ROTATE if rotation is not None:
                return self._rotate(rotation)
            case Kind.COMMIT if commit is not None:
                return self._call("post_commit", *_commit_fields(commit))
            case Kind.BOTH if commit is not None and result is not None:
                return self._call("post_both", *_commit_fields(commit), *_result_fields(result))
            case Kind.RESULT if result is not None:
                return self._call("post_result", *_result_fields(result))
            case Kind.BEGIN if result is not None:
                header, *signed, packed = _result_fields(result)
                return self._call("begin_result", header, list(part_hashes(packed)), *signed)
            case Kind.CHECK if result is not None:
                return self._call("stage_part", step.part, _part(result, step))
            case Kind.APPLY if result is not None:
                return self._call("apply_part", step.part, _part(result, step), APPLY_ROWS)
            case _:
                raise ChainMismatch(f"what is signed of {step} is not at hand")

    def _rotate(self, rotation: Rotation) -> Call:
        signers = [checksum(signer) for signer in rotation.signers]
        signed = signature_fields(rotation)
        fields = (rotation.epoch, signers, rotation.threshold, rotation.committee, rotation.sharing, *signed)
        return self.council_call("rotate", *fields)


def commit_header(commit: OrderCommit) -> tuple[int | bytes, ...]:
    """An order commit as the contract's struct."""
    return (
        commit.epoch,
        commit.height,
        commit.prev_hash,
        commit.ciphertext_root,
        commit.l1_head,
        commit.forced_head,
    )


def _commit_fields(signed: SignedCommit) -> tuple[Any, ...]:
    return (commit_header(signed.commit), *signature_fields(signed))


def _result_fields(signed: SignedResult) -> tuple[Any, ...]:
    """Header, bitmap, signatures, packed deltas."""
    return (result_header(signed.result), *signature_fields(signed), pack_deltas(signed.result.deltas))


def _part(signed: SignedResult, step: Step) -> bytes:
    return delta_parts(pack_deltas(signed.result.deltas))[step.part]
