"""Reward models and their export as classifiers."""
