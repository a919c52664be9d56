"""Lets the tests of this folder import its two helper modules, `reference` and `sealing_kit`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
