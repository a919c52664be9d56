# pragma version 0.4.3
# pragma evm-version cancun
# pragma optimize codesize
"""
@title Settlement
@notice Holds traders' money and applies the net balance changes that a quorum of the sequencer's committee signed.
@dev
    The storage of this contract is the only ledger: per (asset, account) one slot with a free amount (low 128 bits)
    and a withdrawable amount (high 128 bits). An asset is a token contract, or the chain's own coin (address zero).

    Where money can move, and nowhere else:

      deposit, deposit_native  money in, free up by what arrived;
      bond, force              wei in: a sponsor's bond, a fee that stays here for ever;
      post_result, apply_part  free and withdrawable change by signed deltas that sum to zero per asset;
      claim, claim_many        withdrawable to zero, money out to the account itself, in every state;
      exit                     frozen only: free and withdrawable to zero, money out to the account itself;
      exit_bond                frozen only: a sponsor's bond back to the sponsor itself.

    So for every asset the tokens held are never less than the sum of all balances. A token that shrinks balances on
    its own (rebasing, clawback) breaks that for its own asset and for no other; such tokens must not be listed.

    The input queue is hash-chained. hash(0) is 32 zero bytes and
    hash(i + 1) = sha256(hash(i) || kind u8 || account 20 || asset u16 || amount u256), integers big-endian.
    A result names a count and the hash at that count, so that the committee can neither skip nor invent an input.

    Order commits form a chain by prev_hash, results by first_height and prev_state_root. A result needs a commit for
    its last height. A commit must cover every forced entry that was due at its l1_head. An entry that no commit covers
    within grace_blocks of its due block lets anyone freeze: then there is no result, commit or deposit ever again, and
    everybody takes out what storage says. While a pause lasts these times stand still.

    A result above RESULT_DELTAS_MAX rows is signed over the hashes of its parts. It is begun (signatures), then every
    part is checked (its hash, order, sums and what the balances would be), then every part is applied. Nothing moves
    before all is checked, and nothing that was checked can change before it is applied, as claims and deposits wait:
    so parts that were checked can always be applied, by anyone, from data that is on the chain. What cannot be checked
    is dropped by a freeze after grace_blocks, or by a pause.

    An epoch's signers are kept as the code of a contract of their own, which is cheaper to read than storage.
    Heights and block numbers are held in 48 bits.
"""

from ethereum.ercs import IERC20

# ---------------------------------------------------------------------------------------------------------- bounds

SIGNERS_MAX: constant(uint256) = 64
ASSETS_MAX: constant(uint256) = 64
# A result touching more (asset, account) pairs than this comes in parts: EIP-7825 caps a transaction at 2**24 gas.
RESULT_DELTAS_MAX: constant(uint256) = 1500
PART_DELTAS_MAX: constant(uint256) = 1000
PARTS_MAX: constant(uint256) = 64
DELTA_BYTES: constant(uint256) = 54  # account 20 || asset u16 || free i128 || withdrawable i128
DELTAS_BYTES_MAX: constant(uint256) = 81000  # RESULT_DELTAS_MAX * DELTA_BYTES
PART_BYTES_MAX: constant(uint256) = 54000  # PART_DELTAS_MAX * DELTA_BYTES
SIGNATURE_BYTES: constant(uint256) = 65  # r 32 || s 32 || v 1
SIGNATURES_BYTES_MAX: constant(uint256) = 4160  # SIGNERS_MAX * SIGNATURE_BYTES
ENVELOPE_BYTES_MAX: constant(uint256) = 1024
CLAIMS_MAX: constant(uint256) = 64
COUNCIL_CODE_MAX: constant(uint256) = 16384
# Creation code that returns all that follows it, then the STOP before the signers.
KEEPER_CODE: constant(Bytes[12]) = x"600b5981380380925939f300"
AMOUNT_MAX: constant(uint256) = 2**128 - 1
MASK48: constant(uint256) = 2**48 - 1
MASK64: constant(uint256) = 2**64 - 1
MASK28: constant(uint256) = 2**28 - 1
MASK160: constant(uint256) = 2**160 - 1
TERM_BLOCKS_MAX: constant(uint256) = 2**32

# Half of the group order of secp256k1, rounded down: the largest s of a signature in its one accepted form.
SIGNATURE_S_MAX: constant(uint256) = 57896044618658097711785492504343953926418782139537452191302581570759080747168

# ------------------------------------------------------------------------------------------------------ input kinds

INPUT_DEPOSIT: constant(uint8) = 1
INPUT_BOND: constant(uint8) = 2
INPUT_FORCED: constant(uint8) = 3

# --------------------------------------------------------------------------------------------------- EIP-712 hashes

DOMAIN_TYPE_HASH: constant(bytes32) = keccak256(
    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
)
DOMAIN_NAME_HASH: constant(bytes32) = keccak256("mpc_sequencer")
DOMAIN_VERSION_HASH: constant(bytes32) = keccak256("1")
BATCH_RESULT_TYPE_HASH: constant(bytes32) = keccak256(
    "BatchResult(uint64 epoch,uint64 firstHeight,uint64 lastHeight,bytes32 prevStateRoot,bytes32 stateRoot,bytes32 fillsRoot,bytes32 dataHash,uint64 inputsCount,bytes32 inputsHash,bytes32 deltasHash)"
)
ORDER_COMMIT_TYPE_HASH: constant(bytes32) = keccak256(
    "OrderCommit(uint64 epoch,uint64 height,bytes32 prevHash,bytes32 ciphertextRoot,uint64 l1Head,uint64 forcedHead)"
)

# ------------------------------------------------------------------------------------------------------------ types


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


struct ClaimRow:
    asset: uint16
    account: address


interface Council:
    def forced_fee_wei() -> uint256: view
    def guardian() -> address: view


