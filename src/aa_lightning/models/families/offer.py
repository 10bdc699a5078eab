"""Offers of a model to algorithms and data, known before its weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from aa_lightning.models.families.table import FAMILIES
from aa_lightning.models.image_tokens.families import PICTURE_FAMILIES
from aa_lightning.types import LikelihoodKind


@dataclass(frozen=True)
class ModelOffer:
    """One model's answers.

    Attributes:
        family: its name.
        likelihood: of its responses.
        reads, writes: media of prompts and of responses besides text.
        draws: whether the pictures that it writes can be looked at; where it cannot, it writes codes alone.
        scores: whether a reward model can be made of it.
        has_media_gradients: whether a loss has gradients with respect to the media of prompts.
    """

    family: str
    likelihood: LikelihoodKind
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    draws: bool = True
    scores: bool = True
    has_media_gradients: bool = True


def offer_of(model: Any) -> ModelOffer:
    """Read off the `model` section of a configuration what the model offers."""
    if model.likelihood == "elbo":
        return ModelOffer(model.family, "elbo", (), ("image",), scores=False)
    row = FAMILIES.get(model.family)
    if row is None:
        return ModelOffer(model.family, "exact", (), ())
    pictures = PICTURE_FAMILIES.get(row.name)
    return ModelOffer(
        row.name,
        "exact",
        reads=row.media,
        writes=row.writes[1:],
        draws=pictures is None or pictures.decode is not None or model.image_decoder is not None,
        scores="audio" not in row.writes,
        has_media_gradients=not row.reads_codes,
    )
