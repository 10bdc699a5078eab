"""Benchmarks: questions with known answers, put to a model, and what its answers are worth."""