# One storage slot, see _head and _put_head.
struct Head:
    result_height: uint256
    commit_height: uint256
    l1_head: uint256
    forced_head: uint256
    epoch: uint256
    commit_epoch: uint256
    flags: uint256


event InputQueued:
    index: indexed(uint64)
    kind: uint8
    account: indexed(address)
    asset: uint16
    amount: uint256
    inputs_hash: bytes32


event ForcedQueued:
    index: indexed(uint64)
    forced: indexed(uint64)
    due: uint64
    envelope: Bytes[ENVELOPE_BYTES_MAX]


event Started:
    genesis_state_root: bytes32
    genesis_inputs_count: uint64


event CommitPosted:
    epoch: uint64
    height: indexed(uint64)
    commit_hash: bytes32
    ciphertext_root: bytes32
    l1_head: uint64
    forced_head: uint64


event ResultPosted:
    epoch: uint64
    first_height: indexed(uint64)
    last_height: indexed(uint64)
    state_root: bytes32
    fills_root: bytes32
    data_hash: bytes32


event ResultBegun:
    first_height: indexed(uint64)
    parts: uint256


event PartChecked:
    first_height: indexed(uint64)
    part: uint256


event PartApplied:
    first_height: indexed(uint64)
    part: uint256
    rows: uint256


event ResultDropped:
    first_height: indexed(uint64)


event Claimed:
    asset: indexed(uint16)
    account: indexed(address)
    amount: uint256


event Frozen:
    forced: uint64


event Exited:
    asset: indexed(uint16)
    account: indexed(address)
    amount: uint256


event BondExited:
    sponsor: indexed(address)
    amount_wei: uint256


event Paused:
    until_block: uint256


event AssetListed:
    asset: indexed(uint16)
    token: address

# ---------------------------------------------------------------------------------------------------------- storage

CACHED_CHAIN_ID: immutable(uint256)
CACHED_DOMAIN_SEPARATOR: immutable(bytes32)
DEPLOYER: immutable(address)
COUNCIL: immutable(Council)
FORCED_DELAY: immutable(uint256)
FORCED_SPACING: immutable(uint256)
FORCED_PER_BLOCK_MAX: immutable(uint256)
GRACE: immutable(uint256)
PAUSE: immutable(uint256)
COMMITS_REQUIRED: immutable(bool)

# Bits of Head.flags.
STARTED: constant(uint256) = 1
FROZEN: constant(uint256) = 2
CHECKING: constant(uint256) = 4  # a result in parts is begun, nothing of it is applied
APPLYING: constant(uint256) = 8  # all its parts are checked
PAUSED: constant(uint256) = 16  # a pause was called; `pauses` knows whether it lasts
FORCED: constant(uint256) = 32  # there may be forced entries that no commit covers; spares a commit the look
# A bit of an asset's word in `tokens`.
EXITING: constant(uint256) = 1 << 161

# flags 8 || commit epoch 28 || epoch 28 || forced head 48 || l1 head 48 || commit height 48 || result height 48
head: uint256
# Zero until start() has been called.
state_root: bytes32
# EIP-712 struct hash of the last order commit, zero before the first.
commit_hash: bytes32
# height // 256 -> one bit per height: commits that a later commit followed before their result came.
earlier_commits: HashMap[uint256, uint256]

# assets u16 || forced in that block u16 || block of the last forced entry 48 || forced count 48 ||
# inputs done by results 48 || inputs count 48
queue: uint256
inputs_hash_at: public(HashMap[uint256, bytes32])
# forced index -> paused blocks when queued 64 || queue index 64 || due block 64 || queued block 64
forced_entries: HashMap[uint256, uint256]

# epoch -> usable block 64 || quorum 16 || number of signers 16 || address whose code holds them 160
signer_sets: HashMap[uint256, uint256]

# asset id -> token address, with bit 160 set where the id is listed, and EXITING once all is frozen: an exit looks at
# this word alone
tokens: uint256[ASSETS_MAX]
# asset -> account -> withdrawable << 128 | free
balances: HashMap[uint256, HashMap[address, uint256]]
# sponsor -> wei
bonds: public(HashMap[address, uint256])

# The result in parts that is under way: what was signed, its parts' hashes, and how far it is.
staged_header: ResultHeader
staged_parts: DynArray[bytes32, PARTS_MAX]
# paused blocks at the beginning 64 || block of the beginning 64 || row within the part 64 || next part 64
staged_progress: uint256
staged_key: uint256
staged_sum: int256

# paused blocks before the last pause 64 || its end 64 || its beginning 64
pauses: uint256


