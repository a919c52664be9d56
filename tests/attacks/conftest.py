"""Lets attacks import each other, `core_kit` of tests/core, `reference` and `sealing_kit` of tests/threshold."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "threshold"))
sys.path.insert(0, str(Path(__file__).parent.parent / "core"))
sys.path.insert(0, str(Path(__file__).parent))
