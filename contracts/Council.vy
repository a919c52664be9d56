# pragma version 0.4.3
# pragma evm-version cancun
# pragma optimize codesize
"""
@title Council
@notice Who stands behind a settlement contract: the members' bonds, which a proof of two words burns, and the changes
        that a governor announces a timelock ahead.
@dev
    A settlement contract creates its council and is the only one it speaks for. No trader's money is here. Wei moves:

      bond_member          in: a member's bond, by whoever pays it;
      slash_commit,        out: two signatures of one member over two digests for one place burn nine tenths of its
      slash_result         bond and pay a tenth to whoever shows them, up to the end of unbonding;
      unbond               out: to the member itself, two timelocks after it has left the committee and asked; after a
                           freeze, when there is no committee to leave any more, two timelocks after it has asked.

    An honest member signs one digest per (type, epoch, height) and can never be slashed: both digests are hashed here
    from their fields, under the settlement contract's own EIP-712 domain.

    The governor can change the fee of a forced order, the least bond, the governor, the guardian, and list a further
    asset. Each change is announced and waits for the timelock, which is longer than it takes to exit. The guardian can
    pause the settlement contract (Settlement.pause).
"""

SIGNERS_MAX: constant(uint256) = 64
ASSETS_MAX: constant(uint256) = 64
EPOCHS_MAX: constant(uint64) = 2**28
# Epochs with signers beyond that of the last result: an epoch may settle nothing and must not stop the next.
UNSETTLED_EPOCHS_MAX: constant(uint64) = 64
SIGNATURE_BYTES: constant(uint256) = 65
SIGNATURES_BYTES_MAX: constant(uint256) = 4160  # SIGNERS_MAX * SIGNATURE_BYTES
SIGNATURE_S_MAX: constant(uint256) = 57896044618658097711785492504343953926418782139537452191302581570759080747168
ADDRESS_MAX: constant(uint256) = 2**160 - 1
# Creation code that returns all that follows it, then the STOP before the signers.
KEEPER_CODE: constant(Bytes[12]) = x"600b5981380380925939f300"
BURNT: constant(address) = 0x000000000000000000000000000000000000dEaD
REPORTER_SHARE: constant(uint256) = 10

BATCH_RESULT_TYPE_HASH: constant(bytes32) = keccak256(
    "BatchResult(uint64 epoch,uint64 firstHeight,uint64 lastHeight,bytes32 prevStateRoot,bytes32 stateRoot,bytes32 fillsRoot,bytes32 dataHash,uint64 inputsCount,bytes32 inputsHash,bytes32 deltasHash)"
)
ORDER_COMMIT_TYPE_HASH: constant(bytes32) = keccak256(
    "OrderCommit(uint64 epoch,uint64 height,bytes32 prevHash,bytes32 ciphertextRoot,uint64 l1Head,uint64 forcedHead)"
)


ROTATION_TYPE_HASH: constant(bytes32) = keccak256(
    "Rotation(uint64 epoch,bytes32 signers,uint64 threshold,bytes32 committee,bytes32 sharing)"
)


struct Terms:
    forced_delay_blocks: uint256
    forced_spacing_blocks: uint256
    grace_blocks: uint256
    rotation_delay_blocks: uint256
    pause_blocks: uint256
    timelock_blocks: uint256
    forced_fee_wei: uint256
    forced_per_block_max: uint256
    bond_min_wei: uint256
    # n >= quorum_divisor * f + 1: 3, or 4 where a market orders by receipt.
    quorum_divisor: uint256
    governor: address
    guardian: address
    commits_required: bool


struct OrderCommit:
    epoch: uint64
    height: uint64
    prev_hash: bytes32
    ciphertext_root: bytes32
    l1_head: uint64
    forced_head: uint64


struct ResultHeader:
    epoch: uint64
    first_height: uint64
    last_height: uint64
    prev_state_root: bytes32
    state_root: bytes32
    fills_root: bytes32
    data_hash: bytes32
    inputs_count: uint64
    inputs_hash: bytes32


interface Settlement:
    def domain_separator() -> bytes32: view
    def last_posted() -> (uint64, uint64, bytes32, uint64): view
    def signer_set(epoch: uint64) -> uint256: view
    def status() -> (bool, bool, bool, bool, uint256): view
    def asset_tokens() -> DynArray[address, ASSETS_MAX]: view
    def list_asset(token: address): nonpayable
    def take_signers(epoch: uint256, signer_set: uint256): nonpayable


