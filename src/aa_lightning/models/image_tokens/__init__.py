"""Policies that write images as tokens of a VQ model."""
