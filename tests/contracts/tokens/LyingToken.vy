# pragma version 0.4.3
# A token that moves nothing and says, once somebody has paid, that its receiver holds a million.
paid: HashMap[address, bool]


@external
def mint(receiver: address, amount: uint256):
    pass


@external
@view
def balanceOf(holder: address) -> uint256:
    return 1000000 if self.paid[holder] else 0


@external
def transfer(receiver: address, amount: uint256) -> bool:
    raise "lying token keeps all"


@external
def transferFrom(sender: address, receiver: address, amount: uint256) -> bool:
    self.paid[receiver] = True
    return True
