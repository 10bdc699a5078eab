"""What accompanies training: checkpoints, random state, held-out numbers, throughput."""
