"""Lets the simulations import `core_kit` of tests/core and `keys_kit`."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent / "core")]
