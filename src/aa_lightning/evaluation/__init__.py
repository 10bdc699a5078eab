"""Held-out measures and generation for evaluation."""
