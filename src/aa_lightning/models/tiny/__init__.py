"""Tiny models of real families, built offline from the real classes, which learn on a laptop."""
