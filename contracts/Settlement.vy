# pragma version 0.4.3
# pragma evm-version cancun
# pragma optimize gas
"""
@title Settlement
@notice Holds traders' tokens and applies the net balance changes that a quorum of the sequencer's committee signed.
@dev
    The storage of this contract is the only ledger: per (asset, account) one slot with a free amount (low 128 bits)
    and a withdrawable amount (high 128 bits). Money moves in three ways only:

      deposit      tokens in, free up by what arrived, a record appended to the input queue;
      post_result  free and withdrawable change by signed deltas that sum to zero per asset;
      claim        withdrawable to zero, tokens out to the account itself.

    So for every asset the tokens held are never less than the sum of all balances. A token that shrinks balances on
    its own (rebasing, clawback) breaks that for its own asset and for no other; such tokens must not be listed.

    The input queue is hash-chained. hash(0) is 32 zero bytes and
    hash(i + 1) = sha256(hash(i) || kind u8 || account 20 || asset u16 || amount u256), integers big-endian.
    A result names a count and the hash at that count, so that the committee can neither skip nor invent an input.

    Results form a chain: first_height follows the last posted height and prev_state_root is the last state root.
"""

from ethereum.ercs import IERC20

# ---------------------------------------------------------------------------------------------------------- bounds

SIGNERS_MAX: constant(uint256) = 64
ASSETS_MAX: constant(uint256) = 64
# A result touching more (asset, account) pairs than this is refused: EIP-7825 caps a transaction at 2**24 gas.
RESULT_DELTAS_MAX: constant(uint256) = 1500
DELTA_BYTES: constant(uint256) = 54  # account 20 || asset u16 || free i128 || withdrawable i128
DELTAS_BYTES_MAX: constant(uint256) = 81000  # RESULT_DELTAS_MAX * DELTA_BYTES
SIGNATURE_BYTES: constant(uint256) = 65  # r 32 || s 32 || v 1
SIGNATURES_BYTES_MAX: constant(uint256) = 4160  # SIGNERS_MAX * SIGNATURE_BYTES
AMOUNT_MAX: constant(uint256) = 2**128 - 1
MASK64: constant(uint256) = 2**64 - 1

# Half of the group order of secp256k1, rounded down: the largest s of a signature in its one accepted form.
SIGNATURE_S_MAX: constant(uint256) = 57896044618658097711785492504343953926418782139537452191302581570759080747168

# ------------------------------------------------------------------------------------------------------ input kinds

INPUT_DEPOSIT: constant(uint8) = 1
INPUT_BOND: constant(uint8) = 2

# --------------------------------------------------------------------------------------------------- EIP-712 hashes

DOMAIN_TYPE_HASH: constant(bytes32) = keccak256(
    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
)
DOMAIN_NAME_HASH: constant(bytes32) = keccak256("mpc_sequencer")
DOMAIN_VERSION_HASH: constant(bytes32) = keccak256("1")
BATCH_RESULT_TYPE_HASH: constant(bytes32) = keccak256(
    "BatchResult(uint64 epoch,uint64 firstHeight,uint64 lastHeight,bytes32 prevStateRoot,bytes32 stateRoot,bytes32 fillsRoot,bytes32 dataHash,uint64 inputsCount,bytes32 inputsHash,bytes32 deltasHash)"
)

# ------------------------------------------------------------------------------------------------------------ types


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


event InputQueued:
    index: indexed(uint64)
    kind: uint8
    account: indexed(address)
    asset: uint16
    amount: uint256
    inputs_hash: bytes32


event Started:
    genesis_state_root: bytes32
    genesis_inputs_count: uint64


event ResultPosted:
    epoch: uint64
    first_height: indexed(uint64)
    last_height: indexed(uint64)
    state_root: bytes32
    fills_root: bytes32
    data_hash: bytes32


event Claimed:
    asset: indexed(uint16)
    account: indexed(address)
    amount: uint256


# ---------------------------------------------------------------------------------------------------------- storage

CACHED_CHAIN_ID: immutable(uint256)
CACHED_DOMAIN_SEPARATOR: immutable(bytes32)
DEPLOYER: immutable(address)

# The ordered set of consensus keys per epoch, and how many of them must sign.
signers: HashMap[uint256, DynArray[address, SIGNERS_MAX]]
quorums: HashMap[uint256, uint256]

# The asset id is the index.
tokens: DynArray[address, ASSETS_MAX]

# asset -> account -> withdrawable << 128 | free
balances: HashMap[uint256, HashMap[address, uint256]]

# sponsor -> wei
bonds: public(HashMap[address, uint256])

inputs_count: public(uint256)
inputs_hash_at: public(HashMap[uint256, bytes32])

