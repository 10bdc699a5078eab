"""Policies that read media and write tokens."""
