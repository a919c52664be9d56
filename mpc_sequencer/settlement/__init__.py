"""Settlement: what the committee signs for the chain, the chain client, the submitter and the embedded devnet
chain.
"""
