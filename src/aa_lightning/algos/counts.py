"""Count the terms that a mean over a whole step divides by, counted where batches are made."""

from __future__ import annotations

from aa_lightning.types import Batch


def supervised_terms(batch: Batch) -> float:
    """Count the terms of a batch that are trained on: tokens, or one for each image."""
    if "mask" in batch.response:
        return batch.response["mask"].sum().item()
    return float(next(iter(batch.response.values())).shape[:2].numel())


def chosen_terms(batch: Batch) -> float:
    """The same of the first response of each prompt alone."""
    if "mask" in batch.response:
        return batch.response["mask"][:, 0].sum().item()
    return float(len(next(iter(batch.response.values()))))


def labelled_steps(batch: Batch) -> float:
    """Count the steps of responses that are labelled right or wrong."""
    return (~batch.supervision["steps"].isnan()).sum().item()