@deploy
def __init__(
    committee: DynArray[address, SIGNERS_MAX],
    quorum: uint256,
    asset_tokens: DynArray[address, ASSETS_MAX],
    terms: Terms,
    council_code: Bytes[COUNCIL_CODE_MAX],
):
    """
    @param committee The consensus addresses of epoch 0, strictly ascending; a signer's index is its place here.
    @param quorum How many of them sign a result; more than two thirds, so that two quorums share an honest member.
    @param asset_tokens The token contract of each asset id, from 0; none twice; zero for the chain's own coin.
    @param terms Times in blocks of the chain, amounts in wei. Who means to exit has the time of the timelock.
    @param council_code The creation code of the Council contract, which this contract creates for itself.
    """
    previous: uint256 = 0
    for signer: address in committee:
        assert convert(signer, uint256) > previous, "deploy: signers not ascending"
        previous = convert(signer, uint256)
    assert quorum <= len(committee) and 3 * quorum > 2 * len(committee), "deploy: quorum out of range"
    encoded: Bytes[32 * SIGNERS_MAX + 64] = abi_encode(committee)
    keeper: address = raw_create(concat(KEEPER_CODE, slice(encoded, 64, 32 * len(committee))))
    self.signer_sets[0] = (quorum << 176) | (len(committee) << 160) | convert(keeper, uint256)
    assert len(asset_tokens) > 0, "deploy: no assets"
    for blocks: uint256 in [
        terms.forced_delay_blocks,
        terms.forced_spacing_blocks,
        terms.grace_blocks,
        terms.rotation_delay_blocks,
        terms.pause_blocks,
        terms.timelock_blocks,
    ]:
        assert blocks < TERM_BLOCKS_MAX, "deploy: term out of range"
    exit_blocks: uint256 = terms.forced_delay_blocks + terms.grace_blocks + terms.pause_blocks
    assert terms.timelock_blocks > exit_blocks, "deploy: timelock within the exit time"
    assert terms.grace_blocks > 0 and terms.pause_blocks > 0, "deploy: term out of range"
    assert terms.forced_per_block_max > 0 and terms.forced_per_block_max < 65536, "deploy: term out of range"
    assert terms.quorum_divisor == 3 or terms.quorum_divisor == 4, "deploy: term out of range"
    for token: address in asset_tokens:
        assert token == empty(address) or token.is_contract, "deploy: asset is no contract"
        for i: uint256 in range(self.queue >> 208, bound=ASSETS_MAX):
            assert self.tokens[i] & MASK160 != convert(token, uint256), "deploy: asset listed twice"
        self._list_asset(token)
    COUNCIL = Council(raw_create(council_code, terms))
    FORCED_DELAY = terms.forced_delay_blocks
    FORCED_SPACING = terms.forced_spacing_blocks
    FORCED_PER_BLOCK_MAX = terms.forced_per_block_max
    GRACE = terms.grace_blocks
    PAUSE = terms.pause_blocks
    COMMITS_REQUIRED = terms.commits_required
    DEPLOYER = msg.sender
    CACHED_CHAIN_ID = chain.id
    CACHED_DOMAIN_SEPARATOR = self._separator()


# ------------------------------------------------------------------------------------------------------------ state


@internal
@pure
def _unpacked(slot: uint256) -> Head:
    return Head(
        result_height=slot & MASK48,
        commit_height=(slot >> 48) & MASK48,
        l1_head=(slot >> 96) & MASK48,
        forced_head=(slot >> 144) & MASK48,
        epoch=(slot >> 192) & MASK28,
        commit_epoch=(slot >> 220) & MASK28,
        flags=slot >> 248,
    )


@internal
def _put_head(head: Head):
    self.head = (
        (head.flags << 248)
        | (head.commit_epoch << 220)
        | (head.epoch << 192)
        | (head.forced_head << 144)
        | (head.l1_head << 96)
        | (head.commit_height << 48)
        | head.result_height
    )


@internal
@view
def _running() -> Head:
    """
    The head, for what a pause and a freeze stop. Its PAUSED bit is cleared, as no pause lasts.
    """
    head: Head = self._unpacked(self.head)
    assert head.flags & FROZEN == 0, "settlement: frozen"
    if head.flags & PAUSED != 0:
        assert block.number >= (self.pauses >> 64) & MASK64, "settlement: paused"
        head.flags ^= PAUSED
    assert head.flags & STARTED != 0, "settlement: not started"
    return head


@internal
@view
def _not_frozen():
    assert (self.head >> 248) & FROZEN == 0, "settlement: frozen"


@internal
@view
def _paused_blocks() -> uint256:
    """
    Blocks of all pauses up to now.
    """
    pauses: uint256 = self.pauses
    begin: uint256 = pauses & MASK64
    return (pauses >> 128) + min(block.number, (pauses >> 64) & MASK64) - begin


# --------------------------------------------------------------------------------------------------------- money in


@external
@nonreentrant
def deposit(asset: uint16, amount: uint256, account: address):
    """
    @notice Pulls `amount` base units of the asset's token from the caller and credits `account` with what arrived.
    @dev The balance is measured around the transfer: a token that keeps a fee credits less, never more than is held.
    """
    entry: uint256 = self._asset_to_deposit(asset, account)
    assert entry & MASK160 != 0, "deposit: native asset"
    assert amount > 0, "deposit: zero amount"
    token: IERC20 = IERC20(convert(convert(entry & MASK160, uint160), address))
    held: uint256 = staticcall token.balanceOf(self)
    assert extcall token.transferFrom(
        msg.sender, self, amount, default_return_value=True
    ), "deposit: token refused the transfer"
    held_after: uint256 = staticcall token.balanceOf(self)
    assert held_after > held, "deposit: nothing arrived"
    self._credit(asset, held_after - held, account)


@external
@payable
@nonreentrant
def deposit_native(asset: uint16, account: address):
    """
    @notice Credits `account` with the sent wei, in the asset that stands for the chain's own coin.
    """
    assert self._asset_to_deposit(asset, account) & MASK160 == 0, "deposit: not the native asset"
    assert msg.value > 0, "deposit: zero amount"
    self._credit(asset, msg.value, account)


@internal
@view
def _asset_to_deposit(asset: uint16, account: address) -> uint256:
    flags: uint256 = self.head >> 248
    assert flags & FROZEN == 0, "settlement: frozen"
    # A part that was checked must still fit when it is applied.
    assert flags & (CHECKING | APPLYING) == 0, "settlement: result under way"
    assert account != empty(address), "deposit: zero account"
    assert convert(asset, uint256) < ASSETS_MAX, "deposit: unknown asset"
    entry: uint256 = self.tokens[asset]
    assert entry != 0, "deposit: unknown asset"
    return entry


@internal
def _credit(asset: uint16, received: uint256, account: address):
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
    self._not_frozen()
    assert msg.value > 0, "bond: zero amount"
    assert sponsor != empty(address), "bond: zero sponsor"
    self.bonds[sponsor] += msg.value
    self._queue_input(INPUT_BOND, sponsor, 0, msg.value)


