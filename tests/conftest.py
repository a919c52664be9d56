"""For all tests: in CI Hypothesis draws the same examples at every run, so that a failure there is the change's own.

Elsewhere it explores anew each time; what it finds becomes a case of its own.
"""

from __future__ import annotations

import os

from hypothesis import settings

settings.register_profile("ci", derandomize=True, print_blob=True)
if os.environ.get("CI"):
    settings.load_profile("ci")
