"""One place where errors become text: ``error: lower-case cause``, ``hint: what to do``, exit status 2.

Nothing here or in the commands prints a traceback. A fault of this program itself ends with status 70 and
says how to see where it happened.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

EXIT_ERROR: Final = 2
EXIT_FAULT_FOUND: Final = 1
EXIT_INTERNAL: Final = 70
EXIT_INTERRUPTED: Final = 130
EXIT_PIPE: Final = 141  # as a shell reports SIGPIPE
TRACEBACK_ENV: Final = "MPCSEQ_TRACEBACK"


@dataclass(frozen=True, slots=True)
class Shown:
    """An error as a person reads it."""

    cause: str
    hint: str
    status: int = EXIT_ERROR


def explain(error: BaseException, command: Sequence[str]) -> Shown:
    """The cause and hint of anything a command may raise."""
    error = _leaf(error)
    if isinstance(error, KeyboardInterrupt):
        return Shown("interrupted", "run the command again to start over", EXIT_INTERRUPTED)
    if type(error).__name__ == "Abort":
        return Shown("aborted", "run the command again", EXIT_INTERRUPTED)
    if hasattr(error, "format_message") and hasattr(error, "exit_code"):  # the command line itself
        help_command = " ".join(["mpcseq", *command])
        return Shown(_lower(str(error.format_message()).rstrip(".")), f"see `{help_command} --help`")
    known = _explain_known(error)
    if known is not None:
        return known
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return Shown(
            f"{where}{_lower(error.strerror or type(error).__name__)}",
            "check the path, its permissions and free space",
        )
    if os.environ.get(TRACEBACK_ENV):
        traceback.print_exception(error)
    return Shown(
        f"internal fault: {type(error).__name__}: {error}",
        f"this is a bug; set {TRACEBACK_ENV}=1 to see where it happened, and report it",
        EXIT_INTERNAL,
    )


def _explain_known(error: BaseException) -> Shown | None:
    # Imported here: a command that does not fail does not pay for the modules of every way to fail.
    from mpc_sequencer.client.errors import ClientError
    from mpc_sequencer.core.errors import CODES, ConfigError, ProtocolError
    from mpc_sequencer.node.client_link import LinkError
    from mpc_sequencer.settlement.errors import ChainError, PayloadError
    from threshold import CODES as THRESHOLD_CODES
    from threshold import ThresholdError, UsageError

    if isinstance(error, ConfigError | ClientError):
        return Shown(error.cause, error.hint)  # our own words; a file's name may come first
    if isinstance(error, ProtocolError):
        return Shown(str(error), CODES[error.code])
    if isinstance(error, ThresholdError):
        return Shown(str(error), _lower(THRESHOLD_CODES[error.code].rstrip(".")))
    if isinstance(error, ChainError):
        return Shown(_lower(str(error)), error.hint)
    if isinstance(error, LinkError):
        return Shown(str(error), "check that the node runs and that the committee file is its own")
    if isinstance(error, PayloadError | UsageError):
        return Shown(_lower(str(error)), "check the files of this deployment")
    return None


def _leaf(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        # An interruption may travel beside the errors it caused; what a person did comes first.
        interrupted = error.subgroup(KeyboardInterrupt)
        error = (interrupted or error).exceptions[0]
    return error


def _lower(text: str) -> str:
    """Lower-case first letter, unless the first word is an abbreviation."""
    return text if text[1:2].isupper() else text[:1].lower() + text[1:]


def report(shown: Shown, as_json: bool) -> None:
    """Write an error to standard error."""
    if as_json:
        print(json.dumps({"error": shown.cause, "hint": shown.hint}), file=sys.stderr)
    else:
        print(f"error: {shown.cause}\nhint: {shown.hint}", file=sys.stderr)
