"""The auditor shares encodings, constants and the sealing library with the node, and nothing else."""

import ast
from pathlib import Path

import pytest

import mpc_sequencer.audit

ALLOWED = {
    *(
        f"mpc_sequencer.core.{name}"
        for name in (
            "types",
            "actions",
            "transcript",
            "codec",
            "domains",
            "eip712",
            "errors",
            "limits",
            "merkle",
            "signing",
            "committee",
            "darkterms",
        )
    ),
    *(
        f"mpc_sequencer.dark.{name}"
        for name in (
            # encodings, sizes, hash tags
            "errors",
            "layout",
            "messages",
            "params",
            "signed",
            "tags",
            "transcript",
            # the arithmetic that a replay repeats: the field, decoding, the computation as a program
            "clearing",
            "decoding",
            "field",
            "primitives",
            "program",
            "prss",
        )
    ),
    "mpc_sequencer.market.types",
    "mpc_sequencer.settlement.payloads",
    "mpc_sequencer.settlement.chain",
    "threshold",
    "threshold.dkg",
}

PACKAGES = {"mpc_sequencer", *(f"mpc_sequencer.{name}" for name in ("core", "dark", "market", "settlement"))}


def imported_modules(source: str) -> set[str]:
    modules: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide what is imported"
            if node.module in PACKAGES:
                modules |= {f"{node.module}.{alias.name}" for alias in node.names}
            else:
                modules.add(str(node.module))
    return modules


def test_the_auditor_imports_only_encodings_and_threshold() -> None:
    files = sorted(Path(mpc_sequencer.audit.__file__).parent.glob("**/*.py"))
    assert len(files) > 10
    for file in files:
        own = {
            name
            for name in imported_modules(file.read_text())
            if name.split(".")[0] in {"mpc_sequencer", "threshold"}
            and not name.startswith("mpc_sequencer.audit")
        }
        assert own <= ALLOWED, f"{file.name} imports {sorted(own - ALLOWED)}"


@pytest.mark.parametrize("name", ["agreement", "book", "bookstate", "degree", "desk", "facts", "keys", "orders", "run"])
def test_the_members_rule_of_dark_markets_is_not_the_auditors(name: str) -> None:
    assert f"mpc_sequencer.dark.{name}" not in ALLOWED


def test_the_scan_sees_every_form_of_import() -> None:
    source = (
        "from mpc_sequencer.core import ordering\n"
        "import mpc_sequencer.market.engine\n"
        "from mpc_sequencer.market.book import Book\n"
    )
    assert imported_modules(source) - ALLOWED == {
        "mpc_sequencer.core.ordering",
        "mpc_sequencer.market.engine",
        "mpc_sequencer.market.book",
    }
