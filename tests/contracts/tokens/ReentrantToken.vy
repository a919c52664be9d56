# pragma version 0.4.3
# A token that calls back into the settlement contract in the middle of every transfer.
balanceOf: public(HashMap[address, uint256])
target: public(address)
attack: public(Bytes[1024])
swallow: public(bool)
attempts: public(uint256)
broke_in: public(uint256)


@external
def mint(receiver: address, amount: uint256):
    self.balanceOf[receiver] += amount


@external
def arm(target: address, attack: Bytes[1024], swallow: bool):
    self.target = target
    self.attack = attack
    self.swallow = swallow


@external
def transfer(receiver: address, amount: uint256) -> bool:
    self._move(msg.sender, receiver, amount)
    return True


@external
def transferFrom(sender: address, receiver: address, amount: uint256) -> bool:
    self._move(sender, receiver, amount)
    return True


@internal
def _move(sender: address, receiver: address, amount: uint256):
    self.balanceOf[sender] -= amount
    self.balanceOf[receiver] += amount
    if self.target == empty(address):
        return
    self.attempts += 1
    success: bool = False
    response: Bytes[32] = b""
    success, response = raw_call(self.target, self.attack, max_outsize=32, revert_on_failure=False)
    if success:
        self.broke_in += 1
    assert self.swallow or success, "reentry refused"
