"""Many cores in one process on virtual time: a seed is a run, byte for byte."""

from mpc_sequencer.sim.cluster import Cluster, Network
from mpc_sequencer.sim.deployment import Deployment, Trader, make_deployment

__all__ = ["Cluster", "Deployment", "Network", "Trader", "make_deployment"]
