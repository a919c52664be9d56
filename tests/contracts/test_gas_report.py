"""docs/gas.md is what the contract costs, and that is within the aims."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType

from settlement_house import ROOT


def gas_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("contracts_gas_report", ROOT / "contracts" / "gas_report.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look their annotations up there
    spec.loader.exec_module(module)
    return module


def test_the_table_is_current_and_the_aims_are_met() -> None:
    script = gas_script()
    gas = script.measure()
    aims = script.AIMS
    assert gas.by_committee[4, 3]["commit"] < aims["commit"]
    assert all(rows["balance"] < aims["balance"] for rows in gas.by_committee.values())
    assert gas.single["balance"] < aims["balance"] and gas.single["apply row"] < aims["balance"]
    assert gas.single["exit"] < aims["exit"] and gas.single["exit to a new holder"] < aims["exit"]
    assert script.REPORT.read_text(encoding="utf-8") == script.report_text(gas)