event Rotated:
    epoch: indexed(uint64)
    signers: DynArray[address, SIGNERS_MAX]
    quorum: uint256
    usable_block: uint256
    threshold: uint64
    committee: bytes32
    sharing: bytes32


event MemberBonded:
    signer: indexed(address)
    amount_wei: uint256
    bond_wei: uint256


event Slashed:
    signer: indexed(address)
    reporter: indexed(address)
    bond_wei: uint256
    reward_wei: uint256


event UnbondingBegun:
    signer: indexed(address)
    ready_block: uint256


event Unbonded:
    signer: indexed(address)
    amount_wei: uint256


event ChangeScheduled:
    name: String[32]
    new_value: uint256
    ready_block: uint256


event ChangeExecuted:
    name: String[32]
    new_value: uint256


event ChangeCancelled:
    name: String[32]
    new_value: uint256


SETTLEMENT: immutable(Settlement)
TERMS: immutable(Terms)

# The newest epoch that has signers.
last_epoch: public(uint64)
governor: public(address)
guardian: public(address)
forced_fee_wei: public(uint256)
bond_min_wei: public(uint256)

# signer -> wei
member_bonds: public(HashMap[address, uint256])
# signer -> first block at which its bond can leave; zero while it has not asked
unbond_block: public(HashMap[address, uint256])

# keccak256(name) -> value, and the block from which on it can be executed (zero: none is scheduled)
change_values: HashMap[bytes32, uint256]
change_blocks: HashMap[bytes32, uint256]


@deploy
def __init__(terms: Terms):
    """
    @notice Called by the settlement contract in its own deployment; it has checked the terms.
    """
    SETTLEMENT = Settlement(msg.sender)
    TERMS = terms
    self.governor = terms.governor
    self.guardian = terms.guardian
    self.forced_fee_wei = terms.forced_fee_wei
    self.bond_min_wei = terms.bond_min_wei


# ---------------------------------------------------------------------------------------------------------- rotation


