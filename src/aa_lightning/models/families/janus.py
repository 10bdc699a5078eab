"""Janus's language model over words, pictures that it reads and pictures that it writes: the library runs each alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from aa_lightning.models.families.family import Family


class Janus(Family):
    """The family whose rows are words and, behind them, codes."""

    def forward(self, backbone: nn.Module, inputs: Mapping[str, Any]) -> Any:
        """Run the language model on words, pictures that are read, and codes."""
        given = dict(inputs)
        embeds = embed(backbone, given.pop("input_ids"), given.pop("pixel_values", None))
        return backbone.language_model(inputs_embeds=embeds, **given)


def embed(backbone: nn.Module, ids: Tensor, pixels: Tensor | None = None) -> Tensor:
    """Embeddings (R, L, H) of tokens.

    Parameters of a kind of token that is not there take part with a gradient of zero, so that processes stay in step.

    Args:
        ids: (R, L) words, and codes counted from the number of words on.
        pixels: (N, 3, H, W) of the pictures that are read, in the order of their placeholders.
    """
    words = backbone.get_input_embeddings()
    codes = ids >= words.num_embeddings
    embeds = words(ids.masked_fill(codes, 0))
    written = backbone.generation_aligner(backbone.generation_embeddings(ids[codes] - words.num_embeddings))
    embeds = embeds.masked_scatter(codes[..., None], written.to(embeds.dtype))
    if pixels is None:
        return embeds
    seen = backbone.get_image_features(pixels, return_dict=True).pooler_output
    return embeds.masked_scatter((ids == backbone.config.image_token_id)[..., None], seen.to(embeds.dtype))
