"""Agreement: the engine interface and Simplex."""

from mpc_sequencer.core.agreement.engine import Accepted, Application, Rejected, Verdict, Waiting
from mpc_sequencer.core.agreement.simplex import Simplex

__all__ = ["Accepted", "Application", "Rejected", "Simplex", "Verdict", "Waiting"]