# epoch << 128 | last height posted << 64 | inputs count of the last result: one slot, one write per result.
head: uint256
# Zero until start() has been called.
state_root: bytes32


@deploy
def __init__(
    committee: DynArray[address, SIGNERS_MAX],
    quorum: uint256,
    asset_tokens: DynArray[address, ASSETS_MAX],
):
    """
    @param committee The consensus addresses of epoch 0, strictly ascending; a signer's index is its place here.
    @param quorum How many of them sign a result; more than two thirds, so that two quorums share an honest member.
    @param asset_tokens The token contract of each asset id, from 0; none twice.
    """
    previous: uint256 = 0
    for signer: address in committee:
        assert convert(signer, uint256) > previous, "deploy: signers not ascending"
        previous = convert(signer, uint256)
    assert quorum <= len(committee) and 3 * quorum > 2 * len(committee), "deploy: quorum out of range"
    assert len(asset_tokens) > 0, "deploy: no assets"
    for token: address in asset_tokens:
        assert token.is_contract, "deploy: asset is no contract"
        assert token not in self.tokens, "deploy: asset listed twice"
        self.tokens.append(token)
    self.signers[0] = committee
    self.quorums[0] = quorum
    DEPLOYER = msg.sender
    CACHED_CHAIN_ID = chain.id
    CACHED_DOMAIN_SEPARATOR = self._separator()


# -------------------------------------------------------------------------------------------------------- money in


@external
@nonreentrant
def deposit(asset: uint16, amount: uint256, account: address):
    """
    @notice Pulls `amount` base units of the asset's token from the caller and credits `account` with what arrived.
    @dev The balance is measured around the transfer: a token that keeps a fee credits less, never more than is held.
    """
    assert convert(asset, uint256) < len(self.tokens), "deposit: unknown asset"
    assert amount > 0, "deposit: zero amount"
    assert account != empty(address), "deposit: zero account"
    token: IERC20 = IERC20(self.tokens[asset])
    held: uint256 = staticcall token.balanceOf(self)
    assert extcall token.transferFrom(
        msg.sender, self, amount, default_return_value=True
    ), "deposit: token refused the transfer"
    held_after: uint256 = staticcall token.balanceOf(self)
    assert held_after > held, "deposit: nothing arrived"
    received: uint256 = held_after - held
    slot: uint256 = self.balances[convert(asset, uint256)][account]
    assert received <= AMOUNT_MAX - (slot & AMOUNT_MAX), "deposit: balance above 2^128-1"
    # The free amount is the low half and the sum fits it: adding never carries into the withdrawable half.
    self.balances[convert(asset, uint256)][account] = slot + received
    self._queue_input(INPUT_DEPOSIT, account, asset, received)


@external
@payable
@nonreentrant
def bond(sponsor: address):
    """
    @notice Adds the sent wei to `sponsor`'s bond, out of which the sponsor's orders are charged.
    """
    assert msg.value > 0, "bond: zero amount"
    assert sponsor != empty(address), "bond: zero sponsor"
    self.bonds[sponsor] += msg.value
    self._queue_input(INPUT_BOND, sponsor, 0, msg.value)


@internal
def _queue_input(kind: uint8, account: address, asset: uint16, amount: uint256):
    index: uint256 = self.inputs_count
    inputs_hash: bytes32 = sha256(
        concat(
            self.inputs_hash_at[index],
            convert(kind, bytes1),
            convert(account, bytes20),
            convert(asset, bytes2),
            convert(amount, bytes32),
        )
    )
    self.inputs_hash_at[index + 1] = inputs_hash
    self.inputs_count = index + 1
    log InputQueued(
        index=convert(index, uint64),
        kind=kind,
        account=account,
        asset=asset,
        amount=amount,
        inputs_hash=inputs_hash,
    )


# --------------------------------------------------------------------------------------------------------- results


@external
@nonreentrant
def start(genesis_state_root: bytes32, genesis_inputs_count: uint64):
    """
    @notice Fixes, once, the state the first result builds on and the queue's inputs that this state already holds.
    """
    assert msg.sender == DEPLOYER, "start: not the deployer"
    assert self.state_root == empty(bytes32), "start: already started"
    assert genesis_state_root != empty(bytes32), "start: zero state root"
    assert convert(genesis_inputs_count, uint256) <= self.inputs_count, "start: inputs not queued"
    self.state_root = genesis_state_root
    self.head = convert(genesis_inputs_count, uint256)
    log Started(genesis_state_root=genesis_state_root, genesis_inputs_count=genesis_inputs_count)


