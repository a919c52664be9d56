"""Development networks: keystores written in one place, an embedded chain, node processes on loopback.

Never for value: whoever runs `mpcseq devnet init` has the passphrase of every keystore, and so can get at every share
too. ``layout`` writes the folder, ``deployment`` puts the contracts and deposits on a chain, ``processes`` runs the
nodes.
"""
