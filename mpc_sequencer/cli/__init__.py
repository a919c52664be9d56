"""The command line ``mpcseq``: one module per group of commands, imported only when it is used.

Every command takes ``--json``: then standard output carries JSON values alone, and an error is a JSON
object on standard error. What goes wrong ends as ``error:`` (the cause) and ``hint:`` (what to do) with
exit status 2; a command that ran and found fault (an audit that fails, a demo whose figures do not match)
ends with 1.
"""

from mpc_sequencer.cli.app import main

__all__ = ["main"]