@external
@payable
@nonreentrant
def force(envelope: Bytes[ENVELOPE_BYTES_MAX]):
    """
    @notice Queues a sealed order that the committee must sequence once it is due, whatever it thinks of it.
    @dev The fee stays here; it only makes a flood dear. Anyone who meets an empty queue can freeze a dead deployment.
    """
    slot: uint256 = self.head
    assert (slot >> 248) & FROZEN == 0, "settlement: frozen"
    self.head = slot | (FORCED << 248)
    assert len(envelope) > 0, "force: empty envelope"
    assert msg.value >= staticcall COUNCIL.forced_fee_wei(), "force: fee too small"
    queue: uint256 = self.queue
    index: uint256 = queue & MASK48
    forced: uint256 = (queue >> 96) & MASK48
    in_block: uint256 = 0
    if (queue >> 144) & MASK48 == block.number:
        in_block = (queue >> 192) & 65535
    assert in_block < FORCED_PER_BLOCK_MAX, "force: block full"
    due: uint256 = block.number + FORCED_DELAY
    if forced > 0:
        due = max(due, ((self.forced_entries[forced - 1] >> 64) & MASK64) + FORCED_SPACING)
    self.forced_entries[forced] = (
        (self._paused_blocks() << 192) | (index << 128) | (due << 64) | block.number
    )
    self.queue = (
        ((queue >> 208) << 208)
        | ((in_block + 1) << 192)
        | (block.number << 144)
        | ((forced + 1) << 96)
        | (queue & (2**96 - 1))
    )
    self._queue_input(INPUT_FORCED, msg.sender, 0, convert(sha256(envelope), uint256))
    log ForcedQueued(
        index=convert(index, uint64),
        forced=convert(forced, uint64),
        due=convert(due, uint64),
        envelope=envelope,
    )


@internal
def _queue_input(kind: uint8, account: address, asset: uint16, amount: uint256):
    queue: uint256 = self.queue
    index: uint256 = queue & MASK48
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
    self.queue = queue + 1
    log InputQueued(
        index=convert(index, uint64),
        kind=kind,
        account=account,
        asset=asset,
        amount=amount,
        inputs_hash=inputs_hash,
    )


# ---------------------------------------------------------------------------------------------------------- commits


@external
@nonreentrant
def start(genesis_state_root: bytes32, genesis_inputs_count: uint64):
    """
    @notice Fixes, once, the state the first result builds on and the queue's inputs that this state already holds.
    """
    head: Head = self._unpacked(self.head)
    assert msg.sender == DEPLOYER, "start: not the deployer"
    assert head.flags & STARTED == 0, "start: already started"
    self._not_frozen()
    assert genesis_state_root != empty(bytes32), "start: zero state root"
    queue: uint256 = self.queue
    assert convert(genesis_inputs_count, uint256) <= queue & MASK48, "start: inputs not queued"
    self.state_root = genesis_state_root
    # Nothing else writes the inputs done before there is a result: the field is zero.
    self.queue = queue | (convert(genesis_inputs_count, uint256) << 48)
    head.flags |= STARTED
    self._put_head(head)
    log Started(genesis_state_root=genesis_state_root, genesis_inputs_count=genesis_inputs_count)


@external
def post_commit(header: OrderCommit, bitmap: uint256, signatures: Bytes[SIGNATURES_BYTES_MAX]):
    """
    @notice Records what the committee has bound itself to for the range that ends at header.height. Anyone may post.
    @dev Needs no lock: it calls nobody and touches no money.
    @param header What was signed.
    @param bitmap Bit i is set when the signer with index i signed.
    @param signatures One signature (r, s, v) per set bit, by ascending index.
    """
    self._commit(header, bitmap, len(signatures))


@internal
def _commit(header: OrderCommit, bitmap: uint256, size: uint256):
    head: Head = self._running()
    height: uint256 = convert(header.height, uint256)
    epoch: uint256 = convert(header.epoch, uint256)
    l1_head: uint256 = convert(header.l1_head, uint256)
    forced_head: uint256 = convert(header.forced_head, uint256)
    assert epoch >= max(head.epoch, head.commit_epoch), "commit: wrong epoch"
    assert height > max(head.commit_height, head.result_height), "commit: height went back"
    assert height <= MASK48, "commit: height above 2^48-1"
    assert header.prev_hash == self.commit_hash, "commit: wrong predecessor"
    assert l1_head >= head.l1_head, "commit: l1 head went back"
    assert l1_head < block.number, "commit: l1 head in the future"
    assert forced_head >= head.forced_head, "commit: forced head went back"
    if forced_head > head.forced_head:
        entry: uint256 = self.forced_entries[forced_head - 1]
        assert entry != 0 and entry & MASK64 <= l1_head, "commit: forced entry not queued"
    if head.flags & FORCED != 0:
        uncovered: uint256 = self.forced_entries[forced_head]
        if uncovered == 0:
            head.flags ^= FORCED
        else:
            assert (uncovered >> 64) & MASK64 > l1_head, "commit: due entry not covered"
    struct_hash: bytes32 = keccak256(abi_encode(ORDER_COMMIT_TYPE_HASH, header))
    self._check_signatures(self._typed(struct_hash), epoch, bitmap, self._bytes_at(7), size)

    if head.commit_height > head.result_height:
        self.earlier_commits[head.commit_height >> 8] |= 1 << (head.commit_height & 255)
    self.commit_hash = struct_hash
    head.commit_height = height
    head.commit_epoch = epoch
    head.l1_head = l1_head
    head.forced_head = forced_head
    self._put_head(head)
    log CommitPosted(
        epoch=header.epoch,
        height=header.height,
        commit_hash=struct_hash,
        ciphertext_root=header.ciphertext_root,
        l1_head=header.l1_head,
        forced_head=header.forced_head,
    )


