"""Many cores in one process on virtual time: a seed is a run, byte for byte."""

from mpc_sequencer.sim.cluster import Cluster
from mpc_sequencer.sim.deployment import Deployment, Trader, make_deployment
from mpc_sequencer.sim.wire import Network

__all__ = ["Cluster", "Deployment", "Network", "Trader", "make_deployment"]
