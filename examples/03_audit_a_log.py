"""Audit a member's log with nothing but the committee file, then change one byte of a copy and audit that.

    mpcseq demo --duration 10 --folder /tmp/demo
    python examples/03_audit_a_log.py /tmp/demo

The second audit must fail, and says where.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from mpc_sequencer.audit.verify import verify_log
from mpc_sequencer.devnet.layout import open_devnet


def main(folder: Path) -> None:
    devnet = open_devnet(folder)
    log = devnet.node_folder(0) / "data" / "log"
    report = verify_log(log, devnet.file.committee)
    print(
        f"{report.verdict}: {report.heights} blocks, {report.orders} orders, {report.fills} fills re-derived"
    )

    with tempfile.TemporaryDirectory() as copies:
        copy = Path(copies) / "log"
        shutil.copytree(log, copy)
        bundle = next(path for path in sorted((copy / "tile" / "entries").rglob("*")) if path.is_file())
        data = bytearray(bundle.read_bytes())
        data[len(data) // 2] ^= 1
        bundle.write_bytes(data)
        changed = verify_log(copy, devnet.file.committee)
        print(f"with one bit of {bundle.relative_to(copy)} changed: {changed.verdict}")
        for finding in changed.findings[:3]:
            print(f"  {finding.code}: {finding.detail}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python examples/03_audit_a_log.py FOLDER")
    main(Path(sys.argv[1]))
