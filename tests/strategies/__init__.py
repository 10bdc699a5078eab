"""Strategies in processes of their own, which see no conftest."""

import aa_lightning  # noqa: F401  repairs torchvision's import first
