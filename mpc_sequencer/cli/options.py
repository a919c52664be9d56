"""Options that several commands share, and how their values are read."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

if TYPE_CHECKING:
    from mpc_sequencer.core.committee import Committee
    from mpc_sequencer.core.errors import ConfigError
    from mpc_sequencer.node.config import CommitteeFile
    from mpc_sequencer.node.keystore import Profile

COMMITTEE_ENV: Final = "MPCSEQ_COMMITTEE"

AsJson = Annotated[
    bool, typer.Option("--json", help="Print JSON on standard output; errors as JSON on standard error.")
]
CommitteePath = Annotated[
    Path,
    typer.Option(
        "--committee", envvar=COMMITTEE_ENV, help="The deployment's committee file.", show_default=True
    ),
]
COMMITTEE_DEFAULT: Final = Path("committee.json")
PassphraseFile = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file",
        help="File with the passphrase (mode 0600). Else MPCSEQ_PASSPHRASE, else a prompt.",
    ),
]
NewPassphraseFile = Annotated[
    Path | None,
    typer.Option(
        "--new-passphrase-file",
        help="File with the passphrase of what is written (mode 0600). Else MPCSEQ_NEW_PASSPHRASE, else a prompt.",
    ),
]
Kdf = Annotated[
    str,
    typer.Option(
        "--kdf",
        help="What a guess of the passphrase costs: interactive (64 MiB), moderate (256 MiB) or sensitive (1 GiB).",
    ),
]
KdfOrSame = Annotated[
    str | None, typer.Option("--kdf", help="As for `mpcseq key new`. Default: what the keystore has.")
]
KeyFile = Annotated[
    Path | None,
    typer.Option(
        "--key",
        help="The threshold key that `mpcseq committee key --out FILE` wrote, where the committee file has none."
        " Default: key.json beside the committee file.",
    ),
]
Policy = Annotated[
    str,
    typer.Option(
        help="How a batch's orders meet: auction (one price for all), shuffle (one after the other, drawn by the"
        " block's coin), receive (one after the other, as members received them; needs 5 or more nodes) or dark"
        " (computed over secret shares, nobody sees an order; needs 5 or more nodes)."
    ),
]
Demonstration = Annotated[
    bool,
    typer.Option(
        "--demonstration",
        help="With --policy dark: a committee whose liars are detected only, not corrected. One liar can abort any"
        " batch after it has seen the price.",
    ),
]
TimeoutS = Annotated[float, typer.Option("--timeout", min=0.1, max=3600.0, help="Seconds to wait.")]


def read_committee(path: Path) -> CommitteeFile:
    """The committee file of ``--committee``."""
    from mpc_sequencer.node.config import load_committee

    return load_committee(path)


def use_key(file: CommitteeFile, key: Path | None, committee: Path) -> None:
    """Let the committee of a committee file use the key file of ``--key``, or else the one beside it where there is
    one. Raises :class:`ConfigError`."""
    from mpc_sequencer.client.committee_key import KEY_FILE_NAME, load_key

    if key is not None:
        load_key(key, file.committee)
    elif file.committee.keys is None and (beside := committee.parent / KEY_FILE_NAME).exists():
        load_key(beside, file.committee)


def no_key() -> ConfigError:
    """Why something that needs the threshold key cannot be done."""
    from mpc_sequencer.core.errors import ConfigError

    return ConfigError(
        "the threshold key is not known: the committee file has none and no key file is given",
        "fetch it with `mpcseq committee key --out key.json`, and give --key key.json",
    )


def parse_nodes(text: str | None, n: int) -> list[int]:
    """``0,2`` as member indexes; all members where nothing is given. Raises :class:`ConfigError`."""
    from mpc_sequencer.core.errors import ConfigError

    if text is None:
        return list(range(n))
    try:
        nodes = [int(part) for part in text.split(",")]
    except ValueError:
        nodes = []
    if not nodes or len(set(nodes)) != len(nodes) or not all(0 <= node < n for node in nodes):
        raise ConfigError(f"--nodes is {text!r}, expected members of 0 .. {n - 1}", "for example --nodes 0,2")
    return nodes


def parse_policy(text: str) -> int:
    """``auction``, ``shuffle``, ``receive`` or ``dark`` as an order policy. Raises :class:`ConfigError`."""
    from mpc_sequencer.core.errors import ConfigError
    from mpc_sequencer.market import POLICY_NAMES

    for policy, name in POLICY_NAMES.items():
        if text.lower() == name:
            return policy
    known = ", ".join(POLICY_NAMES.values())
    raise ConfigError(f"--policy is {text!r}, which is no order policy", f"use one of {known}")


def warn_demonstration(committee: Committee) -> None:
    """Say on standard error what a demonstration of a dark market is not, where ``committee`` has one."""
    if all(market.dark is None or not market.dark.demonstration for market in committee.genesis.markets):
        return
    print(
        f"warning: {committee.n} members that tolerate {committee.f} only detect lies about a dark batch. One liar can"
        " abort any batch, and whoever speaks last knows by then its price and every fill, though nothing trades."
        " Never for value.",
        file=sys.stderr,
    )


def parse_kdf(text: str) -> Profile:
    """``interactive``, ``moderate`` or ``sensitive``. Raises :class:`ConfigError`."""
    from mpc_sequencer.core.errors import ConfigError
    from mpc_sequencer.node.keystore import PROFILES

    for profile in PROFILES:
        if text.lower() == profile != "minimum":
            return profile
    raise ConfigError(f"--kdf is {text!r}, which is no cost", "use interactive, moderate or sensitive")


def market_names(committee: Committee) -> str:
    """The markets' symbols, each with its order policy."""
    from mpc_sequencer.market import POLICY_NAMES

    return ", ".join(f"{market.symbol} ({POLICY_NAMES[market.policy]})" for market in committee.genesis.markets)


