"""What ends a running member: an exit status of its own for each cause, and a line in the log."""

from __future__ import annotations

import logging

import pytest

from mpc_sequencer.core.errors import ConfigError
from mpc_sequencer.core.execution import ResultMismatch
from mpc_sequencer.node.process import (
    ENDINGS,
    EXIT_DISK,
    EXIT_RESULT_MISMATCH,
    EXIT_ROLLED_BACK,
    EXIT_SIGNER,
    ending_status,
)
from mpc_sequencer.node.remote_signer import SignerFailed
from mpc_sequencer.node.runner import DiskFailed, DiskRolledBack

MISMATCH = ResultMismatch("another result")
DISK = DiskFailed("no space")
OLD_COPY = DiskRolledBack("an old copy")
SIGNER = SignerFailed("the signer is gone", "start it")


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (MISMATCH, EXIT_RESULT_MISMATCH, "this member stops signing: another result"),
        (DISK, EXIT_DISK, "this member stops, for what it says must be on disk first: no space"),
        (OLD_COPY, EXIT_ROLLED_BACK, "an old copy; it gives the folder up, and starts damaged"),
        (SIGNER, EXIT_SIGNER, "this member stops, for it cannot sign: the signer is gone"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_each_cause_has_its_exit_status_and_is_logged(
    error: Exception, status: int, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    for group in (ExceptionGroup("", [error]), ExceptionGroup("", [ExceptionGroup("nested", [error])])):
        assert ending_status(group) == status
    assert said in caplog.text
    assert {record.levelno for record in caplog.records} == {logging.CRITICAL}


def test_exit_statuses_are_distinct_and_3_to_6() -> None:
    """Operators' supervisors are told of these numbers."""
    assert [status for status, _ in ENDINGS.values()] == [3, 4, 5, 6]


@pytest.mark.parametrize("errors", [[DISK, OLD_COPY], [OLD_COPY, DISK], [MISMATCH, OLD_COPY]])
def test_of_several_causes_the_last_of_the_table_decides_and_all_are_logged(
    errors: list[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    assert ending_status(ExceptionGroup("", errors)) == EXIT_ROLLED_BACK
    assert len(caplog.records) == 2


def test_a_fault_of_the_program_is_no_ending() -> None:
    assert not any(issubclass(kind, tuple(ENDINGS)) for kind in (ConfigError, ValueError, OSError, AssertionError))
