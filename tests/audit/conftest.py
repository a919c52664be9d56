"""Lets the audit tests import helpers of tests/core: `core_kit` and `chain_kit`."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent / "core"))
