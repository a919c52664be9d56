# pragma version 0.4.3
# An account that calls back into the settlement contract whenever it is sent the chain's coin.
target: address
attack: Bytes[1024]
swallow: bool
attempts: public(uint256)
broke_in: public(uint256)


@external
def arm(target: address, attack: Bytes[1024], swallow: bool):
    self.target = target
    self.attack = attack
    self.swallow = swallow


@external
@payable
def __default__():
    if self.target == empty(address):
        return
    self.attempts += 1
    success: bool = False
    response: Bytes[32] = b""
    success, response = raw_call(self.target, self.attack, max_outsize=32, revert_on_failure=False)
    if success:
        self.broke_in += 1
    assert self.swallow or success, "reentry refused"
