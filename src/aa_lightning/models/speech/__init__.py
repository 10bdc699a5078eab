"""Policies that speak: a thinker and its talker."""
