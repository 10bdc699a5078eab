"""Algorithms: small callables `loss, metrics = algorithm(policy, batch)` that hold hyperparameters and nothing else.

None of them imports torch, a policy class, Lightning or transformers.
"""