def parse_sizes(text: str) -> list[int]:
    """``4,7,13``: committee sizes. Raises :class:`ConfigError`."""
    from mpc_sequencer.core.errors import ConfigError
    from mpc_sequencer.core.limits import COMMITTEE_MEMBERS_MAX, COMMITTEE_MEMBERS_MIN

    parts = text.split(",")
    sizes = [int(part) for part in parts if part.isascii() and part.isdigit() and len(part) <= 3]
    allowed = range(COMMITTEE_MEMBERS_MIN, COMMITTEE_MEMBERS_MAX + 1)
    if len(sizes) != len(parts) or len(set(sizes)) != len(sizes) or any(size not in allowed for size in sizes):
        raise ConfigError(
            f"--nodes is {text!r}, expected committee sizes of {allowed.start} .. {allowed.stop - 1}",
            "for example --nodes 4,7,13",
        )
    return sizes


def parse_counts(option: str, text: str, least: int, most: int) -> list[int]:
    """``1000,10000``: distinct numbers of ``least .. most``, ascending. Raises :class:`ConfigError`."""
    from mpc_sequencer.core.errors import ConfigError

    parts = text.split(",")
    counts = [int(part) for part in parts if part.isascii() and part.isdigit() and len(part) <= 9]
    if len(counts) != len(parts) or len(set(counts)) != len(counts) or not all(least <= one <= most for one in counts):
        raise ConfigError(
            f"{option} is {text!r}, expected different numbers of {least:,} .. {most:,}, separated by commas",
            f"for example {option} 1000,10000",
        )
    return sorted(counts)


def output_exists(path: Path, force: bool) -> None:
    """Raise :class:`ConfigError` where ``path`` would be overwritten without ``--force``."""
    from mpc_sequencer.core.errors import ConfigError

    if os.path.lexists(path) and not force:
        raise ConfigError(f"{path} exists", "choose another --out, or overwrite it with --force")
