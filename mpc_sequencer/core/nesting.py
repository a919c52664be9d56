"""How deep a parser written in C may recurse: not as deep as a library has set Python's limit.

The parsers of MessagePack and JSON recurse in C, with Python's recursion limit as their only bound. Importing the
chain's libraries raises it to 100,000 (``py_ecc`` does), where 100 kB of nested arrays from anybody end the process.
Whoever parses foreign bytes calls :func:`hold_nesting` first.
"""

from __future__ import annotations

import sys
from typing import Final

DEPTH_MAX: Final = 4_000
"""Of Python's frames and a parser's levels together; what a parser takes of the stack for so many is well within it."""


def hold_nesting() -> None:
    """Set the limit back to DEPTH_MAX where it is above it."""
    if sys.getrecursionlimit() > DEPTH_MAX:
        sys.setrecursionlimit(DEPTH_MAX)
