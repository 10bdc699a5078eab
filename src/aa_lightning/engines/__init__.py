"""Engines: what draws responses."""
