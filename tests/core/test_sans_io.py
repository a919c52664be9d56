"""The sans-IO rule: time arrives as an event, randomness as a value, so that a run can be repeated exactly."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
FORBIDDEN = {
    "trio", "socket", "ssl", "time", "datetime", "random", "secrets", "os", "io", "pathlib", "tempfile", "shutil",
    "subprocess", "asyncio", "threading", "multiprocessing", "concurrent", "select", "selectors", "signal", "logging",
    "web3", "requests", "httpx", "urllib", "http", "sqlite3", "anyio", "uuid",
}  # fmt: skip
PURE = [
    *(ROOT / "mpc_sequencer" / "core").rglob("*.py"),
    *(ROOT / "mpc_sequencer" / "dark").rglob("*.py"),
    *(ROOT / "mpc_sequencer" / "market").rglob("*.py"),
    *(ROOT / "threshold").rglob("*.py"),
    *(
        ROOT / "mpc_sequencer" / "settlement" / f"{name}.py"
        for name in ("payloads", "claims", "gathering", "ranges", "range_values", "errors")
    ),
]
CALLS = {"open", "input", "print", "exec", "eval", "__import__", "breakpoint"}


def impurities(tree: ast.AST) -> list[str]:
    found = []
    for node in ast.walk(tree):
        modules = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules = [node.module or ""]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in CALLS:
            found.append(f"{node.func.id}() at line {node.lineno}")
        found += [f"import {m} at line {node.lineno}" for m in modules if m.split(".")[0] in FORBIDDEN]
    return found


def test_there_is_something_to_look_at() -> None:
    assert len(PURE) > 40
    assert impurities(ast.parse("import time\nfrom os import path\nopen('x')")) == [
        "import time at line 1",
        "import os at line 2",
        "open() at line 3",
    ]


@pytest.mark.parametrize("path", PURE, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_pure_module_does_no_io(path: Path) -> None:
    assert impurities(ast.parse(path.read_text(encoding="utf-8"))) == []


def test_pure_modules_import_none_of_the_shell() -> None:
    shell = ("node", "client", "cli", "sim", "audit", "devnet", "bench")
    for path in PURE:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            module = getattr(node, "module", None) or ""
            assert not any(module.startswith(f"mpc_sequencer.{one}") for one in shell), (path, module)


def test_importing_the_core_loads_no_network_library() -> None:
    """Libraries beneath (cffi, PyNaCl) may touch the operating system; none of these may come in with the core."""
    code = (
        "import sys; import mpc_sequencer.core.node; "
        "bad = {'trio', 'ssl', '_ssl', 'asyncio', 'web3', 'requests', 'httpx', 'urllib3', 'aiohttp', 'eth_account', "
        "'sqlite3', 'multiprocessing', 'socket'} & set(sys.modules); print(sorted(bad))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
