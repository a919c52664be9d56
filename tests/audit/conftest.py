"""Lets the audit tests import helpers of tests/core, `core_kit` and `chain_kit`, and of tests/dark, `desk_kit`."""

import sys
from pathlib import Path

for folder in ("core", "dark"):
    sys.path.append(str(Path(__file__).parent.parent / folder))
