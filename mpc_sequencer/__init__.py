"""A decentralized sequencer for trading: orders stay sealed until their place is final.

A committee agrees on a batch of sealed orders, opens it together only when it is final, clears it at one
price and settles the net result on a chain. See the subpackages for the parts and `threshold` for the
cryptography.
"""

__version__ = "0.1.0"
