"""The auditor: a second, independent implementation of the protocol's rules over one member's log.

It imports encodings, constants and the sealing library alone; a test keeps it so.
"""

from mpc_sequencer.audit.report import CODES, FINDINGS_MAX, NOT_PROVABLE, Finding, Report
from mpc_sequencer.audit.verify import verify_log

__all__ = ["CODES", "FINDINGS_MAX", "NOT_PROVABLE", "Finding", "Report", "verify_log"]