@external
@nonreentrant
def post_result(
    header: ResultHeader,
    bitmap: uint256,
    signatures: Bytes[SIGNATURES_BYTES_MAX],
    deltas: Bytes[DELTAS_BYTES_MAX],
):
    """
    @notice Applies one certified result. Anyone may post it; the signatures alone give it force.
    @param header What was signed, but for the deltas.
    @param bitmap Bit i is set when the signer with index i signed.
    @param signatures One signature (r, s, v) per set bit, by ascending index.
    @param deltas Net changes, 54 bytes each, strictly ascending by (asset, account), summing to zero per asset.
    """
    self._check_header(header)
    deltas_hash: bytes32 = sha256(deltas)
    self._check_signatures(self._digest(header, deltas_hash), header.epoch, bitmap, signatures)

    assert len(deltas) % DELTA_BYTES == 0, "result: deltas cut off"
    assets: uint256 = len(self.tokens)
    key: uint256 = 0
    asset: uint256 = 0
    asset_sum: int256 = 0
    for i: uint256 in range(len(deltas) // DELTA_BYTES, bound=RESULT_DELTAS_MAX):
        # The first word holds account || asset || the top of free; the second, overlapping it, free || withdrawable.
        prefix: uint256 = extract32(deltas, i * DELTA_BYTES, output_type=uint256)
        change: int256 = extract32(deltas, i * DELTA_BYTES + 22, output_type=int256)
        account: uint256 = prefix >> 96
        delta_asset: uint256 = (prefix >> 80) & 65535
        next_key: uint256 = (delta_asset << 160) | account
        assert next_key > key and account != 0, "result: deltas not ascending"
        key = next_key
        if delta_asset != asset:
            assert asset_sum == 0, "result: deltas do not sum to zero"
            assert delta_asset < assets, "result: unknown asset"
            asset = delta_asset
        assert change != 0, "result: empty delta"
        free_change: int256 = change >> 128
        withdrawable_change: int256 = (change << 128) >> 128
        asset_sum += free_change + withdrawable_change
        self._apply_delta(asset, convert(convert(account, uint160), address), free_change, withdrawable_change)
    assert asset_sum == 0, "result: deltas do not sum to zero"

    self.state_root = header.state_root
    self.head = (
        (convert(header.epoch, uint256) << 128)
        | (convert(header.last_height, uint256) << 64)
        | convert(header.inputs_count, uint256)
    )
    log ResultPosted(
        epoch=header.epoch,
        first_height=header.first_height,
        last_height=header.last_height,
        state_root=header.state_root,
        fills_root=header.fills_root,
        data_hash=header.data_hash,
    )


@internal
def _apply_delta(asset: uint256, account: address, free_change: int256, withdrawable_change: int256):
    slot: uint256 = self.balances[asset][account]
    free: int256 = convert(slot & AMOUNT_MAX, int256) + free_change
    withdrawable: int256 = convert(slot >> 128, int256) + withdrawable_change
    assert free >= 0 and withdrawable >= 0, "result: balance below zero"
    assert convert(free | withdrawable, uint256) <= AMOUNT_MAX, "result: balance above 2^128-1"
    self.balances[asset][account] = (convert(withdrawable, uint256) << 128) | convert(free, uint256)


@internal
@view
def _check_header(header: ResultHeader):
    assert self.state_root != empty(bytes32), "result: not started"
    head: uint256 = self.head
    assert convert(header.epoch, uint256) == head >> 128, "result: wrong epoch"
    assert convert(header.first_height, uint256) == ((head >> 64) & MASK64) + 1, "result: wrong first height"
    assert header.last_height >= header.first_height, "result: last height before first"
    assert header.prev_state_root == self.state_root, "result: wrong predecessor"
    # A zero root would read as "not started".
    assert header.state_root != empty(bytes32), "result: zero state root"
    count: uint256 = convert(header.inputs_count, uint256)
    assert count >= head & MASK64, "result: inputs count went back"
    # Without this bound a count beyond the queue would meet the zero hash of an unwritten slot.
    assert count <= self.inputs_count, "result: inputs not queued"
    assert header.inputs_hash == self.inputs_hash_at[count], "result: wrong inputs hash"


@internal
@view
def _check_signatures(
    digest: bytes32, epoch: uint64, bitmap: uint256, signatures: Bytes[SIGNATURES_BYTES_MAX]
):
    members: uint256 = len(self.signers[convert(epoch, uint256)])
    assert bitmap >> members == 0, "result: unknown signer"
    assert len(signatures) % SIGNATURE_BYTES == 0, "result: signatures cut off"
    given: uint256 = len(signatures) // SIGNATURE_BYTES
    used: uint256 = 0
    for i: uint256 in range(members, bound=SIGNERS_MAX):
        if (bitmap >> i) & 1 == 0:
            continue
        assert used < given, "result: signature missing"
        r: uint256 = extract32(signatures, used * SIGNATURE_BYTES, output_type=uint256)
        s: uint256 = extract32(signatures, used * SIGNATURE_BYTES + 32, output_type=uint256)
        v: uint256 = extract32(signatures, used * SIGNATURE_BYTES + 33, output_type=uint256) & 255
        assert s <= SIGNATURE_S_MAX, "result: high s"
        assert v == 27 or v == 28, "result: bad v"
        recovered: address = ecrecover(digest, v, r, s)
        # Signers are never zero, so that a failed recovery, which gives zero, cannot match.
        assert recovered == self.signers[convert(epoch, uint256)][i], "result: bad signature"
        used += 1
    assert used == given, "result: signature left over"
    assert used >= self.quorums[convert(epoch, uint256)], "result: no quorum"


# -------------------------------------------------------------------------------------------------------- money out


@external
@nonreentrant
def claim(asset: uint16, account: address):
    """
    @notice Pays all of `account`'s withdrawable amount of `asset` to `account` itself. Anyone may call.
    """
    assert convert(asset, uint256) < len(self.tokens), "claim: unknown asset"
    slot: uint256 = self.balances[convert(asset, uint256)][account]
    amount: uint256 = slot >> 128
    assert amount > 0, "claim: nothing to claim"
    self.balances[convert(asset, uint256)][account] = slot & AMOUNT_MAX
    log Claimed(asset=asset, account=account, amount=amount)
    assert extcall IERC20(self.tokens[asset]).transfer(
        account, amount, default_return_value=True
    ), "claim: token refused the transfer"


# ------------------------------------------------------------------------------------------------------------ views


@internal
@view
def _separator() -> bytes32:
    return keccak256(abi_encode(DOMAIN_TYPE_HASH, DOMAIN_NAME_HASH, DOMAIN_VERSION_HASH, chain.id, self))


@internal
@view
def _domain_separator() -> bytes32:
    # After a fork of the chain the id differs and signatures of the one side must not count on the other.
    if chain.id == CACHED_CHAIN_ID:
        return CACHED_DOMAIN_SEPARATOR
    return self._separator()


@internal
@view
def _digest(header: ResultHeader, deltas_hash: bytes32) -> bytes32:
    struct_hash: bytes32 = keccak256(
        abi_encode(
            BATCH_RESULT_TYPE_HASH,
            header.epoch,
            header.first_height,
            header.last_height,
            header.prev_state_root,
            header.state_root,
            header.fills_root,
            header.data_hash,
            header.inputs_count,
            header.inputs_hash,
            deltas_hash,
        )
    )
    return keccak256(concat(b"\x19\x01", self._domain_separator(), struct_hash))


@external
@view
def domain_separator() -> bytes32:
    """
    @return The EIP-712 domain separator of this deployment.
    """
    return self._domain_separator()


@external
@view
def result_digest(header: ResultHeader, deltas: Bytes[DELTAS_BYTES_MAX]) -> bytes32:
    """
    @return The digest the committee signs for this result.
    """
    return self._digest(header, sha256(deltas))


@external
@view
@nonreentrant
def balance_of(asset: uint16, account: address) -> (uint256, uint256):
    """
    @return Free and withdrawable amount in base units of the asset's token.
    """
    slot: uint256 = self.balances[convert(asset, uint256)][account]
    return slot & AMOUNT_MAX, slot >> 128


@external
@view
def last_posted() -> (uint64, uint64, bytes32, uint64):
    """
    @return Epoch, last height, state root and inputs count of the last result, or of the genesis before the first.
    """
    head: uint256 = self.head
    return (
        convert(head >> 128, uint64),
        convert((head >> 64) & MASK64, uint64),
        self.state_root,
        convert(head & MASK64, uint64),
    )


@external
@view
def started() -> bool:
    """
    @return Whether results can be posted.
    """
    return self.state_root != empty(bytes32)


@external
@view
def signers_of(epoch: uint64) -> DynArray[address, SIGNERS_MAX]:
    """
    @return The consensus addresses of `epoch` by signer index; empty for an unknown epoch.
    """
    return self.signers[convert(epoch, uint256)]


@external
@view
def quorum_of(epoch: uint64) -> uint256:
    """
    @return How many signatures a result of `epoch` needs.
    """
    return self.quorums[convert(epoch, uint256)]


@external
@view
def asset_tokens() -> DynArray[address, ASSETS_MAX]:
    """
    @return The token contracts by asset id.
    """
    return self.tokens
