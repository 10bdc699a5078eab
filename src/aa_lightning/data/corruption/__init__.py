"""Corrupted media: options, and what applies them."""
