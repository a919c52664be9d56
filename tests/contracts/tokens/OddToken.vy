# pragma version 0.4.3
# A token that returns nothing and misbehaves on request: returns false, reverts, or moves nothing.
balanceOf: public(HashMap[address, uint256])
returns_false: public(bool)
reverts: public(bool)
idle: public(bool)


@external
def mint(receiver: address, amount: uint256):
    self.balanceOf[receiver] += amount


@external
def behave(returns_false: bool, reverts: bool):
    self.returns_false = returns_false
    self.reverts = reverts


@external
def be_idle(idle: bool):
    self.idle = idle


@external
@raw_return
def transfer(receiver: address, amount: uint256) -> Bytes[32]:
    return self._move(msg.sender, receiver, amount)


@external
@raw_return
def transferFrom(sender: address, receiver: address, amount: uint256) -> Bytes[32]:
    return self._move(sender, receiver, amount)


@internal
def _move(sender: address, receiver: address, amount: uint256) -> Bytes[32]:
    assert not self.reverts, "odd token reverts"
    if self.returns_false:
        return abi_encode(False)
    if self.idle:
        return b""
    self.balanceOf[sender] -= amount
    self.balanceOf[receiver] += amount
    return b""
