"""What ``mpcseq bench dark`` reads and shows."""

from __future__ import annotations

from typing import Any

from mpc_sequencer.cli.output import console, table


def parse_levels(text: str) -> tuple[int, int]:
    """``1,2``: levels of the searches for tick and cut. Raises :class:`ConfigError`."""
    from mpc_sequencer.core.errors import ConfigError
    from mpc_sequencer.dark.clearing import LEVELS_MAX

    parts = text.split(",")
    allowed = {str(level) for level in range(1, LEVELS_MAX + 1)}
    if len(parts) != 2 or not allowed.issuperset(parts):
        expected = f"expected two numbers of 1 .. {LEVELS_MAX}"
        raise ConfigError(f"--levels is {text!r}, {expected}", "for example --levels 1,2")
    return int(parts[0]), int(parts[1])


def show_dark(result: dict[str, Any]) -> None:
    """A table per committee."""
    terminal = console()
    peer = result["peer"]
    columns = ("orders", "ticks", "ms one way", "masks ms", "clear ms", "both ms", "rounds", "KB sent", "cpu ms, all")
    for n, t in dict.fromkeys((row["n"], row["t"]) for row in result["rows"]):
        rows = []
        for row in result["rows"]:
            if row["n"] == n:
                beside = row.get("peer", {"left_out": ""})
                rows.append(
                    (
                        *(f"{row[name]:,}" for name in ("orders", "ticks", "delay_ms")),
                        *(f"{ms:,.0f}" for ms in (row["prepare"]["ms"], row["clear"]["ms"], row["ms"])),
                        f"{row['prepare']['rounds']} + {row['clear']['rounds']}",
                        f"{row['bytes'] / 1_000:,.0f}",
                        f"{row['prepare']['cpu_all_ms'] + row['clear']['cpu_all_ms']:,.0f}",
                        *([beside["left_out"] if "left_out" in beside else f"{beside['ms']:,.0f}"] if peer else []),
                    )
                )
        title = f"n = {n}, t = {t}, median of {result['rounds']}; bytes are a party's, to all others"
        terminal.print(table(title, (*columns, *([f"{peer} ms"] if peer else [])), rows))
    also = f"; {peer} finds the same wherever it has a figure" if peer else ""
    terminal.print(f"every party's outcome is the dark rule's{also}")
