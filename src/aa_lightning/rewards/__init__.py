"""Judges of responses."""
