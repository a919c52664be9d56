"""``python -m mpc_sequencer.cli`` is ``mpcseq``."""

from mpc_sequencer.cli import main

main()
