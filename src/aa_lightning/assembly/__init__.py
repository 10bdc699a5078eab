"""The parts of a run that stand by themselves, made of a configuration."""
