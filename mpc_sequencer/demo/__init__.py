"""``mpcseq demo``: a committee on this machine, real orders, an embedded chain, and an audit of what
happened.

``trace`` reads the recorded market, ``plan`` makes orders of it, ``load`` seals and submits them in time,
``settle`` compares the contract with the fills, ``summary`` counts, ``run`` leads through the steps.
"""
