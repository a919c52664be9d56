"""The kits of the dark batch's tests."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # `dark_runs`, `dark_kit`