# ---------------------------------------------------------------------------------------------------------- results


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
    self._result(header, sha256(deltas), bitmap, 10, len(signatures), len(deltas))


@external
@nonreentrant
def post_both(
    commit: OrderCommit,
    commit_bitmap: uint256,
    commit_signatures: Bytes[SIGNATURES_BYTES_MAX],
    header: ResultHeader,
    bitmap: uint256,
    signatures: Bytes[SIGNATURES_BYTES_MAX],
    deltas: Bytes[DELTAS_BYTES_MAX],
):
    """
    @notice post_commit, then post_result, in one transaction.
    """
    self._commit(commit, commit_bitmap, len(commit_signatures))
    self._result(header, sha256(deltas), bitmap, 18, len(signatures), len(deltas))


@internal
def _result(
    header: ResultHeader, deltas_hash: bytes32, bitmap: uint256, word: uint256, size: uint256, deltas_size: uint256
):
    """
    Posts a result; the argument words `word` and the next tell where its signatures and its deltas are. An external
    function that takes long bytes has no variable of its own: it would lie above the room for 81,000 bytes, and memory
    up to there costs 20,000 gas.
    """
    assets: uint256 = self._open_result(header, deltas_hash, bitmap, self._bytes_at(word), size)
    assert deltas_size % DELTA_BYTES == 0, "result: deltas cut off"
    key: uint256 = 0
    asset_sum: int256 = 0
    key, asset_sum = self._rows(self._bytes_at(word + 1), deltas_size // DELTA_BYTES, assets, 0, 0, True)
    assert asset_sum == 0, "result: deltas do not sum to zero"
    self._close_result(header)


@external
@nonreentrant
def begin_result(
    header: ResultHeader,
    part_hashes: DynArray[bytes32, PARTS_MAX],
    bitmap: uint256,
    signatures: Bytes[SIGNATURES_BYTES_MAX],
):
    """
    @notice Begins a result that was signed over the SHA-256 of its parts' SHA-256 hashes. Nothing moves yet.
    """
    assert len(part_hashes) > 1, "result: one part is no parts"
    encoded: Bytes[32 * PARTS_MAX + 64] = abi_encode(part_hashes)
    deltas_hash: bytes32 = sha256(slice(encoded, 64, 32 * len(part_hashes)))
    self._open_result(header, deltas_hash, bitmap, self._bytes_at(11), len(signatures))
    head: Head = self._running()
    head.flags |= CHECKING
    self._put_head(head)
    self.staged_header = header
    self.staged_parts = part_hashes
    self.staged_progress = (self._paused_blocks() << 192) | (block.number << 128)
    self.staged_key = 0
    self.staged_sum = 0
    log ResultBegun(first_height=header.first_height, parts=len(part_hashes))


@external
@nonreentrant
def stage_part(part: uint256, deltas: Bytes[PART_BYTES_MAX]):
    """
    @notice Checks the next part of the begun result, in order; it is kept by nobody but the chain's history.
    @dev After the last one every part is known to everybody and to fit, and apply_part may begin.
    """
    head: Head = self._running()
    assert head.flags & CHECKING != 0, "result: none to check"
    self._expect_part(part, sha256(deltas))
    assets: uint256 = self.queue >> 208
    key: uint256 = self.staged_key
    asset_sum: int256 = self.staged_sum
    assert len(deltas) > 0 and len(deltas) % DELTA_BYTES == 0, "result: deltas cut off"
    key, asset_sum = self._rows(self._bytes_at(1), len(deltas) // DELTA_BYTES, assets, key, asset_sum, False)
    self.staged_key = key
    self.staged_sum = asset_sum
    log PartChecked(first_height=self.staged_header.first_height, part=part)
    if part + 1 < len(self.staged_parts):
        self.staged_progress += 1
        return
    assert asset_sum == 0, "result: deltas do not sum to zero"
    self.staged_progress -= part
    head.flags ^= CHECKING | APPLYING
    self._put_head(head)


@external
@nonreentrant
def apply_part(part: uint256, deltas: Bytes[PART_BYTES_MAX], rows: uint256):
    """
    @notice Applies up to `rows` further rows of the next part of the checked result. Anyone may call, also in a pause.
    @dev A part of many new balances costs more than a transaction may use: `rows` spreads it over several.
    """
    head: Head = self._unpacked(self.head)
    assert head.flags & APPLYING != 0, "result: none to apply"
    assert rows > 0, "result: no rows"
    self._expect_part(part, sha256(deltas))
    progress: uint256 = self.staged_progress
    first: uint256 = (progress >> 64) & MASK64
    last: uint256 = len(deltas) // DELTA_BYTES
    taken: uint256 = min(rows, last - first)
    at: uint256 = self._bytes_at(1) + first * DELTA_BYTES
    for i: uint256 in range(taken, bound=PART_DELTAS_MAX):
        row: Bytes[DELTA_BYTES] = slice(msg.data, at + i * DELTA_BYTES, DELTA_BYTES)
        prefix: uint256 = extract32(row, 0, output_type=uint256)
        self._change((prefix >> 80) & 65535, prefix >> 96, extract32(row, 22, output_type=int256), True)
    log PartApplied(first_height=self.staged_header.first_height, part=part, rows=taken)
    if first + taken < last:
        self.staged_progress = progress + (taken << 64)
        return
    self.staged_progress = progress - (first << 64) + 1
    if part + 1 == len(self.staged_parts):
        head.flags ^= APPLYING
        self._put_head(head)
        self._close_result(self.staged_header)


@internal
def _log_dropped():
    log ResultDropped(first_height=self.staged_header.first_height)


@internal
@view
def _expect_part(part: uint256, part_hash: bytes32):
    assert part == self.staged_progress & MASK64, "result: not the next part"
    assert part_hash == self.staged_parts[part], "result: wrong part"


@internal
@view
def _bytes_at(word: uint256) -> uint256:
    """
    Where in the call's data the bytes begin whose place the given argument word tells: signatures and rows are read
    there.
    """
    return convert(slice(msg.data, 4 + 32 * word, 32), uint256) + 36


@internal
def _rows(
    at: uint256, count: uint256, assets: uint256, key: uint256, asset_sum: int256, write: bool
) -> (uint256, int256):
    """
    Checks the rows after `key`, and writes them or only looks whether they could be written. Returns the last key and
    the sum of its asset's changes.
    """
    last: uint256 = key
    total: int256 = asset_sum
    for i: uint256 in range(count, bound=RESULT_DELTAS_MAX):
        # The first word holds account || asset || the top of free; the second, overlapping it, free || withdrawable.
        row: Bytes[DELTA_BYTES] = slice(msg.data, at + i * DELTA_BYTES, DELTA_BYTES)
        prefix: uint256 = extract32(row, 0, output_type=uint256)
        change: int256 = extract32(row, 22, output_type=int256)
        account: uint256 = prefix >> 96
        asset: uint256 = (prefix >> 80) & 65535
        next_key: uint256 = (asset << 160) | account
        assert next_key > last and account != 0, "result: deltas not ascending"
        if asset != last >> 160:
            assert total == 0, "result: deltas do not sum to zero"
        last = next_key
        assert asset < assets, "result: unknown asset"
        assert change != 0, "result: empty delta"
        total += self._change(asset, account, change, write)
    return last, total


@internal
def _change(asset: uint256, account: uint256, change: int256, write: bool) -> int256:
    """
    Changes a balance, or only looks whether it could be. Returns the sum of both changes.
    """
    owner: address = convert(convert(account, uint160), address)
    free_change: int256 = change >> 128
    withdrawable_change: int256 = (change << 128) >> 128
    slot: uint256 = self.balances[asset][owner]
    free: int256 = convert(slot & AMOUNT_MAX, int256) + free_change
    withdrawable: int256 = convert(slot >> 128, int256) + withdrawable_change
    assert free >= 0 and withdrawable >= 0, "result: balance below zero"
    assert convert(free | withdrawable, uint256) <= AMOUNT_MAX, "result: balance above 2^128-1"
    if write:
        self.balances[asset][owner] = (convert(withdrawable, uint256) << 128) | convert(free, uint256)
    return free_change + withdrawable_change


@internal
@view
def _open_result(
    header: ResultHeader, deltas_hash: bytes32, bitmap: uint256, at: uint256, size: uint256
) -> uint256:
    """
    Checks all of a result but its deltas. Returns the number of assets.
    """
    head: Head = self._running()
    assert head.flags & (CHECKING | APPLYING) == 0, "settlement: result under way"
    epoch: uint256 = convert(header.epoch, uint256)
    last_height: uint256 = convert(header.last_height, uint256)
    assert epoch >= head.epoch, "result: wrong epoch"
    assert convert(header.first_height, uint256) == head.result_height + 1, "result: wrong first height"
    assert header.last_height >= header.first_height, "result: last height before first"
    assert last_height <= MASK48, "result: height above 2^48-1"
    assert header.prev_state_root == self.state_root, "result: wrong predecessor"
    # A zero root would read as "not started".
    assert header.state_root != empty(bytes32), "result: zero state root"
    if COMMITS_REQUIRED and last_height != head.commit_height:
        word: uint256 = self.earlier_commits[last_height >> 8]
        assert (word >> (last_height & 255)) & 1 == 1, "result: no order commit"
    queue: uint256 = self.queue
    count: uint256 = convert(header.inputs_count, uint256)
    assert count >= (queue >> 48) & MASK48, "result: inputs count went back"
    # Without this bound a count beyond the queue would meet the zero hash of an unwritten slot.
    assert count <= queue & MASK48, "result: inputs not queued"
    assert header.inputs_hash == self.inputs_hash_at[count], "result: wrong inputs hash"
    self._check_signatures(self._digest(header, deltas_hash), epoch, bitmap, at, size)
    return queue >> 208


@internal
def _close_result(header: ResultHeader):
    """
    The deltas are applied: the result is the last one now.
    """
    self.state_root = header.state_root
    head: Head = self._unpacked(self.head)
    head.result_height = convert(header.last_height, uint256)
    head.epoch = convert(header.epoch, uint256)
    self._put_head(head)
    queue: uint256 = self.queue
    self.queue = (queue & ~(MASK48 << 48)) | (convert(header.inputs_count, uint256) << 48)
    log ResultPosted(
        epoch=header.epoch,
        first_height=header.first_height,
        last_height=header.last_height,
        state_root=header.state_root,
        fills_root=header.fills_root,
        data_hash=header.data_hash,
    )


# ------------------------------------------------------------------------------------------------------- signatures


@internal
@view
def _check_signatures(digest: bytes32, epoch: uint256, bitmap: uint256, at: uint256, size: uint256):
    """
    Checks the `size` bytes of signatures that begin at `at` in the call's data.
    """
    signer_set: uint256 = self.signer_sets[epoch]
    assert signer_set != 0, "signatures: unknown epoch"
    assert block.number >= signer_set >> 192, "signatures: signers not usable yet"
    assert bitmap >> ((signer_set >> 160) & 65535) == 0, "signatures: unknown signer"
    assert size % SIGNATURE_BYTES == 0, "signatures: cut off"
    given: uint256 = size // SIGNATURE_BYTES
    left: uint256 = bitmap
    place: uint256 = at
    used: uint256 = 0
    for i: uint256 in range(SIGNERS_MAX):
        if left == 0:
            break
        if left & 1 == 1:
            assert used < given, "signatures: one missing"
            signature: Bytes[SIGNATURE_BYTES] = slice(msg.data, place, SIGNATURE_BYTES)
            s: uint256 = extract32(signature, 32, output_type=uint256)
            assert s <= SIGNATURE_S_MAX, "signatures: high s"
            # Signers are never zero, so that a failed recovery, which gives zero, cannot match; a v that is not 27 or
            # 28 fails.
            assert (
                ecrecover(
                    digest,
                    extract32(signature, 33, output_type=uint256) & 255,
                    extract32(signature, 0, output_type=uint256),
                    s,
                )
                == self._signer(signer_set, i)
            ), "signatures: bad signature"
            used = unsafe_add(used, 1)
            place = unsafe_add(place, SIGNATURE_BYTES)
        left >>= 1
    assert used == given, "signatures: one left over"
    assert used >= (signer_set >> 176) & 65535, "signatures: no quorum"


@internal
@view
def _signer(signer_set: uint256, index: uint256) -> address:
    keeper: address = convert(convert(signer_set & MASK160, uint160), address)
    return convert(convert(slice(keeper.code, 1 + 32 * index, 32), uint256), address)


# -------------------------------------------------------------------------------------------------------- money out


@external
@nonreentrant
def claim(asset: uint16, account: address):
    """
    @notice Pays all of `account`'s withdrawable amount of `asset` to `account` itself. Anyone may call, at any time.
    """
    self._claim(asset, account)


@external
@nonreentrant
def claim_many(claims: DynArray[ClaimRow, CLAIMS_MAX]):
    """
    @notice claim, of each row; one that fails undoes all.
    """
    for row: ClaimRow in claims:
        self._claim(row.asset, row.account)


@internal
def _claim(asset: uint16, account: address):
    assert (self.head >> 248) & (CHECKING | APPLYING) == 0, "settlement: result under way"
    assert convert(asset, uint256) < ASSETS_MAX, "claim: unknown asset"
    token: uint256 = self.tokens[asset]
    assert token != 0, "claim: unknown asset"
    slot: uint256 = self.balances[convert(asset, uint256)][account]
    amount: uint256 = slot >> 128
    assert amount > 0, "claim: nothing to claim"
    self.balances[convert(asset, uint256)][account] = slot & AMOUNT_MAX
    log Claimed(asset=asset, account=account, amount=amount)
    self._pay(token, account, amount)


@external
@nonreentrant
def freeze():
    """
    @notice Ends the committee's power for good, where an entry that is due has waited for grace_blocks uncovered, or a
            result in parts as long for its parts to be checked. Anyone may call.
    """
    self._not_frozen()
    head: Head = self._unpacked(self.head)
    # Every part is on the chain: whoever wants to freeze can apply them.
    assert head.flags & APPLYING == 0, "settlement: result under way"
    paused: uint256 = self._paused_blocks()
    entry: uint256 = self.forced_entries[head.forced_head]
    late: bool = entry != 0 and ((entry >> 64) & MASK64) + GRACE + paused - (entry >> 192) < block.number
    if head.flags & CHECKING != 0:
        progress: uint256 = self.staged_progress
        begun: uint256 = (progress >> 128) & MASK64
        late = late or begun + GRACE + paused - (progress >> 192) < block.number
        head.flags ^= CHECKING
        self._log_dropped()
    assert late, "freeze: nothing is late"
    head.flags |= FROZEN
    self._put_head(head)
    for i: uint256 in range(self.queue >> 208, bound=ASSETS_MAX):
        self.tokens[i] |= EXITING
    log Frozen(forced=convert(head.forced_head, uint64))


@external
@nonreentrant
def exit(asset: uint16, account: address):
    """
    @notice Frozen only: pays `account`'s whole balance of `asset` to `account` itself. Anyone may call.
    """
    token: uint256 = 0
    if convert(asset, uint256) < ASSETS_MAX:
        token = self.tokens[asset]
    if token & EXITING == 0:
        assert (self.head >> 248) & FROZEN != 0, "exit: not frozen"
    slot: uint256 = self.balances[convert(asset, uint256)][account]
    assert slot != 0, "exit: nothing to pay"
    amount: uint256 = (slot & AMOUNT_MAX) + (slot >> 128)
    self.balances[convert(asset, uint256)][account] = 0
    log Exited(asset=asset, account=account, amount=amount)
    self._pay(token, account, amount)


@external
@nonreentrant
def exit_bond(sponsor: address):
    """
    @notice Frozen only: pays `sponsor`'s bond back to `sponsor` itself. Anyone may call.
    """
    assert (self.head >> 248) & FROZEN != 0, "exit: not frozen"
    amount: uint256 = self.bonds[sponsor]
    assert amount != 0, "exit: nothing to pay"
    self.bonds[sponsor] = 0
    log BondExited(sponsor=sponsor, amount_wei=amount)
    self._pay(0, sponsor, amount)


@internal
def _pay(token: uint256, account: address, amount: uint256):
    if token & MASK160 == 0:
        assert raw_call(account, b"", value=amount, revert_on_failure=False), "claim: account refused the coin"
        return
    assert extcall IERC20(convert(convert(token & MASK160, uint160), address)).transfer(
        account, amount, default_return_value=True
    ), "claim: token refused the transfer"


# ------------------------------------------------------------------------------------------------------- governance


@external
@nonreentrant
def pause():
    """
    @notice Stops commits and results for pause_blocks, and no money on its way out. A result in parts of which nothing
            is applied is dropped.
    """
    assert msg.sender == staticcall COUNCIL.guardian(), "pause: not the guardian"
    self._not_frozen()
    pauses: uint256 = self.pauses
    end: uint256 = (pauses >> 64) & MASK64
    assert end == 0 or block.number >= end + PAUSE, "pause: too soon after the last"
    self.pauses = (self._paused_blocks() << 128) | ((block.number + PAUSE) << 64) | block.number
    head: Head = self._unpacked(self.head)
    head.flags |= PAUSED
    if head.flags & CHECKING != 0:
        head.flags ^= CHECKING
        self._log_dropped()
    self._put_head(head)
    log Paused(until_block=block.number + PAUSE)


@external
@nonreentrant
def list_asset(token: address):
    """
    @notice Lists a further asset, by a change that the council announced and checked.
    """
    assert msg.sender == COUNCIL.address, "asset: not the council"
    self._list_asset(token)


@internal
def _list_asset(token: address):
    queue: uint256 = self.queue
    count: uint256 = queue >> 208
    assert count < ASSETS_MAX, "asset: too many"
    self.tokens[count] = convert(token, uint256) | (1 << 160)
    self.queue = queue + (1 << 208)
    log AssetListed(asset=convert(count, uint16), token=token)


@external
def take_signers(epoch: uint256, signer_set: uint256):
    """
    @notice Takes the signers of an epoch, by a rotation that the council checked.
    """
    assert msg.sender == COUNCIL.address, "rotate: not the council"
    self._not_frozen()
    self.signer_sets[epoch] = signer_set


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
def _typed(struct_hash: bytes32) -> bytes32:
    return keccak256(concat(b"\x19\x01", self._domain_separator(), struct_hash))


@internal
@view
def _digest(header: ResultHeader, deltas_hash: bytes32) -> bytes32:
    return self._typed(keccak256(abi_encode(BATCH_RESULT_TYPE_HASH, header, deltas_hash)))


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
    @return The digest the committee signs for this result in one part.
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
    head: Head = self._unpacked(self.head)
    return (
        convert(head.epoch, uint64),
        convert(head.result_height, uint64),
        self.state_root,
        convert((self.queue >> 48) & MASK48, uint64),
    )


@external
@view
def last_commit() -> (uint64, uint64, bytes32, uint64, uint64):
    """
    @return Epoch, height, struct hash, l1 head and forced head of the last order commit; zeros before the first.
    """
    head: Head = self._unpacked(self.head)
    return (
        convert(head.commit_epoch, uint64),
        convert(head.commit_height, uint64),
        self.commit_hash,
        convert(head.l1_head, uint64),
        convert(head.forced_head, uint64),
    )


@external
@view
def is_committed(height: uint64) -> bool:
    """
    @return Whether a result that ends at `height`, above the last posted one, has its order commit.
    """
    at: uint256 = convert(height, uint256)
    return (
        at != 0
        and (
            at == self._unpacked(self.head).commit_height
            or (self.earlier_commits[at >> 8] >> (at & 255)) & 1 == 1
        )
    )


@external
@view
def status() -> (bool, bool, bool, bool, uint256):
    """
    @return Started, frozen, a pause lasts, a result in parts is under way, the block at which the last pause ends.
    """
    flags: uint256 = self._unpacked(self.head).flags
    end: uint256 = (self.pauses >> 64) & MASK64
    return flags & STARTED != 0, flags & FROZEN != 0, block.number < end, flags & (CHECKING | APPLYING) != 0, end


@external
@view
def staged() -> (uint64, uint256, bool, uint256, uint256):
    """
    @return Of a result in parts under way: last height, number of parts, whether all are checked, the next part and
            the next row of it. Zeros where none is under way.
    """
    flags: uint256 = self._unpacked(self.head).flags
    if flags & (CHECKING | APPLYING) == 0:
        return 0, 0, False, 0, 0
    progress: uint256 = self.staged_progress
    return (
        self.staged_header.last_height,
        len(self.staged_parts),
        flags & APPLYING != 0,
        progress & MASK64,
        (progress >> 64) & MASK64,
    )


@external
@view
def inputs_count() -> uint256:
    """
    @return How many inputs were ever queued.
    """
    return self.queue & MASK48


@external
@view
def forced_count() -> uint256:
    """
    @return How many entries were ever forced.
    """
    return (self.queue >> 96) & MASK48


@external
@view
def forced_entry(forced: uint64) -> (uint64, uint64, uint64):
    """
    @return Queue index, block of queueing and due block of a forced entry; zeros for one that does not exist.
    """
    entry: uint256 = self.forced_entries[convert(forced, uint256)]
    return (
        convert((entry >> 128) & MASK64, uint64),
        convert(entry & MASK64, uint64),
        convert((entry >> 64) & MASK64, uint64),
    )


@external
@view
def started() -> bool:
    """
    @return Whether results can be posted, but for a pause or a freeze.
    """
    return self.state_root != empty(bytes32)


@external
@view
def quorum_of(epoch: uint64) -> uint256:
    """
    @return How many signatures a result of `epoch` needs.
    """
    return (self.signer_sets[convert(epoch, uint256)] >> 176) & 65535


@external
@view
def signer_set(epoch: uint64) -> uint256:
    """
    @return First block of use 64 || quorum 16 || number of signers 16 || address whose code holds them 160.
    """
    return self.signer_sets[convert(epoch, uint256)]


@external
@view
def asset_tokens() -> DynArray[address, ASSETS_MAX]:
    """
    @return The token contracts by asset id; zero for the chain's own coin.
    """
    tokens: DynArray[address, ASSETS_MAX] = []
    for i: uint256 in range(self.queue >> 208, bound=ASSETS_MAX):
        tokens.append(convert(convert(self.tokens[i] & MASK160, uint160), address))
    return tokens


@external
@view
def council() -> address:
    """
    @return The contract of the members' bonds and of announced changes.
    """
    return COUNCIL.address
