"""Callbacks: checkpoints, random state, held-out numbers, throughput."""