@external
@nonreentrant
def rotate(
    epoch: uint64,
    signers: DynArray[address, SIGNERS_MAX],
    threshold: uint64,
    committee: bytes32,
    sharing: bytes32,
    bitmap: uint256,
    signatures: Bytes[SIGNATURES_BYTES_MAX],
):
    """
    @notice Makes `signers` those of `epoch`, the next one, by the word of a quorum of the one before.
    @dev They can be used after the rotation delay, once the old committees' results are posted, as heights tell.
    @param threshold How many of them open an order; it is of no meaning here but signed.
    @param committee Hash of the whole proposal.
    @param sharing Hash of the resharing's result.
    """
    current: uint64 = self.last_epoch
    assert epoch == current + 1 and epoch < EPOCHS_MAX, "rotate: not the next epoch"
    settled: uint64 = (staticcall SETTLEMENT.last_posted())[0]
    assert epoch - settled <= UNSETTLED_EPOCHS_MAX, "rotate: too many epochs without a result"
    members: uint256 = len(signers)
    assert members > TERMS.quorum_divisor, "rotate: too few signers"
    encoded: Bytes[32 * SIGNERS_MAX + 64] = abi_encode(signers)
    signers_hash: bytes32 = keccak256(slice(encoded, 64, 32 * members))
    struct_hash: bytes32 = keccak256(
        abi_encode(ROTATION_TYPE_HASH, epoch, signers_hash, threshold, committee, sharing)
    )
    self._check_signatures(self._typed(struct_hash), current, bitmap, signatures)
    quorum: uint256 = max(members - (members - 1) // TERMS.quorum_divisor, 2 * members // 3 + 1)
    usable_block: uint256 = block.number + TERMS.rotation_delay_blocks
    self._put_signers(epoch, signers, quorum, usable_block)
    self.last_epoch = epoch
    log Rotated(
        epoch=epoch,
        signers=signers,
        quorum=quorum,
        usable_block=usable_block,
        threshold=threshold,
        committee=committee,
        sharing=sharing,
    )


@internal
def _put_signers(
    epoch: uint64, members: DynArray[address, SIGNERS_MAX], quorum: uint256, usable_block: uint256
):
    """
    Keeps the signers of an epoch: a STOP and their addresses, a word each, as the code of a new contract.
    """
    previous: uint256 = 0
    for signer: address in members:
        assert convert(signer, uint256) > previous, "signers: not ascending"
        previous = convert(signer, uint256)
        # Who comes back asks for its bond anew once it has left again: an old request would pay it at once.
        if self.unbond_block[signer] != 0:
            self.unbond_block[signer] = 0
    encoded: Bytes[32 * SIGNERS_MAX + 64] = abi_encode(members)
    creation: Bytes[32 * SIGNERS_MAX + 76] = concat(
        KEEPER_CODE, slice(encoded, 64, 32 * len(members))
    )
    keeper: address = raw_create(creation)
    extcall SETTLEMENT.take_signers(
        convert(epoch, uint256),
        (usable_block << 192) | (quorum << 176) | (len(members) << 160) | convert(keeper, uint256),
    )


@internal
@view
def _check_signatures(
    digest: bytes32, epoch: uint64, bitmap: uint256, signatures: Bytes[SIGNATURES_BYTES_MAX]
):
    signer_set: uint256 = staticcall SETTLEMENT.signer_set(epoch)
    assert signer_set != 0, "signatures: unknown epoch"
    assert block.number >= signer_set >> 192, "signatures: signers not usable yet"
    members: uint256 = (signer_set >> 160) & 65535
    assert bitmap >> members == 0, "signatures: unknown signer"
    assert len(signatures) % SIGNATURE_BYTES == 0, "signatures: cut off"
    given: uint256 = len(signatures) // SIGNATURE_BYTES
    used: uint256 = 0
    for i: uint256 in range(members, bound=SIGNERS_MAX):
        if (bitmap >> i) & 1 == 0:
            continue
        assert used < given, "signatures: one missing"
        r: uint256 = extract32(signatures, used * SIGNATURE_BYTES, output_type=uint256)
        s: uint256 = extract32(signatures, used * SIGNATURE_BYTES + 32, output_type=uint256)
        v: uint256 = extract32(signatures, used * SIGNATURE_BYTES + 33, output_type=uint256) & 255
        assert s <= SIGNATURE_S_MAX, "signatures: high s"
        assert v == 27 or v == 28, "signatures: bad v"
        # Signers are never zero, so that a failed recovery, which gives zero, cannot match.
        assert ecrecover(digest, v, r, s) == self._signer(signer_set, i), "signatures: bad signature"
        used += 1
    assert used == given, "signatures: one left over"
    assert used >= (signer_set >> 176) & 65535, "signatures: no quorum"


@internal
@view
def _signer(signer_set: uint256, index: uint256) -> address:
    keeper: address = convert(convert(signer_set & ADDRESS_MAX, uint160), address)
    return convert(convert(slice(keeper.code, 1 + 32 * index, 32), uint256), address)


@internal
@view
def _typed(struct_hash: bytes32) -> bytes32:
    return keccak256(concat(b"\x19\x01", staticcall SETTLEMENT.domain_separator(), struct_hash))


@internal
@view
def _is_signer(epoch: uint64, account: address) -> bool:
    signer_set: uint256 = staticcall SETTLEMENT.signer_set(epoch)
    for i: uint256 in range((signer_set >> 160) & 65535, bound=SIGNERS_MAX):
        if self._signer(signer_set, i) == account:
            return True
    return False


@internal
@view
def _is_serving(account: address) -> bool:
    settled: uint64 = (staticcall SETTLEMENT.last_posted())[0]
    for ahead: uint64 in range(self.last_epoch + 1 - settled, bound=UNSETTLED_EPOCHS_MAX + 1):
        if self._is_signer(settled + ahead, account):
            return True
    return False


@external
@view
def signers_of(epoch: uint64) -> DynArray[address, SIGNERS_MAX]:
    """
    @return The consensus addresses of `epoch` by signer index; empty for an unknown epoch.
    """
    members: DynArray[address, SIGNERS_MAX] = []
    signer_set: uint256 = staticcall SETTLEMENT.signer_set(epoch)
    for i: uint256 in range((signer_set >> 160) & 65535, bound=SIGNERS_MAX):
        members.append(self._signer(signer_set, i))
    return members


@external
@view
def is_signer(epoch: uint64, account: address) -> bool:
    """
    @return Whether `account` is a signer of `epoch`.
    """
    return self._is_signer(epoch, account)


@external
@view
def is_serving(account: address) -> bool:
    """
    @return Whether `account` is a signer of the epoch of the last result or of a later one.
    """
    return self._is_serving(account)


@external
@view
def usable_block_of(epoch: uint64) -> uint256:
    """
    @return From which block on the signers of `epoch` can be used.
    """
    return staticcall SETTLEMENT.signer_set(epoch) >> 192


# ---------------------------------------------------------------------------------------------------- members' bonds


@external
@payable
@nonreentrant
def bond_member(signer: address):
    """
    @notice Adds the sent wei to `signer`'s bond, which reaches bond_min_wei by it.
    """
    assert msg.value > 0, "bond: zero amount"
    assert signer != empty(address), "bond: zero signer"
    bond_wei: uint256 = self.member_bonds[signer] + msg.value
    assert bond_wei >= self.bond_min_wei, "bond: below the least"
    self.member_bonds[signer] = bond_wei
    log MemberBonded(signer=signer, amount_wei=msg.value, bond_wei=bond_wei)


@external
@nonreentrant
def slash_commit(
    first: OrderCommit, first_signature: Bytes[SIGNATURE_BYTES], second: OrderCommit, second_signature: Bytes[SIGNATURE_BYTES]
):
    """
    @notice Burns the bond of who signed two different order commits for one (epoch, height).
    """
    assert first.epoch == second.epoch and first.height == second.height, "slash: not of one place"
    self._slash(
        first.epoch,
        keccak256(abi_encode(ORDER_COMMIT_TYPE_HASH, first)),
        first_signature,
        keccak256(abi_encode(ORDER_COMMIT_TYPE_HASH, second)),
        second_signature,
    )


@external
@nonreentrant
def slash_result(
    first: ResultHeader,
    first_deltas_hash: bytes32,
    first_signature: Bytes[SIGNATURE_BYTES],
    second: ResultHeader,
    second_deltas_hash: bytes32,
    second_signature: Bytes[SIGNATURE_BYTES],
):
    """
    @notice Burns the bond of who signed two different results for one (epoch, first height).
    """
    assert first.epoch == second.epoch and first.first_height == second.first_height, "slash: not of one place"
    self._slash(
        first.epoch,
        keccak256(abi_encode(BATCH_RESULT_TYPE_HASH, first, first_deltas_hash)),
        first_signature,
        keccak256(abi_encode(BATCH_RESULT_TYPE_HASH, second, second_deltas_hash)),
        second_signature,
    )


@internal
def _slash(
    epoch: uint64,
    first_hash: bytes32,
    first_signature: Bytes[SIGNATURE_BYTES],
    second_hash: bytes32,
    second_signature: Bytes[SIGNATURE_BYTES],
):
    assert first_hash != second_hash, "slash: one digest"
    signer: address = self._recover(first_hash, first_signature)
    assert signer != empty(address), "slash: bad signature"
    assert self._recover(second_hash, second_signature) == signer, "slash: not of one signer"
    assert self._is_signer(epoch, signer), "slash: no signer of the epoch"
    bond_wei: uint256 = self.member_bonds[signer]
    assert bond_wei > 0, "slash: no bond"
    self.member_bonds[signer] = 0
    reward_wei: uint256 = bond_wei // REPORTER_SHARE
    log Slashed(signer=signer, reporter=msg.sender, bond_wei=bond_wei, reward_wei=reward_wei)
    raw_call(BURNT, b"", value=bond_wei - reward_wei)
    raw_call(msg.sender, b"", value=reward_wei)


@internal
@view
def _recover(struct_hash: bytes32, signature: Bytes[SIGNATURE_BYTES]) -> address:
    assert len(signature) == SIGNATURE_BYTES, "slash: bad signature"
    s: uint256 = extract32(signature, 32, output_type=uint256)
    v: uint256 = extract32(signature, 33, output_type=uint256) & 255
    assert s <= SIGNATURE_S_MAX and (v == 27 or v == 28), "slash: bad signature"
    return ecrecover(self._typed(struct_hash), v, extract32(signature, 0, output_type=uint256), s)


@external
def begin_unbonding():
    """
    @notice The caller, who is in no committee that serves or is to serve, asks for its bond; two timelocks later it
            can have it, unless a rotation has taken it in again. A bond can be slashed until then.
    @dev Once the settlement contract is frozen no committee is ever followed by another, and none can do anything.
    """
    assert self.member_bonds[msg.sender] > 0, "unbond: no bond"
    assert self.unbond_block[msg.sender] == 0, "unbond: already begun"
    if not (staticcall SETTLEMENT.status())[1]:
        assert not self._is_serving(msg.sender), "unbond: still a signer"
    ready_block: uint256 = block.number + 2 * TERMS.timelock_blocks
    self.unbond_block[msg.sender] = ready_block
    log UnbondingBegun(signer=msg.sender, ready_block=ready_block)


@external
@nonreentrant
def unbond(signer: address):
    """
    @notice Pays `signer`'s bond to `signer` itself once its time has come. Anyone may call.
    """
    ready_block: uint256 = self.unbond_block[signer]
    assert ready_block != 0 and block.number >= ready_block, "unbond: too early"
    self.unbond_block[signer] = 0
    amount: uint256 = self.member_bonds[signer]
    assert amount > 0, "unbond: no bond"
    self.member_bonds[signer] = 0
    log Unbonded(signer=signer, amount_wei=amount)
    raw_call(signer, b"", value=amount)


# --------------------------------------------------------------------------------------------------- announced changes


@external
def schedule(name: String[32], new_value: uint256):
    """
    @notice Announces a change: forced_fee_wei, bond_min_wei (wei), governor, guardian (addresses) or asset (a token to
            list, zero for the chain's own coin). A later announcement of the same name replaces this one.
    """
    assert msg.sender == self.governor, "change: not the governor"
    if name != "forced_fee_wei" and name != "bond_min_wei":
        assert name == "governor" or name == "guardian" or name == "asset", "change: unknown name"
        assert new_value <= ADDRESS_MAX, "change: not an address"
    key: bytes32 = keccak256(name)
    self.change_values[key] = new_value
    self.change_blocks[key] = block.number + TERMS.timelock_blocks
    log ChangeScheduled(name=name, new_value=new_value, ready_block=block.number + TERMS.timelock_blocks)


@external
def cancel(name: String[32]):
    """
    @notice Takes back a change that was announced.
    """
    assert msg.sender == self.governor, "change: not the governor"
    log ChangeCancelled(name=name, new_value=self._take_change(name))


@external
@nonreentrant
def execute(name: String[32]):
    """
    @notice Makes a change that was announced a timelock ago. Anyone may call.
    """
    assert block.number >= self.change_blocks[keccak256(name)], "change: not ready"
    new_value: uint256 = self._take_change(name)
    if name == "forced_fee_wei":
        self.forced_fee_wei = new_value
    elif name == "bond_min_wei":
        self.bond_min_wei = new_value
    else:
        account: address = convert(convert(new_value, uint160), address)
        if name == "governor":
            self.governor = account
        elif name == "guardian":
            self.guardian = account
        else:
            assert account == empty(address) or account.is_contract, "asset: no contract"
            assert account not in staticcall SETTLEMENT.asset_tokens(), "asset: listed twice"
            extcall SETTLEMENT.list_asset(account)
    log ChangeExecuted(name=name, new_value=new_value)


@internal
def _take_change(name: String[32]) -> uint256:
    key: bytes32 = keccak256(name)
    assert self.change_blocks[key] != 0, "change: none scheduled"
    self.change_blocks[key] = 0
    return self.change_values[key]


@external
@view
def scheduled(name: String[32]) -> (uint256, uint256):
    """
    @return Value and first block of execution of the change announced under `name`; zeros where there is none.
    """
    key: bytes32 = keccak256(name)
    if self.change_blocks[key] == 0:
        return 0, 0
    return self.change_values[key], self.change_blocks[key]


@external
@view
def commit_digest(header: OrderCommit) -> bytes32:
    """
    @return The digest the committee signs for this order commit.
    """
    return self._typed(keccak256(abi_encode(ORDER_COMMIT_TYPE_HASH, header)))


@external
@view
def settlement() -> address:
    """
    @return The settlement contract that this council stands behind.
    """
    return SETTLEMENT.address


@external
@view
def terms() -> Terms:
    """
    @return The terms as they are now.
    """
    now: Terms = TERMS
    now.forced_fee_wei = self.forced_fee_wei
    now.bond_min_wei = self.bond_min_wei
    now.governor = self.governor
    now.guardian = self.guardian
    return now
