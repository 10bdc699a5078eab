"""From what was said to how good it was: extractors, scorers and aggregates of benchmarks. No model, no torch."""
