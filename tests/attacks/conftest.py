"""Lets the attacks import helpers: `reference` and `sealing_kit` of tests/threshold, `core_kit` and `receive_kit` of
tests/core, `evidence_kit` beside them."""

import sys
from pathlib import Path

for folder in ("threshold", "core", "attacks"):
    sys.path.insert(0, str(Path(__file__).parent.parent / folder))
