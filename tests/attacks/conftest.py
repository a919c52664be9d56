"""Lets the attacks on sealing import the helper modules of tests/threshold, `reference` and `sealing_kit`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "threshold"))
