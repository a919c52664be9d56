"""A refusal with a code that nobody defines would not refuse: it would raise past the handlers of what peers send."""

from __future__ import annotations

import re
from pathlib import Path

import mpc_sequencer
from mpc_sequencer.core.errors import CODES

_SAID = re.compile(r'"([a-z_]+\.[a-z_]+)[":]')
_RAISED = re.compile(r'ProtocolError\(\s*"([^"]+)"')


def test_every_code_that_is_raised_is_defined() -> None:
    sources = sorted(Path(mpc_sequencer.__file__).parent.rglob("*.py"))
    raised = {code: path.name for path in sources for code in _RAISED.findall(path.read_text())}
    assert len(raised) > 60
    assert {code: name for code, name in raised.items() if code not in CODES} == {}


def test_every_code_that_is_defined_is_said_somewhere() -> None:
    """A code that nothing says promises a check that is not there."""
    root = Path(mpc_sequencer.__file__).parent
    sources = [path for path in sorted(root.rglob("*.py")) if path != root / "core" / "errors.py"]
    said = {code for path in sources for code in _SAID.findall(path.read_text())}
    assert set(CODES) - said == set()
