"""Development networks: keys dealt in one place, an embedded chain, node processes on loopback.

Never for value: whoever runs `mpcseq devnet init` has seen every key. ``layout`` writes the folder,
``deployment`` puts the contracts and deposits on a chain, ``processes`` runs the nodes.
"""
