"""Rows to examples: sources, templates, the procedural world of shapes, corruptions. No torch here."""
