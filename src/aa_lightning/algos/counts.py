"""How many terms a mean over a whole step divides by, counted where batches are made."""

from __future__ import annotations

from aa_lightning.types import Batch


def supervised_terms(batch: Batch) -> float:
    """How many terms of a batch are trained on: tokens, or one for each picture."""
    if "mask" in batch.response:
        return batch.response["mask"].sum().item()
    return float(next(iter(batch.response.values())).shape[:2].numel())


def chosen_terms(batch: Batch) -> float:
    """The same of the first response of each prompt alone."""
    if "mask" in batch.response:
        return batch.response["mask"][:, 0].sum().item()
    return float(len(next(iter(batch.response.values()))))


def labelled_steps(batch: Batch) -> float:
    """How many steps of responses are labelled right or wrong."""
    return (~batch.supervision["steps"].isnan()).sum().item()
