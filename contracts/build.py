"""Compile the contracts into the package's artifacts, or check that the artifacts are current.

An artifact is a JSON object ``{"contract", "compiler", "source_sha256", "abi", "bytecode"}`` with sorted
keys, made from one Vyper source. The package deploys from artifacts alone, so Vyper is needed here and in the
contract tests only.

    python contracts/build.py           write mpc_sequencer/settlement/artifacts/*.json
    python contracts/build.py --check   write nothing; exit status 1 when an artifact differs from its source
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path
from typing import Final

import vyper

ROOT: Final = Path(__file__).resolve().parent.parent
SOURCES: Final = ROOT / "contracts"
ARTIFACTS: Final = ROOT / "mpc_sequencer" / "settlement" / "artifacts"
CONTRACTS: Final = ("Settlement", "Council", "TestToken")


def artifact_text(name: str) -> str:
    """The artifact of ``contracts/<name>.vy`` as the text its file must hold."""
    source = (SOURCES / f"{name}.vy").read_text(encoding="utf-8")
    compiled = vyper.compile_code(source, output_formats=["abi", "bytecode"])
    artifact = {
        "contract": name,
        "compiler": f"vyper {vyper.__version__}",
        "source_sha256": hashlib.sha256(source.encode("utf-8")).hexdigest(),
        "abi": compiled["abi"],
        "bytecode": compiled["bytecode"],
    }
    return json.dumps(artifact, indent=1, sort_keys=True) + "\n"


def stale_artifacts() -> list[str]:
    """Names of the contracts whose artifact is missing or differs from what the source compiles to."""
    stale = []
    for name in CONTRACTS:
        path = ARTIFACTS / f"{name}.json"
        if not path.is_file() or path.read_text(encoding="utf-8") != artifact_text(name):
            stale.append(name)
    return stale


def main(arguments: list[str]) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description="Compile the contracts into the package's artifacts.")
    parser.add_argument("--check", action="store_true", help="write nothing, fail when an artifact is stale")
    options = parser.parse_args(arguments)
    if options.check:
        stale = stale_artifacts()
        for name in stale:
            print(f"error: artifact of {name} differs from its source", file=sys.stderr)
        if stale:
            print("hint: run python contracts/build.py and commit the result", file=sys.stderr)
        return 1 if stale else 0
    ARTIFACTS.mkdir(parents=True, exist_ok=True)
    for name in CONTRACTS:
        (ARTIFACTS / f"{name}.json").write_text(artifact_text(name), encoding="utf-8")
        print(f"wrote {name}.json")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
