"""Tiny models of real families, built offline from the real classes: what runs without a network and learns on a laptop."""
