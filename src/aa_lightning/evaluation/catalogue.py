"""Meanings of held-out measures: the one list that summaries, reports and sweeps read. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from aa_lightning.runs.reader import HELDOUT


@dataclass(frozen=True, kw_only=True)
class Meaning:
    """The meaning of a measure.

    Attributes:
        better: +1 where more is better, −1 where less is, 0 where neither is.
        share: whether it is a share of the examples.
        main: whether a report's first box tells of it, and a sweep may be ordered by it.
    """

    better: Literal[-1, 0, 1] = 1
    share: bool = False
    main: bool = False


MEASURES: dict[str, Meaning] = {  # what matters most first
    "preference_accuracy": Meaning(share=True, main=True),
    "reward_accuracy": Meaning(share=True, main=True),
    "verdict_accuracy": Meaning(share=True, main=True),
    "answer_accuracy": Meaning(share=True, main=True),
    "picture_accuracy": Meaning(share=True, main=True),
    "sound_accuracy": Meaning(share=True, main=True),
    "likelihood_accuracy": Meaning(share=True, main=True),
    "logp_per_term": Meaning(main=True),
    "margin": Meaning(),
    "reward_margin": Meaning(),
    "likelihood_margin": Meaning(),
    "logp_chosen": Meaning(better=0),
    "logp_rejected": Meaning(better=0),
}
OBJECTIVES = tuple(name for name, meaning in MEASURES.items() if meaning.main)
NOTHING_MEASURED = (
    "held out nothing was measured, as no row is held out that could be (data.val_share, evaluation.num_examples)"
)
_LOWER_IS_BETTER = ("loss", "error", "perplexity", "kl", "fid")  # endings of other names
_SHARES = ("accuracy", "share", "rate")


def meaning_of(name: str) -> Meaning:
    """Return how to read a measure, of all data or of one set (`<set>/<measure>`); of a strange one, by its ending."""
    base = name.rpartition("/")[2]
    guessed = Meaning(better=-1 if base.endswith(_LOWER_IS_BETTER) else 1, share=base.endswith(_SHARES))
    return MEASURES.get(base, guessed)


def objective_of(measures: Mapping[str, float]) -> str | None:
    """Return the name of the one measure that a sweep compares, or None where nothing was measured.

    Args:
        measures: by name, without `heldout/`.
    """
    return next((name for name in OBJECTIVES if not math.isnan(measures.get(name, math.nan))), None)


def objective(measures: Mapping[str, float]) -> float:
    """Return the one number that a sweep compares; NaN where nothing was measured.

    Args:
        measures: by name, with `heldout/`.
    """
    name = objective_of({key.removeprefix(HELDOUT): value for key, value in measures.items()})
    return math.nan if name is None else measures[f"{HELDOUT}{name}"]
