"""The protocol as pure state machines: no trio, sockets, clock, randomness or files (tests/core/test_sans_io.py)."""
