"""The dark batch: a committee computes the clearing price and the fills over secret shares.

Orders that do not fill are never revealed to anyone. Everything here is pure: no clock, no input or output, and
randomness arrives as seeds and keys. ``params`` holds the bounds; ``field``, ``sharing``, ``prss`` and ``decoding`` are
the arithmetic; the programs and the inputs build on them.
"""
