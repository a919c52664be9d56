"""The compiled contracts that ship in the package (see contracts/build.py)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any


@dataclass(frozen=True, slots=True)
class Artifact:
    """ABI entries and deployment bytecode of one contract."""

    contract: str
    abi: tuple[dict[str, Any], ...]
    bytecode: bytes


@cache
def load_artifact(contract: str) -> Artifact:
    """The artifact of ``Settlement``, ``Council`` or ``TestToken``."""
    text = (files(__package__) / "artifacts" / f"{contract}.json").read_text(encoding="utf-8")
    content = json.loads(text)
    return Artifact(content["contract"], tuple(content["abi"]), bytes.fromhex(content["bytecode"][2:]))
